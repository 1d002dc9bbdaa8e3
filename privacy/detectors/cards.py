"""Payment cards (ISO 7812): 13 to 19 digits of a known issuer.

Luhn's check confirms. Without it the groups of a card, or a label, are enough. A number whose middle is
already starred out is removed too: its last four digits still tell one customer from another.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from privacy.detectors import labels
from privacy.detectors.interface import Rule, Span
from privacy.detectors.lookalikes import digits, mostly_digits

KIND = "card"
NEAR = 80  # characters before a number that hold its label

_RUN = re.compile(r"(?<![\d.,])\d(?:[ \-]{0,2}\d){12,27}(?!\d|[.,]\d)")
_GROUPED = re.compile(r"\d{4}([ \-]{1,2})\d{4}\1\d{4}\1\d{4}(?:\1\d{3})?|\d{4}([ \-])\d{6}\2\d{4,5}")
_MASKED = re.compile(r"(?<!\w)(?:\d{4}[ \-]?)?(?:[xX*•#]{2,6}[ \-.]?){2,4}\d{3,4}(?!\d)")
_LABEL = re.compile(
    rf"(?:{labels.one_of(labels.ACCOUNT)}"
    r"|(?i:visa|master ?card|amex|american express|maestro|unionpay|discover|diners|银联))"
    r"[\s:.#\-]*(?:(?i:no|nr|number|ending|ending in)\.?)?[\s:.#\-]*$"
)
_IBAN_START = re.compile(r"(?<![A-Za-z])(?!ID|NR|PA)[A-Z]{2}$")  # "DE" of "DE89 3704 ...": not a card
_ISSUER = re.compile(r"3[04-8]|4|5[0-8]|6|2(?:22[1-9]|2[3-9]|[3-6]|7[01]|720)|9[0-9]")
_LENGTHS = {"3": (14, 15, 16), "4": (13, 16, 19), "5": (16,), "6": (16, 17, 18, 19), "2": (16,), "9": (16, 19)}


def search(text: str) -> list[Span]:
    """Spans of card numbers in a folded text."""
    plain = digits(text)
    spans = [Span(*m.span(), KIND, 0.8, "card number partly starred out") for m in _MASKED.finditer(text)]
    for match in _RUN.finditer(plain):
        if _IBAN_START.search(plain[: match.start()]):
            continue
        for start, end in _whole_groups(match):
            if (span := _judge(text, plain, start, end)) and mostly_digits(text[start:end]):
                spans.append(span)
                break
    return spans


def _judge(text: str, plain: str, start: int, end: int) -> Span | None:
    shown = plain[start:end]
    number = "".join(c for c in shown if c.isdigit())
    if _is_card(number):
        return Span(start, end, KIND, 0.99, "issuer, length and check digit hold")
    if _GROUPED.fullmatch(shown) and _ISSUER.match(number):
        return Span(start, end, KIND, 0.75, "issuer, in the groups of a card")
    if _LABEL.search(text, max(0, start - NEAR), start):
        return Span(start, end, KIND, 0.8, "value of a label")
    return None


def _whole_groups(match: re.Match[str]) -> Iterator[tuple[int, int]]:
    """All of a run, then what is left of it without a group or more on either side, longest first.

    "4111111111111111 123" holds a card and its security code.
    """
    groups = [m.span() for m in re.finditer(r"\d+", match.group())]
    spans = [(a, b) for i, (a, _) in enumerate(groups) for _, b in groups[i:] if b - a >= 13]
    for a, b in sorted(spans, key=lambda span: span[0] - span[1]):
        if 13 <= sum(c.isdigit() for c in match.group()[a:b]) <= 19:
            yield match.start() + a, match.start() + b


def _is_card(number: str) -> bool:
    return bool(_ISSUER.match(number)) and len(number) in _LENGTHS.get(number[0], ()) and _luhn(number)


def _luhn(number: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    doubled = (sum(divmod(2 * int(c), 10)) if i % 2 else int(c) for i, c in enumerate(reversed(number)))
    return sum(doubled) % 10 == 0


RULE = Rule("card", "1", search)
