"""What stands behind or below a label and has no shape that a rule for its kind knows: a misread date, a torn number.

Evidence is poor here, so the label decides: whatever holds enough figures goes. An amount stays.
"""

from __future__ import annotations

import re

from privacy.detectors import labels
from privacy.detectors.interface import Rule, Span
from privacy.detectors.lookalikes import digits

LEAST = {"birth_date": 3, "plate": 2}
"""Figures of a value; of other kinds four."""
_KINDS = tuple(
    (kind, labels.whole(group))
    for kind, group in (
        ("birth_date", labels.BIRTH), ("phone", labels.PHONE), ("national_id", labels.IDENTITY),
        ("account", labels.ACCOUNT), ("tax_id", labels.TAX), ("record", labels.RECORD), ("record", labels.CUSTOMER),
        ("plate", labels.PLATE), ("vehicle", labels.VEHICLE), ("date", labels.EVENT),
    )
)  # fmt: skip
_VALUE = re.compile(
    r" ?(?:(?i:n[o0]|nr|n°|#)\.?)?(?: ?\([^)\n]{1,25}\))?(?P<gap>[ :.;\t\n]{1,6})(?P<value>[^\n\t\[█]{3,40})"
)
_AMOUNT = re.compile(r"[^\w]*(?:[A-Z]{2,3}[$ ]?|[$€£¥])? ?\d{1,3}(?:[ ,.']?\d{3})*(?:[.,]\d{2})? ?(?:[A-Z]{3}|[€£])?")


def search(text: str) -> list[Span]:
    """Spans of values in a folded text: of labels that open their cell and end in a colon or at its end."""
    spans = []
    for label in labels.ANY.finditer(text):
        kind = _kind(label.group())
        value = _VALUE.match(text, label.end()) if kind and _opens(text, label.start()) else None
        if value is None or not set(value["gap"]) & set(":\t\n"):
            continue
        stop = labels.ANY.search(text, *value.span("value"))
        end = stop.start() if stop else value.end("value")
        start = value.start("value")
        shown = _enough(text[start:end], LEAST.get(kind, 4))
        if shown and not _AMOUNT.fullmatch(shown):
            spans.append(Span(start, start + len(shown), kind, 0.5, "behind a label, of no known shape"))
    return spans


def _enough(value: str, figures: int) -> str:
    """As much of a value as holds so many figures, up to a comma; nothing if it holds fewer."""
    for end in (*(m.start() for m in re.finditer(r"[,;] ", value)), len(value)):
        shown = value[:end].rstrip(" :;,|/-")
        if sum(c.isdigit() for c in digits(shown)) >= figures:
            return shown
    return ""


def _kind(label: str) -> str:
    bare = labels.bare(label)
    return next((kind for kind, pattern in _KINDS if pattern.fullmatch(bare)), "")


def _opens(text: str, start: int) -> bool:
    return not re.split(r"[\n\t]", text[:start])[-1].strip(" .*#-")


RULE = Rule("announced_value", "2", search)
