"""A persona and what papers know about it besides: plates, tax numbers, case files, sites, signatures."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from PIL import Image as Pictures
from PIL import ImageDraw

from learners.draws import Draws
from learners.personas import CHINESE, Persona, persona, written_date
from learners.typesetting import Ink
from privacy.detectors.gazetteer import drawn, plain

_UPPER = "ABCDEFGHJKLMNPRSTUVWXYZ"
_TRIES = 200


@dataclass(frozen=True)
class Subject:
    """Somebody who doesn't exist, with everything that a page of the yardstick may plant."""

    who: Persona
    plate: str = field(repr=False)
    vin: str = field(repr=False)
    tax: str = field(repr=False)
    record: str = field(repr=False)
    case: str = field(repr=False)
    account: str = field(repr=False)
    url: str = field(repr=False)
    admitted: str = field(repr=False)


def subject(draws: Draws, locale: str, held_out: bool, sentences: int = 0) -> Subject:
    """A subject of `locale`. Latin names of a held-out one are in no list that recall is measured with."""
    for _ in range(_TRIES):
        who = persona(draws, locale, sentences)
        words = [w for w in plain(f"{who.given} {who.surname}").replace("-", " ").split() if len(w) > 2]
        if locale in CHINESE or not held_out or all(drawn(word) for word in words):
            break
    else:
        raise ValueError(f"Expected a name of the held-out half among {_TRIES} of {locale}, found none.")
    day = (draws.between(2022, 2026), draws.between(1, 12), draws.between(1, 28))
    host = who.email.partition("@")[2]
    handle = plain(who.surname if locale not in CHINESE else who.email.partition("@")[0]).replace(" ", "-")
    return Subject(
        who=who,
        plate=_plate(draws, locale),
        vin=draws.string("WVSZJ", 1) + draws.string("ABCDEFGHJKLMNPRSTUVWXYZ0123456789", 10) + draws.digits(6),
        tax=_tax(draws, locale),
        record=draws.pick(
            (f"{draws.string('KMP', 1)}{draws.digits(7)}", draws.digits(8), f"{draws.digits(6)}-{draws.digits(2)}")
        ),
        case=draws.pick(
            (
                f"{draws.digits(2)} C {draws.digits(4)}/{day[0] % 100:02}",
                f"{day[0]}/{draws.digits(5)}",
                f"{draws.string(_UPPER, 2)}-{day[0]}-{draws.digits(5)}",
            )
        ),
        account=draws.digits(draws.between(8, 10)) if locale not in CHINESE else f"62{draws.digits(17)}",
        url=draws.pick(
            (
                f"https://www.{host}/~{handle}",
                f"www.{handle}-{draws.digits(2)}.{host.rpartition('.')[2]}",
                f"linkedin.com/in/{handle}{draws.digits(3)}",
            )
        ),
        admitted=written_date(day, locale, draws),
    )


def _plate(draws: Draws, locale: str) -> str:
    two, three = draws.string(_UPPER, 2), draws.string(_UPPER, 3)
    d = draws.digits
    return {
        "en_GB": f"{two}{d(2)} {three}",
        "en_US": f"{draws.between(1, 9)}{three}{d(3)}",
        "de_DE": f"{draws.pick(('B', 'M', 'HH', 'K', 'S'))}-{two} {draws.between(1, 9)}{d(3)}",
        "fr_FR": f"{two}-{d(3)}-{draws.string(_UPPER, 2)}",
        "es_ES": f"{d(4)} {draws.string('BCDFGHJKLMNPRST', 3)}",
        "it_IT": f"{two} {d(3)} {draws.string(_UPPER, 2)}",
        "nl_NL": f"{two}-{d(3)}-{draws.string(_UPPER, 1)}",
        "pl_PL": f"{draws.pick(('WA', 'KR', 'PO', 'GD'))} {d(5)}",
        "zh_CN": f"{draws.pick('京沪粤浙苏川')}{draws.string('ABCDEF', 1)}·"
        f"{draws.string('ABCDEFGH0123456789', 1)}{d(4)}",
        "zh_TW": f"{three}-{d(4)}",
    }[locale]


def _tax(draws: Draws, locale: str) -> str:
    d = draws.digits
    return {
        "en_GB": d(10),
        "en_US": f"{d(2)}-{d(7)}",
        "de_DE": f"{d(2)}/{d(3)}/{d(5)}",
        "fr_FR": f"{d(2)} {d(2)} {d(3)} {d(3)} {d(3)}",
        "es_ES": f"B-{d(8)}",
        "it_IT": f"IT{d(11)}",
        "nl_NL": f"NL{d(9)}B{d(2)}",
        "pl_PL": f"{d(3)}-{d(3)}-{d(2)}-{d(2)}",
        "zh_CN": f"91{d(6)}MA{draws.string('0123456789ABCDEFGH', 8)}",
        "zh_TW": d(8),
    }[locale]


def scribble(draws: Draws, height: int, width: int) -> Ink:
    """A signature that is nobody's: one pen stroke through points that wander to the right."""
    points = [(width * k // 14, draws.between(height // 10, height * 9 // 10)) for k in range(1, 14)]
    knots = [(x + draws.between(-width // 12, width // 12), y) for x, y in points]
    path = []
    for p0, p1, p2, p3 in zip(knots, knots[1:], knots[2:], knots[3:], strict=False):
        for step in range(12):  # Catmull-Rom, in 1728ths, on whole numbers
            a, b, c = step, step * step, step * step * step
            path.append(
                tuple(
                    (
                        3456 * v1
                        + 144 * a * (v2 - v0)
                        + 12 * b * (2 * v0 - 5 * v1 + 4 * v2 - v3)
                        + c * (3 * v1 - v0 - 3 * v2 + v3)
                    )
                    // 3456
                    for v0, v1, v2, v3 in zip(p0, p1, p2, p3, strict=True)
                )
            )
    canvas = Pictures.new("L", (width, height))
    ImageDraw.Draw(canvas).line(path, fill=255, width=max(2, height // 20))
    ink: Ink = np.asarray(canvas)
    return ink
