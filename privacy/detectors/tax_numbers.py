"""Tax numbers: after a label, or European VAT numbers whose check digits hold."""

from __future__ import annotations

import re

from privacy.detectors import labels
from privacy.detectors.announced import after
from privacy.detectors.interface import Rule, Span

KIND = "tax_id"
_LABELLED = after(labels.TAX)
_VAT = re.compile(
    r"(?<![A-Z\d])(?:AT ?U|BE|BG|CY|CZ|DE|DK|EE|EL|ES|FI|FR|GB|HR|HU|IE|IT|LT|LU|LV|MT|NL|PL|PT|RO|SE|SI|SK)"
    r" ?(?=(?:[A-Z.]? ?\d){7})[A-Z\d](?:[ .\-]?[A-Z\d]){7,11}(?![A-Z\d])"
)


def search(text: str) -> list[Span]:
    """Spans of tax numbers in a folded text."""
    spans = [Span(*m.span("value"), KIND, 0.85, "value of a label") for m in _LABELLED.finditer(text)]
    for match in _VAT.finditer(text):
        from stdnum.eu import vat  # only a page with a candidate needs it

        if vat.is_valid(match.group()):
            spans.append(Span(*match.span(), KIND, 0.95, "check digits of a VAT number hold"))
    return spans


RULE = Rule("tax_id", "1", search)
