"""Numbers of seven figures or more that nothing explains: somebody's, for all that is known.

What is left is dates, amounts, the numbers of things (orders, parts, lots, receipts) and article numbers whose check
digit fits, unless a word with a colon announces one: a till prints those by the dozen.
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
    r"|(?:19|20)\d{2}(?P<part> ?[./\-]? ?)(?:0\d|1[0-2])(?P=part)[0-3]\d)(?: ?\d{1,2}(?:[.: ]?\d{2}){0,2})?"
)
_CASE = re.compile(
    r"(?<![\w.,])\d{1,3} ?[A-Z][A-Za-z]{0,2} ?\d{2,5}/\d{2}(?:\d{2})?(?![\w%])"
    r"|(?<![\w.,])\d{1,2}:\d{2}-(?i:cv|cr|mc|mj|md|bk|ap|po)-\d{3,6}(?:-[A-Z]{2,4}){0,3}(?![\w%])"
)
"""As courts write them: chamber, register, number, year; in the US office, year, kind, number."""
_YEARS = re.compile(r"(?:19|20)\d\d(?:[ \-/](?:19|20)\d\d)*")
_AMOUNT = re.compile(r"\d{1,3}(?:[ ,.]\d{3})*[.,]\d{2}|\d{1,3}(?:[., ]\d{3})+")
_COLON = re.compile(r"[^\W\d_][.)]? ?:\s?$")
_GOODS = re.compile(rf"{labels.one_of(labels.OTHER)}[\s:.#\-]*(?:(?i:n[o0]|nr|n°|nº|id|number)[\s:.#\-]*){{0,2}}$")


def search(text: str) -> list[Span]:
    """Spans of such numbers in a folded text."""
    return [
        Span(*m.span(), KIND, 0.5, "a long number that nothing explains")
        for m in _RUN.finditer(text)
        if not _explained(m.group(), text[: m.start()])
    ] + [Span(*m.span(), KIND, 0.5, "shaped as a court's number") for m in _CASE.finditer(text)]


def _explained(number: str, before: str) -> bool:
    groups = re.findall(r"\d+", number)
    if max(map(len, groups)) < 3 or len(groups) > 6:  # a row of small numbers
        return True
    if any(shape.fullmatch(number) for shape in (_DATE, _YEARS, _AMOUNT)):
        return True
    if ean.is_valid(number) and not _COLON.search(before):  # one number of eight figures in ten passes
        return True
    return bool(OF_A_THING.search(before) or _GOODS.search(before))


RULE = Rule("long_number", "3", search)
