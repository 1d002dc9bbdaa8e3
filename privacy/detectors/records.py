"""Numbers under which somebody is kept on file: of patients, cases, claims and customers. Labels alone tell them.

Any label that says "number" or "reference" announces one, in Chinese any word that ends so, but for numbers of things.
"""

from __future__ import annotations

import re

from privacy.detectors import labels
from privacy.detectors.announced import CODE, OF_A_THING, after
from privacy.detectors.interface import Rule, Span

KIND = "record"
_LABELLED = after(labels.RECORD, labels.CUSTOMER)
_ANY_NUMBER = re.compile(
    r"(?:(?<=\n)|(?<=\t)|^) ?(?P<label>[\u4e00-\u9fff]{1,8}(?:号码|號碼|编号|編號|号|號)) ?[:.\t\n]\s?"
    rf"(?P<value>{CODE})"
)
_ANY_LATIN = re.compile(
    r"(?:(?<=\n)|(?<=\t)|^) ?(?P<label>[^\W\d_][^\n\t:\d]{1,40}?) ?[:\t]\s?"
    rf"(?P<value>{CODE})"
)
_A_NUMBER = re.compile(
    r"(?i:(?<![^\W\d_])(?:n[o0]|nr|number|num|n[°º.]|id|code|ref(?:erence)?|numéro|numero|número|nummer|numer|référence"
    r"|referencia|riferimento|rif|referenz|kenmerk|zeichen|codice|código)\.?|nummer|-nr\.?|-id|zeichen)(?![^\W\d_])"
)
_KNOWN = labels.whole(labels.OTHER)
_OF_A_THING = re.compile(
    "发票|發票|票据|收据|收據|小票|订单|訂單|单|單|流水|交易|商品|货|貨|产品|產品|型|序列|批|条码|條碼|机|機|房|桌|座位|车次|航班|班次|"
    "版本|许可|許可|备案|備案|文|图|圖|页|頁"
)


def search(text: str) -> list[Span]:
    """Spans of record numbers in a folded text."""
    spans = [Span(*m.span("value"), KIND, 0.85, "value of a label") for m in _LABELLED.finditer(text)]
    for match in _ANY_NUMBER.finditer(text):
        if not _OF_A_THING.search(match["label"]) and sum(c.isdigit() for c in match["value"]) > 4:
            spans.append(Span(*match.span("value"), KIND, 0.5, "behind a word for a number"))
    for match in _ANY_LATIN.finditer(text):
        label = match["label"]
        known = OF_A_THING.search(label) or _KNOWN.fullmatch(labels.bare(label))
        if _A_NUMBER.search(label) and not known and sum(c.isdigit() for c in match["value"]) > 4:
            spans.append(Span(*match.span("value"), KIND, 0.5, "behind a word for a number"))
    return spans


RULE = Rule("record", "2", search)
