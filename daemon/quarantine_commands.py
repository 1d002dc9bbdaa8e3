"""`ocrd quarantine`: what waits for an operator, and the ways out."""

from __future__ import annotations

from pathlib import Path

import click

from daemon.cli_options import OUT


@click.group(name="quarantine")
def group() -> None:
    """Look at documents on which something personal may be left, and let them out or destroy them."""


@group.command(name="list")
@click.pass_obj
def show_list(home: Path) -> None:
    """List the documents that wait: id, when they came, pages, why."""
    from daemon.quarantine import listed

    for line in listed(home) or ["nothing waits in quarantine"]:
        click.echo(line)


@group.command()
@click.argument("document")
@OUT
@click.pass_obj
def show(home: Path, document: str, out: Path) -> None:
    """Write each page of DOCUMENT before and after, side by side. The pictures hold what is personal."""
    from daemon.quarantine import show as picture

    paths, lines = picture(home, document, out)
    for line in (*paths, *lines):
        click.echo(line)


@group.command()
@click.argument("document")
@OUT
@click.pass_obj
def release(home: Path, document: str, out: Path) -> None:
    """Write the pages of DOCUMENT as they were filled, and destroy the sealed original. It is not learned from."""
    from daemon.quarantine import let_out

    for path in let_out(home, document, out):
        click.echo(path)


@group.command()
@click.argument("document")
@click.option(
    "--box",
    "boxes",
    type=(int, int, int, int, int),
    multiple=True,
    required=True,
    metavar="PAGE X0 Y0 X1 Y1",
    help="Also fill this, in pixels of the upright page; may be given often.",
)
@OUT
@click.pass_obj
def redact(home: Path, document: str, boxes: tuple[tuple[int, int, int, int, int], ...], out: Path) -> None:
    """As release, with more boxes filled."""
    from daemon.quarantine import let_out

    for path in let_out(home, document, out, boxes):
        click.echo(path)


@group.command()
@click.argument("document")
@click.confirmation_option(prompt="Destroy the sealed original?")
@click.pass_obj
def discard(home: Path, document: str) -> None:
    """Destroy the sealed original of DOCUMENT and write nothing."""
    from daemon.quarantine import discard as destroy

    destroy(home, document)
    click.echo(f"document {document}: discarded")
