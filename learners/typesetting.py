"""Text to ink, with the exact box of every character.

Ink is coverage: `(H, W) uint8`, 0 for bare paper and 255 for full ink. A character's box is the
tightest one around its own ink, so it holds all of it and nothing of it lies outside; a character
without ink (a space) has none. Positions are whole pixels and all arithmetic is on integers. Letters are
not kerned: the pinned faces have their pairs in GPOS tables, which Pillow's basic layout does not read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy import ndimage

from learners.fonts import FACES, PINS, load, require
from learners.pins import BASELINE, CELL, matrix
from privacy.page import Box

Ink = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Style:
    """How a line is set. Sizes and gaps in pixels (in dots, for a dot printer)."""

    face: str
    size: int
    tracking: int = 0
    """Added after every character."""
    binary: bool = False
    """Rasterise to dots that are printed or not."""
    wide: int = 1
    """Horizontal repetition, as in the double-width mode of receipt printers."""


@dataclass(frozen=True)
class Setting:
    """A line of ink and where its characters are: `boxes[i]` belongs to `text[i]`; `baseline` is a row of `ink`."""

    text: str = field(repr=False)
    ink: Ink
    boxes: tuple[Box | None, ...]
    baseline: int

    @property
    def height(self) -> int:
        return int(self.ink.shape[0])

    @property
    def width(self) -> int:
        return int(self.ink.shape[1])

    def box(self, first: int = 0, last: int | None = None) -> Box:
        """Around the ink of the characters `first .. last - 1`."""
        boxes = [box for box in self.boxes[first:last] if box is not None]
        return Box(
            min(b.x0 for b in boxes),
            min(b.y0 for b in boxes),
            max(b.x1 for b in boxes),
            max(b.y1 for b in boxes),
        )


@dataclass(frozen=True)
class _Glyph:
    ink: Ink | None
    left: int
    top: int
    """Above the baseline: rows of ink start at `baseline - top`."""
    advance: int


@lru_cache(maxsize=1 << 14)
def _glyph(face: str, size: int, binary: bool, character: str) -> _Glyph:
    if face == PINS:
        return _pinned(character)
    font = load(face, size)
    advance = round(font.getlength(character, mode="1" if binary else "L"))
    margin, side = 2 * size, 5 * size
    canvas = Image.new("1" if binary else "L", (side, side))
    ImageDraw.Draw(canvas).text((margin, 3 * size), character, font=font, fill=1 if binary else 255, anchor="ls")
    box = canvas.getbbox()
    if box is None:
        return _Glyph(None, 0, 0, advance)
    ink = np.asarray(canvas.crop(box).convert("L"))
    if character == "0" and FACES[face].plain_zero:
        ink = _hollow(ink)
    return _Glyph(ink, box[0] - margin, 3 * size - box[1], advance)


def _hollow(ink: Ink) -> Ink:
    """An oval without what stands in it: ink deeper inside than its left stroke is wide, above its waist."""
    solid = np.asarray(ndimage.binary_fill_holes(ink > 127))
    part = slice(len(ink) // 3, len(ink) * 9 // 20 + 1)
    paper = np.asarray(solid & (ink <= 127))[part]
    stroke = int(np.where(paper.any(1), paper.argmax(1) - solid[part].argmax(1), 1).max())
    depth = ndimage.distance_transform_edt(np.pad(solid, 1))[1:-1, 1:-1]
    return np.where(depth > stroke, np.uint8(0), ink)


def _pinned(character: str) -> _Glyph:
    dots = matrix(character)
    rows, columns = np.flatnonzero(dots.any(axis=1)), np.flatnonzero(dots.any(axis=0))
    if not len(rows):
        return _Glyph(None, 0, 0, CELL)
    ink = dots[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] * np.uint8(255)
    return _Glyph(ink, int(columns[0]), BASELINE - int(rows[0]), CELL)


def _laid(text: str, style: Style) -> tuple[list[_Glyph], list[int]]:
    """The glyphs of `text` and where the ink of each begins."""
    glyphs = [_glyph(style.face, style.size, style.binary, character) for character in text]
    places: list[int] = []
    x = 0
    for glyph in glyphs:
        places.append(x + glyph.left)
        x += glyph.advance + style.tracking
    return glyphs, places


def measure(text: str, style: Style) -> int:
    """The width of the ink of `text` in pixels; refuses what `typeset` refuses."""
    require(text, style.face)
    inked = [(glyph.ink, place) for glyph, place in zip(*_laid(text, style), strict=True) if glyph.ink is not None]
    if not inked:
        raise ValueError("Expected text with ink, got only spaces.")
    last = max(place + int(ink.shape[1]) for ink, place in inked)
    return (last - min(place for _, place in inked)) * style.wide


def typeset(text: str, style: Style) -> Setting:
    """One line of `text`, cropped to its ink.

    Raises:
        MissingGlyph: the face lacks a character.
        ValueError: the text has no ink.
    """
    require(text, style.face)
    return _compose(text, *_laid(text, style), style)


def _compose(text: str, glyphs: list[_Glyph], places: list[int], style: Style) -> Setting:
    inked = [
        (glyph.ink, place, glyph.top) for glyph, place in zip(glyphs, places, strict=True) if glyph.ink is not None
    ]
    if not inked:
        raise ValueError("Expected text with ink, got only spaces.")
    above = max(top for _, _, top in inked)
    below = max(ink.shape[0] - top for ink, _, top in inked)
    origin = min(place for _, place, _ in inked)
    width = max(place + ink.shape[1] for ink, place, _ in inked) - origin
    line = np.zeros((above + below, width), np.uint8)
    boxes: list[Box | None] = []
    for glyph, place in zip(glyphs, places, strict=True):
        if glyph.ink is None:
            boxes.append(None)
            continue
        h, w = glyph.ink.shape
        x, y = place - origin, above - glyph.top
        spot = line[y : y + h, x : x + w]
        np.maximum(spot, glyph.ink, out=spot)
        boxes.append(Box(x * style.wide, y, (x + w) * style.wide, y + h))
    if style.wide > 1:
        line = line.repeat(style.wide, axis=1)
    return Setting(text, line, tuple(boxes), above)
