"""How many made-up names and addresses the rules find in ordinary phrases and on small pages: text alone, no reading.

    python bench/phrasings.py [--draws 20] [--withheld] [--seed 5] [--worst 12] [--data DIR] [--json FILE]

Faker draws people and addresses of eight Latin locales and both Chinese scripts; the phrases below say the things that
letters, forms, receipts and notes say. One is found when its letters are covered but for 5%. Rules were tuned on these
phrases and on draws of seeds 5 to 7: the figures tell what the rules do not know, not how good they are on pages of
others (`anonymise.py` does). `--withheld` takes the half of the lists that held-out pages are drawn from.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from faker import Faker

from privacy.detectors import registry
from privacy.detectors.interface import Detector, TextDetector, forget
from privacy.detectors.tables import TableDetector
from privacy.page import Char, Line

WIDE, HIGH, ROW = 11, 20, 30
"""Pixels of a character, of a line, and from one line to the next."""
LEFT = 0.05
PHRASES = {
    "en_US": (
        "Dear Mr. {surname},", "Present: {a}, {b} and {c}", "{a}'s account was closed.", "Hi {given},",
        "{a} called yesterday and asked for a refund.", "Please ask for {a} at the desk.",
        "I spoke to {a} about it.", "{a} (customer)", "Booking for {a}, 2 nights", "Invoice to {a}", "Guest: {a}",
        "cc {a}, {b}", "Mrs {surname} agreed.", "Passenger {a} seat 12A", "My name is {a}.", "Signed, {a}",
        "{a} & {b}", "Contact {a} for details", "{a}, aged 54, was admitted", "Parcel left with {a}",
        "To whom it may concern: {a} has worked for us", "Dr {surname} will see you",
    ),
    "de_DE": (
        "Sehr geehrter Herr {surname},", "Anwesend: {a}, {b} und {c}", "Hallo {given},",
        "{a} hat gestern angerufen.", "Ich habe mit {a} gesprochen.", "{a} (Kunde)", "Buchung für {a}, 2 Nächte",
        "Rechnung an {a}", "Gast: {a}", "Frau {surname} stimmte zu.", "Mein Name ist {a}.", "gez. {a}", "{a} & {b}",
        "Bitte wenden Sie sich an {a}", "{a}, 54 Jahre, wurde aufgenommen", "Paket abgegeben bei {a}",
        "Hiermit bestätigen wir, dass {a} bei uns beschäftigt ist", "Dr. {surname} empfängt Sie",
        "Ihre Ansprechpartnerin {a}",
    ),
    "fr_FR": (
        "Cher Monsieur {surname},", "Présents : {a}, {b} et {c}", "Bonjour {given},", "{a} a appelé hier.",
        "J'ai parlé avec {a} hier", "{a} (client)", "Réservation pour {a}, 2 nuits", "Facture à {a}",
        "Client : {a}", "Mme {surname} a accepté.", "Je m'appelle {a}.", "Signé {a}", "{a} et {b}", "Contactez {a}",
        "{a}, 54 ans, a été admis", "Colis remis à {a}", "Nous certifions que {a} travaille chez nous",
        "Dr {surname} vous recevra",
    ),
    "es_ES": (
        "Estimado Sr. {surname}:", "Asistentes: {a}, {b} y {c}", "Hola {given}:", "{a} llamó ayer.",
        "Hablé con {a} ayer", "{a} (cliente)", "Reserva para {a}, 2 noches", "Factura a {a}", "Cliente: {a}",
        "La Sra. {surname} aceptó.", "Me llamo {a}.", "Fdo. {a}", "{a} y {b}", "Contacte con {a}",
        "{a}, de 54 años, fue ingresado", "Paquete entregado a {a}", "Certificamos que {a} trabaja aquí",
        "El Dr. {surname} le atenderá",
    ),
    "it_IT": (
        "Gentile Sig. {surname},", "Presenti: {a}, {b} e {c}", "Ciao {given},", "{a} ha chiamato ieri.",
        "Ho parlato con {a} ieri", "{a} (cliente)", "Prenotazione per {a}, 2 notti", "Fattura a {a}",
        "Cliente: {a}", "La Sig.ra {surname} ha accettato.", "Mi chiamo {a}.", "Firmato {a}", "{a} e {b}",
        "Contattare {a}", "{a}, 54 anni, è stato ricoverato", "Pacco consegnato a {a}",
        "Si certifica che {a} lavora qui", "Il Dott. {surname} la riceverà",
    ),
    "nl_NL": (
        "Geachte heer {surname},", "Aanwezig: {a}, {b} en {c}", "Hallo {given},", "{a} belde gisteren.",
        "Ik sprak met {a} gisteren", "{a} (klant)", "Reservering voor {a}, 2 nachten", "Factuur aan {a}",
        "Gast: {a}", "Mevrouw {surname} stemde in.", "Mijn naam is {a}.", "Getekend, {a}", "{a} en {b}",
        "Neem contact op met {a}", "{a}, 54 jaar, werd opgenomen", "Pakket afgegeven bij {a}",
        "Dr. {surname} ontvangt u",
    ),
    "pl_PL": (
        "Szanowny Panie {surname},", "Obecni: {a}, {b} i {c}", "Cześć {given},", "{a} dzwonił wczoraj.",
        "Rozmawiałem z {a} wczoraj", "{a} (klient)", "Rezerwacja dla {a}, 2 noce", "Faktura dla {a}", "Gość: {a}",
        "Pani {surname} wyraziła zgodę.", "Nazywam się {a}.", "Podpisano, {a}", "{a} i {b}", "Kontakt: {a}",
        "{a}, lat 54, przyjęty", "Dr {surname} przyjmie Pana",
    ),
}  # fmt: skip
CHINESE = (
    "{a}联系电话", "{a} 电话", "联系人{a}电话", "今收到{a}交来人民币", "兹证明{a}系我单位员工",
    "委托{a}办理", "{a}先生您好", "尊敬的{a}女士", "{a}敬上", "收件人：{a}", "患者{a}于昨日入院",
    "由{a}签字确认", "{a}", "{a}、{b}", "{a}和{b}共同承担", "与{a}签订本合同", "{a}医生", "主治医师{a}",
    "{a}收", "致{a}", "乙方{a}", "借款人{a}向银行", "{a}的身份证", "请{a}尽快联系", "{a}主任批准", "旅客{a}",
    "{a}/男", "{a}（男）", "报告人{a}审核人{b}", "我叫{a}，今年",
)  # fmt: skip
WORDS = {
    "en_US": (
        "Dear Sir or Madam,", "we have received your letter of last week and will reply soon.", "Kind regards",
        "Invoice 4471", "between", "lives at", "and", "Delivery address:",
    ),
    "en_GB": (
        "Dear Sir or Madam,", "we have received your letter of last week and will reply soon.", "Yours sincerely",
        "Invoice 4471", "between", "residing at", "and", "Delivery address:",
    ),
    "de_DE": (
        "Sehr geehrte Damen und Herren,", "wir haben Ihr Schreiben der letzten Woche erhalten.",
        "Mit freundlichen Grüßen", "Rechnung 4471", "zwischen", "wohnhaft in", "und", "Lieferanschrift:",
    ),
    "fr_FR": (
        "Madame, Monsieur,", "nous avons bien reçu votre lettre de la semaine dernière.", "Cordialement",
        "Facture 4471", "entre", "demeurant", "et", "Adresse de livraison :",
    ),
    "es_ES": (
        "Estimados señores:", "hemos recibido su carta de la semana pasada.", "Atentamente", "Factura 4471",
        "entre", "con domicilio en", "y", "Dirección de entrega:",
    ),
    "it_IT": (
        "Gentili signori,", "abbiamo ricevuto la vostra lettera della settimana scorsa.", "Cordiali saluti",
        "Fattura 4471", "tra", "residente in", "e", "Indirizzo di consegna:",
    ),
    "nl_NL": (
        "Geachte heer, mevrouw,", "wij hebben uw brief van vorige week ontvangen.", "Met vriendelijke groet",
        "Factuur 4471", "tussen", "wonende te", "en", "Afleveradres:",
    ),
    "pl_PL": (
        "Szanowni Państwo,", "otrzymaliśmy Państwa list z zeszłego tygodnia.", "Z poważaniem", "Faktura 4471",
        "między", "zamieszkały w", "a", "Adres dostawy:",
    ),
}  # fmt: skip
"""Greeting, sentence, closing, heading; then the words around people and where they live."""


class Case(NamedTuple):
    """Lines of a page, and the strings on them that are somebody's: the number of the line, and what it holds."""

    title: str
    rows: Sequence[str]
    planted: Sequence[tuple[int, str]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=20, help="of each phrase")
    parser.add_argument("--withheld", action="store_true")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--worst", type=int, default=12, help="phrases to show")
    parser.add_argument("--data", help="not used: everything is drawn")
    parser.add_argument("--quick", action="store_true", help="3 draws")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    detectors = [*(TextDetector(rule) for rule in registry.rules(given.withheld)), TableDetector()]
    seen, missed = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for locale in (*WORDS, "zh_CN", "zh_TW"):
        fake = Faker(locale)
        fake.seed_instance(given.seed)
        for _ in range(3 if given.quick else given.draws):
            for case in cases(fake, locale):
                found = missing(case, detectors)
                seen[locale, case.title] += len(found)
                missed[locale, case.title] += sum(found)
    totals = {}
    for sort in ("Latin", "Chinese"):
        kept = [key for key in seen if key[0].startswith("zh") == (sort == "Chinese")]
        totals[sort] = 1 - sum(missed[key] for key in kept) / sum(seen[key] for key in kept)
        print(f"{sort}: {totals[sort]:.4f} of {sum(seen[key] for key in kept)} found")
    for key in sorted(seen, key=lambda key: -missed[key] / seen[key])[: given.worst]:
        if missed[key]:
            print(f"  {key[0]}  {missed[key]:3} of {seen[key]:3} missed  {key[1]}")
    if given.json:
        given.json.write_text(json.dumps(totals, indent=1))
    return 0


