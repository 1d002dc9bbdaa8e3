"""What a sealed blob promises: it opens as it was sealed, where it was sealed, or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy import files
from privacy.errors import NotSealed, SealBroken
from privacy.keys import MasterKey, derive, open_small, seal_small
from privacy.sealing import Sealing
from privacy.vault import Shelf, Vault

CHUNK = 65536
sizes = st.sampled_from([0, 1, 17, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 5])
each = settings(max_examples=60)


@pytest.fixture
def master(tmp_path: Path) -> MasterKey:
    return MasterKey.create(tmp_path / "master.key")


@pytest.fixture
def shelf(tmp_path: Path, master: MasterKey) -> Shelf:
    return Shelf.create(tmp_path / "shelf", master)


@pytest.fixture
def vault(tmp_path: Path, shelf: Shelf) -> Vault:
    vault = Vault(tmp_path / "vault", shelf)
    vault.create("a", 0)
    vault.create("b", 1)
    return vault


def _sealed(vault: Vault, document: str, name: str) -> Path:
    return vault.root / document / f"{name}.sealed"


@given(data=st.one_of(st.binary(max_size=300), sizes.map(os.urandom)))
@each
def test_what_was_put_comes_back(vault: Vault, data: bytes) -> None:
    vault.put("a", "page", data)
    assert vault.get("a", "page") == data
    assert all(len(chunk) <= CHUNK for chunk in vault.stream("a", "page"))


@given(parts=st.lists(st.one_of(st.binary(max_size=20), sizes.map(bytes)), max_size=5))
@each
def test_a_stream_of_parts_is_their_concatenation(vault: Vault, parts: list[bytes]) -> None:
    vault.put("a", "page", iter(parts))
    assert vault.get("a", "page") == b"".join(parts)


@given(size=sizes, where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@each
def test_any_flipped_bit_breaks_the_seal(vault: Vault, size: int, where: float, bit: int) -> None:
    vault.put("a", "page", os.urandom(size))
    path = _sealed(vault, "a", "page")
    sealed = bytearray(path.read_bytes())
    sealed[int(where * len(sealed))] ^= 1 << bit
    path.write_bytes(sealed)
    with pytest.raises(SealBroken, match="'page' of document 'a'"):
        vault.get("a", "page")


@pytest.mark.parametrize("size", [0, 100])
def test_every_single_byte_counts(vault: Vault, size: int) -> None:
    vault.put("a", "page", bytes(size))
    path = _sealed(vault, "a", "page")
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(SealBroken):
            vault.get("a", "page")


@given(size=sizes, kept=st.floats(0, 1, exclude_max=True))
@each
def test_a_blob_that_was_cut_or_grew_does_not_open(vault: Vault, size: int, kept: float) -> None:
    vault.put("a", "page", bytes(size))
    path = _sealed(vault, "a", "page")
    whole = path.read_bytes()
    for changed in (whole[: int(kept * len(whole))], whole + b"\0", whole + whole[-(CHUNK + 16) :]):
        path.write_bytes(changed)
        with pytest.raises(SealBroken):
            vault.get("a", "page")


def test_chunks_neither_change_places_nor_go_missing(vault: Vault) -> None:
    vault.put("a", "page", os.urandom(4 * CHUNK))
    path = _sealed(vault, "a", "page")
    whole, piece = path.read_bytes(), CHUNK + 16
    header = len(whole) - 4 * piece
    chunks = [whole[header + n * piece :][:piece] for n in range(4)]
    for order in ([1, 0, 2, 3], [0, 1, 2], [0, 1, 3], [3], [0, 0, 1, 2, 3]):
        path.write_bytes(whole[:header] + b"".join(chunks[n] for n in order))
        with pytest.raises(SealBroken):
            vault.get("a", "page")


def test_a_blob_opens_only_under_its_document_and_name(vault: Vault) -> None:
    vault.put("a", "page", b"of a")
    vault.put("a", "text", b"another of a")
    vault.put("b", "page", b"of b")
    for source, target in ((("a", "page"), ("b", "page")), (("a", "page"), ("a", "text"))):
        shutil.copy(_sealed(vault, *source), _sealed(vault, *target))
        with pytest.raises(SealBroken):
            vault.get(*target)
    assert vault.get("a", "page") == b"of a"


def test_a_document_does_not_open_under_another_id_vault_or_master(vault: Vault, shelf: Shelf, tmp_path: Path) -> None:
    vault.put("a", "page", b"of a")
    shutil.copytree(vault.root / "a", vault.root / "c")
    with pytest.raises(SealBroken, match="'key' of document 'c'"):
        vault.get("c", "page")
    originals = Vault(vault.root, shelf, "originals")
    with pytest.raises(SealBroken):
        originals.get("a", "page")
    other = Vault(vault.root, Shelf.create(tmp_path / "other", MasterKey.create(tmp_path / "other.key")))
    with pytest.raises(SealBroken):
        other.get("a", "page")


def test_equal_content_is_sealed_differently_each_time(vault: Vault) -> None:
    seen = set()
    for _ in range(20):
        vault.put("a", "page", b"the same")
        seen.add(_sealed(vault, "a", "page").read_bytes())
    assert len(seen) == 20


def test_nothing_is_on_disk_in_clear_even_for_a_moment(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    secret, seen = b"MR JOHN DOE", []

    def look(fd: int) -> None:
        seen.extend(p.read_bytes() for p in vault.root.rglob("*") if p.is_file())

    monkeypatch.setattr(os, "fsync", look)
    vault.put("a", "page", secret * 10_000)
    assert seen
    assert all(secret not in content for content in seen)


def test_files_and_folders_are_the_owners_alone(vault: Vault) -> None:
    vault.put("a", "page", b"x")
    modes = {path.relative_to(vault.root): path.stat().st_mode & 0o777 for path in vault.root.rglob("*")}
    assert modes == {
        Path("a"): 0o700,
        Path("b"): 0o700,
        Path("a/key"): 0o600,
        Path("b/key"): 0o600,
        Path("a/page.sealed"): 0o600,
    }


def test_create_keeps_an_existing_key(vault: Vault) -> None:
    vault.put("a", "page", b"x")
    vault.create("a", 0)
    assert vault.get("a", "page") == b"x"
    assert vault.names("a") == ["page"]
    assert vault.ids() == ["a", "b"]


def test_what_is_not_there_is_said_to_be_missing(vault: Vault) -> None:
    with pytest.raises(NotSealed, match="'page' of document 'a'"):
        vault.get("a", "page")
    for ask in (lambda: vault.get("c", "page"), lambda: vault.names("c"), lambda: vault.put("c", "page", b"")):
        with pytest.raises(NotSealed, match="document 'c'"):
            ask()


@pytest.mark.parametrize("bad", ["", "..", "../x", "a/b", ".", "a\n", "ä", "-x", "x" * 65, "a.b", "/etc"])
def test_ids_that_are_paths_are_refused(vault: Vault, bad: str) -> None:
    with pytest.raises(ValueError, match="document id"):
        vault.create(bad, 0)
    if bad != "a.b":
        with pytest.raises(ValueError, match="blob name"):
            vault.put("a", bad, b"x")


def test_a_shredded_document_cannot_be_opened_from_a_copy(vault: Vault, tmp_path: Path) -> None:
    vault.put("a", "page", b"x")
    shutil.copy(_sealed(vault, "a", "page"), tmp_path / "copy")
    os.link(vault.root / "a" / "key", tmp_path / "key inode")
    before = (tmp_path / "key inode").read_bytes()
    vault.shred("a")
    vault.shred("a")
    assert not vault.exists("a")
    assert not (vault.root / "a").exists()
    assert (tmp_path / "key inode").read_bytes() != before
    vault.create("a", 0)
    shutil.copy(tmp_path / "copy", _sealed(vault, "a", "page"))
    with pytest.raises(SealBroken):
        vault.get("a", "page")


@pytest.fixture
def crash_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """`crash_at(n)`: the n-th change of the disk raises instead, as if the power had gone."""

    class PowerCut(BaseException):
        pass

    real = {name: getattr(os, name) for name in ("fsync", "unlink", "rmdir", "pwrite", "link")}

    def arm(number: int) -> type[PowerCut]:
        left = [number]

        def guarded(name: str) -> object:
            def call(*args: object, **kwargs: object) -> object:
                if left[0] == 0:
                    raise PowerCut
                left[0] -= 1
                return real[name](*args, **kwargs)

            return call

        for name in real:
            monkeypatch.setattr(os, name, guarded(name))
        return PowerCut

    yield arm
    monkeypatch.undo()


def test_a_shred_cut_short_leaves_all_or_no_key(vault: Vault, shelf: Shelf, crash_at, monkeypatch) -> None:
    key_gone = []
    for number in range(30):
        vault.create("a", 0)
        vault.put("a", "page", b"x" * 100)
        cut = crash_at(number)
        try:
            vault.shred("a")
        except cut:
            finished = False
        else:
            finished = True
        monkeypatch.undo()
        again = Vault(vault.root, shelf)
        key_gone.append(not again.exists("a"))
        if again.exists("a"):
            with suppress(SealBroken):  # the key is overwritten before its file is removed
                assert again.get("a", "page") == b"x" * 100
            again.shred("a")
        else:
            with pytest.raises(NotSealed):
                again.get("a", "page")
            again.sweep(["a"])
        assert not (vault.root / "a").exists()
        if finished:
            break
    assert finished
    assert key_gone == sorted(key_gone)  # before some moment never, after it always


def test_a_create_cut_short_can_be_repeated(vault: Vault, crash_at, monkeypatch) -> None:
    for number in range(30):
        cut = crash_at(number)
        try:
            vault.create("c", 2)
        except cut:
            finished = False
        else:
            finished = True
        monkeypatch.undo()
        vault.create("c", 2)
        vault.put("c", "page", b"x")
        assert vault.get("c", "page") == b"x"
        vault.shred("c")
        if finished:
            return
    pytest.fail("it never finished")


def test_sweeping_finishes_what_a_crash_left(vault: Vault) -> None:
    vault.put("a", "page", b"x")
    vault.put("b", "page", b"y")
    (vault.root / "a" / "key").unlink()
    (vault.root / "b" / ".page.sealed.0123.part").write_bytes(b"half")
    assert vault.sweep(["a", "b", "c"]) == 2
    assert vault.ids() == ["b"]
    assert vault.get("b", "page") == b"y"
    assert not (vault.root / "a").exists()
    assert files.sweep(vault.root / "b") == 0


def test_a_key_that_cannot_be_looked_at_is_not_taken_for_missing(vault: Vault, shelf: Shelf, monkeypatch) -> None:
    vault.put("a", "page", b"x")
    stat = os.stat

    def refusing(path: object, **more: object) -> object:
        if str(path).endswith("/a/key"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        return stat(path, **more)

    with monkeypatch.context() as disk:
        disk.setattr(os, "stat", refusing)
        for look in (
            lambda: vault.exists("a"),
            lambda: vault.sweep(["a"]),
            lambda: vault.seal("a", 0, {"page": b"y"}, Sealing(shelf)),
        ):
            with pytest.raises(OSError, match="error"):
                look()
    assert vault.get("a", "page") == b"x"


def test_digests_depend_on_key_purpose_and_data(shelf: Shelf, master: MasterKey, tmp_path: Path) -> None:
    first, other = shelf.digests, Shelf.create(tmp_path / "other", master).digests
    digests = {
        key.digest(purpose, data) for key in (first, other) for purpose in ("file", "content") for data in (b"", b"x")
    }
    assert len(digests) == 8
    again = Shelf.open(shelf.path, [master]).digests
    assert again.digest_stream("file", [b"a", b"", b"bc"]) == first.digest("file", b"abc")


def test_coins_are_fair_fixed_and_apart(shelf: Shelf, master: MasterKey) -> None:
    coins = [shelf.digests.coin("holdout", slot) for slot in range(10_000)]
    assert all(0 <= coin < 1 for coin in coins)
    assert abs(sum(coin < 0.2 for coin in coins) / len(coins) - 0.2) < 0.02
    assert len(set(coins)) == len(coins)
    assert coins[5] == Shelf.open(shelf.path, [master]).digests.coin("holdout", 5)
    assert coins[5] != shelf.digests.coin("canary", 5)


@given(data=st.binary(max_size=100), aad=st.binary(max_size=20))
@each
def test_small_values_open_only_where_they_belong(data: bytes, aad: bytes) -> None:
    key = os.urandom(32)
    sealed = seal_small(key, data, aad)
    assert open_small(key, sealed, aad) == data
    assert data not in sealed or len(data) < 4
    for broken in (sealed[:-1], sealed[1:], b"", bytes([sealed[0] ^ 1]) + sealed[1:]):
        assert open_small(key, broken, aad) is None
    assert open_small(key, sealed, aad + b"x") is None


def test_vault_and_ledger_load_nothing_heavy() -> None:
    code = "import sys, privacy.vault, privacy.ledger; print(*{n.partition('.')[0] for n in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "torch", "scipy", "pydantic", "opacus"} & set(loaded)


@pytest.mark.parametrize("salt", [b"", b"salt", bytes(32)])
def test_keys_are_derived_as_rfc_5869_says(salt: bytes) -> None:
    theirs = HKDF(hashes.SHA256(), length=32, salt=salt or None, info=b"what for").derive(b"k" * 32)
    assert derive(b"k" * 32, b"what for", salt) == theirs
