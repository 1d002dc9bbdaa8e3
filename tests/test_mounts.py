"""Local or not: against the kernel's own numbers, and what follows from them."""

import subprocess
from pathlib import Path

import pytest

from daemon import mounts
from daemon.errors import BadSetting


def test_the_number_is_the_one_that_stat_prints(tmp_path):
    for path in (tmp_path, Path("/proc"), Path("/dev/shm")):
        printed = subprocess.run(["stat", "-f", "-c", "%t", path], capture_output=True, text=True, check=True).stdout
        assert mounts.magic(path) == int(printed, 16)
        assert mounts.network(path) is None
    with pytest.raises(FileNotFoundError):
        mounts.magic(tmp_path / "none")


@pytest.mark.parametrize("number", mounts.NETWORK)
def test_a_state_folder_on_the_network_is_refused(number, tmp_path, monkeypatch):
    monkeypatch.setattr(mounts, "magic", lambda path: number)
    with pytest.raises(BadSetting, match=f"lies on {mounts.NETWORK[number]}, .* local disk"):
        mounts.refuse_network(tmp_path)


@pytest.mark.parametrize(("kind", "remote"), [("sshfs", True), ("rclone", True), ("ntfs-3g", False), ("", False)])
def test_fuse_is_told_apart_by_the_mount_table(kind, remote, tmp_path, monkeypatch):
    monkeypatch.setattr(mounts, "magic", lambda path: mounts.FUSE)
    monkeypatch.setattr(mounts, "_fuse_kind", lambda path: kind)
    assert mounts.network(tmp_path) == (f"fuse.{kind}" if remote else None)


def test_the_mount_table_is_read_by_device():
    assert mounts._fuse_kind(Path("/proc")) == "proc"
