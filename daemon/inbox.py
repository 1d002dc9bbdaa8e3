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

from daemon import trouble, unchanged
from daemon.taking import SIDECARS, Ready
from daemon.unchanged import Seen

UNFINISHED = (".part", ".partial", ".tmp", ".crdownload", ".filepart", "~")
SETTLING, LABELS_SETTLING = "still settling", "its labels are still settling"
UNREADABLE = "may not be read by the service (see: ocrd doctor)"
LABELS_UNREADABLE = "waits for its labels, which may not be read by the service (see: ocrd doctor)"
WRITTEN = "still open for writing"
ORPHAN = "a label file waits for its image"
_UNSEEN: Seen = (0, 0, 0, 0, 0)
"""Of a file that could not be looked at, or not be read."""


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
        self._seen: dict[str, tuple[Seen, float]] = {}
        self._refused: dict[str, _Refusal] = {}
        self.waiting: dict[str, int] = {}
        """Why entries were passed over at the last scan, and how many."""

    def scan(self, now: float) -> list[Ready]:
        """The files that are ready, oldest first.

        Args:
            now: a monotonic clock, in seconds.
        """
        seen: dict[str, tuple[Seen, float]] = {}
        settled: list[str] = []
        unready: list[str] = []
        self.waiting = {}
        there: set[str] = set()
        for path, status in self._entries():
            if self._refused and path in self._refused:
                there.add(path)
            before = self._seen.get(path)
            if status is None:  # as it was, for all we know
                unready.append(path)
                seen[path] = before or (_UNSEEN, now)
                continue
            there_now = unchanged.seen(status)
            if before is None or before[0] != there_now:
                reason, last = self._unfit(path, status), (there_now, now)
            else:  # nothing about it has changed: it is as fit as it was
                reason, last = None, before
            if reason is None:
                seen[path] = last
                reason = self._refused_until(path, now) if path in there else None
                if reason is None and before is not None and now - last[1] >= self._settle:
                    settled.append(path)
                    continue
            elif reason == UNREADABLE and path.lower().endswith(SIDECARS):  # its image waits for it
                seen[path] = (_UNSEEN, now)
            unready.append(path)
            self._passed_over(reason or SETTLING)
        self._seen = seen
        self._refused = {path: refusal for path, refusal in self._refused.items() if path in there}
        return self._pair(settled, unready, now)

    def busy(self) -> bool:
        """Whether any file still settles; the next look should then come soon."""
        return SETTLING in self.waiting or LABELS_SETTLING in self.waiting

    def refuse(self, ready: Ready, now: float, error: OSError) -> float:
        """A file that could not be taken is left alone for a while, so that it holds nobody else up; says how long."""
        path = ready.file
        before = self._refused.get(path)
        delay = trouble.FIRST_DELAY if before is None else min(2 * before.delay, trouble.MOST_DELAY)
        self._refused[path] = _Refusal(now + delay, delay, _why(error))
        self._passed_over(_why(error))
        return delay

    def hold_back(self, ready: Sequence[Ready], reason: str) -> None:
        """Files that are ready and not taken, for a reason that is not theirs."""
        if ready:
            self.waiting[reason] = len(ready)

    def _passed_over(self, reason: str) -> None:
        self.waiting[reason] = self.waiting.get(reason, 0) + 1

    def _pair(self, settled: list[str], unready: list[str], now: float) -> list[Ready]:
        ready: list[Ready] = []
        seen, taken = self._seen, set()
        labels = {path for path in self._seen if path.lower().endswith(SIDECARS)}
        settled_labels = labels.intersection(settled) if labels else labels
        images = sorted(path for path in settled if path not in labels)
        images.sort(key=lambda path: seen[path][0][3])
        for path in images:
            sidecar = next((s for s in _sidecars_of(path) if s in labels), None) if labels else None
            if sidecar is None:
                ready.append(Ready(path, seen[path][0]))
            elif sidecar in settled_labels:
                taken.add(sidecar)
                ready.append(Ready(path, seen[path][0], (sidecar, seen[sidecar][0])))
            else:
                self._passed_over(LABELS_UNREADABLE if seen[sidecar][0] == _UNSEEN else LABELS_SETTLING)
        alone = settled_labels - taken
        awaited = {s for path in unready for s in _sidecars_of(_finished(path))} if alone else alone
        for path in alone:
            if path not in awaited and now - seen[path][1] >= self._sidecar_wait:
                ready.append(Ready(path, seen[path][0]))
            else:
                self._passed_over(ORPHAN)
        return ready

    def _entries(self) -> Iterator[tuple[str, os.stat_result | None]]:
        """Every entry that is no folder and not hidden, by its path in the inbox; None if it can't be looked at.

        A folder that cannot be listed, or not to its end, gives none, and holds up no other.
        """
        folders = [""]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(os.path.join(self._root, folder)) as entries:
                    every = [entry for entry in entries if not entry.name.startswith(".")]
            except FileNotFoundError:
                if not folder:
                    raise
            except OSError:
                if not folder:
                    raise
                self._passed_over("in a folder that cannot be listed (see: ocrd doctor)")
            else:
                yield from self._looked_at(folder, every, folders)

    def _looked_at(
        self, folder: str, entries: Sequence[os.DirEntry[str]], folders: list[str]
    ) -> Iterator[tuple[str, os.stat_result | None]]:
        for entry in entries:
            status = None
            try:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(f"{folder}{entry.name}/")
                    continue
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            except OSError as error:  # it holds up no other, and its name is nobody's business
                self._passed_over(f"cannot be looked at: {error.strerror}")
            yield folder + entry.name, status

    def _unfit(self, path: str, status: os.stat_result) -> str | None:
        """Why an entry is not even considered: a count for `ocrd status`, without a name."""
        if path.endswith(UNFINISHED):
            return "marked as unfinished by its name"
        if not stat.S_ISREG(status.st_mode):
            return "not a regular file"
        if status.st_nlink != 1:
            return "has another hard link"
        if not os.access(f"{self._root}/{path}", os.R_OK, follow_symlinks=False):
            return UNREADABLE
        return None

    def _refused_until(self, path: str, now: float) -> str | None:
        """Why a file that could not be taken is still left alone; None if it is to be tried again."""
        refusal = self._refused[path]
        return refusal.reason if now < refusal.until else None


def _why(error: OSError) -> str:
    """For `ocrd status`, without a name."""
    if isinstance(error, BlockingIOError):
        return WRITTEN
    if error.errno == errno.EROFS:
        return "cannot be taken: the inbox is read-only (mount it writable for the service)"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "cannot be taken: the service may not write to its folder (see: ocrd doctor)"
    return f"cannot be taken for now: {error.strerror}"


def _finished(path: str) -> str:
    """The name that a file will have which is marked as unfinished."""
    return path.removesuffix(next((mark for mark in UNFINISHED if path.endswith(mark)), ""))


def _sidecars_of(path: str) -> list[str]:
    """`scan.png` is labelled by `scan.txt`, `scan.json`, `scan.png.txt` or `scan.png.json`."""
    folder, slash, name = path.rpartition("/")
    stem = folder + slash + (name.rpartition(".")[0] or name)
    return [stem + s for s in SIDECARS] + [path + s for s in SIDECARS]