def cases(fake: Faker, locale: str) -> Iterator[Case]:
    people = [(fake.first_name(), fake.last_name()) for _ in range(3)]
    chinese = locale.startswith("zh")
    a, b, c = (last + first if chinese else f"{first} {last}" for first, last in people)
    told = {"a": a, "b": b, "c": c, "given": people[0][0], "surname": people[0][1]}
    for phrase in CHINESE if chinese else PHRASES[locale if locale != "en_GB" else "en_US"]:
        there = [(0, value) for key, value in told.items() if f"{{{key}}}" in phrase]
        yield Case(phrase, [phrase.format(**told)], there)
    if not chinese:
        yield from _pages(a, b, fake.address(), WORDS[locale])


def _pages(a: str, b: str, address: str, words: Sequence[str]) -> Iterator[Case]:
    lines, flat = address.split("\n"), address.replace("\n", ", ")
    dear, body, closing, heading, between, living, together, delivery = words
    placed = [*enumerate([a, *lines])]
    letter = [a, *lines, "", heading, "", dear, body, "", closing, b]
    yield Case("a letter", letter, [*placed, (len(letter) - 1, b)])
    parties = [f"{between} {a}, {living} {flat},", f"{together} {b}, {living} {flat}"]
    yield Case("parties", parties, [(0, a), (0, flat), (1, b), (1, flat)])
    yield Case("a delivery", [heading, delivery, a, *lines], [(row + 2, text) for row, text in placed])
    yield Case("an address in a line", [heading, flat], [(1, flat)])
    shouted = [line.upper() for line in (a, *lines)]
    yield Case("capitals", [*shouted, "", heading], [*enumerate(shouted)])


