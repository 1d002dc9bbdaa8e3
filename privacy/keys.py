"""The master key and the reading of key files.

Every other secret of the program is derived from the master key by HKDF-SHA256 under a purpose of its own
(RFC 5869), so that one use of it says nothing about another. Key files that others can read are refused.
"""

from __future__ import annotations

import hmac
import os
import secrets
import stat
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from privacy import files
from privacy.errors import KeyRefused, SealBroken

KEY_BYTES = 32
NONCE_BYTES = 12
_MOST_BYTES = 4096


def read_secret(path: Path, *, credential: bool = False) -> bytes:
    """Reads a key file, refusing one that others may read or write.

    `credential` is for files under `$CREDENTIALS_DIRECTORY`: where that is a tmpfs, systemd grants the
    service access by an ACL, whose mask shows as group-read (mode 0440).

    Raises:
        KeyRefused: not a regular file, not ours, or a mode other than 0600 or 0400.
        FileNotFoundError: there is none.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise KeyRefused(f"Can't open key file {path}: {error.strerror}.") from None
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


def derive(key: bytes, info: bytes, salt: bytes | None = None) -> bytes:
    return HKDF(hashes.SHA256(), length=KEY_BYTES, salt=salt, info=info).derive(key)


class MasterKey:
    """The one secret from which every other key comes. Never in a `repr`, never pickled."""

    __slots__ = ("_subkeys", "_value")

    def __init__(self, value: bytes) -> None:
        if len(value) != KEY_BYTES:
            raise KeyRefused(f"Expected a master key of {KEY_BYTES} bytes, got {len(value)}.")
        self._value = value
        self._subkeys: dict[str, bytes] = {}

    @classmethod
    def create(cls, path: Path) -> MasterKey:
        """A new key at `path`, mode 0600, 32 raw bytes. Raises `FileExistsError` if the path is taken."""
        key = cls(secrets.token_bytes(KEY_BYTES))
        files.create(path, key._value, 0o600)
        return key

    @classmethod
    def load(cls, path: Path, *, credential: bool = False) -> MasterKey:
        """Reads a key file; `credential` for one under `$CREDENTIALS_DIRECTORY` (see `signing.read_secret`).

        Raises:
            KeyRefused: others may read it, or it does not hold 32 bytes.
            FileNotFoundError: there is none.
        """
        return cls(read_secret(path, credential=credential))

    def subkey(self, purpose: str) -> bytes:
        """32 bytes for one purpose: knowing them tells nothing of the master key or another purpose's."""
        if purpose not in self._subkeys:
            self._subkeys[purpose] = derive(self._value, b"ocrd subkey v1 " + purpose.encode())
        return self._subkeys[purpose]

    def digest(self, purpose: str, data: bytes) -> bytes:
        """HMAC-SHA256 under the purpose's subkey: equal data, equal digest; guessing needs the key."""
        return self.digest_stream(purpose, (data,))

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

    def seal_small(self, data: bytes, aad: bytes) -> bytes:
        """Seals a short value (a file name) for storage in the database; `aad` names where it belongs."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + AESGCM(self.subkey("small values")).encrypt(nonce, data, aad)

    def open_small(self, sealed: bytes, aad: bytes) -> bytes:
        """Raises `SealBroken` if the value was altered or belongs elsewhere."""
        nonce, sealed = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        try:
            return AESGCM(self.subkey("small values")).decrypt(nonce, sealed, aad)
        except (InvalidTag, ValueError):
            raise SealBroken("database", "small value", "authentication failed") from None

    def __repr__(self) -> str:
        return "MasterKey(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A master key is not to be pickled.")
