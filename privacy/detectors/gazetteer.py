"""Lists of given names, surnames and towns, from the modules that ship with Faker (MIT), read on first use.

Lists help where no label does. A list that also holds what is being measured measures nothing, so words are
divided in two halves by a hash: `LISTED` alone is used where recall is measured on names of the other half
(`learners.subjects`), everything where the daemon runs.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module

LOCALES = (
    "en_GB", "en_US", "en_IN", "de_DE", "de_AT", "fr_FR", "es_ES", "es_MX", "it_IT", "nl_NL", "pl_PL", "pt_PT",
    "pt_BR", "sv_SE", "da_DK", "cs_CZ", "fi_FI", "hu_HU", "ro_RO", "hr_HR", "tr_TR", "id_ID",
)  # fmt: skip
_LEAST = 3  # letters; shorter entries are words of some language or other


@dataclass(frozen=True)
class Gazetteer:
    """Folded words: `given` and `surnames` of people, and `towns`, which may be of several words."""

    given: frozenset[str] = field(repr=False)
    surnames: frozenset[str] = field(repr=False)
    towns: frozenset[str] = field(repr=False)


def plain(word: str) -> str:
    """Lower case, without accents and with the letters that PP-OCRv4's dictionary lacks as it reads them."""
    word = word.casefold().replace("ł", "l").replace("ø", "o").replace("ß", "ss").replace("’", "'")
    return "".join(c for c in unicodedata.normalize("NFD", word) if not unicodedata.combining(c))


def drawn(word: str) -> bool:
    """Is the word in the half that held-out pages are drawn from?"""
    return hashlib.sha256(plain(word).encode()).digest()[0] % 2 == 1


@cache
def gazetteer(half: bool = False) -> Gazetteer:
    """All lists together; with `half`, without the words that held-out pages are drawn from."""
    given: set[str] = set()
    surnames: set[str] = set()
    towns: set[str] = set()
    for locale in LOCALES:
        people = _provider("person", locale)
        for attribute in dir(people):
            if attribute.startswith(("first_names", "last_names")):
                into = given if attribute.startswith("first") else surnames
                for entry in getattr(people, attribute):
                    into.update(w for w in re.split(r"[ \-]", plain(entry)) if len(w) >= _LEAST)
        places = _provider("address", locale)
        for attribute in ("cities", "counties", "states", "concelhos", "places", "regions", "provinces"):
            for entry in getattr(places, attribute, ()):
                name = plain(entry if isinstance(entry, str) else " ".join(map(str, entry)))
                if len(name) > _LEAST:
                    towns.add(name)
    if half:
        given, surnames, towns = ({w for w in words if not drawn(w)} for words in (given, surnames, towns))
    return Gazetteer(frozenset(given), frozenset(surnames), frozenset(towns))


@cache
def surnames() -> frozenset[str]:
    """Chinese surnames of one and of two characters, in both scripts."""
    found: set[str] = set()
    for locale in ("zh_CN", "zh_TW"):
        found.update(getattr(_provider("person", locale), "last_names", ()))
    return frozenset(name for name in found if 1 <= len(name) <= 2)


def _provider(kind: str, locale: str) -> object:
    try:
        found: object = import_module(f"faker.providers.{kind}.{locale}").Provider
    except ModuleNotFoundError:
        return object()
    return found
