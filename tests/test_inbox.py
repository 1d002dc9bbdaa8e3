"""Notice, settle, claim: against a real directory, with the clock as an argument."""

import errno
import os
import subprocess
from contextlib import contextmanager

import pytest

from daemon import inbox, taking, unchanged
from daemon.errors import BadFile, NotInitialised
from privacy import files
from sealed import in_memory


@pytest.fixture
def box(tmp_path):
    (tmp_path / "in").mkdir()
    return inbox.Inbox(tmp_path / "in", settle_seconds=2, sidecar_wait_seconds=60)


@pytest.fixture
def claims(box, tmp_path):
    (tmp_path / "claimed").mkdir(mode=0o700)
    return taking.Claims(tmp_path / "in", tmp_path / "claimed")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "in"


def names(ready):
    return [(r.file, r.labels and r.labels[0]) for r in ready]


def test_a_file_is_ready_when_it_held_still_for_the_settling_time(box, folder):
    box_file = folder / "a.png"
    box_file.write_bytes(b"1")
    assert box.scan(0.0) == []
    assert box.scan(1.9) == []
    assert box.waiting == {"still settling": 1}
    assert names(box.scan(2.0)) == [("a.png", None)]


def test_a_slow_writer_starts_the_settling_anew(box, folder):
    (folder / "a.png").write_bytes(b"1")
    box.scan(0.0)
    with (folder / "a.png").open("ab") as file:
        file.write(b"2")
    assert box.scan(2.0) == []
    assert names(box.scan(4.0)) == [("a.png", None)]


@pytest.mark.parametrize("name", [".hidden.png", "a.png.part", "a.crdownload", "a.png~"])
def test_unfinished_names_are_never_taken(box, folder, name):
    (folder / name).write_bytes(b"1")
    box.scan(0.0)
    assert box.scan(100.0) == []


def test_links_and_pipes_stay_where_they_are_and_are_counted(box, folder, tmp_path):
    (tmp_path / "secret").write_bytes(b"s")
    (folder / "link.png").symlink_to(tmp_path / "secret")
    os.mkfifo(folder / "pipe.png")
    os.link(tmp_path / "secret", folder / "hard.png")
    box.scan(0.0)
    assert box.scan(10.0) == []
    assert box.waiting == {"not a regular file": 2, "has another hard link": 1}


@pytest.mark.parametrize("sidecar", ["a.txt", "a.json", "a.png.txt", "a.png.json"])
def test_an_image_takes_its_labels_with_it(box, folder, sidecar, claims):
    (folder / "a.png").write_bytes(b"1")
    (folder / sidecar).write_bytes(b"label")
    box.scan(0.0)
    (ready,) = box.scan(2.0)
    assert names([ready]) == [("a.png", sidecar)]
    claim = claims.take(ready)
    assert claim.file.read_bytes() == b"1"
    assert claim.sidecar.read_bytes() == b"label"
    assert list(folder.iterdir()) == []


def test_an_image_waits_for_labels_that_still_settle(box, folder):
    (folder / "a.png").write_bytes(b"1")
    box.scan(0.0)
    (folder / "a.txt").write_bytes(b"label")
    assert box.scan(2.0) == []
    assert names(box.scan(4.0)) == [("a.png", "a.txt")]


def test_labels_that_came_long_before_their_image_are_taken_with_it(box, folder):
    (folder / "a.txt").write_bytes(b"label")
    box.scan(0.0)
    box.scan(50.0)
    (folder / "a.png").write_bytes(b"1")
    box.scan(55.0)
    assert names(box.scan(57.0)) == [("a.png", "a.txt")]


def test_labels_beside_an_image_in_a_folder_label_no_other_folders_image(box, folder):
    for path in ("one/deep/a.png", "one/deep/a.json", "two/a.png", "a.png"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"1")
    box.scan(0.0)
    assert sorted(names(box.scan(2.0))) == [("a.png", None), ("one/deep/a.png", "one/deep/a.json"), ("two/a.png", None)]


def test_labels_without_an_image_are_claimed_alone_in_the_end(box, folder, claims):
    (folder / "a.txt").write_bytes(b"label")
    box.scan(0.0)
    assert box.scan(59.0) == []
    (ready,) = box.scan(60.0)
    claim = claims.take(ready)
    assert (claim.file, claim.sidecar.name, claim.name) == (None, "a.txt", "a.txt")


