"""Made-up values in place of personal data: names of nobody, numbers that nobody can have.

Guarantee: a fiction depends on the kind of value, on its page's language, on how the value is written (`Manner`),
and on random draws that a key makes; on nothing else of the value. The key belongs to one page and is thrown away
with it. Under it the same value gets the same fiction, wherever it stands on the page, and a fiction never has a word
of its value.

Numbers with check digits fail them. E-mail and web addresses are at names reserved by RFC 2606; telephone numbers are
in ranges kept for fiction where a country has some, else outside its numbering plan. That keeps people safe, and
tells whoever checks a number that it is none.
"""

from __future__ import annotations

import hashlib
import hmac
import random
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from faker import Faker

from privacy import fictional_numbers as numbers
from privacy.detectors.gazetteer import plain
from privacy.detectors.interface import squeeze
from privacy.detectors.lookalikes import fold
from privacy.fictional_numbers import Draw

KEY_BYTES = 32
_TRIES = 200
_LOCALES = {
    "en": "en_GB", "us": "en_US", "de": "de_DE", "fr": "fr_FR", "es": "es_ES", "it": "it_IT", "nl": "nl_NL",
    "pl": "pl_PL", "zh": "zh_CN", "zh-hant": "zh_TW",
}  # fmt: skip
LANGUAGES = tuple(_LOCALES)
CHINESE = ("zh", "zh-hant")
_HAN = re.compile("[\u3400-\u9fff]")
_TRADITIONAL = frozenset("國學電話號碼證縣鄉區灣臺與於發會統編傳帳戶東門車員實際稱營業處關係聯絡")
_SIMPLIFIED = frozenset("国学电话号码证县乡区湾与于发会统编传账户东门车员实际称营业处关系联络")
_WORDS = {
    "de": "und der die das von straße strasse geburtsdatum anschrift telefon herr frau mit für nr den rechnung datum",
    "fr": "et le la les des du né née rue adresse nom téléphone monsieur madame pour avec date naissance facture",
    "es": "y el los las del calle dirección nombre fecha nacimiento teléfono señor señora para con factura correo",
    "it": "il della nato nata via indirizzo nome cognome telefono signor signora data nascita fattura codice fiscale",
    "nl": "het een van en adres naam telefoon geboren geboortedatum dhr mevr met voor factuur klantnummer datum",
    "pl": "ul oraz nr i imię nazwisko adres telefon urodzenia pan pani data faktura się na zamieszkały nip pesel",
    "us": "ssn zip usa",
    "en": "the and of to for with name address phone date birth dear mr mrs ms street road invoice customer patient "
    "from your telephone tax number card received yours sincerely flat born signature case is in you this that have",
}
_FAKER = threading.Lock()
"""Faker's instances are kept, since one takes 50 ms to make, and are seeded and used under this lock."""


@dataclass(frozen=True)
class Manner:
    """All that a fiction may know of its value: its case, whether it is one word, and for dates and places its form."""

    case: str = "mixed"
    single: bool = False
    form: str = ""

    @classmethod
    def of(cls, kind: str, value: str) -> Manner:
        letters = [c for word in re.findall(r"[^\W\d_]{4,}", value) for c in word]
        upper, lower = all(c.isupper() for c in letters), all(c.islower() for c in letters)
        cased = kind in ("name", "address") and len(letters) > 1
        case = "upper" if cased and upper else "lower" if cased and lower else "mixed"
        form = _date_form(fold(value)) if kind in DATES else _place_form(value) if kind == "address" else ""
        return cls(case, kind == "name" and len(value.split()) < 2, form)


