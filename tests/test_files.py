"""Durability as far as one process can show it: the order of the calls, full disks, and kill -9."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from privacy import files, group, syncfs


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was synced and renamed, in order; paths by their last part, temporary ones as "temporary"."""
    seen: list[str] = []
    fsync, rename = os.fsync, Path.replace

    def name(path: str) -> str:
        last = Path(path).name
        return "temporary" if last.endswith(".part") else last

    def watched_fsync(fd: int) -> None:
        seen.append("fsync " + name(os.readlink(f"/proc/self/fd/{fd}")))
        fsync(fd)

    def watched_rename(self: Path, target: Path) -> Path:
        seen.append("rename to " + name(str(target)))
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "replace", watched_rename)
    return seen


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def test_a_file_is_synced_before_its_rename_and_the_directory_after(tmp_path: Path, calls: list[str]) -> None:
    files.write_bytes(tmp_path / "a", b"new")
    assert calls == ["fsync temporary", "rename to a", f"fsync {tmp_path.name}"]


def test_a_removal_a_move_and_a_new_directory_sync_the_directories(tmp_path: Path, calls: list[str]) -> None:
    files.make_dir(tmp_path / "into")
    assert calls == [f"fsync {tmp_path.name}"]
    files.write_bytes(tmp_path / "a", b"x")
    calls.clear()
    files.move(tmp_path / "a", tmp_path / "into" / "b")
    assert calls == ["rename to b", "fsync into", f"fsync {tmp_path.name}"]
    calls.clear()
    files.remove_synced(tmp_path / "into" / "b")
    files.remove_synced(tmp_path / "into" / "b")
    assert calls == ["fsync into", "fsync into"]


def test_replace_keeps_the_old_content_when_the_block_fails(tmp_path: Path) -> None:
    path = tmp_path / "a"
    files.write_bytes(path, b"old")
    with pytest.raises(RuntimeError, match="half way"), files.replace(path) as file:
        file.write(b"half of the n")
        raise RuntimeError("half way")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_replace_keeps_the_old_content_when_the_medium_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    files.write_bytes(path, b"old")

    def failing(fd: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="Input/output"):
        files.write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o644])
def test_modes_are_exact_whatever_the_umask(tmp_path: Path, mode: int) -> None:
    before = os.umask(0o077)
    try:
        files.write_bytes(tmp_path / "a", b"x", mode)
        files.create(tmp_path / "b", b"x", mode)
        files.make_dir(tmp_path / "c", 0o755)
    finally:
        os.umask(before)
    assert (_mode(tmp_path / "a"), _mode(tmp_path / "b"), _mode(tmp_path / "c")) == (mode, mode, 0o755)


def test_create_refuses_a_path_that_is_taken(tmp_path: Path) -> None:
    files.create(tmp_path / "key", b"first")
    with pytest.raises(FileExistsError):
        files.create(tmp_path / "key", b"second")
    assert (tmp_path / "key").read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["key"]


