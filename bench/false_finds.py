"""What the anonymiser takes from documents on which nothing is personal: false finds a page, by kind.

    python bench/false_finds.py [--labels N] [--receipts N] [--quick] [--data DIR] [--seed N] [--json FILE]

Labels of shops, stores and laboratories in dot print and receipts come from `learners.synthesis`, other draws than
rules were tuned on; those that name somebody are left out. Ink is what is darker than the paper; codes on receipts
hold numbers of goods, count as nobody's and are shown apart, since a code goes whatever it holds.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np

import running
from daemon.redacting import Redactor
from learners import synthesis
from models import weights
from models.orientation import placement
from models.reader import NARROW, Reader
from privacy.detectors import registry

DARKER = 60  # grey levels below the paper's: ink


def documents(sort: str, seed: int) -> Iterator[synthesis.Document]:
    """Of one sort, without anybody's data; codes may be on them."""
    for index in count():
        number = 900_000_000 + seed * 1_000_000 + index
        document = synthesis.thermal_label(number) if sort == "labels" else synthesis.generate("receipt", number)
        if all(region.kind == "code" for region in document.personal):
            yield document


def measure(redactor: Redactor, sort: str, many: int, seed: int) -> dict[str, Any]:
    kinds, touched, lost, inked, refused = Counter[str](), 0, 0, 0, 0
    for number, document in enumerate(islice(documents(sort, seed), many), 1):
        result, reason = redactor.look(document.image, number)
        found = [region.kind for region in result.redaction.regions if region.kind != "code"]
        kinds.update(found)
        touched, refused = touched + bool(found), refused + bool(reason)
        gray = cv2.cvtColor(document.image, cv2.COLOR_RGB2GRAY)
        ink = gray < np.median(gray) - DARKER
        there = placement(result.shape, result.turn, result.slope)
        there[:, 2] += there[:, :2] @ (0.5, 0.5) - 0.5  # OpenCV counts from the middle of a pixel
        filled, size = result.redaction.mask.astype(np.uint8), (ink.shape[1], ink.shape[0])
        mask = cv2.warpAffine(filled, there, size, flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP) > 0
        lost, inked = lost + int((ink & mask).sum()), inked + int(ink.sum())
    print(f"{sort}: {many} documents, {touched} with a false find, {sum(kinds.values()) / many:.3f} a document,"
          f" ink removed {lost / inked:.4f} (codes included), quarantined {refused}")  # fmt: skip
    for kind, times in kinds.most_common():
        print(f"   {kind:12} {times / many:.3f}")
    return {"documents": many, "touched": touched, "kinds": dict(kinds), "ink": lost / inked, "quarantined": refused}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=running.DATA, help="not used: every page is generated")
    parser.add_argument("--labels", type=int, default=150)
    parser.add_argument("--receipts", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="20 labels and 5 receipts")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    cv2.setNumThreads(1)
    folder = weights.default_folder()
    redactor = Redactor(
        Reader(weights.v6_files(), "v6", narrowest=NARROW),
        Reader(weights.v4_files(folder), "v4", narrowest=NARROW),
        registry.default_detectors(folder / "centerface.onnx"),
    )
    sizes = {"labels": 20, "receipts": 5} if given.quick else {"labels": given.labels, "receipts": given.receipts}
    found = {sort: measure(redactor, sort, many, given.seed) for sort, many in sizes.items()}
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
