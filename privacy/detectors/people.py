"""Latin names told by the words around them: who made, got or signed something, what somebody is, what stands below.

Lists hold no rare name, and names made of common words ("Grace King") look like any heading. Around a name stands
what is said of people alone: "prepared by", "c/o", "Witness:", "born on", "(Tenant)", an address, a mail address.
After words that announce nothing else, two words with capitals are a name, whatever they are; after weaker ones, if
one of them is no common word. What bears the mark of a firm, or a word of institutions, is nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from privacy.detectors import addresses, full_names, labels
from privacy.detectors.email import KIND as _EMAIL
from privacy.detectors.email import search as mails
from privacy.detectors.gazetteer import plain
from privacy.detectors.interface import Rule, Span, moved, spread
from privacy.detectors.roles import (
    AGED,
    INSTITUTION,
    LIKELY,
    LIVES,
    ROLE,
    SERVED,
    STOP,
    STRONG,
    THANKS,
    WEAK,
    YEARS,
    one_of,
)
from privacy.detectors.words import common

KIND = "name"
SHORT = 3  # letters; a served-by line names nobody with less

_UP = "A-ZÀ-ÖØ-ÞĀĂĄĆČĎĐĒĖĘĚĢĪĮĶĻŁĽŃŇŌŐŒŔŘŚŞŠȘŢŤȚŪŮŰŲŹŻŽ"
_WORD = rf"(?:[{_UP}]\.|[{_UP}](?:[^\W\d_]|['’])*(?:-[^\W\d_]+)*)"
_PARTICLE = (
    r"(?:van der|van den|van de|von der|de la|van|von|zu|de|del|della|di|da|dos|du|le|la|ten|ter|al|bin|binti|y|e|i)"
)
_NAME = rf"(?P<value>{_WORD}(?:,? (?:{_PARTICLE} )?{_WORD}){{1,3}})"
_ALONE = rf"{_WORD}(?: (?:{_PARTICLE} )?{_WORD}){{1,3}}"
_END = r"(?![\w@]|\.\w)"

_AFTER_STRONG = re.compile(rf"{one_of(STRONG)}[ \t]?[:.,]?[ \t]?{_NAME}{_END}")
_AFTER_LIKELY = re.compile(rf"{one_of(LIKELY)}[ \t]?[:.,]?[ \t]?{_NAME}{_END}")
_OF_ONESELF = re.compile(rf"(?<![\w@])(?:I|Ich|Yo|Io|Ik|Ja|Je), ?{_NAME}{_END}")
_AFTER_ROLE = re.compile(rf"{one_of(ROLE)} ?:[ \t]?{_NAME}{_END}")
_AFTER_WEAK = re.compile(rf"{one_of(WEAK, ROLE)}[ \t\n]?{_NAME}{_END}")
_SERVED = re.compile(
    rf"{one_of(SERVED)} ?[:.]?[ \t]?(?P<value>[{_UP}][^\W\d_]+(?:[ .][{_UP}](?:\.|[^\W\d_]+)?)?){_END}"
)
_AND = r"(?:and|und|et|y|e|en|i|oraz|&)"
_BESIDES = re.compile(rf"(?<![\w@])(?P<first>{_ALONE}),? {_AND} {_NAME}{_END}")
_AGAINST = r"(?:vs\.?|v\.|versus|c\.|gegen|contre|contra|contro|tegen|przeciwko)"
_PARTIES = (
    re.compile(rf"(?<![\w@]){_NAME},? {_AGAINST} (?=[{_UP}])"),
    re.compile(rf"(?<![\w@]){_ALONE},? {_AGAINST} {_NAME}{_END}"),
)
_BELOW = re.compile(
    rf"(?m:^)[ \t]*{_NAME}[ \t,]*\n[ \t]*(?:{_AND}|{_AGAINST})[ \t]*\n"
    rf"[ \t]*(?P<other>{_ALONE})[ \t,.]*(?=\n|$)"
)
_WHOLE = rf"[{_UP}][^\W\d_]+(?:-[^\W\d_]+)?"
_INITIAL = re.compile(rf"(?<![\w@])(?P<value>{_WHOLE} (?:[{_UP}]\. ?){{1,2}}{_WHOLE}){_END}")
_THANKS = re.compile(rf"(?m:^)[ \t]*{one_of(THANKS)}[ ,.!]*[\n ][ \t]*(?P<value>[{_UP}][^\W\d_]{{2,}})[ \t.!]*(?=\n|$)")
_DAY = r"\d{1,2}[./\-]\d{1,2}[./\-](?:19\d|200)\d(?!\d)"
_BORN = re.compile(rf"(?<![\w@]){_NAME},? ?[(*]?{labels.one_of(labels.BIRTH)}")
_LIVING = re.compile(rf"(?<![\w@]){_NAME},? {one_of(LIVES)}")
_OLD = re.compile(rf"(?<![\w@]){_NAME} ?[,(] ?{AGED}")
_YEARS = re.compile(rf"(?<![\w@]){_NAME} ?[,(] ?{YEARS}")
_DATED = re.compile(rf"(?<![\w@]){_NAME}[ ,\t]{{1,3}}{_DAY}")
_WHAT = re.compile(
    rf"(?<![\w@]){_NAME} ?(?:[,|·•/(]|[\-–—](?= )|(?<= )[\-–—.]) ?(?:[^\W\d_]+ ){{0,2}}?{one_of(ROLE)}(?![\w])"
)
_BEFORE_STREET = re.compile(rf"{_NAME}, ?$")
_BEFORE_MAIL = re.compile(rf"{_NAME}[ ,:<(\[]{{0,3}}$")
_FIRST = re.compile(r"([^\s,]+)[ ,]+")
_IS = re.compile(one_of(ROLE))
_LINE = re.compile(rf"(?m:^)[ \t]*(?P<value>{_ALONE})[ \t]*(?=\n|$)")


def search(text: str) -> list[Span]:
    """Spans of names in a folded text."""
    spaced, at = spread(text)
    return [moved(span, at) for span in _all(spaced)]


def _all(text: str) -> Iterator[Span]:
    for pattern, why, sure in (
        (_AFTER_STRONG, "after words that announce a person", True),
        (_OF_ONESELF, "who speaks of himself", True),
        (_AFTER_ROLE, "after what a person is", True),
        (_BORN, "before a birth", True),
        (_DATED, "before a birth", False),
        (_OLD, "before an age", True),
        (_YEARS, "before an age", False),
        (_LIVING, "who lives somewhere", True),
        (_WHAT, "before what a person is", True),
        (_PARTIES[0], "a party", True),
        (_PARTIES[1], "a party", True),
        (_INITIAL, "an initial between words with capitals", True),
        (_AFTER_LIKELY, "after what may announce a person", False),
        (_AFTER_WEAK, "after what may announce a person", False),
    ):
        for match in pattern.finditer(text):
            yield from _span(text, match, why, sure)
    for match in (*_SERVED.finditer(text), *_THANKS.finditer(text)):
        if len(match["value"]) >= SHORT and not _nobody(match["value"]):
            yield Span(*match.span("value"), KIND, 0.7, "who served, or thanks")
    for match in _BESIDES.finditer(text):
        known = [*_span(text, match, "beside another name", False, "first")]
        yield from _span(text, match, "beside another name", bool(known))
    for match in _BELOW.finditer(text):
        for group in ("value", "other"):
            yield from _span(text, match, "one of two parties", True, group)
    yield from _beside(text)


def _beside(text: str) -> Iterator[Span]:
    """Words with capitals above a street, or before one and a comma, and words with capitals before a mail address."""
    streets = addresses.streets(text)
    above = {text.rfind("\n", 0, start) for start, _ in streets}
    for match in _LINE.finditer(text):
        if match.end() in above:
            yield from _span(text, match, "above a street", True)
    for start, _ in streets:
        yield from _before(text, start, _BEFORE_STREET, "before a street")
    for mail in mails(text):
        if mail.kind == _EMAIL:
            yield from _before(text, mail.start, _BEFORE_MAIL, "before a mail address")


def _before(text: str, end: int, pattern: re.Pattern[str], why: str) -> Iterator[Span]:
    begin = max(text.rfind("\n", 0, end), text.rfind("\t", 0, end)) + 1
    if found := pattern.search(text, begin, end):
        yield from _span(text, found, why, False)


def _span(text: str, match: re.Match[str], why: str, sure: bool, group: str = "value") -> Iterator[Span]:
    """The name of a match, as far as no label or small word begins, if it is somebody's."""
    start, end = match.span(group)
    opened = full_names.OPENING.match(text, start, end)
    start = opened.end() if opened else start
    while (word := _FIRST.match(text, start, end)) and (labels.is_label(word[1]) or _IS.fullmatch(word[1])):
        start = word.end()
    tokens = list(re.finditer(r"[^\s,]+", text[start:end]))
    for number, token in enumerate(tokens):
        ends = number > 1 and (labels.is_label(token.group()) or _IS.fullmatch(token.group()))
        if ends or plain(token.group()) in STOP:
            end = start + (tokens[number - 1].end() if number else 0)
            break
    for first, last in labels.parted(text, start, end)[:1]:
        value = text[first:last]
        words = re.findall(r"[^\s,]{2,}", value)
        telling = [word for word in words if not common(word.strip("'’.-"))]
        rest = re.compile(r"[^\n\t,]*").match(text, last)
        firm = full_names.marked(value + (rest.group() if rest else ""))
        if first == start and len(words) >= 2 and not firm and not _nobody(value) and (sure or telling):
            yield Span(first, last, KIND, 0.7 if sure else 0.6, why)


def _nobody(value: str) -> bool:
    return any(plain(word).strip(".,'-") in INSTITUTION for word in value.split()) or labels.is_label(value)


RULE = Rule("person", "3", search, blocks=True)
