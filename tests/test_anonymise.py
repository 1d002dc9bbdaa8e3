"""Planted personal data, read by both readers: every bit of its ink is filled, and nothing of it is found again.

The mutants at the end switch off what the guarantee rests on, and see to it that these tests notice.
"""

from dataclasses import replace

import numpy as np
import pytest
import zxingcpp
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFilter, ImageFont

from learners import synthesis
from models import weights
from models.orientation import upright
from models.reader import Reader, unseen
from privacy import anonymise as module
from privacy.anonymise import BLOCK, EDGE, TRIM, anonymise, redact_text, verify
from privacy.detectors import registry
from privacy.detectors.interface import TextDetector
from privacy.errors import BadPage
from privacy.page import Box, Line, Region

PLANTED = {
    "email": ("E-mail: ", "jane.roe@example.org"),
    "phone": ("Tel: ", "+44 20 7946 0958"),
    "iban": ("", "DE89 3704 0044 0532 0130 00"),
    "card": ("Card ", "4111 1111 1111 1111"),
    "national_id": ("SSN ", "219-09-9999"),
    "birth_date": ("DOB: ", "12/03/1984"),
    "mrz": ("", "L898902C36UTO7408122F1204159ZE184226B<<<<<10"),
    "name": ("Name: ", "Jane Roe"),
    "address": ("Address: ", "12 High Street"),
}
AROUND = ("Invoice 4471 of today", "TOTAL 199.50 EUR")


class Page:
    """Lines drawn on paper; `ink` is where the planted value's ink lies."""

    def __init__(self, lines, planted=None, width=560, size=22, paper=(244, 240, 228), seed=0):
        height = int(1.8 * size * len(lines)) + 24
        canvas, only = Pillow.new("RGB", (width, height), paper), Pillow.new("L", (width, height), 255)
        font = ImageFont.load_default(size)
        for i, text in enumerate(lines):
            at = (16, 14 + int(1.8 * size * i))
            ImageDraw.Draw(canvas).text(at, text, font=font, fill=(24, 24, 30))
            if planted and planted in text:
                before = text[: text.index(planted)]
                ImageDraw.Draw(only).text((at[0] + font.getlength(before), at[1]), planted, font=font, fill=0)
        noise = np.random.default_rng(seed).normal(0, 3, (height, width, 3))
        self.image = np.clip(np.asarray(canvas) + noise, 0, 255).astype(np.uint8)
        self.ink = np.asarray(only) < 128


@pytest.fixture(scope="module")
def readers(weights_dir):
    return Reader(weights.v6_files(), "v6"), Reader(weights.v4_files(weights_dir), "v4")


@pytest.fixture(scope="module")
def detectors(weights_dir):
    return registry.default_detectors(weights_dir / "centerface.onnx")


def redact(image, readers, detectors):
    """As the daemon does it: two readings, filling, the changed strips read again, verification."""
    readings = [reader.read(image) for reader in readers]
    redaction = anonymise(image, readings, detectors)
    again = []
    for reader, lines in zip(readers, readings, strict=True):
        kept = redaction.unchanged(lines)
        places = unseen(reader.find_parts(redaction.image, redaction.parts), [line.box for line in kept])
        again.append([*kept, *reader.read_at(redaction.image, places)])
    return redaction, again


@pytest.mark.parametrize("kind", PLANTED)
def test_planted_data_is_covered_and_not_found_again(kind, readers, detectors):
    label, value = PLANTED[kind]
    page = Page([AROUND[0], label + value, AROUND[1]], value, width=760 if kind == "mrz" else 560)
    assert page.ink.any()
    redaction, again = redact(page.image, readers, detectors)
    assert redaction.counts == {kind: 1}
    assert redaction.mask[page.ink].all()
    assert verify(redaction, again, detectors) == []
    text = " ".join(line.text for lines in again for line in lines)
    assert "".join(value.split()) not in "".join(text.split())
    for kept in (*AROUND, *label.split()):
        assert "".join(kept.split()).rstrip(":") in "".join(text.split())


