"""Disk images on loop devices: made, mounted without ext4's own help for programs that forget an fsync, and copied."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from injecting import Unavailable

IMAGE_BYTES = 40 << 20


def call(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)


@contextmanager
def mounted(image: Path, at: Path) -> Iterator[Path]:
    """An ext4 image at a folder, unmounted and detached however the block ends.

    Raises:
        Unavailable: loop mounts are not possible here.
    """
    at.mkdir(exist_ok=True)
    done = call("mount", "-t", "ext4", "-o", "loop,noauto_da_alloc,commit=300", image, at)
    if done.returncode:
        raise Unavailable(f"loop mounts are not possible here: {done.stderr.strip()}")
    try:
        yield at
    finally:
        for _ in range(600):
            if not call("umount", at).returncode:
                break
            time.sleep(0.1)
        else:
            print(f"{at} could not be unmounted", file=sys.stderr)


def made(image: Path) -> None:
    """Raises `Unavailable` where there is no mkfs.ext4."""
    if shutil.which("mkfs.ext4") is None:
        raise Unavailable("mkfs.ext4 is not here")
    with image.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-J", "size=4", image], check=True)


def copied(image: Path, target: Path) -> None:
    """Copies the image as it is at one moment: read again until it did not change meanwhile."""
    before = image.read_bytes()
    while (after := image.read_bytes()) != before:
        before = after
    target.write_bytes(after)
