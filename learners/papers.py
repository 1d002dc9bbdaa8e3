"""Receipts, forms and letters, set with planted personal data."""

from __future__ import annotations

import zxingcpp

from learners.draws import Draws
from learners.layout import SMALLEST, barcode, faces, put, wrapped
from learners.personas import Persona, persona, written_date
from learners.sheet import Part, Planted, Sheet
from learners.typesetting import Style
from learners.vocabulary import choices, word
from privacy.page import Box


def recent(draws: Draws) -> tuple[int, int, int]:
    return draws.between(2021, 2026), draws.between(1, 12), draws.between(1, 28)


def money(draws: Draws, locale: str, cents: int) -> str:
    """An amount; without the euro sign, which PP-OCRv4's dictionary lacks."""
    if locale == "zh_CN":
        return f"¥{cents // 100}.{cents % 100:02}"
    if locale == "zh_TW":
        return f"NT$ {cents // 100}"
    mark = "." if locale.startswith("en") else ","
    return f"{cents // 100}{mark}{cents % 100:02}"


class _Roll:
    """A receipt as it comes out of the printer: the next line goes below the last."""

    def __init__(self, draws: Draws, locale: str) -> None:
        self.size = draws.between(18, 24)
        self.regular, self.bold = faces(locale, draws, monospaced=draws.chance(70))
        self.margin = draws.between(14, 30)
        self.width = draws.between(17, 22) * self.size
        self.pitch = self.size * draws.between(138, 170) // 100
        self.sheet = Sheet(34 * self.pitch, self.width + 2 * self.margin)
        self.y = self.margin + self.size

    def line(self, parts: str | list[Part], align: str = "left", bold: bool = False, wide: int = 0) -> None:
        style = Style(self.bold if bold else self.regular, self.size + wide)
        put(self.sheet, parts, style, self.margin, self.y, self.width, align)
        self.y += self.pitch + wide

    def pair(self, left: str, right: str, bold: bool = False) -> None:
        """A word at the left and an amount at the right: two lines, for no reader takes them for one."""
        style = Style(self.bold if bold else self.regular, self.size)
        put(self.sheet, left, style, self.margin, self.y, self.width * 62 // 100)
        put(self.sheet, right, style, self.margin, self.y, self.width, "right")
        self.y += self.pitch

    def rule(self) -> None:
        y = self.y - self.pitch // 2
        self.sheet.rule(Box(self.margin, y, self.margin + self.width, y + 2))
        self.y += self.pitch // 3

    def torn(self) -> Sheet:
        self.sheet.ink = self.sheet.ink[: min(self.y + self.margin, self.sheet.ink.shape[0])]
        return self.sheet


def receipt(draws: Draws, locale: str) -> Sheet:
    """A shop's receipt; at times with the customer's name, card or e-mail, or a code."""
    who = persona(draws, locale)
    roll = _Roll(draws, locale)
    roll.line(who.employer, "centre", bold=True, wide=6)
    roll.line(word("receipt", locale), "centre")
    day = written_date(recent(draws), locale, draws)
    roll.line(f"{word('date', locale)}: {day} {draws.below(24):02}:{draws.below(60):02}")
    roll.pair(f"{word('number', locale)} {draws.digits(6)}", f"{word('cashier', locale)} {draws.digits(2)}")
    roll.rule()
    total = _goods(roll, draws, locale)
    roll.rule()
    _customer(roll, draws, locale, who, total)
    roll.line(word("thanks", locale), "centre")
    if draws.chance(35):
        kind = draws.pick((zxingcpp.BarcodeFormat.QRCode, zxingcpp.BarcodeFormat.Code128))
        ink = barcode(draws.digits(10), kind, 2 if kind == zxingcpp.BarcodeFormat.Code128 else 3)
        roll.sheet.mark("code", roll.sheet.lay(ink, (roll.sheet.ink.shape[1] - ink.shape[1]) // 2, roll.y))
        roll.y += ink.shape[0]
    return roll.torn()


def _goods(roll: _Roll, draws: Draws, locale: str) -> int:
    """The goods, their tax and their total, which is returned in cents."""
    total = 0
    for name in draws.sample(choices("items", locale), draws.between(3, 8)):
        cents = draws.between(49, 4999)
        total += cents
        count = draws.between(1, 4)
        roll.pair(name if draws.chance(60) else f"{count} x {name}", money(draws, locale, cents))
    roll.rule()
    tax = total * draws.pick((7, 10, 19, 20, 21)) // 100
    roll.pair(word("subtotal", locale), money(draws, locale, total - tax))
    roll.pair(word("tax", locale), money(draws, locale, tax))
    roll.pair(word("total", locale), money(draws, locale, total), bold=True)
    return total


def _customer(roll: _Roll, draws: Draws, locale: str, who: Persona, total: int) -> None:
    """How it was paid, and sometimes by whom."""
    if draws.chance(50):
        given = -(-total // 1000) * 1000
        roll.pair(word("cash", locale), money(draws, locale, given))
        roll.pair(word("change", locale), money(draws, locale, given - total))
    else:
        roll.line([f"{word('card', locale)} ", Planted("card", who.card)])
    if draws.chance(40):
        roll.line([f"{word('name', locale)}: ", Planted("name", who.name)])
    if draws.chance(25):
        roll.line([Planted("email", who.email)])


def details(who: Persona, draws: Draws) -> list[tuple[str, Planted]]:
    """What forms ask for: the key of the field's label, and what was filled in."""
    fields = [
        ("name", Planted("name", who.name)),
        ("born", Planted("birth_date", who.born)),
        ("address", Planted("address", who.street)),
        ("", Planted("address", who.town)),
        ("phone", Planted("phone", who.phone)),
        ("email", Planted("email", who.email)),
        ("id", Planted("national_id", who.national_id)),
    ]
    if who.iban is not None:
        fields.append(("iban", Planted("iban", who.iban)))
    else:
        fields.append(("iban", Planted("card", who.card)))
    return [field for field in fields if field[0] in ("name", "address", "") or draws.chance(75)]


def form(draws: Draws, locale: str) -> Sheet:
    """A filled-in form: labels before the values, or small above boxes around them."""
    who = persona(draws, locale, sentences=1)
    regular, bold = faces(locale, draws)
    filled = faces(locale, draws, monospaced=draws.chance(50))[0]
    fields = details(who, draws)
    size, boxed = draws.between(18, 23), draws.chance(50)
    pitch = size * (draws.between(270, 320) if boxed else draws.between(170, 220)) // 100
    margin = draws.between(26, 50)
    width = draws.between(29, 34) * size
    sheet = Sheet(size * 6 + pitch * (len(fields) + 2) + 2 * margin, width + 2 * margin)
    y = margin + size + 8
    put(sheet, draws.pick(choices("form", locale)), Style(bold, size + 8), margin, y, width)
    y += size * 2
    department = f"{word('department', locale)} {draws.string('ABCDEFGH', 1)}{draws.digits(2)}"
    put(sheet, f"{department} / {word('number', locale)} {draws.digits(5)}", Style(regular, size - 3), margin, y, width)
    y += pitch
    for key, value in fields:
        label = word(key, locale) if key else ""
        if boxed:
            _boxed(
                sheet,
                label,
                value,
                Style(regular, size * 6 // 10),
                Style(filled, size),
                Box(margin, y, margin + width, y + pitch * 9 // 10),
            )
        else:
            if label:
                put(sheet, f"{label}:", Style(regular, size), margin, y, width * 2 // 5 - 10)
            put(sheet, [value], Style(filled, size), margin + width * 2 // 5, y, width * 3 // 5)
        y += pitch
    y += size // 2
    reason = wrapped(f"{word('reason', locale)}: {who.sentences[0]}", Style(regular, SMALLEST), width)[0]
    put(sheet, reason, Style(regular, size - 2), margin, y + size, width)
    return sheet


def _boxed(sheet: Sheet, label: str, value: Planted, small: Style, style: Style, box: Box) -> None:
    for edge in (
        Box(box.x0, box.y0, box.x1, box.y0 + 1), Box(box.x0, box.y1 - 1, box.x1, box.y1),
        Box(box.x0, box.y0, box.x0 + 1, box.y1), Box(box.x1 - 1, box.y0, box.x1, box.y1),
    ):  # fmt: skip
        sheet.rule(edge, 160)
    width = box.x1 - box.x0 - 16
    if label:
        put(sheet, label, small, box.x0 + 8, box.y0 + small.size + 3, width)
    put(sheet, [value], style, box.x0 + 8, box.y1 - style.size // 3 - 3, width)


def letter(draws: Draws, locale: str) -> Sheet:
    """A short letter: its writer's address, a reference, a salutation by name, paragraphs, a signature."""
    writer, reader = persona(draws, locale, sentences=draws.between(4, 8)), persona(draws, locale)
    regular, bold = faces(locale, draws)
    size = draws.between(17, 21)
    style, pitch, margin = Style(regular, size), size * draws.between(135, 160) // 100, draws.between(40, 64)
    width = draws.between(30, 36) * size
    body = [row for sentence in writer.sentences for row in wrapped(sentence, style, width)]
    paragraphs: list[tuple[list[Part], Style, int]] = [([row], style, 1) for row in body[:-1]]
    rows: list[tuple[list[Part], Style, int]] = [
        ([Planted("name", writer.name)], style, 1),
        ([Planted("address", writer.street)], style, 1),
        ([Planted("address", writer.town)], style, 1),
        ([f"{word('phone', locale)} ", Planted("phone", writer.phone)], style, 2),
        ([written_date(recent(draws), locale, draws)], style, 2),
        ([f"{word('subject', locale)}: {draws.string('ABCDEFGHKLM', 2)}-{draws.digits(5)}"], Style(bold, size), 2),
        ([f"{word('dear', locale)} ", Planted("name", reader.surname)], style, 2),
        *paragraphs,
        ([body[-1]], style, 2),
        ([word("regards", locale)], style, 2),
        ([Planted("name", writer.name)], style, 1),
        ([Planted("email", writer.email)], style, 1),
    ]
    sheet = Sheet(pitch * sum(step for _, _, step in rows) + 2 * margin, width + 2 * margin)
    y = margin + size
    for parts, each, step in rows:
        put(sheet, parts, each, margin, y, width)
        y += pitch * step
    return sheet
