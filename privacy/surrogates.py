"""Fictions drawn where personal data was filled, and what the lines say with them.

The page has passed its second look, flat fills and all, before anything here happens, and a surrogate can only be
drawn where nothing is left to see:

1. a value's *plot* is the part of one line's fill that held it, with what a fill cut off its neighbours and with the
   blank paper beside it; whatever of a plot was not filled yet is filled too, which takes ink away and shows none;
2. a fiction is chosen that fits (`privacy.fictions`), the same for the same value everywhere;
3. the drawing, which is an argument, changes the plots; a page on which any other pixel changed is refused.

What a value was goes into step 2 only, through a key that is thrown away. A plot ends where its neighbours stand, not
where its value ended, so blank paper beside a value hides its length; between neighbours the gap stays what it was.

A fill that cannot be understood (a value that is not of one kind, a line that did not come apart into characters,
a digit cut off that may belong to the value) stays flat.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Protocol

import numpy as np

from privacy.anonymise import Mask, Redaction, fill
from privacy.errors import BadPage
from privacy.fictions import Fictions, language_of
from privacy.page import Image, Line, Quad
from privacy.plots import Plot, plots, strip

ATTEMPTS = 12
FULL = 0.7  # of its room, for a value that more text follows


@dataclass(frozen=True)
class Lettering:
    """What to draw in a plot: the text, from `left` along the line of `quad`."""

    text: str = field(repr=False)
    quad: Quad
    left: float


@dataclass(frozen=True)
class Told:
    """A line with surrogates in it: what was read, each value's place in that text, and what stands there now."""

    before: Line = field(repr=False)
    spans: tuple[tuple[int, int, str], ...] = field(repr=False)
    quad: Quad

    @property
    def text(self) -> str:
        return replaced(self.before.text, self.spans)


class Hand(Protocol):
    """Draws in the manner of one page."""

    def width(self, text: str, quad: Quad) -> float | None:
        """Pixels that a text takes on the line of `quad`; None if it cannot be drawn."""

    def draw(self, image: Image, plots: Mask, letterings: Sequence[Lettering]) -> Image:
        """The page with the texts on fresh paper in the plots."""


@dataclass(frozen=True)
class Substitution:
    """A page with surrogates: `plots` is where it may differ from the page that passed."""

    image: Image = field(repr=False)
    plots: Mask = field(repr=False)
    told: tuple[Told, ...] = field(repr=False)


def substitute(
    redaction: Redaction, lines: Sequence[Line], kinds: Collection[str], key: bytes, hand: Hand
) -> Substitution:
    """The page with surrogates for values of `kinds`. `lines` is a reading from before it was filled.

    Raises:
        BadPage: a pixel outside the plots changed.
    """
    places = plots(redaction, lines, kinds)
    wide = redaction.mask.copy()
    for plot in places:
        wide |= strip(lines[plot.line].quad, plot.left, plot.right, redaction.mask.shape)
    page = fill(redaction.image, wide)
    check_unchanged(redaction.image, page, wide)
    fictions = Fictions(key, language_of(" ".join(line.text for line in lines)))
    chosen = _chosen(places, lines, fictions, hand)
    letterings = [Lettering(_whole(plot, lines, texts), lines[plot.line].quad, plot.start) for plot, texts in chosen]
    drawn = np.zeros_like(wide)
    for plot, _ in chosen:
        drawn |= strip(lines[plot.line].quad, plot.left, plot.right, wide.shape)
    image = hand.draw(page, drawn, letterings)
    check_unchanged(page, image, drawn)
    left_flat = {plot.line for plot in places} - {plot.line for plot, _ in chosen}
    return Substitution(image, wide, tuple(_told(redaction, chosen, lines, left_flat, hand)))


