"""What a version folder must hold, signed: file names, sizes, SHA-256, parent and date.

The version is named after its content: the SHA-256 of what `sha256sum` prints for its files in the order of
their names, so that anybody can recompute it in the folder:

    LC_ALL=C sha256sum claim.json rec.onnx rec_paddle/inference.pd* | sha256sum | cut -c 1-16

The signature (Ed25519) covers every field of `manifest.json` but itself. `verify_folder` checks the
signature, the name of the folder, every size and hash, and that nothing lies in the folder besides.
"""

from __future__ import annotations

import base64
import binascii
import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

from models.errors import ModelTampered
from privacy import files, signing

MANIFEST = "manifest.json"
CLAIM = "claim.json"
MODEL_FILES = ("rec.onnx", "rec_paddle/inference.pdiparams", "rec_paddle/inference.pdmodel")
"""Every version carries both: the file that RapidOCR loads and the inference model that PaddleOCR loads."""

_FILES = tuple(sorted((CLAIM, *MODEL_FILES)))
_FOLDERS = frozenset(name.rpartition("/")[0] for name in _FILES if "/" in name)
_FORMAT = 1
_PURPOSE = b"ocrd model manifest 1\n"
_MOST_BYTES = 1 << 20
_ANOTHER = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
"""What lies there is not what was signed; all else that the disk says, it says of itself."""


@dataclass(frozen=True)
class StoredFile:
    """One file of a version: its name inside the folder, its size in bytes, its SHA-256 in hex."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The signed description of a version. `parent` is the version it was trained from; `created` is UTC."""

    version: str
    files: tuple[StoredFile, ...]
    parent: str | None
    created: str

    def __post_init__(self) -> None:
        names = tuple(file.name for file in self.files)
        if names != _FILES:
            raise ValueError(f"Expected files={_FILES} in this order, got {names}.")
        if self.version != content_hash(self.files)[:16]:
            raise ValueError(f"Expected version={content_hash(self.files)[:16]}, got {self.version}.")

    @classmethod
    def of(cls, files: tuple[StoredFile, ...], parent: str | None, created: str) -> Manifest:
        """The manifest of these files, named after them."""
        return cls(content_hash(files)[:16], files, parent, created)

    def sealed(self, key: signing.SigningKey) -> bytes:
        """The bytes of `manifest.json`."""
        fields = self._fields(key.public)
        signature = base64.b64encode(key.sign(_message(fields))).decode("ascii")
        return json.dumps({**fields, "signature": signature}, indent=1, sort_keys=True).encode() + b"\n"

    def _fields(self, public: bytes) -> dict[str, Any]:
        return {"format": _FORMAT, "key": signing.key_id(public), **asdict(self)}


def content_hash(files: Iterable[StoredFile]) -> str:
    """SHA-256 in hex over the lines that `sha256sum` prints for these files."""
    return hashlib.sha256("".join(f"{file.sha256}  {file.name}\n" for file in files).encode()).hexdigest()


def parse(data: bytes, public_key: bytes) -> Manifest:
    """The manifest in these bytes, if `public_key` (32 bytes) signed it.

    Raises:
        ValueError: not a manifest, or not signed by this key.
    """
    try:
        fields = json.loads(data)
        signature = base64.b64decode(fields.pop("signature"), validate=True)
        if not signing.verify(public_key, signature, _message(fields)):
            raise ValueError(f"is not signed by key {signing.key_id(public_key)}")
        files = tuple(StoredFile(**file) for file in fields["files"])
        manifest = Manifest(fields["version"], files, fields["parent"], fields["created"])
    except (KeyError, TypeError, AttributeError, binascii.Error, UnicodeDecodeError, json.JSONDecodeError):
        raise ValueError("is not a manifest") from None
    if manifest._fields(public_key) != {**fields, "files": tuple(asdict(file) for file in files)}:
        raise ValueError("has fields that this program does not know")
    return manifest


def verify_folder(folder: Path, public_key: bytes) -> Manifest:
    """Returns the manifest of a version folder in which everything is as it was signed.

    Raises:
        ModelTampered: names the first file that is missing, changed, added or not signed.
        OSError: the disk does not give a file out, which says nothing about it.
    """
    try:
        manifest = parse(_read_manifest(folder), public_key)
    except (*_ANOTHER, ValueError) as error:
        raise ModelTampered(folder.name, MANIFEST, _why(error)) from None
    if manifest.version != folder.name:
        raise ModelTampered(folder.name, MANIFEST, f"describes version {manifest.version}")
    for file in manifest.files:
        try:
            _check(folder / file.name, file)
        except (*_ANOTHER, ValueError) as error:
            raise ModelTampered(folder.name, file.name, _why(error)) from None
    for name in sorted(_names_in(folder) - {file.name for file in manifest.files} - {MANIFEST}):
        raise ModelTampered(folder.name, name, "does not belong to it")
    return manifest


def _message(fields: dict[str, Any]) -> bytes:
    return _PURPOSE + json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


@contextmanager
def _opened(path: Path) -> Iterator[BufferedReader]:
    """A regular file that is no link. Raises `OSError`, `ValueError`."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise ValueError("is not a regular file") from None
        raise
    with files.named(path), os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ValueError("is not a regular file")
        yield file


def _read_manifest(folder: Path) -> bytes:
    with _opened(folder / MANIFEST) as file:
        return file.read(_MOST_BYTES)


def _check(path: Path, expected: StoredFile) -> None:
    with _opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size != expected.size:
            raise ValueError(f"has {size} bytes, expected {expected.size}")
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected.sha256:
        raise ValueError(f"has SHA-256 {found}, expected {expected.sha256}")


def _names_in(folder: Path) -> set[str]:
    """Every name below `folder`, but for the sub-folders that a version has; links are not followed."""
    names = set()
    for base, folders, plain in os.walk(folder, onerror=_raised):
        for name in (*folders, *plain):
            path = Path(base) / name
            inside = path.relative_to(folder).as_posix()
            if inside not in _FOLDERS or path.is_symlink():
                names.add(inside)
    return names


def _raised(error: OSError) -> None:
    raise error


def _why(error: OSError | ValueError) -> str:
    return "is missing" if isinstance(error, OSError) else str(error)
