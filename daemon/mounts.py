"""Which file system a folder lies on, by the kernel's magic numbers (statfs(2)).

On a network mount inotify does not see what other machines do, and SQLite's locks and shared memory can't be relied
on. So an inbox there is listed on a clock alone, and a state folder there is refused.
"""

from __future__ import annotations

import ctypes
import math
import os
from pathlib import Path

from daemon.errors import BadSetting

NETWORK = {
    0x6969: "NFS",
    0x517B: "SMB",
    0xFF534D42: "CIFS",
    0xFE534D42: "SMB2",
    0x01021997: "9P",
    0x5346414F: "AFS",
    0x73757245: "Coda",
    0x00C36400: "Ceph",
    0x0BD00BD0: "Lustre",
    0x786F4256: "a shared folder of VirtualBox",
    0xBACBACBC: "a shared folder of VMware",
}
FUSE = 0x65735546
"""Local or remote, the kernel does not say: the mount table does (fuse.sshfs, fuse.rclone ...)."""
REMOTE_FUSE = ("sshfs", "rclone", "s3fs", "goofys", "davfs", "curlftpfs", "glusterfs", "gcsfuse", "blobfuse", "nfs")

_LIBC = ctypes.CDLL(None, use_errno=True)
_BUFFER_BYTES = 256


def magic(path: Path) -> int:
    """The number of the file system that holds `path`. Raises `OSError`."""
    buffer = ctypes.create_string_buffer(_BUFFER_BYTES)  # struct statfs begins with f_type, a long
    if _LIBC.statfs(os.fsencode(path), buffer) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return ctypes.c_long.from_buffer(buffer).value & 0xFFFFFFFF


def network(path: Path) -> str | None:
    """The kind of network file system that holds `path`; None for a local one."""
    number = magic(path)
    if number == FUSE:
        kind = _fuse_kind(path)
        return f"fuse.{kind}" if kind.startswith(REMOTE_FUSE) else None
    return NETWORK.get(number)


def _fuse_kind(path: Path) -> str:
    """The `x` of a mount of type fuse.x, from the mount table; "" if it does not say."""
    device = path.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if before.split()[2] == number:
            return after.split()[0].removeprefix("fuse.")
    return ""


def refuse_network(home: Path) -> None:
    """Raises `BadSetting` for a state folder on the network."""
    kind = network(home)
    if kind is not None:
        raise BadSetting(
            f"The state folder {home} lies on {kind}, where SQLite's locks and syncs can't be relied on. Put it on a "
            "local disk; the inbox may stay on the network (inbox = in ocrd.toml)."
        )


def free_bytes(path: Path) -> int:
    """What an ordinary user may still write on the file system that holds `path`."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def free_files(path: Path) -> float:
    """How many files an ordinary user may still make there: inodes; infinite where the file system has no bound."""
    found = os.statvfs(path)
    return found.f_favail if found.f_files else math.inf
