"""Replacing the master key: every data key is wrapped anew, no blob is rewritten, and a crash anywhere loses nothing.

    keys/master.key       the key in force; during a rotation, the old one
    keys/master.key.new   the next one, from the first step to the last

The order is the guarantee. At each step some key that is on the medium opens the shelf, and the shelf some generation
that opens each data key:

1. a new master key is made in `master.key.new`;
2. the shelf gets a new generation of trees, and opens with both masters;
3. every data key is wrapped under the new generation (those that are already are passed over);
4. the shelf drops the old generation and the old master, and its old bytes are destroyed;
5. `master.key.new` takes the place of `master.key`, whose old bytes are destroyed last.

Called again after a crash it goes on where it was. Who holds a copy of the old master key and the old shelf can open
what was wrapped under them: old backups, and nothing that was written since.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from privacy import files
from privacy.keys import MasterKey
from privacy.shelf import Shelf
from privacy.vault import Vault

MASTER, NEXT_MASTER = "master.key", "master.key.new"


def rotate(keys: Path, shelf: Shelf, vaults: Sequence[Vault]) -> int:
    """Replaces the master key, or finishes doing so; returns how many data keys were wrapped anew by this call.

    The caller is the shelf's one writer. Documents may be sealed and opened meanwhile.
    """
    settle(keys, shelf)
    path = keys / NEXT_MASTER
    master = MasterKey.load(path) if path.exists() else MasterKey.create(path)
    if not shelf.opens_with(master):
        shelf.begin(master)
    count = sum(vault.rewrap() for vault in vaults)
    if shelf.rotating:
        shelf.finish(master)
    files.move_destroying(path, keys / MASTER)
    return count


def pending(keys: Path) -> bool:
    """Whether a rotation was begun and not ended."""
    return (keys / NEXT_MASTER).exists()


def settle(keys: Path, shelf: Shelf) -> None:
    """At start: destroys old keys that a crash left behind."""
    shelf.settle()
    files.settle(keys / MASTER)
