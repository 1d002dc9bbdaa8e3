"""A real service in a process of its own, for the tests that start, feed, kill and restart one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2

from learners import sidecars, synthesis

PATIENCE = 240.0
"""Seconds to wait for what must come: a machine may be slow and busy. pytest's own bound is above it."""
OCRD = str(Path(sys.executable).with_name("ocrd"))
SETTINGS = """\
[ingest]
settle_seconds = 0.1
rescan_seconds = 0.5
[learning]
capacity = 16
holdout_share = 0.25
charset = "ascii"
[gates]
anchor_documents = 4
"""


def ocrd(home: Path, *arguments: str, seconds: float = PATIENCE) -> subprocess.CompletedProcess[str]:
    """Runs the command to its end."""
    return subprocess.run(
        [OCRD, "--home", str(home), *arguments],
        capture_output=True,
        text=True,
        timeout=seconds,
        env={**os.environ, "NO_COLOR": "1"},
        check=False,
    )


def png(document: synthesis.Document) -> bytes:
    return cv2.imencode(".png", document.image[:, :, ::-1])[1].tobytes()


def drop(home: Path, name: str, data: bytes, sidecar: bytes | None = None) -> None:
    """Puts a file and its labels into the inbox, each complete at once."""
    target = home / "inbox" / name
    for path, content in ((target.with_suffix(".json"), sidecar), (target, data)):
        if content is not None:
            part = path.with_name(f".{path.name}")
            part.write_bytes(content)
            part.rename(path)


def drop_labels(home: Path, seeds: range) -> None:
    for seed in seeds:
        document = synthesis.thermal_label(seed)
        drop(home, f"label-{seed}.png", png(document), sidecars.write_sidecar(document))


def receipts(home: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted((home / "outbox").glob("*.json"))]


class Running:
    """`with Running(home) as service:` starts it, waits until it serves, and stops it with SIGTERM."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.log = home.parent / f"{home.name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Running:
        (self.home / "run" / "control.sock").unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([OCRD, "--home", str(self.home), "start"], stderr=log)
        self.wait_for(lambda: (self.home / "run" / "control.sock").exists())
        return self

    def __enter__(self) -> Running:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.stop()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def wait_for(self, done, seconds: float = PATIENCE) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            if self.process.poll() is not None:
                raise AssertionError(
                    f"the service ended with {self.process.returncode}: {self.log.read_text()[-2000:]}"
                )
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {seconds} s in vain: {self.log.read_text()[-2000:]}")
            time.sleep(0.05)

    def wait_for_receipts(self, count: int, seconds: float = PATIENCE) -> list[dict]:
        self.wait_for(lambda: len(list((self.home / "outbox").glob("*.json"))) >= count, seconds)
        return receipts(self.home)