def test_a_sub_folder_is_kept_in_the_claim(box, folder, claims):
    (folder / "ward-3").mkdir()
    (folder / "ward-3" / "a.png").write_bytes(b"1")
    box.scan(0.0)
    claim = claims.take(box.scan(2.0)[0])
    assert claim.name == "ward-3/a.png"
    assert "ward-3" not in repr(claim)


def test_every_folder_of_a_nested_claim_is_synced_before_the_one_it_left(box, folder, claims, monkeypatch):
    (folder / "ward" / "deep").mkdir(parents=True)
    (folder / "ward" / "deep" / "a.png").write_bytes(b"1")
    box.scan(0.0)
    claim = claims.take(box.scan(2.0)[0])
    synced = []
    monkeypatch.setattr(files, "sync_dir", synced.append)
    claims.sync([claim])
    assert set(synced[:-1]) == {
        claim.folder.parent,
        claim.folder,
        claim.folder / "ward",
        claim.folder / "ward" / "deep",
    }
    assert synced[-1] == folder / "ward" / "deep"


def test_a_withdrawn_file_leaves_no_claim_and_loses_no_labels(box, folder, claims):
    (folder / "a.png").write_bytes(b"1")
    (folder / "a.txt").write_bytes(b"label")
    box.scan(0.0)
    (ready,) = box.scan(2.0)
    (folder / "a.png").unlink()
    assert claims.take(ready) is None
    assert (folder / "a.txt").read_bytes() == b"label"
    assert claims.left() == []


def test_undoing_a_claim_replaces_nothing(box, folder, claims):
    (folder / "a.txt").write_bytes(b"old")
    box.scan(0.0)
    claim = claims.take(box.scan(60.0)[0])
    (folder / "a.txt").write_bytes(b"new")
    claims.undo(claim.folder)
    assert (folder / "a.txt").read_bytes() == b"new"
    assert sorted(p.read_bytes() for p in folder.iterdir()) == [b"new", b"old"]


def test_the_oldest_file_comes_first(box, folder):
    for age, name in ((3, "c"), (1, "a"), (2, "b")):
        (folder / name).write_bytes(b"1")
        os.utime(folder / name, (100 - age, 100 - age))
    box.scan(0.0)
    assert [r.file for r in box.scan(2.0)] == ["c", "b", "a"]


def test_take_refuses_what_is_not_one_plain_file(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    assert unchanged.read(tmp_path / "a", 5) == b"12345"
    with pytest.raises(BadFile, match="has 5 bytes; at most 4"):
        unchanged.read(tmp_path / "a", 4)
    (tmp_path / "link").symlink_to("a")
    with pytest.raises(BadFile, match="symbolic link"):
        unchanged.read(tmp_path / "link", 5)
    os.link(tmp_path / "a", tmp_path / "b")
    with pytest.raises(BadFile, match="one link"):
        unchanged.read(tmp_path / "b", 5)


def test_a_folder_that_became_a_link_takes_nothing_from_elsewhere(box, folder, claims, tmp_path):
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "master.key").write_bytes(b"secret")
    (folder / "sub").mkdir()
    (folder / "sub" / "master.key").write_bytes(b"decoy")
    box.scan(0.0)
    (ready,) = box.scan(2.0)
    (folder / "sub").rename(folder / "away")
    (folder / "sub").symlink_to("../keys")
    assert claims.take(ready) is None
    assert (tmp_path / "keys" / "master.key").read_bytes() == b"secret"
    assert claims.left() == []


def test_a_file_that_was_swapped_since_the_look_goes_back(box, folder, claims):
    (folder / "a.png").write_bytes(b"1")
    box.scan(0.0)
    (ready,) = box.scan(2.0)
    (folder / "b").write_bytes(b"other")
    (folder / "b").replace(folder / "a.png")
    assert claims.take(ready) is None
    assert (folder / "a.png").read_bytes() == b"other"


