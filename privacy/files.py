"""Durable files: what is reported as written survives a power cut, and no reader sees half of it.

Guarantees, on a file system that keeps POSIX's promises (ext4, XFS, Btrfs; not most network mounts):

* `replace`, `write_bytes`, `create`: afterwards the path holds the old content or the new, never a mixture.
  Once the call has returned, the new content survives a power cut: the file is fsynced before the rename,
  the *directory* after it.
* `append_synced`: once it has returned, the appended bytes survive. A crash may leave a torn tail, so the
  reader must recognise one. On an error the file is cut back to its old length.
* `remove_synced`, `remove_tree`, `move`: once returned, the change of names survives.

Not promised: that overwriting a file destroys the old bytes on the medium. Solid-state disks, copy-on-write
file systems and backups keep copies. What erases a document is that its key is gone, and keys are worth
overwriting all the same.

Temporary files are dot-files that end in `.part`, beside their target; `sweep` removes what a crash left.
"""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from privacy import syncfs

_LIBC = ctypes.CDLL(None, use_errno=True)
_HERE, _NOREPLACE = -100, 1
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def named(path: str | Path) -> Iterator[None]:
    """An error of a descriptor bears no name: it gets that of the file it was about."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = os.fspath(path)
        raise


def sync_dir(path: Path) -> None:
    """Makes the names in a directory durable: creations, renames and removals done before this call."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with named(path):
            os.fsync(fd)
    finally:
        os.close(fd)


def make_dir(path: Path, mode: int = 0o700) -> None:
    """Creates a directory in an existing one, durably, with exactly this mode; one that is there is kept."""
    with suppress(FileExistsError):
        path.mkdir(mode=mode)
        path.chmod(mode)
        sync_dir(path.parent)


@contextmanager
def _temporary(path: Path, mode: int) -> Iterator[tuple[BinaryIO, Path]]:
    """A new file beside `path` with exactly this mode; its name is gone when the block ends."""
    temporary = path.with_name(f".{path.name[:40]}.{secrets.token_hex(8)}.part")
    fd = os.open(temporary, _NEW, mode)
    try:
        with named(path), os.fdopen(fd, "wb") as file:
            os.fchmod(fd, mode)
            yield file, temporary
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


@contextmanager
def replace(path: Path, mode: int = 0o600) -> Iterator[BinaryIO]:
    """`with replace(path) as file:` is the transaction: `path` changes as the block ends, or not at all."""
    with _temporary(path, mode) as (file, temporary):
        yield file
        file.flush()
        os.fsync(file.fileno())
        temporary.replace(path)
        sync_dir(path.parent)


