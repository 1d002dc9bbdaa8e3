"""What a ledger's lines and head must satisfy. Pure: no file, no clock, no private key.

    one line   {seq, time, kind, body, prev, hash, signature}
    the head   {size, hash, root, signature}: how long the ledger is known to be

Rules:

* Entry `n` bears `n`, the hash of entry `n - 1`, its own hash and a signature: an entry that was edited,
  moved, inserted or deleted is found with the public key alone.
* The head bears the length, the last hash and the root of the Merkle tree over all hashes, signed: an end
  that was cut off is found too.
* Beyond the head there is at most one line, from an append that a crash cut short. Nobody was told of it.
* A line is the canonical JSON of its entry, byte for byte.
* Bodies hold numbers, ids, hashes and versions; a string that could be prose or a file name is refused.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from privacy import merkle, signing

Body = Mapping[str, Any]
"""JSON of numbers, booleans, None, lists, string-keyed objects, and strings of the form of an id."""

ENTRY = b"ocrd ledger entry v1\n"
HEAD = b"ocrd ledger head v1\n"
_HEX = re.compile(r"(?:[0-9a-f]{2})*")
_PUBLIC = re.compile(r"[A-Za-z0-9_.:+=/-]{0,256}")


def origin(public: bytes) -> str:
    """What the first entry names as the hash before it: no two keys' ledgers have an entry in common."""
    return hashlib.sha256(ENTRY + public).hexdigest()


def canonical(value: Any) -> bytes:
    """The one JSON text of a value: sorted keys, no spaces, ASCII, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


@dataclass(frozen=True)
class Entry:
    """One line of the ledger. `hash` is SHA-256 over everything but itself and the signature."""

    seq: int
    time: str
    kind: str
    body: Body
    prev: str
    hash: str = ""
    signature: str = ""

    def expected_hash(self) -> str:
        fields = {**vars(self)}
        del fields["hash"], fields["signature"]
        return hashlib.sha256(ENTRY + canonical(fields)).hexdigest()

    def signed_by(self, public: bytes) -> bool:
        """Whether the hash is right and `public` (32 bytes) signed it."""
        return self.hash == self.expected_hash() and self.hash_signed_by(public)

    def hash_signed_by(self, public: bytes) -> bool:
        """Whether `public` signed the hash, right or wrong."""
        return signing.verify(public, unhex(self.signature), ENTRY + self.hash.encode())

    def line(self) -> bytes:
        return canonical(vars(self)) + b"\n"

    @classmethod
    def parse(cls, line: bytes) -> Entry:
        """Raises `ValueError` for a line that `line` would not have written."""
        try:
            entry = cls(**json.loads(line))
            same = entry.line() == line
        except (TypeError, ValueError, RecursionError):
            same = False
        if not same:
            raise ValueError("not a line of a ledger")
        return entry


@dataclass(frozen=True)
class Head:
    """How long the ledger is (`size` entries), its last hash and its Merkle root, signed."""

    size: int
    hash: str
    root: str
    signature: str = ""

    def __post_init__(self) -> None:
        if type(self.size) is not int or self.size < 0:
            raise ValueError(f"Expected a size >= 0, got {self.size!r}.")

    def message(self) -> bytes:
        return HEAD + canonical({"size": self.size, "hash": self.hash, "root": self.root})

    def signed_by(self, public: bytes) -> bool:
        return signing.verify(public, unhex(self.signature), self.message())


@dataclass(frozen=True)
class Inclusion:
    """Proof that entry `seq` with hash `hash` is in the ledger that `head` is the head of."""

    seq: int
    hash: str
    path: tuple[str, ...]
    head: Head

    def holds(self, public: bytes) -> bool:
        """Checks the proof and the head's signature; needs nothing else."""
        path = [unhex(sibling) for sibling in self.path]
        root = unhex(self.head.root)
        shown = merkle.included(unhex(self.hash), self.seq, self.head.size, path, root)
        return shown and self.head.signed_by(public)


