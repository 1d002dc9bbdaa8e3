"""The whole road once, with the real daemon: init, start, drop, ingest, a private round, gates, roll-out, status.

    python bench/demo.py [--documents 250] [--home .demo] [--seed 1]

Nothing is mocked and nothing is rigged: the documents are rendered thermal and needle-printer labels, which
stock PP-OCRv4 reads badly, some pages with planted (fake) personal data, a copy and a broken file; whether the
round pays is for the gates to say.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from learners import labels, synthesis
from models import weights

OCRD = Path(sys.executable).with_name("ocrd")
SETTINGS = """\
# The demo's settings; everything else is the default (see `ocrd init`).
[ingest]
workers = {workers}
settle_seconds = 0.3
rescan_seconds = 1.0
[learning]               # public numbers, fixed before any document is seen
capacity = 200
holdout_share = 0.25
charset = "ascii"
"""
OTHERS = ("receipt", "form", "id_card", "letter")
console = Console(highlight=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=250)
    parser.add_argument("--home", type=Path, default=Path(".demo"))
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    home = arguments.home.absolute()
    begun = time.monotonic()
    _prepare(home)
    with (home / "service.log").open("wb") as log:
        service = subprocess.Popen([OCRD, "--home", home, "start"], stderr=log)
        try:
            _wait_until_serving(service, home)
            dropped = _drop(home / "inbox", arguments.documents, arguments.seed)
            _wait_for_receipts(service, home / "outbox", dropped)
            step("one private round: debit, DP-SGD, export, gates")
            subprocess.run([OCRD, "--home", home, "train", "--wait"], check=True)
        finally:
            service.send_signal(signal.SIGTERM)
            code = service.wait(15)
    step(f"the service stopped with exit code {code}; `ocrd status` says:")
    subprocess.run([OCRD, "--home", home, "status"], check=True)
    console.print(
        f"\nThe demo took {time.monotonic() - begun:.0f} s. Its state is in {home}; the log in {home}/service.log"
    )
    return code


def step(text: str) -> None:
    console.print(f"[bold]==> {text}[/]")


def _prepare(home: Path) -> None:
    step(f"ocrd init: a state folder in {home}")
    if home.exists():
        if not (home / "ocrd.toml").exists():
            sys.exit(f"{home} exists and is no state folder of ocrd; name another with --home")
        shutil.rmtree(home)
    home.mkdir(parents=True)
    (home / "ocrd.toml").write_text(SETTINGS.format(workers=max(1, os.cpu_count() or 1)))
    subprocess.run([OCRD, "--home", home, "init", "--weights", weights.default_folder()], check=True)


def _wait_until_serving(service: subprocess.Popen[bytes], home: Path) -> None:
    step("ocrd start")
    while not (home / "run" / "control.sock").exists():
        if service.poll() is not None:
            sys.exit(f"the service ended with exit code {service.returncode}; see {home}/service.log")
        time.sleep(0.1)


def _drop(inbox: Path, count: int, seed: int) -> int:
    """Renders documents into the inbox, each under a passing name first; returns how many files want a receipt."""
    step(f"dropping {count} documents with their labels into {inbox}")
    dropped = 0
    for name, image, sidecar in _documents(count, seed):
        if sidecar is not None:
            (inbox / f"{name}.json").write_bytes(sidecar)
        part = inbox / f"{name}.png.part"
        part.write_bytes(image)
        part.rename(inbox / f"{name}.png")
        dropped += 1
    return dropped


def _documents(count: int, seed: int) -> Iterator[tuple[str, bytes, bytes | None]]:
    others = max(4, count // 25)
    for index in range(count - others - 2):
        document = synthesis.thermal_label(seed * 1_000_000 + index)
        yield f"label-{index:04d}", _png(document), labels.write_sidecar(document)
    for index in range(others):
        document = synthesis.generate(OTHERS[index % len(OTHERS)], seed * 1_000_000 + index)
        yield f"page-{index:04d}", _png(document), None
    yield "copy", _png(synthesis.thermal_label(seed * 1_000_000)), None
    yield "broken", b"\x89PNG\r\n\x1a\n and then nothing", None


def _png(document: synthesis.Document) -> bytes:
    ok, data = cv2.imencode(".png", document.image[:, :, ::-1])
    if not ok:
        raise RuntimeError("OpenCV could not encode a page as PNG.")
    return data.tobytes()


def _wait_for_receipts(service: subprocess.Popen[bytes], outbox: Path, expected: int) -> None:
    step("ingest: decode, read, anonymise, check again, seal, receipt")
    columns = (TextColumn("   receipts"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("receipts", total=expected)
        while (done := len(list(outbox.glob("*.json")))) < expected:
            if service.poll() is not None:
                sys.exit(f"the service ended with exit code {service.returncode}")
            progress.update(task, completed=done)
            time.sleep(0.3)
        progress.update(task, completed=done)
    states = Counter(json.loads(path.read_text())["state"] for path in outbox.glob("*.json"))
    console.print("   " + ", ".join(f"{n} {state}" for state, n in states.most_common()))


if __name__ == "__main__":
    sys.exit(main())