def test_a_label_beside_or_above_its_value_is_enough(readers, detectors):
    for lines, value in ((["DOB", "12/03/1984"], "12/03/1984"), (["Surname", "Winterbottom"], "Winterbottom")):
        page = Page([AROUND[0], *lines, AROUND[1]], value)
        redaction, again = redact(page.image, readers, detectors)
        assert redaction.mask[page.ink].all()
        assert verify(redaction, again, detectors) == []


def test_a_name_once_known_is_filled_wherever_it_stands(readers, detectors):
    page = Page(["Patient: Jane Winterbottom", "Invoice 4471 of today", "Jane Winterbottom 199.50"])
    redaction, _ = redact(page.image, readers, detectors)
    assert redaction.counts == {"name": 2}


def test_a_code_is_covered(readers, detectors):
    page = Page([*AROUND, "", "", ""])
    code = np.array(zxingcpp.create_barcode("Jane Roe 1984", zxingcpp.BarcodeFormat.QRCode).to_image(scale=3))
    page.image[96 : 96 + len(code), 40 : 40 + len(code)] = code[..., None]
    redaction, again = redact(page.image, readers, detectors)
    assert redaction.counts["code"] == 1
    assert zxingcpp.read_barcodes(page.image) != []
    assert zxingcpp.read_barcodes(redaction.image) == []
    assert verify(redaction, again, detectors) == []


def test_nothing_personal_means_nothing_changes(readers, detectors):
    page = Page([*AROUND, "Qty 12 Price 5.00", "12/03/2024 14:22"])
    redaction, again = redact(page.image, readers, detectors)
    assert (redaction.regions, redaction.parts, redaction.counts) == ((), (), {})
    assert (redaction.image == page.image).all()
    assert verify(redaction, again, detectors) == []


def test_a_page_on_its_head_is_redacted_once_it_stands(readers, detectors):
    page = Page([AROUND[0], "Tel: +44 20 7946 0958", AROUND[1]], "+44 20 7946 0958")
    found = upright(np.ascontiguousarray(page.image[::-1, ::-1]), readers[0])
    redaction, _ = redact(found.image, readers, detectors)
    assert redaction.mask[page.ink].all()


@pytest.mark.parametrize(("kind", "seed"), [("form", 2), ("id_card", 1), ("receipt", 0)])
def test_generated_documents_lose_what_rules_can_know(kind, seed, readers, detectors):
    """Numbers, codes and dates of a generated page; names and addresses without a label are beyond the rules."""
    document = synthesis.generate(kind, seed)
    redaction, again = redact(document.image, readers, detectors)
    assert verify(redaction, again, detectors) == []
    known = {"email", "phone", "iban", "card", "national_id", "birth_date", "mrz", "code"}
    for region in document.personal:
        if region.kind in known:
            box = region.box
            inside = document.image[box.y0 : box.y1, box.x0 : box.x1].min(axis=2)
            ink = inside < np.median(inside) - 70
            assert redaction.mask[box.y0 : box.y1, box.x0 : box.x1][ink].mean() > 0.95, region.kind


# --- the fill ---


def region(x0, y0, x1, y1, kind="email"):
    return Region(kind, ((x0, y0), (x1, y0), (x1, y1), (x0, y1)), 0.9, "planted")


class Found:
    """A detector that always finds the same."""

    name, version, pixels = "found", "1", False

    def __init__(self, *regions):
        self.regions = list(regions)

    def find(self, image, lines):
        return self.regions


def line(text, x0, y0, x1, y1):
    return Line(text, ((x0, y0), (x1, y0), (x1, y1), (x0, y1)), 0.9, 0.9)


