"""The journeys of `ocrd backup` and `ocrd restore`: how each begins, what is done, what must hold."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests"))

import found
import parts
import sealed
from daemon import backup, restoring
from driving import Try, opened, taken
from injecting import Tell
from parts import Verdict


def beside(path: Path) -> Path:
    """Where the backup of a state folder is."""
    return path.with_name(f"{path.name}-backup")


def prepare_backup(path: Path) -> list[str]:
    """A backup of two documents, one of which was forgotten since; and a third one came. All three ids."""
    ids = taken(path)
    backup.backup(path, beside(path))
    with opened(path) as state:
        state.operations.forget(ids[:1])
        return [*ids, sealed.take(state.home, state.database, f"{2:016x}", "failed", "ward 2-/scan 2-.png")]


def make(path: Path, tell: Tell, trying: Try) -> None:
    trying(lambda: backup.backup(path, beside(path)))
    tell("made")


def check_backup(path: Path, ids: list[str], told: tuple[str, ...], ended: bool) -> Verdict:
    """What is there restores, whenever the work was broken off; the next backup goes on with it."""
    verdict = found.rest(path) + found.restored(path, beside(path), ids[1:] if told else ids[1:2], ids[:1])
    backup.backup(path, beside(path))
    verdict += parts.torn(*("left behind in a backup" for _ in beside(path).rglob(".*.part")))
    return verdict + found.restored(path, beside(path), ids[1:], ids[:1])


def prepare_restore(path: Path) -> list[str]:
    ids = prepare_backup(path)
    backup.backup(path, beside(path))
    found.lose_all_but(path, "keys")
    return ids


def restore(path: Path, tell: Tell, trying: Try) -> None:
    trying(lambda: restoring.restore(path, beside(path)))
    tell("restored")


def restore_again(path: Path) -> None:
    """And `ocrd init`."""
    (path / "inbox").mkdir(exist_ok=True)
    if not (path / "state.db").exists():
        restoring.restore(path, beside(path))


def check_restore(path: Path, ids: list[str], told: tuple[str, ...], ended: bool) -> Verdict:
    return found.there(path, ids[1:], ids[:1]) + found.rest(path)