def check_unchanged(before: Image, after: Image, plots: Mask) -> None:
    """
    Raises:
        BadPage: the pages differ outside the plots, or in shape.
    """
    if before.shape != after.shape or before.dtype != after.dtype:
        raise BadPage(f"Expected a page of {before.shape}, got {after.shape}.")
    if (before != after).any(axis=2)[~plots].any():
        raise BadPage("Expected a page that changed in its plots only; a surrogate was drawn outside.")


def replaced(text: str, spans: Sequence[tuple[int, int, str]]) -> str:
    """The text with each span's characters replaced."""
    for first, last, new in sorted(spans, reverse=True):
        text = text[:first] + new + text[last:]
    return text


def _chosen(
    places: Sequence[Plot], lines: Sequence[Line], fictions: Fictions, hand: Hand
) -> list[tuple[Plot, tuple[str, ...]]]:
    """Each plot with its fictions; the same value has the same attempt wherever it stands.

    A value that something follows in its line should fill its room, else the gap is odd; after some attempts any fits.
    """
    least: dict[tuple[str, str], int] = defaultdict(int)
    for attempt in range(ATTEMPTS):
        chosen, unfit = [], set()
        for plot in places:
            values = [(p.kind, lines[plot.line].text[p.first : p.last]) for p in plot.pieces if p.kind]
            texts = _texts(fictions, values, least)
            across = None if texts is None else hand.width(_whole(plot, lines, texts), lines[plot.line].quad)
            room, full = plot.right - plot.start, FULL if plot.bound and attempt < ATTEMPTS // 2 else 0.0
            if texts is not None and across is not None and full * room <= across <= room:
                chosen.append((plot, texts))
            else:
                unfit |= {(kind, _key(value)) for kind, value in values}
        if not unfit:
            break
        for each in unfit:
            least[each] += 1
    return chosen


def _texts(
    fictions: Fictions, values: Sequence[tuple[str, str]], least: Mapping[tuple[str, str], int]
) -> tuple[str, ...] | None:
    """A fiction for each value, or None where none is found that is unlike its value."""
    try:
        return tuple(fictions.of(kind, value, least[kind, _key(value)]) for kind, value in values)
    except ValueError:
        return None


def _key(value: str) -> str:
    return "".join(value.split()).casefold()


def _whole(plot: Plot, lines: Sequence[Line], texts: Sequence[str]) -> str:
    """What is drawn in a plot: its fictions, and between them what is drawn again."""
    left = iter(texts)
    return "".join(next(left) if p.kind else lines[plot.line].text[p.first : p.last] for p in plot.pieces)


def _told(
    redaction: Redaction, chosen: Sequence[tuple[Plot, tuple[str, ...]]], lines: Sequence[Line], flat: Collection[int],
    hand: Hand,
) -> list[Told]:  # fmt: skip
    """Lines all of whose fills have a surrogate, with what they say now."""
    told = []
    for number, group in groupby(chosen, key=lambda each: each[0].line):
        if number in flat:
            continue
        line, pairs = lines[number], list(group)
        spans = [
            (piece.first, piece.last, text)
            for plot, texts in pairs
            for piece, text in zip((p for p in plot.pieces if p.kind), texts, strict=True)
        ]
        last = pairs[-1][0]
        end = last.start + (hand.width(_whole(last, lines, pairs[-1][1]), line.quad) or 0.0)
        told.append(Told(line, tuple(spans), _reaching(line, pairs[0][0].left, end, last.pieces[-1].last)))
    return told


def _reaching(line: Line, start: float, end: float, last: int) -> Quad:
    """The line from its own start, or its first plot's, to its own end, or that of what was drawn."""
    a, b, _, d = (np.array(p) for p in line.quad)
    length, height = float(np.linalg.norm(b - a)), float(np.linalg.norm(d - a))
    margin = height / 5
    stop = end + margin if last >= len(line.text) else length
    along = (b - a) / length
    begin = min(0.0, start - margin)
    points = (a + along * begin, a + along * stop, d + along * stop, d + along * begin)
    p, q, r, s = ((float(x), float(y)) for x, y in points)
    return p, q, r, s