class Fictions:
    """The fictions of one page.

    Args:
        key: 32 bytes from the system's generator, kept nowhere.
        language: one of `LANGUAGES`.
    """

    def __init__(self, key: bytes, language: str) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"Expected a key of {KEY_BYTES} bytes, got {len(key)}.")
        if language not in LANGUAGES:
            raise ValueError(f"Expected a language among {', '.join(LANGUAGES)}, got {language!r}.")
        self._key, self._language = key, language

    def of(self, kind: str, value: str, attempt: int = 0) -> str:
        """A fiction for a value; each `attempt` is another one, independent of those before.

        Raises:
            KeyError: fictions of this kind are not made.
        """
        make, manner = _MAKERS[kind], Manner.of(kind, value)
        for again in range(_TRIES):
            if kind == "name" and self._language not in CHINESE:
                text = self._name(value, manner, attempt, again)
            else:
                text = make(self._draw(kind, value, attempt, again), self._language, manner)
            text = {"upper": text.upper, "lower": text.lower}.get(manner.case, text.__str__)()
            if not _shares(text, value, kind):
                return text
        raise ValueError(f"Expected another {kind} within {_TRIES} draws, found none.")

    def _name(self, value: str, manner: Manner, attempt: int, again: int) -> str:
        """Word by word, so that a surname that stands alone elsewhere is the same there."""
        words = value.split()
        surname = self._draw("surname", words[-1] if words else "", attempt, again)
        if manner.single:
            return _person(surname, self._language)[1]
        given = self._draw("given", words[0], attempt, again)
        return f"{_person(given, self._language)[0]} {_person(surname, self._language)[1]}"

    def _draw(self, purpose: str, value: str, attempt: int, again: int) -> Draw:
        """A generator seeded by HMAC-SHA256: without the key its draws tell nothing of the value."""
        about = f"{purpose}\0{_same(value)}\0{attempt}\0{again}".encode()
        return random.Random(hmac.digest(self._key, about, hashlib.sha256))


def language_of(text: str) -> str:
    """The language of a page's text, by its script and its commonest words: one of `LANGUAGES`."""
    han = _HAN.findall(text)
    if 3 * len(han) > sum(c.isalpha() for c in text):
        traditional, simplified = (sum(c in signs for c in han) for signs in (_TRADITIONAL, _SIMPLIFIED))
        return "zh-hant" if traditional > simplified else "zh"
    words = re.findall(r"[^\W\d_]+", text.casefold())
    known = {language: set(plain(listed).split()) for language, listed in _WORDS.items()}
    counts = {language: sum(plain(word) in listed for word in words) for language, listed in known.items()}
    best = max(counts, key=lambda language: counts[language])
    if best in ("us", "en") or counts[best] <= counts["en"] + 1:
        return "us" if counts["us"] else "en"
    return best


def _same(value: str) -> str:
    return squeeze(fold(value).casefold())[0]


def _shares(text: str, value: str, kind: str) -> bool:
    """Is the fiction the value, or does it hold one of its words or long numbers?"""
    if _same(text) == _same(value):
        return True
    if kind in ("date", "birth_date", "url", "email"):
        return False
    one, other = (set(re.findall(r"[^\W\d_]{3,}|\d{4,}", plain(each))) for each in (text, value))
    return bool(one & other - _GENERIC)


_STREETS = "street road avenue lane drive rue via calle avenida strasse straat ulica plaza place piazza"
_GENERIC = frozenset(_STREETS.split())


@cache
def _faker(locale: str) -> Faker:
    return Faker(locale)


def _fake(draw: Draw, language: str, make: Callable[[Faker], str]) -> str:
    with _FAKER:
        faker = _faker(_LOCALES[language])
        faker.seed_instance(draw.getrandbits(64))
        return make(faker)


def _person(draw: Draw, language: str) -> tuple[str, str]:
    given = _fake(draw, language, lambda faker: str(faker.first_name()))
    return given, _fake(draw, language, lambda faker: str(faker.last_name()))


def _name(draw: Draw, language: str, manner: Manner) -> str:
    given, surname = _person(draw, language)
    return f"{surname}{given}" if language in CHINESE else surname if manner.single else f"{given} {surname}"


def _place_form(value: str) -> str:
    """Which part of an address: a town has a post code of four digits or more, or a British one."""
    plainly = fold(value)
    town = re.search(r"\d{4,}|\d{2}-\d{3}|[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}\b", plainly)
    if "," in plainly and town and re.search(r"\d", plainly[: plainly.index(",")]):
        return "whole"
    return "town" if town else "street" if re.search(r"\d", plainly) else "name"


def _address(draw: Draw, language: str, manner: Manner) -> str:
    if language in CHINESE:
        return _chinese_address(draw, language, manner)
    street = _fake(draw, language, lambda faker: str(faker.street_address())).split("\n")[-1].strip()
    city = _fake(draw, language, lambda faker: str(faker.city()))
    code = _fake(draw, language, lambda faker: str(faker.postcode()))
    town = f"{city} {code}" if language in ("en", "us") else f"{code} {city}"
    return {"whole": f"{street}, {town}", "town": town, "street": street}.get(manner.form, city)


