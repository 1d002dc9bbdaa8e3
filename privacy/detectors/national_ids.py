"""Numbers by which states and their services know a person, and any number a document labels as such.

A scheme whose shape is unmistakable ("078-05-1120" in the US) is enough. One that is a plain run of
digits needs its check digits and a date of birth inside it, or a label: random numbers pass the check of
one country or another nearly every time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module

from privacy.detectors import labels
from privacy.detectors.interface import Rule, Span
from privacy.detectors.lookalikes import digits

KIND = "national_id"

_YMD = r"(?:19|20)?\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
_DMY = r"(?:0[1-9]|[12]\d|3[01])(?:0[1-9]|1[0-2])\d{2}"
_OMOCODE = r"[\dLMNPQRSTUV]"  # Italy writes letters for digits where two people would share a code


@dataclass(frozen=True)
class Scheme:
    """One country's number. `check` names its module in python-stdnum; `shape` alone proves it if `sure`."""

    country: str
    shape: re.Pattern[str] = field(repr=False)
    check: str = ""
    sure: bool = False


def _scheme(country: str, shape: str, check: str = "", sure: bool = False) -> Scheme:
    return Scheme(country, re.compile(rf"(?<![A-Za-z\d])(?<!\d[\-.])(?:{shape})(?![A-Za-z\d]|[.,]\d)"), check, sure)


