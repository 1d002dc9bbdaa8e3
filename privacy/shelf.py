"""The key shelf: the keys under which every data key is wrapped, in one small file that no backup holds.

    master key --HKDF--> [content key] --AES-256-GCM--> shelf = { digest key, one tree a purpose and generation }
    tree, slot --> the slot's key --HKDF--> KEK --AES-256-GCM--> DEK, in the vault's folder of the document

Guarantees:

* A slot that was punctured (`privacy.puncture`) can't be opened again: not with the master key, and not from any
  copy of wrapped keys and blobs, however old. What could is a copy of the *shelf* from before, so that is kept
  apart from backups, and replaced after a forgetting.
* `puncture`, `begin` and `finish` change the file in one step and then destroy the bytes it held before; a crash
  leaves the old shelf or the new one, and what it leaves of the destruction is finished by `settle`.
* The shelf opens under each of its masters. That is one, but while a master key is being replaced.

One process writes (under the state folder's lock). A reader sees the shelf as it was when it was opened.
"""

from __future__ import annotations

import json
import secrets
import struct
import threading
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

from privacy import files
from privacy.errors import KeyRefused
from privacy.keys import KEY_BYTES, NONCE_BYTES, DigestKey, MasterKey, derive, open_small, seal_small
from privacy.puncture import Range, Tree

VAULTS = ("documents", "originals", "failed", "quarantine")
"""Purposes of the vaults: a document's folder in one does not open in another."""
ROWS = "rows"
"""What a backup holds of a document's row; punctured when it is forgotten, not when its content is evicted."""
PURPOSES = (*VAULTS, ROWS)

_MAGIC = b"ocrdkeys\x01"  # the last byte is the format's version
_WRAPPED_BYTES = NONCE_BYTES + KEY_BYTES + 16
_Trees = Mapping[str, Tree]


