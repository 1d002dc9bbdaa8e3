"""What was read, as strings that a rule can search, where every character knows its place on the page.

A value often stands beside its label or below it, in another line. So a page gives a passage for each
line, one for each row of lines side by side (joined by a tab), and one for each label with what stands
below it (joined by line breaks).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from privacy.detectors.labels import is_label
from privacy.page import Box, Line, Point, Quad

BELOW = 3  # lines under a label that may belong to it: an address has three
FILLED = "\u2588"  # stands for a fill on a page that is looked at again; no rule takes it for a value
NEAR = 1.6  # line heights; a larger gap between two lines parts a label from what is below

Place = tuple[int, Quad]
"""The index of a line and the quadrilateral of one of its characters."""


@dataclass(frozen=True)
class Passage:
    """A string and, for each of its characters, where it stands; `None` for what stands nowhere."""

    text: str = field(repr=False)
    places: tuple[Place | None, ...] = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.text) != len(self.places):
            raise ValueError(f"Expected a place for each of {len(self.text)} characters, got {len(self.places)}.")

    def quads(self, start: int, end: int) -> list[Quad]:
        """What characters `[start, end)` cover: one quadrilateral for each line they touch."""
        by_line: dict[int, list[Quad]] = {}
        for place in self.places[start:end]:
            if place is not None:
                by_line.setdefault(place[0], []).append(place[1])
        return [(q[0][0], q[-1][1], q[-1][2], q[0][3]) for q in by_line.values()]


def passages(lines: Sequence[Line]) -> list[Passage]:
    """Every line by itself, every row of several lines, every label with the lines below it."""
    alone = [_passage(i, line) for i, line in enumerate(lines)]
    rows = _rows(lines)
    beside = {a: b for row in rows for a, b in zip(row, row[1:], strict=False)}
    below = _below(lines)
    joined = [_join([alone[i] for i in row], "\t") for row in rows if len(row) > 1]
    for i in range(len(lines)):
        right = beside.get(i)
        if right is not None and not is_label(lines[right].text):
            continue  # its value is beside it, not below
        column = _column(i, below)
        if len(column) > 1:
            joined.append(_join([alone[j] for j in column], "\n"))
    return alone + joined


def _passage(index: int, line: Line) -> Passage:
    """Places the characters of a line; what was read without boxes is spread evenly over the line."""
    inked = [i for i, c in enumerate(line.text) if not c.isspace()]
    boxes = [c.quad for c in line.chars if not c.text.isspace()]
    if len(boxes) != len(inked):
        n = max(len(line.text), 1)
        boxes = [_slice(line.quad, i / n, (i + 1) / n) for i in inked]
    places: list[Place | None] = [None] * len(line.text)
    for i, quad in zip(inked, boxes, strict=True):
        places[i] = (index, quad)
    return Passage(line.text, tuple(places))


def _slice(quad: Quad, left: float, right: float) -> Quad:
    def at(a: Point, b: Point, u: float) -> Point:
        return a[0] + u * (b[0] - a[0]), a[1] + u * (b[1] - a[1])

    a, b, c, d = quad
    return at(a, b, left), at(a, b, right), at(d, c, right), at(d, c, left)


def _join(parts: Sequence[Passage], glue: str) -> Passage:
    places: list[Place | None] = []
    for number, part in enumerate(parts):
        places += [None, *part.places] if number else part.places
    return Passage(glue.join(part.text for part in parts), tuple(places))


def _rows(lines: Sequence[Line]) -> list[list[int]]:
    """Lines that share at least half of the lower one's height stand in a row, from left to right."""
    rows: list[list[int]] = []
    for i in sorted(range(len(lines)), key=lambda k: lines[k].box.y0):
        box = lines[i].box
        row = next((r for r in rows if _beside(lines[r[-1]].box, box)), None)
        if row is None:
            rows.append([i])
        else:
            row.append(i)
    return [sorted(row, key=lambda k: lines[k].box.x0) for row in rows]


def _beside(a: Box, b: Box) -> bool:
    common = min(a.y1, b.y1) - max(a.y0, b.y0)
    return 2 * common >= min(a.y1 - a.y0, b.y1 - b.y0) > 0


def _below(lines: Sequence[Line]) -> dict[int, int]:
    """For each line the nearest one under it: close, and above or below each other for a part of their width."""
    below = {}
    for i, line in enumerate(lines):
        a = line.box
        reach = a.y1 + NEAR * (a.y1 - a.y0)
        under = [
            (lines[j].box.y0, abs(lines[j].box.x0 - a.x0), j)
            for j in range(len(lines))
            if j != i and _middle(a) < _middle(lines[j].box) and not _beside(a, lines[j].box)
            and lines[j].box.y0 <= reach
            and min(a.x1, lines[j].box.x1) > max(a.x0, lines[j].box.x0)
        ]  # fmt: skip
        if under:
            below[i] = min(under)[2]
    return below


def _middle(box: Box) -> float:
    return float(np.mean((box.y0, box.y1)))


def _column(first: int, below: dict[int, int]) -> list[int]:
    column = [first]
    while column[-1] in below and len(column) <= BELOW:
        column.append(below[column[-1]])
    return column
