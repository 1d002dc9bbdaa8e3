"""Which files a process may still open: the kernel's Landlock, which needs no privilege.

A ruleset takes every right that this kernel knows away and gives some back beneath chosen folders.
It holds for the calling thread and all it starts, for good; another one on top can only take more.
Where the kernel knows them, TCP (ABI 4), device ioctls (5), abstract sockets and signals to processes
outside (6) are taken too. It leaves UDP, `stat` and sockets that lie in folders: those are seccomp's part.

Source: linux/landlock.h and Documentation/userspace-api/landlock.rst.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from pathlib import Path

from privacy.errors import SandboxFailed

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # the same on every architecture
_VERSION, _PATH_BENEATH = 1, 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_TRUNCATE, _IOCTL_DEV = 1 << 14, 1 << 15
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}
"""ABI to how many bits of file-system rights it knows."""
_TCP, _SCOPES = 0b11, 0b11

LIST = _READ_DIR
READ = _READ_FILE | _READ_DIR
EXECUTE = READ | _EXECUTE
WRITE = (1 << 15) - 1 - _EXECUTE
DEVICES = READ | _WRITE_FILE | _IOCTL_DEV


class _Attributes(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def abi() -> int:
    """The kernel's Landlock version; 0 where there is none or it is switched off."""
    found = _call(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION))
    return max(found, 0)


def restrict(rights: Mapping[Path, int]) -> None:
    """Takes every right from this thread but these beneath these paths; what is not there is left out.

    Raises:
        SandboxFailed: no Landlock, or the kernel refused the ruleset. Needs no_new_privs.
    """
    version = abi()
    if version < 1:
        raise SandboxFailed("this kernel has no Landlock (5.13 and newer have, unless lsm= leaves it out)")
    known = (1 << max(bits for since, bits in _FILE_RIGHTS.items() if version >= since)) - 1
    net, scoped = (_TCP if version >= 4 else 0), (_SCOPES if version >= 6 else 0)
    size = 8 if version < 4 else 16 if version < 6 else 24
    attributes = _Attributes(known, net, scoped)
    ruleset = _checked(_call(_CREATE, ctypes.byref(attributes), ctypes.c_size_t(size), ctypes.c_uint32(0)))
    try:
        for path, allowed in rights.items():
            _add(ruleset, path, allowed & known)
        _checked(_call(_RESTRICT, ctypes.c_int(ruleset), ctypes.c_uint32(0)))
    finally:
        os.close(ruleset)


def _add(ruleset: int, path: Path, allowed: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    try:
        if not path.is_dir():
            allowed &= _OF_FILES
        rule = _PathBeneath(allowed, fd)
        _checked(
            _call(_ADD, ctypes.c_int(ruleset), ctypes.c_int(_PATH_BENEATH), ctypes.byref(rule), ctypes.c_uint32(0))
        )
    finally:
        os.close(fd)


def _call(number: int, *arguments: object) -> int:
    return int(ctypes.CDLL(None, use_errno=True).syscall(ctypes.c_long(number), *arguments))


def _checked(result: int) -> int:
    if result < 0:
        raise SandboxFailed(f"Landlock refused a ruleset: {os.strerror(ctypes.get_errno())}")
    return result
