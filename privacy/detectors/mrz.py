"""Machine-readable zones of passports and identity cards (ICAO 9303): lines of capitals, digits and "<".

The check digits confirm. A line is one without them too: no other text is full of "<".

A page with a zone, or with the title of one, is an identity document. Its labels are small and faint,
and readers lose them, so there
every date, every long number, all capitals that are no word and every line with a name of the zone are personal
without a label.
"""

from __future__ import annotations

import re

from privacy.detectors.birth_dates import DATE
from privacy.detectors.gazetteer import plain
from privacy.detectors.interface import Rule, Span, moved, squeeze
from privacy.detectors.lookalikes import digits
from privacy.detectors.words import common

KIND, ELSEWHERE = "mrz", "identity"

_LINE = re.compile(r"[A-Za-z0-9<|!()]{20,60}")
_DATES = re.compile(r"(\d{6})(\d)([MFX<HK])(\d{6})(\d)")
_NAMES = re.compile(r"^[PIACV1][A-Z<KC][A-Z0-9]{3}[A-Z]{2,}<")
_CARD = re.compile(
    r"(?m:^)[ \t]*(?:居民身份证|中华人民共和国居民身份证|身分證|中華民國國民身分證|國民身分證|护照|護照|"
    r"机动车驾驶证|駕駛執照|居住证|居留證|"
    r"(?i:passport|identity card|personalausweis|carte d'identit[ée]|carta d'identit[àa]|documento de identidad|"
    r"identiteitskaart|dow[óo]d osobisty|f[üu]hrerschein|driving licen[cs]e|driver'?s? licen[cs]e|permis de conduire|"
    r"permiso de conducci[óo]n|patente di guida|rijbewijs|prawo jazdy))[ \t]*(?=\n)"
)
_NUMBER = re.compile(r"(?<!\w)(?=[A-Z]*\d)[A-Z\d]{6,}(?!\w)")
_CAPITALS = re.compile(r"(?<!\w)[A-Z]{7,}(?!\w)")  # one number in twenty of nine signs has no figure
_ANY_DATE = re.compile(rf"(?<!\d)(?i:{DATE})(?!\d)")
_WORD = re.compile(r"[^\W\d_]{3,}")
_LETTERS = str.maketrans("0158", "OISB")
_NEIGHBOUR = 24  # characters; so long a line without a space, above or below one that is sure, belongs to it


def search(text: str) -> list[Span]:
    """Spans of the zone in a folded text, and of what it makes personal elsewhere."""
    squeezed, at = squeeze(text)
    zone = [moved(span, at) for span in _zone(squeezed)]
    return [*zone, *_elsewhere(text, zone)] if zone or _CARD.search(text) else []


def _zone(text: str) -> list[Span]:
    """Spans of the zone's lines in a text without spaces: readers lose and invent them."""
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


def _elsewhere(text: str, zone: list[Span]) -> list[Span]:
    """Dates, numbers and names of the zone's bearer in the other lines."""
    written = " ".join(text[span.start : span.end] for span in zone).upper()
    written += " " + written.translate(_LETTERS)  # "LE0NIAK<<MIK0LAJ"
    names = set(re.findall(r"[A-Z]{3,}", written))
    spans = [m.span() for pattern in (_ANY_DATE, _NUMBER) for m in pattern.finditer(text)]
    spans += [m.span() for m in _CAPITALS.finditer(text) if not common(m.group())]
    for line in re.finditer(r"[^\n\t]+", text):
        if any(w in names or (len(w) >= 6 and w in written) for w in _WORD.findall(plain(line.group()).upper())):
            spans.append(line.span())
    clear = [(a, b) for a, b in spans if not any(a < span.end and span.start < b for span in zone)]
    return [Span(a, b, ELSEWHERE, 0.7, "on an identity document") for a, b in clear]


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


RULE = Rule("mrz", "3", search, whole=True)
