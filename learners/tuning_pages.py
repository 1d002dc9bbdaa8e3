"""Templates that rules may be tuned on, beside those of `learners.synthesis`: other layouts, other wordings."""

from __future__ import annotations

import zxingcpp

from learners.desk import Desk
from learners.draws import Draws
from learners.layout import barcode
from learners.papers import money, recent
from learners.personas import CHINESE, written_date
from learners.sheet import Planted, Sheet
from learners.vocabulary import choices, word


def invoice(draws: Draws, locale: str) -> Sheet:
    """An address block, a customer's number, goods, the seller's tax number and bank."""
    desk = Desk(draws, locale, False, 38)
    who, seller = desk.someone(), desk.someone()
    desk.line(seller.who.employer, bold=True, more=4)
    desk.skip(60)
    desk.line([Planted("name", who.who.name)])
    desk.line([Planted("address", who.who.street)])
    desk.line([Planted("address", who.who.town)])
    desk.skip(60)
    desk.line(f"{desk.caption('statement')} {draws.digits(5)}", bold=True, width=500, on=False)
    desk.line(written_date(recent(draws), locale, draws), at=620)
    for name in draws.sample(choices("items", locale), draws.between(3, 6)):
        desk.line(name, width=600, on=False)
        desk.line(money(draws, locale, draws.between(99, 9999)), at=700, align="right")
    desk.field("tax", "tax_id", who.tax)
    if who.who.iban:
        desk.line(["IBAN: ", Planted("iban", who.who.iban)])
    else:
        desk.field("account", "account", who.account)
    desk.line([Planted("url", who.url)])
    return desk.done()


def discharge(draws: Draws, locale: str) -> Sheet:
    """A clinic's letter: the patient in running text, a doctor below."""
    desk = Desk(draws, locale, False, 40)
    who, doctor = desk.someone(4), desk.someone()
    chinese = locale in CHINESE
    desk.line(desk.caption("clinic"), bold=True, more=4)
    desk.field("record", "record", who.record)
    desk.skip(40)
    comma = "，" if chinese else ", "
    desk.prose(
        [
            f"{desk.caption('mr')} " if not chinese else "",
            Planted("name", who.who.name),
            comma + desk.caption("born") + " ",
            Planted("birth_date", who.who.born),
            comma + desk.caption("resident") + " ",
            Planted("address", who.who.street + ("" if chinese else ", ") + who.who.town),
            comma + desk.caption("admitted") + " ",
            Planted("date", who.admitted),
            "。" if chinese else ".",
        ]
    )
    for sentence in who.who.sentences:
        desk.prose([sentence])
    desk.skip(40)
    desk.line(word("regards", locale))
    desk.sign()
    desk.line([Planted("name", doctor.who.name)])
    return desk.done()


def members(draws: Draws, locale: str) -> Sheet:
    """A table of people."""
    desk = Desk(draws, locale, False, 42)
    desk.line(desk.caption("members"), bold=True, more=4)
    desk.skip(40)
    for at, key in ((0, "name"), (380, "born"), (600, "email")):
        desk.line(desk.caption(key), bold=True, at=at, width=210, on=at == 600)
    for _ in range(draws.between(4, 7)):
        each = desk.someone()
        desk.line([Planted("name", each.who.name)], width=360, on=False)
        desk.line([Planted("birth_date", each.who.born)], at=380, width=200, on=False)
        desk.line([Planted("email", each.who.email)], at=600)
    return desk.done()


def vehicle(draws: Draws, locale: str) -> Sheet:
    """A vehicle's papers: labels at the left, values beside them."""
    desk = Desk(draws, locale, False, 38)
    who = desk.someone()
    desk.line(desk.caption("vehicle"), bold=True, more=4)
    desk.skip(40)
    rows = [
        ("plate", "plate", who.plate),
        ("vin", "vehicle", who.vin),
        ("name", "name", who.who.name),
        ("address", "address", who.who.street),
        ("", "address", who.who.town),
        ("id", "national_id", who.who.national_id),
        ("phone", "phone", who.who.phone),
        ("account", "account", who.account),
    ]
    for key, kind, text in rows:
        if key:
            desk.line(desk.caption(key), width=360, on=False)
        desk.line([Planted(kind, text)], at=400)
    ink = barcode(draws.digits(12), zxingcpp.BarcodeFormat.QRCode, draws.between(2, 4))
    desk.sheet.mark("code", desk.sheet.lay(ink, desk.margin, desk.y))
    desk.y += ink.shape[0] + desk.size
    desk.line(desk.caption("signature"), on=False)
    desk.sign(at=400)
    return desk.done()


def court(draws: Draws, locale: str) -> Sheet:
    """A court's file: a number, two parties, prose."""
    desk = Desk(draws, locale, False, 38)
    one, other = desk.someone(4), desk.someone()
    desk.field("case", "record", one.case)
    desk.skip(50)
    desk.line([Planted("name", one.who.name)], bold=True)
    desk.line(desk.caption("and"))
    desk.line([Planted("name", other.who.name)], bold=True)
    desk.skip(50)
    for sentence in one.who.sentences[:2]:
        desk.prose([sentence])
    desk.prose(
        [
            f"{desk.caption('between')} ",
            Planted("name", other.who.name),
            f" {desk.caption('phone')} ",
            Planted("phone", other.who.phone),
        ]
    )
    for sentence in one.who.sentences[2:]:
        desk.prose([sentence])
    desk.line([f"{desk.caption('dear')} ", Planted("name", one.who.surname)])
    desk.line([f"{desk.caption('card')} ", Planted("card", one.who.card)])
    return desk.done()


TEMPLATES = {"invoice": invoice, "discharge": discharge, "members": members, "vehicle": vehicle, "court": court}
