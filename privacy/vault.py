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
  opened, whatever copies of the blobs exist.
  Where the slot was punctured as well (`privacy.shelf`), copies of the wrapped key are worth nothing either.
* `rewrap` wraps each data key anew under the shelf's newest generation; no blob is touched.
* Nothing private is written in clear: temporary files hold ciphertext too.

Not promised: that an *older* sealed version of the same blob is refused (put it back and it opens), that
overwriting reaches every copy on the medium (see `privacy.files`), or that keys are wiped from this process's
memory (Python can't). Ids and names of blobs are visible, so they must hold nothing private.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from privacy import files, syncfs
from privacy.data_keys import FORMAT, DataKeys, authenticated
from privacy.errors import NotSealed, SealBroken
from privacy.keys import KEY_BYTES, derive
from privacy.sealing import Sealing, commit
from privacy.shelf import Shelf
from privacy.stream import CHUNK_BYTES, numbered, rechunked

__all__ = ["Shelf", "Vault"]

_SALT_BYTES = 32
_TAG_BYTES = 16
_FEW = 8
_HEADER_BYTES = len(FORMAT) + _SALT_BYTES
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_SUFFIX = ".sealed"


def _there(path: str) -> bool:
    """Whether there is such a file or folder; one that can't be looked at is not taken for missing, and removed."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


class Vault:
    """The sealed documents under one folder: `<root>/<id>/key` and `<root>/<id>/<name>.sealed`.

    `purpose`, one of `shelf.VAULTS`, parts the vaults of one shelf: a document's folder does not open in a vault
    of another purpose. One process writes; several may read.
    """

    def __init__(self, root: Path, shelf: Shelf, purpose: str = "documents") -> None:
        self.root, self.purpose = root, purpose
        self._root = str(root)
        self._shelf = shelf
        self.keys = DataKeys(self._at, shelf, purpose)
        files.make_dir(root)

    def create(self, document: str, slot: int) -> None:
        """Makes a document's key. An existing document keeps its own; a half-done shred is finished.

        Raises:
            Punctured: the slot was forgotten; nothing can be sealed for it any more.
        """
        with self._shelf.lock:
            sealing = Sealing(self._shelf)
            self.seal(document, slot, {}, sealing)
            commit(self._shelf, [sealing])

    def put(self, document: str, name: str, data: bytes | Iterable[bytes]) -> None:
        """Seals a blob, replacing one of the same name, atomically and durably.

        Raises:
            NotSealed: the document was never created, or was shredded.
        """
        path, dek = self._blob(document, name), self.keys.opened(document)
        with files.replace(Path(path)) as file:
            file.writelines(self._sealed(dek, document, name, data))

    def seal(self, document: str, slot: int, blobs: Mapping[str, bytes | Iterable[bytes]], sealing: Sealing) -> None:
        """`create` and `put` in one: in its place, and durable, after `commit`.

        Raises:
            Punctured: as `create`.
        """
        folder = self._at(document)
        with self._shelf.lock:
            dek = self.keys.opened(document) if _there(f"{folder}/key") else self._begun(document, slot, sealing)
        for name, data in blobs.items():
            sealing.write(self._blob(document, name), self._sealed(dek, document, name, data))

    def _begun(self, document: str, slot: int, sealing: Sealing) -> bytes:
        """The new data key of a document without one; what half a shred has left goes first."""
        folder, dek = self._at(document), secrets.token_bytes(KEY_BYTES)
        wrapped = self.keys.wrapped(document, slot, dek)
        try:
            sealing.make_dir(folder)
        except FileExistsError:
            files.remove_tree(Path(folder))
            sealing.make_dir(folder)
        sealing.write(f"{folder}/key", (wrapped,))
        return dek

    def _sealed(self, dek: bytes, document: str, name: str, data: bytes | Iterable[bytes]) -> Iterator[bytes]:
        """The bytes of a blob's file, chunk by chunk."""
        salt = secrets.token_bytes(_SALT_BYTES)
        cipher, aad = self._cipher(dek, salt, document, name)
        start = FORMAT + salt
        for nonce, chunk in numbered(rechunked((data,) if isinstance(data, bytes) else data)):
            yield start + cipher.encrypt(nonce, chunk, aad)
            start = b""

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
        path, dek = self._blob(document, name), self.keys.opened(document)
        try:
            file = open(path, "rb")  # noqa: SIM115  closed below
        except FileNotFoundError:
            raise NotSealed(f"No blob {name!r} of document {document!r} is sealed here.") from None
        with file:
            header = file.read(_HEADER_BYTES)
            if len(header) != _HEADER_BYTES or not header.startswith(FORMAT):
                raise SealBroken(document, name, "no header of a known format")
            cipher, aad = self._cipher(dek, header[len(FORMAT) :], document, name)
            sealed = iter(lambda: file.read(CHUNK_BYTES + _TAG_BYTES), b"")
            try:
                for nonce, chunk in numbered(sealed):
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
        return _there(f"{self._at(document)}/key")

    def begun(self, document: str) -> bool:
        """Whether anything of it lies here, if only the folder that a sealing which broke off has left."""
        return _there(self._at(document))

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

    def shred_all(self, documents: Sequence[str]) -> None:
        """`shred` for many, with two syncs of the file system instead of several a document."""
        if len(documents) <= _FEW:
            for document in documents:
                self.shred(document)
            return
        folders = [folder for folder in map(self._at, documents) if _there(folder)]
        if not folders:
            return
        with self._shelf.lock:
            files.overwrite_all([Path(folder, "key") for folder in folders], self.root)
            for folder in folders:
                with suppress(FileNotFoundError):
                    shutil.rmtree(folder)
            syncfs.sync_file_system(self.root)

    def rewrap(self) -> int:
        """Wraps every data key under the shelf's newest generation; returns how many were not yet."""
        return self.keys.rewrap(self.ids())

    def sweep(self, documents: Iterable[str]) -> int:
        """At start: finishes half-done shreds, removes temporary files; returns how many of both.

        Args:
            documents: those that something was being done with. There may be a million others, which are as they were.
        """
        done = 0
        for folder in map(self._at, documents):
            if _there(f"{folder}/key"):
                done += files.sweep(Path(folder))
            elif _there(folder):
                files.remove_tree(Path(folder))
                done += 1
        return done

    def _folder(self, document: str) -> Path:
        return Path(self._at(document))

    def _at(self, document: str) -> str:
        if not _ID.fullmatch(document):
            raise ValueError(f"Expected a document id of letters, digits, - and _, got {document!r}.")
        return f"{self._root}/{document}"

    def _blob(self, document: str, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError(f"Expected a blob name of lower-case letters, digits, ., - and _, got {name!r}.")
        return f"{self._at(document)}/{name}{_SUFFIX}"

    def _cipher(self, dek: bytes, salt: bytes, document: str, name: str) -> tuple[AESGCM, bytes]:
        key = derive(dek, b"ocrd blob v1 " + name.encode(), salt)
        return AESGCM(key), authenticated(self.purpose, document, name + _SUFFIX)
