"""Numbers of seven figures or more that nothing explains: somebody's, for all that is known.

What is left is dates, amounts, the numbers of things (orders, parts, lots, receipts) and article numbers whose check
digit fits: a till prints those by the dozen.
"""

from __future__ import annotations

import re

from stdnum import ean

from privacy.detectors import labels
from privacy.detectors.announced import OF_A_THING
from privacy.detectors.interface import Rule, Span
from privacy.detectors.strict import KIND

LEAST = 7
_RUN = re.compile(r"(?<![\w.,])(?:[A-Z]{1,3}-?)?\d(?:[ .\-/·]?\d){6,18}(?:[\-.]?[A-Z])?(?![\w%])(?![.,]\d)")
_DATE = re.compile(
    r"(?:\d{1,2} ?[./\-] ?\d{1,2} ?[./\-] ?\d{4}|\d{1,2}[./\-]\d{1,2}[./\-]\d{2}"
    r"|(?:19|20)\d{2} ?[./\-]? ?[01]\d ?[./\-]? ?[0-3]\d)(?: ?\d{1,2}(?:[.: ]?\d{2}){0,2})?"
)
_YEARS = re.compile(r"(?:19|20)\d\d(?:[ \-/](?:19|20)\d\d)*")
_AMOUNT = re.compile(r"\d{1,3}(?:[ ,.]\d{3})*[.,]\d{2}|\d{1,3}(?:[., ]\d{3})+")
_GOODS = re.compile(rf"{labels.one_of(labels.OTHER)}[\s:.#\-]*(?:(?i:n[o0]|nr|n°|nº|id|number)[\s:.#\-]*){{0,2}}$")


def search(text: str) -> list[Span]:
    """Spans of such numbers in a folded text."""
    return [
        Span(*m.span(), KIND, 0.5, "a long number that nothing explains")
        for m in _RUN.finditer(text)
        if not _explained(m.group(), text[: m.start()])
    ]


def _explained(number: str, before: str) -> bool:
    groups = re.findall(r"\d+", number)
    if max(map(len, groups)) < 3 or len(groups) > 6:  # a row of small numbers
        return True
    if any(shape.fullmatch(number) for shape in (_DATE, _YEARS, _AMOUNT)) or ean.is_valid(number):
        return True
    return bool(OF_A_THING.search(before) or _GOODS.search(before))


RULE = Rule("long_number", "1", search)
