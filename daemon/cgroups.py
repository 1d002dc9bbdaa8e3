"""Limits for a round that hold it alone: a part of the service's own control group, where systemd delegates it.

A service that is not root can't ask systemd for another unit. With `Delegate=` it owns the tree beneath its own
group (cgroup v2) and divides it:

    ocrd.service/           systemd's; no process of its own once it is divided
      service/              the service, its decoders and readers
      round/                a round and its Paddle twin: memory.max, half a share of the processor, killed as one

Without delegation (started by hand, cgroup v1, an older unit) nothing is divided; a round's process is still the
first that the kernel takes when memory runs out (`oom_score_adj`, daemon/workers.py).

Sources: Documentation/admin-guide/cgroup-v2.rst; systemd's CGROUP_DELEGATION.md (the xattr marks what is ours).
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger("ocrd.cgroups")

SERVICE, ROUND = "service", "round"
MOST_TASKS = 1024


@dataclass(frozen=True)
class Subtree:
    """A divided control group; `folder` is systemd's, owned by us."""

    folder: Path

    def move(self, pid: int, group: str) -> None:
        """Puts a process, with its threads and what it will start, into a group. Raises OSError."""
        (self.folder / group / "cgroup.procs").write_text(str(pid))


def delegated(root: Path | None = None, pid: int | str = "self") -> Path | None:
    """The folder of our control group if systemd made it over to us; None otherwise.

    `root` is where cgroup v2 is mounted; by default as the mount table says.
    """
    with contextlib.suppress(OSError, StopIteration):
        _, folder = _placed(root, pid)
        if os.getxattr(folder, "user.delegate") == b"1" and os.access(folder / "cgroup.procs", os.W_OK):
            return folder
    return None


def _placed(root: Path | None, pid: int | str) -> tuple[Path, Path]:
    """Where cgroup v2 is mounted, and a process's group in it. Raises OSError, or StopIteration without cgroup v2."""
    base = root or _mounted()
    rows = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return base, base / next(row.removeprefix("0::/") for row in rows if row.startswith("0::/"))


def _mounted() -> Path:
    rows = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    return Path(next(row[1] for row in rows if row[2] == "cgroup2"))


def divide(folder: Path, memory: int) -> Subtree:
    """Moves this process into `service/` and makes `round/`, which may take `memory` bytes.

    A limit that the kernel does not have is left out, and said. Raises OSError when the tree is not ours after all.
    """
    for group in (SERVICE, ROUND):
        (folder / group).mkdir(exist_ok=True)
    (folder / SERVICE / "cgroup.procs").write_text(str(os.getpid()))
    there = (folder / "cgroup.controllers").read_text().split()
    wanted = [f"+{name}" for name in ("memory", "pids", "cpu") if name in there]
    (folder / "cgroup.subtree_control").write_text(" ".join(wanted))
    limits = {
        "memory.max": memory,
        "memory.swap.max": 0,
        "memory.oom.group": 1,
        "pids.max": MOST_TASKS,
        "cpu.weight": 50,
    }
    missing = [name for name, value in limits.items() if not _limited(folder / ROUND / name, value)]
    if missing:
        log.warning("control groups: a round has no %s here", ", ".join(missing))
    return Subtree(folder)


def _limited(file: Path, value: int) -> bool:
    if file.exists():
        file.write_text(str(value))
    return file.exists()


def memory_of_a_round(share: float) -> int:
    """Bytes: this share of what there is."""
    return int(share * memory())


def memory(root: Path | None = None, pid: int | str = "self") -> int:
    """Bytes of this machine, or of the tightest control group around the process (cgroup v2).

    `root` is where cgroup v2 is mounted; by default as the mount table says.
    """
    limits: list[float] = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    with contextlib.suppress(OSError, StopIteration):
        base, place = _placed(root, pid)
        for group in (place, *place.parents):
            if group.is_relative_to(base):
                limits += [_limit(group / name) for name in ("memory.max", "memory.high")]
    return int(min(limits))


def _limit(file: Path) -> float:
    """Bytes; no bound where there is no such file (the root of all groups) or it says so."""
    with contextlib.suppress(OSError, ValueError):
        return int(file.read_text())
    return math.inf
