"""Sealed documents: one data key (DEK) a document, wrapped under a key of its slot; no key, no document.

    key shelf, slot --HKDF--> KEK --AES-256-GCM--> DEK (one a document, in <root>/<id>/key)
                              DEK --HKDF(salt, name)--> one key per write of a blob --AES-256-GCM, STREAM--> blob

Guarantees:

* `get` returns what was `put` under the same document and the same name, or raises `SealBroken`. A blob that
  was altered, cut short, or moved from another document, name or vault does not open.
* Keys and nonces never repeat: each write draws a 256-bit salt, its blob key is HKDF-SHA256(DEK, salt, name),
  and under that key the nonce is the chunk's number with a last-chunk flag (the STREAM construction of Hoang,
  Reyhanitabar, Rogaway and Vizár, 2015). A blob is read chunk by chunk; a chunk is given out only after it
  has been authenticated, and a stream that ends early raises.
* What is authenticated with a blob: the format's version, the vault's purpose, the document's id, the blob's name;
  with a data key also its slot and generation.
* `shred` overwrites and removes the key before anything else: from then on no blob of the document can be
  opened, whatever copies of the blobs exist. `shred_blob` does the same to one blob by destroying its salt.
  Where the slot was punctured as well (`privacy.shelf`), copies of the wrapped key are worth nothing either.
* `rewrap` wraps each data key anew under the shelf's newest generation; no blob is touched.
* Nothing private is written in clear: temporary files hold ciphertext too.

Not promised: that an *older* sealed version of the same blob is refused (put it back and it opens), that
overwriting reaches every copy on the medium (see `privacy.files`), or that keys are wiped from this process's
memory (Python can't). Ids and names of blobs are visible, so they must hold nothing private.
"""

from __future__ import annotations

import re
import secrets
import shutil
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from privacy import files
from privacy.errors import KeyRefused, NotSealed, SealBroken
from privacy.keys import KEY_BYTES, NONCE_BYTES, derive, open_small, seal_small
from privacy.shelf import Shelf

__all__ = ["Shelf", "Vault"]

_SALT_BYTES = 32
_TAG_BYTES = 16
_CHUNK_BYTES = 65536
_MAGIC = b"ocrdseal\x02"  # the last byte is the format's version
_WRAPPING = struct.Struct(">IQ")
"""Before a wrapped data key: the generation it is wrapped under, and the document's slot."""
_REWRAPPED_AT_ONCE = 256
_FEW = 8
_HEADER_BYTES = len(_MAGIC) + _SALT_BYTES
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_SUFFIX = ".sealed"


def _joined(*parts: bytes) -> bytes:
    """Parts with their lengths before them, so that no two lists of parts look alike."""
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)


