"""Columns of tables: under a heading that announces personal data, every cell is.

A heading row is a row of labels and nothing else. Its columns end at a line that starts with another label, or at a
gap of several lines.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from privacy.detectors import labels
from privacy.detectors.lookalikes import fold
from privacy.detectors.passages import FILLED, rows
from privacy.page import Box, Image, Line, Quad, Region

KINDS = (
    ("name", labels.NAME), ("birth_date", labels.BIRTH), ("phone", labels.PHONE), ("email", labels.EMAIL),
    ("address", labels.ADDRESS), ("national_id", labels.IDENTITY), ("account", labels.ACCOUNT), ("tax_id", labels.TAX),
    ("record", labels.RECORD), ("record", labels.CUSTOMER), ("plate", labels.PLATE), ("vehicle", labels.VEHICLE),
    ("date", labels.EVENT), ("signature", labels.SIGNATURE),
)  # fmt: skip
GAP = 3.0  # line heights without a line end a table
MARGIN = 0.6  # line heights that a cell may begin to the left of its heading


class TableDetector:
    """Finds the cells under headings."""

    name = "table"
    version = "2"
    pixels = False

    def __init__(self) -> None:
        self._patterns = [(kind, labels.whole(group)) for kind, group in KINDS]

    def find(self, image: Image, lines: Sequence[Line]) -> list[Region]:
        boxes = [line.box for line in lines]
        folded = [fold(line.text) for line in lines]
        found: list[Region] = []
        for row in rows(boxes):
            heads = [_headings(lines[i], folded[i]) for i in row]
            if all(heads) and sum(map(len, heads)) > 1:
                flat = [(text, x, boxes[i]) for i, each in zip(row, heads, strict=True) for text, x in each]
                for number, (text, left, box) in enumerate(flat):
                    right = flat[number + 1][1] if number + 1 < len(flat) else image.shape[1]
                    if kind := self._kind(text):
                        found += _column(kind, box, left, right, lines, boxes, folded)
        return found

    def _kind(self, text: str) -> str:
        bare = labels.bare(text)
        return next((kind for kind, pattern in self._patterns if pattern.fullmatch(bare)), "")


def _headings(line: Line, text: str) -> list[tuple[str, int]]:
    """The labels a line consists of, each with where it begins; none if it holds anything else."""
    if labels.is_label(text):
        return [(text, line.box.x0)]
    found, matches = [], list(labels.ANY.finditer(text))
    if re.search(r"\w", labels.ANY.sub("", text)):
        return []
    for match in matches:
        inked = sum(not c.isspace() for c in text[: match.start()])
        if inked < len(line.chars):
            found.append((match.group(), Box.around(line.chars[inked].quad).x0))
    return found


def _column(
    kind: str, head: Box, start: float, end: float, lines: Sequence[Line], boxes: Sequence[Box], folded: Sequence[str]
) -> list[Region]:
    height = head.y1 - head.y0
    left, right = round(start - MARGIN * height), round(end - MARGIN * height)
    found, bottom = [], head.y1
    for i in sorted(range(len(lines)), key=lambda k: boxes[k].y0):
        box = boxes[i]
        if box.y0 + box.y1 < head.y0 + head.y1 + height or box.x1 <= left or box.x0 >= right:
            continue
        if box.y0 > bottom + GAP * height or labels.ANY.match(folded[i].lstrip()):
            break
        bottom = max(bottom, box.y1)
        quad = None if FILLED in lines[i].text else _within(lines[i], left, right)
        if quad is not None:
            found.append(Region(kind, quad, 0.7, "a cell under a heading"))
    return found


def _within(line: Line, left: int, right: int) -> Quad | None:
    """The characters of a line whose middle lies in the column; a line across columns is several cells."""
    inside = [c.quad for c in line.chars if left <= (c.quad[0][0] + c.quad[1][0]) / 2 < right]
    if not line.chars:
        return line.quad
    return (inside[0][0], inside[-1][1], inside[-1][2], inside[0][3]) if inside else None
