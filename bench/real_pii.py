"""Real photographs: is every face box, plate, machine-readable zone and code covered, or its page refused?

    python bench/real_pii.py [--data DIR] [--quick] [--json FILE]

Reads `pii/` of the benchmark data. A box is covered when 95% of its area is filled. A code is covered when zxing-cpp
decodes nothing of it any more, a zone when neither reader finds a line of one on the filled page. Ends with 1 if
something that has to be covered is neither covered nor on a page that was refused.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import xml.etree.ElementTree as Trees
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import zxingcpp

import running
from daemon import decoder
from daemon.errors import BadFile
from daemon.redacting import Redactor
from models import weights
from models.orientation import placement
from models.reader import NARROW, Reader
from privacy.detectors import mrz, registry

Boxes = list[tuple[int, int, int, int]]


def faces(folder: Path) -> Iterator[tuple[Path, Boxes]]:
    for name in ("training.xml", "testing.xml"):
        for image in Trees.parse(folder / name).getroot().iter("image"):
            boxes = [tuple(int(b.attrib[k]) for k in ("left", "top", "width", "height")) for b in image.iter("box")]
            yield folder / image.attrib["file"], [(x, y, x + w, y + h) for x, y, w, h in boxes]


def plates(folder: Path) -> Iterator[tuple[Path, Boxes]]:
    for path in sorted(folder.glob("*.txt")):
        name, *numbers = path.read_text().split("\t")
        x, y, w, h = (int(n) for n in numbers[:4])
        yield folder / name, [(x, y, x + w, y + h)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=running.DATA)
    parser.add_argument("--seed", type=int, default=0, help="not used: nothing is drawn")
    parser.add_argument("--quick", action="store_true", help="three files of each sort")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    cv2.setNumThreads(1)
    stock = weights.default_folder()
    guard = Reader(weights.v6_files(), "v6", narrowest=NARROW)
    serving = Reader(weights.v4_files(stock), "v4", narrowest=NARROW)
    redactor = Redactor(guard, serving, registry.default_detectors(stock / "centerface.onnx"))
    pii = given.data / "pii"
    codes = sorted(p for p in (pii / "codes").iterdir() if p.suffix != ".txt")
    passports = sorted(p for p in (pii / "passports").iterdir() if p.suffix != ".txt")
    sorts = {
        "face": list(faces(pii / "faces")),
        "plate": list(plates(pii / "plates")),
        "mrz": [(path, []) for path in passports],
        "code": [(path, []) for path in codes],
    }
    found: dict[str, Counter[str]] = {}
    for sort, files in sorts.items():
        counts = found.setdefault(sort, Counter())
        for path, boxes in files[: 3 if given.quick else None]:
            try:
                image = next(decoder.pages(path.read_bytes(), 1, 10**9, 200))
            except BadFile:
                counts["not decoded"] += 1
                continue
            result, reason = redactor.look(image, 1)
            there = placement(result.shape, result.turn, result.slope)
            there[:, 2] += there[:, :2] @ (0.5, 0.5) - 0.5  # OpenCV counts from the middle of a pixel
            filled, size = result.redaction.mask.astype(np.uint8), (image.shape[1], image.shape[0])
            mask = cv2.warpAffine(filled, there, size, flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP) > 0
            counts["pages"] += 1
            counts["refused"] += bool(reason)
            if sort in ("face", "plate"):
                for x0, y0, x1, y1 in boxes:
                    part = mask[max(y0, 0) : y1, max(x0, 0) : x1]
                    counts["items"] += 1
                    counts["covered"] += bool(part.size and part.mean() >= 0.95)
                    counts["covered or refused"] += bool(reason) or bool(part.size and part.mean() >= 0.95)
                continue
            if sort == "code":
                gone = not zxingcpp.read_barcodes(np.ascontiguousarray(result.image))
            else:
                text = "\n".join(line.text for by in (guard, serving) for line in by.read(result.image))
                gone = not any(span.kind == "mrz" for span in mrz.RULE.find(text))
            counts["items"] += 1
            counts["covered"] += gone
            counts["covered or refused"] += gone or bool(reason)
        print(sort, dict(counts), flush=True)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))
    missed = sum(c["items"] - c["covered or refused"] for c in found.values())
    print(f"neither covered nor refused: {missed}")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
