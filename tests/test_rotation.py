"""A new master key: no blob changes, digests stay, the old key opens nothing, and a kill anywhere loses nothing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from privacy import files, rotation, shelf
from privacy.errors import KeyRefused, Punctured, SealBroken
from privacy.keys import MasterKey
from privacy.rotation import MASTER, NEXT_MASTER
from privacy.shelf import PURPOSES, Shelf
from privacy.vault import Vault
from sealed import every_step, in_memory

DOCUMENTS = [f"{n:016x}" for n in range(5)]


@pytest.fixture
def root():
    with in_memory() as folder:
        yield folder


def made(root: Path) -> tuple[Path, Shelf, list[Vault]]:
    """Keys and two vaults with five documents, of which slot 2 was punctured."""
    shutil.rmtree(root, ignore_errors=True)
    keys = root / "keys"
    keys.mkdir(parents=True)
    opened = Shelf.create(keys / "shelf", MasterKey.create(keys / MASTER))
    vaults = [Vault(root / name, opened, purpose) for name, purpose in (("vault", "documents"), ("f", "failed"))]
    for vault in vaults:
        for slot, document in enumerate(DOCUMENTS):
            vault.create(document, slot)
            vault.put(document, "page", f"page {slot} of {vault.purpose}".encode())
    opened.puncture({purpose: [(2, 3)] for purpose in PURPOSES})
    return keys, opened, vaults


def reopened(root: Path) -> tuple[Path, Shelf, list[Vault]]:
    """As another process finds it: with whatever master keys lie there."""
    keys = root / "keys"
    masters = [MasterKey.load(keys / name) for name in (MASTER, NEXT_MASTER) if (keys / name).exists()]
    opened = Shelf.open(keys / "shelf", masters)
    return keys, opened, [Vault(root / name, opened, p) for name, p in (("vault", "documents"), ("f", "failed"))]


def all_is_there(vaults: list[Vault]) -> None:
    for vault in vaults:
        for slot, document in enumerate(DOCUMENTS):
            if slot == 2:
                with pytest.raises(Punctured):
                    vault.get(document, "page")
            else:
                assert vault.get(document, "page") == f"page {slot} of {vault.purpose}".encode()


def blobs(root: Path) -> dict[Path, tuple[int, bytes]]:
    return {path: (path.stat().st_ino, path.read_bytes()) for path in root.rglob("*.sealed")}


def test_every_data_key_is_wrapped_anew_and_no_blob_is_touched(root: Path) -> None:
    keys, opened, vaults = made(root / "state")
    blobs_before, wrapped_before = blobs(root), {p: p.read_bytes() for p in root.rglob("key")}
    shutil.copytree(keys, root / "old keys")
    digest = opened.digests.digest("name", b"scan.png")
    assert rotation.rotate(keys, opened, vaults) == 8
    all_is_there(vaults)
    all_is_there(reopened(root / "state")[2])
    assert blobs(root) == blobs_before
    changed = [path for path, data in wrapped_before.items() if path.read_bytes() != data]
    assert len(changed) == 8, "all but the punctured, which nothing opens"
    again = reopened(root / "state")[1]
    assert (again.generation, again.rotating, again.digests.digest("name", b"scan.png")) == (1, False, digest)
    assert sorted(p.name for p in keys.iterdir()) == ["master.key", "shelf"]
    old = MasterKey.load(root / "old keys" / MASTER)
    with pytest.raises(KeyRefused, match="does not open with this master key"):
        Shelf.open(keys / "shelf", [old])
    stolen = Vault(root / "state" / "vault", Shelf.open(root / "old keys" / "shelf", [old]))
    with pytest.raises(SealBroken, match="a key that was replaced"):
        stolen.get(DOCUMENTS[0], "page")


def test_rotating_twice_and_sealing_meanwhile(root: Path) -> None:
    keys, opened, vaults = made(root / "state")
    opened.begin(MasterKey.create(keys / NEXT_MASTER))
    vaults[0].create("f" * 16, 9)
    vaults[0].put("f" * 16, "page", b"meanwhile")
    assert rotation.rotate(keys, opened, vaults) == 8, "what came meanwhile is under the new generation already"
    rotation.rotate(keys, opened, vaults)
    assert opened.generation == 2
    assert vaults[0].get("f" * 16, "page") == b"meanwhile"
    all_is_there(vaults)


def killed_at_every_step(root: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    def check(subject, ended):
        keys, opened, vaults = reopened(root / "state")
        all_is_there(vaults)
        rotation.settle(keys, opened)  # a start, and another kill
        keys, opened, vaults = reopened(root / "state")
        all_is_there(vaults)
        if rotation.pending(keys):
            rotation.rotate(keys, opened, vaults)
        rotation.settle(keys, opened)
        assert opened.generation == int(ended or opened.generation > 0)
        keys, opened, vaults = reopened(root / "state")
        all_is_there(vaults)
        assert not opened.rotating
        assert sorted(p.name for p in keys.iterdir()) == ["master.key", "shelf"]
        assert len(list(root.rglob("*.part"))) == 0 or not ended

    return every_step(monkeypatch, lambda _: made(root / "state"), lambda subject: rotation.rotate(*subject), check)


def test_a_kill_at_any_step_is_finished_by_the_next(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert killed_at_every_step(root, monkeypatch) > 25


def drops_before_wrapping(keys, opened, vaults):
    path = keys / NEXT_MASTER
    master = MasterKey.load(path) if path.exists() else MasterKey.create(path)
    if not opened.opens_with(master):
        opened.begin(master)
    opened.finish(master)
    for vault in vaults:
        vault.rewrap()
    files.move_destroying(path, keys / MASTER)


def moves_the_key_first(keys, opened, vaults):
    path = keys / NEXT_MASTER
    master = MasterKey.load(path) if path.exists() else MasterKey.create(path)
    files.move_destroying(path, keys / MASTER)
    opened.begin(master)
    for vault in vaults:
        vault.rewrap()
    opened.finish(master)


def settles_what_is_in_force(path):
    """A mutant of `files.settle`: does not ask whether the old name is still the only one."""
    before = files._before(path)
    if before.exists():
        files.destroy(before)


@pytest.mark.parametrize("mutant", [drops_before_wrapping, moves_the_key_first, settles_what_is_in_force])
def test_an_order_that_loses_keys_is_seen(mutant, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if mutant is settles_what_is_in_force:
        monkeypatch.setattr(files, "settle", mutant)
    else:
        monkeypatch.setattr(rotation, "rotate", mutant)
    with pytest.raises((AssertionError, KeyRefused, SealBroken, FileNotFoundError)):
        killed_at_every_step(root, monkeypatch)


def test_the_old_key_files_bytes_are_destroyed_last(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys, opened, vaults = made(root / "state")
    os.link(keys / MASTER, root / "inode of the old key")
    os.link(keys / "shelf", root / "inode of the old shelf")
    old, shelf_before = (keys / MASTER).read_bytes(), (keys / "shelf").read_bytes()
    seen = []
    real = files.destroy
    monkeypatch.setattr(files, "destroy", lambda path, *a: (seen.append(path.name), real(path, *a)))
    rotation.rotate(keys, opened, vaults)
    assert seen == [".shelf.before", ".shelf.before", ".master.key.before"]
    assert (root / "inode of the old key").read_bytes() != old
    assert (root / "inode of the old shelf").read_bytes() != shelf_before


def test_an_altered_shelf_does_not_open(root: Path) -> None:
    keys, _, _ = made(root / "state")
    master, whole = MasterKey.load(keys / MASTER), (keys / "shelf").read_bytes()
    for place in [*range(0, 120), *range(120, len(whole), 97), len(whole) - 1]:
        (keys / "shelf").write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(KeyRefused):
            Shelf.open(keys / "shelf", [master])
    for cut in (b"", whole[:5], whole[:-1], whole + b"x"):
        (keys / "shelf").write_bytes(cut)
        with pytest.raises(KeyRefused):
            Shelf.open(keys / "shelf", [master])


def test_a_shelf_is_not_replaced_and_shows_nothing(root: Path) -> None:
    keys, opened, _ = made(root / "state")
    with pytest.raises(FileExistsError):
        Shelf.create(keys / "shelf", MasterKey.load(keys / MASTER))
    assert repr(opened) == "Shelf(generation 0)"
    with pytest.raises(TypeError, match="pickled"):
        shelf.Shelf.__reduce__(opened)
    assert (keys / "shelf").stat().st_mode & 0o777 == 0o600
