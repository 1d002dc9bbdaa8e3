"""The master key, the digest key, and the reading of key files.

The master key opens the key shelf (`privacy.shelf`) and nothing else, so that it can be replaced. The digest key lies
in the shelf and outlives it: names and contents that were seen before are known again under a new master key. What is
derived from either is derived by HKDF-SHA256 under a purpose of its own (RFC 5869), so that one use says nothing about
another. Key files that others can read are refused.
"""

from __future__ import annotations

import errno
import hmac
import os
import secrets
import stat
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from privacy import files
from privacy.errors import KeyRefused

KEY_BYTES = 32
NONCE_BYTES = 12
_MOST_BYTES = 4096


def read_secret(path: Path, *, credential: bool = False) -> bytes:
    """Reads a key file, refusing one that others may read or write.

    `credential` is for files under `$CREDENTIALS_DIRECTORY`: where that is a tmpfs, systemd grants the
    service access by an ACL, whose mask shows as group-read (mode 0440).

    Raises:
        KeyRefused: not a regular file, not ours, or a mode other than 0600 or 0400.
        OSError: there is none, or it can't be opened.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise KeyRefused(f"Expected a regular file as key file {path}.") from None
        raise
    try:
        status = os.fstat(fd)
        mode = stat.S_IMODE(status.st_mode)
        if not stat.S_ISREG(status.st_mode):
            raise KeyRefused(f"Expected a regular file as key file {path}.")
        if status.st_uid not in (os.geteuid(), 0):
            raise KeyRefused(f"Expected {path} to belong to this user or root, got uid {status.st_uid}.")
        if mode not in ({0o600, 0o400, 0o440} if credential else {0o600, 0o400}):
            raise KeyRefused(f"Expected mode 0600 or 0400 on key file {path}, got {mode:04o}. Run: chmod 600 {path}")
        return os.read(fd, _MOST_BYTES)
    finally:
        os.close(fd)


def derive(key: bytes, info: bytes, salt: bytes = b"") -> bytes:
    """HKDF-SHA256 of 32 bytes (RFC 5869): extract, then the one block of the expansion that such a length takes."""
    extracted = hmac.digest(salt or bytes(KEY_BYTES), key, "sha256")
    return hmac.digest(extracted, info + b"\x01", "sha256")


def seal_small(key: bytes, data: bytes, aad: bytes) -> bytes:
    """Seals a short value under a key of 32 bytes: nonce, then AES-256-GCM. `aad` names where it belongs."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, data, aad)


def open_small(key: bytes, sealed: bytes, aad: bytes) -> bytes | None:
    """The value, authenticated; None if it was altered, belongs elsewhere, or was sealed under another key."""
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], aad)
    except (InvalidTag, ValueError):
        return None


class Secret:
    """32 bytes from which keys are derived. Never in a `repr`, never pickled."""

    __slots__ = ("_subkeys", "_value")

    def __init__(self, value: bytes) -> None:
        if len(value) != KEY_BYTES:
            raise KeyRefused(f"Expected a key of {KEY_BYTES} bytes, got {len(value)}.")
        self._value = value
        self._subkeys: dict[str, bytes] = {}

    def subkey(self, purpose: str) -> bytes:
        """32 bytes for one purpose: knowing them tells nothing of the secret or another purpose's."""
        if purpose not in self._subkeys:
            self._subkeys[purpose] = derive(self._value, b"ocrd subkey v1 " + purpose.encode())
        return self._subkeys[purpose]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A key is not to be pickled.")


class MasterKey(Secret):
    """The one secret that is kept in a file of its own, or handed over by systemd."""

    __slots__ = ()

    @classmethod
    def create(cls, path: Path) -> MasterKey:
        """A new key at `path`, mode 0600, 32 raw bytes. Raises `FileExistsError` if the path is taken."""
        key = cls(secrets.token_bytes(KEY_BYTES))
        files.create(path, key._value, 0o600)
        return key

    @classmethod
    def load(cls, path: Path, *, credential: bool = False) -> MasterKey:
        """Reads a key file; `credential` for one under `$CREDENTIALS_DIRECTORY` (see `read_secret`).

        Raises:
            KeyRefused: others may read it, or it does not hold 32 bytes.
            FileNotFoundError: there is none.
        """
        return cls(read_secret(path, credential=credential))


class DigestKey(Secret):
    """Keyed digests of names, sources and contents, and the coin of the pools: what must outlive a master key."""

    __slots__ = ()

    def digest(self, purpose: str, data: bytes) -> bytes:
        """HMAC-SHA256 under the purpose's subkey: equal data, equal digest; guessing needs the key."""
        return hmac.digest(self.subkey("digest " + purpose), data, "sha256")

    def digest_stream(self, purpose: str, chunks: Iterable[bytes]) -> bytes:
        """`digest` of the chunks' concatenation, in constant memory."""
        mac = hmac.new(self.subkey("digest " + purpose), digestmod="sha256")
        for chunk in chunks:
            mac.update(chunk)
        return mac.digest()

    def coin(self, purpose: str, number: int) -> float:
        """A number in [0, 1), fixed by the key, the purpose and a public number (a slot) alone."""
        digest = self.digest("coin " + purpose, struct.pack(">Q", number))
        return float(int.from_bytes(digest[:8], "big") >> 11) / float(1 << 53)
