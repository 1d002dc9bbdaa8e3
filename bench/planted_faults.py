"""Wrong ways to deal with a disk that refuses, which bench/disk_faults.py must see (see bench/planted.py)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from daemon import taking, trouble
from daemon.erasure import Erasure
from daemon.errors import BadFile
from daemon.ingest import Ingest
from daemon.pipeline import Pipeline
from daemon.serving import Serving
from daemon.state import Database
from daemon.taking import Claims
from planted import Plant
from privacy import mirror, sealing
from privacy.errors import LedgerBroken
from privacy.ledger import Ledger


def not_there() -> None:
    """What can't be looked at is taken for gone: it is pruned from the backup."""
    mirror._there = lambda path: path.exists() if _looked(path) else False


def refused_commit() -> None:
    """A commit that the disk refused is taken for one that never was: its claim is removed."""
    Database.settle = lambda self: None  # type: ignore[method-assign]


def _looked(path: Path) -> bool:
    try:
        path.lstat()
    except OSError:
        return False
    return True


def disk_blamed_on_the_document() -> None:
    """What the machine refuses goes to `failed/`, as if the document were bad."""
    end_of = Pipeline._end_of

    def ended(self: Pipeline, claim: taking.Claim, sealed: Any) -> Any:
        try:
            return end_of(self, claim, sealed)
        except OSError as error:
            self._read = _refusing(error)  # type: ignore[method-assign]
            return end_of(self, claim, sealed)

    Pipeline._end_of = ended  # type: ignore[method-assign]


def _refusing(error: OSError) -> Callable[..., Any]:
    def read(*_: Any) -> Any:
        raise BadFile(str(error.strerror))

    return read


def seal_given_up() -> None:
    """An error while the sealed files are put in place is passed over: the ending is committed all the same."""
    seal = sealing.commit

    def committed(shelf: Any, sealings: Any) -> None:
        with suppress(OSError):
            seal(shelf, sealings)

    sealing.commit = committed


def taken_in_vain() -> None:
    """What was taken before the rename that failed stays where it is."""
    Claims._give_back = lambda self, folder: None  # type: ignore[method-assign]


def slots_out_of_order() -> None:
    """Claims that the database refused their slots get them in another order."""
    admit = Ingest._admit

    def admitted(self: Ingest, claims: Sequence[taking.Claim]) -> bool:
        done = admit(self, claims)
        self._slotless.reverse()
        return done

    Ingest._admit = admitted  # type: ignore[method-assign]


def ledger_given_up() -> None:
    """After one failed append the ledger takes no other."""

    def settle(self: Ledger) -> None:
        if not self._usable:
            raise LedgerBroken("an append failed")

    Ledger._settle = settle  # type: ignore[method-assign]


def another_step_back() -> None:
    """A roll-back that is tried again begins anew: it goes back another version."""
    roll_back = Serving.roll_back

    def again(self: Serving, *given: Any) -> str:
        self._begun = None
        return roll_back(self, *given)

    Serving.roll_back = again  # type: ignore[method-assign]


def forgotten_already() -> None:
    """A forgetting that the disk broke off is called done when it is asked for again, and is not gone on with."""
    Erasure.finish = lambda self: 0  # type: ignore[method-assign]


def says_nothing() -> None:
    """The message of a command is the error's name alone."""
    trouble.explain = lambda error, home: type(error).__name__


FAULTS = (
    Plant("the disk's trouble blamed on the document", disk_blamed_on_the_document, calls=("openat", "write")),
    Plant("an error of sealing passed over", seal_given_up, calls=("rename",)),
    Plant("labels taken in vain not put back", taken_in_vain, calls=("renameat",)),
    Plant("slots in another order after a refusal", slots_out_of_order, calls=("pwrite64",)),
    Plant("no entry after a failed append", ledger_given_up, "ledger", ("fsync",)),
    Plant("a roll-back tried again goes back twice", another_step_back, "swap", ("fsync",)),
    Plant("a forgetting broken off is not gone on with", forgotten_already, "forget", ("rename",), command=True),
    Plant("what can't be looked at taken for gone", not_there, "backup", ("newfstatat",)),
    Plant("a refused commit taken for none", refused_commit, "retry", ("fdatasync",), command=True),
    Plant("a message without where and what to do", says_nothing, "rotate", ("fsync",), command=True),
)
