"""Made-up numbers of accounts, cards and people.

Their check digits hold, so that a rule that looks for them can be tested; if one belongs to somebody, that is
chance.
"""

from __future__ import annotations

from stdnum import luhn
from stdnum.cn import ric
from stdnum.es import dni
from stdnum.fr import nir
from stdnum.iso7064 import mod_11_10, mod_97_10
from stdnum.it import codicefiscale
from stdnum.pl import pesel

from learners.draws import Draws

_ACCOUNTS = {
    "en_GB": ("GB", "LLLLNNNNNNNNNNNNNN"),
    "en_US": ("IE", "LLLLNNNNNNNNNNNNNN"),
    "de_DE": ("DE", "NNNNNNNNNNNNNNNNNN"),
    "fr_FR": ("FR", "NNNNNNNNNNNNNNNNNNNNNNN"),
    "es_ES": ("ES", "NNNNNNNNNNNNNNNNNNNN"),
    "it_IT": ("IT", "LNNNNNNNNNNNNNNNNNNNNNN"),
    "nl_NL": ("NL", "LLLLNNNNNNNNNN"),
    "pl_PL": ("PL", "NNNNNNNNNNNNNNNNNNNNNNNN"),
}
"""Country and the letters and digits after its check digits (ISO 13616)."""


def iban(draws: Draws, locale: str) -> str | None:
    """In groups of four; None where there are no IBANs."""
    if locale not in _ACCOUNTS:
        return None
    country, pattern = _ACCOUNTS[locale]
    account = "".join(
        draws.string("ABCDEFGHIJKLMNOPQRSTUVWXYZ" if kind == "L" else "0123456789", 1) for kind in pattern
    )
    # ISO 13616: the check digits are ISO 7064 MOD 97-10 over account and country.
    number = country + mod_97_10.calc_check_digits(account + country) + account
    return " ".join(number[i : i + 4] for i in range(0, len(number), 4))


def card(draws: Draws) -> str:
    """A payment card of 16 digits in groups of four."""
    body = draws.pick(("4", "51", "52", "54", "55"))
    body += draws.digits(15 - len(body))
    number = body + luhn.calc_check_digit(body)
    return " ".join(number[i : i + 4] for i in range(0, 16, 4))


def national(draws: Draws, locale: str, birth: tuple[int, int, int]) -> str:
    """What the country's people are numbered by, with its check digits; formats as python-stdnum has them."""
    year, month, day = birth
    short = f"{year % 100:02}{month:02}{day:02}"
    if locale == "en_GB":
        return f"{draws.string('ABCEGHJKLMPRSTWXYZ', 1)}{draws.string('ABCEGHJKLMPRSTWXYZ', 1)} " + (
            f"{draws.digits(2)} {draws.digits(2)} {draws.digits(2)} {draws.string('ABCD', 1)}"
        )
    if locale == "en_US":
        return f"{draws.between(1, 665):03}-{draws.between(1, 99):02}-{draws.between(1, 9999):04}"
    if locale == "de_DE":
        return _tax_number(draws)
    if locale == "fr_FR":
        body = f"{draws.between(1, 2)}{year % 100:02}{month:02}{draws.between(1, 95):02}{draws.digits(6)}"
        return f"{body[0]} {body[1:3]} {body[3:5]} {body[5:7]} {body[7:10]} {body[10:]} {nir.calc_check_digits(body)}"
    if locale == "es_ES":
        body = draws.digits(8)
        return f"{body}{draws.pick(('', '-'))}{dni.calc_check_digit(body)}"
    if locale == "it_IT":
        body = (
            draws.string("BCDFGLMNPRSTV", 6)
            + f"{year % 100:02}{'ABCDEHLMPRST'[month - 1]}{day + draws.pick((0, 40)):02}"
            + f"{draws.string('ABCDEFGHIL', 1)}{draws.digits(3)}"
        )
        return f"{body}{codicefiscale.calc_check_digit(body)}"
    if locale == "nl_NL":
        return _citizen_number(draws)
    if locale == "pl_PL":
        body = f"{year % 100:02}{month + (20 if year >= 2000 else 0):02}{day:02}{draws.digits(4)}"
        return f"{body}{pesel.calc_check_digit(body)}"
    if locale == "zh_CN":
        region = draws.pick(("110101", "110108", "310104", "120101", "310101", "120103"))
        body = f"{region}{year}{short[2:]}{draws.digits(3)}"
        return f"{body}{ric.calc_check_digit(body + '0')}"
    return _taiwan_number(draws)


def _tax_number(draws: Draws) -> str:
    """A German one: ten digits, of which exactly one occurs twice, and a check digit."""
    digits = draws.sample("123456789", 9)
    digits.insert(draws.between(1, 9), draws.pick(digits))
    body = "".join(digits)
    number = body + mod_11_10.calc_check_digit(body)
    return f"{number[:2]} {number[2:5]} {number[5:8]} {number[8:]}"


def _citizen_number(draws: Draws) -> str:
    """A Dutch one: the sum of its digits weighted 9, 8, ... 2, -1 is a multiple of 11."""
    while True:
        body = f"{draws.between(1, 9)}{draws.digits(7)}"
        check = sum(weight * int(digit) for weight, digit in zip(range(9, 1, -1), body, strict=True)) % 11
        if check < 10:
            return f"{body}{check}"


def _taiwan_number(draws: Draws) -> str:
    """A letter, a sex and seven digits; letters count as two digits, weights 1, 9, 8, ... 1, a multiple of 10."""
    letter = draws.pick("ABCDEFGHJKLMNPQRSTUVXY")
    value = 10 + "ABCDEFGHJKLMNPQRSTUVXYWZIO".index(letter)
    body = f"{draws.between(1, 2)}{draws.digits(7)}"
    total = value // 10 + 9 * (value % 10)
    total += sum(weight * int(digit) for weight, digit in zip(range(8, 0, -1), body, strict=True))
    return f"{letter}{body}{-total % 10}"
