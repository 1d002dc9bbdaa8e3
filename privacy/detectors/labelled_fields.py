"""Names, addresses and account names: what follows a label or a title.

A value ends where its line ends, where a gap begins, or where the next label stands. An address takes up
to three lines. Names without a label or a title are not found by this detector.
"""

from __future__ import annotations

import re

from privacy.detectors import labels
from privacy.detectors.interface import Rule, Span

NAME, ADDRESS, ACCOUNT = "name", "address", "account"

_BLANK = r"[\s:.;*_\-#]*"
_NOT_A_PERSON = re.compile(
    r"(?i:product|brand|company|business|shop|store|file|item|trade|trading|bank|branch|hotel|school|hospital|clinic|"
    r"department|dept|project|course|drug|medicine|medication|user|domain|host|server|model|variable|street|test|event|"
    r"web|website|ip|mac|e-?mail|legal|inpatient|no|out|dosage|per|produkt|firmen|firma|公司|产品|商品|药品|品|单位|店)[\s\-'s]*$"
)
_NAME_LABEL = re.compile(rf"(?P<label>{labels.one_of(labels.NAME)})(?P<mark>(?:\s?(?:\([^)\n]{{1,25}}\))?\s?[:.])?)(?P<gap>{_BLANK})")
_ADDRESS_LABEL = re.compile(rf"{labels.one_of(labels.ADDRESS)}(?P<mark>(?:\s?(?:\([^)\n]{{1,25}}\))?\s?[:.])?)(?P<gap>{_BLANK})")
_ACCOUNT_LABEL = re.compile(
    rf"{labels.one_of(labels.ACCOUNT)}\s?(?:(?i:no|nr|number|#|id)\.?)?\s?[:.]?{_BLANK}"
    r"(?P<value>(?=[\w\-]*\d)[A-Za-z\d][\w\-]{4,}(?:[ \-]\d[\w]*){0,6})"
)
_TITLE = re.compile(
    r"(?<![^\W\d_])(?:(?:[Mm][Rr][Ss]?|[Mm]s|MS|Miss|MISS|Mme|Mlle|Dr|DR|Prof|PROF|Herrn?|HERRN?|Frau|FRAU|Sra?|SRA?|Sig(?:ra)?|Encik|Cik|Puan|Tuan|Dato)"
    r"(?:\. ?|(?= )|(?<=[a-z])(?=[A-Z]))|(?:Dear|DEAR|Monsieur|Madame|Se[nñ]ora?|Signora?|Don|Dhr\.?|Mevr\.?|Pan[ií]?) )"
    r" ?(?:(?:Dr|Prof|med)\.? ?){0,2}"
    r"(?P<value>[A-ZÀ-ÖØ-Þ][\w'’.\-]*(?: ?(?:van|von|de|der|den|del|la|le|di|da|bin|binti|al|el)(?= ))*"
    r"(?: ?[A-ZÀ-ÖØ-Þ][\w'’.\-]*){0,3})"
)
_SURNAMES = (
    "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶阎余潘杜戴夏钟汪田任姜范方石姚谭廖邹熊金陆郝孔白"
    "崔康毛邱秦江史顾侯邵孟龙万段雷钱汤尹黎易常武乔贺赖龚文張劉陳楊趙黃吳孫馬羅鄭謝韓馮蕭鄧許蘇盧蔣賈葉閻鐘譚鄒陸龍錢湯賴龔佐藤鈴木田中"
)
_SALUTATION = re.compile(
    r"(?m:^)[ \t]*(?:(?:Dear|DEAR|Hello|Hi|Liebe[rs]?|Sehr geehrte[rs]?|Cher|Chère|Chere|Estimad[oa]|Querid[oa]|Gentile|Gent\.ma|Gent\.mo|"
    r"Car[oa]|Egregio|Beste|Geachte|Szanown[aey]|Drog[ia]|Kjære|Kära|Kære) (?P<latin>[A-ZÀ-Þ][^\n\t,:;!\[█]{1,40})"
    r"|(?:尊敬的|敬爱的|敬愛的|亲爱的|親愛的) ?(?P<chinese>[\u4e00-\u9fff]{1,4}?)(?=先生|女士|小姐|太太|老师|老師|[ ,:!]|$))"
)
_BEFORE_PHONE = re.compile(
    rf"(?m:^)[ \t]*(?P<value>[{_SURNAMES}][\u4e00-\u9fff]{{1,2}})(?=[ \t,:]*(?:联系|聯絡|聯繫|連絡)?(?:电话|電話|手机|手機))"
)
_CHINESE_TITLE = re.compile(
    rf"(?P<value>[{_SURNAMES}][\u4e00-\u9fff]{{0,2}}?|(?<![\u4e00-\u9fff])[^\W\d_的有是在个個]{{2,4}}) ?"
    r"(?=先生|女士|小姐|太太|老师|老師|医生|醫生|大夫|教授|主任|同学|様|さん)"
)
_CLOSING = re.compile(
    rf"(?m:^)[ \t]*{labels.one_of(labels.CLOSING)}[ ,.!]*\n[ \t]*(?P<value>[A-ZÀ-Þ][\w'.\-]*(?: [\w'.\-]+){{1,3}}|[\u4e00-\u9fff]{{2,4}})(?=[ \t]*(?:\n|$))"
)
_NOT_GREETED = re.compile(r"(?i:customer|client|sir|madam|all|team|friend|guest|valued|member|kund|kunde|client)")
_NOT_A_NAME = re.compile(
    r"(?i:of|is|are|was|and|or|the|to|for|in|on|with|will|shall|must|may|has|have|that|this|a|an|as|at|by|from|not|no|"
    r"badge|tag|plate|card|list|field|change|change[sd]|signature|n/a|tba|none|unknown)(?![A-Za-zÀ-ÿ])"
)
_PERSONAL = re.compile(r"(?=[^\n\t]*[^\W\d_])[^\n\t\[█]{2,60}")
_LINE = re.compile(r"(?=[^\n\t]*\w)[^\n\t\[█]{3,100}")