# With look-alikes taken for digits.
_OF_DIGITS = (
    _scheme("US", r"(?!000|666|9)\d{3}([\-. ])(?!00)\d{2}\1(?!0000)\d{4}", "us.ssn", sure=True),
    _scheme("CN", r"[1-9]\d{5} ?(?:19|20)\d{2} ?\d{4} ?\d{3}[\dXx]", "cn.ric", sure=True),
    _scheme("KR", rf"{_YMD}-[1-8]\d{{6}}", "kr.rrn", sure=True),
    _scheme("FR", r"[12] \d{2} (?:0[1-9]|1[0-2]|[2-9]\d) (?:\d{2}|2[AB]) \d{3} \d{3}(?: ?\d{2})?", "fr.nir", sure=True),
    _scheme("FR", r"[12]\d{2}(?:0[1-9]|1[0-2]|[2-9]\d)(?:\d{2}|2[AB])\d{6} ?\d{2}", "fr.nir"),
    _scheme("BR", r"\d{3}\.\d{3}\.\d{3} ?- ?\d{2}", "br.cpf", sure=True),
    _scheme("IN", r"[2-9]\d{3}([ \-])\d{4}\1\d{4}", "in_.aadhaar"),
    _scheme("MY", rf"{_YMD}-\d{{2}}-\d{{4}}", "my.nric", sure=True),
    _scheme("TH", r"[1-8]([ \-])\d{4}\1\d{5}\1\d{2}\1\d", "th.pin", sure=True),
    _scheme("CZ", r"\d{2}(?:[05][1-9]|[16][0-2])(?:0[1-9]|[12]\d|3[01])/\d{3,4}", "cz.rc", sure=True),
    _scheme("SE", rf"{_YMD}[\-+]\d{{4}}", "se.personnummer", sure=True),
    _scheme("DK", rf"{_DMY}-\d{{4}}", "dk.cpr", sure=True),
    _scheme("BE", r"\d{2}\.\d{2}\.\d{2}-\d{3}[.\-]\d{2}", "be.nn", sure=True),
    _scheme("CH", r"756[. ]\d{4}[. ]\d{4}[. ]\d{2}|756\d{10}", "ch.ssn", sure=True),
    _scheme("AR", r"(?:20|23|24|27)-\d{8}-\d", "ar.cuit", sure=True),
    _scheme("CL", r"\d{1,2}\.\d{3}\.\d{3}-[\dkK]", "cl.rut", sure=True),
    _scheme("CA", r"\d{3}-\d{3}-\d{3}", "ca.sin", sure=True),
    _scheme("PL", r"\d{2}(?:[02468][1-9]|[13579][0-2])(?:0[1-9]|[12]\d|3[01])\d{5}", "pl.pesel"),
    _scheme("NO", rf"{_DMY} ?\d{{5}}", "no.fodselsnummer"),
    _scheme("RO", rf"[1-9]{_YMD}\d{{6}}", "ro.cnp"),
    _scheme("ZA", rf"{_YMD} ?\d{{4}} ?[01]\d{{2}}", "za.idnr"),
    _scheme("GR", rf"{_DMY}\d{{5}}", "gr.amka"),
    _scheme("EE", rf"[1-6]{_YMD}\d{{4}}", "ee.ik"),
    _scheme("LV", rf"{_DMY}-\d{{5}}", "lv.pvn", sure=True),
    _scheme("MY", rf"{_YMD}\d{{6}}", "my.nric"),
    _scheme("AT", rf"[1-9]\d{{3}} ?{_DMY}", "at.vnr"),
    _scheme("BG", r"\d{2}(?:[024][1-9]|[135][0-2])(?:0[1-9]|[12]\d|3[01])\d{4}", "bg.egn"),
    _scheme("SI", r"(?:0[1-9]|[12]\d|3[01])(?:0[1-9]|1[0-2])[09]\d{2}\d{6}", "si.emso"),
    _scheme("DE", r"[1-9]\d \d{3} \d{3} \d{3}", "de.idnr"),
    _scheme("GB", r"\d{3} \d{3} \d{4}", "gb.nhs"),
    _scheme("ID", r"\d{6}(?:0[1-9]|[1256]\d|3[01]|4[1-9]|7[01])(?:0[1-9]|1[0-2])\d{6}", "id.nik"),
)  # fmt: skip
# As read, in capitals.
_OF_LETTERS = (
    _scheme(
        "GB",
        r"(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]",
        sure=True,
    ),
    _scheme(
        "IT",
        rf"[A-Z]{{6}} ?{_OMOCODE}{{2}} ?[A-EHLMPRST] ?{_OMOCODE}{{2}} ?[A-Z] ?{_OMOCODE}{{3}} ?[A-Z]",
        "it.codicefiscale",
        sure=True,
    ),
    _scheme("ES", r"\d{8} ?-? ?[A-HJ-NP-TV-Z]", "es.dni"),
    _scheme("ES", r"\d{2}\.\d{3}\.\d{3} ?-? ?[A-HJ-NP-TV-Z]", sure=True),
    _scheme("ES", r"[XYZ] ?-?\d{7} ?-?[A-HJ-NP-TV-Z]", "es.nie", sure=True),
    _scheme("IN", r"[A-Z]{3}[ABCFGHLJPT][A-Z]\d{4}[A-Z]", "in_.pan", sure=True),
    _scheme("MX", r"[A-Z]{4}\d{6}[HM][A-Z]{5}[A-Z\d]\d", "mx.curp", sure=True),
    _scheme("SG", r"[STFGM]\d{7}[A-Z]", sure=True),
    _scheme("HK", r"[A-Z]{1,2}\d{6} ?\([\dA]\)", sure=True),
    _scheme("TW", r"[A-Z] ?[1289]\d{8}", sure=True),
    _scheme("PT", r"\d{8} ?\d ?[A-Z]{2}\d", "pt.cc", sure=True),
    _scheme("FI", rf"{_DMY}[\-+A]\d{{3}}[\dA-FHJ-NPR-Y]", "fi.hetu", sure=True),
    _scheme("IE", r"\d{7}[A-W][A-IW]?", "ie.pps"),
)  # fmt: skip
_NOT_A_PERSON = re.compile(
    r"(?i:order|trans(?:action)?|terminal|merchant|item|product|invoice|batch|session|device|cashier|store|ticket|job|case|"
    r"tracking|document|doc|asset|company|business|co|reg|vat|gst|machine|till|pos)\W*$"
)
_VALUE = r"((?=(?:[^\d\n\t]{0,8}\d){2})[A-Z\d](?=[A-Z\d \-./]{3})[A-Z\d]*(?:[ \-./]?[A-Z]*\d[A-Z\d]*){0,7})"
_OPTIONS = r"\s?(?:(?i:card|no|nr|number|num|code|#|n°|号码|号)[.:]?)*(?:\s?\([^)\n]{1,30}\))?[\s:.#\-]*"
_LABELLED = re.compile(rf"{labels.one_of(labels.IDENTITY)}{_OPTIONS}{_VALUE}")
_BARE_ID = re.compile(rf"(?<![A-Za-z\d])I\.?[Dd]\.?(?![A-Za-z]){_OPTIONS}{_VALUE}")


def search(text: str) -> list[Span]:
    """Spans of personal numbers in a folded text."""
    spans = []
    for schemes, shown in ((_OF_DIGITS, digits(text)), (_OF_LETTERS, text.upper())):
        for scheme in schemes:
            for match in scheme.shape.finditer(shown if len(shown) == len(text) else text):
                if _passes(scheme.check, match.group()):
                    reason = f"shape and check digits of {scheme.country}"
                    spans.append(Span(*match.span(), KIND, 0.97, reason))
                elif scheme.sure:
                    spans.append(Span(*match.span(), KIND, 0.75, f"shape of {scheme.country}"))
    for pattern, least in ((_LABELLED, 4), (_BARE_ID, 5)):
        for match in pattern.finditer(text):
            signs = sum(c.isalnum() for c in match.group(1))
            if signs >= least and not _NOT_A_PERSON.search(text[: match.start()]):
                spans.append(Span(*match.span(1), KIND, 0.85, "value of a label"))
    return spans


def _passes(check: str, number: str) -> bool:
    if not check:
        return False
    valid: Callable[[str], bool] = import_module(f"stdnum.{check}").is_valid
    return valid(number)


RULE = Rule("national_id", "1", search)
