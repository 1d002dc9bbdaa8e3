"""What is sealed of several documents and put in its place with one round of syncs (docs/adr/0013)."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from privacy import group
from privacy.group import Group
from privacy.shelf import Shelf


class Sealing(Group):
    """What is sealed of one document and not yet in its place; of one generation of keys."""

    def __init__(self, shelf: Shelf) -> None:
        super().__init__()
        self.generation = shelf.generation


def commit(shelf: Shelf, sealings: Sequence[Sealing]) -> None:
    """Puts what was sealed in its place, durably: one round of syncs for all.

    Raises:
        BlockingIOError: the keys are being rotated: what is wrapped under the old ones is not to be kept. Seal anew.
        OSError: the medium failed; some may be in their places.
    """
    group.sync_written(sealings)
    with shelf.lock:  # a rotation wraps anew what is there when it has begun, and no more
        if any(sealing.written and sealing.generation != shelf.generation for sealing in sealings):
            raise BlockingIOError(errno.EAGAIN, "the keys are being rotated")
        folders = group.rename_written(sealings)
    group.sync(folders)
