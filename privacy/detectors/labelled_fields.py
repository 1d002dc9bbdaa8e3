"""Names, addresses and accounts: what follows a label.

A value ends where its line ends, where a gap begins, or where the next label stands. An address takes up
to three lines.
"""

from __future__ import annotations

import re

from privacy.detectors import full_names, labels
from privacy.detectors.gazetteer import surnames
from privacy.detectors.interface import Rule, Span

NAME, ADDRESS, ACCOUNT = "name", "address", "account"

_BLANK = r"[\s:.;*_\-#]*"
_NOT_A_PERSON = re.compile(
    r"(?i:product|brand|company|business|shop|store|file|item|trade|trading|bank|branch|hotel|school|hospital|clinic|"
    r"department|dept|project|course|drug|medicine|medication|user|domain|host|server|model|variable|street|test|event|"
    r"web|website|ip|mac|e-?mail|legal|inpatient|no|out|dosage|per|produkt|firmen|firma|公司|产品|商品|药品|品|单位|店)[\s\-'s]*$"
)
_MARK = r"(?P<mark>(?:\s?(?:\([^)\n]{1,25}\))?\s?[:.])?)"
_NAME_LABEL = re.compile(rf"{labels.one_of(labels.NAME)}{_MARK}(?P<gap>{_BLANK})")
_ADDRESS_LABEL = re.compile(rf"{labels.one_of(labels.ADDRESS)}{_MARK}(?P<gap>{_BLANK})")
_ACCOUNT_LABEL = re.compile(
    rf"{labels.one_of(labels.ACCOUNT)}\s?(?:(?i:no|nr|number|#|id)\.?)?\s?[:.]?{_BLANK}"
    r"(?P<value>(?=[\w\-]*\d)[A-Za-z\d][\w\-]{4,}(?:[ \-]\d[\w]*){0,6})"
)
_NOT_A_NAME = re.compile(
    r"(?i:of|is|are|was|and|or|the|to|for|in|on|with|will|shall|must|may|has|have|that|this|a|an|as|at|by|from|not|no|"
    r"badge|tag|plate|card|list|field|change|change[sd]|signature|n/a|tba|none|unknown)(?![A-Za-zÀ-ÿ])"
)
_OF_A_SHEET = re.compile(r"信息|資料|资料|登记|登記|须知|須知|服务|服務|名单|名單")
_PERSONAL = re.compile(r"(?=[^\n\t]*[^\W\d_])[^\n\t\[█]{2,60}")
_LINE = re.compile(r"(?=[^\n\t]*\w)[^\n\t\[█]{3,100}")


def search(text: str) -> list[Span]:
    """Spans of names, addresses and accounts in a folded text."""
    spans = [*_names(text), *_addresses(text)]
    spans += [Span(*m.span("value"), ACCOUNT, 0.75, "value of a label") for m in _ACCOUNT_LABEL.finditer(text)]
    return spans


def _names(text: str) -> list[Span]:
    spans = []
    for match in _NAME_LABEL.finditer(text):
        if _NOT_A_PERSON.search(text[: match.start()]):
            continue
        value = _PERSONAL.match(text, match.end())
        end = _value_end(text, match.end(), value.end()) if value else match.end()
        shown = text[match.end() : end]
        if len(shown) < 2 or _OF_A_SHEET.match(shown) or not _announced(text, match, shown):
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
    if _NOT_A_NAME.match(value) or full_names.is_firm(value):
        return False
    if ":" in match["mark"] + match["gap"]:
        return True
    if text[: match.start()].rstrip(" ")[-1:] not in ("", "\n", "\t"):
        return False
    if match["mark"] or "\n" in match["gap"] or "\t" in match["gap"]:
        return True
    if re.match(r"[\u4e00-\u9fff]{2,4}$", value):
        return value[0] in surnames() or value[:2] in surnames()
    return bool(re.match(r"[A-ZÀ-Þ][\w'\-]+ [A-ZÀ-Þ]|\d+[\w\-/]*,? [A-Z]", value))


RULE = Rule("labelled_field", "2", search)
