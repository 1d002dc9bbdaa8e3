"""Keys: their modes, their files, and what a signature covers."""

from __future__ import annotations

import pickle
import shutil
import subprocess
from pathlib import Path

import pytest

from privacy import signing
from privacy.errors import KeyRefused
from privacy.keys import MasterKey, read_secret
from privacy.signing import SigningKey


def test_a_key_survives_its_file(tmp_path: Path) -> None:
    key = SigningKey.create(tmp_path / "key")
    again = SigningKey.load(tmp_path / "key")
    assert again.public == key.public
    assert signing.verify(key.public, again.sign(b"message"), b"message")
    assert not signing.verify(key.public, again.sign(b"message"), b"another")
    assert not signing.verify(SigningKey.create(tmp_path / "other").public, again.sign(b"message"), b"message")
    assert not signing.verify(b"no key", again.sign(b"message"), b"message")


def test_the_public_half_has_a_file_of_its_own(tmp_path: Path) -> None:
    key = SigningKey.create(tmp_path / "key")
    signing.write_public(tmp_path / "key.pub", key.public)
    assert signing.read_public(tmp_path / "key.pub") == key.public
    with pytest.raises(KeyRefused, match="public key"):
        signing.read_public(tmp_path / "key")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_openssl_can_check_a_signature(tmp_path: Path) -> None:
    key = SigningKey.create(tmp_path / "key")
    signing.write_public(tmp_path / "key.pub", key.public)
    (tmp_path / "message").write_bytes(b"message")
    (tmp_path / "signature").write_bytes(key.sign(b"message"))
    options = ["-verify", "-rawin", "-pubin", "-inkey", "key.pub", "-sigfile", "signature", "-in", "message"]
    done = subprocess.run(["openssl", "pkeyutl", *options], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", [SigningKey, MasterKey])
def test_keys_are_neither_replaced_nor_shown_nor_pickled(
    tmp_path: Path, kind: type[SigningKey] | type[MasterKey]
) -> None:
    path = tmp_path / "key"
    key = kind.create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        kind.create(path)
    assert path.read_bytes().hex() not in repr(key)
    assert len(repr(key)) < 40
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(key)


@pytest.mark.parametrize("kind", [SigningKey, MasterKey])
@pytest.mark.parametrize("mode", [0o640, 0o644, 0o604, 0o660, 0o700, 0o4600, 0o440])
def test_keys_that_others_may_read_are_refused(
    tmp_path: Path, kind: type[SigningKey] | type[MasterKey], mode: int
) -> None:
    kind.create(tmp_path / "key")
    (tmp_path / "key").chmod(mode)
    with pytest.raises(KeyRefused, match=f"{mode:04o}"):
        kind.load(tmp_path / "key")


@pytest.mark.parametrize("mode", [0o400, 0o600])
def test_private_modes_are_accepted(tmp_path: Path, mode: int) -> None:
    MasterKey.create(tmp_path / "key")
    (tmp_path / "key").chmod(mode)
    MasterKey.load(tmp_path / "key")


def test_a_credential_may_show_its_acl_mask(tmp_path: Path) -> None:
    MasterKey.create(tmp_path / "key")
    (tmp_path / "key").chmod(0o440)
    MasterKey.load(tmp_path / "key", credential=True)
    (tmp_path / "key").chmod(0o444)
    with pytest.raises(KeyRefused):
        MasterKey.load(tmp_path / "key", credential=True)


def test_links_folders_and_other_sizes_are_refused(tmp_path: Path) -> None:
    MasterKey.create(tmp_path / "key")
    (tmp_path / "link").symlink_to(tmp_path / "key")
    with pytest.raises(KeyRefused, match="regular"):
        MasterKey.load(tmp_path / "link")
    with pytest.raises(KeyRefused, match="regular"):
        read_secret(tmp_path)
    for wrong in (b"", b"x" * 31, b"x" * 33):
        (tmp_path / "short").write_bytes(wrong)
        (tmp_path / "short").chmod(0o600)
        with pytest.raises(KeyRefused, match="32 bytes"):
            MasterKey.load(tmp_path / "short")
    with pytest.raises(KeyRefused, match="PEM"):
        SigningKey.load(tmp_path / "key")
    with pytest.raises(FileNotFoundError):
        MasterKey.load(tmp_path / "none")
