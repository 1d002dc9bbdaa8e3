"""Templates of the held-out part of the yardstick: written before any rule was tuned, never looked at since.

Whoever changes a rule looks at the pages of `learners.tuning_pages` and, of these, at totals by kind only.
"""

from __future__ import annotations

import zxingcpp

from learners.desk import Desk
from learners.draws import Draws
from learners.layout import barcode, put, silhouette
from learners.papers import money, recent
from learners.personas import CHINESE, written_date
from learners.sheet import Part, Planted, Sheet
from learners.travel import zone
from learners.typesetting import Style
from learners.vocabulary import choices, word


def delivery_note(draws: Draws, locale: str) -> Sheet:
    """Sender and recipient side by side, without labels; goods; a signature."""
    desk = Desk(draws, locale, True, 38)
    sender, to = desk.someone(), desk.someone()
    desk.line(sender.who.employer, bold=True, more=6)
    desk.line([Planted("url", sender.url)], on=False, width=550)
    desk.line([Planted("phone", sender.who.phone)], at=600)
    desk.skip(60)
    desk.line(f"{desk.caption('bill_to')}:", bold=True)
    desk.line([Planted("name", to.who.name)])
    desk.line([Planted("address", to.who.street)])
    desk.line([Planted("address", to.who.town)])
    desk.skip(50)
    for name in draws.sample(choices("items", locale), draws.between(3, 6)):
        desk.line(name, on=False, width=600)
        desk.line(money(draws, locale, draws.between(99, 9999)), at=700, align="right")
    desk.skip(80)
    desk.line(f"{desk.caption('signature')}:", on=False, width=300)
    desk.sign(at=330)
    return desk.done()


def contract(draws: Draws, locale: str) -> Sheet:
    """Two parties in running text, with where they live, were born and can be reached."""
    desk = Desk(draws, locale, True, 40)
    one, other = desk.someone(3), desk.someone()
    parts: list[Part] = [f"{desk.caption('between')} "]
    for each in (one, other):
        chinese = locale in CHINESE
        comma = "，" if chinese else ", "
        parts += [
            Planted("name", each.who.name),
            comma + desk.caption("born") + " ",
            Planted("birth_date", each.who.born),
            comma + desk.caption("resident") + " ",
            Planted("address", each.who.street + ("" if chinese else ", ") + each.who.town),
        ]
        if each is one:
            parts.append(f"{comma}{desk.caption('and')} ")
    parts.append("。" if locale in CHINESE else ".")
    desk.line(draws.pick(choices("form", locale)), bold=True, more=5)
    desk.skip(60)
    desk.prose(parts)
    desk.skip(50)
    for sentence in one.who.sentences:
        desk.prose([sentence])
    desk.field("case", "record", one.case)
    desk.skip(80)
    desk.line([Planted("name", one.who.name)], on=False, width=450)
    desk.line([Planted("name", other.who.name)], at=520)
    desk.sign(at=40)
    return desk.done()


def visitors(draws: Draws, locale: str) -> Sheet:
    """A table: who came, in which car, when."""
    desk = Desk(draws, locale, True, 40)
    desk.line(desk.caption("members"), bold=True, more=4)
    desk.line(written_date(recent(draws), locale, draws))
    desk.skip(30)
    for at, key in ((0, "name"), (400, "plate"), (640, "phone")):
        desk.line(desk.caption(key), bold=True, at=at, width=230, on=at == 640)
    for _ in range(draws.between(4, 7)):
        each = desk.someone()
        desk.line([Planted("name", each.who.name)], width=380, on=False)
        desk.line([Planted("plate", each.plate)], at=400, width=220, on=False)
        desk.line([Planted("phone", each.who.phone)], at=640)
    return desk.done()


def laboratory(draws: Draws, locale: str) -> Sheet:
    """A laboratory's report: who, in two columns; values; a code."""
    desk = Desk(draws, locale, True, 40)
    who, doctor = desk.someone(), desk.someone()
    desk.line(desk.caption("clinic"), bold=True, more=5)
    desk.skip(40)
    desk.field("name", "name", who.who.name, width=560, on=False)
    desk.field("born", "birth_date", who.who.born, at=590)
    desk.field("record", "record", who.record, width=560, on=False)
    desk.field("admitted", "date", who.admitted, at=590)
    desk.field("id", "national_id", who.who.national_id)
    desk.skip(60)
    desk.line(desk.caption("result"), bold=True, at=500)
    for test, unit in (("Hb", "g/dl"), ("Na", "mmol/l"), ("K", "mmol/l"), ("CRP", "mg/l"), ("TSH", "mU/l")):
        desk.line(test, width=300, on=False)
        desk.line(f"{draws.between(1, 150)}.{draws.digits(1)} {unit}", at=500)
    desk.skip(60)
    desk.line(
        [
            f"{desk.caption('mr')} Dr. " if locale not in CHINESE else "",
            Planted("name", doctor.who.name),
            "" if locale not in CHINESE else " 医生",
        ]
    )
    ink = barcode(draws.digits(14), zxingcpp.BarcodeFormat.Code128, 2, 3 * desk.size)
    desk.sheet.mark("code", desk.sheet.lay(ink, desk.margin, desk.y - desk.size))
    desk.skip(320)
    return desk.done()


