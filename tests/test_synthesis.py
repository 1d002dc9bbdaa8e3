"""Public documents: exact text, boxes and personal data; the same bytes everywhere."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import unicodedata
from functools import cache

import numpy as np
import pytest
import zxingcpp
from stdnum import iban, luhn
from stdnum.cn import ric
from stdnum.de import idnr
from stdnum.es import dni
from stdnum.fr import nir
from stdnum.it import codicefiscale
from stdnum.nl import bsn
from stdnum.pl import pesel

from learners import cards, damage, layout, synthesis
from learners.draws import Draws
from learners.errors import MissingGlyph
from learners.personas import CHINESE, LATIN, LOCALES, persona
from learners.sheet import Planted, Sheet
from learners.slips import slip
from learners.synthesis import DOMAINS, KINDS, Document
from learners.typesetting import Style
from privacy.page import Box, Quad, Region

PERSONAL = {"name", "address", "phone", "email", "birth_date", "national_id", "iban", "card", "mrz", "code"}

GOLDEN = {
    "receipt 0": "0e88a88beaa226abf258ffded4a31841abf2f210e8320ae6def02ee060ecf7f7",
    "receipt 11": "982ccd9837fa4fe24a077e15fa7257122766748553e152528e802b3fc4c51dfd",
    "form 0": "5239db0ff2f242ad3f9e36b4bf940ad788b42fb58ee27380615cce36a889d155",
    "form 11": "550cdee4150520e58d87debef9f494793098e4c01010e871fba689e43bfa422f",
    "letter 0": "8854e4e746de13edffb30cf4885e57755c213954b73ade3dec50c39fa7ea3e8b",
    "letter 11": "593b6c98255adcfe9787e69ea50ba2c82171cf6b487a48e441b777442b349d2e",
    "id_card 0": "02ebd0eb506bb3044f546e486fd9c2502f92438605b9e6ff9fb25a19eca80129",
    "id_card 11": "17b18356c2dec61d9e7fd40e19ab6e159d8845e41c713b66d589fc44c9759ad4",
    "label 0": "0b719f4384ec82c535fffb77c79beefeb26c03fef3c987c8db5c38ffdb213b2d",
    "label 11": "47bbe5669205f989434956eb916700551a6722ff4f2c8c66e8431a90548f31a8",
    "screenshot 0": "266d889957dfe7cb9a353f6559e30f31cea8dd1d007fc6c98158461ebb3fa854",
    "screenshot 11": "5cc6a8c592ba840043a26d66ac1a1f9a271b46e00f4e0d34fe8920dd74f9905f",
    "thermal label 0": "ca3e5bcf86aae3750bfdaebd0b193bb5c219e03faa9ee79a265bd4c2c6162a29",
    "thermal label 11": "5d57a62e76f219a6801d9171243129efecf08574cd55a5d74bb3e23bed722849",
    "line plain": "e0a86aed03d0413c91ae88ede4dc3ca2cef039746dc3f2dcc9fc1155b940ad0a",
    "line chinese": "32a81c1bc2fb01fab7de76320b0eb3e58f23ca696060476fe9229af24fd65ede",
    "line thermal": "1fc2b809482749c569c638eb3166de8a4f03e7f656a74aae0f667fa38eabe8ae",
    "till slip 0": "b1f133ee5f5317ab923d622e3a6505dd6e8da3b7073d32f964e4dadf6f33ee98",
    "till slip 11": "02ee4d1c2c6dc34d088eb7080adb5ad17f6c0dbe8468b409fd64d7ac302143ae",
}

PRINT_DIGESTS = "import json; from tests.test_synthesis import digests; print(json.dumps(digests()))"


def digest(document: Document) -> str:
    """Of every byte and every fact of a document."""
    facts = [[line.text, line.quad, [(c.text, c.quad) for c in line.chars]] for line in document.lines]
    regions = [[region.kind, region.quad] for region in document.personal]
    rest = json.dumps([document.locale, document.image.shape, facts, regions]).encode()
    return hashlib.sha256(document.image.tobytes() + rest).hexdigest()


def digests() -> dict[str, str]:
    """Of a few documents of every kind and a few lines of every domain."""
    found = {f"{kind} {seed}": digest(synthesis.generate(kind, seed)) for kind in KINDS for seed in (0, 11)}
    found |= {f"thermal label {seed}": digest(synthesis.thermal_label(seed)) for seed in (0, 11)}
    for domain in DOMAINS:
        crop, text = synthesis.line(5, domain)
        found[f"line {domain}"] = hashlib.sha256(crop.tobytes() + text.encode()).hexdigest()
    for seed in (0, 11):
        lines = slip(seed, 12)
        found[f"till slip {seed}"] = hashlib.sha256(b"".join(i.tobytes() + t.encode() for i, t in lines)).hexdigest()
    return found


@cache
def undamaged(kind: str) -> list[Document]:
    if kind == "thermal label":
        return [synthesis.thermal_label(seed, damage=damage.NONE) for seed in range(12)]
    return [synthesis.generate(kind, seed, damage=damage.NONE) for seed in range(6)]


def documents() -> list[Document]:
    return [document for kind in (*KINDS, "thermal label") for document in undamaged(kind)]


def inside(quad: Quad, shape: tuple[int, ...], slack: float = 0.0) -> np.ndarray:
    """Which pixels have their centre in a convex quadrilateral with clockwise corners."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    within = np.ones(shape[:2], bool)
    for (x0, y0), (x1, y1) in zip(quad, (*quad[1:], quad[0]), strict=True):
        away = (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)
        within &= away >= -slack * np.hypot(x1 - x0, y1 - y0)
    return within


