"""What was read, as strings that a rule can search, where every character knows its place on the page.

A value often stands beside its label or below it, in another line. So a page gives a passage for each
line, one for each row of lines side by side (joined by a tab), and one for each label with what stands
below it (joined by line breaks).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

from privacy.detectors.labels import ANY, is_label
from privacy.detectors.lookalikes import fold
from privacy.page import Box, Line, Point, Quad

BELOW = 3  # lines under a label that may belong to it: an address has three
FILLED = "\u2588"  # stands for a fill on a page that is looked at again; no rule takes it for a value
FILLED_ALONE = 2 * FILLED  # a fill whose neighbours are no part of what was there: a face, a code, a leftover
FULL = 0.75  # a line of so much of the longest in its block goes on in the next ...
PROSE = 10.0  # ... if it is so many times as wide as high
LATIN_PROSE = 14.0  # and a line in Latin letters if it is so
_HAN = 0x2E80  # from here on characters that stand without spaces between them
_FIELD = re.compile(rf"[ *#.\-]*{ANY.pattern}[^\n:]{{0,12}}:")
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


def passages(lines: Sequence[Line], whole: bool = False, blocks: bool = False) -> list[Passage]:
    """Every line by itself, every row of several lines, every label with the lines below it, every paragraph.

    With `whole` the page in one as well; with `blocks` every column of lines close below each other.
    """
    few, page, columns = found_in(tuple(lines))
    return [*few, *(columns if blocks else ()), *(page if whole else ())]


@lru_cache(maxsize=2)  # every rule asks for the same page; `interface.forget` clears it
def found_in(lines: tuple[Line, ...]) -> tuple[list[Passage], list[Passage], list[Passage]]:
    boxes = [line.box for line in lines]
    alone = [_passage(i, line) for i, line in enumerate(lines)]
    beside_each_other = rows(boxes)
    beside = {a: b for row in beside_each_other for a, b in pairwise(row)}
    joined = [_join([alone[i] for i in row], "\t") for row in beside_each_other if len(row) > 1]
    folded = [fold(line.text) for line in lines]
    for i, text in enumerate(folded):
        if not ANY.search(text) and "<<" not in text:
            continue
        value = beside.get(i)
        if value is None or is_label(folded[value]):
            joined.append(_join([alone[j] for j in _column(i, boxes, folded, beside)], "\n"))
        else:  # its value begins beside it and may go on below that
            column = _column(value, boxes, folded, beside)
            joined.append(_join([alone[i], _join([alone[j] for j in column], "\n")], "\t"))
    page = [_join([_join([alone[i] for i in row], "\t") for row in beside_each_other], "\n")] if len(lines) > 1 else []
    blocks = _blocks(boxes)
    columns = [_join([alone[i] for i in block], "\n") for block in blocks]
    for paragraph in (each for block in blocks for each in _paragraphs(block, boxes, folded)):
        if not any("<<" in folded[i] for i in paragraph):  # a machine-readable zone is no prose
            joined.append(_prose([alone[i] for i in paragraph]))
    return alone + joined, page, columns


def _paragraphs(block: Sequence[int], boxes: Sequence[Box], folded: Sequence[str]) -> list[list[int]]:
    """Lines of running text: each but the last about as long as the longest of its block; fields are none."""
    widest = max(boxes[i].x1 - boxes[i].x0 for i in block)
    found: list[list[int]] = [[]]
    for i in block:
        if _FIELD.match(folded[i]):
            found.append([])
        found[-1].append(i)
        height, width = boxes[i].y1 - boxes[i].y0, boxes[i].x1 - boxes[i].x0
        if width < FULL * widest or width < (PROSE if has_han(folded[i]) else LATIN_PROSE) * height:
            found.append([])
    return [paragraph for paragraph in found if len(paragraph) > 1]


def _prose(parts: Sequence[Passage]) -> Passage:
    """Lines as one: a space between them, but none in Chinese, which breaks even numbers where a line ends."""
    tight = any(has_han(part.text) for part in parts)
    whole = parts[0]
    for part in parts[1:]:
        whole = _join([whole, part], "" if tight else " ")
    return whole


def has_han(text: str) -> bool:
    """Does it hold characters that stand without spaces between them?"""
    return any(ord(c) > _HAN for c in text)


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
        places += [None] * len(glue) + list(part.places) if number else part.places
    return Passage(glue.join(part.text for part in parts), tuple(places))


def rows(boxes: Sequence[Box]) -> list[list[int]]:
    """Lines that share at least half of the lower one's height stand in a row, from left to right."""
    found: list[list[int]] = []
    for i in sorted(range(len(boxes)), key=lambda k: boxes[k].y0):
        row = next((r for r in reversed(found) if _beside(boxes[r[-1]], boxes[i])), None)
        if row is None:
            found.append([i])
        else:
            row.append(i)
    return [sorted(row, key=lambda k: boxes[k].x0) for row in found]


def _beside(a: Box, b: Box) -> bool:
    common = min(a.y1, b.y1) - max(a.y0, b.y0)
    return 2 * common >= min(a.y1 - a.y0, b.y1 - b.y0) > 0


def _column(first: int, boxes: Sequence[Box], folded: Sequence[str], beside: dict[int, int]) -> list[int]:
    """A line and up to `BELOW` lines under it, as far as no other field begins."""
    left = {b: a for a, b in beside.items()}
    column = [first]
    while len(column) <= BELOW:
        under = _under(column[-1], boxes)
        if under is None or ANY.match(folded[under].lstrip()):
            break
        if under in left and ANY.search(folded[left[under]]):
            break  # the value of the field on its left
        column.append(under)
    return column


def _blocks(boxes: Sequence[Box]) -> list[list[int]]:
    """Chains of lines, each the nearest below the one before."""
    under = {i: below for i in range(len(boxes)) if (below := _under(i, boxes)) is not None}
    chains = []
    for first in sorted(set(range(len(boxes))) - set(under.values())):
        chain = [first]
        while (below := under.get(chain[-1])) is not None:
            chain.append(below)
        if len(chain) > 1:
            chains.append(chain)
    return chains


def _under(i: int, boxes: Sequence[Box]) -> int | None:
    """The nearest line below: not far, and under a part of this one's width."""
    a = boxes[i]
    reach = a.y1 + NEAR * (a.y1 - a.y0)
    below = [
        (b.y0, abs(b.x0 - a.x0), j)
        for j, b in enumerate(boxes)
        if a.y0 + a.y1 < b.y0 + b.y1 and b.y0 <= reach and a.x0 < b.x1 and b.x0 < a.x1 and not _beside(a, b)
    ]
    return min(below)[2] if below else None
