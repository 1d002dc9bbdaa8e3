"""The whole road once, with the real daemon: init, start, drop, ingest, a private round, gates, roll-out, status.

    python bench/demo.py [--documents 250] [--home .demo] [--seed 1]

Nothing is mocked and nothing is rigged: the documents are rendered thermal and needle-printer labels, which
stock PP-OCRv4 reads badly, some pages with planted (fake) personal data, a copy and a broken file; whether the
round pays is for the gates to say.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
from rich.console import Console

import running
from learners import sidecars, synthesis

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
public_start = false     # what private documents teach, not what generated ones do; and it takes an hour
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
    step(f"ocrd init: a state folder in {home}")
    running.prepare(home, SETTINGS.format(workers=max(1, os.cpu_count() or 1)))
    step("ocrd start")
    with running.serving(home) as service:
        dropped = _drop(home / "inbox", arguments.documents, arguments.seed)
        _wait_for_receipts(service, home, dropped)
        step("one private round: debit, DP-SGD, export, gates")
        subprocess.run([running.OCRD, "--home", home, "train", "--wait"], check=True)
    step("the service has stopped; `ocrd status` says:")
    subprocess.run([running.OCRD, "--home", home, "status"], check=True)
    console.print(f"\nThe demo took {time.monotonic() - begun:.0f} s. Its state is in {home}.")
    return 0


def step(text: str) -> None:
    console.print(f"[bold]==> {text}[/]")


def _drop(inbox: Path, count: int, seed: int) -> int:
    """Renders documents into the inbox, each under a passing name first; returns how many files want a receipt."""
    step(f"dropping {count} documents with their labels into {inbox}")
    made = list(_documents(count, seed))
    for name, image, sidecar in made:
        running.drop(inbox, f"{name}.png", image, sidecar)
    return len(made)


def _documents(count: int, seed: int) -> Iterator[tuple[str, bytes, bytes | None]]:
    others = max(4, count // 25)
    for index in range(count - others - 2):
        document = synthesis.thermal_label(seed * 1_000_000 + index)
        yield f"label-{index:04d}", _png(document), sidecars.write_sidecar(document)
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


def _wait_for_receipts(service: subprocess.Popen[bytes], home: Path, expected: int) -> None:
    step("ingest: decode, read, anonymise, check again, seal, receipt")
    running.wait_for_receipts(service, home, expected)
    states = Counter(receipt["state"] for receipt in running.receipts(home))
    console.print("   " + ", ".join(f"{n} {state}" for state, n in states.most_common()))


if __name__ == "__main__":
    sys.exit(main())
