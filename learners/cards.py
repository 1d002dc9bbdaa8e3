"""Identity cards, address and sample labels, and screenshots, set with planted personal data."""

from __future__ import annotations

import unicodedata
from itertools import cycle

import zxingcpp

from learners.draws import Draws
from learners.layout import barcode, faces, put, silhouette, wrapped
from learners.papers import details
from learners.personas import CHINESE, Persona, persona, written_date
from learners.sheet import Part, Planted, Sheet
from learners.typesetting import Style
from learners.vocabulary import choices, word
from privacy.page import Box

STATES = {
    "en_GB": "GBR", "en_US": "USA", "de_DE": "D", "fr_FR": "FRA", "es_ES": "ESP", "it_IT": "ITA", "nl_NL": "NLD",
    "pl_PL": "POL",
}  # fmt: skip
_PLAIN = str.maketrans({"ß": "SS", "Ł": "L", "Ø": "OE", "Æ": "AE", "Ä": "AE", "Ö": "OE", "Ü": "UE", "Ñ": "N"})


def check_digit(text: str) -> str:
    """ICAO 9303-3, section 4.9: values weighted 7, 3, 1, modulo 10; `<` counts 0 and A to Z count 10 to 35."""
    values = (0 if c == "<" else int(c, 36) for c in text)
    return str(sum(weight * value for weight, value in zip(cycle((7, 3, 1)), values, strict=False)) % 10)


def machine_name(who: Persona, width: int) -> str:
    """Surname and given names as a machine-readable zone writes them."""

    def plain(text: str) -> str:
        upper = unicodedata.normalize("NFKD", text.upper().translate(_PLAIN))
        return "".join(c if c.isascii() and c.isalpha() else "<" for c in upper if not unicodedata.combining(c))

    return f"{plain(who.surname)}<<{plain(who.given)}"[:width].ljust(width, "<")


def machine_readable(who: Persona, number: str, expires: tuple[int, int, int], sex: str) -> tuple[str, str, str]:
    """The three lines of an identity card (ICAO 9303-5, TD1)."""
    state = STATES[who.locale].ljust(3, "<")
    born = f"{who.birth[0] % 100:02}{who.birth[1]:02}{who.birth[2]:02}"
    until = f"{expires[0] % 100:02}{expires[1]:02}{expires[2]:02}"
    first = f"ID{state}{number}{check_digit(number)}".ljust(30, "<")
    second = f"{born}{check_digit(born)}{sex}{until}{check_digit(until)}{state}".ljust(29, "<")
    whole = first[5:30] + second[0:7] + second[8:15] + second[18:29]
    return first, second + check_digit(whole), machine_name(who, 30)