def test_a_swapped_file_that_goes_back_replaces_none_that_came_meanwhile(box, folder, claims, monkeypatch):
    (folder / "a.png").write_bytes(b"first")
    box.scan(0.0)
    (ready,) = box.scan(2.0)
    (folder / "a.png").unlink()
    (folder / "a.png").write_bytes(b"second")
    lstat = os.lstat

    def dropping(path, **more):
        if str(path).endswith("a.png") and not (folder / "a.png").exists():
            (folder / "a.png").write_bytes(b"third")
        return lstat(path, **more)

    with monkeypatch.context() as user:
        user.setattr(os, "lstat", dropping)
        assert claims.take(ready) is None
    assert sorted(path.read_bytes() for path in folder.iterdir()) == [b"second", b"third"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs two users")
def test_another_users_file_goes_back():
    """The kernel lets nobody make a link to a file that he may not write, fs.protected_hardlinks being on."""
    with in_memory() as root:
        root.chmod(0o711)
        for name in ("in", "claimed"):
            (root / name).mkdir(mode=0o700)
            try:
                os.chown(root / name, 65534, 65534)
            except OSError:
                pytest.skip("root may not give files away here")
        for name in ("a.png", "a.txt"):
            (root / "in" / name).write_bytes(b"1")
            (root / "in" / name).chmod(0o644)
        try:
            os.seteuid(65534)
        except OSError:
            pytest.skip("root may not become another user here")
        try:
            box, claims = inbox.Inbox(root / "in", 2, 60), taking.Claims(root / "in", root / "claimed")
            box.scan(0.0)
            claims.undo(claims.take(box.scan(2.0)[0]).folder)
            assert sorted(path.name for path in (root / "in").iterdir()) == ["a.png", "a.txt"]
        finally:
            os.seteuid(0)


def test_a_claim_folder_that_is_not_ours_is_refused(folder, box, tmp_path):
    (tmp_path / "vault").mkdir(mode=0o700)
    (tmp_path / "claimed").symlink_to("vault")
    with pytest.raises(NotInitialised, match="tampered"):
        taking.Claims(folder, tmp_path / "claimed")
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o770)
    with pytest.raises(NotInitialised, match="mode 0700"):
        taking.Claims(folder, tmp_path / "open")


def test_what_is_no_claim_is_left_alone(claims, tmp_path):
    (tmp_path / "claimed" / "notes").mkdir()
    (tmp_path / "claimed" / "0123456789abcdef").symlink_to(tmp_path)
    assert claims.left() == []


def test_undoing_twice_leaves_one_file(box, folder, claims):
    (folder / "a.txt").write_bytes(b"label")
    box.scan(0.0)
    claim = claims.take(box.scan(60.0)[0])
    os.link(claim.sidecar, folder / "a.txt")  # a crash came between the link and the removal
    claims.undo(claim.folder)
    assert [(p.name, p.stat().st_nlink) for p in folder.iterdir()] == [("a.txt", 1)]


def test_undoing_beside_another_file_twice_leaves_one_name(box, folder, claims, monkeypatch):
    (folder / "a.txt").write_bytes(b"old")
    box.scan(0.0)
    claim = claims.take(box.scan(60.0)[0])
    (folder / "a.txt").write_bytes(b"new")
    with monkeypatch.context() as crash:
        crash.setattr(files, "move_new", lambda source, name, folder: os.link(source, name, dst_dir_fd=folder))
        crash.setattr(os, "fsync", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "the disk stops")))
        with pytest.raises(OSError, match="stops"):
            claims.undo(claim.folder)
    claims.undo(claim.folder)
    assert sorted((p.read_bytes(), p.stat().st_nlink) for p in folder.iterdir()) == [(b"new", 1), (b"old", 1)]


@pytest.mark.parametrize("name", ["x" * 251, "\u00e9" * 125 + "x", "-rf\n\udcff"])
def test_undoing_puts_any_name_back(box, folder, claims, name):
    (folder / "ward").mkdir()
    for suffix in ("png", "txt"):
        (folder / "ward" / f"{name}.{suffix}").write_text(suffix)
    box.scan(0.0)
    claim = claims.take(box.scan(60.0)[0])
    (folder / "ward").rmdir()
    claims.undo(claim.folder)
    assert sorted((p.name[:17], p.suffix, p.read_text()) for p in folder.iterdir()) == [
        (f"{claim.id}-", ".png", "png"),
        (f"{claim.id}-", ".txt", "txt"),
    ]


def test_undoing_that_cannot_be_synced_leaves_one_name(box, folder, claims, monkeypatch):
    (folder / "ward").mkdir()
    (folder / "ward" / "a.txt").write_bytes(b"label")
    box.scan(0.0)
    claim = claims.take(box.scan(60.0)[0])
    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "the disk stops")))
        with pytest.raises(OSError, match="stops"):
            claims.undo(claim.folder)
    claims.undo(claim.folder)
    assert [(p.name, p.stat().st_nlink) for p in folder.rglob("*.txt")] == [("a.txt", 1)]