class Shelf:
    """The opened shelf.

    Attributes:
        digests: the digest key; it never changes.
        lock: held while keys are wrapped, unwrapped or replaced.
    """

    def __init__(
        self, path: Path, content_key: bytes, wrapped: Sequence[bytes], digests: bytes, trees: Mapping[int, _Trees]
    ) -> None:
        self.path, self.digests, self.lock = path, DigestKey(digests), threading.RLock()
        self._content_key, self._wrapped, self._digests = content_key, list(wrapped), digests
        self._trees = dict(trees)

    @classmethod
    def create(cls, path: Path, master: MasterKey) -> Shelf:
        """A new shelf. Raises `FileExistsError` if there is one: its keys are not to be replaced."""
        content_key = secrets.token_bytes(KEY_BYTES)
        wrapped = [_wrap(master, content_key)]
        shelf = cls(path, content_key, wrapped, secrets.token_bytes(KEY_BYTES), {0: _grown()})
        files.create(path, shelf._sealed(wrapped, content_key, shelf._trees))
        return shelf

    @classmethod
    def open(cls, path: Path, masters: Sequence[MasterKey]) -> Shelf:
        """Opens the shelf with the first of the master keys that fits.

        Raises:
            KeyRefused: none does, or the file was altered.
            FileNotFoundError: there is no shelf.
        """
        data = path.read_bytes()
        wrapped, payload = _split(path, data)
        keys = (open_small(m.subkey("shelf"), each, _MAGIC) for m in masters for each in wrapped)
        content_key = next((key for key in keys if key is not None), None)
        if content_key is None:
            raise KeyRefused(f"{path} does not open with this master key. Put the key back that belongs to it.")
        opened = open_small(content_key, payload, _MAGIC + b"".join(wrapped))
        if opened is None:
            raise KeyRefused(f"{path} was altered. Put a copy of it back.")
        digests, trees = _parse(opened)
        return cls(path, content_key, wrapped, digests, trees)

    def opens_with(self, master: MasterKey) -> bool:
        return any(open_small(master.subkey("shelf"), each, _MAGIC) for each in self._wrapped)

    @property
    def generation(self) -> int:
        """The generation under which data keys are wrapped; older ones are there only during a rotation."""
        return max(self._trees)

    @property
    def rotating(self) -> bool:
        """Whether a rotation has begun and not ended."""
        return len(self._trees) > 1 or len(self._wrapped) > 1

    def kek(self, purpose: str, slot: int, document: str, generation: int) -> bytes:
        """The key under which a document's data key is wrapped, 32 bytes.

        Raises:
            Punctured: the slot was punctured.
            KeyRefused: wrapped under a generation that a rotation has dropped.
        """
        trees = self._trees.get(generation)
        if trees is None and self.holds(purpose, slot):
            raise KeyRefused(f"Expected a key of generation {self.generation}, got one of {generation}: rotated away.")
        leaf = (trees or self._trees[self.generation])[purpose].leaf(slot)
        return derive(leaf, b"ocrd kek v1 " + document.encode())

    def holds(self, purpose: str, slot: int) -> bool:
        """Whether the slot was not punctured."""
        return self._trees[self.generation][purpose].holds(slot)

    def gaps(self, purpose: str) -> list[Range]:
        """The punctured slots of a purpose, as ranges."""
        return self._trees[self.generation][purpose].gaps()

    def puncture(self, cuts: Mapping[str, Sequence[Range]]) -> None:
        """Destroys the keys of the slots, by purpose, for good; durable when it returns.

        Raises:
            OSError: the medium failed. The keys here are as they were; the file may be as it is to be. Call it again.
        """
        with self.lock:
            after = {
                generation: {purpose: tree.punctured(cuts.get(purpose, ())) for purpose, tree in trees.items()}
                for generation, trees in self._trees.items()
            }
            if after != self._trees:
                self._write(self._wrapped, self._content_key, after)

    def begin(self, master: MasterKey) -> None:
        """First step of a rotation: a new generation of keys, and `master` opens the shelf as well as the old one."""
        with self.lock:
            cuts = {purpose: self.gaps(purpose) for purpose in PURPOSES}
            grown = {purpose: tree.punctured(cuts[purpose]) for purpose, tree in _grown().items()}
            wrapped = [*self._wrapped, _wrap(master, self._content_key)]
            self._write(wrapped, self._content_key, {**self._trees, self.generation + 1: grown})

    def finish(self, master: MasterKey) -> None:
        """Last step, when every data key is wrapped under the newest generation: older ones and masters are dropped."""
        with self.lock:
            content_key = secrets.token_bytes(KEY_BYTES)
            newest = {self.generation: self._trees[self.generation]}
            self._write([_wrap(master, content_key)], content_key, newest)

    def settle(self) -> None:
        """At start, for the one writer: destroys what the file held before, if a crash left it."""
        files.settle(self.path)
        files.sweep(self.path.parent)

    def _write(self, wrapped: Sequence[bytes], content_key: bytes, trees: Mapping[int, _Trees]) -> None:
        files.replace_destroying(self.path, self._sealed(wrapped, content_key, trees))
        self._wrapped, self._content_key, self._trees = list(wrapped), content_key, dict(trees)

    def _sealed(self, wrapped: Sequence[bytes], content_key: bytes, trees: Mapping[int, _Trees]) -> bytes:
        parts = {g: {p: tree.to_bytes() for p, tree in each.items()} for g, each in trees.items()}
        sizes = [[g, {p: len(part) for p, part in each.items()}] for g, each in parts.items()]
        header = json.dumps({"digests": self._digests.hex(), "trees": sizes}).encode()
        body = b"".join(part for each in parts.values() for part in each.values())
        payload = struct.pack(">I", len(header)) + header + body
        return (
            _MAGIC
            + bytes([len(wrapped)])
            + b"".join(wrapped)
            + seal_small(content_key, payload, _MAGIC + b"".join(wrapped))
        )

    def __repr__(self) -> str:
        return f"Shelf(generation {self.generation})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("Keys are not to be pickled.")


def _grown() -> dict[str, Tree]:
    return {purpose: Tree.grow(secrets.token_bytes(KEY_BYTES)) for purpose in PURPOSES}


def _wrap(master: MasterKey, content_key: bytes) -> bytes:
    return seal_small(master.subkey("shelf"), content_key, _MAGIC)


def _split(path: Path, data: bytes) -> tuple[list[bytes], bytes]:
    """The wrapped content keys, and the sealed rest."""
    if not data.startswith(_MAGIC) or len(data) <= len(_MAGIC):
        raise KeyRefused(f"Expected a key shelf of a known format in {path}.")
    count, start = data[len(_MAGIC)], len(_MAGIC) + 1
    ends = [start + n * _WRAPPED_BYTES for n in range(count + 1)]
    return [data[a:b] for a, b in pairwise(ends)], data[ends[-1] :]


def _parse(payload: bytes) -> tuple[bytes, dict[int, _Trees]]:
    size = struct.unpack_from(">I", payload)[0]
    header, at = json.loads(payload[4 : 4 + size]), 4 + size
    trees: dict[int, _Trees] = {}
    for generation, sizes in header["trees"]:
        found = {}
        for purpose, length in sizes.items():
            found[purpose] = Tree.from_bytes(payload[at : at + length])
            at += length
        trees[generation] = found
    return bytes.fromhex(header["digests"]), trees
