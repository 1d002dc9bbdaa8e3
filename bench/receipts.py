"""The daemon over real receipts: ingest, a private round, and who reads 30 held-back receipts how well.

    python bench/receipts.py [--data DIR] [--held-back 30] [--rounds-per-document 1] [--public-start [--start FILE]]
                             [--quick] [--json FILE]

100 whole pages of SROIE with their labels as sidecars go through the real daemon. The 30 held back have no
sidecar and teach nothing (`label_confidence = 1.0`); afterwards their lines, cut out by the true boxes, are read
by stock PP-OCRv4, by the candidate of each round, and by stock PP-OCRv6 small. Labels are all upper case: the
case-folded figures are the ones to compare. Intervals are 95%, resampled by document. With --public-start a first round
offers the public start, as the daemon does unless it is told otherwise, and a second one is private; making the start
takes an hour or two of a processor more, unless --start names a file that a service here left in its weights folder.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

import running
import versions
from daemon.config import load
from models import reader, weights
from privacy.page import Image

SETTINGS = (
    running.INGEST
    + """\
[learning]
capacity = 128
holdout_share = 0.15
charset = "ascii"
public_start = {start}
label_confidence = 1.0
rounds_per_document = {rounds}
"""
)


def main() -> int:
    arguments = _arguments()
    pages = sorted((arguments.data / "receipts" / "pages").glob("*.json"))[: 12 if arguments.quick else None]
    held = pages[-max(2, len(pages) * arguments.held_back // 100) :]
    taught = pages[: -len(held)]
    found: dict[str, Any] = {"pages": len(pages), "held_back": len(held)}
    home = arguments.home.absolute()
    settings = {"workers": os.cpu_count() or 1, "rounds": arguments.rounds_per_document}
    running.prepare(home, SETTINGS.format(**settings, start=str(arguments.public_start).lower()))
    if arguments.start:
        shutil.copy(arguments.start, load(home).weights_dir)
    found["plain_rapidocr_pages_per_second"] = _plain(pages)
    with running.serving(home) as service:
        begun = time.perf_counter()
        for page in pages:
            running.drop(
                home / "inbox",
                f"{page.stem}.jpg",
                page.with_suffix(".jpg").read_bytes(),
                _sidecar(page) if page in taught else None,
            )
        running.wait_for_receipts(service, home, len(pages))
        found["daemon_pages_per_second"] = len(pages) / (time.perf_counter() - begun)
        for _ in range(1 + arguments.public_start):
            subprocess.run([running.OCRD, "--home", home, "train", "--wait"], check=True)
    found["ratio"] = found["daemon_pages_per_second"] / found["plain_rapidocr_pages_per_second"]
    receipts = running.receipts(home)
    found["states"] = Counter(str(r["state"]) for r in receipts)
    found["reasons"] = Counter(str(r["reason"]) for r in receipts if "reason" in r)
    found["rounds"] = running.rounds(home)
    found["held_back_scores"] = versions.scores(home, *_held_back(held), arguments.seed)
    _print(found)
    versions.show(home, found["held_back_scores"])
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=running.DATA)
    parser.add_argument("--home", type=Path, default=Path(".bench-receipts"))
    parser.add_argument("--held-back", type=int, default=30, help="of 100 pages")
    parser.add_argument("--rounds-per-document", type=int, default=1)
    parser.add_argument("--public-start", action="store_true", help="offer one first")
    parser.add_argument("--start", type=Path, help="this one, instead of making it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="12 pages")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def _lines(page: Path) -> list[dict[str, Any]]:
    return list(json.loads(page.read_text())["lines"])


def _sidecar(page: Path) -> bytes:
    return json.dumps([{"transcription": x["transcription"], "points": x["points"]} for x in _lines(page)]).encode()


def _plain(pages: list[Path]) -> float:
    """Pages a second of RapidOCR as one would use it: one process, PP-OCRv4, all cores."""
    from rapidocr import ModelType, OCRVersion, RapidOCR

    files = weights.v4_files(weights.default_folder())
    common = {"ocr_version": OCRVersion.PPOCRV4, "model_type": ModelType.MOBILE}
    params = {"Global.log_level": "error"}
    for stage, path in (("Det", files.det), ("Rec", files.rec), ("Cls", files.cls)):
        params |= {f"{stage}.model_path": str(path)} | {f"{stage}.{key}": value for key, value in common.items()}
    engine = RapidOCR(params=params)
    begun = time.perf_counter()
    for page in pages:
        engine(str(page.with_suffix(".jpg")))
    return len(pages) / (time.perf_counter() - begun)


def _held_back(pages: list[Path]) -> tuple[dict[int, list[Image]], dict[int, list[str]]]:
    """By page: its lines, cut out by their true boxes, and what they say."""
    crops, truths = {}, {}
    for index, page in enumerate(pages):
        image = np.asarray(Pillow.open(page.with_suffix(".jpg")).convert("RGB"))
        lines = [x for x in _lines(page) if x["transcription"].strip() and "*" not in x["transcription"]]
        crops[index] = [reader.crop(image, tuple(map(tuple, x["points"]))) for x in lines]
        truths[index] = [x["transcription"] for x in lines]
    return crops, truths


def _print(found: dict[str, Any]) -> None:
    print(f"pages ingested: {sum(found['states'].values())} of {found['pages']}: {dict(found['states'])}")
    for reason, count in found["reasons"].items():
        print(f"  {count}: {reason}")
    print(
        f"daemon {found['daemon_pages_per_second']:.2f} pages/s, plain RapidOCR "
        f"{found['plain_rapidocr_pages_per_second']:.2f} pages/s, ratio {found['ratio']:.2f}"
    )


if __name__ == "__main__":
    sys.exit(main())
