"""Vehicle identification numbers (ISO 3779): 17 signs, or what a label calls so."""

from __future__ import annotations

import re

from privacy.detectors import labels
from privacy.detectors.announced import after
from privacy.detectors.interface import Rule, Span

KIND = "vehicle"
_LABELLED = after(labels.VEHICLE)
_NUMBER = re.compile(
    r"(?<![A-Za-z\d])(?=[A-Z\d ]{0,16}[A-Z])(?=(?:[A-Z ]*\d){5})"
    r"[A-PR-Z\d](?: ?[A-PR-Z\d]){12}(?: ?[\dOISBZ]){4}(?![A-Za-z\d])"
)


def search(text: str) -> list[Span]:
    """Spans of vehicle numbers in a folded text. I, O and Q are not used (ISO 3779), but readers write the first two;
    the last four signs are digits."""
    spans = [Span(*m.span("value"), KIND, 0.85, "value of a label") for m in _LABELLED.finditer(text)]
    for match in _NUMBER.finditer(text):
        if match.group().count(" ") <= 1:
            spans.append(Span(*match.span(), KIND, 0.7, "17 signs of a vehicle number"))
    return spans


RULE = Rule("vehicle", "1", search)
