"""Surrogates: fictions that are nobody's, drawn where values were filled and nowhere else, and what lines say then.

The mutants at the end each take away what the guarantee rests on, and see to it that these tests notice.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace

import numpy as np
import phonenumbers
import pytest
from stdnum import iban, luhn
from stdnum.cn import ric
from stdnum.de import idnr
from stdnum.es import dni
from stdnum.fr import nir
from stdnum.it import codicefiscale
from stdnum.nl import bsn
from stdnum.pl import pesel

from daemon.config import Anonymise
from daemon.reading import Reading
from daemon.substituting import Substituter, alike
from learners import lettering, retelling, sidecars
from learners.lettering import PageHand
from learners.lines import unpack
from learners.sheet import quad
from learners.typesetting import Style, typeset
from privacy import anonymise as anonymising
from privacy import fictional_numbers, fictions, plots, surrogates
from privacy.anonymise import anonymise, redact_text
from privacy.errors import BadPage
from privacy.fictions import KINDS, LANGUAGES, Fictions, language_of
from privacy.page import Box, Char, Line, Region
from privacy.surrogates import Told, substitute

KEY = bytes(range(32))
CHECKS = {"de": idnr, "fr": nir, "es": dni, "it": codicefiscale, "nl": bsn, "pl": pesel, "zh": ric}
FOR_FICTION = re.compile(
    r"(?:\+44 20|020) 7946 0|01632 960|07700 900|0161 496 0|555-01\d\d|(?:\+49 |0)30 23125|0221 4710|089 99998"
    r"|0171 39200|0\d (?:99 00|53 01|36 49|39 98)"
)


def many(kind, language, value="Value 1x", count=25):
    return [Fictions(bytes([i]) * 32, language).of(kind, value) for i in range(count)]


# --- fictions ---


@pytest.mark.parametrize("language", LANGUAGES)
def test_numbers_are_nobodys(language):
    assert not any(luhn.is_valid(card.replace(" ", "")) for card in many("card", language))
    assert not any(iban.is_valid(number) for number in many("iban", language))
    if language in CHECKS:
        assert not any(CHECKS[language].is_valid(number) for number in many("national_id", language))
    country = fictional_numbers._PHONES[language][0]
    for number in many("phone", language):
        assert FOR_FICTION.search(number) or not phonenumbers.is_valid_number(phonenumbers.parse(number, country))
    for address in many("email", language):
        assert re.search(r"@(?:example\.(?:org|com|net)|[a-z]+\.example)$", address)


def test_the_same_value_has_one_fiction_on_a_page_and_another_on_the_next():
    page, again, other = Fictions(KEY, "de"), Fictions(KEY, "de"), Fictions(bytes(32), "de")
    one = page.of("name", "Anna Winter")
    again.of("phone", "030 1234567")
    assert again.of("name", "anna winter").casefold() == one.casefold()
    assert other.of("name", "Anna Winter") != one
    assert page.of("name", "Winter") == one.split(" ", 1)[1]
    assert page.of("name", "Anna Winter", 1) != one


def test_a_fiction_knows_the_manner_and_nothing_else_of_its_value(monkeypatch):
    """With the key's part in it taken out, values written alike cannot be told from their fictions."""
    monkeypatch.setattr(Fictions, "_draw", lambda self, purpose, value, *tries: random.Random(f"{purpose} {tries}"))
    page = Fictions(KEY, "en")
    for kind, values in {
        "name": ("Jo Qu", "Maximiliana Featherstonehaugh"),
        "phone": ("1", "+1 234 567 890 123"),
        "birth_date": ("1.2.1980", "31.12.1999"),
        "record": ("A1", "123456789012345"),
    }.items():
        assert len({page.of(kind, value) for value in values}) == 1


