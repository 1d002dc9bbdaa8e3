"""A shop's till: how it prints, how its slips are scanned, and how their lines are cut out.

Printers' zeros are often plain and their letters narrow and high, scanners' software makes paper white, paper curls,
and a box around a line may be tight, or clip it, or hold some of the next one. The ranges were set with receipts of
the benches beside them; `docs/tried.md` has what they are worth there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image as Pictures

from learners import damage as damages
from learners import fonts, thermal
from learners.damage import Damage, scanned
from learners.draws import Draws
from learners.thermal import Press
from learners.typesetting import Ink, Setting, Style, typeset
from privacy.page import Image

PRESS_FACES = (*map(fonts.plain, thermal.FACES), "plex-mono", "inconsolata")
FACES = (*map(fonts.plain, fonts.MONOSPACED), "inconsolata", "source-code", *fonts.PROPORTIONAL)
INKED = 40
"""Of 255: less is a smudge, and no edge of a letter."""


@dataclass(frozen=True)
class Till:
    """One printer and one scan. Percentages are of the print's size."""

    press: Press | None
    style: Style
    """Of a printer whose letters are no dots."""
    damage: Damage
    resolution: int
    aspect: int
    """Width of the letters; where each has a width of its own it tells O from 0, so these are never much narrower."""
    tight: bool
    """Whether lines are cut out at their ink, more or less."""
    capitals: bool

    @classmethod
    def of(cls, draws: Draws) -> Till:
        press = thermal.press(draws, PRESS_FACES) if draws.chance(45) else None
        face = draws.pick(FACES)
        spread = face in fonts.PROPORTIONAL
        style = Style(face, draws.between(22, 36), draws.pick((0, 0, -1, -1, -2) if spread else (0, 0, 0, 0, 1, -1)))
        damage, capitals = damages.some(draws), not draws.chance(45)
        resolution, aspect = draws.pick((100, 80, 65, 55, 48)), draws.pick((100, 100, 90, 80, 70, 60, 52))
        if spread and press is None:
            aspect = max(aspect, 80)
        if draws.chance(65):
            damage = replace(damage, levels=(draws.between(-15, 30), draws.between(72, 104)))
        return cls(press, style, damage, resolution, aspect, draws.chance(60), capitals)

    def print(self, text: str, draws: Draws) -> Setting:
        """Raises MissingGlyph: needle printers have few characters."""
        return typeset(text, self.style) if self.press is None else self.press.print(text, draws)

    def scan(self, line: Setting, beside: Setting | None, draws: Draws) -> Image:
        """`(H, W, 3) uint8` RGB: the line as it is cut out of the scan; a tight cut may hold some of `beside`."""
        ink = _trimmed(line.ink) if self.tight else line.ink
        height = ink.shape[0]
        if draws.chance(25):
            ink = _faded(ink, draws)
        if draws.chance(55):
            ink = _sloping(ink, draws.between(-22, 22))
        ink = _tight(ink, height, beside, draws) if self.tight else _roomy(ink, height, draws)
        return scanned(_resized(ink, self.resolution * self.aspect, self.resolution * 100), self.damage, draws)

    def cased(self, text: str, draws: Draws) -> str:
        """In capitals, or as tills with small letters write it."""
        if self.capitals:
            return text.upper()
        kind = draws.below(100)
        if kind < 35:
            return text.title()
        if kind < 60:
            return text.capitalize()
        return text.lower() if kind < 68 else text


def _faded(ink: Ink, draws: Draws) -> Ink:
    """Paler in places, as old thermal paper is: straight between what is left at every other height of its width."""
    apart, columns = 2 * ink.shape[0], np.arange(ink.shape[1])
    left = np.array([draws.pick((100, 100, 100, 80, 60, 40, 25)) for _ in range(ink.shape[1] // apart + 2)])
    place, past = columns // apart, columns % apart
    percent = (left[place] * (apart - past) + left[place + 1] * past) // apart
    faded: Ink = (ink.astype(np.int64) * percent // 100).astype(np.uint8)
    return faded


def _sloping(ink: Ink, slope: int) -> Ink:
    """Rising, or falling where `slope` is negative, by so many thousandths of its width, as on paper that curls.

    By 45 hundredths of its height at most.
    """
    height, width = ink.shape
    rise = min(abs(slope) * width // 1000, height * 45 // 100)
    down = np.arange(width) * (rise + 1) // width
    if slope > 0:
        down = rise - down
    sheet = np.zeros((height + rise, width), np.uint8)
    sheet[np.arange(height)[:, None] + down, np.arange(width)] = ink
    return sheet


def _roomy(ink: Ink, height: int, draws: Draws) -> Ink:
    around = height * draws.between(6, 26) // 100
    return np.pad(ink, ((around, around), (around // 2 + draws.below(4), around // 2 + draws.below(4))))


def _tight(ink: Ink, height: int, beside: Setting | None, draws: Draws) -> Ink:
    """At each side a little paper is left, or some of the ink is cut off: hundredths of the `height` of the letters."""
    above, below, left, right = (draws.between(-cut, paper) for cut, paper in ((6, 16), (6, 16), (4, 20), (4, 20)))
    ink = _framed(ink, *(int(side * height / 100) for side in (above, below, left, right)))
    over = draws.chance(50)
    if beside is None or not draws.chance(35) or (above if over else below) < 0:
        return ink
    return _neighboured(ink, _trimmed(beside.ink), max(1, height * draws.between(4, 14) // 100), over)


def _framed(ink: Ink, above: int, below: int, left: int, right: int) -> Ink:
    """With so many rows and columns of paper around it, or, where they are negative, of its own cut off."""
    height, width = ink.shape
    kept = ink[max(-above, 0) : height - max(-below, 0), max(-left, 0) : width - max(-right, 0)]
    return np.pad(kept, ((max(above, 0), max(below, 0)), (max(left, 0), max(right, 0))))


def _neighboured(ink: Ink, beside: Ink, rows: int, above: bool) -> Ink:
    """With the last rows of another line's ink above it, or its first ones below, and a row of paper between them."""
    part = (beside[-rows:] if above else beside[:rows])[:, : ink.shape[1]]
    part = np.pad(part, ((0, 0), (0, ink.shape[1] - part.shape[1])))
    paper = np.zeros((1, ink.shape[1]), np.uint8)
    return np.concatenate([part, paper, ink] if above else [ink, paper, part])


def _trimmed(ink: Ink) -> Ink:
    """Without the rows and columns at its edges that are paper; all of it where there is no letter."""
    rows, columns = (np.flatnonzero(ink.max(axis) > INKED) for axis in (1, 0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] if len(rows) else ink


def _resized(ink: Ink, width: int, height: int) -> Ink:
    """To so many ten-thousandths of its own; each pixel is the mean of those it covers, summed in fixed point."""
    size = max(8, ink.shape[1] * width // 10_000), max(8, ink.shape[0] * height // 10_000)
    return np.asarray(Pictures.fromarray(ink).resize(size, Pictures.Resampling.BOX))
