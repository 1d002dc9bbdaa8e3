"""Machine-readable zones of passports and identity cards (ICAO 9303): lines of capitals, digits and "<".

The check digits confirm. A line is one without them too: no other text is full of "<".
"""

from __future__ import annotations

import re

from privacy.detectors.interface import Rule, Span
from privacy.detectors.lookalikes import digits

KIND = "mrz"

_LINE = re.compile(r"[A-Za-z0-9<|!()]{20,60}")
_DATES = re.compile(r"(\d{6})(\d)([MFX<HK])(\d{6})(\d)")
_NAMES = re.compile(r"^[PIACV1][A-Z<KC][A-Z0-9]{3}[A-Z]{2,}<")
_NEIGHBOUR = 24  # characters; so long a line without a space, above or below one that is sure, belongs to it


def search(text: str) -> list[Span]:
    """Spans of the zone's lines in a folded text without spaces."""
    candidates = [m for m in _LINE.finditer(text) if _alone(text, m)]
    scores = [_score(m.group().upper()) for m in candidates]
    spans = []
    for i, match in enumerate(candidates):
        beside = max((scores[j] for j in (i - 1, i + 1) if 0 <= j < len(scores)), default=0.0)
        if scores[i] > 0:
            why = "check digits hold" if scores[i] > 0.9 else "filled with <, or dates of a travel document"
            spans.append(Span(*match.span(), KIND, scores[i], why))
        elif beside > 0 and len(match.group()) >= _NEIGHBOUR:
            spans.append(Span(*match.span(), KIND, 0.6, "next to a line of the zone"))
    return spans


def _alone(text: str, match: re.Match[str]) -> bool:
    """Does the match fill its line, but for a sign or two that the reader added?"""
    start = text.rfind("\n", 0, match.start()) + 1
    end = text.find("\n", match.end())
    rest = text[start : match.start()] + text[match.end() : len(text) if end < 0 else end]
    return len(rest.strip()) <= 3 or "<<" in match.group()


def _score(line: str) -> float:
    dates = _DATES.search(digits(line))
    if dates and _digit(dates[1]) == dates[2] and _digit(dates[4]) == dates[5]:
        return 0.99
    if line.count("<") >= 5 or (line.count("<") >= 2 and _NAMES.match(line)) or dates:
        return 0.85
    return 0.0


def _digit(field: str) -> str:
    """ICAO 9303-3, 4.9: weights 7, 3, 1; "<" is 0 and letters count from 10."""
    values = (0 if c == "<" else int(c, 36) for c in field)
    return str(sum(value * (7, 3, 1)[i % 3] for i, value in enumerate(values)) % 10)


RULE = Rule("mrz", "1", search, squeezed=True)
