"""Machine-readable zones of made-up travel documents: TD1, TD2, TD3 and both visas (ICAO 9303, parts 4 to 7)."""

from __future__ import annotations

from learners.cards import STATES, check_digit, machine_name, machine_readable
from learners.draws import Draws
from learners.personas import Persona

FORMATS = ("TD1", "TD2", "TD3", "MRV-A", "MRV-B")
_LETTERS = "CFGHJKLMNPRTVWXYZ"


def zone(draws: Draws, who: Persona, form: str) -> tuple[str, ...]:
    """The lines of the zone: three of 30, two of 36 or two of 44 characters.

    Raises:
        ValueError: not one of `FORMATS`.
    """
    if form not in FORMATS:
        raise ValueError(f"Expected one of {', '.join(FORMATS)}, got {form!r}.")
    number = draws.string(_LETTERS, 1) + draws.string(_LETTERS + "0123456789", 8)
    expires = (draws.between(2027, 2036), draws.between(1, 12), draws.between(1, 28))
    sex = draws.pick("MF<")
    if form == "TD1":
        return machine_readable(who, number, expires, sex)
    width = 44 if form in ("TD3", "MRV-A") else 36
    state = STATES[who.locale].ljust(3, "<")
    code = {"TD2": "I<", "TD3": "P<"}.get(form, "V<")
    first = f"{code}{state}{machine_name(who, width - 5)}"
    born, until = _date(who.birth), _date(expires)
    body = f"{number}{check_digit(number)}{state}{born}{check_digit(born)}{sex}{until}{check_digit(until)}"
    if form.startswith("MRV"):
        return first, body.ljust(width, "<")
    optional = "<" * (width - len(body) - (2 if form == "TD3" else 1))
    if form == "TD3":
        optional = draws.digits(9).ljust(14, "<")
        body += optional + check_digit(optional)
        return first, body + check_digit(body[:10] + body[13:20] + body[21:43])
    body += optional
    return first, body + check_digit(body[:10] + body[13:20] + body[21:35])


def _date(date: tuple[int, int, int]) -> str:
    return f"{date[0] % 100:02}{date[1]:02}{date[2]:02}"
