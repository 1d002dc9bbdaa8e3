"""The reader on drawn pages: text, character boxes, orientation, and the traps of the library it drives."""

import logging
import socket
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from models import looks, weights
from models.errors import WeightsUnavailable
from models.orientation import rotate, upright
from models.reader import Reader, crop, unseen
from privacy.errors import BadPage
from privacy.page import Box, Line

LINES = ("Invoice 4471 of today", "Blue widgets 12 pcs", "TOTAL 199.50 EUR")


def drawn(lines, width=420, height=170, size=24, left=14, top=12):
    """The page, and for each line the boxes of its inked characters."""
    page = Pillow.new("RGB", (width, height), (250, 250, 246))
    pen, font, boxes = ImageDraw.Draw(page), ImageFont.load_default(size), []
    for i, text in enumerate(lines):
        y = top + int(1.7 * size * i)
        pen.text((left, y), text, font=font, fill=(20, 20, 24))
        at = [left + pen.textlength(text[:k], font=font) for k in range(len(text) + 1)]
        boxes.append([(at[k], at[k + 1]) for k, c in enumerate(text) if c != " "])
    return np.asarray(page).copy(), boxes


@pytest.fixture(scope="module")
def readers(weights_dir):
    return {"v4": Reader(weights.v4_files(weights_dir), "v4"), "v6": Reader(weights.v6_files(), "v6")}


@pytest.fixture(scope="module")
def page():
    return drawn(LINES)


@pytest.mark.parametrize("family", ["v4", "v6"])
def test_a_page_is_read_line_by_line(readers, page, family):
    lines = readers[family].read(page[0])
    assert [line.text for line in lines] == list(LINES)
    for line in lines:
        assert 0.0 < line.min_confidence <= line.confidence <= 1.0
        assert "".join(c.text for c in line.chars) == line.text.replace(" ", "")
        assert min(c.confidence for c in line.chars) >= line.min_confidence


@pytest.mark.parametrize("family", ["v4", "v6"])
def test_every_character_has_its_box(readers, page, family):
    image, truth = page
    for line, places in zip(readers[family].read(image), truth, strict=True):
        for char, (left, right) in zip(line.chars, places, strict=True):
            centre = (char.quad[0][0] + char.quad[1][0]) / 2
            assert left - 4 <= centre <= right + 4, char.text
        lefts = [char.quad[0][0] for char in line.chars]
        assert lefts == sorted(lefts)
        box = line.box
        ink = np.argwhere(image[box.y0 : box.y1].min(axis=2) < 100)
        first, last = line.chars[0].quad[0][0], line.chars[-1].quad[1][0]
        assert first <= ink[:, 1].min()
        assert last >= ink[:, 1].max()


def test_confidences_belong_to_their_characters_behind_a_space(readers):
    """RapidOCR's own character list has no spaces, its confidences have: pairing the two shifts them."""
    image, _ = drawn(["11 11 11 11 1 8"], height=60)
    image[20:40, 175:181] = (120, 120, 120)  # damage a character at the end of the line
    (line,) = readers["v6"].read(image)
    reading = readers["v6"]._recognise(crop(image, line.quad))
    kept = [c for t, c in zip(reading.text, reading.confidences, strict=True) if t != " "]
    assert [c.confidence for c in line.chars] == kept


def test_a_line_upside_down_on_an_upright_page_is_not_mirrored(readers):
    image, _ = drawn(["Invoice number 4471", "", "", "Blue widgets 12 pcs"], height=230)
    image[100:] = rotate(image[100:], 180)
    turned = next(line for line in readers["v6"].read(image) if line.text.startswith("Blue"))
    assert turned.text == "Blue widgets 12 pcs"
    xs = [char.quad[0][0] for char in turned.chars]
    assert xs == sorted(xs, reverse=True)
    b, s = (np.mean([p[0] for p in turned.chars[i].quad]) for i in (0, -1))
    ink = np.argwhere(image[turned.box.y0 : turned.box.y1].min(axis=2) < 100)[:, 1]
    assert abs(b - ink.max()) < 14
    assert abs(s - ink.min()) < 14


