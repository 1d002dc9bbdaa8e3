"""What stands against a fill on a page that is looked at again: the rest of what was filled.

A value that was found in part leaves its other part beside the fill, and a rule that took only a part won't take the
rest. So numbers that touch a fill go as well, and so do words after it that are capitalised and no common ones. Words
before it stay: they are labels, and no list holds all of those.
"""

from __future__ import annotations

from collections.abc import Sequence

from privacy.detectors.labels import is_label, parted
from privacy.detectors.lookalikes import fold
from privacy.detectors.passages import FILLED, FILLED_ALONE
from privacy.detectors.words import common
from privacy.page import Box, Char, Image, Line, Quad, Region

KIND = "leftover"
BESIDE = 0.7  # line heights between a fill and what belongs to it: a word's gap


class LeftoverDetector:
    """Finds nothing on a page without fills, that is on a first look."""

    name = KIND
    version = "3"
    pixels = False

    def find(self, image: Image, lines: Sequence[Line]) -> list[Region]:
        fills = [line.box for line in lines if line.text == FILLED]
        covers = [line.box for line in lines if line.text in (FILLED, FILLED_ALONE)]
        texts = [line for line in lines if line.text not in (FILLED, FILLED_ALONE)]
        found = []
        for line in texts:
            words = [word for word in _words(line) if not _inside(word, covers)]
            for after in (True, False):
                quad = _beside(words if after else words[::-1], line.box, fills, after)
                if quad is not None:
                    found.append(Region(KIND, quad, 0.5, "against a fill"))
        return found


def _beside(words: Sequence[list[Char]], line: Box, fills: Sequence[Box], after: bool) -> Quad | None:
    """The words of a line from a fill on, to its right (`after`) or its left, as far as they tell something."""
    edges = [fill for fill in fills if _row(fill, line)]
    taken: list[Char] = []
    for word in words:
        at = _around(word)
        near = any(_gap(edge, at, after) <= BESIDE * (line.y1 - line.y0) for edge in edges)
        if near and _telling(word, after):
            taken += word
            edges = [at]
        elif taken:
            break
    if not taken:
        return None
    at = _around(taken)
    return (at.x0, at.y0), (at.x1, at.y0), (at.x1, at.y1), (at.x0, at.y1)


def _telling(word: Sequence[Char], after: bool) -> bool:
    """A figure, or after a fill a capital and two letters that are no common word: a part of a name or an address."""
    text = "".join(char.text for char in word)
    if text.endswith(":"):
        return False
    text = text.strip(".,;()[]-/")
    if is_label(text):  # "Telef0n" is one as well
        return False
    if any(c.isdigit() for c in text):
        return not any(c in "€$£%" for c in text)
    letters = "".join(c for c in text if c.isalpha())
    named = after and len(letters) > 2 and letters[:1].isupper() and letters.isascii()
    return named and not common(letters)


def _words(line: Line) -> list[list[Char]]:
    """The characters of a line but for its labels, parted where spaces stand."""
    chars = [c for c in line.chars if not c.text.isspace()]
    shown = {i for a, b in parted(fold(line.text), 0, len(line.text)) for i in range(a, b)}
    words: list[list[Char]] = [[]]
    place = 0
    for i, sign in enumerate(line.text):
        if sign.isspace() or i not in shown:
            words.append([])
        elif place < len(chars):
            words[-1].append(chars[place])
        place += not sign.isspace()
    return [word for word in words if word]


def _around(chars: Sequence[Char]) -> Box:
    return Box.around([point for char in chars for point in char.quad])


def _inside(word: Sequence[Char], covers: Sequence[Box]) -> bool:
    at = _around(word)
    return any(2 * at.intersect(cover) > at.area for cover in covers)


def _row(a: Box, b: Box) -> bool:
    return 2 * (min(a.y1, b.y1) - max(a.y0, b.y0)) >= min(a.y1 - a.y0, b.y1 - b.y0) > 0


def _gap(fill: Box, word: Box, after: bool) -> int:
    """Pixels from a fill to a word on that side of it; plenty if it stands on the other."""
    gap = word.x0 - fill.x1 if after else fill.x0 - word.x1
    return gap if gap > -(word.x1 - word.x0) / 2 else 1 << 20
