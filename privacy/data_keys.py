"""The data keys of a vault's documents: one each, in `<root>/<id>/key`, wrapped under a key of its slot.

Authenticated with it: the format's version, the vault's purpose, the document's id, its slot and the generation that
it is wrapped under (`privacy.shelf`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from privacy import files, group
from privacy.errors import KeyRefused, NotSealed, SealBroken
from privacy.group import Group
from privacy.keys import open_small, seal_small
from privacy.shelf import Shelf

FORMAT = b"ocrdseal\x02"  # the last byte is the format's version
_WRAPPING = struct.Struct(">IQ")
"""Before a wrapped data key: the generation it is wrapped under, and the document's slot."""
_AT_ONCE = 256


def authenticated(purpose: str, document: str, name: str) -> bytes:
    """What every file of a document is authenticated with: parts and their lengths, so that no two lists look alike."""
    parts = (FORMAT, purpose.encode(), document.encode(), name.encode())
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)


class DataKeys:
    """The keys of one vault. `at` gives the folder of a document."""

    def __init__(self, at: Callable[[str], str], shelf: Shelf, purpose: str) -> None:
        self._at, self._shelf, self._purpose = at, shelf, purpose

    def opened(self, document: str) -> bytes:
        """The data key. Raises `NotSealed`, `SealBroken`."""
        with self._shelf.lock:
            return self._unwrapped(document)[2]

    def wrapped(self, document: str, slot: int, dek: bytes) -> bytes:
        """The bytes of the key's file."""
        place = _WRAPPING.pack(self._shelf.generation, slot)
        kek = self._shelf.kek(self._purpose, slot, document, self._shelf.generation)
        return FORMAT + place + seal_small(kek, dek, authenticated(self._purpose, document, "key") + place)

    def rewrap(self, documents: Sequence[str]) -> int:
        """Wraps the documents' keys under the shelf's newest generation; returns how many were not yet.

        A key that does not open is left as it is: it opened nothing before either.
        """
        done = 0
        for start in range(0, len(documents), _AT_ONCE):
            with self._shelf.lock:
                some = Group()
                try:
                    for document in documents[start : start + _AT_ONCE]:
                        with suppress(NotSealed, SealBroken):
                            slot, generation, dek = self._unwrapped(document)
                            files.sweep(Path(self._at(document)), ".key.")  # of a rotation that was cut short
                            if generation != self._shelf.generation:
                                some.write_bytes(Path(self._at(document), "key"), self.wrapped(document, slot, dek))
                    done += group.commit([some])
                finally:
                    some.abandon()
        return done

    def _unwrapped(self, document: str) -> tuple[int, int, bytes]:
        """The document's slot, the generation of its wrapping, and its data key."""
        try:
            wrapped = Path(self._at(document), "key").read_bytes()
        except FileNotFoundError:
            raise NotSealed(f"No document {document!r} is sealed here.") from None
        if not wrapped.startswith(FORMAT) or len(wrapped) < len(FORMAT) + _WRAPPING.size:
            raise SealBroken(document, "key", "no header of a known format")
        place, sealed = wrapped[len(FORMAT) :][: _WRAPPING.size], wrapped[len(FORMAT) + _WRAPPING.size :]
        generation, slot = _WRAPPING.unpack(place)
        try:
            kek = self._shelf.kek(self._purpose, slot, document, generation)
        except (KeyRefused, ValueError):
            raise SealBroken(document, "key", "altered, or wrapped under a key that was replaced") from None
        dek = open_small(kek, sealed, authenticated(self._purpose, document, "key") + place)
        if dek is None:
            raise SealBroken(document, "key", "altered, or wrapped under another master key")
        return slot, generation, dek
