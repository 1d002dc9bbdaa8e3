"""E-mail addresses: something, an at sign, a domain.

Readers lose the dot ("exampleorg"), put spaces around it, or see the sign as "(a)" or "®". An address that
is whole needs no label and no spaces; one with gaps needs a known ending; one without a dot a letter
on either side of the sign, which no price ("2 @ 3.50") has.
"""

from __future__ import annotations

import re

from privacy.detectors import labels
from privacy.detectors.interface import Rule, Span

KIND = "email"

TOP = (
    "com|org|net|edu|gov|mil|int|info|biz|name|pro|io|me|app|dev|cloud|online|shop|site|email|ai|eu|uk|de|at|ch|fr|be|nl|lu|"
    "it|es|pt|ie|dk|se|no|fi|is|pl|cz|sk|hu|ro|bg|gr|tr|ru|ua|us|ca|mx|br|ar|cl|co|pe|au|nz|cn|hk|tw|jp|kr|sg|my|th|id|"
    "ph|vn|in|pk|il|ae|sa|eg|ng|ke|za|asia|tv|cc"
)
_AT = r"(?:@|\(at?\)|\[at?\]|®|©)"
_LOCAL = r"[\w.+\-%'=]*[\w+\-]"
_WHOLE = re.compile(rf"{_LOCAL} ?{_AT} ?(?:[\w\-]+[.,])+(?!\d)[^\W\d_]{{2,}}", re.ASCII)
_GAPS = re.compile(
    rf"(?<![\w+\-])[\w+\-]++(?: ?[._\-] ?[\w+\-]++)*+ ?{_AT} ?"
    rf"[\w\-]++(?:(?: ?[.,] ?|  ?)[\w\-]++)* ?[.,] ?(?:{TOP})(?![\w])",
    re.ASCII | re.IGNORECASE,
)
_NO_DOT = re.compile(r"(?=[\w.+\-]*[^\W\d_])[\w.+\-]{2,}@(?=[\w\-]*[^\W\d_]{2})[\w\-.]{3,}", re.ASCII)
_SQUEEZED = re.compile(rf"({_LOCAL}{_AT}(?:[\w\-]+\.)+(?:{TOP}))(?![\w])", re.ASCII | re.IGNORECASE)
_LABELLED = re.compile(rf"{labels.one_of(labels.EMAIL)}\s*[:.]*\s*(?!\[|\u2588)(\S*[^\s\W][.,]\w{{2,}}\S*)")


def search(text: str) -> list[Span]:
    """Spans of addresses in a folded text."""
    spans = [Span(*m.span(), KIND, 0.99, "address with a dotted domain") for m in _WHOLE.finditer(text)]
    spans += [Span(*m.span(), KIND, 0.9, "address with gaps") for m in _GAPS.finditer(text)]
    spans += [Span(*m.span(), KIND, 0.7, "letters on either side of an at sign") for m in _NO_DOT.finditer(text)]
    spans += [Span(*m.span(1), KIND, 0.6, "value of a label") for m in _LABELLED.finditer(text)]
    return spans


RULE = Rule("email", "1", search)