def value(document: Document, region: Region) -> str:
    """The characters whose middles are in a region, in reading order."""
    found = []
    for line in document.lines:
        for char in line.chars:
            x, y = np.mean(char.quad, axis=0)
            if region.box.x0 <= x < region.box.x1 and region.box.y0 <= y < region.box.y1:
                found.append(char.text)
    return "".join(found)


def test_golden_bytes() -> None:
    """The bytes that every machine draws; when a font, Pillow, Faker or a template changes, this does."""
    assert digests() == GOLDEN


def test_another_process_and_surroundings_draw_the_same_bytes() -> None:
    surroundings = {
        "PYTHONHASHSEED": "12345",
        "TZ": "Asia/Tokyo",
        "LC_ALL": "C",
        "JSIMD_FORCENONE": "1",  # libjpeg-turbo's scalar code
        "NPY_DISABLE_CPU_FEATURES": " ".join(np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])),
        "PYTHONWARNINGS": "ignore",
    }
    done = subprocess.run(
        [sys.executable, "-c", PRINT_DIGESTS], env={**os.environ, **surroundings}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == GOLDEN


def test_different_seeds_differ() -> None:
    for kind in KINDS:
        assert len({digest(synthesis.generate(kind, seed, locale="de_DE")) for seed in range(5)}) == 5
    assert len({digest(synthesis.thermal_label(seed)) for seed in range(20)}) == 20
    for domain in DOMAINS:
        assert len({synthesis.line(seed, domain)[0].tobytes() for seed in range(20)}) == 20


def test_order_does_not_matter() -> None:
    """Faker's instances are shared: a document must not depend on the one before it."""
    first = digest(synthesis.generate("form", 3, locale="fr_FR"))
    synthesis.generate("letter", 8, locale="fr_FR")
    assert digest(synthesis.generate("form", 3, locale="fr_FR")) == first


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_in_every_locale(kind: str, locale: str) -> None:
    for seed in range(2):
        document = synthesis.generate(kind, seed, locale=locale)
        assert document.kind == kind
        assert document.locale == locale
        assert document.image.dtype == np.uint8
        assert document.image.ndim == 3
        assert document.image.flags["C_CONTIGUOUS"]
        assert document.lines
        assert kind == "receipt" or document.personal
        assert {region.kind for region in document.personal} <= PERSONAL


def test_text_is_its_characters() -> None:
    for document in documents():
        for line in document.lines:
            assert "".join(char.text for char in line.chars) == line.text.replace(" ", "")
            assert line.text == " ".join(line.text.split())
            assert unicodedata.is_normalized("NFC", line.text)


def test_boxes_hold_the_ink_and_all_of_it() -> None:
    """On sheets with nothing but text, no ink is left once the characters' boxes are cleared."""
    for document in undamaged("letter") + undamaged("thermal label"):
        ink = 255 - document.image[:, :, 0]
        for line in document.lines:
            for char in line.chars:
                box = Box.around(char.quad)
                assert ink[box.y0 : box.y1, box.x0 : box.x1].any()
                assert line.box.intersect(box) == box.area
        for line in document.lines:
            for char in line.chars:
                box = Box.around(char.quad)
                ink[box.y0 : box.y1, box.x0 : box.x1] = 0
        assert not ink.any()


def test_every_character_has_ink_in_its_box() -> None:
    for document in documents():
        for line in document.lines:
            for char in line.chars:
                box = Box.around(char.quad)
                part = document.image[box.y0 : box.y1, box.x0 : box.x1]
                assert part.min() < 190


@pytest.mark.parametrize(
    "bent",
    [
        damage.Damage(turn=45),
        damage.Damage(turn=-20, lean=(90, -60)),
        damage.Damage(quarters=1),
        damage.Damage(turn=15, lean=(-40, 40), quarters=3),
    ],
)
def test_damage_moves_boxes_with_the_ink(bent: damage.Damage) -> None:
    straight, moved = (synthesis.thermal_label(4, damage=each) for each in (damage.NONE, bent))
    assert [line.text for line in moved.lines] == [line.text for line in straight.lines]
    ink = 255 - moved.image[:, :, 0].astype(int)
    covered, unmoved = np.zeros(ink.shape, bool), np.zeros(ink.shape, bool)
    for line, before in zip(moved.lines, straight.lines, strict=True):
        for char, was in zip(line.chars, before.chars, strict=True):
            covered |= inside(char.quad, ink.shape, slack=1.0)
            unmoved |= inside(was.quad, ink.shape, slack=1.0)
            assert ink[inside(char.quad, ink.shape)].mean() > 8
    assert ink[covered].sum() > 0.995 * ink.sum()
    assert ink[unmoved].sum() < 0.9 * ink.sum()  # the test does tell boxes that stayed behind


def test_planted_regions_hold_what_was_planted() -> None:
    """The characters in a region make a value of its kind; those around it don't belong to it."""
    checks = {
        "email": lambda text: re.fullmatch(r"[\w.+-]+@example\.(com|org|net)", text),
        "iban": lambda text: iban.is_valid(text, check_country=False),
        "card": lambda text: luhn.is_valid(text) and len(text) == 16,
        "birth_date": lambda text: sum(c.isdigit() for c in text) >= 5,
        "phone": lambda text: sum(c.isdigit() for c in text) >= 6 and not re.search(r"[a-wyz]", text),
        "mrz": lambda text: re.fullmatch(r"[A-Z0-9<]{30}", text),
        "national_id": lambda text: re.fullmatch(r"[A-Z0-9-]{8,}", text),
        "name": lambda text: text and not any(c.isdigit() for c in text),
        "address": len,
    }
    seen = set()
    for document in documents():
        for region in document.personal:
            if region.kind != "code":
                seen.add(region.kind)
                assert checks[region.kind](value(document, region)), region.kind
    assert seen == set(checks)


def test_nothing_personal_is_left_unmarked() -> None:
    """Outside the regions of a form or a card there is nothing but labels and words."""
    for kind in ("form", "id_card"):
        for seed in range(8):
            document = synthesis.generate(kind, seed, locale="en_GB", damage=damage.NONE)
            for region in document.personal:
                text = value(document, region)
                for line in document.lines:
                    marked = any(line.box.intersect(other.box) for other in document.personal)
                    assert marked or len(text) < 5 or text not in line.text.replace(" ", "")


def test_codes_are_where_they_are_said_to_be_and_can_be_read() -> None:
    codes = 0
    for seed in range(12):
        document = synthesis.generate("label", seed, damage=damage.NONE)
        (region,) = [region for region in document.personal if region.kind == "code"]
        found = zxingcpp.read_barcodes(document.image)
        assert len(found) == 1
        at = found[0].position
        middle = ((at.top_left.x + at.bottom_right.x) / 2, (at.top_left.y + at.bottom_right.y) / 2)
        assert region.box.x0 < middle[0] < region.box.x1
        assert region.box.y0 < middle[1] < region.box.y1
        codes += 1
    assert codes == 12


def test_check_digits_hold() -> None:
    national = {
        "de_DE": idnr, "fr_FR": nir, "es_ES": dni, "it_IT": codicefiscale, "nl_NL": bsn, "pl_PL": pesel, "zh_CN": ric,
    }  # fmt: skip
    for locale in LOCALES:
        for seed in range(25):
            who = persona(Draws(seed, "test"), locale)
            assert luhn.is_valid(who.card.replace(" ", ""))
            assert (who.iban is None) == (locale in CHINESE)
            assert who.iban is None or iban.is_valid(who.iban, check_country=False)
            assert locale not in national or national[locale].is_valid(who.national_id)


def test_machine_readable_zone_is_the_specimen_of_the_standard() -> None:
    """Check digits of ICAO 9303-5, appendix B (Utopia's Anna Maria Eriksson)."""
    assert cards.check_digit("D23145890") == "7"
    assert cards.check_digit("740812") == "2"
    assert cards.check_digit("120415") == "9"
    assert cards.check_digit("D231458907<<<<<<<<<<<<<<<" + "7408122" + "1204159" + "<<<<<<<<<<<") == "6"


@pytest.mark.parametrize("locale", LATIN)
def test_machine_readable_zones_are_well_formed(locale: str) -> None:
    for seed in range(10):
        who = persona(Draws(seed, "zone"), locale)
        first, second, third = cards.machine_readable(who, "C01X00T47", (2031, 2, 9), "F")
        assert [len(row) for row in (first, second, third)] == [30, 30, 30]
        assert re.fullmatch(r"[A-Z0-9<]+", first + second + third)
        assert second[29] == cards.check_digit(first[5:30] + second[:7] + second[8:15] + second[18:29])


@pytest.mark.parametrize("domain", DOMAINS)
def test_lines_are_crops_with_their_text(domain: str) -> None:
    for seed in range(30):
        crop, text = synthesis.line(seed, domain)
        assert crop.dtype == np.uint8
        assert crop.shape[2] == 3
        assert 20 <= crop.shape[0] <= 90
        assert crop.shape[1] > crop.shape[0] // 2
        assert text == text.strip()
        assert text.isascii() == (domain != "chinese")


def test_thermal_labels_have_two_or_three_lines_and_some_names() -> None:
    labels = [synthesis.thermal_label(seed) for seed in range(60)]
    assert {len(label.lines) for label in labels} == {2, 3}
    named = sum(bool(label.personal) for label in labels)
    assert 1 <= named <= 20


def test_what_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="kind among receipt, .* got 'passport'"):
        synthesis.generate("passport", 0)
    with pytest.raises(ValueError, match="got 'xx_XX'"):
        synthesis.generate("form", 0, locale="xx_XX")
    with pytest.raises(ValueError, match="domain among plain, chinese, thermal, got 'old'"):
        synthesis.line(0, "old")
    with pytest.raises(ValueError, match="seed=-1"):
        synthesis.thermal_label(-1)