def test_a_line_reads_the_same_alone_and_in_company(readers, draw_lines):
    crops = [image for image, _ in draw_lines(6)]
    for reader in readers.values():
        assert reader.read_lines(crops) == [reader.read_lines([one])[0] for one in crops]
    assert readers["v4"].read_lines([]) == []


def test_lines_read_as_rapidocr_reads_them(readers, draw_lines):
    for reader in readers.values():
        for image, _ in draw_lines(4):
            whole = reader._engine(np.ascontiguousarray(image[:, :, ::-1]), use_det=False, use_cls=False, use_rec=True)
            ((text, mean, least),) = reader.read_lines([image])
            assert text == whole.txts[0]
            assert mean == pytest.approx(whole.scores[0], abs=1e-4)
            assert least <= mean


@pytest.mark.parametrize("quad", [
    ((10, 12), (300, 12), (300, 44), (10, 44)),
    ((10.0, 20.0), (300.0, 8.0), (302.0, 40.0), (12.0, 52.0)),
    ((30, 10), (60, 10), (60, 150), (30, 150)),
])  # fmt: skip
def test_crops_are_rapidocrs(page, quad):
    from rapidocr.utils.process_img import get_rotate_crop_image

    assert (crop(page[0], quad) == get_rotate_crop_image(page[0], np.array(quad, np.float32))).all()


def test_parts_are_read_in_coordinates_of_the_page(readers, page):
    image, _ = page
    whole = readers["v6"].read(image)
    box = whole[1].box.grown(6)
    (place,) = readers["v6"].find_parts(image, [Box(-5, box.y0, 9999, box.y1)])
    (part,) = readers["v6"].read_at(image, [place])
    assert part.text == whole[1].text
    assert np.allclose(part.quad, whole[1].quad, atol=4)
    assert np.allclose(part.chars[0].quad, whole[1].chars[0].quad, atol=4)
    assert readers["v6"].find_parts(image, [Box(500, 0, 600, 10)]) == []


def test_lines_that_one_reader_found_the_other_reads_in_the_same_places(readers, page):
    lines = readers["v6"].read(page[0])
    again = readers["v4"].reread(page[0], lines)
    assert [line.quad for line in again] == [line.quad for line in lines]
    assert ["".join(line.text.split()) for line in again] == ["".join(text.split()) for text in LINES]


def test_only_what_no_known_box_covers_is_unseen():
    at = ((0, 0), (10, 0), (10, 10), (0, 10))
    assert unseen([at], [Box(0, 0, 10, 6)]) == []
    assert unseen([at], [Box(0, 0, 10, 4)]) == [at]


def test_empty_paper_has_no_lines(readers):
    blank = np.full((120, 300, 3), 255, np.uint8)
    for reader in readers.values():
        assert reader.read(blank) == []
        assert upright(blank, reader)[1:] == (0, 0.0, [])
        assert reader.read_lines([blank])[0][0] == ""


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 400, 3), (400, 2, 3)])
def test_slivers_are_read_without_a_fault(readers, shape):
    assert readers["v4"].read(np.zeros(shape, np.uint8)) == []


@pytest.mark.parametrize("bad", [np.zeros((0, 9, 3), np.uint8), np.zeros((9, 9), np.uint8), np.zeros((9, 9, 3)), None])
def test_what_is_no_page_is_refused(readers, bad):
    for call in (readers["v4"].read, lambda image: readers["v4"].read_lines([image])):
        with pytest.raises(BadPage, match=r"\(H, W, 3\) uint8"):
            call(bad)


def test_a_crop_thinner_than_a_pixel_is_refused(page):
    with pytest.raises(ValueError, match="at least 1 x 1"):
        crop(page[0], ((5, 5), (90, 5), (90, 5.4), (5, 5.4)))