@given(
    st.tuples(st.integers(-20, 120), st.integers(-20, 90)),
    st.tuples(st.integers(1, 90), st.integers(1, 60)),
    st.tuples(st.integers(1, 131), st.integers(1, 77)),
)
@settings(deadline=None)
def test_a_fill_is_whole_blocks_that_hold_the_region(at, size, shape):
    image = np.random.default_rng(0).integers(0, 256, (shape[1], shape[0], 3), dtype=np.uint8)
    before = image.copy()
    box = Box(at[0], at[1], at[0] + size[0], at[1] + size[1])
    redaction = anonymise(image, [[]], [Found(region(box.x0, box.y0, box.x1, box.y1))])
    assert (image == before).all()
    assert redaction.mask[max(box.y0, 0) : max(box.y1, 0), max(box.x0, 0) : max(box.x1, 0)].all()
    assert (redaction.image[~redaction.mask] == image[~redaction.mask]).all()
    for y in range(0, shape[1], BLOCK):
        for x in range(0, shape[0], BLOCK):
            block = redaction.mask[y : y + BLOCK, x : x + BLOCK]
            assert block.all() or not block.any()
    if redaction.mask.any():
        assert len(np.unique(redaction.image[redaction.mask], axis=0)) == 1


def test_what_only_looks_like_a_code_is_looked_for_once_and_a_code_twice(monkeypatch):
    image = np.full((120, 200, 3), 255, np.uint8)

    def left(reason):
        seen = Found(replace(region(20, 4, 60, 48, "found"), reason=reason))
        seen.pixels = True
        return verify(anonymise(image, [[]], [seen]), [[]], [seen])

    assert left("decoded") != []
    assert left("texture of a code") == left("bars") == []
    monkeypatch.setattr("privacy.anonymise.GUESSED", ())  # mutant: guesses count as well
    assert left("texture of a code") != []


def below(y, kind="email"):
    """How far down a find from 4 to 48 is filled, with another line at `y`."""
    image = np.full((120, 200, 3), 255, np.uint8)
    lines = [line("a@example.org", 20, 4, 150, 48), line("others", 20, y, 150, y + 30)]
    return int(np.nonzero(anonymise(image, [lines], [Found(region(20, 4, 150, 48, kind))]).mask)[0].max()) + 1


def test_a_find_takes_less_of_its_allowance_close_to_another_line_only():
    assert below(51) == 48  # 48 is in the next block
    assert below(47) == below(55) == 48
    assert below(90) == below(47, "face") == 56
    assert 0 < TRIM < EDGE


def test_a_fill_takes_the_colour_around_it_and_none_from_inside():
    image = np.full((64, 96, 3), (200, 180, 40), np.uint8)
    image[24:40, 24:64] = 0
    redaction = anonymise(image, [[]], [Found(region(24, 24, 64, 40))])
    assert (redaction.image == (200, 180, 40)).all()


def test_a_page_filled_from_edge_to_edge_is_white():
    redaction = anonymise(np.zeros((20, 30, 3), np.uint8), [[]], [Found(region(0, 0, 30, 20))])
    assert (redaction.image == 255).all()


def test_regions_of_both_readings_are_filled_and_counted_once(detectors):
    image = np.full((80, 400, 3), 255, np.uint8)
    texts = [detector for detector in detectors if not detector.pixels]
    one, other = line("a@example.org", 10, 8, 150, 28), line("Tel 555 0199", 10, 48, 150, 68)
    assert anonymise(image, [[one], [other]], texts).counts == {"email": 1, "phone": 1}
    assert anonymise(image, [[one], [one]], texts).counts == {"email": 1}
    assert anonymise(image, [], texts).counts == {}


def test_a_line_is_hidden_when_all_of_its_ink_goes():
    image = np.full((200, 300, 3), 255, np.uint8)
    whole, all_but_its_end, nothing = (
        line("x", 10, 40, 90, 60),
        line("x", 10, 80, 130, 100),
        line("x", 10, 150, 90, 170),
    )
    flat = line("x", 10, 180, 10, 180)
    fills = [region(10, 40, 90, 60), region(10, 80, 118, 100)]
    assert module.hidden(image, [whole, all_but_its_end, nothing, flat], fills) == [True, False, False, False]
    assert module.hidden(image, [whole], []) == [False]


def test_lines_know_whether_they_were_touched_and_what_need_not_be_read_again():
    image = np.full((200, 300, 3), 255, np.uint8)
    hit, near, far = line("x", 10, 40, 90, 60), line("x", 10, 66, 90, 86), line("x", 10, 150, 90, 170)
    redaction = anonymise(image, [[hit, near, far]], [Found(region(10, 40, 60, 60))])
    assert redaction.touches(hit)
    assert not redaction.touches(far)
    assert far in redaction.unchanged([hit, near, far])
    assert hit not in redaction.unchanged([hit, near, far])
    (strip,) = redaction.parts
    assert (strip.x0, strip.x1) == (0, 300)
    assert strip.y0 < 40
    assert strip.y1 > 60