def _chinese_address(draw: Draw, language: str, manner: Manner) -> str:
    place = _fake(draw, language, lambda faker: str(faker.city()))
    if manner.form in ("", "name") and draw.random() < 0.5:
        return place
    road = _fake(draw, language, lambda faker: str(faker.street_name()))
    number = f"{draw.randint(1, 399)}{'號' if language == 'zh-hant' else '号'}"
    return f"{place}{road}{number}" if draw.random() < 0.5 else f"{road}{number}"


DATES = ("date", "birth_date")


def _date_form(value: str) -> str:
    """Where the year stands and what parts the numbers: of `2/1/1980` "y/", of `1980年1月2日` "y年"."""
    if "年" in value:
        return "民" if re.search("民", value) else "y年"
    if re.search(r"[^\W\d_]{3,}", value):
        return "word"
    sign = next((c for c in value if c in "./- "), "")
    return f"y{sign}" if re.match(r"\s*\d{4}", value) else sign


_MONTHS = {
    "en": "January February March April May June July August September October November December",
    "us": "January February March April May June July August September October November December",
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    "it": "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
    "nl": "januari februari maart april mei juni juli augustus september oktober november december",
    "pl": "stycznia lutego marca kwietnia maja czerwca lipca sierpnia września października listopada grudnia",
}


def _date(first: int, last: int) -> Callable[[Draw, str, Manner], str]:
    def make(draw: Draw, language: str, manner: Manner) -> str:
        year, month, day = draw.randint(first, last), draw.randint(1, 12), draw.randint(1, 28)
        if manner.form == "民":
            return f"民國{year - 1911}年{month}月{day}日"
        if manner.form == "y年" or (manner.form == "word" and language in CHINESE):
            return f"{year}年{month}月{day}日"
        if manner.form == "word":
            return f"{day} {_MONTHS[language].split()[month - 1]} {year}"
        sign = manner.form[-1:] or ("/" if language in ("en", "us", "fr") else ".")
        if manner.form.startswith("y"):
            return f"{year}{sign}{month:02}{sign}{day:02}"
        parts = (month, day) if language == "us" else (day, month)
        return f"{parts[0]:02}{sign}{parts[1]:02}{sign}{year}"

    return make


_RESERVED = ("example.org", "example.com", "example.net")
"""RFC 2606, section 3; names under `.example` are reserved by section 2."""


def _handle(draw: Draw, language: str) -> tuple[str, str]:
    given, surname = _person(draw, "en" if language in CHINESE else language)
    return tuple(re.sub(r"[^a-z]+", "", plain(word)) or "x" for word in (given, surname))  # type: ignore[return-value]


def _email(draw: Draw, language: str, manner: Manner) -> str:
    given, surname = _handle(draw, language)
    local = draw.choice((f"{given}.{surname}", f"{given[0]}{surname}", f"{given}{draw.randint(1, 99)}", surname))
    return f"{local}@{draw.choice((*_RESERVED, f'{_handle(draw, language)[1]}.example'))}"


def _url(draw: Draw, language: str, manner: Manner) -> str:
    surname, host = _handle(draw, language)[1], draw.choice(_RESERVED)
    return draw.choice(
        (f"https://www.{host}/{surname}", f"www.{surname}.example", f"{host}/{surname}{draw.randint(1, 99)}")
    )


def _number(make: Callable[[Draw, str], str]) -> Callable[[Draw, str, Manner], str]:
    return lambda draw, language, manner: make(draw, language)


_MAKERS: dict[str, Callable[[Draw, str, Manner], str]] = {
    "name": _name,
    "address": _address,
    "birth_date": _date(1938, 2007),
    "date": _date(2012, 2026),
    "email": _email,
    "url": _url,
    "phone": _number(numbers.phone),
    "national_id": _number(numbers.national),
    "tax_id": _number(numbers.tax),
    "iban": _number(numbers.iban),
    "card": _number(numbers.card),
    "account": _number(numbers.account),
    "record": _number(numbers.record),
    "plate": _number(numbers.plate),
    "vehicle": _number(numbers.vehicle),
}
KINDS = tuple(_MAKERS)
"""The kinds that can be replaced by a fiction; faces, codes, machine-readable zones and unread ink are filled only."""