@dataclass(frozen=True)
class LedgerReport:
    """What a check found. `ok` is the verdict; `problems` say what is wrong, the first one first.

    `pending` counts whole entries beyond the head (0 or 1) and `torn` the bytes of a line that was never
    finished: both are what a crash leaves, and no problem. `sound_bytes` is where the good part ends.
    """

    entries: tuple[Entry, ...] = field(repr=False)
    head: Head | None
    problems: tuple[str, ...]
    pending: int
    torn: int
    sound_bytes: int

    @property
    def ok(self) -> bool:
        return not self.problems


def check(
    data: bytes,
    head: Head | None,
    public: bytes,
    *,
    remembered: Head | None = None,
    every_signature: bool = True,
) -> LedgerReport:
    """Checks the bytes of a ledger against its head and, if given, a head that was remembered elsewhere.

    Without `every_signature` the entries that the head covers are vouched for by its signature alone, through
    the chain of hashes: as safe for their content, and several times faster.
    """
    known = head.size if head else 0
    vouched = 0 if every_signature else known
    entries: list[Entry] = []
    problems = ["there are entries, and the head is missing"] if data and not head else []
    sound = 0
    for line in data.splitlines(keepends=True):
        try:
            entry = _follow(line, entries, public, signed=len(entries) >= vouched)
        except ValueError as error:
            if len(entries) < known:
                problems.append(f"entry {len(entries)}: {error}")
            break
        entries.append(entry)
        sound += len(line)
    beyond = len(entries) - known + len(data[sound:].splitlines())
    if not problems and beyond > 1:
        problems.append(f"{beyond} lines lie beyond the head, and a crash leaves at most one")
    for name, other in (("head", head), ("remembered head", remembered)):
        problems.extend([] if other is None or problems else _against(other, name, entries, public))
    pending = max(len(entries) - known, 0)
    return LedgerReport(tuple(entries), head, tuple(problems), pending, len(data) - sound, sound)


def _follow(line: bytes, before: Sequence[Entry], public: bytes, *, signed: bool) -> Entry:
    """The entry of a line, if it is the next one after `before`; else `ValueError` saying why not."""
    entry = Entry.parse(line)
    if entry.seq != len(before):
        raise ValueError(f"expected number {len(before)}, got {entry.seq}")
    if entry.hash != entry.expected_hash():
        raise ValueError("its content does not have its hash")
    if signed and not entry.hash_signed_by(public):
        raise ValueError("its signature is not by the expected key")
    if entry.prev != (before[-1].hash if before else origin(public)):
        raise ValueError("it does not follow from the entry before it")
    return entry


def _against(head: Head, name: str, entries: Sequence[Entry], public: bytes) -> list[str]:
    """What speaks against `entries` being the ledger of `head`, or that ledger and more."""
    if not head.signed_by(public):
        return [f"the {name}'s signature is not by the expected key"]
    if head.size > len(entries):
        return [f"the {name} knows {head.size} entries, and there are {len(entries)}: the end was cut off"]
    if head.hash != (entries[head.size - 1].hash if head.size else origin(public)):
        return [f"entry {head.size - 1} is not the one the {name} knows"]
    if head.root != merkle.Tree([unhex(entry.hash) for entry in entries[: head.size]]).root().hex():
        return [f"the {name}'s Merkle root is not that of its entries"]
    return []


def check_public(value: Any, where: str) -> None:
    """Refuses what could be content: prose, names, text outside ASCII, numbers that are none."""
    if value is None or isinstance(value, bool | int):
        return
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"Expected a finite number at {where}, got {value}.")
    elif isinstance(value, str):
        if not _PUBLIC.fullmatch(value):
            raise ValueError(f"Expected an id, hash or version at {where}; the string there may be content.")
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise ValueError(f"Expected string keys at {where}, got {type(key).__name__}.")
            check_public(key, f"{where} (a key)")
            check_public(inner, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            check_public(inner, f"{where}[{index}]")
    else:
        raise ValueError(f"Expected JSON at {where}, got {type(value).__name__}.")


def unhex(text: str) -> bytes:
    """Lower-case hex digits as bytes; nothing for anything else, which then fails its check."""
    whole = isinstance(text, str) and _HEX.fullmatch(text)
    return bytes.fromhex(text) if whole else b""