@contextmanager
def _largest_file(size: int) -> Iterator[None]:
    """A disk that is full after `size` bytes a file, by a resource limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_an_append_that_does_not_fit_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log"
    files.append_synced(path, b"a line\n")
    with _largest_file(10), pytest.raises(OSError, match="too large"):
        files.append_synced(path, b"a longer line\n")
    assert path.read_bytes() == b"a line\n"
    files.append_synced(path, b"another\n")
    assert path.read_bytes() == b"a line\nanother\n"


def test_a_link_is_swapped_in_one_step(tmp_path: Path) -> None:
    files.point(tmp_path / "current", "one")
    files.point(tmp_path / "current", "two")
    assert os.readlink(tmp_path / "current") == "two"
    assert os.listdir(tmp_path) == ["current"]


def test_removing_a_tree_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_bytes(b"x")
    (tmp_path / "tree" / "deep").mkdir(parents=True)
    (tmp_path / "tree" / "deep" / "link").symlink_to(tmp_path / "kept")
    files.remove_tree(tmp_path / "tree")
    files.remove_tree(tmp_path / "tree")
    assert not (tmp_path / "tree").exists()
    assert (tmp_path / "kept" / "file").read_bytes() == b"x"


def test_writing_through_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic link"):
        files.append_synced(tmp_path / "link", b"y")
    with pytest.raises(OSError, match="symbolic link"):
        files.destroy(tmp_path / "link")
    assert (tmp_path / "target").read_bytes() == b"x"


def test_destroying_overwrites_in_place(tmp_path: Path) -> None:
    secret = b"a key of thirty-two bytes, surely"
    (tmp_path / "key").write_bytes(secret)
    os.link(tmp_path / "key", tmp_path / "same inode")
    files.destroy(tmp_path / "key")
    files.destroy(tmp_path / "key")
    assert not (tmp_path / "key").exists()
    left = (tmp_path / "same inode").read_bytes()
    assert len(left) == len(secret)
    assert left != secret
    (tmp_path / "blob").write_bytes(b"h" * 40 + b"body")
    os.link(tmp_path / "blob", tmp_path / "same blob")
    files.destroy(tmp_path / "blob", first=40)
    left = (tmp_path / "same blob").read_bytes()
    assert left[:40] != b"h" * 40
    assert left[40:] == b"body"


WRITER = """
import sys
from pathlib import Path
from privacy import files, group, syncfs
path = Path(sys.argv[1])
for number in range(1 << 30):
    files.write_bytes(path, bytes([number % 256]) * 50_000)
    print(number, flush=True)
"""


def test_after_kill_9_the_file_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for run in range(5):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout
        writer.stdout.readline()
        time.sleep(0.003 * run)
        writer.kill()
        writer.communicate()
        content = path.read_bytes()
        assert content == content[:1] * 50_000
    files.sweep(tmp_path)
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_what_is_written_in_a_group_is_named_when_the_disk_refuses(tmp_path: Path, monkeypatch, call: str) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    written = group.Group()
    with pytest.raises(OSError, match="No space") as refused:
        written.write_bytes(tmp_path / "a", b"x")
        group.commit([written])
    assert Path(refused.value.filename).parent == tmp_path


def test_a_sync_that_failed_for_somebody_else_is_not_taken_for_a_good_one(tmp_path: Path, monkeypatch) -> None:
    """The kernel tells of what it lost to the first who asks."""
    written = group.Group()
    for number in range(group.FEW + 1):
        written.write_bytes(tmp_path / f"{number}", b"x")
    with monkeypatch.context() as disk:
        disk.setattr(syncfs._LIBC, "syncfs", lambda fd: -1)
        with suppress(OSError):
            syncfs.sync_file_system(tmp_path)
    with pytest.raises(OSError, match="Input/output error"):
        group.commit([written])
    written.abandon()
    again = group.Group()
    for number in range(group.FEW + 1):
        again.write_bytes(tmp_path / f"{number}", b"x")
    assert group.commit([again]) == group.FEW + 1


@pytest.fixture
def failing(tmp_path):
    """A file system whose disk has less room than it says; what is written there is lost."""
    small, mount = tmp_path / "small", tmp_path / "mount"
    with ExitStack() as mounts:
        tmpfs, loop = ("-t", "tmpfs", "-o", "size=3m", "tmpfs"), ("-o", "loop", small / "image")
        for folder, kind in ((small, tmpfs), (mount, loop)):
            folder.mkdir()
            if folder == mount:
                with (small / "image").open("wb") as image:
                    image.truncate(16 << 20)
                subprocess.run(["mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-N", "64", image.name], check=True)
            done = subprocess.run(["mount", *kind, folder], capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"mounts are not possible here: {done.stderr.strip()}")
            mounts.callback(subprocess.run, ["umount", folder], check=False)
        yield mount


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mkfs.ext4") is None, reason="needs root and mkfs.ext4")
def test_what_the_disk_lost_is_heard_though_another_process_heard_it_first(failing):
    """Without `hearing` the sync below says that all is well (not asserted: another kernel may be kinder)."""
    with syncfs.hearing(failing):
        (failing / "file").write_bytes(os.urandom(6 << 20))
        other = subprocess.run(["sync", "-f", failing / "file"], capture_output=True, text=True, check=False)
        assert other.returncode, "the disk is to fail"
        with pytest.raises(OSError, match="space|error"):
            syncfs.sync_file_system(failing)
