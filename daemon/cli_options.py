"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click


def _made(context: click.Context, parameter: click.Parameter, folder: Path) -> Path:
    """Makes the folder if it is not there, for its owner alone: what is written into it may be personal.

    Raises:
        click.BadParameter: it cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise click.BadParameter(f"folder '{folder}' cannot be made: {error.strerror}.") from error
    return folder


OUT = click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False, writable=True),
    required=True,
    callback=_made,
    help="Folder to write to; made if it is not there.",
)
