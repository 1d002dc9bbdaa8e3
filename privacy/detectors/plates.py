"""Licence plates: after a label, or of a shape that one country gives its plates."""

from __future__ import annotations

import re

from privacy.detectors import labels
from privacy.detectors.announced import after
from privacy.detectors.interface import Rule, Span

KIND = "plate"
_PROVINCES = "京津沪滬渝冀豫云雲辽遼黑湘皖鲁魯新苏蘇浙赣贛鄂桂甘晋晉蒙陕陝吉闽閩贵貴粤粵青藏川宁寧琼瓊使领領"
_VALUE = (
    rf"(?:[{_PROVINCES}] ?[A-Z] ?[·.\- ]?(?: ?[A-Z\d]){{4,7}}"
    r"|(?=(?:[^\d\n\t]{0,8}\d){2})(?=[^A-Z\n\t]{0,8}[A-Z])[A-ZÄÖÜ\d](?:[ \-·.]{0,3}[A-Z\d]){4,9})(?![A-Za-z\d])"
)
_LABELLED = after(labels.PLATE, value=_VALUE)
_SHAPES = tuple(
    re.compile(rf"(?<![A-Za-z\d\-/]){shape}(?![A-Za-z\d\-/]|[.,]\d)")
    for shape in (
        r"[A-Z]{2}\d{2} ?[A-Z]{3}",  # GB
        r"(?!RE|NR|NO|PO|ID)[A-ZÄÖÜ]{1,3} ?- ?[A-Z]{1,2} ?\d{1,4}[EH]?",  # DE
        r"[A-Z]{2} ?- ?\d{3} ?- ?[A-Z]{2}",  # FR
        r"[A-HJ-NPR-TV-Z]{2} ?\d{3} ?[A-HJ-NPR-TV-Z]{2}",  # IT
        r"\d{4} ?[BCDFGHJKLMNPRSTVWXYZ]{3}",  # ES
        r"[A-Z]{2}-\d{3}-[A-Z]|[A-Z]-\d{3}-[A-Z]{2}|\d{2}-[A-Z]{2,3}-\d{1,2}|[A-Z]{2}-\d{2}-[A-Z]{2}"
        r"|\d-[A-Z]{3}-\d{2}",  # NL
        r"(?:W[A-Z]|KR|PO|GD|DW|LU|BI|EL|SK|RZ|OP|ZS)[A-Z]? \d{4,5}[A-Z]?",  # PL
        r"[1-9][A-Z]{3}\d{3}",  # US, California
        r"[A-Z]{3}-\d{4}",  # TW
        rf"[{_PROVINCES}] ?[A-HJ-NP-Z] ?[·.•\-]? ?[A-HJ-NP-Z\d]{{5,6}}",  # CN
    )
)
_OTHER = re.compile(
    r"(?i:invoice|order|ref(?:erence)?|item|part|model|serial|s/n|batch|lot|art|sku|bestellung|rechnung|charge|"
    r"commande|facture|zeichen|kenmerk|znak|referencia|riferimento|référence|申请|申請)[^\n\t]{0,14}$"
)


def search(text: str) -> list[Span]:
    """Spans of licence plates in a folded text."""
    spans = [Span(*m.span("value"), KIND, 0.85, "value of a label") for m in _LABELLED.finditer(text)]
    for shape in _SHAPES:
        for match in shape.finditer(text):
            if not _OTHER.search(text[: match.start()]):
                spans.append(Span(*match.span(), KIND, 0.6, "shape of a country's plates"))
    return spans


RULE = Rule("plate", "1", search)
