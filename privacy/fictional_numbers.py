"""Numbers that look like those of people, cars and accounts, and are nobody's.

What has check digits fails them; a number drawn at random passes now and then, and is drawn again. Where a scheme
has none, a range is used that is never given out.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from importlib import import_module

Draw = random.Random
_UPPER = "ABCDEFGHJKLMNPRSTUVWXYZ"
_TRIES = 500
_ACCOUNTS = {
    "en": ("GB", "LLLLNNNNNNNNNNNNNN"), "us": ("IE", "LLLLNNNNNNNNNNNNNN"), "de": ("DE", "N" * 18),
    "fr": ("FR", "N" * 23), "es": ("ES", "N" * 20), "it": ("IT", "L" + "N" * 22), "nl": ("NL", "LLLLNNNNNNNNNN"),
    "pl": ("PL", "N" * 24),
}  # fmt: skip
"""Country, and the letters and digits after its check digits (ISO 13616)."""


def filled(draw: Draw, pattern: str) -> str:
    """`#` becomes a digit, `@` a capital letter, `%` a digit that is not 0."""
    signs = {"#": "0123456789", "@": _UPPER, "%": "123456789"}
    return "".join(draw.choice(signs[c]) if c in signs else c for c in pattern)


def failing(make: Callable[[], str], *checks: str) -> str:
    """The first draw that no check of python-stdnum accepts."""
    tests = [import_module(f"stdnum.{check}").is_valid for check in checks]
    for _ in range(_TRIES):
        number = make()
        if not any(test(number.replace(" ", "")) for test in tests):
            return number
    raise ValueError(f"Expected a number that fails {', '.join(checks)} within {_TRIES} draws, found none.")


def card(draw: Draw, language: str) -> str:
    """Sixteen digits in groups of four; fails Luhn's check."""
    return failing(lambda: filled(draw, f"{draw.choice(('4###', '51##', '52##', '54##'))} #### #### ####"), "luhn")


def iban(draw: Draw, language: str) -> str:
    """Of the page's country; fails ISO 7064 MOD 97-10."""
    country, pattern = _ACCOUNTS.get(language, _ACCOUNTS["en"])

    def make() -> str:
        number = country + filled(draw, f"##{pattern.replace('L', '@').replace('N', '#')}")
        return " ".join(number[i : i + 4] for i in range(0, len(number), 4))

    return failing(make, "iban")


def account(draw: Draw, language: str) -> str:
    if language == "zh":
        return failing(lambda: filled(draw, "62" + "#" * 17), "luhn")
    return filled(draw, "%" + "#" * draw.randint(7, 9))


def record(draw: Draw, language: str) -> str:
    """Of a patient, a case, a customer."""
    year = draw.randint(2018, 2026)
    patterns = ("@#######", "########", "######-##", "@@-####", f"{year}/#####", f"@@-{year}-#####", "#######")
    return filled(draw, draw.choice(patterns))


def vehicle(draw: Draw, language: str) -> str:
    """Seventeen signs of ISO 3779; the check digit of FMVSS 565 fails."""
    values = dict(
        zip(
            "ABCDEFGHJKLMNPRSTUVWXYZ",
            (1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 7, 9, 2, 3, 4, 5, 6, 7, 8, 9),
            strict=True,
        )
    )
    weights = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
    while True:
        number = (
            draw.choice("WVSZJ")
            + "".join(draw.choice(_UPPER + "0123456789") for _ in range(10))
            + filled(draw, "######")
        )
        digits = (values.get(c, int(c) if c.isdigit() else 0) for c in number)
        rest = sum(w * d for w, d in zip(weights, digits, strict=True)) % 11
        if number[8] != ("X" if rest == 10 else str(rest)):
            return number


_PLATES = {
    "en": ("@@## @@@",), "us": ("%@@@###", "@@@-####"), "de": ("B-@@ %###", "M-@@ %##", "HH-@ %###", "K-@@ %###"),
    "fr": ("@@-###-@@",), "es": ("#### @@@",), "it": ("@@ ### @@",), "nl": ("@@-###-@", "##-@@@-#"),
    "pl": ("WA #####", "KR ####@", "PO #####"), "zh": ("京A·@####", "沪B·#####", "粤C·@####"), "zh-hant": ("@@@-####",),
}  # fmt: skip


def plate(draw: Draw, language: str) -> str:
    return filled(draw, draw.choice(_PLATES[language]))


