"""IBANs (ISO 13616): country, two check digits, an account number of the country's length.

The check (mod 97) confirms. Without it the groups of four or a label are enough.
"""

from __future__ import annotations

import re

from privacy.detectors.interface import Rule, Span
from privacy.detectors.lookalikes import digits, mostly_digits

KIND = "iban"
_COUNTRIES = """
    AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27
    DK18 DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28
    IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22
    MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24
    SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30
"""
LENGTHS = {entry[:2]: int(entry[2:]) for entry in _COUNTRIES.split()}
_CANDIDATE = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}[ ]?[0-9OIlSBZQD]{2}(?:[ .\-]{0,2}[A-Za-z0-9]){11,30}")
_GROUPED = re.compile(r"[A-Z]{2}\w{2}(?: \w{4}){2,7}(?: \w{1,4})?")
_LABEL = re.compile(r"(?i:iban|i8an|lban)[\s:.\-]*(?:(?i:no|nr|number)\.?)?[\s:.\-]*$")
_LABELLED = re.compile(
    r"(?i:iban|lban)[\s:.\-]*(?:(?i:no|nr)\.?)?[\s:.\-]*((?=(?:\D*\d){8})[A-Z0-9](?:[ .\-]{0,2}[A-Z0-9]){10,33})"
)


def search(text: str) -> list[Span]:
    """Spans of IBANs in a folded text."""
    spans = [Span(*m.span(1), KIND, 0.8, "value of a label") for m in _LABELLED.finditer(text)]
    for match in _CANDIDATE.finditer(text):
        end = _end(match)
        if end is None:
            continue
        shown = text[match.start() : end]
        if _checks(shown):
            spans.append(Span(match.start(), end, KIND, 0.99, "check digits hold"))
        elif mostly_digits(shown[4:]) and _GROUPED.fullmatch(shown):
            spans.append(Span(match.start(), end, KIND, 0.7, "country, length and groups of four"))
    return spans


def _end(match: re.Match[str]) -> int | None:
    """Where the country's number of characters is reached; `None` if it is no country or too short."""
    left = LENGTHS.get(match.group()[:2], 99)
    for i, c in enumerate(match.group()):
        left -= c.isalnum()
        if left == 0:
            return match.start() + i + 1
    return None


def _checks(shown: str) -> bool:
    """ISO 7064 mod 97-10, on the characters as read and with look-alikes taken for digits."""
    for form in (shown, shown[:2] + digits("0" + shown[2:])[1:]):
        compact = "".join(c for c in form.upper() if c.isalnum())
        if compact.isascii() and compact[2:4].isdigit():
            turned = compact[4:] + compact[:4]
            if int("".join(str(int(c, 36)) for c in turned)) % 97 == 1:
                return True
    return False


RULE = Rule("iban", "1", search)