@pytest.mark.parametrize("bad", [np.zeros((0, 9, 3), np.uint8), np.zeros((9, 9), np.uint8), np.zeros((9, 9, 3)), None])
def test_what_is_no_page_is_refused(bad, detectors):
    with pytest.raises(BadPage, match=r"\(H, W, 3\) uint8"):
        anonymise(bad, [[]], detectors)


def test_a_redaction_does_not_show_its_page():
    redaction = anonymise(np.zeros((16, 16, 3), np.uint8), [[]], [Found(region(0, 0, 8, 8))])
    assert "array" not in repr(redaction)


# --- text ---


def test_text_gets_placeholders():
    text, spans = redact_text("Name: Jane Roe\nTel: +44 20 7946 0958, jane@example.org\nTOTAL 12.50")
    assert text == "Name: [NAME]\nTel: [PHONE], [EMAIL]\nTOTAL 12.50"
    assert [span.kind for span in spans] == ["name", "phone", "email"]


def test_of_two_rules_on_one_value_the_surer_names_it():
    assert redact_text("IBAN DE89 3704 0044 0532 0130 00")[0] == "IBAN [IBAN]"
    assert redact_text("SSN 078-05-1120")[0] == "SSN [NATIONAL_ID]"


@pytest.mark.parametrize("text", ["", "Total 12.50", "发票 12", *(label + value for label, value in PLANTED.values())])
def test_redacting_twice_changes_nothing_more(text):
    once, _ = redact_text(text)
    assert redact_text(once) == (once, [])


@given(st.text(max_size=60))
def test_any_text_can_be_redacted(text):
    redacted, spans = redact_text(text)
    assert (redacted == text) == (not spans)
    assert all(0 <= span.start < span.end <= len(text) for span in spans)


# --- mutants: each takes away one thing the guarantee rests on ---


@pytest.mark.parametrize("kind", ["email", "phone", "iban", "card", "birth_date", "mrz"])
def test_a_detector_switched_off_is_noticed(kind, readers, weights_dir, detectors):
    label, value = PLANTED[kind]
    page = Page([AROUND[0], label + value, AROUND[1]], value, width=760 if kind == "mrz" else 560)
    lame = registry.default_detectors(weights_dir / "centerface.onnx", without=[kind, "announced_value", "long_number"])
    redaction, again = redact(page.image, readers[:1], lame)
    assert not redaction.mask[page.ink].all()
    assert kind in {left.kind for left in verify(redaction, again, detectors)}


def test_a_fill_that_blurs_is_noticed(readers, detectors, monkeypatch):
    def blurred(image, mask):
        soft = np.asarray(Pillow.fromarray(image).filter(ImageFilter.GaussianBlur(4)))
        return np.where(mask[..., None], soft, image)

    page = Page([AROUND[0], "jane.roe@example.org"])
    monkeypatch.setattr(module, "fill", blurred)
    redaction, again = redact(page.image, readers, detectors)
    assert "residue" in {left.kind for left in verify(redaction, again, detectors)}


def test_a_fill_that_is_not_padded_is_noticed(monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 1)
    with pytest.raises(AssertionError):
        test_a_fill_is_whole_blocks_that_hold_the_region.hypothesis.inner_test((5, 5), (10, 10), (40, 40))


def test_what_one_reading_missed_and_the_next_one_sees_is_found_by_verification(readers):
    page = Page([AROUND[0], "Tel: +44 20 7946 0958", "jane.roe@example.org"])
    lines = readers[0].read(page.image)
    without = [each for each in lines if "@" not in each.text]
    rules = [TextDetector(rule) for rule in registry.RULES]
    redaction = anonymise(page.image, [without], rules)
    assert redaction.counts == {"phone": 1}
    assert {left.kind for left in verify(redaction, [readers[0].read(redaction.image)], rules)} == {"email"}
