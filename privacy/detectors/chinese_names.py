"""Chinese names without a label: a surname and one or two characters that no word of the vocabulary takes.

A short cell that begins with a surname and is no word is a name; in running text the words are cut out first
(`words.cut`), and what is left over behind a surname is one.
"""

from __future__ import annotations

import re

from privacy.detectors import labels
from privacy.detectors.gazetteer import surnames
from privacy.detectors.interface import Rule, Span, moved, squeeze
from privacy.detectors.words import chinese_word, cut, given_name, simplified

KIND = "name"

_RUN = re.compile(r"[\u4e00-\u9fff]{2,}")
_NOT_GIVEN = frozenset(
    "的是在与於和及等为為一二三四五六七八九十年月日元号號市区區县縣省路街我你他她它们們这這那了不有无無也都就而之其以由向从從到至个個位名先女小太"
)
_RARELY_A_SURNAME = frozenset(
    "于和与时是有从向因对及由以全公应应經经过过用能成安白高方项单计平解连通关水车相别都台后终居"
)
_NOT_NAMES = re.compile(
    rf"{labels.one_of(labels.CLOSING, labels.OTHER)}|(?:尊敬的|敬爱的|敬愛的|亲爱的|親愛的|"
    r"敬祝|安康|祝好|谢谢|謝謝|惠顾|惠顧|光临"
    rf"|光臨)"
    r"|公司|企业|企業|集团|集團|有限|银行|銀行|医院|醫院|学校|學校|大学|大學"
)
_QUANTITY = re.compile(r"\d[x×X*]$")  # of what follows: goods
_LONGEST_CELL = 4


def search(text: str) -> list[Span]:
    """Spans of names in a folded text."""
    squeezed, at = squeeze(text)
    squeezed = _NOT_NAMES.sub(lambda m: "." * len(m.group()), squeezed)
    spans = []
    for run in _RUN.finditer(squeezed):
        if _QUANTITY.search(squeezed[: run.start()]):
            continue
        found = _of_run(run.group(), _alone(squeezed, run))
        spans += [moved(Span(run.start() + a, run.start() + b, KIND, 0.6, why), at) for a, b, why in found]
    return spans


def _of_run(run: str, alone: bool) -> list[tuple[int, int, str]]:
    if len(run) <= _LONGEST_CELL and alone:
        length = _surname(run, 0)
        rest = run[length:]
        if length and 1 <= len(rest) <= 2 and not chinese_word(run) and not labels.is_label(run):
            if given_name(rest) or not chinese_word(rest):
                return [(0, len(run), "a surname and a given name, alone")]
            return []
    found, position = [], 0
    words = cut(run)
    for number, word in enumerate(words):
        length = len(word) if word in surnames() or simplified(word) in surnames() else 0
        if length and not (length == 1 and word in _RARELY_A_SURNAME):
            given = _given(words[number + 1 : number + 3])
            if given:
                found.append((position, position + length + given, "a surname and characters of no word"))
        position += len(word)
    return found


def _surname(text: str, start: int) -> int:
    for length in (2, 1):
        part = text[start : start + length]
        if len(part) == length and (part in surnames() or simplified(part) in surnames()):
            return length
    return 0


def _given(words: tuple[str, ...]) -> int:
    """How many of the characters behind a surname are a given name."""
    if not words:
        return 0
    if len(words[0]) == 2:
        return 2 if given_name(words[0]) else 0
    if len(words[0]) > 2 or words[0] in _NOT_GIVEN:
        return 0
    return 2 if len(words) > 1 and len(words[1]) == 1 and words[1] not in _NOT_GIVEN else 1


def _alone(text: str, run: re.Match[str]) -> bool:
    """Does the run stand by itself: no other sign next to it than one that parts words?"""
    before, after = text[: run.start()][-1:], text[run.end() :][:1]
    return not before.isalnum() and not after.isalnum() and before not in "¥$%" if before else not after.isalnum()


RULE = Rule("chinese_name", "2", search)
