"""Dates of birth: a date after a word that says so, and any date of a year in which an adult may have been born.

Any other date (of purchase, of issue) stays. The second rule needs no clock and no word: readers lose both.
"""

from __future__ import annotations

import re

from privacy.detectors import labels
from privacy.detectors.interface import Rule, Span
from privacy.detectors.lookalikes import digits

KIND = "birth_date"

_MONTH = (
    r"(?:jan(?:uar[yi]?|vier|uary)?|feb(?:ruar[yi]?)?|f[ée]v(?:rier)?|m[aä]r(?:ch|z|s|zo)?|mars|apr(?:il|ile)?|avr(?:il)?|"
    r"abr(?:il)?|ma[iyj]|mayo|maggio|jun[ie]?|juin|giu(?:gno)?|jul[iy]?|juil(?:let)?|lug(?:lio)?|aug(?:ust)?|ao[uû]t|ago(?:sto)?|"
    r"sep(?:t(?:ember|embre)?)?|set(?:tembre|embro)?|o[ck]t(?:ober|obre)?|out(?:ubro)?|ott(?:obre)?|nov(?:ember|embre|embro)?|"
    r"de[cz](?:ember|embre|embro)?|d[ée]c(?:embre)?|dic(?:iembre|embre)?|ene(?:ro)?|gen(?:naio)?)"
)
DATE = (
    r"(?:(?:民[國国] ?)?\d{1,4} ?年 ?\d{1,2} ?月 ?\d{1,2} ?日?|\d{4} ?[年.\-/] ?\d{1,2} ?[月.\-/] ?\d{1,2} ?日?"
    r"|\d{1,2} ?[.\-/,'] ?\d{1,2} ?[.\-/,'] ?\d{2,4}"
    rf"|\d{{1,2}}(?:st|nd|rd|th|er|\.)? ?[\-/]?(?: ?de ?)? ?{_MONTH}\.?,? ?[\-/']?(?: ?de ?)? ?\d{{2,4}}"
    rf"|{_MONTH}\.? ?\d{{1,2}}(?:st|nd|rd|th)?,? ?\d{{2,4}}"
    r"|(?:19|20)\d{6}|\d{8}|\d{1,2} \d{1,2} \d{4}|\d{4} \d{1,2} \d{1,2}"
    r"|\d{4} ?年(?: ?\d{1,2} ?月)?)"
)
_LABEL = re.compile(labels.one_of(labels.BIRTH))
_AFTER = re.compile(rf"(?P<gap>[^\d\n\[█]{{0,40}}?\n?[^\d\n\[█]{{0,40}}?)(?P<date>(?<!\d)(?i:{DATE})(?!\d))")
_STAR = re.compile(r"[*✶] ?(?P<date>\d{1,2}\.\d{1,2}\.\d{4})")
_WHOLE = re.compile(rf"(?<![\d.,/\-])(?i:{DATE})(?![\d/\-])")
_YEAR = re.compile(r"(?<!\d)(?:19\d\d|200\d)(?!\d)")
_OF_THE_REPUBLIC = re.compile(r"民[國国] ?(\d{2})(?!\d)")
_LATEST = 98  # of the Republic of China: 2009
_OTHER_LABEL = re.compile(labels.one_of(labels.OTHER, labels.IDENTITY, labels.PHONE))


def search(text: str) -> list[Span]:
    """Spans of dates of birth in a folded text."""
    plain = digits(text)
    spans = []
    for label in _LABEL.finditer(text):
        match = _AFTER.match(plain, label.end())
        if match and not _OTHER_LABEL.search(match["gap"]):
            spans.append(Span(*match.span("date"), KIND, 0.95, "date after a word for birth"))
    spans += [Span(*m.span("date"), KIND, 0.8, "date after a star") for m in _STAR.finditer(plain)]
    spans += [Span(*m.span(), KIND, 0.4, "date of a year long ago") for m in _WHOLE.finditer(plain) if _old(m.group())]
    return spans


def _old(date: str) -> bool:
    """Does it name a day, a month and a year from 1900 to 2009?"""
    republic = _OF_THE_REPUBLIC.search(date)
    parts = len(re.findall(r"\d+|[^\W\d_年月日民國国de]{3,}", date))
    return parts >= 3 and (int(republic[1]) <= _LATEST if republic else _YEAR.search(date) is not None)


RULE = Rule("birth_date", "1", search)
