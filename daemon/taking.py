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
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from daemon import unchanged
from daemon.errors import NotInitialised
from daemon.unchanged import Seen, seen
from privacy import files, syncfs

SIDECARS = (".txt", ".json")
_ID = re.compile(r"[0-9a-f]{16}")
_LONGEST = 255
"""Bytes of a name."""
_FEW = 4
"""Up to so many claims have their folders synced one by one; for more, the file system is, once."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Ready(NamedTuple):
    """A settled file, by its path in the inbox, and which file that was; its label file likewise."""

    file: str
    seen: Seen
    labels: tuple[str, Seen] | None = None


@dataclass(frozen=True)
class Claim:
    """A claimed document: its id, its folder, and its files in it. Never printed: names are personal data."""

    id: str
    folder: Path
    file: Path | None
    sidecar: Path | None

    def __repr__(self) -> str:
        return f"Claim({self.id})"

    @cached_property
    def name(self) -> str:
        """The path the file had in the inbox."""
        chosen = self.file or self.sidecar
        return "" if chosen is None else chosen.relative_to(self.folder).as_posix()


def is_sidecar(path: Path) -> bool:
    return path.suffix.lower() in SIDECARS


class Claims:
    """The claim folder of one inbox.

    Raises:
        NotInitialised: the claim folder is not a directory of ours that others cannot enter.
    """

    def __init__(self, root: Path, claimed: Path) -> None:
        self._root, self._claimed = root, claimed
        self._taken_in_vain: set[Path] = set()
        status = claimed.lstat()
        ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
        if not ours or status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise NotInitialised(f"{claimed} must be a directory of this user with mode 0700; it was tampered with.")

    def take(self, ready: Ready) -> Claim | None:
        """Takes the files out of the inbox, the labels first; None if they have gone or changed meanwhile.

        That they are here is durable after `sync`.

        Raises:
            BlockingIOError: a file is open for writing: it keeps its name, which its writer may still want to change.
            OSError: a file cannot be renamed; what was taken is back where it was, or will be by `settle`.
        """
        folder = self._claimed / secrets.token_hex(8)
        taken = (ready.labels, (ready.file, ready.seen)) if ready.labels else ((ready.file, ready.seen),)
        try:
            written = any(self._written(path) for path, _ in taken)
        except FileNotFoundError:
            return None
        if written:
            raise BlockingIOError(errno.EAGAIN, "still open for writing")
        try:
            for path, was in taken:
                self._rename(path, f"{folder}/{path}", was)
        except OSError as error:
            self._give_back(folder)
            if isinstance(error, FileNotFoundError):
                return None
            raise
        target = folder / ready.file
        sidecar = None if ready.labels is None else folder / ready.labels[0]
        alone = is_sidecar(target)
        return Claim(folder.name, folder, None if alone else target, target if alone else sidecar)

    def _written(self, path: str) -> bool:
        *folders, name = path.split("/")
        with self._parent(folders) as parent:
            try:
                fd = os.open(name, unchanged.FILE, dir_fd=parent)
            except OSError as error:
                if error.errno == errno.ELOOP:
                    raise FileNotFoundError(errno.ENOENT, "a link has taken its place") from error
                raise
            try:
                return unchanged.is_written(fd)
            finally:
                os.close(fd)

    def _give_back(self, folder: Path) -> None:
        self._taken_in_vain.add(folder)
        self.settle()

    def settle(self) -> None:
        """Puts back what was taken in vain, as far as the disk lets it; called at each look at the inbox."""
        for folder in tuple(self._taken_in_vain):
            with contextlib.suppress(OSError):
                self.undo(folder)
                self._taken_in_vain.discard(folder)

    def sync(self, claims: Sequence[Claim]) -> None:
        """Makes the claims durable. A name that is not comes back after a power cut, as a duplicate: no error."""
        if len(claims) > _FEW:
            with contextlib.suppress(OSError):
                syncfs.sync_file_system(self._claimed)
            return
        folders = {self._claimed: None}
        for claim in claims:
            inside = PurePosixPath(claim.name).parents
            folders |= dict.fromkeys((*(claim.folder / each for each in inside), self._root / inside[0]))
        for folder in folders:
            with contextlib.suppress(OSError):
                files.sync_dir(folder)

    def _rename(self, path: str, target: str, was: Seen) -> None:
        os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
        *folders, name = path.split("/")
        with self._parent(folders) as parent:
            os.rename(name, target, src_dir_fd=parent)
            status = os.lstat(target)
            if not stat.S_ISREG(status.st_mode) or seen(status)[:4] != was[:4]:
                with contextlib.suppress(FileExistsError):  # a third has come: it is put back under another name
                    files.move_new(Path(target), name, parent)
                raise FileNotFoundError(errno.ENOENT, "another file has taken its place")

    @contextmanager
    def _parent(self, folders: Sequence[str]) -> Iterator[int]:
        """A descriptor of a folder of the inbox, reached without following a link.

        A folder that became a link, or vanished, raises FileNotFoundError.
        """
        fd = os.open(self._root, _FOLDER)
        try:
            for part in folders:
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

    def mounted(self) -> None:
        """Raises FileNotFoundError where the claim folder is not there."""
        self._claimed.lstat()

    def left(self) -> list[Claim]:
        """What was claimed and not finished when the service stopped, in the order in which the inbox gives its files.

        A claim without a `file` is labels alone: the crash came between the two renames, or it is
        a label file that waited in vain.
        """
        found = []
        for folder in sorted(self._claimed.iterdir()):
            if folder.is_symlink() or not folder.is_dir() or not _ID.fullmatch(folder.name):
                continue
            found.append(self.load(folder.name))
        return sorted(found, key=lambda claim: (_modified(claim), claim.name))

    def load(self, id: str) -> Claim:
        """The claim with this id as it lies there; without files, if its folder has gone.

        Raises:
            OSError: what is in it cannot be listed: that must not be taken for nothing, which would be removed.
        """
        folder = self._claimed / id
        inside = [Path(place, name) for place, _, names in os.walk(folder, onerror=_unless_gone) for name in names]
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
            marked = _marked(folder.name, relative.name)
            try:
                self._put_back(path, relative.parts[:-1], (relative.name, marked))
            except (FileNotFoundError, FileExistsError, PermissionError):  # not a sync that failed: it is there
                self._put_back(path, (), (marked,))
        files.remove_tree(folder)

    def _put_back(self, path: Path, folders: Sequence[str], names: Sequence[str]) -> None:
        with self._parent(folders) as parent:
            for name in names:
                try:
                    files.move_new(path, name, parent)
                except FileExistsError:
                    there = os.stat(name, dir_fd=parent, follow_symlinks=False)
                    if not os.path.samestat(there, path.lstat()):
                        continue
                    path.unlink()  # a crash came between link and removal: two names would keep it from being taken
                os.fsync(parent)
                return
        raise FileExistsError(errno.EEXIST, "no free name in the inbox")


def _marked(mark: str, name: str) -> str:
    """A name that begins with a mark; of a long one the beginning goes, which tells less than the end."""
    start = os.fsencode(f"{mark}-")
    return os.fsdecode(start + os.fsencode(name)[len(start) - _LONGEST :])


def _unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _modified(claim: Claim) -> int:
    return 0 if claim.file is None else claim.file.lstat().st_mtime_ns


def discard(claims: Sequence[Claim]) -> None:
    """Removes claims whose endings are committed and whose receipts are written, durably."""
    for claim in claims:
        try:
            for path in (claim.file, claim.sidecar):
                if path is not None:
                    os.unlink(path)
            os.rmdir(claim.folder)
        except OSError:  # it came in a folder of its own, or some of it has gone
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(claim.folder)
    for folder in {claim.folder.parent for claim in claims}:
        files.sync_dir(folder)