def test_undoing_into_a_folder_that_has_gone_uses_the_inbox(box, folder, claims):
    (folder / "ward").mkdir()
    (folder / "ward" / "a.txt").write_bytes(b"label")
    box.scan(0.0)
    claim = claims.take(box.scan(60.0)[0])
    (folder / "ward").rmdir()
    (folder / "ward").write_bytes(b"now a file")
    claims.undo(claim.folder)
    assert (folder / f"{claim.id}-a.txt").read_bytes() == b"label", "it would label another unit's a.png"


def test_a_refused_file_holds_up_nobody_and_is_tried_again_ever_more_seldom(box, folder):
    (folder / "a.png").write_bytes(b"1")
    box.scan(0.0)
    (ready,) = box.scan(2.0)
    assert box.refuse(ready, 2.0, OSError(errno.EBUSY, "Device or resource busy")) == 1.0
    (folder / "b.png").write_bytes(b"1")
    assert box.scan(2.9) == []
    assert sum("cannot be taken for now: Device or resource busy" in why for why in box.waiting) == 1
    box.scan(3.0)
    assert names(box.scan(5.0)) == [("a.png", None), ("b.png", None)]
    delays = [box.refuse(ready, 5.0, OSError(errno.EIO, "Input/output error")) for _ in range(8)]
    assert delays == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    (folder / "a.png").unlink()
    box.scan(6.0)
    assert box.refuse(ready, 7.0, OSError(errno.EIO, "Input/output error")) == 1.0, "another file of that name"


def test_labels_that_could_not_be_taken_do_not_wait_anew(box, folder):
    (folder / "a.txt").write_bytes(b"labels")
    box.scan(0.0)
    (ready,) = box.scan(60.0)
    box.refuse(ready, 60.0, OSError(errno.EBUSY, "Device or resource busy"))
    assert box.scan(60.5) == []
    assert names(box.scan(61.0)) == [("a.txt", None)]


def test_labels_go_back_whatever_keeps_their_image(box, folder, claims, monkeypatch):
    """EAGAIN is what a file system in user space may say, and not only that somebody writes."""
    for name in ("a.png", "a.txt"):
        (folder / name).write_bytes(b"1")
    box.scan(0.0)
    (ready,) = box.scan(2.0)
    rename = os.rename

    def refusing(name, *more, **where):
        if name == "a.png":
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return rename(name, *more, **where)

    monkeypatch.setattr(os, "rename", refusing)
    with pytest.raises(BlockingIOError):
        claims.take(ready)
    assert sorted(path.name for path in folder.iterdir()) == ["a.png", "a.txt"]


@pytest.mark.parametrize("name", ["a.png", "a.png.part"])
def test_labels_wait_for_an_image_that_is_there_and_not_ready(box, folder, name):
    (folder / "a.txt").write_bytes(b"labels")
    box.scan(0.0)
    for now in range(50, 80):
        (folder / name).write_bytes(b"x" * now)
        assert box.scan(float(now)) == []
    (folder / name).rename(folder / "a.png")
    box.scan(80.0)
    assert names(box.scan(90.0)) == [("a.png", "a.txt")]


def test_a_refusal_is_counted_at_the_look_at_which_it_comes(box, folder):
    (folder / "a.png").write_bytes(b"1")
    box.scan(0.0)
    (ready,) = box.scan(2.0)
    box.refuse(ready, 2.0, OSError(errno.EROFS, "Read-only file system"))
    assert sum("the inbox is read-only" in why for why in box.waiting) == 1, "a status between two looks says nothing"


def test_a_file_that_is_open_for_writing_is_left_alone_and_may_be_renamed(box, folder, claims):
    with (folder / "a.png").open("wb") as writer:
        writer.write(b"the first half")
        writer.flush()
        box.scan(0.0)
        (ready,) = box.scan(2.0)
        with pytest.raises(BlockingIOError) as caught:
            claims.take(ready)
        box.refuse(ready, 2.0, caught.value)
        assert box.waiting == {inbox.WRITTEN: 1}
        (folder / "a.png").rename(folder / "b.png")
        writer.write(b" and the second")
    box.scan(3.0)
    (ready,) = box.scan(5.0)
    assert claims.take(ready).file.read_bytes() == b"the first half and the second"


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_read_only_inbox_is_named(tmp_path):
    root = tmp_path / "in"
    root.mkdir()
    (tmp_path / "claimed").mkdir(mode=0o700)
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", root], check=False, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        (root / "a.png").write_bytes(b"1")
        (root / ".claimed").mkdir(mode=0o700)
        subprocess.run(["mount", "-o", "remount,ro", root], check=True)
        box, claims = inbox.Inbox(root, 1, 60), taking.Claims(root, root / ".claimed")
        box.scan(0.0)
        (ready,) = box.scan(1.0)
        with pytest.raises(OSError, match="Read-only") as caught:
            claims.take(ready)
        box.refuse(ready, 1.0, caught.value)
        box.scan(1.5)
        assert sum("the inbox is read-only" in why for why in box.waiting) == 1
    finally:
        subprocess.run(["umount", "--lazy", root], check=True)


