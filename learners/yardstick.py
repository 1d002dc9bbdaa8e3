"""Pages to measure an anonymiser with: planted personal data, where its ink is, and a part never tuned on.

The parts differ in templates, wordings, typefaces (but for Chinese, which has one), names, and damage. A page's ink
is known after the damage: an item is gone when 95% of its ink is covered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from learners import damage as damages
from learners import held_out_pages, synthesis, tuning_pages
from learners.damage import Damage, scanned
from learners.draws import Draws
from learners.geometry import askew, carried, pulled
from learners.personas import CHINESE, LATIN
from learners.sheet import Sheet
from privacy.page import Image, Line, Region

PARTS = ("tuning", "held-out")
INKED = 128
"""Of 255: from here on a pixel is ink. Lighter fringes of letters, tints and silhouettes are not."""
_SPARE = 3

Mask = npt.NDArray[np.bool_]
Template = Callable[[Draws, str], Sheet]
_TEMPLATES: Mapping[str, Mapping[str, Template]] = {
    "tuning": {**synthesis.TEMPLATES, **tuning_pages.TEMPLATES},
    "held-out": held_out_pages.TEMPLATES,
}


@dataclass(frozen=True)
class Page:
    """A picture, `(H, W) bool` ink on it, and what was planted; `lines` are the truth about its text."""

    image: Image = field(repr=False)
    ink: Mask = field(repr=False)
    items: tuple[Region, ...]
    lines: tuple[Line, ...]
    template: str
    locale: str

    def covered(self, item: Region, mask: Mask) -> float:
        """The share of the item's ink under a mask; 1 if nothing of it is dark enough to be ink."""
        ink = self.ink_of(item)
        return float(mask[ink].mean()) if ink.any() else 1.0

    def ink_of(self, item: Region) -> Mask:
        inside = np.zeros(self.ink.shape, np.uint8)
        cv2.fillPoly(inside, np.rint(np.array([item.quad])).astype(np.int32), 1)
        return self.ink & (inside > 0)

    def innocent(self) -> Mask:
        """Ink that is nobody's: what lies clear of every planted piece."""
        inside = np.zeros(self.ink.shape, np.uint8)
        for item in self.items:
            cv2.fillPoly(inside, np.rint(np.array([item.quad])).astype(np.int32), 1)
        clear: Mask = cv2.dilate(inside, np.ones((2 * _SPARE + 1,) * 2, np.uint8)) == 0
        return self.ink & clear


def templates(part: str) -> tuple[str, ...]:
    """
    Raises:
        ValueError: not one of `PARTS`.
    """
    if part not in PARTS:
        raise ValueError(f"Expected a part among {', '.join(PARTS)}, got {part!r}.")
    return tuple(_TEMPLATES[part])


def page(part: str, index: int, chinese: bool = False, seed: int = 0) -> Page:
    """Page `index` of a part: templates and locales take turns, the rest is drawn."""
    names, locales = templates(part), CHINESE if chinese else LATIN
    name, locale = names[index % len(names)], locales[index // len(names) % len(locales)]
    draws = Draws(seed * 1_000_003 + index, f"yardstick {part} {'chinese' if chinese else 'latin'}")
    sheet = _TEMPLATES[part][name](draws, locale)
    worn, shadow = (_harder(draws), draws.chance(30)) if part == "held-out" else (damages.some(draws, lean=24), False)
    if name in ("screenshot", "mail"):
        worn, shadow = damages.screen(draws), False
    return _pictured(sheet, worn, shadow, draws, name, locale)


def _harder(draws: Draws) -> Damage:
    """Other settings than `learners.damage.some` knows: more light and shade, other JPEG, a larger lean."""
    paper, dark = draws.between(200, 252), draws.between(15, 80)
    return Damage(
        paper=(paper, paper - draws.pick((0, 6)), paper - draws.pick((0, 14))),
        print=(dark, dark, dark + draws.pick((0, 20))),
        blur=draws.pick((0, 0, 1, 1, 1, 2)),
        shade=draws.pick((0, 20, 45)),
        noise=draws.pick((0, 6, 12, 22, 34)),
        jpeg=draws.pick((None, 92, 60, 42)),
        turn=draws.between(-12, 12) if draws.chance(60) else 0,
        lean=(draws.between(-32, 32), draws.between(-32, 32)) if draws.chance(30) else (0, 0),
    )


def _pictured(sheet: Sheet, damage: Damage, shadow: bool, draws: Draws, name: str, locale: str) -> Page:
    shape = (sheet.ink.shape[0], sheet.ink.shape[1])
    matrix = askew(shape, damage.turn, damage.lean)
    ink = pulled(sheet.ink, matrix) if damage.turn or damage.lean != (0, 0) else sheet.ink
    image = scanned(ink, damage, draws)
    if shadow:
        image = _shadowed(image, draws)
    lines, items = carried(sheet.lines, sheet.regions, shape, matrix, 0)
    return Page(image, ink >= INKED, items, lines, name, locale)


def _shadowed(image: Image, draws: Draws) -> Image:
    """A hand's or a telephone's shadow: a soft band across the page that takes up to two fifths of the light."""
    height, width = image.shape[:2]
    at, slope, wide = draws.between(0, width), draws.between(-60, 60), draws.between(width // 6, width // 3)
    x, y = np.arange(width)[None, :], np.arange(height)[:, None]
    far = np.abs(x + slope * y // 100 - at)
    keep = 256 - np.clip(wide - far, 0, wide) * draws.between(40, 100) // wide
    dim: Image = (image.astype(np.uint32) * keep[..., None] >> 8).astype(np.uint8)
    return dim
