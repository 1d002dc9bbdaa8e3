"""Chinese names without a label: a surname and one or two characters that no word of the vocabulary takes.

A short cell that begins with a surname and is no word is a name; in running text the words are cut out first
(`words.cut`), and what is left over behind a surname is one; behind one that is a word as well, a known given name.
What stands beside a label stands alone.
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
_RARELY_A_SURNAME = frozenset("于和与时是有从向因对及由以全公应应經经过过用能成项计平解连通相别都台后终居")
_A_WORD_AS_WELL = frozenset("安白高方单关水车")
_SELDOM_A_WORD = frozenset(
    "王李张刘陈杨赵黄吴徐孙胡朱林郭罗郑梁谢宋唐许韩冯邓曹彭肖董袁潘蒋蔡杜魏程苏吕丁沈姚卢姜崔钟谭陆汪范廖贾夏韦邹孟熊秦邱侯"
    "薛闫龚邵陶洪赖周马葛"
)
_FUNCTION = frozenset("的是在与和及等为你我他她它们这那了不也都就而其从到至个各位该")
_TITLE = re.compile(
    r"先生|女士|小姐|太太|老师|医生|大夫|教授|主任|同学|经理|律师|法官|总|某|氏|姓|家(?:$|[的里人中庭村])"
)
_IN_NAMES = frozenset(
    "淑珍贞秀英梅芳兰玲娟丽娜艳敏洁婷慧莉颖霞燕俊杰伟勇涛磊鑫鹏浩宇轩豪凯峰斌辉翔琳璐琴桂凤玉芬菊雯怡欣佳"
)
_ROLE = re.compile(
    "(?:借款|贷款|出借|抵押|担保|保证|受益|收款|付款|汇款|收件|寄件|收货|发货|联系|联络|报告|审核|审批|复核|经办|填表|制表"
    "|介绍|推荐|证明|见证|公证|当事|委托|受托|代理|代表|监护|负责|出租|承租|出卖|买受|转让|受让|债权|债务|申请|上诉|投保"
    "|保险|立遗嘱|继承)人|[甲乙丙丁]方|患者|病人|旅客|乘客|原告|被告|客户|会员|户主"
)
_WEEK = re.compile("周[一二三四五六日天末年期]")
_COUNTED = re.compile(r"[\d一二两三四五六七八九十百千几每这那上下本各某]$")  # "两张", "每周": a measure, not a surname
_NOT_NAMES = re.compile(
    rf"{labels.one_of(*labels.GROUPS)}|(?:尊敬的|敬爱的|敬愛的|亲爱的|親愛的|"
    r"敬祝|安康|祝好|谢谢|謝謝|惠顾|惠顧|光临"
    rf"|光臨)"
    r"|公司|企业|企業|集团|集團|有限|银行|銀行|医院|醫院|学校|學校|大学|大學"
)
_QUANTITY = re.compile(r"\d[x×X*]$")  # of what follows: goods
_LONGEST_CELL = 4
_LABEL = "\0"


def search(text: str) -> list[Span]:
    """Spans of names in a folded text."""
    squeezed, at = squeeze(text)
    squeezed = _NOT_NAMES.sub(_blank, squeezed)
    for role in _ROLE.finditer(simplified(squeezed)):
        squeezed = squeezed[: role.start()] + _blank(role) + squeezed[role.end() :]
    spans = []
    for run in _RUN.finditer(squeezed):
        if _QUANTITY.search(squeezed[: run.start()]):
            continue
        found = _of_run(run.group(), _alone(squeezed, run))
        spans += [moved(Span(run.start() + a, run.start() + b, KIND, 0.6, why), at) for a, b, why in found]
    return spans


def _blank(match: re.Match[str]) -> str:
    return _LABEL * len(match.group())


def _of_run(run: str, alone: bool) -> list[tuple[int, int, str]]:
    if len(run) <= _LONGEST_CELL and alone:
        length = _surname(run, 0)
        rest = run[length:]
        if length and 1 <= len(rest) <= 2 and not chinese_word(run) and not labels.is_label(run):
            if given_name(rest) or not chinese_word(rest) or _announced(run, length):
                return [(0, len(run), "a surname and a given name, alone")]
            return []
    found, position = [], 0
    words = cut(run)
    for number, word in enumerate(words):
        length = len(word) if word in surnames() or simplified(word) in surnames() else 0
        if length and simplified(word) not in _RARELY_A_SURNAME:
            given = _given(words[number + 1 : number + 3])
            if simplified(word) in _A_WORD_AS_WELL:
                given = _in_names(simplified(run[position + 1 : position + 3]), words[number + 1 : number + 3])
            elif all(len(next) < 3 for next in words[number + 1 : number + 2]) and _announced(run, position + length):
                given = min(2, len(run) - position - length)
            if given:
                found.append((position, position + length + given, "a surname and characters of no word"))
        position += len(word)
    return found


def _announced(run: str, at: int) -> bool:
    """Does a surname that seldom is a word end here, with what may be a given name behind it?

    Such a name may be made of words, or grow into one with what follows: 王志豪, 葛云系.
    """
    before, surname, after = map(simplified, (run[: at - 1][-1:], run[at - 1], run[at : at + 2]))
    known = surname in _SELDOM_A_WORD and not _COUNTED.search(before)
    known = known and bool(after) and after[0] not in _FUNCTION and not _WEEK.match(surname + after)
    return known and not chinese_word(surname + after[0]) and not _TITLE.match(after)


def _in_names(text: str, words: tuple[str, ...]) -> int:
    """How many of two characters are a given name for certain: a known one, or of what stands in names alone."""
    if given_name(text):
        return 2
    return sum(len(word) == 1 and char in _IN_NAMES for word, char in zip(words, text, strict=False))


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
    """Does the run stand by itself: no other sign next to it than one that parts words?

    Beside a label, its surname has to: "患者信息表" is a label that goes on, and "甲方應於" a sentence.
    """
    before, after = text[: run.start()][-1:], text[run.end() :][:1]
    if before.isalnum() or after.isalnum() or before in tuple("¥$%"):
        return False
    length = _surname(run.group(), 0)
    parted = length == len(cut(run.group())[0]) and run.group()[length : length + 1] not in _NOT_GIVEN
    return parted or _LABEL not in (before, after)


RULE = Rule("chinese_name", "4", search)