def test_a_folder_too_deep_to_list_is_counted(box, folder):
    fd = os.open(folder, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=fd)
        inner = os.open("d" * 250, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    (folder / "a.png").write_bytes(b"1")
    box.scan(0.0)
    assert names(box.scan(2.0)) == [("a.png", None)]
    assert sum("cannot be listed" in why for why in box.waiting) == 1


@pytest.fixture
def unseen(monkeypatch):
    """Names that cannot be looked at (`stat`), and folders that break off when they are listed (`list`)."""
    scandir, wanted = os.scandir, {"stat": set(), "list": set()}

    class Entry:
        def __init__(self, entry):
            self.name, self.is_dir, self._stat = entry.name, entry.is_dir, entry.stat

        def stat(self, **more):
            if self.name in wanted["stat"]:
                raise OSError(errno.EIO, os.strerror(errno.EIO), self.name)
            return self._stat(**more)

    @contextmanager
    def listed(path):
        with scandir(path) as entries:
            yield broken_off(sorted(entries, key=lambda entry: entry.name), os.path.basename(path.rstrip("/")))

    def broken_off(entries, folder):
        yield Entry(entries[0])
        if folder in wanted["list"]:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        yield from map(Entry, entries[1:])

    monkeypatch.setattr(os, "scandir", listed)
    return wanted


def test_a_file_that_cannot_be_looked_at_holds_up_no_other(box, folder, unseen):
    """The disk has lost its inode, say."""
    unseen["stat"] = {"Meier, HIV.png"}
    for name in ("Meier, HIV.png", "other.png"):
        (folder / name).write_bytes(b"x")
    box.scan(0.0)
    assert names(box.scan(5.0)) == [("other.png", None)]
    assert box.waiting == {"cannot be looked at: Input/output error": 1}


def test_an_image_waits_for_labels_that_cannot_be_looked_at_just_now(box, folder, unseen):
    """Neither is taken alone: the labels would never teach."""
    for name in ("a.png", "a.txt"):
        (folder / name).write_bytes(b"x")
    box.scan(0.0)
    unseen["stat"] = {"a.txt"}
    assert box.scan(2.0) == []
    unseen["stat"] = set()
    assert names(box.scan(2.5)) == [("a.png", "a.txt")]  # and it has settled meanwhile


def test_nor_is_it_taken_when_the_labels_were_never_seen(box, folder, unseen):
    for name in ("a.png", "a.txt"):
        (folder / name).write_bytes(b"x")
    unseen["stat"] = {"a.txt"}
    box.scan(0.0)
    assert box.scan(2.0) == []
    unseen["stat"] = set()
    box.scan(3.0)
    assert names(box.scan(5.0)) == [("a.png", "a.txt")]


def test_a_folder_that_is_not_listed_to_its_end_gives_nothing(box, folder, unseen):
    """Else an image would go without its labels."""
    (folder / "ward").mkdir()
    for name in ("a.png", "a.txt"):
        (folder / "ward" / name).write_bytes(b"x")
    box.scan(0.0)
    unseen["list"] = {"ward"}
    assert box.scan(2.0) == []
    assert sum("cannot be listed" in why for why in box.waiting) == 1
    unseen["list"] = set()
    box.scan(4.0)
    assert names(box.scan(6.0)) == [("ward/a.png", "ward/a.txt")]


def test_an_image_waits_for_labels_that_may_not_be_read(box, folder, monkeypatch):
    """And `ocrd status` says so; root may read anything, hence the wrapped call."""
    access, closed = os.access, {"a.txt"}
    monkeypatch.setattr(
        os, "access", lambda path, *a, **k: os.path.basename(path) not in closed and access(path, *a, **k)
    )
    for name in ("a.png", "a.txt"):
        (folder / name).write_bytes(b"x")
    box.scan(0.0)
    assert box.scan(2.0) == []
    assert box.waiting == {inbox.UNREADABLE: 1, inbox.LABELS_UNREADABLE: 1}
    assert not box.busy()
    closed.clear()
    box.scan(3.0)
    assert names(box.scan(5.0)) == [("a.png", "a.txt")]