def write_bytes(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replaces the content of `path`, atomically and durably."""
    with replace(path, mode) as file:
        file.write(data)


def create(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Writes a file that must not exist yet: it appears whole or not at all.

    Raises:
        FileExistsError: the path is taken; it is left as it was.
    """
    with _temporary(path, mode) as (file, temporary):
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        os.link(temporary, path)  # fails if the name is taken, where a rename would replace it
    sync_dir(path.parent)


def append_synced(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Appends to `path` (created if missing) and returns once the bytes are on the medium."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        size = os.fstat(fd).st_size
        try:
            with named(path):
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(fd, rest) :]
                os.fsync(fd)
        except OSError:
            with suppress(OSError):
                os.ftruncate(fd, size)
            raise
    finally:
        os.close(fd)
    if size == 0:
        sync_dir(path.parent)


def truncate_synced(path: Path, size: int) -> None:
    """Cuts a file to its first `size` bytes, durably."""
    fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        with named(path):
            os.ftruncate(fd, size)
            os.fsync(fd)
    finally:
        os.close(fd)


def move(source: Path, target: Path) -> None:
    """Renames within one file system, replacing `target`, durably on both sides."""
    source.replace(target)
    sync_dir(target.parent)
    if source.parent != target.parent:
        sync_dir(source.parent)


def move_new(source: Path, name: str, folder: int) -> None:
    """Renames to a name in an open folder of one file system; it must be free. The caller syncs.

    Not by a link: that the kernel grants to nobody who may not write the file (fs.protected_hardlinks).

    Raises:
        FileExistsError: the name is taken; nothing has changed.
    """
    if _LIBC.renameat2(_HERE, os.fsencode(source), folder, os.fsencode(name), _NOREPLACE) == 0:
        return
    number = ctypes.get_errno()
    if number not in (errno.EINVAL, errno.ENOSYS):
        raise OSError(number, os.strerror(number), os.fspath(source))
    os.link(source, name, dst_dir_fd=folder, follow_symlinks=False)  # a file system that can't do that
    source.unlink()


def point(link: Path, target: str) -> None:
    """Makes `link` a symbolic link to `target`, in one step: a reader finds the old target or the new one."""
    temporary = link.with_name(f".{link.name}.{secrets.token_hex(8)}.part")
    temporary.symlink_to(target)
    try:
        temporary.replace(link)
    except OSError:
        temporary.unlink()
        raise
    sync_dir(link.parent)


def remove_synced(path: Path) -> None:
    """Removes a file, durably; a missing one is fine."""
    path.unlink(missing_ok=True)
    sync_dir(path.parent)


def remove_tree(path: Path) -> None:
    """Removes a directory and what is in it, durably, following no link; a missing one is fine."""
    with suppress(FileNotFoundError):
        shutil.rmtree(path)
    sync_dir(path.parent)


def destroy(path: Path, first: int | None = None) -> None:
    """Overwrites a regular file (its `first` bytes, or all) with noise in place, then removes it, durably.

    Best effort against the medium, see the module's text. A missing file is fine.
    """
    overwrite(path, first, sync=True)
    remove_synced(path)


def overwrite(path: Path, first: int | None = None, *, sync: bool = False) -> None:
    """The first step of `destroy` alone; durable with `sync`, or after the caller's own. A missing file is fine."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(f"Expected a regular file to destroy, got mode {status.st_mode:o}.")
        with named(path):
            os.pwrite(fd, secrets.token_bytes(min(first or status.st_size, status.st_size)), 0)
            if sync:
                os.fsync(fd)
    finally:
        os.close(fd)


def overwrite_all(paths: Sequence[Path], within: Path) -> None:
    """`overwrite` for many files on the file system of `within`, durably, with one sync. Missing ones are fine."""
    before = syncfs.failed_syncs()
    for path in paths:
        overwrite(path)
    syncfs.sync_file_system(within, before)


def destroy_all(paths: Sequence[Path], within: Path) -> None:
    """`destroy` for many files on the file system of `within`, with two syncs for all. Missing ones are fine."""
    overwrite_all(paths, within)
    for path in paths:
        path.unlink(missing_ok=True)
    syncfs.sync_file_system(within)


def replace_destroying(path: Path, data: bytes, mode: int = 0o600) -> None:
    """`write_bytes` for a key file: the bytes it held before are overwritten, after the new ones are durable.

    What a crash leaves of that is finished by `settle`, or by the next call. After an `OSError` the path holds the old
    bytes or the new ones: the error may have come while the old ones were destroyed.
    """
    settle(path)
    if path.exists():
        os.link(path, _before(path))
    write_bytes(path, data, mode)
    settle(path)


def move_destroying(source: Path, target: Path) -> None:
    """`move`, and the bytes that `target` held before are overwritten. Finished after a crash by `settle(target)`."""
    settle(target)
    if target.exists():
        os.link(target, _before(target))
    move(source, target)
    settle(target)


def settle(path: Path) -> None:
    """Destroys what `path` held before, if a crash left it; the content it has now is not touched."""
    before = _before(path)
    if before.exists():
        if path.exists() and before.samefile(path):  # the crash came before the new content: this is the only one
            remove_synced(before)
        else:
            destroy(before)


def _before(path: Path) -> Path:
    return path.with_name(f".{path.name}.before")


def sweep(folder: Path, prefix: str = ".") -> int:
    """Removes the temporary files that a crash left in a folder; returns how many. For its one writer."""
    left = [path for path in folder.iterdir() if path.name.startswith(prefix) and path.name.endswith(".part")]
    for path in left:
        path.unlink(missing_ok=True)
    if left:
        sync_dir(folder)
    return len(left)
