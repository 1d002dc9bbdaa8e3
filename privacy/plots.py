"""Where the values stood that a page has lost: plots, on which surrogates may be drawn.

A plot is a run of one line's characters, value by value, with the words beside them that a fill cut into. It begins
and ends on blank paper, and takes what blank paper there is up to the next neighbour or to a step that does not tell
where the value ended.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import groupby

import cv2
import numpy as np

from privacy.anonymise import Mask, Redaction
from privacy.axis import Axis
from privacy.page import Line, Quad, Region

FAR = 16  # characters beside a fill that are drawn again at most
GAP = 0.45  # line heights of paper left before what follows
SLANT = 0.12  # of its length; steeper lines are left alone
INDENT = 0.15  # line heights from a line's box to its ink
SPACE = 0.22  # line heights between two words
LEAST = 8  # pixels of a line's height


@dataclass(frozen=True)
class Piece:
    """Characters `[first, last)` of a line's text are gone; `kind` is empty where they are to be drawn as they were."""

    first: int
    last: int
    kind: str


@dataclass(frozen=True)
class Plot:
    """Where on a page a run of one line's characters stood: between `left` and `right` pixels along the line.

    Text is drawn from `start` on; `bound` tells that text follows, so that it should about fill the plot.
    """

    line: int
    left: float
    start: float
    right: float
    bound: bool
    pieces: tuple[Piece, ...]


def plots(redaction: Redaction, lines: Sequence[Line], kinds: Collection[str]) -> list[Plot]:
    """A plot for each run of characters that fills took from a line, as far as it is understood whole."""
    gray = cv2.blur(cv2.cvtColor(redaction.image, cv2.COLOR_RGB2GRAY), (3, 3))  # the sensor's noise is no ink
    found = []
    for number, line in enumerate(lines):
        places = _places(line)
        if not places or not redaction.touches(line):
            continue
        axis = Axis(line.quad, gray, redaction.mask)
        gone = [at is not None and axis.masked(at) for at in places]
        for first, last in _words(line.text, (0, len(line.text))):  # a word that was cut into is drawn again whole
            gone[first:last] = [any(gone[first:last])] * (last - first)
        torn = _Torn(line, places, axis, redaction.regions, kinds)
        here = [_plot(number, torn, run) for run in _runs(line.text, gone)]
        if all(here):
            found += [plot for plot in here if plot is not None]
    return found


def _places(line: Line) -> list[tuple[float, float] | None]:
    """From where to where along its line each character reaches; [] if the line did not come apart."""
    inked = [i for i, c in enumerate(line.text) if not c.isspace()]
    chars = [c for c in line.chars if not c.text.isspace()]
    (ax, ay), (bx, by), _, (dx, dy) = line.quad
    length, height = np.hypot(bx - ax, by - ay), np.hypot(dx - ax, dy - ay)
    if len(inked) != len(chars) or not inked or height < LEAST or bx <= ax or abs(by - ay) > SLANT * length:
        return []
    along = np.array((bx - ax, by - ay)) / length
    places: list[tuple[float, float] | None] = [None] * len(line.text)
    for i, char in zip(inked, chars, strict=True):
        ends = [float((np.array(corner) - line.quad[0]) @ along) for corner in char.quad[:2]]
        places[i] = ends[0], ends[1]
    return places


def _runs(text: str, gone: Sequence[bool]) -> list[tuple[int, int]]:
    """Runs of characters that are gone, with the spaces between them; none begins or ends with a space."""
    runs: list[tuple[int, int]] = []
    for i, lost in enumerate(gone):
        if lost and runs and not text[runs[-1][1] : i].strip():
            runs[-1] = (runs[-1][0], i + 1)
        elif lost:
            runs.append((i, i + 1))
    return runs


@dataclass(frozen=True)
class _Torn:
    """A line that fills took characters from; `places` says from where to where along it each one reaches."""

    line: Line
    places: Sequence[tuple[float, float] | None]
    axis: Axis
    regions: Sequence[Region]
    kinds: Collection[str]

    @property
    def inked(self) -> list[tuple[int, tuple[float, float]]]:
        return [(i, place) for i, place in enumerate(self.places) if place is not None]


def _plot(number: int, torn: _Torn, run: tuple[int, int]) -> Plot | None:
    """The plot of one run of lost characters, or None where it is not clear what was lost."""
    grown = _grown(torn, run)
    if grown is None:
        return None
    first, last, before, after = grown
    pieces = _pieces(torn, (first, last))
    if pieces is None:
        return None
    height, place = torn.axis.height, torn.places[first]
    start = (0.0 if place is None else place[0]) + (INDENT * height if first == 0 else 0.0)
    if first and (end := torn.axis.ink_before(before)) is not None:
        start = end + (SPACE * height if torn.line.text[first - 1].isspace() else 2)
        before = min(before, end + 1)
    right = max(after, torn.axis.ink_after(after) - GAP * height)
    return Plot(number, before, max(before + 1, start), right, last < len(torn.line.text), pieces)


