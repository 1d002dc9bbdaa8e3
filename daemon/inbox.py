"""Notice and settle what is dropped into the inbox.

The directory is the truth: `scan` lists it, and events merely make the next scan come sooner. A
file is ready when it was the same (inode, size, modification and change time) at two looks at
least `settle_seconds` apart. The label file beside an image is taken with it. What is passed over
is counted under its reason: nothing is ignored in silence.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from daemon.taking import SIDECARS, Ready, identity, is_sidecar

UNFINISHED = (".part", ".partial", ".tmp", ".crdownload", ".filepart", "~")
SETTLING, LABELS_SETTLING = "still settling", "its labels are still settling"
ORPHAN = "a label file waits for its image"
MOST_SECONDS = 60.0
"""A file that could not be taken is tried again after 1, 2, 4 ... so many seconds."""
Signature = tuple[int, int, int, int]


@dataclass(frozen=True)
class _Refusal:
    """A file that could not be taken: until when it is left alone, how long that is, and why."""

    until: float
    delay: float
    reason: str


class Inbox:
    """One inbox; not shared between threads, but for `waiting`.

    Args:
        root: the inbox.
        settle_seconds: how long a file must hold still.
        sidecar_wait_seconds: after this long a label file without an image is taken alone.
    """

    def __init__(self, root: Path, settle_seconds: float, sidecar_wait_seconds: float) -> None:
        self._root = root
        self._settle, self._sidecar_wait = settle_seconds, sidecar_wait_seconds
        self._seen: dict[Path, tuple[Signature, float]] = {}
        self._refused: dict[Path, _Refusal] = {}
        self.waiting: dict[str, int] = {}
        """Why entries were passed over at the last scan, and how many."""

    def scan(self, now: float) -> list[Ready]:
        """The files that are ready, oldest first.

        Args:
            now: a monotonic clock, in seconds.
        """
        seen: dict[Path, tuple[Signature, float]] = {}
        settled: dict[Path, os.stat_result] = {}
        self.waiting = {}
        there = set()
        for path, status in self._entries():
            if path in self._refused:
                there.add(path)
            reason = self._not_yet(path, status, now)
            if reason is None:
                signature = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
                before = self._seen.get(path)
                since = before[1] if before is not None and before[0] == signature else now
                seen[path] = (signature, since)
                if before is not None and now - since >= self._settle:
                    settled[path] = status
                    continue
                reason = SETTLING
            self._passed_over(reason)
        self._seen = seen
        self._refused = {path: refusal for path, refusal in self._refused.items() if path in there}
        return self._pair(settled, now)

    def busy(self) -> bool:
        """Whether any file still settles; the next look should then come soon."""
        return SETTLING in self.waiting or LABELS_SETTLING in self.waiting

    def refuse(self, ready: Ready, now: float, error: OSError) -> float:
        """A file that could not be taken is left alone for a while, so that it holds nobody else up; says how long."""
        before = self._refused.get(ready.file)
        delay = 1.0 if before is None else min(2 * before.delay, MOST_SECONDS)
        self._refused[ready.file] = _Refusal(now + delay, delay, _why(error))
        return delay

    def hold_back(self, ready: Sequence[Ready], reason: str) -> None:
        """Files that are ready and not taken, for a reason that is not theirs."""
        if ready:
            self.waiting[reason] = len(ready)

    def _passed_over(self, reason: str) -> None:
        self.waiting[reason] = self.waiting.get(reason, 0) + 1

    def _pair(self, settled: dict[Path, os.stat_result], now: float) -> list[Ready]:
        ready: list[Ready] = []
        for path in sorted((p for p in settled if not is_sidecar(p)), key=lambda p: (settled[p].st_mtime_ns, p)):
            sidecar = next((s for s in _sidecars_of(path) if s in self._seen), None)
            if sidecar is not None and sidecar not in settled:
                self._passed_over(LABELS_SETTLING)
                continue
            ready.append(_ready(path, sidecar, settled))
        taken = {r.sidecar for r in ready}
        for path in settled:
            if is_sidecar(path) and path not in taken:
                if now - self._seen[path][1] >= self._sidecar_wait:
                    ready.append(_ready(path, None, settled))
                else:
                    self._passed_over(ORPHAN)
        return ready

    def _entries(self) -> Iterator[tuple[Path, os.stat_result]]:
        """Every entry that is no folder and not hidden. A folder that cannot be listed holds up no other."""
        folders = [self._root]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if entry.name.startswith("."):
                            continue
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(Path(entry.path))
                            continue
                        try:
                            status = entry.stat(follow_symlinks=False)
                        except FileNotFoundError:
                            continue
                        yield Path(entry.path).relative_to(self._root), status
            except FileNotFoundError:
                if folder == self._root:
                    raise
            except OSError:
                if folder == self._root:
                    raise
                self._passed_over("in a folder that cannot be listed (see: ocrd doctor)")

    def _not_yet(self, path: Path, status: os.stat_result, now: float) -> str | None:
        """Why an entry is not even considered: a count for `ocrd status`, without a name."""
        if path.name.endswith(UNFINISHED):
            return "marked as unfinished by its name"
        if not stat.S_ISREG(status.st_mode):
            return "not a regular file"
        if status.st_nlink != 1:
            return "has another hard link"
        if not os.access(self._root / path, os.R_OK, follow_symlinks=False):
            return "may not be read by the service (see: ocrd doctor)"
        refusal = self._refused.get(path)
        return refusal.reason if refusal is not None and now < refusal.until else None


def _why(error: OSError) -> str:
    """For `ocrd status`, without a name."""
    if error.errno == errno.EROFS:
        return "cannot be taken: the inbox is read-only (mount it writable for the service)"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "cannot be taken: the service may not write to its folder (see: ocrd doctor)"
    return f"cannot be taken for now: {error.strerror}"


def _ready(path: Path, sidecar: Path | None, settled: dict[Path, os.stat_result]) -> Ready:
    both = [path] if sidecar is None else [path, sidecar]
    return Ready(path, sidecar, {each: identity(settled[each]) for each in both})


def _sidecars_of(path: Path) -> list[Path]:
    """`scan.png` is labelled by `scan.txt`, `scan.json`, `scan.png.txt` or `scan.png.json`."""
    return [path.with_suffix(s) for s in SIDECARS] + [path.with_name(path.name + s) for s in SIDECARS]
