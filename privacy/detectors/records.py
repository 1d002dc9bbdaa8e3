"""Numbers under which somebody is kept on file: of patients, cases, claims and customers. Labels alone tell them."""

from __future__ import annotations

from privacy.detectors import labels
from privacy.detectors.announced import after
from privacy.detectors.interface import Rule, Span

KIND = "record"
_LABELLED = after(labels.RECORD, labels.CUSTOMER)


def search(text: str) -> list[Span]:
    """Spans of record numbers in a folded text."""
    return [Span(*m.span("value"), KIND, 0.85, "value of a label") for m in _LABELLED.finditer(text)]


RULE = Rule("record", "1", search)