def _grown(torn: _Torn, run: tuple[int, int]) -> tuple[int, int, float, float] | None:
    """The run and the words cut off at its ends, and the blank columns before and after; None if none are near."""
    here = [place for i, place in torn.inked if run[0] <= i < run[1]]
    left, right = torn.axis.fill_around(here[0][0], here[-1][1])
    first, last = run
    while True:
        left = min([left, *(p[0] for i, p in torn.inked if i == first)])
        right = max([right, *(p[1] for i, p in torn.inked if i == last - 1)])
        before, after = torn.axis.blank_from(left - 1, -1), torn.axis.blank_from(right, 1)
        low, high = left if before is None else before, right if after is None else after
        inside = [i for i, (a, b) in torn.inked if low <= (a + b) / 2 < high or first <= i < last]
        start, stop = inside[0], inside[-1] + 1
        if before is None:
            start = max((i for i, _ in torn.inked if i < first), default=-FAR)
        if after is None:
            stop = 1 + min((i for i, _ in torn.inked if i >= last), default=last + FAR)
        if run[0] - start > FAR or stop - run[1] > FAR or start < 0:
            return None
        grown = _to_words(torn.line.text, start, stop)
        if before is not None and after is not None and grown == (first, last):
            return first, last, before, after
        first, last = grown


def _pieces(torn: _Torn, run: tuple[int, int]) -> tuple[Piece, ...] | None:
    """The run, value by value, and what between and beside them is drawn again: no digit, and no part of a word."""
    text, pieces, at = torn.line.text, [], run[0]
    signs = _signs(torn, run)
    for kind, group in groupby(_trimmed(signs, text[run[0] : run[1]])):
        size = len(list(group))
        pieces.append(Piece(at, at + size, kind))
        at += size
    if not any(p.kind for p in pieces) or any(p.kind and p.kind not in torn.kinds for p in pieces):
        return None
    if any(c.isdigit() for p in pieces if not p.kind for c in text[p.first : p.last]):
        return None
    return tuple(pieces)


def _signs(torn: _Torn, run: tuple[int, int]) -> list[str]:
    """The kind of value that each character of a run belonged to, word by word."""
    text = torn.line.text
    owners = ["" if place is None else _owner(place, torn.axis, torn.regions) for place in torn.places]
    for first, last in _words(text, run):
        named = [owners[i] for i in range(first, last) if owners[i]]
        owners[first:last] = [max(named, key=named.count) if named else ""] * (last - first)
    signs = owners[run[0] : run[1]]
    for i in range(1, len(signs) - 1):  # spaces and commas inside of a value
        if not signs[i] and not text[run[0] + i].isalnum():
            after = next((sign for sign in signs[i:] if sign), "")
            signs[i] = after if signs[i - 1] == after else ""
    return signs


def _trimmed(signs: Sequence[str], text: str) -> list[str]:
    """A value neither begins nor ends with a space or a mark, unless it is one of a number's."""
    kept = list(signs)
    for way in (range(len(kept)), reversed(range(len(kept)))):
        last = ""
        for i in way:
            if kept[i] and kept[i] != last and not text[i].isalnum() and text[i] not in "+(":
                kept[i] = ""
            last = kept[i]
    return kept


def _words(text: str, run: tuple[int, int]) -> list[tuple[int, int]]:
    """Letters and digits that stand together; each Han character is a word of its own."""
    words: list[tuple[int, int]] = []
    for i in range(*run):
        if not text[i].isalnum():
            continue
        alone = text[i] >= "\u2e80"
        if words and words[-1][1] == i and not alone and text[i - 1] < "\u2e80":
            words[-1] = (words[-1][0], i + 1)
        else:
            words.append((i, i + 1))
    return words


def _to_words(text: str, first: int, last: int) -> tuple[int, int]:
    """A run of characters, and the rest of the words at its ends."""
    ends = [word for word in _words(text, (0, len(text))) if word[0] < last and first < word[1]]
    return min([first, *(m for m, _ in ends)]), max([last, *(n for _, n in ends)])


def _owner(place: tuple[float, float], axis: Axis, regions: Sequence[Region]) -> str:
    """The kind of the longest region, of this line if one is, that holds a character's middle; "" if none does."""
    x, y = axis.origin + axis.along * (place[0] + place[1]) / 2 + axis.down * axis.height / 2
    held = [r for r in regions if r.box.x0 <= x < r.box.x1 and r.box.y0 <= y < r.box.y1]
    near = [r for r in held if abs(r.box.y0 + r.box.y1 - 2 * y) < axis.height] or held
    return max(near, key=lambda r: (r.box.x1 - r.box.x0, r.confidence)).kind if near else ""


def strip(quad: Quad, left: float, right: float, shape: tuple[int, ...]) -> Mask:
    """A line's full height between two places along it."""
    a, b, d = np.array(quad[0]), np.array(quad[1]), np.array(quad[3])
    along = (b - a) / np.linalg.norm(b - a)
    points = [a + along * left, a + along * right, d + along * right, d + along * left]
    inside = np.zeros(shape, np.uint8)
    cv2.fillPoly(inside, [np.rint(np.array(points)).astype(np.int32)], 1)
    return inside > 0