def mail(draws: Draws, locale: str) -> Sheet:
    """A screenshot of an e-mail."""
    desk = Desk(draws, locale, True, 36)
    one, other = desk.someone(4), desk.someone()
    desk.line([Planted("name", one.who.name), " <", Planted("email", one.who.email), ">"], bold=True)
    desk.line(
        [
            f"{word('ship_to', locale) if locale in CHINESE else 'An' if locale == 'de_DE' else 'To'}: ",
            Planted("email", other.who.email),
        ]
    )
    desk.line(f"{written_date(recent(draws), locale, draws)} {draws.between(10, 23)}:{draws.digits(1)}5", more=-4)
    desk.skip(60)
    greeting = other.who.name if locale in CHINESE else other.who.given
    desk.line([f"{desk.caption('dear')} ", Planted("name", greeting), "，" if locale in CHINESE else ","])
    for sentence in one.who.sentences:
        desk.prose([sentence])
    desk.skip(40)
    desk.line(word("regards", locale))
    desk.line([Planted("name", one.who.name)])
    desk.line([Planted("phone", one.who.phone), " | ", Planted("url", one.url)])
    return desk.done()


def account(draws: Draws, locale: str) -> Sheet:
    """A bank's statement: its holder, the account, payments to and from people."""
    desk = Desk(draws, locale, True, 40)
    who = desk.someone()
    desk.line([Planted("name", who.who.name)])
    desk.line([Planted("address", who.who.street)])
    desk.line([Planted("address", who.who.town)])
    desk.skip(60)
    desk.line(desk.caption("statement"), bold=True, more=5)
    if who.who.iban:
        desk.line(["IBAN ", Planted("iban", who.who.iban)])
    desk.field("account", "account", who.account)
    desk.field("tax", "tax_id", who.tax)
    desk.skip(30)
    for _ in range(draws.between(3, 6)):
        other = desk.someone()
        desk.line(written_date(recent(draws), locale, draws), width=240, on=False)
        desk.line([Planted("name", other.who.name)], at=260, width=440, on=False)
        desk.line(money(draws, locale, draws.between(100, 200_000)), at=720, align="right")
    desk.line([f"{desk.caption('card')} ", Planted("card", who.who.card)])
    return desk.done()


def travel_document(draws: Draws, locale: str) -> Sheet:
    """A passport, a visa or a card of the size between; Chinese: a driver's licence."""
    desk = Desk(draws, locale, True, 40)
    who = desk.someone()
    desk.line(word("card_title", locale), bold=True, more=5)
    photo = silhouette(9 * desk.size, 7 * desk.size)
    desk.sheet.lay(photo, desk.margin, desk.y)
    rows = [
        ("surname", "name", who.who.surname),
        ("given", "name", who.who.given),
        ("born", "birth_date", who.who.born),
    ]
    if locale in CHINESE:
        rows = [
            ("name", "name", who.who.name),
            ("born", "birth_date", who.who.born),
            ("id", "national_id", who.who.national_id),
            ("address", "address", who.who.street + who.who.town),
        ]
    for key, kind, text in rows:
        desk.line(word(key, locale), at=210, more=-7)
        desk.line([Planted(kind, text)], at=210, bold=True)
        desk.skip(20)
    desk.y = max(desk.y, desk.margin + 11 * desk.size)
    if locale not in CHINESE:
        face = draws.pick(("roboto-mono", "source-code"))
        for row in zone(draws, who.who, draws.pick(("TD2", "TD3", "MRV-A", "MRV-B"))):
            put(desk.sheet, [Planted("mrz", row)], Style(face, desk.size * 13 // 10), desk.margin, desk.y, desk.width)
            desk.skip(130)
    return desk.done()


def accident(draws: Draws, locale: str) -> Sheet:
    """An insurer's form: drivers, vehicles, witnesses."""
    desk = Desk(draws, locale, True, 38)
    who, witness = desk.someone(2), desk.someone()
    desk.line(desk.caption("vehicle"), bold=True, more=5)
    desk.skip(40)
    for key, kind, text in (
        ("name", "name", who.who.name),
        ("address", "address", who.who.street + ("" if locale in CHINESE else ", ") + who.who.town),
        ("plate", "plate", who.plate),
        ("vin", "vehicle", who.vin),
        ("phone", "phone", who.who.phone),
        ("email", "email", who.who.email),
    ):
        desk.line(desk.caption(key), more=-5)
        desk.line([Planted(kind, text)])
        desk.skip(25)
    for sentence in who.who.sentences:
        desk.prose([sentence])
    desk.prose(
        [
            f"{desk.caption('mr')} ",
            Planted("name", witness.who.name),
            f" {desk.caption('phone')} ",
            Planted("phone", witness.who.phone),
        ]
    )
    desk.line(desk.caption("signature"), more=-5)
    desk.skip(60)
    desk.sign()
    return desk.done()


def business_card(draws: Draws, locale: str) -> Sheet:
    """A name, a trade, where to reach them; a matrix code."""
    desk = Desk(draws, locale, True, 30)
    who = desk.someone()
    desk.line([Planted("name", who.who.name)], bold=True, more=5)
    desk.line(who.who.trade, more=-3)
    desk.skip(60)
    desk.line([Planted("phone", who.who.phone)])
    desk.line([Planted("email", who.who.email)])
    desk.line([Planted("url", who.url)])
    desk.line([Planted("address", who.who.street)])
    desk.line([Planted("address", who.who.town)])
    ink = barcode(
        draws.digits(18),
        draws.pick((zxingcpp.BarcodeFormat.QRCode, zxingcpp.BarcodeFormat.DataMatrix)),
        draws.between(2, 4),
    )
    desk.sheet.mark("code", desk.sheet.lay(ink, desk.margin + desk.width - ink.shape[1], desk.margin + 2 * desk.size))
    return desk.done()


TEMPLATES = {
    "delivery note": delivery_note,
    "contract": contract,
    "visitors": visitors,
    "laboratory": laboratory,
    "mail": mail,
    "account": account,
    "travel document": travel_document,
    "accident": accident,
    "business card": business_card,
}
