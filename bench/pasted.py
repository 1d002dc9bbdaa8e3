"""Faces and codes pasted on document pages: are they covered, whichever way they lie, and what is covered for nothing?

    python bench/pasted.py [--pages 40] [--only face|code] [--quick] [--peers PYTHON] [--data DIR] [--seed N]
                           [--json FILE]

Faces come from the photographs of `pii/faces` (of 30 pixels or more), cut out with some of what is around, scaled to
32, 48 and 64 pixels, and laid on generated receipts and letters in four rotations. Codes of six kinds, two sizes of
module, whole or spoiled (blurred, or with a blot, so that zxing-cpp decodes nothing), likewise. "detector" is the
kind's own detector, "page" with the unread ink besides, the text read as it is written: covered is 95% of the area of
the face's box or of the code. False finds are on the same pages with nothing pasted,
beside codes that receipts have of their own.

A peer, deface 1.5.0, looks at the same pages from an environment of its own:

    python3.11 -m venv /tmp/deface && /tmp/deface/bin/pip install deface==1.5.0 onnxruntime
    python bench/pasted.py --peers /tmp/deface/bin/python
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import zxingcpp

import running
from learners import synthesis
from learners.layout import barcode
from models import weights
from models.orientation import rotate
from privacy import anonymise
from privacy.detectors.codes import CodeDetector
from privacy.detectors.faces import FaceDetector
from privacy.detectors.interface import Detector
from privacy.detectors.unread import UnreadDetector
from privacy.page import Box, Image, Region
from real_pii import faces

COVERED = 0.95
FACE_SIZES = (32, 48, 64)
TURNS = (0, 90, 180, 270)
AROUND = 0.5
"""Of a face's box, kept on every side of it."""
KINDS = ("QRCode", "DataMatrix", "Aztec", "PDF417", "Code128", "EAN13")
MODULES = (2, 4)
_PEER = """
import sys, cv2, json
from deface.centerface import CenterFace
net, found = CenterFace(), []
for name in sys.argv[1:]:
    found.append([[float(v) for v in box[:5]] for box in net(cv2.imread(name), threshold=0.2)[0]])
print(json.dumps(found))
"""
Paste = tuple[str, Image, Box]
"""A name, a page, and where on it the thing is."""


def blank(index: int, seed: int) -> synthesis.Document:
    """A page without a face; some receipts have a code at their foot."""
    return synthesis.generate(("receipt", "letter")[index % 2], 1_000 * seed + index)


def cut_faces(folder: Path) -> list[tuple[Image, Box]]:
    """Faces with what is around them, and the face's box in the cutting."""
    found = []
    for path, boxes in faces(folder):
        image = cv2.imread(str(path))[:, :, ::-1]
        for x0, y0, x1, y1 in boxes:
            side = min(x1 - x0, y1 - y0)
            room = round(AROUND * side)
            inside = x0 >= room and y0 >= room and x1 + room <= image.shape[1] and y1 + room <= image.shape[0]
            if side >= 30 and inside:
                part = np.ascontiguousarray(image[y0 - room : y1 + room, x0 - room : x1 + room])
                found.append((part, Box(room, room, room + x1 - x0, room + y1 - y0)))
    return found


