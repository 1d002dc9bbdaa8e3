"""Deny by default: words outside the public vocabulary, names among common words, numbers of four digits or more."""

from __future__ import annotations

import re

from privacy.detectors.gazetteer import Gazetteer, gazetteer, plain
from privacy.detectors.interface import Rule, Span, moved, spread
from privacy.detectors.words import common, cut

KIND = "unknown"
DIGITS = 4

_NUMBER = re.compile(r"(?<!\d)\d(?:[ .,/:\-']{0,2}\d)*")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
_HAN = re.compile(r"[\u4e00-\u9fff]+")


def search(text: str, lists: Gazetteer) -> list[Span]:
    """Spans of whatever is not publicly known in a folded text."""
    spans = [
        Span(*m.span(), KIND, 0.5, "a number of four digits or more")
        for m in _NUMBER.finditer(text)
        if sum(c.isdigit() for c in m.group()) >= DIGITS
    ]
    spaced, at = spread(text)
    for match in _WORD.finditer(spaced):
        word = match.group()
        if not _HAN.search(word) and not (common(word) and not _listed(word, lists)):
            spans.append(moved(Span(*match.span(), KIND, 0.5, "a word of no public vocabulary"), at))
    for run in _HAN.finditer(text):
        spans += [
            Span(run.start() + a, run.start() + b, KIND, 0.5, "characters of no word") for a, b in _left(run.group())
        ]
    return spans


def _listed(word: str, lists: Gazetteer) -> bool:
    folded = plain(word)
    return word[:1].isupper() and (folded in lists.given or folded in lists.surnames)


def _left(run: str) -> list[tuple[int, int]]:
    """Two or more characters side by side that no word takes."""
    found, position, first = [], 0, None
    for word in (*cut(run), ""):
        if len(word) == 1:
            first = position if first is None else first
        else:
            if first is not None and position - first >= 2:
                found.append((first, position))
            first = None
        position += len(word)
    return found


def rule(half: bool = False) -> Rule:
    """With `half`, the lists lack the names of held-out pages."""
    return Rule("strict", "1", lambda text: search(text, gazetteer(half)))