def missing(case: Case, detectors: Sequence[Detector]) -> list[bool]:
    """Of each planted string, whether more than `LEFT` of its letters stay."""
    lines = [_line(text, row) for row, text in enumerate(case.rows) if text]
    shape = (ROW * (len(case.rows) + 1), WIDE * (max(map(len, case.rows)) + 2))
    mask = np.zeros(shape, dtype=bool)
    for detector in detectors:
        for region in detector.find(np.full((*shape, 3), 255, np.uint8), lines):
            mask[max(region.box.y0, 0) : region.box.y1, max(region.box.x0, 0) : region.box.x1] = True
    forget()
    found = []
    for row, text in case.planted:
        start = case.rows[row].index(text)
        stays = [not mask[ROW * row + HIGH // 2, WIDE * (start + i) + WIDE // 2] for i in range(len(text))]
        letters = [stay for stay, sign in zip(stays, text, strict=True) if sign.isalnum()]
        found.append(sum(letters) > LEFT * len(letters))
    return found


def _line(text: str, row: int) -> Line:
    top, bottom = ROW * row, ROW * row + HIGH
    chars = [
        Char(sign, ((WIDE * i, top), (WIDE * (i + 1), top), (WIDE * (i + 1), bottom), (WIDE * i, bottom)), 1.0)
        for i, sign in enumerate(text)
        if not sign.isspace()
    ]
    right = WIDE * len(text)
    return Line(text, ((0, top), (right, top), (right, bottom), (0, bottom)), 1.0, 1.0, tuple(chars))


if __name__ == "__main__":
    raise SystemExit(main())
