"""Tax and company numbers: after a label, VAT numbers whose check digits hold, Malaysian company numbers."""

from __future__ import annotations

import re

from privacy.detectors import labels
from privacy.detectors.announced import after
from privacy.detectors.interface import Rule, Span

KIND = "tax_id"
_LABELLED = after(labels.TAX)
_VAT = re.compile(
    r"(?:(?<![A-Z\d])|(?<=VAT))"
    r"(?:AT ?U|BE|BG|CY|CZ|DE|DK|EE|EL|ES|FI|FR|GB|HR|HU|IE|IT|LT|LU|LV|MT|NL|PL|PT|RO|SE|SI|SK)"
    r" ?(?=(?:[A-Z.]? ?\d){7})[A-Z\d](?:[ .\-]?[A-Z\d]){7,11}(?![A-Z\d])"
)

_BRITISH = re.compile(r"(?:(?<![A-Z\d])|(?<=VAT))GB ?\d{3} ?\d{4} ?\d{2}(?![A-Z\d])")
"""Left the union, and so the module that knows its check digits."""
_GST = re.compile(r"(?<![A-Za-z])(?i:gst)[\s:.#\-]{0,4}(?P<value>\d{12})(?![\w%]|[.,]\d)")
"""Malaysian, behind no more than the tax's name, which stands before amounts too."""
_COMPANY = re.compile(
    r"(?<![\w-])(?:\d{6,7} ?- ?[A-Z]|(?<=\()(?=(?:[A-Z]{0,2}\d){4})[A-Z\d]{5,7} ?- ?[A-Z](?=\)))(?![\w-])"
)
"""Malaysian; in brackets, of five figures too, or with some that were read as letters."""


def search(text: str) -> list[Span]:
    """Spans of tax numbers in a folded text."""
    spans = [Span(*m.span("value"), KIND, 0.85, "value of a label") for m in _LABELLED.finditer(text)]
    spans += [Span(*m.span("value"), KIND, 0.7, "shape of a GST number") for m in _GST.finditer(text)]
    spans += [Span(*m.span(), KIND, 0.7, "shape of a company number") for m in _COMPANY.finditer(text)]
    spans += [Span(*m.span(), KIND, 0.7, "shape of a British VAT number") for m in _BRITISH.finditer(text)]
    for match in _VAT.finditer(text):
        from stdnum.eu import vat  # only a page with a candidate needs it

        if vat.is_valid(match.group()):
            spans.append(Span(*match.span(), KIND, 0.95, "check digits of a VAT number hold"))
    return spans


RULE = Rule("tax_id", "3", search)
