"""Pages are set upright: by quarter turns, and by a few degrees; labels go with them, and mutants are seen."""

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from models import orientation, weights
from models.orientation import moved, placement, rotate, slope, straightened, upright
from models.reader import Reader

TEXT = ("Invoice 4471 of today", "Blue widgets 12 pcs", "TOTAL 199.50 EUR")


@pytest.fixture(scope="module")
def reader(weights_dir):
    return Reader(weights.v6_files(), "v6")


@pytest.fixture(scope="module")
def page():
    sheet = Pillow.new("RGB", (420, 170), (250, 250, 246))
    for row, text in enumerate(TEXT):
        ImageDraw.Draw(sheet).text((14, 12 + 40 * row), text, font=ImageFont.load_default(24), fill=(20, 20, 24))
    return np.asarray(sheet).copy()


def bars(angle, count=6):
    """Lines of text, as quadrilaterals 300 long and 20 high, that fall to the right by so many degrees."""
    turn = np.radians(angle)
    along, down = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
    corners = [(40 + 40 * row) * down + np.array([60, 20]) for row in range(count)]
    return [tuple(tuple(p) for p in (c, c + 300 * along, c + 300 * along + 20 * down, c + 20 * down)) for c in corners]


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_a_page_is_set_upright(reader, page, turn):
    found = upright(rotate(page, turn), reader)
    assert (found.turn, found.slope) == ((360 - turn) % 360, 0.0)
    assert (found.image == page).all()
    assert [line.text for line in found.lines] == list(TEXT)


def test_an_upright_page_is_read_once(reader, page, monkeypatch):
    places = []
    real = Reader.read_at
    monkeypatch.setattr(Reader, "read_at", lambda self, image, quads: places.extend(quads) or real(self, image, quads))
    upright(page, reader)
    assert len(places) == len(TEXT)


@pytest.mark.parametrize("angle", [-4.0, 3.0])
def test_a_page_that_lies_askew_is_straightened(reader, page, angle):
    found = upright(straightened(page, -angle), reader)
    assert found.turn == 0
    assert found.slope == pytest.approx(angle, abs=1.0)
    assert [line.text for line in found.lines] == list(TEXT)
    first, last = found.lines[0].quad[:2]
    assert abs(last[1] - first[1]) < 0.025 * (last[0] - first[0])


def test_the_shapes_of_lines_tell_the_slope():
    assert slope(bars(3.0)) == pytest.approx(3.0)
    assert slope(bars(-2.5)) == pytest.approx(-2.5)
    assert slope(bars(92.0), lying=True) == pytest.approx(2.0)
    assert slope(bars(0.3)) == 0.0, "within what corners are off"
    assert slope(bars(3.0, 3) + bars(-3.0, 3)) == 0.0, "lines that do not agree"
    assert slope([]) == 0.0


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
@pytest.mark.parametrize("angle", [0.0, 3.5, -3.5])
def test_a_place_goes_where_its_pixel_goes(turn, angle):
    image = np.zeros((90, 140, 3), np.uint8)
    image[20:24, 100:104] = 255
    there = straightened(rotate(image, turn), angle)
    quad = ((100, 20), (104, 20), (104, 24), (100, 24))
    middle = np.mean(moved(quad, placement((90, 140), turn, angle)), axis=0)
    rows, columns = np.nonzero(there[:, :, 0] > 128)
    assert np.allclose(middle, (columns.mean() + 0.5, rows.mean() + 0.5), atol=0.8)


def test_a_straightened_page_loses_nothing():
    image = np.full((90, 140, 3), 255, np.uint8)
    for y, x in ((0, 0), (0, 136), (86, 0), (86, 136)):
        image[y : y + 4, x : x + 4] = 0
    level = straightened(image, 4.0)
    assert len(cv2.connectedComponentsWithStats((level[:, :, 0] < 128).astype(np.uint8))[2]) == 5


def test_a_turn_that_is_no_quarter_is_refused():
    image = np.zeros((2, 3, 3), np.uint8)
    image[0, 0] = 9
    assert rotate(image, 90)[0, 1, 0] == 9
    with pytest.raises(ValueError, match="45"):
        rotate(image, 45)


def test_a_page_left_on_its_head_is_noticed(reader, page, monkeypatch):
    """The mutant: nobody asks which way is up."""
    monkeypatch.setattr(orientation, "_turn", lambda *_: 0)
    with pytest.raises(AssertionError):
        test_a_page_is_set_upright(reader, page, 180)
