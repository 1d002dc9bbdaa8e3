"""A shop's till: how it prints, how its slips are scanned, and how their lines are cut out.

Most tills print a zero without a slash, many set letters narrow and high, scanners' software makes paper white, and
a box around a line may be tight, or clip it, or hold some of the next one. The shapes were held against real receipts,
those of the benches, and are half of what the public start reads better since then (`docs/tried.md`).
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
    """Width of the letters."""
    tight: bool
    """Whether lines are cut out at their ink, more or less."""
    capitals: bool

    @classmethod
    def of(cls, draws: Draws) -> Till:
        press = thermal.press(draws, PRESS_FACES) if draws.chance(60) else None
        style = Style(draws.pick(FACES), draws.between(22, 36), tracking=draws.pick((0, 0, 0, 0, 1, -1)))
        damage, capitals = damages.some(draws), not draws.chance(45)
        resolution, aspect = draws.pick((100, 80, 65, 55, 48)), draws.pick((100, 100, 90, 80, 70, 60, 52))
        if draws.chance(65):
            damage = replace(damage, levels=(draws.between(-15, 30), draws.between(72, 104)))
        return cls(press, style, damage, resolution, aspect, draws.chance(60), capitals)

    def print(self, text: str, draws: Draws) -> Setting:
        """Raises MissingGlyph: needle printers have few characters."""
        return typeset(text, self.style) if self.press is None else self.press.print(text, draws)

    def scan(self, line: Setting, beside: Setting | None, draws: Draws) -> Image:
        """`(H, W, 3) uint8` RGB: the line as it is cut out of the scan; `beside` may reach into it."""
        ink = _sloping(line.ink, draws.between(-22, 22)) if draws.chance(55) else line.ink
        ink = _tight(ink, beside, draws) if self.tight else _roomy(ink, draws)
        return scanned(_resized(ink, self.resolution * self.aspect, self.resolution * 100), self.damage, draws)

    def cased(self, text: str, draws: Draws) -> str:
        """In capitals, or as tills with small letters write it."""
        if self.capitals:
            return text.upper()
        kind = draws.below(100)
        if kind < 35:
            return " ".join(word.title() for word in text.split())
        if kind < 60:
            return text.capitalize()
        return text.lower() if kind < 68 else text


def _sloping(ink: Ink, slope: int) -> Ink:
    """Rising, or falling where `slope` is negative, by so many thousandths of its width, as on paper that curls."""
    height, width = ink.shape
    rise = min(abs(slope) * width // 1000, height * 45 // 100)
    lifted = np.arange(width) * rise // width
    if slope > 0:
        lifted = rise - lifted
    sheet = np.zeros((height + rise, width), np.uint8)
    sheet[np.arange(height)[:, None] + lifted, np.arange(width)] = ink
    return sheet


def _roomy(ink: Ink, draws: Draws) -> Ink:
    around = ink.shape[0] * draws.between(6, 26) // 100
    return np.pad(ink, ((around, around), (around // 2 + draws.below(4), around // 2 + draws.below(4))))


def _tight(ink: Ink, beside: Setting | None, draws: Draws) -> Ink:
    """Around the ink; at each side a little paper is left, or some of it is cut off."""
    ink = _trimmed(ink)
    height = ink.shape[0]
    above, below = (height * draws.between(-6, 16) // 100 for _ in range(2))
    left, right = (height * draws.between(-8, 20) // 100 for _ in range(2))
    edges = ((max(above, 0), max(below, 0)), (max(left, 0), max(right, 0)))
    ink = np.pad(ink, edges)[max(-above, 0) :, max(-left, 0) :]
    ink = ink[: ink.shape[0] - max(-below, 0), : ink.shape[1] - max(-right, 0)]
    if beside is None or not draws.chance(35):
        return ink
    return _neighboured(ink, _trimmed(beside.ink), max(1, height * draws.between(4, 14) // 100), draws.chance(50))


def _neighboured(ink: Ink, beside: Ink, rows: int, above: bool) -> Ink:
    """With so many rows of another line's ink above or below it, and one of paper between them."""
    part = beside[-rows:] if above else beside[:rows]
    strip = np.zeros((len(part) + 1, ink.shape[1]), np.uint8)
    width = min(part.shape[1], ink.shape[1])
    strip[(0 if above else 1) :][: len(part), :width] = part[:, :width]
    return np.concatenate([strip, ink] if above else [ink, strip])


def _trimmed(ink: Ink) -> Ink:
    """Without the rows and columns at its edges that are paper; all of it where there is no letter."""
    rows, columns = (np.flatnonzero(ink.max(axis) > INKED) for axis in (1, 0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] if len(rows) else ink


def _resized(ink: Ink, width: int, height: int) -> Ink:
    """To so many ten-thousandths; Pillow's fixed-point arithmetic, alike on every machine."""
    size = max(8, ink.shape[1] * width // 10_000), max(8, ink.shape[0] * height // 10_000)
    return np.asarray(Pictures.fromarray(np.ascontiguousarray(ink)).resize(size, Pictures.Resampling.BOX))
