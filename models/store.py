"""Versions of the model: content-hashed, signed folders, one pointer to the one in service, and a history.

    root/<version>/rec.onnx, rec_paddle/, claim.json, manifest.json     see models/manifest.py
    root/current -> <version>                                           one symbolic link, swapped atomically
    root/history.jsonl                                                  what was put into service, and when

The rules that ModelStore keeps:
 * A version appears whole or not at all: it is built in a temporary folder, fsynced, and renamed.
 * A version is never changed. Adding the same content again gives the same version.
 * `swap` checks the signature and every hash before it moves the pointer; a reader finds the old version or
   the new one.
 * The history line is on the medium before the pointer moves. A crash between leaves a line for a swap that
   did not happen, which the next swap settles with a line of its own; it never leaves a model that served
   without a line.
 * `previous` is what a roll-back returns to: the version that was in service before the current one, with
   versions that were rolled back left out.
 * Pruning keeps the newest versions, the current one, the previous one, and any that does not verify.

One process writes: the service, which holds the state folder's lock. Others open the store with the public
key. What this does not stop: whoever may write here as the service's user can point `current` at any signed
version.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import secrets
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from models import pins
from models.errors import ModelTampered, NoSuchVersion
from models.manifest import CLAIM, MANIFEST, MODEL_FILES, Manifest, StoredFile, parse, verify_folder
from privacy import files
from privacy.signing import SigningKey

_VERSION = re.compile(r"[0-9a-f]{16}")
_CURRENT = "current"
_HISTORY = "history.jsonl"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Swap:
    """One line of the history: from `time` on (UTC), `version` was in service instead of `was`."""

    seq: int
    time: str
    version: str
    was: str | None
    reason: str


def _now() -> datetime:
    return datetime.now(UTC)


class ModelStore:
    """The versions under one folder. Give a `SigningKey` to write, the public key (32 bytes) to read."""

    def __init__(self, root: Path, key: SigningKey | bytes, clock: Callable[[], datetime] = _now) -> None:
        self.root = root
        self._signing = key if isinstance(key, SigningKey) else None
        self._public = key.public if isinstance(key, SigningKey) else key
        self._clock = clock
        if self._signing is not None:
            files.make_dir(root)
            self._sweep()

    def current(self) -> str | None:
        """The version in service, or None before the first."""
        link = self.root / _CURRENT
        return link.readlink().name if link.is_symlink() else None

    def previous(self) -> str | None:
        """The version a roll-back returns to, or None."""
        served = _served(history(self.root))
        current = self.current()
        while served and served[-1] != current:  # a swap that did not happen
            served.pop()
        kept = [version for version in served[:-1] if (self.root / version).is_dir()]
        return kept[-1] if kept else None

    def versions(self) -> list[str]:
        """Every version, newest first."""
        found = [path.name for path in self.root.iterdir() if _VERSION.fullmatch(path.name) and path.is_dir()]
        return sorted(found, key=lambda version: (self._created(version), version), reverse=True)

    def verify(self, version: str) -> Manifest:
        """The manifest of a version of which everything is as it was signed.

        Raises:
            NoSuchVersion: there is none of this name.
            ModelTampered: names the file.
        """
        folder = self.root / version
        if not _VERSION.fullmatch(version) or folder.is_symlink() or not folder.is_dir():
            raise NoSuchVersion(f"No model version {version!r} in {self.root}.")
        return verify_folder(folder, self._public)

    def add(
        self, content: Path | Mapping[str, Path | bytes], claim: Mapping[str, Any], parent: str | None = None
    ) -> str:
        """Stores a version and returns its name. It is not put into service.

        Args:
            content: a folder that holds `MODEL_FILES`, or exactly these by name: bytes, or a path to copy.
            claim: the privacy claim, stored as `claim.json`.
            parent: the version it was trained from; by default the current one.

        Raises:
            ValueError: names are missing or unknown.
            FileNotFoundError: a path to copy from leads nowhere.
            ModelTampered: this version is here already, and not as it was signed.
        """
        if isinstance(content, Path):
            content = {name: content / name for name in MODEL_FILES}
        if set(content) != set(MODEL_FILES):
            raise ValueError(f"Expected files named {sorted(MODEL_FILES)}, got {sorted(content)}.")
        key = self._writable()
        scratch = self.root / f".{secrets.token_hex(8)}.part"
        try:
            files.make_dir(scratch)
            files.make_dir(scratch / "rec_paddle")
            text = json.dumps(claim, indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"
            everything = {**content, CLAIM: text}
            stored = tuple(_store(scratch, name, everything[name]) for name in sorted(everything))
            manifest = Manifest.of(stored, parent or self.current(), _stamp(self._clock()))
            files.write_bytes(scratch / MANIFEST, manifest.sealed(key))
            if (self.root / manifest.version).exists():
                self.verify(manifest.version)
            else:
                files.move(scratch, self.root / manifest.version)
        finally:
            files.remove_tree(scratch)
        return manifest.version

    def install_released(self, weights_dir: Path) -> str:
        """Makes the first version out of the pinned released files; puts it into service if nothing else is.

        Raises:
            WeightsUnavailable, WeightsCorrupt: `weights_dir` does not hold exactly the released files.
        """
        from models import weights  # brings onnx: not for those who only read the store

        weights.verify(weights_dir)
        version = self.add(weights_dir, _released_claim())
        if self.current() is None:
            self.swap(version, "installed")
        return version

    def swap(self, version: str, reason: str = "promoted") -> None:
        """Puts a version into service, checked first. Returns once it is durable.

        Raises:
            NoSuchVersion, ModelTampered: nothing was changed.
        """
        self._writable()
        self.verify(version)
        if version == self.current():
            files.sync_dir(self.root)  # the pointer may have moved and its sync have failed: an earlier try
            return
        self._settle()
        self._record(version, reason)
        files.point(self.root / _CURRENT, version)

    def prune(self, keep: int, protect: Collection[str] = ()) -> list[str]:
        """Keeps the `keep` newest, current, previous and `protect`ed versions; returns what was removed."""
        if keep < 1:
            raise ValueError(f"Expected keep={keep} >= 1.")
        self._writable()
        every = self.versions()
        kept = {*every[:keep], *protect, self.current(), self.previous()}
        gone = [version for version in every if version not in kept and self._created(version)]
        for version in gone:
            scratch = self.root / f".{version}.part"
            files.move(self.root / version, scratch)
            files.remove_tree(scratch)
        return gone

    def _writable(self) -> SigningKey:
        if self._signing is None:
            raise TypeError("Expected a ModelStore opened with a SigningKey, got one with a public key.")
        return self._signing

    def _created(self, version: str) -> str:
        """When a version was made; empty if its manifest is not signed by our key."""
        try:
            return parse((self.root / version / MANIFEST).read_bytes(), self._public).created
        except (OSError, ValueError):
            return ""

    def _record(self, version: str, reason: str) -> None:
        path = self.root / _HISTORY
        if path.exists():
            files.truncate_synced(path, _whole(path.read_bytes()))
        seq = len(history(self.root))
        entry = Swap(seq, _stamp(self._clock()), version, self.current(), reason)
        files.append_synced(path, json.dumps(asdict(entry), sort_keys=True).encode() + b"\n")

    def _settle(self) -> None:
        """After a crash between the history line and the pointer, says that the swap did not happen."""
        done, current = history(self.root), self.current()
        if done and current is not None and done[-1].version != current:
            self._record(current, "the swap before was not completed")

    def _sweep(self) -> None:
        """Removes what a crash left half done, unless another process has the store open for writing."""
        lock = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, lock)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        for path in self.root.glob(".*.part"):
            if path.is_dir() and not path.is_symlink():
                files.remove_tree(path)
            else:
                files.remove_synced(path)


def history(root: Path) -> list[Swap]:
    """What was put into service, oldest first. A torn last line, which no caller was promised, is left out.

    Raises:
        ModelTampered: a line cannot be read.
    """
    path = root / _HISTORY
    data = path.read_bytes() if path.exists() else b""
    try:
        return [Swap(**json.loads(line)) for line in data[: _whole(data)].splitlines()]
    except (ValueError, TypeError):
        raise ModelTampered("history", _HISTORY, "has a line that is no history line") from None


def _whole(data: bytes) -> int:
    """The length of the part that ends with a line feed."""
    return data.rfind(b"\n") + 1


def _served(done: list[Swap]) -> list[str]:
    """The versions in service, each replaced by the next; a return to the one before takes the last off."""
    served: list[str] = []
    for swap in done:
        if served[-2:-1] == [swap.version]:
            served.pop()
        elif served[-1:] != [swap.version]:
            served.append(swap.version)
    return served


def _store(folder: Path, name: str, content: Path | bytes) -> StoredFile:
    """Writes one file, durably, and describes the bytes that were written."""
    digest, size = hashlib.sha256(), 0
    with files.replace(folder / name) as target:
        for chunk in _chunks(content):
            target.write(chunk)
            digest.update(chunk)
            size += len(chunk)
    return StoredFile(name, size, digest.hexdigest())


def _chunks(content: Path | bytes) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as source:
        while chunk := source.read(_CHUNK):
            yield chunk


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _released_claim() -> dict[str, Any]:
    """What the released weights may say of themselves: public, and nothing of anybody here."""
    sources = [{"package": w.package, "version": w.version, "sha256": w.sha256} for w in pins.RELEASED]
    return {"kind": "released", "model": "PP-OCRv4 mobile recogniser", "epsilon": 0.0, "sources": sources}
