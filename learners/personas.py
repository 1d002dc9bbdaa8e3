"""Fake people: everything a page may give away about somebody who doesn't exist.

Names, addresses, telephone numbers and sentences are Faker's, seeded for each document; numbers with
check digits are `learners.identifiers`, because Faker's depend on today's date for some countries.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import cache

from faker import Faker

from learners import identifiers
from learners.draws import Draws

LATIN = ("en_GB", "en_US", "de_DE", "fr_FR", "es_ES", "it_IT", "nl_NL", "pl_PL")
CHINESE = ("zh_CN", "zh_TW")
LOCALES = LATIN + CHINESE

_FAKER = threading.Lock()
"""Faker's instances are kept, since one takes 50 ms to make, and are seeded and used under this lock."""


@dataclass(frozen=True)
class Persona:
    """Somebody who doesn't exist, written as the locale writes such things."""

    locale: str
    name: str = field(repr=False)
    given: str = field(repr=False)
    surname: str = field(repr=False)
    street: str = field(repr=False)
    town: str = field(repr=False)
    email: str = field(repr=False)
    phone: str = field(repr=False)
    birth: tuple[int, int, int] = field(repr=False)
    """Year, month, day."""
    born: str = field(repr=False)
    national_id: str = field(repr=False)
    iban: str | None = field(repr=False)
    """None where there are no IBANs."""
    card: str = field(repr=False)
    employer: str = field(repr=False)
    trade: str = field(repr=False)
    sentences: tuple[str, ...] = field(repr=False)
    """About nobody."""


@cache
def _faker(locale: str) -> Faker:
    return Faker(locale)


def persona(draws: Draws, locale: str, sentences: int = 0) -> Persona:
    """A person of `locale`, one of `LOCALES`, and so many sentences of filler."""
    if locale not in LOCALES:
        raise ValueError(f"Expected one of {', '.join(LOCALES)}, got {locale!r}.")
    seed = draws.below(1 << 32)
    with _FAKER:
        faker = _faker(locale)
        faker.seed_instance(seed)
        given, surname = faker.first_name(), faker.last_name()
        address = _address(faker.address(), locale)
        phone, email = faker.phone_number(), faker.email()
        employer, trade = faker.company(), faker.job()
        filler = tuple(faker.sentence(nb_words=9) for _ in range(sentences))
    if locale in CHINESE:
        filler = tuple(f"{sentence.rstrip('.')}。" for sentence in filler)
    birth = (draws.between(1938, 2007), draws.between(1, 12), draws.between(1, 28))
    return Persona(
        locale=locale,
        name=f"{surname}{given}" if locale in CHINESE else f"{given} {surname}",
        given=given,
        surname=surname,
        street=address[0],
        town=address[1],
        email=email,
        phone=phone,
        birth=birth,
        born=written_date(birth, locale, draws),
        national_id=identifiers.national(draws, locale, birth),
        iban=identifiers.iban(draws, locale),
        card=identifiers.card(draws),
        employer=employer,
        trade=trade,
        sentences=filler,
    )


def _address(text: str, locale: str) -> tuple[str, str]:
    """Street and town: Faker's lines, or a Chinese address in two parts without its post code."""
    lines = [line.strip(" ,") for line in text.split("\n")]
    if len(lines) > 1:
        return " ".join(lines[:-2] + lines[-2:-1]), lines[-1]
    whole = " ".join(word for word in lines[0].split() if not word.isdigit()) or lines[0]
    middle = len(whole) // 2
    return whole[:middle], whole[middle:]


def written_date(date: tuple[int, int, int], locale: str, draws: Draws) -> str:
    year, month, day = date
    if locale == "zh_CN":
        return draws.pick((f"{year}年{month}月{day}日", f"{year}-{month:02}-{day:02}"))
    if locale == "zh_TW":
        return draws.pick((f"民國{year - 1911}年{month}月{day}日", f"{year}/{month:02}/{day:02}"))
    if locale == "en_US":
        return f"{month:02}/{day:02}/{year}"
    if locale in ("de_DE", "pl_PL"):
        return f"{day:02}.{month:02}.{year}"
    if locale == "nl_NL":
        return f"{day:02}-{month:02}-{year}"
    return f"{day:02}/{month:02}/{year}"
