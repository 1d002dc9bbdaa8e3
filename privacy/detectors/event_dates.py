"""Dates of what happened to somebody: admission, discharge, death, an accident. A label must say so."""

from __future__ import annotations

import re

from privacy.detectors import labels
from privacy.detectors.birth_dates import DATE
from privacy.detectors.interface import Rule, Span
from privacy.detectors.lookalikes import digits

KIND = "date"
_LABEL = re.compile(labels.one_of(labels.EVENT))
_AFTER = re.compile(rf"[^\d\n\[█]{{0,12}}?\n?[^\d\n\[█]{{0,12}}?(?P<date>(?<!\d)(?i:{DATE})(?!\d))")


def search(text: str) -> list[Span]:
    """Spans of dates in a folded text."""
    plain = digits(text)
    found = (_AFTER.match(plain, label.end()) for label in _LABEL.finditer(text))
    return [Span(*m.span("date"), KIND, 0.85, "date after a word for an event") for m in found if m]


RULE = Rule("date", "1", search)
