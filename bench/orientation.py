"""Personal data on a page that was scanned the wrong way round, or askew: how much less of it goes?

    python bench/orientation.py [--pages 10 5] [--quick] [--data DIR] [--seed N] [--json FILE]

Held-out pages of `learners.yardstick`, turned by 90, 180 and 270 degrees, under the eight values of EXIF's
orientation (which the decoder undoes), and askew by 2 and 4 degrees either way, beside what askew they have of their
own. An item is gone when 95% of its ink is covered. A turned page that is set upright as the very pixels of the page
as it is has the same fills, and is not read twice; any other goes through the whole anonymiser and its items are
counted. Losses are in points of recall against the same pages as they are.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np

import running
from anonymise import _through_exif
from daemon.redacting import Redactor
from learners import yardstick
from models import weights
from models.orientation import placement, rotate, straightened, upright
from models.reader import Reader
from privacy.detectors import registry

COVERED = 0.95
TURNS = (90, 180, 270)
ANGLES = (-4.0, -2.0, 2.0, 4.0)
Pixels = np.ndarray[Any, Any]


def gone(redactor: Redactor, page: yardstick.Page, image: Pixels, matrix: Pixels) -> tuple[int, bool, Pixels]:
    """How many items are gone of a page that lies as `matrix` took it, whether it was refused, and it set upright."""
    result, reason = redactor.look(image, 1)
    there = placement(result.shape, result.turn, result.slope) @ np.vstack([matrix, [0, 0, 1]])
    there[:, 2] += there[:, :2] @ (0.5, 0.5) - 0.5  # OpenCV counts from the middle of a pixel
    size = page.image.shape[1], page.image.shape[0]
    mask = result.redaction.mask.astype(np.uint8)
    back = cv2.warpAffine(mask, there, size, flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP) > 0
    hits = sum(page.covered(item, back) >= COVERED for item in page.items)
    return hits, bool(reason), straightened(rotate(image, result.turn), result.slope)


def turned(image: Pixels, turn: int) -> tuple[Pixels, Pixels]:
    """The page turned clockwise by quarters, and the matrix that did it."""
    return rotate(image, turn), placement((image.shape[0], image.shape[1]), turn, 0.0)


def exif(image: Pixels, value: int) -> tuple[Pixels, Pixels]:
    """The page as the decoder opens it when it was written with this orientation."""
    return (image if value == 1 else _through_exif(image, value)), turned(image, 0)[1]


def askew(image: Pixels, angle: float) -> tuple[Pixels, Pixels]:
    """The page turned clockwise by some degrees, with room at its edges, and the matrix that did it."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), -angle, 1.0)
    if angle == 0.0:
        return image, matrix
    sine, cosine = abs(matrix[0, 1]), abs(matrix[0, 0])
    size = (round(height * sine + width * cosine), round(height * cosine + width * sine))
    matrix[:, 2] += ((size[0] - width) / 2, (size[1] - height) / 2)
    paper = np.median(image.reshape(-1, 3), axis=0)
    turned = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_CUBIC, borderValue=tuple(float(p) for p in paper))
    return turned, matrix


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=running.DATA, help="not used: every page is generated")
    parser.add_argument("--pages", type=int, nargs=2, default=(10, 5), metavar=("LATIN", "CHINESE"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="two Latin pages and a Chinese one")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    cv2.setNumThreads(1)
    folder = weights.default_folder()
    guard, serving = Reader(weights.v6_files(), "v6"), Reader(weights.v4_files(folder), "v4")
    redactor = Redactor(guard, serving, registry.default_detectors(folder / "centerface.onnx", half=True))
    latin, chinese = (2, 1) if given.quick else given.pages
    places = [(7 * index, script) for script, n in ((False, latin), (True, chinese)) for index in range(n)]
    ways = {
        **{f"turned by {turn}": lambda image, turn=turn: turned(image, turn) for turn in TURNS},
        **{f"EXIF orientation {value}": lambda image, value=value: exif(image, value) for value in range(1, 9)},
        **{f"askew by {angle:+g}": lambda image, angle=angle: askew(image, angle) for angle in ANGLES},
    }
    items, total, refused = 0, Counter({"as it is": 0}), Counter[str]()
    other = Counter[str]()
    for number, (index, script) in enumerate(places, 1):
        page = yardstick.page("held-out", index, script, given.seed)
        items += len(page.items)
        as_it_is, held, stands = gone(redactor, page, page.image, turned(page.image, 0)[1])
        total["as it is"] += as_it_is
        refused["as it is"] += held
        for name, way in ways.items():
            image, matrix = way(page.image)
            hits, no = as_it_is, held
            same = np.array_equal(image, page.image) or (
                name.startswith("turned") and np.array_equal(upright(image, guard).image, stands)
            )
            if not same:
                hits, no, _ = gone(redactor, page, image, matrix)
            total[name] += hits
            refused[name] += no
            other[name] += not same
        print(f"{number} pages, {items} items: {dict(total)}", flush=True)
    for name in ("as it is", *ways):
        loss = 100 * (total["as it is"] - total[name]) / items
        print(
            f"{name:18} {total[name]} of {items} gone, loss {loss:+.1f} points; {refused[name]} pages refused; "
            f"{other[name]} of {len(places)} pages had other pixels"
        )
    if given.json:
        given.json.write_text(
            json.dumps({"pages": len(places), "items": items, "gone": total, "refused": refused}, indent=1)
        )


if __name__ == "__main__":
    main()