def test_a_missing_file_is_named_and_never_downloaded(weights_dir, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the reader went to the network")

    monkeypatch.setattr(socket, "socket", refuse)
    files = replace(weights.v4_files(weights_dir), rec=tmp_path / "rec.onnx")
    with pytest.raises(WeightsUnavailable, match=r"rec\.onnx"):
        Reader(files, "v4")
    assert Reader(weights.v6_files(), "v6").read(drawn(LINES)[0])


def test_settings_out_of_range_are_refused(weights_dir):
    files = weights.v4_files(weights_dir)
    with pytest.raises(ValueError, match="v5"):
        Reader(files, "v5")
    with pytest.raises(ValueError, match="threads"):
        Reader(files, "v4", threads=0)


def test_nothing_is_logged(readers, page, capfd, caplog):
    with caplog.at_level(logging.DEBUG):
        for reader in readers.values():
            reader.read(page[0])
            reader.read(np.full((64, 64, 3), 255, np.uint8))
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


# --- looks ---


def quad(x0, y0, x1, y1):
    return (x0, y0), (x1, y0), (x1, y1), (x0, y1)


def test_low_lines_are_looked_at_again_and_others_are_not():
    blank = np.full((400, 600, 3), 255, np.uint8)
    high = [quad(10, 10, 300, 50), quad(10, 80, 300, 120)]
    assert looks.second_scale(blank, 0.5, high) is None
    assert looks.second_scale(blank, 0.5, [quad(10, 10, 300, 22)]) == pytest.approx(1.5)
    assert looks.second_scale(blank, 0.5, []) == 1.0
    assert looks.first_scale(np.zeros((100, 3200, 3), np.uint8)) == 0.25


def test_ink_that_nobody_found_is_noticed(page):
    image, _ = page
    everything = [quad(5, 5, 410, 50), quad(5, 48, 410, 90), quad(5, 88, 410, 132)]
    assert not looks.left_over(image, 0.5, everything)
    assert looks.left_over(image, 0.5, everything[:2])
    ruled = np.full((100, 300, 3), 255, np.uint8)
    cv2.line(ruled, (5, 50), (295, 50), (0, 0, 0), 2)
    assert not looks.left_over(ruled, 0.5, [])


def test_two_looks_add_up_to_each_line_once():
    letters = [quad(x, 10, x + 30, 50) for x in range(10, 210, 40)]
    assert looks.united([quad(8, 8, 212, 52)], letters) == [quad(8, 8, 212, 52)]
    cells = [quad(10, 10, 120, 40), quad(300, 10, 400, 40)]
    assert looks.united([quad(8, 8, 402, 42)], cells) == cells
    alone = quad(10, 80, 200, 110)
    assert looks.united([alone], cells) == [*cells, alone]
    assert looks.united(cells, cells) == cells
    assert looks.united([quad(10, 10, 400, 40)], [quad(10, 10, 150, 40)]) == [quad(10, 10, 400, 40)]


def test_widely_spaced_print_is_one_line():
    def line(text, x0, x1):
        return Line(text, quad(x0, 10, x1, 50), 0.9, 0.9)

    one, other, far = line("DEPOT", 10, 190), line("LEEDS", 216, 396), line("12.50", 700, 880)
    assert looks.split_lines([one, other, far]) == [(one, other)]
    assert looks.spanning(one.quad, other.quad) == quad(10, 10, 396, 50)


def test_a_page_with_ink_at_its_edge_gets_a_margin(page):
    image, _ = page
    assert looks.framed(image)[1] == 0
    padded, margin = looks.framed(image[16:, 14:])
    assert margin == looks.MARGIN
    assert padded.shape[0] % looks.STEP == padded.shape[1] % looks.STEP == 0


def test_print_made_of_dots_is_read_as_lines(readers):
    """At full size a detector takes the dots of wide needle print for marks."""
    from learners import synthesis

    label = synthesis.thermal_label(30)
    found = readers["v6"].read(label.image)
    assert len(found) == len(label.lines)
