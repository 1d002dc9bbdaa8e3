"""Notice, settle, claim: against a real directory, with the clock as an argument."""

import os

import pytest

from daemon import inbox
from daemon.errors import BadFile


@pytest.fixture
def box(tmp_path):
    (tmp_path / "in" / ".claimed").mkdir(parents=True)
    return inbox.Inbox(tmp_path / "in", tmp_path / "in" / ".claimed", settle_seconds=2, sidecar_wait_seconds=60)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "in"


def names(ready):
    return [(r.file.as_posix(), r.sidecar and r.sidecar.as_posix()) for r in ready]


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
def test_an_image_takes_its_labels_with_it(box, folder, sidecar):
    (folder / "a.png").write_bytes(b"1")
    (folder / sidecar).write_bytes(b"label")
    box.scan(0.0)
    (ready,) = box.scan(2.0)
    assert names([ready]) == [("a.png", sidecar)]
    claim = box.claim(ready)
    assert claim.file.read_bytes() == b"1"
    assert claim.sidecar.read_bytes() == b"label"
    assert [p.name for p in folder.iterdir()] == [".claimed"]


def test_an_image_waits_for_labels_that_still_settle(box, folder):
    (folder / "a.png").write_bytes(b"1")
    box.scan(0.0)
    (folder / "a.txt").write_bytes(b"label")
    assert box.scan(2.0) == []
    assert names(box.scan(4.0)) == [("a.png", "a.txt")]


def test_labels_without_an_image_are_claimed_alone_in_the_end(box, folder):
    (folder / "a.txt").write_bytes(b"label")
    box.scan(0.0)
    assert box.scan(59.0) == []
    (ready,) = box.scan(60.0)
    claim = box.claim(ready)
    assert (claim.file, claim.sidecar.name, claim.name) == (None, "a.txt", "a.txt")


def test_a_sub_folder_is_kept_in_the_claim(box, folder):
    (folder / "ward-3").mkdir()
    (folder / "ward-3" / "a.png").write_bytes(b"1")
    box.scan(0.0)
    claim = box.claim(box.scan(2.0)[0])
    assert claim.name == "ward-3/a.png"
    assert "ward-3" not in repr(claim)


def test_a_withdrawn_file_leaves_no_claim_and_loses_no_labels(box, folder):
    (folder / "a.png").write_bytes(b"1")
    (folder / "a.txt").write_bytes(b"label")
    box.scan(0.0)
    (ready,) = box.scan(2.0)
    (folder / "a.png").unlink()
    assert box.claim(ready) is None
    assert (folder / "a.txt").read_bytes() == b"label"
    assert list((folder / ".claimed").iterdir()) == []


def test_undoing_a_claim_replaces_nothing(box, folder):
    (folder / "a.txt").write_bytes(b"old")
    box.scan(0.0)
    claim = box.claim(box.scan(60.0)[0])
    (folder / "a.txt").write_bytes(b"new")
    box.undo(claim.folder)
    assert (folder / "a.txt").read_bytes() == b"new"
    assert (folder / f"a.{claim.id}.txt").read_bytes() == b"old"


def test_the_oldest_file_comes_first(box, folder):
    for age, name in ((3, "c"), (1, "a"), (2, "b")):
        (folder / name).write_bytes(b"1")
        os.utime(folder / name, (100 - age, 100 - age))
    box.scan(0.0)
    assert [r.file.name for r in box.scan(2.0)] == ["c", "b", "a"]


def test_take_refuses_what_is_not_one_plain_file(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    assert inbox.take(tmp_path / "a", 5) == b"12345"
    with pytest.raises(BadFile, match="has 5 bytes; at most 4"):
        inbox.take(tmp_path / "a", 4)
    (tmp_path / "link").symlink_to("a")
    with pytest.raises(BadFile, match="symbolic link"):
        inbox.take(tmp_path / "link", 5)
    os.link(tmp_path / "a", tmp_path / "b")
    with pytest.raises(BadFile, match="one link"):
        inbox.take(tmp_path / "b", 5)
