"""What passes between the stages: a page's lines and characters, and the regions to remove.

Boxes are in pixels of the page they belong to, `x` to the right and `y` down, half-open
(`x1`, `y1` are the first column and row outside). Nothing here prints its text: `repr` shows
shapes and counts only, so that a log line or a traceback cannot carry a document's content.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
"""A page: `(H, W, 3) uint8`, RGB."""

Point = tuple[float, float]
Quad = tuple[Point, Point, Point, Point]
"""Corners clockwise from the reading direction's top left."""


@dataclass(frozen=True)
class Box:
    """An upright rectangle `[x0, x1) x [y0, y1)`."""

    x0: int
    y0: int
    x1: int
    y1: int

    def __post_init__(self) -> None:
        if self.x1 < self.x0 or self.y1 < self.y0:
            raise ValueError(f"Expected x0 <= x1 and y0 <= y1, got {self}.")

    @property
    def area(self) -> int:
        return (self.x1 - self.x0) * (self.y1 - self.y0)

    def intersect(self, other: Box) -> int:
        """Area in common, in pixels."""
        w = min(self.x1, other.x1) - max(self.x0, other.x0)
        h = min(self.y1, other.y1) - max(self.y0, other.y0)
        return max(w, 0) * max(h, 0)

    def grown(self, pixels: int) -> Box:
        return Box(self.x0 - pixels, self.y0 - pixels, self.x1 + pixels, self.y1 + pixels)

    @classmethod
    def around(cls, points: Sequence[Point]) -> Box:
        """The smallest box that holds every point."""
        xs, ys = [p[0] for p in points], [p[1] for p in points]
        return cls(int(np.floor(min(xs))), int(np.floor(min(ys))), int(np.ceil(max(xs))), int(np.ceil(max(ys))))


@dataclass(frozen=True)
class Char:
    """One character that was read, with its quadrilateral and its confidence in [0, 1]."""

    text: str = field(repr=False)
    quad: Quad
    confidence: float


@dataclass(frozen=True)
class Line:
    """One text line that was read.

    `text` is the reading with its spaces; `chars` holds the characters that have a place on the
    page, in reading order (spaces may be absent). `confidence` is the mean and `min_confidence`
    the smallest per-character confidence of the best path.
    """

    text: str = field(repr=False)
    quad: Quad
    confidence: float
    min_confidence: float
    chars: tuple[Char, ...] = field(default=(), repr=False)

    def __hash__(self) -> int:
        """By what tells lines of a page apart: their hundred characters are hashed for every rule otherwise."""
        return hash((self.text, self.quad))

    @property
    def box(self) -> Box:
        return Box.around(self.quad)


@dataclass(frozen=True)
class Region:
    """A part of a page to be removed: what kind of thing, where, how sure, and by which rule; never its value."""

    kind: str
    quad: Quad
    confidence: float
    reason: str

    @property
    def box(self) -> Box:
        return Box.around(self.quad)
