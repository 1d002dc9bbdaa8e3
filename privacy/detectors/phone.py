"""Telephone numbers: by a label, by an international prefix, or by the way a country groups them.

`phonenumbers` (the numbering plans of every country) confirms; it is never required, since one wrong
digit would hide the number from it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from privacy.detectors import labels
from privacy.detectors.interface import Rule, Span
from privacy.detectors.lookalikes import digits, mostly_digits

KIND = "phone"
HOMES = ("US", "GB", "DE", "FR", "ES", "IT", "CN", "MY", "AU", "IN", "BR")  # plans tried without a prefix

_RUN = re.compile(r"(?<![\d.,])(?<!\d:)(?:\+ ?|00(?=[1-9]))?\(?\d(?:[ \-./()]{0,3}\d){5,40}(?!\d)")
_STARRED = re.compile(r"(?<![\d*])1[3-9]\d ?\*{4} ?\d{4}(?![\d*])")
_STRAY = re.compile(r"\d{1,2} ")
_SEAM = re.compile(r" ?/ ?| {2,}| (?=0|\(|\+)")  # where a run too long for one number may be parted
_LABEL = re.compile(
    rf"(?:{labels.one_of(labels.PHONE)}|(?<![A-Za-z])[TtMmFfPpHh](?=\s?[:.])|☎|✆)"
    r"\s?(?:(?i:no|nr|number|num|#|n°)\.?)?\s?(?:\([\w\s]{1,12}\))?[\s:.\-]*$"
)
_AND = re.compile(r"^\s?(?:/|,|;|&|or|and|or fax|或)\s?$", re.IGNORECASE)
_OTHER_NUMBER = re.compile(
    r"(?i:invoice|inv|order|ref(?:erence)?|receipt|rcpt|bill|item|sku|ean|upc|isbn|lot|batch|serial|s/n|account|acct|a/c"
    r"|vat|gst|tax|reg|rn|co\.? ?reg|po|policy|ticket|trans(?:action)?|docket|doc|terminal|tid|mid|auth|approval|code"
    r"|art|model|id|qty|total|amount|sum|发票|订单|单号|编号|流水号|金额)"
    r"[\s.]*(?:(?i:no|nr|num|number|id|code|#|号|号码)\.?)?[\s:.#\-]*$"
)
_EXTENSION = re.compile(r"[ ,]{0,2}(?:(?i:ext(?:ension|n)?|x|dw)\.?|分机|转|#) ?\d{1,6}(?!\d)")
_DATE = re.compile(
    r"(?:\d{1,2} ?[./\-] ?\d{1,2} ?[./\-] ?(?:\d{4}|\d{2})|\d{4} ?[./\-] ?\d{1,2} ?[./\-] ?\d{1,2})"
    r"(?!\d|([.\-])\d\d(?:\1\d\d)?(?![\d.:]))"
)
"""A date, and not the beginning of "06.12.34.56.78"."""
_ZIP = re.compile(r"\d{5} ?- ?\d{4}")
_AMOUNT = re.compile(r"\d{1,3}(?:[ ,.]\d{3})*[.,]\d{2}|\d{1,3}(?:[.,]\d{3})+")
_THREES = re.compile(r"\d{3}(?:\.\d{3}){2}")  # an amount, or behind a label a number in Spain
_SHAPES = tuple(
    re.compile(pattern)
    for pattern in (
        r"1?[ \-.]?\(\d{3}\) ?\d{3}[ \-.]?\d{4}",  # US
        r"(?:1[ \-.])?[2-9]\d{2}([\-.])\d{3}\1\d{4}",
        r"(?:1 )?[2-9]\d{2} [2-9]\d{2}[ \-]\d{4}",
        r"\(0\d{1,5}\)[ \-]?\d{2,7}(?:[ \-]?\d{2,5}){0,3}",  # trunk prefix in brackets
        r"0\d(?:[ .\-]\d{2}){4}",  # FR
        r"0\d{2,5}[ /\-]{1,3}\d{3,9}(?:[ \-]\d{1,5}){0,3}",  # DE, GB, IT, CN landlines, MY mobiles
        r"0\d[ \-]\d{3,4}[ \-]?\d{4}",  # MY, AU, TW
        r"0\d{9,10}",
        r"1[3-9]\d[ \-]?\d{4}[ \-]?\d{4}",  # CN mobiles
        r"\(\d{2}\) \d{3} \d{2} \d{2}",  # PL
        r"\(?\d{2}\)? ?9\d{4}-\d{4}",  # BR
        r"[67]\d{2}([ .\-])\d{2}\1\d{2}\1\d{2}|[679]\d{2} \d{3} \d{3}",  # ES, PT
        r"[6-9]\d{4}[ \-]\d{5}",  # IN
        r"[48]00[ \-]\d{3}[ \-]\d{3,4}",  # free of charge
    )
)


def search(text: str) -> list[Span]:
    """Spans of telephone numbers in a folded text."""
    plain = digits(text)
    spans = [Span(*match.span(), KIND, 0.7, "a number partly starred out") for match in _STARRED.finditer(plain)]
    for start, end in _candidates(plain):
        number, before = _EXTENSION.sub("", plain[start:end]), text[:start]
        if not mostly_digits(text[start:end]):
            continue
        follows = bool(spans) and _AND.match(plain[spans[-1].end : start]) is not None
        if _LABEL.search(before) or follows:
            spans.append(Span(start, end, KIND, 0.95, "number after a label"))
        elif (why := _looks_like(number)) and (number[0] in "+(" or not _OTHER_NUMBER.search(before)):
            spans.append(Span(start, end, KIND, 0.95 if _is_valid(number) else 0.7, why))
    return spans


def _candidates(text: str) -> Iterator[tuple[int, int]]:
    for match in _RUN.finditer(text):
        for start, end in _numbers(match):
            number = text[start:end]
            amount = _AMOUNT.fullmatch(number) and not (_THREES.fullmatch(number) and _LABEL.search(text[:start]))
            if _DATE.match(number) or amount:
                continue
            end += _opened(number) and text[end:].startswith(")")
            extension = _EXTENSION.match(text, end)
            yield start, extension.end() if extension else end


def _numbers(run: re.Match[str]) -> Iterator[tuple[int, int]]:
    """The run, or its parts when it has more digits than any number (ITU-T E.164: 15, and a prefix)."""
    start = run.start()
    if re.match("[A-Za-z]", run.string[:start][-1:]) and (stray := _STRAY.match(run.string, start)):
        start = stray.end()  # "Te1 0123": the label's last letter
    if sum(c.isdigit() for c in run.group()) > 17:
        for seam in _SEAM.finditer(run.string, run.start(), run.end()):
            yield start, seam.start()
            start = seam.end()
    yield start, run.end()


def _opened(number: str) -> bool:
    return number.count("(") > number.count(")")


def _looks_like(number: str) -> str | None:
    number = re.sub(r" ?([\-./]) ?", r"\1", number)
    count = sum(c.isdigit() for c in number)
    if number.startswith("+") and 8 <= count <= 15:
        return "international prefix"
    if re.match(r"00 ?[1-9]", number) and 11 <= count <= 17 and (re.search(r"[ \-]", number) or _is_valid(number)):
        return "international prefix"
    if (number[0] == "0" and count < 9) or _ZIP.fullmatch(number):
        return None
    if any(shape.fullmatch(number) for shape in _SHAPES):
        return "grouped like a telephone number"
    return None


def _is_valid(number: str) -> bool:
    import phonenumbers  # .2 s of tables, and only a page with a candidate needs them

    for home in (None,) if number.startswith("+") else HOMES:
        try:
            if phonenumbers.is_valid_number(phonenumbers.parse(number, home)):
                return True
        except phonenumbers.NumberParseException:
            continue
    return False


RULE = Rule("phone", "3", search)
