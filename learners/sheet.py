"""A sheet to print on: ink, and the truth about it.

What is written is recorded as it is written: each line with its text and characters, each planted piece
of personal data with its region. Nothing is measured back from the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from learners.typesetting import Ink, Setting, Style, typeset
from privacy.page import Box, Char, Line, Quad, Region


@dataclass(frozen=True)
class Planted:
    """A piece of personal data in a line: of which kind, and how it is written there."""

    kind: str
    text: str = field(repr=False)


Part = str | Planted


def quad(box: Box) -> Quad:
    return (box.x0, box.y0), (box.x1, box.y0), (box.x1, box.y1), (box.x0, box.y1)


def joined(parts: Sequence[Part]) -> str:
    return "".join(part if isinstance(part, str) else part.text for part in parts)


class Sheet:
    """Ink on `height` x `width` pixels of paper, and the lines and regions on it."""

    def __init__(self, height: int, width: int) -> None:
        self.ink: Ink = np.zeros((height, width), np.uint8)
        self.lines: list[Line] = []
        self.regions: list[Region] = []

    def write(self, parts: str | Sequence[Part], style: Style, x: int, baseline: int) -> Box:
        """Sets one line from `x` on `baseline` and returns the box of its ink.

        Raises:
            MissingGlyph: the face lacks a character of it.
            ValueError: it doesn't fit on the sheet.
        """
        parts = [parts] if isinstance(parts, str) else parts
        setting = typeset(joined(parts), style)
        return self.put(setting, parts, x, baseline - setting.baseline)

    def put(self, setting: Setting, parts: Sequence[Part], x: int, y: int) -> Box:
        """Lays a line that is set already with its top left corner at `(x, y)`."""
        self.lay(setting.ink, x, y)
        chars = tuple(
            Char(character, quad(_moved(box, x, y)), 1.0)
            for character, box in zip(setting.text, setting.boxes, strict=True)
            if box is not None
        )
        whole = _moved(setting.box(), x, y)
        self.lines.append(Line(setting.text, quad(self._around(whole)), 1.0, 1.0, chars))
        first = 0
        for part in parts:
            last = first + len(part if isinstance(part, str) else part.text)
            if isinstance(part, Planted):
                self.mark(part.kind, _moved(setting.box(first, last), x, y))
            first = last
        return whole

    def _around(self, box: Box) -> Box:
        """A line's box: its ink with the margin of a sixth of its height that a labeller leaves."""
        height, width = self.ink.shape
        more = box.grown(max(2, (box.y1 - box.y0) // 6))
        return Box(max(more.x0, 0), max(more.y0, 0), min(more.x1, width), min(more.y1, height))

    def lay(self, ink: Ink, x: int, y: int) -> Box:
        """Adds ink; where it meets ink, the darker stays."""
        height, width = ink.shape
        if x < 0 or y < 0 or y + height > self.ink.shape[0] or x + width > self.ink.shape[1]:
            raise ValueError(f"Expected ink of {height} x {width} to fit at ({x}, {y}) on a sheet of {self.ink.shape}.")
        spot = self.ink[y : y + height, x : x + width]
        np.maximum(spot, ink, out=spot)
        return Box(x, y, x + width, y + height)

    def rule(self, box: Box, strength: int = 255) -> None:
        """A filled rectangle: a rule, or a tinted field."""
        spot = self.ink[box.y0 : box.y1, box.x0 : box.x1]
        np.maximum(spot, np.uint8(strength), out=spot)

    def mark(self, kind: str, box: Box) -> None:
        self.regions.append(Region(kind, quad(box), 1.0, "planted"))


def _moved(box: Box, x: int, y: int) -> Box:
    return Box(box.x0 + x, box.y0 + y, box.x1 + x, box.y1 + y)
