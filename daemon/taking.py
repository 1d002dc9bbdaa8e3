"""Claims: a file is taken out of the inbox by one rename, and is never found twice or by way of a link.

Whoever may drop files may also swap a folder for a symbolic link between two looks. So a file is renamed
relative to descriptors of its folders, each opened without following a link, and what arrives must be the
very file that was seen; anything else goes back. The claim folder is the service's own, on the same mount.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from daemon import wire
from daemon.errors import BadFile, NotInitialised
from privacy import files

SIDECARS = (".txt", ".json")
_ID = re.compile(r"[0-9a-f]{16}")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

Identity = tuple[int, int, int, int]
"""Device, inode, size and modification time in nanoseconds: what a rename leaves as it was."""


@dataclass(frozen=True)
class Ready:
    """A settled file and its settled label file, as paths relative to the inbox, and which files they were."""

    file: Path
    sidecar: Path | None
    identities: dict[Path, Identity]


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


def identity(status: os.stat_result) -> Identity:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def is_sidecar(path: Path) -> bool:
    return path.suffix.lower() in SIDECARS


class Claims:
    """The claim folder of one inbox.

    Raises:
        NotInitialised: the claim folder is not a directory of ours that others cannot enter.
    """

    def __init__(self, root: Path, claimed: Path) -> None:
        self._root, self._claimed = root, claimed
        status = claimed.lstat()
        ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
        if not ours or status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise NotInitialised(f"{claimed} must be a directory of this user with mode 0700; it was tampered with.")

    def take(self, ready: Ready) -> Claim | None:
        """Takes the files out of the inbox, the labels first; None if they have gone or changed meanwhile.

        Raises:
            OSError: a file cannot be renamed; what was taken is back where it was.
        """
        folder = self._claimed / secrets.token_hex(8)
        try:
            for path in (ready.sidecar, ready.file):
                if path is not None:
                    self._rename(path, folder / path, ready.identities[path])
        except FileNotFoundError:
            self.undo(folder)
            return None
        except OSError:
            self.undo(folder)
            raise
        with contextlib.suppress(OSError):  # a name that is not durable comes back after a power cut, as a duplicate
            self._sync(ready, folder)
        target = folder / ready.file
        sidecar = None if ready.sidecar is None else folder / ready.sidecar
        alone = is_sidecar(ready.file)
        return Claim(folder.name, folder, None if alone else target, target if alone else sidecar)

    def _rename(self, path: Path, target: Path, seen: Identity) -> None:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._parent(path) as parent:
            os.rename(path.name, target, src_dir_fd=parent)
            status = target.lstat()
            if not stat.S_ISREG(status.st_mode) or identity(status) != seen:
                os.rename(target, path.name, dst_dir_fd=parent)
                raise FileNotFoundError(errno.ENOENT, "another file has taken its place")

    @contextmanager
    def _parent(self, path: Path) -> Iterator[int]:
        """A descriptor of the folder of a path in the inbox, reached without following a link.

        A folder that became a link, or vanished, raises FileNotFoundError.
        """
        fd = os.open(self._root, _FOLDER)
        try:
            for part in path.parts[:-1]:
                try:
                    inner = os.open(part, _FOLDER, dir_fd=fd)
                except OSError as error:
                    if error.errno in (errno.ELOOP, errno.ENOTDIR):
                        raise FileNotFoundError(errno.ENOENT, "a folder was replaced") from error
                    raise
                os.close(fd)
                fd = inner
            yield fd
        finally:
            os.close(fd)

    def _sync(self, ready: Ready, folder: Path) -> None:
        with self._parent(ready.file) as parent:
            os.fsync(parent)
        for changed in ((folder / ready.file).parent, folder, self._claimed):
            files.sync_dir(changed)

    def left(self) -> list[Claim]:
        """What was claimed and not finished when the service stopped, in no particular order.

        A claim without a `file` is labels alone: the crash came between the two renames, or it is
        a label file that waited in vain.
        """
        found = []
        for folder in sorted(self._claimed.iterdir()):
            if folder.is_symlink() or not folder.is_dir() or not _ID.fullmatch(folder.name):
                continue
            found.append(self.load(folder.name))
        return found

    def load(self, id: str) -> Claim:
        """The claim with this id as it lies there; without files, if its folder has gone."""
        folder = self._claimed / id
        inside = [p for p in folder.rglob("*") if not p.is_dir()]
        file = next((p for p in inside if not is_sidecar(p)), None)
        sidecar = next((p for p in inside if is_sidecar(p)), None)
        return Claim(id, folder, file, sidecar)

    def undo(self, folder: Path) -> None:
        """Puts the files of a claim back into the folder they came from, or the inbox itself if that has gone.

        What lies there now is not replaced. Repeating it after a crash leaves no second copy. Labels that lost
        their folder get a name that no image has: they must not teach in another unit than their own.
        """
        for path in [p for p in folder.rglob("*") if not p.is_dir()]:
            relative = path.relative_to(folder)
            try:
                self._put_back(path, relative)
            except OSError:
                self._put_back(path, Path(f"{folder.name}-{relative.name}"))
            path.unlink()
        files.remove_tree(folder)

    def _put_back(self, path: Path, relative: Path) -> None:
        with self._parent(relative) as parent:
            for name in (relative.name, f"{relative.stem}.{secrets.token_hex(4)}{relative.suffix}"):
                try:
                    os.link(path, name, dst_dir_fd=parent, follow_symlinks=False)
                except FileExistsError:
                    there = os.stat(name, dir_fd=parent, follow_symlinks=False)
                    if not os.path.samestat(there, path.lstat()):
                        continue
                os.fsync(parent)
                return
        raise OSError(errno.EEXIST, "no free name in the inbox")


def discard(claim: Claim) -> None:
    """Removes a claim whose ending is committed and whose receipt is written."""
    files.remove_tree(claim.folder)


def read(path: Path, max_bytes: int) -> bytes:
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
        data = wire.read_fd(fd, 2**62)
        if identity(before) != identity(os.fstat(fd)) or len(data) != before.st_size:
            raise BlockingIOError(errno.EAGAIN, "the file changed while it was read")
        return data
    finally:
        os.close(fd)
