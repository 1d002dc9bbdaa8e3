"""Public documents: rendered, with known text, known boxes and planted personal data that belongs to nobody.

They feed the demo, the tests, the anchor set, the warm-up and the benches, and stand for no real person.

Guarantee: the same arguments give the same bytes on every machine. That rests on pinned fonts checked by
hash and FreeType's fixed-point rasteriser (`learners.fonts`), on PCG64's raw stream (`learners.draws`),
on integer damage (`learners.damage`, `learners.geometry`) and on the pinned Pillow and Faker; no
operating system font, clock, locale, vector instruction or hash seed has a part in it.

Guarantee: a character's box holds all of its ink, before damage; damage that moves ink moves boxes too.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from learners import cards, fonts, papers, phrases, thermal
from learners import damage as damages
from learners.damage import Damage, scanned
from learners.draws import Draws
from learners.geometry import askew, carried, pulled
from learners.personas import LOCALES
from learners.sheet import Sheet, joined
from learners.typesetting import Setting, Style, typeset
from privacy.page import Image, Line, Region

TEMPLATES = {
    "receipt": papers.receipt,
    "form": papers.form,
    "letter": papers.letter,
    "id_card": cards.id_card,
    "label": cards.label,
    "screenshot": cards.screenshot,
}
KINDS = tuple(TEMPLATES)
DOMAINS = ("plain", "chinese", "thermal")


@dataclass(frozen=True)
class Document:
    """A picture of a page and the truth about it: every line, and where personal data was planted."""

    image: Image = field(repr=False)
    lines: tuple[Line, ...]
    personal: tuple[Region, ...]
    kind: str
    locale: str


def pictured(sheet: Sheet, damage: Damage, draws: Draws, kind: str, locale: str) -> Document:
    """The sheet after `damage`."""
    ink, shape = sheet.ink, sheet.ink.shape
    matrix = askew((shape[0], shape[1]), damage.turn, damage.lean)
    if damage.turn or damage.lean != (0, 0):
        ink = pulled(ink, matrix)
    image = np.ascontiguousarray(np.rot90(scanned(ink, damage, draws), -damage.quarters))
    lines, personal = carried(sheet.lines, sheet.regions, (shape[0], shape[1]), matrix, damage.quarters)
    return Document(image, lines, personal, kind, locale)


def generate(kind: str, seed: int, locale: str | None = None, damage: Damage | None = None) -> Document:
    """A page of one of `KINDS`; locale and damage are drawn unless they are given.

    Raises:
        ValueError: an unknown kind or locale.
    """
    if kind not in TEMPLATES:
        raise ValueError(f"Expected a kind among {', '.join(KINDS)}, got {kind!r}.")
    draws = Draws(seed, f"page {kind}")
    drawn = draws.pick(LOCALES)
    locale = drawn if locale is None else locale
    sheet = TEMPLATES[kind](draws, locale)
    drawn_damage = damages.screen(draws) if kind == "screenshot" else damages.some(draws, lean=24)
    return pictured(sheet, drawn_damage if damage is None else damage, draws, kind, locale)


def thermal_label(seed: int, damage: Damage | None = None) -> Document:
    """A small label of two or three lines from the thermal or needle printer of a pharmacy, store or laboratory.

    Stock PP-OCRv4 reads about a quarter of its lines exactly and mostly loses spaces (`bench/synthesis.py`).
    """
    draws = Draws(seed, "thermal label")
    rows, press = thermal.wording(draws), thermal.press(draws)
    settings = [press.print(joined(parts), draws) for parts in rows]
    margin = draws.between(10, 26)
    gap = max(setting.height for setting in settings) * draws.between(45, 110) // 100
    height = sum(setting.height + gap for setting in settings) - gap
    width = max(setting.width for setting in settings) + draws.below(30)
    sheet = Sheet(height + 2 * margin, width + 2 * margin)
    y = margin
    for setting, parts in zip(settings, rows, strict=True):
        sheet.put(setting, parts, margin, y)
        y += setting.height + gap
    return pictured(sheet, damages.some(draws) if damage is None else damage, draws, "label", "en_GB")


def line(seed: int, domain: str = "plain") -> tuple[Image, str]:
    """One line cut out as a detector would: `(about 48, W, 3) uint8` RGB, and what it says.

    Domains: "plain" (clean print in many faces, English), "chinese", "thermal" (as on thermal labels).
    """
    if domain not in DOMAINS:
        raise ValueError(f"Expected a domain among {', '.join(DOMAINS)}, got {domain!r}.")
    draws = Draws(seed, f"line {domain}")
    if domain == "thermal":
        text = joined(draws.pick(thermal.wording(draws)))
        return _cut(thermal.press(draws).print(text, draws), damages.some(draws), draws), text
    text = phrases.plain(draws) if domain == "plain" else phrases.chinese(draws)
    faces = fonts.PROPORTIONAL + fonts.MONOSPACED if domain == "plain" else fonts.CHINESE
    setting = typeset(text, Style(draws.pick(faces), draws.between(26, 38)))
    return _cut(setting, damages.slight(draws), draws), text


def _cut(setting: Setting, damage: Damage, draws: Draws) -> Image:
    """The line with the margins that a detector leaves, scanned."""
    around = setting.height * draws.between(12, 30) // 100
    ink = np.pad(setting.ink, ((around, around), (around // 2 + draws.below(4), around // 2 + draws.below(4))))
    return scanned(ink, damage, draws)