def laid(page: Image, part: Image, inside: Box, turn: int, draw: np.random.Generator) -> tuple[Image, Box]:
    """The page with the part on it, turned clockwise, and the box of what counts."""
    counts = np.zeros(part.shape[:2], np.uint8)
    counts[inside.y0 : inside.y1, inside.x0 : inside.x1] = 1
    part, counts = rotate(part, turn), np.rot90(counts, -turn // 90)
    height, width = part.shape[:2]
    page = page.copy()
    y = int(draw.integers(0, max(page.shape[0] - height, 0) + 1))
    x = int(draw.integers(0, max(page.shape[1] - width, 0) + 1))
    target = page[y : y + height, x : x + width]
    target[:] = part[: target.shape[0], : target.shape[1]]
    rows, columns = np.nonzero(counts[: target.shape[0], : target.shape[1]])
    return page, Box(x + columns.min(), y + rows.min(), x + columns.max() + 1, y + rows.max() + 1)


def with_faces(pages: int, seed: int, folder: Path) -> Iterator[Paste]:
    cut, draw = cut_faces(folder), np.random.default_rng(seed)
    for index in range(pages):
        page = blank(index, seed).image
        part, box = cut[index % len(cut)]
        for size in FACE_SIZES:
            scale = size / min(box.x1 - box.x0, box.y1 - box.y0)
            way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
            small = cv2.resize(part, None, fx=scale, fy=scale, interpolation=way)
            inside = Box(*(round(v * scale) for v in (box.x0, box.y0, box.x1, box.y1)))
            for turn in TURNS:
                yield f"{size} px, {turn} degrees", *laid(page, small, inside, turn, draw)


def with_codes(pages: int, seed: int) -> Iterator[Paste]:
    draw = np.random.default_rng(seed)
    for index in range(pages):
        page, kind = blank(index, seed).image, KINDS[index % len(KINDS)]
        module = MODULES[index // len(KINDS) % len(MODULES)]
        digits = "".join(str(d) for d in draw.integers(0, 10, 12))
        ink = barcode(digits, getattr(zxingcpp.BarcodeFormat, kind), module, 60)
        if kind == "EAN13":
            ink = ink[ink.shape[0] // 2 :][:1].repeat(60, axis=0)
        whole = np.repeat((255 - ink)[:, :, None], 3, axis=2)
        for name, part in (("whole", whole), ("spoiled", spoiled(whole, module, draw))):
            at = np.nonzero(ink)
            inside = Box(at[1].min(), at[0].min(), at[1].max() + 1, at[0].max() + 1)
            yield f"{kind}, {name}", *laid(page, part, inside, TURNS[index % 4], draw)


def spoiled(code: Image, module: int, draw: np.random.Generator) -> Image:
    """So blurred, or so much of it under a blot, that zxing-cpp decodes nothing."""
    for strength in range(1, 40):
        made = cv2.GaussianBlur(code, (0, 0), 0.15 * strength * module)
        if strength > 8:
            height, width = made.shape[:2]
            y, x = (int(draw.integers(0, side)) for side in (height, width))
            cv2.circle(made, (x, y), min(height, width) // 4, (90, 90, 90), -1)
        if not zxingcpp.read_barcodes(made):
            return made
    return np.full_like(code, 128)


def covered(mask: np.ndarray[Any, Any], box: Box) -> bool:
    return bool(mask[box.y0 : box.y1, box.x0 : box.x1].mean() >= COVERED)


def falsely(found: list[Region], document: synthesis.Document, kind: str) -> int:
    """How many of the finds lie on nothing of the kind: some receipts have a code of their own."""
    own = [region.box for region in document.personal if region.kind == kind]
    return sum(not any(region.box.intersect(box) for box in own) for region in found)


def masks(image: Image, document: synthesis.Document, *at_work: Detector) -> Iterator[np.ndarray[Any, Any]]:
    """What is filled by the first detector, by the first two, and so on, on a page read as it is written."""
    found: list[Region] = []
    for detector in at_work:
        found += detector.find(image, document.lines)
        yield anonymise.anonymise(image, [], (), also=found).mask


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=running.DATA)
    parser.add_argument("--pages", type=int, default=40)
    parser.add_argument("--peers", type=Path, help="the Python of an environment with deface")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="six pages")
    parser.add_argument("--only", choices=("face", "code"), help="one of the two parts")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    cv2.setNumThreads(1)
    pages = 6 if given.quick else given.pages
    model = weights.default_folder() / "centerface.onnx"
    unread = UnreadDetector()
    own: dict[str, Detector] = {"face": FaceDetector(model), "code": CodeDetector()}
    report: dict[str, Any] = {}
    for kind, detector in ((k, d) for k, d in own.items() if given.only in (None, k)):
        pasted = (
            with_faces(pages, given.seed, given.data / "pii" / "faces")
            if kind == "face"
            else with_codes(pages, given.seed)
        )
        counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
        made = list(pasted)
        each = len(made) // pages
        for number, (name, image, box) in enumerate(made):
            document = blank(number // each, given.seed)
            alone, page = masks(image, document, detector, unread)
            for row in (name, "all"):
                counts[row][0] += 1
                counts[row][1] += covered(alone, box)
                counts[row][2] += covered(page, box)
        for name, (count, mine, all_) in counts.items():
            print(f"{kind} {name:22} {count:4}: detector {mine / count:.3f}, page {all_ / count:.3f}", flush=True)
        bare = [blank(k, given.seed) for k in range(pages)]
        false = sum(falsely(detector.find(document.image, document.lines), document, kind) for document in bare)
        print(f"{kind}: false finds a page {false / pages:.3f} on {pages} pages", flush=True)
        report[kind] = {"counts": counts, "false": false / pages}
        if kind == "face" and given.peers:
            report["deface"] = peer(given.peers, made, [document.image for document in bare])
    if given.json:
        given.json.write_text(json.dumps(report, indent=1))


def peer(python: Path, made: list[Paste], bare: list[Image]) -> dict[str, float]:
    """deface's boxes, at its own threshold and grown as it grows them (by 30%), on the same pages."""
    with tempfile.TemporaryDirectory() as folder:
        names = [f"{folder}/{number:05}.png" for number in range(len(made) + len(bare))]
        for name, image in zip(names, [image for _, image, _ in made] + bare, strict=True):
            cv2.imwrite(name, image[:, :, ::-1])
        done = subprocess.run([python, "-c", _PEER, *names], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    hits = 0
    for (_, image, box), boxes in zip(made, found, strict=False):
        mask = np.zeros(image.shape[:2], bool)
        for x0, y0, x1, y1, _ in boxes:
            dx, dy = 0.15 * (x1 - x0), 0.15 * (y1 - y0)
            mask[max(int(y0 - dy), 0) : max(int(y1 + dy), 0), max(int(x0 - dx), 0) : max(int(x1 + dx), 0)] = True
        hits += covered(mask, box)
    false = sum(len(boxes) for boxes in found[len(made) :])
    print(f"face deface 1.5.0: {hits / len(made):.3f}, false finds a page {false / len(bare):.3f}", flush=True)
    return {"covered": hits / len(made), "false": false / len(bare)}


if __name__ == "__main__":
    main()
