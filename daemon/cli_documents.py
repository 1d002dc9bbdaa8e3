"""The commands that are about documents and keys: forget, export, retry, backup, restore, key rotate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from daemon.cli_options import OUT
from daemon.errors import Refused

_AT_ONCE = 5000
"""Documents in one request to the service."""
_SHOWN = 20


@click.command()
@click.argument("documents", nargs=-1)
@click.option("--source", help="Everything that came in this top sub-folder of the inbox.")
@click.option("--file", "name", help="Everything that came under this file name.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.pass_obj
def forget(home: Path, documents: tuple[str, ...], source: str | None, name: str | None, yes: bool) -> None:
    """Destroy documents for good: keys, pages, text, labels, names, receipts; in backups too.

    Copies of the same content go with them. What stays is an empty slot, a line in the ledger that says which slot
    was forgotten when, and what models in service have learned: that was bounded when it was learned, and no model
    is changed by this.
    """
    from daemon import operations
    from daemon.access import select

    if not (documents or source is not None or name is not None):
        raise click.UsageError("Name documents, --source or --file.")
    rows = select(home, documents, source, name)
    for row in rows[:_SHOWN]:
        click.echo(f"{row['id']}  {row['state']}  {row['came']} UTC")
    if len(rows) > _SHOWN:
        click.echo(f"... and {len(rows) - _SHOWN} more")
    if not yes:
        click.confirm(f"Forget {_count(len(rows), 'document')}? This can't be undone", abort=True)
    ids = [row["id"] for row in rows]
    for start in range(0, len(ids), _AT_ONCE):
        _tell_forgotten(operations.act(home, "forget", documents=ids[start : start + _AT_ONCE]))


def _tell_forgotten(answer: dict[str, Any]) -> None:
    done = (
        f"forgot {_count(len(answer['forgotten']), 'document')}" if answer["forgotten"] else "finished what was begun"
    )
    click.echo(f"{done}: nothing that is here opens them any more")
    if answer["pending"]:
        click.echo("another program is reading the database: its old pages are cleared within ten minutes of its end")
    if answer["round_broken_off"] is not None:
        click.echo(f"round {answer['round_broken_off']} was broken off; what it was charged stays charged")
    if answer["forgotten"] and not answer["spent"]:
        click.echo("no round was charged for them: no model has learned from them")
    for unit in answer["spent"]:
        click.echo(f"unit {unit['unit']} keeps the bound epsilon {unit['epsilon']:.3g} at delta {unit['delta']:g}:")
        for charge in unit["charges"]:
            alone = "" if charge["epsilon"] is None else f", epsilon {charge['epsilon']:.3g} alone"
            part = "was in the pool of" if charge["purpose"] == "round" else "was in the hold-out that judged"
            made = f"model {charge['version']} ({charge['state']})" if charge["version"] else "no model"
            click.echo(f"  it {part} round {charge['round']}: {made}{alone}")
        click.echo("  these models, and later ones that go on from them, are as they were; that bound is what holds")
    click.echo("replace the copy of the keys folder that you keep elsewhere: an older one still opens older backups")


@click.command()
@click.argument("document")
@OUT
@click.pass_obj
def export(home: Path, document: str, out: Path) -> None:
    """Write all that is kept of a DOCUMENT into a new folder, to answer an access request."""
    from daemon.access import export as write

    for path in write(home, document, out):
        click.echo(path)


@click.command()
@click.argument("documents", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Every document in failed/.")
@click.pass_obj
def retry(home: Path, documents: tuple[str, ...], every: bool) -> None:
    """Process failed DOCUMENTS again, in their old slots; the new receipt takes the place of the old one."""
    from daemon import operations

    if bool(documents) == every:
        raise click.UsageError("Name documents, or say --all.")
    answer = operations.act(home, "retry", documents=list(documents), all=every)
    for document in answer["taken"]:
        click.echo(f"{document} is taken up again")
    for reason in answer["refused"].values():
        click.echo(reason, err=True)
    if not answer["taken"]:
        raise Refused("nothing was taken up again")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, readable=False))
@click.pass_obj
def backup(home: Path, folder: Path) -> None:
    """Bring a backup in FOLDER up to date, beside the running service. Keys are never part of it.

    A restore needs a copy of the keys folder, which you keep elsewhere. What was forgotten since does not open again.
    """
    from daemon.backup import backup as write

    done = write(home, folder)
    click.echo(f"{_count(done.documents, 'document')} in {folder}; {done.copied} files copied, {done.removed} removed")
    click.echo(f"to restore, keep a copy of {home}/keys where this backup is not")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, readable=False))
@click.pass_obj
def restore(home: Path, folder: Path) -> None:
    """Make the state folder again from a backup in FOLDER and the keys folder that you have put back."""
    from daemon.restoring import restore as read

    done = read(home, folder)
    click.echo(f"{_count(done.documents, 'document')} restored, {done.forgotten} stay forgotten, {done.lost} are lost")
    if done.retired:
        click.echo("the ledger came from the backup: what was charged since is not known, so its units teach no more")
    click.echo(f"now: ocrd --home {home} init, then start")


@click.group()
def key() -> None:
    """The master key."""


@key.command()
@click.pass_obj
def rotate(home: Path) -> None:
    """Replace the master key. Every data key is wrapped anew; no document is rewritten.

    After a kill or a power cut, run it again (or start the service): it goes on where it was.
    """
    from daemon import config, operations
    from daemon.home import MASTER_CREDENTIAL

    answer = operations.act(home, "rotate")
    settings = config.load(home)
    click.echo(f"a new master key is in {settings.keys_dir}; {_count(answer['rewrapped'], 'data key')} wrapped anew")
    click.echo("make a new copy of the keys folder and a new backup: older backups open with the older copy alone")
    click.echo(f"where systemd hands the key over as credential {MASTER_CREDENTIAL}, encrypt the new one for it")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


DOCUMENT_COMMANDS = (forget, export, retry, backup, restore, key)