class Vault:
    """The sealed documents under one folder: `<root>/<id>/key` and `<root>/<id>/<name>.sealed`.

    `purpose`, one of `shelf.VAULTS`, parts the vaults of one shelf: a document's folder does not open in a vault
    of another purpose. One process writes; several may read.
    """

    def __init__(self, root: Path, shelf: Shelf, purpose: str = "documents") -> None:
        self.root, self.purpose = root, purpose
        self._shelf = shelf
        files.make_dir(root)

    def create(self, document: str, slot: int) -> None:
        """Makes a document's key. An existing document keeps its own; a half-done shred is finished.

        Raises:
            Punctured: the slot was forgotten; nothing can be sealed for it any more.
        """
        folder = self._folder(document)
        with self._shelf.lock:
            if (folder / "key").exists():
                return
            wrapped = self._wrapped(document, slot, secrets.token_bytes(KEY_BYTES))
            if folder.exists():
                files.remove_tree(folder)
            files.make_dir(folder)
            files.create(folder / "key", wrapped)

    def put(self, document: str, name: str, data: bytes | Iterable[bytes]) -> None:
        """Seals a blob, replacing one of the same name, atomically and durably.

        Raises:
            NotSealed: the document was never created, or was shredded.
        """
        path, dek = self._path(document, name), self._dek(document)
        chunks = _rechunked((data,) if isinstance(data, bytes) else data)
        salt = secrets.token_bytes(_SALT_BYTES)
        cipher, aad = self._cipher(dek, salt, document, name)
        with files.replace(path) as file:
            file.write(_MAGIC + salt)
            for nonce, chunk in _numbered(chunks):
                file.write(cipher.encrypt(nonce, chunk, aad))

    def get(self, document: str, name: str) -> bytes:
        """The blob's content, all of it authenticated. Raises `SealBroken`, `NotSealed`."""
        return b"".join(self.stream(document, name))

    def stream(self, document: str, name: str) -> Iterator[bytes]:
        """The blob's content in authenticated chunks of at most 64 KiB.

        That the blob is whole is known only when the stream ends without an error: nothing irrevocable should
        be done with the chunks before that.

        Raises:
            SealBroken: altered, cut short, or another's.
            NotSealed: no such document or blob.
        """
        path, dek = self._path(document, name), self._dek(document)
        try:
            file = path.open("rb")
        except FileNotFoundError:
            raise NotSealed(f"No blob {name!r} of document {document!r} is sealed here.") from None
        with file:
            header = file.read(_HEADER_BYTES)
            if len(header) != _HEADER_BYTES or not header.startswith(_MAGIC):
                raise SealBroken(document, name, "no header of a known format")
            cipher, aad = self._cipher(dek, header[len(_MAGIC) :], document, name)
            sealed = iter(lambda: file.read(_CHUNK_BYTES + _TAG_BYTES), b"")
            try:
                for nonce, chunk in _numbered(sealed):
                    yield cipher.decrypt(nonce, chunk, aad)
            except (InvalidTag, ValueError):
                raise SealBroken(document, name, "authentication failed") from None

    def names(self, document: str) -> list[str]:
        """The document's blobs, sorted. Raises `NotSealed`."""
        if not self.exists(document):
            raise NotSealed(f"No document {document!r} is sealed here.")
        found = (path.name for path in self._folder(document).iterdir() if not path.name.startswith("."))
        return sorted(name.removesuffix(_SUFFIX) for name in found if name.endswith(_SUFFIX))

    def ids(self) -> list[str]:
        """The documents that have a key, sorted."""
        return sorted(path.name for path in self.root.iterdir() if (path / "key").exists())

    def exists(self, document: str) -> bool:
        return (self._folder(document) / "key").exists()

    def shred(self, document: str) -> None:
        """Erases a document: first its key, for good, then what is left. Doing it again is fine.

        After a crash anywhere in here, either the document is as it was or its key is destroyed; another
        `shred` finishes, and so does `sweep` once the key's file is gone.
        """
        folder = self._folder(document)
        with self._shelf.lock:
            self._shred(folder)

    @staticmethod
    def _shred(folder: Path) -> None:
        if folder.exists():
            files.sweep(folder)  # a key that a crash left half created is a key too
            files.destroy(folder / "key")
            files.remove_tree(folder)

    def shred_blob(self, document: str, name: str) -> None:
        """Erases one blob by destroying the salt of its key; the others stay. A missing one is fine."""
        path = self._path(document, name)
        if path.parent.exists():
            files.destroy(path, first=_HEADER_BYTES)

    def shred_all(self, documents: Sequence[str]) -> None:
        """`shred` for many, with two syncs of the file system instead of several a document."""
        if len(documents) <= _FEW:
            for document in documents:
                self.shred(document)
            return
        folders = [folder for folder in map(self._folder, documents) if folder.exists()]
        if not folders:
            return
        with self._shelf.lock:
            files.destroy_all([folder / "key" for folder in folders], self.root)
            for folder in folders:
                shutil.rmtree(folder, ignore_errors=True)
            files.sync_file_system(self.root)

    def rewrap(self) -> int:
        """Wraps every data key under the shelf's newest generation; returns how many were not yet.

        A key that does not open is left as it is: it opened nothing before either.
        """
        done, ids = 0, self.ids()
        for start in range(0, len(ids), _REWRAPPED_AT_ONCE):
            with self._shelf.lock:
                some = {}
                for document in ids[start : start + _REWRAPPED_AT_ONCE]:
                    with suppress(NotSealed, SealBroken):
                        slot, generation, dek = self._unwrapped(document)
                        if generation != self._shelf.generation:
                            some[self._folder(document) / "key"] = self._wrapped(document, slot, dek)
                done += files.replace_many(some.items(), self.root)
        return done

    def sweep(self) -> int:
        """At start: finishes half-done shreds, removes temporary files; returns how many of both."""
        done = 0
        for folder in [path for path in self.root.iterdir() if path.is_dir()]:
            if (folder / "key").exists():
                done += files.sweep(folder)
            else:
                files.remove_tree(folder)
                done += 1
        return done

    def _folder(self, document: str) -> Path:
        if not _ID.fullmatch(document):
            raise ValueError(f"Expected a document id of letters, digits, - and _, got {document!r}.")
        return self.root / document

    def _path(self, document: str, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ValueError(f"Expected a blob name of lower-case letters, digits, ., - and _, got {name!r}.")
        return self._folder(document) / (name + _SUFFIX)

    def _aad(self, document: str, name: str) -> bytes:
        return _joined(_MAGIC, self.purpose.encode(), document.encode(), name.encode())

    def _cipher(self, dek: bytes, salt: bytes, document: str, name: str) -> tuple[AESGCM, bytes]:
        key = derive(dek, b"ocrd blob v1 " + name.encode(), salt)
        return AESGCM(key), self._aad(document, name + _SUFFIX)

    def _wrapped(self, document: str, slot: int, dek: bytes) -> bytes:
        place = _WRAPPING.pack(self._shelf.generation, slot)
        kek = self._shelf.kek(self.purpose, slot, document, self._shelf.generation)
        return _MAGIC + place + seal_small(kek, dek, self._aad(document, "key") + place)

    def _dek(self, document: str) -> bytes:
        with self._shelf.lock:
            return self._unwrapped(document)[2]

    def _unwrapped(self, document: str) -> tuple[int, int, bytes]:
        """The document's slot, the generation of its wrapping, and its data key."""
        try:
            wrapped = (self._folder(document) / "key").read_bytes()
        except FileNotFoundError:
            raise NotSealed(f"No document {document!r} is sealed here.") from None
        if not wrapped.startswith(_MAGIC) or len(wrapped) < len(_MAGIC) + _WRAPPING.size:
            raise SealBroken(document, "key", "no header of a known format")
        place, sealed = wrapped[len(_MAGIC) :][: _WRAPPING.size], wrapped[len(_MAGIC) + _WRAPPING.size :]
        generation, slot = _WRAPPING.unpack(place)
        try:
            kek = self._shelf.kek(self.purpose, slot, document, generation)
        except (KeyRefused, ValueError):
            raise SealBroken(document, "key", "altered, or wrapped under a key that was replaced") from None
        dek = open_small(kek, sealed, self._aad(document, "key") + place)
        if dek is None:
            raise SealBroken(document, "key", "altered, or wrapped under another master key")
        return slot, generation, dek


def _rechunked(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in chunks of exactly `_CHUNK_BYTES`, the last one shorter; at least one chunk."""
    held, given = bytearray(), False
    for part in parts:
        held += part
        while len(held) > _CHUNK_BYTES:  # one full chunk is held back: it may be the last
            yield bytes(held[:_CHUNK_BYTES])
            given = True
            del held[:_CHUNK_BYTES]
    if held or not given:
        yield bytes(held)


def _numbered(chunks: Iterator[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Each chunk with its nonce: its number (88 bits), then 1 for the last chunk and 0 for others.

    A stream without chunks gives an empty last one, so that a blob cut after its header fails to open.
    """
    number, chunk = 0, next(chunks, b"")
    for following in chunks:
        yield number.to_bytes(NONCE_BYTES - 1, "big") + b"\x00", chunk
        number, chunk = number + 1, following
    yield number.to_bytes(NONCE_BYTES - 1, "big") + b"\x01", chunk
