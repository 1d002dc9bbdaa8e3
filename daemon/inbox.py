"""Notice, settle and claim what is dropped into the inbox.

The directory is the truth: `scan` lists it, and events merely make the next scan come sooner. A
file is ready when it was the same (inode, size, modification and change time) at two looks at
least `settle_seconds` apart. It is claimed by one rename into `.claimed/ID/`, on the inbox's own
mount, under the path it had, so that a claim can be undone and its folder (its source) is kept.
The label file beside an image is claimed with it, first, so that a crash between the two renames
leaves an image that will be claimed again rather than one that has lost its labels.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from daemon import wire
from daemon.errors import BadFile
from privacy import files

SIDECARS = (".txt", ".json")
UNFINISHED = (".part", ".partial", ".tmp", ".crdownload", ".filepart", "~")
Signature = tuple[int, int, int, int]


@dataclass(frozen=True)
class Ready:
    """A settled file and its settled label file, as paths relative to the inbox."""

    file: Path
    sidecar: Path | None


@dataclass(frozen=True)
class Claim:
    """A claimed document: its id, its folder, and its files in it. Never printed: names are personal data."""

    id: str
    folder: Path
    file: Path | None
    sidecar: Path | None

    def __repr__(self) -> str:
        return f"Claim({self.id})"

    @property
    def name(self) -> str:
        """The path the file had in the inbox."""
        chosen = self.file or self.sidecar
        return "" if chosen is None else chosen.relative_to(self.folder).as_posix()


class Inbox:
    """One inbox; not shared between threads, but for `waiting`.

    Args:
        root: the inbox.
        claimed: the claim folder, on the same mount.
        settle_seconds: how long a file must hold still.
        sidecar_wait_seconds: after this long a label file without an image is claimed alone.
    """

    def __init__(self, root: Path, claimed: Path, settle_seconds: float, sidecar_wait_seconds: float) -> None:
        self._root, self._claimed = root, claimed
        self._settle, self._sidecar_wait = settle_seconds, sidecar_wait_seconds
        self._seen: dict[Path, tuple[Signature, float]] = {}
        self.waiting: dict[str, int] = {}
        """Why entries were passed over at the last scan, and how many: nothing is ignored in silence."""

    def scan(self, now: float) -> list[Ready]:
        """The files that are ready, oldest first.

        Args:
            now: a monotonic clock, in seconds.
        """
        seen: dict[Path, tuple[Signature, float]] = {}
        waiting: dict[str, int] = {}
        settled: dict[Path, os.stat_result] = {}
        for path, status in self._entries():
            reason = self._not_yet(path, status)
            if reason is None:
                signature = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
                before = self._seen.get(path)
                since = before[1] if before is not None and before[0] == signature else now
                seen[path] = (signature, since)
                if before is not None and now - since >= self._settle:
                    settled[path] = status
                    continue
                reason = "still settling"
            waiting[reason] = waiting.get(reason, 0) + 1
        self._seen, self.waiting = seen, waiting
        return self._pair(settled, now)

    def _pair(self, settled: dict[Path, os.stat_result], now: float) -> list[Ready]:
        ready: list[Ready] = []
        for path in sorted((p for p in settled if not _is_sidecar(p)), key=lambda p: (settled[p].st_mtime_ns, p)):
            sidecar = next((s for s in _sidecars_of(path) if s in self._seen), None)
            if sidecar is not None and sidecar not in settled:
                self.waiting["its labels are still settling"] = self.waiting.get("its labels are still settling", 0) + 1
                continue
            ready.append(Ready(path, sidecar))
        taken = {r.sidecar for r in ready}
        for path in settled:
            if _is_sidecar(path) and path not in taken:
                if now - self._seen[path][1] >= self._sidecar_wait:
                    ready.append(Ready(path, None))
                else:
                    self.waiting["a label file waits for its image"] = (
                        self.waiting.get("a label file waits for its image", 0) + 1
                    )
        return ready

    def _entries(self) -> Iterator[tuple[Path, os.stat_result]]:
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
            except (FileNotFoundError, PermissionError):
                if folder == self._root:
                    raise

    def _not_yet(self, path: Path, status: os.stat_result) -> str | None:
        """Why an entry is not even considered: a count for `ocrd status`, without a name."""
        if path.name.endswith(UNFINISHED):
            return "marked as unfinished by its name"
        if not stat.S_ISREG(status.st_mode):
            return "not a regular file"
        if status.st_nlink != 1:
            return "has another hard link"
        if not os.access(self._root / path, os.R_OK, follow_symlinks=False):
            return "may not be read by the service (see: ocrd doctor)"
        return None

    def claim(self, ready: Ready) -> Claim | None:
        """Takes the files out of the inbox; None if they have gone meanwhile."""
        id = secrets.token_hex(8)
        folder = self._claimed / id
        target = folder / ready.file
        target.parent.mkdir(parents=True, mode=0o700)
        sidecar = None if ready.sidecar is None else folder / ready.sidecar
        try:
            if sidecar is not None and ready.sidecar is not None:
                (self._root / ready.sidecar).rename(sidecar)
            (self._root / ready.file).rename(target)
        except FileNotFoundError:
            self.undo(folder)
            return None
        self._seen.pop(ready.file, None)
        for changed in {target.parent, (self._root / ready.file).parent, self._claimed}:
            files.sync_dir(changed)
        alone = _is_sidecar(ready.file)
        return Claim(id, folder, None if alone else target, target if alone else sidecar)

    def claims(self) -> list[Claim]:
        """What was claimed and not finished when the service stopped, in no particular order.

        A claim without a `file` is labels alone: the crash came between the two renames, or it is
        a label file that waited in vain.
        """
        found = []
        for folder in sorted(self._claimed.iterdir()):
            inside = [p for p in folder.rglob("*") if not p.is_dir()]
            file = next((p for p in inside if not _is_sidecar(p)), None)
            sidecar = next((p for p in inside if _is_sidecar(p)), None)
            found.append(Claim(folder.name, folder, file, sidecar))
        return found

    def undo(self, folder: Path) -> None:
        """Puts the files of a claim back where they came from, without replacing what is there now."""
        for path in [p for p in folder.rglob("*") if not p.is_dir()]:
            home = self._root / path.relative_to(folder)
            home.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(path, home, follow_symlinks=False)
            except FileExistsError:
                home = home.with_name(f"{home.stem}.{folder.name}{home.suffix}")
                os.link(path, home, follow_symlinks=False)
            files.sync_dir(home.parent)
            path.unlink()
        files.remove_tree(folder)


def discard(claim: Claim) -> None:
    """Removes a claim whose ending is committed and whose receipt is written."""
    files.remove_tree(claim.folder)


def take(path: Path, max_bytes: int) -> bytes:
    """The file's bytes, read once and unchanged while they were read.

    Raises:
        BadFile: not a regular file with one link, or larger than `max_bytes`.
        BlockingIOError: it changed while it was read; try again.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise BadFile("is a symbolic link") from error
        raise
    try:
        before = os.fstat(fd)
        if not stat.S_ISREG(before.st_mode) or before.st_nlink != 1:
            raise BadFile("is not a regular file with one link")
        if before.st_size > max_bytes:
            raise BadFile(f"has {before.st_size} bytes; at most {max_bytes} are taken (ingest.max_file_bytes)")
        data = wire.read_fd(fd, max_bytes)
        after = os.fstat(fd)
        if (before.st_size, before.st_mtime_ns, before.st_ctime_ns) != (
            after.st_size,
            after.st_mtime_ns,
            after.st_ctime_ns,
        ):
            raise BlockingIOError(errno.EAGAIN, "the file changed while it was read")
        return data
    finally:
        os.close(fd)


def _is_sidecar(path: Path) -> bool:
    return path.suffix.lower() in SIDECARS


def _sidecars_of(path: Path) -> list[Path]:
    """`scan.png` is labelled by `scan.txt`, `scan.json`, `scan.png.txt` or `scan.png.json`."""
    return [path.with_suffix(s) for s in SIDECARS] + [path.with_name(path.name + s) for s in SIDECARS]
