"""The journey of `ocrd retry`: documents that failed are tried again, and end otherwise, alike, or as a copy."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "tests"))

import found
import sealed
from daemon.home import open_home
from daemon.state import Database
from driving import Try, drain, opened
from injecting import Tell
from parts import Verdict

AGAIN = {
    "ward/a.png": ("done", b"page of a document that can be read by now"),
    "b.png": ("failed", b"bad as before"),
    "c.png": ("duplicate", b"pixels of first.png"),
}


def prepare(path: Path) -> None:
    home = open_home(path)
    database = Database(home.settings.database_path)
    try:
        sealed.take(home, database, f"{9:016x}", path="first.png")
        for number, (name, (_, content)) in enumerate(AGAIN.items()):
            sealed.take(home, database, f"{number:016x}", "failed", name, content=content)
    finally:
        database.close()


def work(path: Path, tell: Tell, trying: Try) -> None:
    with ExitStack() as stack:
        state = trying(lambda: stack.enter_context(opened(path)))
        trying(lambda: state.operations.retry(all=True))
        tell("taken")
    trying(lambda: _drained(path, tell))


def _drained(path: Path, tell: Tell) -> None:
    with opened(path) as state:
        drain(state.home, state.database, tell)


def check(path: Path, _: Any, told: tuple[str, ...], ended: bool) -> Verdict:
    """Each document was tried again, or is as it was; all of them were, when that was told."""
    taken, expected = found.tried_again(path), {}
    for number, (name, (state, content)) in enumerate(AGAIN.items()):
        expected[name] = (state if f"{number:016x}" in taken or "taken" in told else "failed", content)
    sidecars = {name: b"labels of " + content for name, (_, content) in AGAIN.items()}
    verdict = found.receipts_of(path, expected, sidecars, [each for each in told if each != "taken"])
    return verdict + found.rest(path)
