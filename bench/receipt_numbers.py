"""Real receipts: is every phone and registration number that the transcription holds covered, or its page refused?

    python bench/receipt_numbers.py [--pages 100] [--read] [--quick] [--data DIR] [--json FILE]

Reads `receipts/pages/` of the benchmark data. What counts as a phone or a registration number (GST, ROC, company) is
told by its label in the transcription, or by its shape (six digits, a dash, a letter). It is covered when 90% of its
place is filled, its share of the line's box without a fifth above and below.

As it stands, the rules see the lines as they are transcribed, so what is missed is the rules'. With `--read` the pages
go through the whole anonymiser.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np

import running
from daemon.redacting import Redactor
from models import weights
from models.orientation import moved, placement
from models.reader import Reader
from privacy import anonymise
from privacy.detectors import registry
from privacy.detectors.interface import TextDetector
from privacy.detectors.tables import TableDetector
from privacy.page import Box, Char, Image, Line, Quad

COVERED = 0.9
VALUES = {
    "phone": re.compile(
        r"(?<![A-Z])(?:TEL|PHONE|H/?P|FAX|MOBILE|CONTACT|HOTLINE)[^0-9]{0,20}?((?:\+|\()?\d[\d()+\-\s/.]{6,}\d)",
        re.IGNORECASE,
    ),
    "registration": re.compile(
        r"(?:GST|ROC|REG|CO\.?|COMPANY|BUSINESS)[^0-9]{0,25}(\d[\d\- ]{5,}\d)(?!\d)|\b(\d{5,7}\s?-\s?[A-Z])\b",
        re.IGNORECASE,
    ),
}


def lines_of(rows: list[dict[str, Any]]) -> list[Line]:
    """The transcribed lines, their characters spread evenly."""
    lines = []
    for row in rows:
        text, (a, b, c, d) = row["transcription"], (np.array(p, dtype=float) for p in row["points"])
        step = 1 / max(len(text), 1)
        chars = tuple(
            Char(sign, _quad(a, b, c, d, k * step, (k + 1) * step), 1.0)
            for k, sign in enumerate(text)
            if not sign.isspace()
        )
        lines.append(Line(text, _quad(a, b, c, d, 0.0, 1.0), 1.0, 1.0, chars))
    return lines


def _quad(a: Any, b: Any, c: Any, d: Any, left: float, right: float) -> Quad:
    corners = (a + left * (b - a), a + right * (b - a), d + right * (c - d), d + left * (c - d))
    p, q, r, s = ((float(x), float(y)) for x, y in corners)
    return p, q, r, s


def values(lines: list[Line]) -> Iterator[tuple[str, Quad]]:
    """Each number's kind, and its place without a fifth above and below."""
    for line in lines:
        a, b, c, d = (np.array(p) for p in line.quad)
        a, d, b, c = a + 0.2 * (d - a), d - 0.2 * (d - a), b + 0.2 * (c - b), c - 0.2 * (c - b)
        for kind, pattern in VALUES.items():
            for match in pattern.finditer(line.text):
                group = 1 if match[1] else 2
                start, end = match.span(group)
                yield kind, _quad(a, b, c, d, start / len(line.text), end / len(line.text))


def share(mask: np.ndarray[Any, Any], quad: Quad) -> float:
    box = Box.around(quad)
    part = mask[max(box.y0, 0) : box.y1, max(box.x0, 0) : box.x1]
    return float(part.mean()) if part.size else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=running.DATA)
    parser.add_argument("--seed", type=int, default=0, help="not used: nothing is drawn")
    parser.add_argument("--pages", type=int, default=100)
    parser.add_argument("--read", action="store_true", help="through the readers and the second look")
    parser.add_argument("--show", type=Path, help="write the missed lines there (they are not printed)")
    parser.add_argument("--quick", action="store_true", help="ten pages")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    cv2.setNumThreads(1)
    stock = weights.default_folder()
    redactor = None
    if given.read:
        guard, serving = Reader(weights.v6_files(), "v6"), Reader(weights.v4_files(stock), "v4")
        redactor = Redactor(guard, serving, registry.default_detectors(stock / "centerface.onnx"))
    rules = [*(TextDetector(rule) for rule in registry.RULES), TableDetector()]
    counts: Counter[str] = Counter()
    missed: list[str] = []
    for path in sorted((given.data / "receipts" / "pages").glob("*.json"))[: 10 if given.quick else given.pages]:
        image: Image = np.ascontiguousarray(cv2.imread(str(path.with_suffix(".jpg")))[:, :, ::-1])
        lines = lines_of(json.loads(path.read_text())["lines"])
        reason, there = "", placement((image.shape[0], image.shape[1]), 0, 0.0)
        if redactor is None:
            mask = anonymise.anonymise(image, [lines], rules).mask
        else:
            result, reason = redactor.look(image, 1)
            mask, there = result.redaction.mask, placement(result.shape, result.turn, result.slope)
        counts["pages"] += 1
        counts["refused"] += bool(reason)
        for kind, quad in values(lines):
            hidden = share(mask, moved(quad, there)) >= COVERED
            counts[f"{kind}s"] += 1
            counts[f"{kind}s covered"] += hidden
            counts[f"{kind}s neither covered nor refused"] += not hidden and not reason
            if not hidden:
                missed += [f"{path.stem} {kind} {line.text}" for line in lines if line.box.intersect(Box.around(quad))]
    print(dict(counts), flush=True)
    if given.show:
        given.show.write_text("\n".join(missed))
    if given.json:
        given.json.write_text(json.dumps(counts, indent=1))


if __name__ == "__main__":
    main()
