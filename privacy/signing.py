"""Ed25519 keys: ledger, model store and claims are signed with one and checked with its public half.

Key files are PEM (PKCS 8 and SubjectPublicKeyInfo), so that `openssl pkeyutl -verify -rawin` can check a
signature without this program. Every message carries its purpose, so that a signature made for one thing can
never pass for another.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NoReturn

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from privacy import files
from privacy.errors import KeyRefused
from privacy.keys import read_secret

_SPKI = serialization.PublicFormat.SubjectPublicKeyInfo
_MOST_BYTES = 4096


class SigningKey:
    """An Ed25519 private key. It never appears in a `repr` and can't be pickled into another process."""

    __slots__ = ("_key",)

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def create(cls, path: Path) -> SigningKey:
        """A new key at `path`, mode 0600. Raises `FileExistsError` if the path is taken."""
        key = Ed25519PrivateKey.generate()
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        files.create(path, pem, 0o600)
        return cls(key)

    @classmethod
    def load(cls, path: Path, *, credential: bool = False) -> SigningKey:
        """Raises `KeyRefused`, `FileNotFoundError`."""
        try:
            key = serialization.load_pem_private_key(read_secret(path, credential=credential), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise KeyRefused(f"Expected an Ed25519 private key in PEM in {path}.") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise KeyRefused(f"Expected an Ed25519 private key in {path}, got another kind.")
        return cls(key)

    @property
    def public(self) -> bytes:
        """The public key, 32 raw bytes."""
        return self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """A signature of 64 bytes. The caller puts a purpose in front of what it signs."""
        return self._key.sign(message)

    def __repr__(self) -> str:
        return f"SigningKey({key_id(self.public)})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A signing key is not to be pickled.")


def verify(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether `signature` is `public`'s (32 bytes) over `message`."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def key_id(public: bytes) -> str:
    """A short public name of a key: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(public).hexdigest()[:16]


def write_public(path: Path, public: bytes) -> None:
    """Writes the public half where anybody may read it, as PEM."""
    pem = Ed25519PublicKey.from_public_bytes(public).public_bytes(serialization.Encoding.PEM, _SPKI)
    files.write_bytes(path, pem, 0o644)


def read_public(path: Path) -> bytes:
    """The 32 raw bytes of a public key in PEM. Raises `KeyRefused`, `FileNotFoundError`."""
    try:
        key = serialization.load_pem_public_key(path.read_bytes()[:_MOST_BYTES])
    except (ValueError, UnsupportedAlgorithm):
        raise KeyRefused(f"Expected an Ed25519 public key in PEM in {path}.") from None
    if not isinstance(key, Ed25519PublicKey):
        raise KeyRefused(f"Expected an Ed25519 public key in {path}, got another kind.")
    return key.public_bytes_raw()