def search(text: str) -> list[Span]:
    """Spans of names, addresses and accounts in a folded text."""
    spans = [*_names(text), *_addresses(text)]
    spans += [Span(*m.span("value"), ACCOUNT, 0.75, "value of a label") for m in _ACCOUNT_LABEL.finditer(text)]
    spans += [Span(*m.span("value"), NAME, 0.8, "after a title") for m in _TITLE.finditer(text)]
    spans += [Span(*m.span("value"), NAME, 0.75, "after a closing") for m in _CLOSING.finditer(text)]
    spans += [Span(*m.span("value"), NAME, 0.7, "before a telephone number") for m in _BEFORE_PHONE.finditer(text)]
    for match in _SALUTATION.finditer(text):
        group = "latin" if match["latin"] else "chinese"
        if not _NOT_GREETED.match(match[group]):
            spans.append(Span(*match.span(group), NAME, 0.8, "in a salutation"))
    spans += [Span(*m.span("value"), NAME, 0.8, "before a title") for m in _CHINESE_TITLE.finditer(text)]
    return spans


def _names(text: str) -> list[Span]:
    spans = []
    for match in _NAME_LABEL.finditer(text):
        if _NOT_A_PERSON.search(text[: match.start()]):
            continue
        value = _PERSONAL.match(text, match.end())
        end = _value_end(text, match.end(), value.end()) if value else match.end()
        if end - match.end() < 2 or not _announced(text, match, text[match.end() : end]):
            continue
        spans.append(Span(match.end(), end, NAME, 0.85, "value of a label"))
    return spans


def _addresses(text: str) -> list[Span]:
    spans = []
    for match in _ADDRESS_LABEL.finditer(text):
        if re.search(r"(?i:e-?mail|web|ip|mac|internet|电子)[\s\-]*$", text[: match.start()]):
            continue
        start = match.end()
        for number in range(3):
            value = _LINE.match(text, start)
            end = _value_end(text, start, value.end()) if value else start
            if end - start < 3 or (number == 0 and not _announced(text, match, text[start:end])):
                break
            spans.append(Span(start, end, ADDRESS, 0.8, "value of a label"))
            if text[end : end + 1] != "\n":
                break
            start = end + 1
    return spans


def _value_end(text: str, start: int, end: int) -> int:
    """Where the value that begins at `start` ends: at the next label, at a gap, at `end`."""
    stop = labels.ANY.search(text, start, end)
    gap = re.compile(r" {3,}").search(text, start, end)
    stops = [end, *(m.start() for m in (stop, gap) if m)]
    return start + len(text[start : min(stops)].rstrip(" :;,|/-"))


def _announced(text: str, match: re.Match[str], value: str) -> bool:
    """A colon announces a value. Any other label must begin its line; with no sign at all, a proper name follows."""
    if _NOT_A_NAME.match(value):
        return False
    if ":" in match["mark"] + match["gap"]:
        return True
    if text[: match.start()].rstrip(" ")[-1:] not in ("", "\n", "\t"):
        return False
    if match["mark"] or "\n" in match["gap"] or "\t" in match["gap"]:
        return True
    return bool(re.match(r"[A-ZÀ-Þ][\w'\-]+ [A-ZÀ-Þ]|[\u4e00-\u9fff]{2,4}$|\d+[\w\-/]*,? [A-Z]", value))


RULE = Rule("labelled_field", "1", search)