def test_text_must_fit_and_have_glyphs() -> None:
    sheet = Sheet(60, 200)
    with pytest.raises(MissingGlyph):
        layout.put(sheet, "病人", Style("lato", 20), 10, 40, 180)
    with pytest.raises(ValueError, match="at most 20 pixels"):
        layout.put(sheet, "far too long for this", Style("lato", 20), 10, 40, 20)
    with pytest.raises(ValueError, match="to fit at"):
        sheet.write("beyond the edge", Style("lato", 20), 150, 40)
    assert not sheet.lines


def test_a_line_shrinks_until_it_fits_and_is_aligned() -> None:
    sheet = Sheet(60, 300)
    box = layout.put(sheet, ["Name: ", Planted("name", "Anna Jones")], Style("lato", 40), 20, 50, 150, "right")
    assert box.x1 == 170
    assert box.x0 >= 20
    (region,) = sheet.regions
    assert region.kind == "name"
    assert region.box.x0 > box.x0 + 30
    assert region.box.x1 == box.x1


def test_paragraphs_break_at_spaces_and_chinese_anywhere() -> None:
    style = Style("cjk-sc", 20)
    rows = layout.wrapped("one two three four five", style, 100)
    assert " ".join(rows) == "one two three four five"
    assert len(rows) > 1
    chinese = layout.wrapped("处理欢迎网络企业有些处理欢迎", style, 100)
    assert "".join(chinese) == "处理欢迎网络企业有些处理欢迎"
    assert {len(row) for row in chinese[:-1]} == {5}


def test_a_document_does_not_print_its_content() -> None:
    document = synthesis.generate("form", 1)
    for line in document.lines:
        assert line.text not in repr(document)


def test_a_form_shortens_a_reason_that_does_not_fit() -> None:
    """One in many thousands; a round whose anchor drew it would fail."""
    form = synthesis.generate("form", 3_700_253)
    reason = next(line.text for line in form.lines if line.text.startswith("Reason"))
    assert len(reason) > 80
    assert not reason.endswith(".")