_TAX = {
    "en": (("##########",), ("gb.utr",)), "us": (("00-#######", "07-#######", "49-#######"), ()),
    "de": (("##/###/#####",), ()), "fr": (("## ## ### ### ###",), ("fr.nif",)),
    "es": (("B-########",), ("es.cif",)), "it": (("IT###########",), ("it.iva",)),
    "nl": (("NL#########B##",), ("nl.btw",)), "pl": (("###-###-##-##",), ("pl.nip",)),
    "zh": (("91######MA########",), ("cn.uscc",)), "zh-hant": (("########",), ("tw.ubn",)),
}  # fmt: skip


def tax(draw: Draw, language: str) -> str:
    patterns, checks = _TAX[language]
    return failing(lambda: filled(draw, draw.choice(patterns)), *checks)


def national(draw: Draw, language: str) -> str:
    """What the page's country numbers its people by, in a form that its office never gave to anybody."""
    year, month, day = draw.randint(1938, 2007), draw.randint(1, 12), draw.randint(1, 28)
    short = f"{year % 100:02}{month:02}{day:02}"
    if language == "en":
        return filled(draw, "QQ ## ## ## ") + draw.choice("ABCD")  # a prefix that is never allocated
    if language == "us":
        return failing(lambda: filled(draw, f"9##-{draw.randint(1, 49):02}-####"), "us.ssn", "us.itin")
    pattern, check = {
        "de": ("%# ### ### ###", "de.idnr"),
        "fr": (f"{draw.randint(1, 2)} {year % 100:02} {month:02} ## ### ### ##", "fr.nir"),
        "es": (f"########{draw.choice('ABCDEFGHJKLMNPQRSTVWXYZ')}", "es.dni"),
        "it": (
            f"@@@@@@{year % 100:02}{'ABCDEHLMPRST'[month - 1]}{day:02}{draw.choice('ABCDEFGHIL')}###@",
            "it.codicefiscale",
        ),
        "nl": ("%########", "nl.bsn"),
        "pl": (f"{year % 100:02}{month + (20 if year >= 2000 else 0):02}{day:02}#####", "pl.pesel"),
        "zh": (f"{draw.choice(('110101', '310104', '120101', '440103'))}{year}{short[2:]}####", "cn.ric"),
        "zh-hant": (f"@{draw.randint(1, 2)}########", ""),
    }[language]
    if not check:
        return _taiwan(draw)
    return failing(lambda: filled(draw, pattern), check)


def _taiwan(draw: Draw) -> str:
    """A letter, a sex, eight digits, whose weighted sum is no multiple of 10."""
    while True:
        letter, body = draw.choice("ABCDEFGHJKLMNPQRSTUVXY"), filled(draw, f"{draw.randint(1, 2)}########")
        value = 10 + "ABCDEFGHJKLMNPQRSTUVXYWZIO".index(letter)
        total = value // 10 + 9 * (value % 10) + int(body[-1])
        total += sum(weight * int(digit) for weight, digit in zip(range(8, 0, -1), body[:-1], strict=True))
        if total % 10:
            return letter + body


_PHONES = {
    # Ranges that regulators keep for fiction: Ofcom, NANPA's 555-01XX, Bundesnetzagentur, ARCEP.
    "en": ("GB", ("020 7946 0###", "01632 960###", "07700 900###", "+44 20 7946 0###", "0161 496 0###"), True),
    "us": ("US", ("(%##) 555-01##", "%##-555-01##"), True),
    "de": ("DE", ("030 23125###", "0221 4710###", "089 99998###", "+49 30 23125###", "0171 39200##"), True),
    "fr": ("FR", ("01 99 00 ## ##", "03 53 01 ## ##", "05 36 49 ## ##", "06 39 98 ## ##"), True),
    # Elsewhere: numbers outside the plan.
    "es": ("ES", ("929 ## ## ##", "969 09 ## ##", "829 ## ## ##", "+34 929 ### ###"), False),
    "it": ("IT", ("3## #######", "+39 3## #######"), False),
    "nl": ("NL", ("02%-#######", "03%-#######", "+31 2% ### ####"), False),
    "pl": ("PL", ("+48 %## ### ###", "%## ### ###"), False),
    "zh": ("CN", ("1## #### ####", "1##########"), False),
    "zh-hant": ("TW", ("099#-###-###", "(0%)2###-####"), False),
}


def phone(draw: Draw, language: str) -> str:
    import phonenumbers

    country, patterns, reserved = _PHONES[language]
    for _ in range(_TRIES):
        number = filled(draw, draw.choice(patterns))
        try:
            if reserved or not phonenumbers.is_valid_number(phonenumbers.parse(number, country)):
                return number
        except phonenumbers.NumberParseException:
            continue
    raise ValueError(f"Expected a number outside the plan of {country} within {_TRIES} draws, found none.")
