"""Chinese addresses: province, city, district, road, number, in either script, whole or the end of a broken line."""

from __future__ import annotations

import re
from itertools import pairwise

from privacy.detectors import labels
from privacy.detectors.gazetteer import surnames
from privacy.detectors.interface import Rule, Span, moved
from privacy.detectors.words import chinese_word, simplified

KIND = "address"

_HAN = r"[\u4e00-\u9fff]"
_PROVINCES = (
    "北京|天津|上海|重庆|重慶|河北|山西|辽宁|遼寧|吉林|黑龙江|黑龍江|江苏|江蘇|浙江|安徽|福建|江西|山东|山東|河南|湖北|湖南|广东|廣東|"
    "海南|四川|贵州|貴州|云南|雲南|陕西|陝西|甘肃|甘肅|青海|台湾|台灣|臺灣|内蒙古|內蒙古|广西|廣西|西藏|宁夏|寧夏|新疆|香港|澳门|澳門|"
    "台北|臺北|新北|桃園|台中|臺中|台南|臺南|高雄|基隆|新竹|嘉義|苗栗|彰化|南投|雲林|屏東|宜蘭|花蓮|台東|臺東|澎湖|金門|連江"
)
_LARGE = r"(?:特别行政区|特別行政區|维吾尔自治区|壮族自治区|回族自治区|自治区|自治區|自治州|省|市|县|縣)"
_SMALL = r"(?:市|县|縣|区|區|旗|镇|鎮|乡|鄉|村|里)"
_ROAD = r"(?:大道|胡同|路|街|巷|弄|道)"
_HOUSES = r"(?:小区|小區|社区|社區|花园|花園|家园|家園|公寓|新村|大厦|大廈)"
_FIGURES = r"[\dA-Za-z一二三四五六七八九十百零]{1,6}"
_NUMBER = (
    rf"(?:{_FIGURES} ?(?:[号號][楼樓]?|座|栋|棟|幢|楼|樓|层|層|室|单元|單元|段|巷|弄|F|之) ?(?:之 ?\d{{1,3}})?){{1,6}}"
    rf"(?:\d{{1,4}}室?)?"
)
_PATTERNS = tuple(
    (re.compile(pattern), confidence, reason)
    for pattern, confidence, reason in (
        (rf"(?:\d{{3,6}} ?)?(?:{_PROVINCES}) ?{_LARGE}?(?:{_HAN}{{1,6}}?{_SMALL}){{1,4}}"
         rf"(?:{_HAN}{{1,8}}?{_ROAD})?(?:{_NUMBER})?", 0.75, "province and place"),
        (rf"(?:\d{{3,6}} ?)?(?:{_PROVINCES}) ?{_LARGE}?{_HAN}{{1,8}}?{_ROAD}(?:{_NUMBER})?", 0.75, "province and road"),
        (rf"(?:{_PROVINCES}){_LARGE}{_HAN}{{0,4}}(?=$|\n|\t|\d)", 0.6, "a province opens a line"),
        (rf"(?:\d{{3,6}} ?)?{_HAN}{{2,10}}?{_ROAD}(?:[一二三四五六七八九十\d]{{1,3}}段)?{_NUMBER}(?:"
         rf" ?\d{{5,6}})?", 0.7, "road and number"),
        (rf"{_HAN}{{2,8}}?{_HOUSES}{_NUMBER}", 0.6, "houses and number"),
        (rf"(?m:^) ?(?:\d{{3,6}} ?)?{_HAN}{{2,8}}{_ROAD}(?=$|\n|\t)", 0.5, "a road alone"),
        (rf"(?m:^) ?{_HAN}{{0,6}}"
            rf"\d{{1,4}} ?[号號](?:之 ?\d{{1,3}})?(?:\d{{1,3}}[楼樓F])?(?=$|\n|\t)", 0.5, "a number of a house alone"),
        (rf"(?m:^) ?{_HAN}{{0,8}}{_ROAD}?{_FIGURES} ?[座栋棟幢室](?: ?\d{{5,6}})?(?=$|\n|\t)", 0.5, "a number of a"
                                                                                               " house alone"),
        (rf"{_HAN}{{2,4}}(?:市|县|縣){_HAN}{{2,6}}(?:区|區|{_ROAD})(?:{_NUMBER})?", 0.6, "city and district"),
    )
)  # fmt: skip


_NAME = re.compile(rf"{_HAN}{{2,4}}")
_GOES_ON = re.compile(rf" ?(?:{_ROAD}|{_SMALL}|\d{{1,4}} ?[号號])")
_OF_ADDRESSES = re.compile(rf"{_SMALL}|{_ROAD}|{_LARGE}|[号號座栋棟幢楼樓室园園苑段旗州]|\d")


def search(text: str) -> list[Span]:
    """Spans of addresses in a folded text; one that goes on in the next line is one."""
    spans = []
    for shown, at in (_packed(text, " "), _packed(text, " \n")):
        for pattern, confidence, reason in _PATTERNS:
            spans += [moved(Span(*m.span(), KIND, confidence, reason), at) for m in pattern.finditer(shown)]
    found = [_without_the_lines_above(span, text) for span in spans]
    return found + [name for span in found if (name := _addressee(text, span.start)) is not None]


def _addressee(text: str, start: int) -> Span | None:
    """The name that stands alone above an address: a surname, and one or two characters."""
    lines = text[:start].split("\n")
    if len(lines) < 2 or lines[-1].strip():
        return None
    above = lines[-2].strip()
    if not _NAME.fullmatch(above) or labels.is_label(above) or chinese_word(above):
        return None
    if above[:1] not in surnames() and simplified(above[:1]) not in surnames() and above[:2] not in surnames():
        return None
    begin = start - len(lines[-1]) - 1 - len(lines[-2]) + lines[-2].index(above)
    return Span(begin, begin + len(above), "name", 0.6, "alone above an address")


def _without_the_lines_above(span: Span, text: str) -> Span:
    """The span from its first line on that has a word of addresses; from the one above that if it goes on there."""
    start, lines = span.start, text[span.start : span.end].split("\n")
    for line, following in pairwise(lines):
        if _OF_ADDRESSES.search(line) or _GOES_ON.match(following):
            break
        start += len(line) + 1
    return Span(start, span.end, span.kind, span.confidence, span.reason)


def _packed(text: str, gaps: str) -> tuple[str, list[int]]:
    kept = [i for i, c in enumerate(text) if c not in gaps]
    return "".join(text[i] for i in kept), kept


RULE = Rule("chinese_address", "4", search, blocks=True)