def test_manner_is_kept():
    page = Fictions(KEY, "de")
    assert page.of("name", "ANNA WINTER").isupper()
    assert re.fullmatch(r"\d\d\.\d\d\.\d{4}", page.of("birth_date", "1.2.1980"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", page.of("date", "2020-01-02"))
    assert re.fullmatch(r"\d{5} \D+", page.of("address", "60311 Frankfurt"))
    assert re.fullmatch(r"\d{4}年\d+月\d+日", Fictions(KEY, "zh").of("birth_date", "1980年1月2日"))


@pytest.mark.parametrize(
    ("text", "language"),
    [("Name und Anschrift der Frau", "de"), ("Dear Mr Roe, the invoice", "en"), ("姓名 客户 电话号码", "zh"),
     ("姓名 客戶 電話號碼", "zh-hant"), ("Imię i nazwisko, adres, data", "pl"), ("12345", "en")],
)  # fmt: skip
def test_the_pages_language(text, language):
    assert language_of(text) == language


def lengths_vary(make):
    """Values of one length get fictions of many; of two lengths, of the same ones."""
    short, long = ([len(make(bytes([i]) * 32, name)) for i in range(60)] for name in ("Jo Qu", "Xaverius Quartermaine"))
    return len(set(short)) >= 6 and abs(np.mean(short) - np.mean(long)) < 1.5


def never_its_value(make):
    return all(make(bytes([i]) * 32, "Smith") != "Smith" for i in range(250))


def named(key, value):
    return Fictions(key, "en").of("name", value)


def test_lengths_tell_nothing():
    assert lengths_vary(named)


def test_a_fiction_is_never_its_value():
    assert never_its_value(named)


# --- drawing ---


def page(texts, planted, paper=248, noise=2.0):
    """Lines set on paper, their exact reading, and regions for the planted values."""
    sensor, style = np.random.default_rng(0), Style("noto-sans", 22)
    ink = np.zeros((40 * len(texts) + 40, 720), np.uint8)
    lines, regions = [], []
    for number, text in enumerate(texts):
        setting, x, y = typeset(text, style), 24, 24 + 40 * number
        ink[y : y + setting.height, x : x + setting.width] = setting.ink
        boxes = [None if b is None else Box(b.x0 + x - 1, y - 4, b.x1 + x + 1, y + setting.height + 4)
                 for b in setting.boxes]  # fmt: skip
        around = Box(x - 3, y - 4, x + setting.width + 3, y + setting.height + 4)
        chars = tuple(Char(c, quad(b), 1.0) for c, b in zip(text, boxes, strict=True) if b is not None)
        lines.append(Line(text, quad(around), 1.0, 1.0, chars))
        for kind, value in planted.items():
            if value in text:
                held = [b for b in boxes[text.index(value) : text.index(value) + len(value)] if b is not None]
                box = Box(held[0].x0, held[0].y0, held[-1].x1, held[-1].y1)
                regions.append(Region(kind, quad(box), 0.9, "planted"))
    level = paper - ink.astype(float)[..., None] * (paper - 30) / 255 + sensor.normal(0, noise, (*ink.shape, 1))
    return np.clip(np.repeat(level, 3, axis=2), 0, 255).astype(np.uint8), lines, regions


class Found:
    name, version, pixels = "found", "1", False

    def __init__(self, regions):
        self.regions = regions

    def find(self, image, lines):
        return self.regions


TEXTS = (
    "Invoice 4471 of today",
    "Name: Jane Winterbottom",
    "Total for goods and freight",
    "Jane Winterbottom, Tel 555 0199",
)
PLANTED = {"name": "Jane Winterbottom", "phone": "555 0199"}


def drawn(texts=TEXTS, planted=PLANTED, kinds=KINDS, key=KEY, hand=None):
    image, lines, regions = page(texts, planted)
    redaction = anonymise(image, [lines], [Found(regions)])
    clear = [line for line in lines if not redaction.touches(line)]
    hand = hand or PageHand(redaction.image, clear, None, np.random.default_rng(1))
    return image, redaction, substitute(redaction, lines, kinds, key, hand)


def test_surrogates_are_drawn_in_their_plots_and_say_what_they_say():
    image, redaction, done = drawn()
    assert [told.before.text for told in done.told] == [TEXTS[1], TEXTS[3]]
    one, other = (told.text for told in done.told)
    name = one.removeprefix("Name: ")
    assert "Winterbottom" not in one + other
    assert other.startswith(f"{name}, Tel ")
    assert (done.image[~done.plots] == image[~done.plots]).all()
    assert (done.plots >= redaction.mask).all()
    for told in done.told:
        box = Box.around(told.quad)
        assert done.image[box.y0 : box.y1, max(box.x0, 0) : box.x1].min() < 110
    assert "Winterbottom" not in repr(done)


def test_what_is_drawn_depends_on_nothing_that_was_filled(monkeypatch):
    """Two values written alike that fill the same box leave the same page behind."""
    monkeypatch.setattr(Fictions, "_draw", lambda self, purpose, value, *tries: random.Random(f"{purpose} {tries}"))
    image, lines, regions = page(("Some line in clear here", "Name: Jane Roe"), {"name": "Jane Roe"})
    redaction = anonymise(image, [lines], [Found(regions)])
    other = Line("Name: Mark Poe", lines[1].quad, 1.0, 1.0, lines[1].chars[:5] + tuple(
        Char(c, lines[1].chars[min(5 + i, 11)].quad, 1.0) for i, c in enumerate("MarkPoe")
    ))  # fmt: skip
    pages = []
    for reading in (lines, [lines[0], other]):
        hand = PageHand(redaction.image, lines[:1], None, np.random.default_rng(1))
        pages.append(substitute(redaction, reading, KINDS, KEY, hand))
    assert pages[0].told
    assert pages[1].told
    assert (pages[0].image == pages[1].image).all()


def test_kinds_that_were_not_asked_for_stay_flat():
    _, redaction, done = drawn(kinds=("phone",))
    assert done.told == ()
    assert (done.image == redaction.image).all()


def test_a_digit_beside_a_value_is_never_drawn_again():
    texts = ("Some line in clear here", "Case 4711 Jane Roe")
    image, lines, regions = page(texts, {"name": "Jane Roe"})
    clean = anonymise(image, [lines], [Found(regions)])
    assert len(plots.plots(clean, lines, KINDS)) == 1
    cut = replace(clean, mask=clean.mask.copy())
    cut.mask[:, regions[0].box.x0 - 16 : regions[0].box.x0] |= cut.mask.any(axis=1)[:, None]  # into the 1 of 4711
    assert plots.plots(cut, lines, KINDS) == []


def test_a_line_that_did_not_come_apart_stays_flat():
    image, lines, regions = page(TEXTS[:2], PLANTED)
    whole = [Line(line.text, line.quad, 1.0, 1.0) for line in lines]
    redaction = anonymise(image, [lines], [Found(regions)])
    assert plots.plots(redaction, whole, KINDS) == []


def test_a_text_without_glyphs_is_refused():
    image, lines, _ = page(TEXTS[:1], {})
    hand = PageHand(image, lines, None, np.random.default_rng(0))
    assert hand.width("Ω漢", lines[0].quad) is None
    assert hand.width("Jane", lines[0].quad) > 20


def test_paper_is_as_grainy_as_the_page():
    image, _, done = drawn()
    box = Box.around(done.told[0].quad)
    right = done.image[box.y0 + 4 : box.y1 - 4, box.x1 + 10 : box.x1 + 60].astype(float)
    assert done.plots[box.y0 + 6, box.x1 + 12]
    assert 0.5 < right.std() / image[2:20, 300:400].astype(float).std() < 2.0


# --- what lines say ---


def told(text, *spans):
    return Told(Line(text, ((0, 0), (9, 0), (9, 9), (0, 9)), 1.0, 1.0), spans, ((0, 0), (9, 0), (9, 9), (0, 9)))


@pytest.mark.parametrize(
    ("read", "label", "now"),
    [
        ("Name:Jane Roe", "Name: Jane Roe", "Name: Ann Lee"),
        ("Jane Roe", "Jane R. Roe", "Ann Lee"),
        ("Mr Jane Roe of Kent", "Mr. Jane Roe of Kent", None),
        ("Mr Jane Roe of Kent", "MR JANE ROE OF KENT", "MR Ann Lee OF KENT"),
        ("Nome Jane Roe", "Name: Jane Roe", None),
    ],
)
def test_a_label_gets_the_surrogate_where_its_place_is_sure(read, label, now):
    first = read.index("Jane")
    spans = retelling.placed(told(read, (first, first + 8, "Ann Lee")), label)
    assert (None if spans is None else surrogates.replaced(label, spans)) == now


def test_a_label_that_still_holds_something_personal_teaches_nothing():
    spans = ((6, 14, "Ann Lee"),)
    assert retelling.safe("Name: Ann Lee", spans, redact_text)
    assert not retelling.safe("Name: Ann Lee, jane.roe@web.de", spans, redact_text)


def test_settings_name_an_unknown_kind():
    with pytest.raises(ValueError, match="Expected surrogates among name"):
        Anonymise(surrogates=("face",))
    assert Anonymise(surrogates=("name", "date")).surrogates == ("name", "date")


# --- the real thing ---


@pytest.fixture(scope="module")
def reading(weights_dir):
    folder = str(weights_dir)
    config = {"weights": folder, "model": folder, "policy": {"surrogates": KINDS}, "label_confidence": 0.9}
    return Reading(config)


LETTER = (
    "Dear customer, thank you for the order",
    "Name: Jane Winterbottom",
    "We send it to you on Monday",
    "Tel: +44 20 7946 0958",
)


def labelled():
    image, lines, _ = page(LETTER, {})
    items = [{"transcription": line.text, "points": [list(p) for p in line.quad]} for line in lines]
    return image, json.dumps(items).encode()


def test_lines_with_surrogates_teach_and_nothing_of_the_values_is_in_any_blob(reading):
    image, sidecar = labelled()
    header, blobs = reading.document([image], sidecar)
    kept = dict(zip(header["blobs"], blobs, strict=True))
    taught = unpack(0, kept["lines"]).lines
    texts = [line.text for line in taught]
    assert [text[:5] for text in texts if ":" in text] == ["Name:", "Tel: "]
    assert not any("Winterbottom" in text or "0958" in text for text in texts)
    assert "Winterbottom" not in kept["text"].decode()
    assert "[" in kept["text"].decode() or "Name" in kept["text"].decode()
    crops = [line.image for line in taught]
    for text, (read, _, _) in zip(texts, reading._redactor._guard.read_lines(crops), strict=True):
        assert alike(text, read)
    assert sidecars.read_sidecar(sidecar, "")


def test_a_page_that_is_refused_gets_no_surrogate(reading, monkeypatch):
    image, _ = labelled()
    found = Region("email", ((0, 0), (1, 0), (1, 1), (0, 1)), 0.9, "test")
    monkeypatch.setattr(anonymising, "verify", lambda *_: [found])
    result, reason = reading._redactor.look(image, 1)
    assert reason
    assert result.substitution is None
    assert (result.image == result.redaction.image).all()


def test_a_hand_that_draws_beside_its_plots_sends_the_page_to_quarantine(reading, monkeypatch):
    """The mutant of drawing, through the real thing."""
    monkeypatch.setattr(PageHand, "draw", lambda self, image, mask, texts: 255 - image)
    result, reason = reading._redactor.look(labelled()[0], 1)
    assert reason == "on page 1 a surrogate was drawn outside its place"
    assert result.substitution is None


def test_only_kinds_that_there_are_can_be_asked_for():
    with pytest.raises(ValueError, match="Expected surrogates among"):
        Substituter(("signature",), None)


# --- mutants ---


def test_a_surrogate_like_its_value_is_noticed(monkeypatch):
    monkeypatch.setattr(fictions, "_shares", lambda *_: False)
    monkeypatch.setattr(fictions, "_person", lambda draw, language: ("Jane", draw.choice(("Smith", "Poe"))))
    assert not never_its_value(named)


def test_a_surrogate_of_the_same_length_is_noticed():
    assert not lengths_vary(lambda key, value: named(key, value).ljust(len(value), "x")[: len(value)])


def test_a_surrogate_drawn_outside_is_noticed(monkeypatch):
    def spilling(self, image, mask, texts):
        spilt = image.copy()
        spilt[0, 0] = 0
        return spilt

    monkeypatch.setattr(lettering.PageHand, "draw", spilling)
    with pytest.raises(BadPage, match="drawn outside"):
        drawn()


def test_a_number_with_a_check_digit_that_holds_is_noticed(monkeypatch):
    monkeypatch.setattr(fictional_numbers, "failing", lambda make, *checks: make())
    with pytest.raises(AssertionError):
        test_numbers_are_nobodys("de")