def id_card(draws: Draws, locale: str) -> Sheet:
    """An identity card: a silhouette, fields with small labels and, where the state uses one, an MRZ."""
    who = persona(draws, locale)
    regular, bold = faces(locale, draws)
    size = draws.between(17, 20)
    expires = (draws.between(2027, 2036), draws.between(1, 12), draws.between(1, 28))
    number = draws.string("CFGHJKLMNPRTVWXYZ0123456789", 9)
    width, margin, pitch = 32 * size, draws.between(18, 30), size * 26 // 10
    sheet = Sheet(margin * 2 + pitch * 6 + size * (3 if locale in CHINESE else 9), width + 2 * margin)
    y = margin + size
    put(sheet, word("card_title", locale), Style(bold, size + 4), margin, y, width)
    photo = silhouette(8 * size, 6 * size)
    sheet.lay(photo, margin, y + size)
    x, right = margin + 7 * size, width - 7 * size
    rows = [
        ("document", Planted("national_id", number)),
        ("name", Planted("name", who.name)),
        ("born", Planted("birth_date", who.born)),
        ("id", Planted("national_id", who.national_id)),
        ("address", Planted("address", who.street + who.town)),
    ]  # fmt: skip
    if locale not in CHINESE:
        rows[1:2] = [("surname", Planted("name", who.surname)), ("given", Planted("name", who.given))]
        rows.pop()
    y += size
    for key, value in rows:
        put(sheet, word(key, locale), Style(regular, size * 6 // 10), x, y + size * 6 // 10, right)
        put(sheet, [value], Style(bold, size), x, y + size * 19 // 10, right)
        y += pitch
    y += size
    until = f"{word('expires', locale)} {written_date(expires, 'en_GB' if locale in CHINESE else locale, draws)}"
    put(sheet, until, Style(regular, size * 7 // 10), margin, y, width)
    if locale not in CHINESE:
        face = draws.pick(("inconsolata-bold", "source-code-bold", "plex-mono-medium"))
        for row in machine_readable(who, number, expires, draws.pick("MF<")):
            y += size * 2
            put(sheet, [Planted("mrz", row)], Style(face, size * 3 // 2), margin, y, width)
    return sheet


def label(draws: Draws, locale: str) -> Sheet:
    """An address label, or a patient's on a sample, with a code."""
    who, sender = persona(draws, locale), persona(draws, locale)
    regular, bold = faces(locale, draws)
    size, margin = draws.between(18, 24), draws.between(12, 28)
    style, strong, pitch = Style(regular, size), Style(bold, size), size * draws.between(138, 165) // 100
    if draws.chance(60):
        rows: list[tuple[list[Part], Style]] = [
            ([f"{word('sender', locale)}: {sender.employer}"], style),
            ([f"{word('ship_to', locale)}:"], style),
            ([Planted("name", who.name)], strong),
            ([Planted("address", who.street)], strong),
            ([Planted("address", who.town)], strong),
            ([Planted("phone", who.phone)], style),
            ([f"{word('weight', locale)}: {draws.between(0, 30)}.{draws.digits(2)} kg"], style),
        ]
    else:
        rows = [
            ([f"{word('patient', locale)}: ", Planted("name", who.name)], strong),
            ([f"{word('born', locale)}: ", Planted("birth_date", who.born)], style),
            ([f"{word('id', locale)}: ", Planted("national_id", who.national_id)], style),
            ([f"{word('department', locale)} {draws.digits(2)} / {word('batch', locale)} {draws.digits(6)}"], style),
        ]
    kind = draws.pick(
        (zxingcpp.BarcodeFormat.QRCode, zxingcpp.BarcodeFormat.Code128, zxingcpp.BarcodeFormat.DataMatrix)
    )
    linear = kind == zxingcpp.BarcodeFormat.Code128
    code = barcode(draws.digits(12), kind, draws.between(2, 3) if linear else draws.between(3, 5), 3 * size)
    width = max(26 * size, code.shape[1])
    below = code.shape[0] if linear or draws.chance(40) else 0
    beside = 0 if below else code.shape[1] + size
    height = max(pitch * len(rows), 0 if below else code.shape[0])
    sheet = Sheet(height + below + size + 2 * margin, width + beside + 2 * margin)
    y = margin + size
    for parts, each in rows:
        put(sheet, parts, each, margin, y, width)
        y += pitch
    corner = (margin, margin + height + size // 2) if below else (margin + width + size, margin)
    sheet.mark("code", sheet.lay(code, *corner))
    return sheet


def screenshot(draws: Draws, locale: str) -> Sheet:
    """A telephone's screen: an account's settings, or a conversation."""
    who = persona(draws, locale, sentences=4)
    regular, bold = faces(locale, draws)
    size = draws.between(17, 21)
    width, margin, pitch = 24 * size, size, size * 3
    sheet = Sheet(pitch * 11 + size, width + 2 * margin)
    clock = Style(bold, size * 7 // 10)
    put(sheet, f"{draws.below(24):02}:{draws.below(60):02}", clock, margin, size + 4, width)
    put(sheet, f"{draws.between(5, 100)}%", clock, margin, size + 4, width, "right")
    put(sheet, draws.pick(choices("settings", locale)), Style(bold, size + 6), margin, pitch, width)
    y = pitch + size
    if draws.chance(50):
        for key, value in details(who, draws):
            if key:
                put(sheet, word(key, locale), Style(regular, size * 7 // 10), margin, y + size * 8 // 10, width)
            put(sheet, [value], Style(regular, size), margin, y + size * 22 // 10, width)
            sheet.rule(Box(margin, y + size * 28 // 10, margin + width, y + size * 28 // 10 + 1), 50)
            y += pitch
        return sheet
    style = Style(regular, size)
    said: list[list[Part]] = [[wrapped(each, style, width * 3 // 4)[0]] for each in who.sentences]
    said.insert(1, [Planted("name", who.name), f" {word('phone', locale)} ", Planted("phone", who.phone)])
    said.insert(3, [Planted("email", who.email)])
    for number, parts in enumerate(said):
        left = margin if number % 2 else margin + width // 8
        sheet.rule(Box(left, y + 4, left + width * 7 // 8, y + pitch - 6), 24)
        put(sheet, parts, style, left + 10, y + size * 18 // 10, width * 7 // 8 - 20)
        y += pitch
    return sheet
