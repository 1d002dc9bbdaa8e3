"""Fonts, typesetting, dot printers, damage and geometry of the public documents."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from learners import damage, fonts, geometry, printing, thermal
from learners.draws import Draws
from learners.errors import FontUnavailable, MissingGlyph
from learners.fonts import CHINESE, FACES, MONOSPACED, PINS, PROPORTIONAL
from learners.typesetting import Style, measure, typeset
from privacy.page import Box, Region

EVERY_FACE = [*FACES, PINS]
SAMPLE = "Qty 21, Exp. 08/2027 @ 5% (AMOXICILLIN) fjgy"
DRAWN = [768, 744, 202, 374, 966, 626, 169, 527]
OCTETS = [[174, 129, 141], [13, 245, 233]]


def sample(face: str) -> str:
    return "病人姓名：张伟 Ag 08/27" if face in CHINESE else SAMPLE


def test_draws_are_these_numbers_on_every_machine() -> None:
    draws = Draws(7, "a purpose")
    assert [draws.below(1000) for _ in range(8)] == DRAWN
    assert Draws(7, "a purpose").octets((2, 3)).tolist() == OCTETS
    assert Draws(7, "another").octets((2, 3)).tolist() != OCTETS


def test_draws_keep_to_their_range_and_spread() -> None:
    draws = Draws(1, "range")
    seen = [draws.between(-2, 2) for _ in range(500)]
    assert set(seen) == {-2, -1, 0, 1, 2}
    assert sorted(draws.sample("abcdef", 6)) == list("abcdef")
    bell = draws.bell((200, 200))
    assert abs(int(bell.mean())) <= 3
    assert 140 < float(bell.std()) < 156
    with pytest.raises(ValueError, match="bound=0 >= 1"):
        draws.below(0)
    with pytest.raises(ValueError, match="seed=-1 >= 0"):
        Draws(-1, "range")


@pytest.mark.parametrize("face", EVERY_FACE)
def test_a_face_without_a_glyph_refuses_the_text(face: str) -> None:
    lacking = next(c for c in "汉Ж☃\ue123" if ord(c) not in fonts.coverage(face))
    with pytest.raises(MissingGlyph, match=rf"{face}; it has none for U\+{ord(lacking):04X}"):
        typeset(f"A{lacking}B", Style(face, 24))
    with pytest.raises(MissingGlyph):
        measure(lacking, Style(face, 24))


@pytest.mark.parametrize("face", FACES)
def test_coverage_is_what_the_rasteriser_draws(face: str) -> None:
    """Against FreeType, which draws glyph 0 for what a face lacks: our reading of `cmap` is our own."""
    font = fonts.load(face, 32)
    unknown = bytes(font.getmask("\uffff"))
    points = [0x41, 0x7A, 0xE9, 0xDF, 0x105, 0x142, 0x416, 0x3B1, 0x20AC, 0x2603, 0x6C49, 0x5F20, 0x1F600, 0xE123]
    for point in points:
        drawn = bytes(font.getmask(chr(point)))
        assert (drawn != unknown) == (point in fonts.coverage(face)), hex(point)


def test_unknown_faces_and_other_bytes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FontUnavailable, match="got 'Arial'"):
        typeset("A", Style("Arial", 20))
    monkeypatch.setitem(FACES, "other", replace(FACES["lato"], sha256="0" * 64))
    with pytest.raises(FontUnavailable, match="with SHA-256 0000"):
        fonts.load("other", 20)
    monkeypatch.setitem(FACES, "gone", replace(FACES["lato"], package="fontpkg_gone"))
    with pytest.raises(FontUnavailable, match="pinned package fontpkg_gone"):
        fonts.load("gone", 20)


@pytest.mark.parametrize("face", EVERY_FACE)
def test_boxes_are_exactly_around_the_ink(face: str) -> None:
    for style in (Style(face, 24), Style(face, 20, tracking=5, binary=True, wide=2)):
        text = sample(face)
        setting = typeset(text, style)
        assert setting.text == text
        assert [box is None for box in setting.boxes] == [c == " " for c in text]
        assert setting.box() == Box(0, 0, setting.width, setting.height)
        assert measure(text, style) == setting.width
        left = setting.ink.copy()
        for box in filter(None, setting.boxes):
            part = setting.ink[box.y0 : box.y1, box.x0 : box.x1]
            assert all(edge.any() for edge in (part[0], part[-1], part[:, 0], part[:, -1]))
            left[box.y0 : box.y1, box.x0 : box.x1] = 0
        assert not left.any()


def test_a_character_is_where_it_is_alone() -> None:
    """Each box holds its own character's ink, not its neighbour's: draw the line with that one only."""
    style = Style("plex-mono", 28)
    setting = typeset("Lot 7B", style)
    for index in (0, 1, 4, 5):
        alone = typeset(setting.text[index], style)
        box = setting.boxes[index]
        assert box is not None
        assert np.array_equal(setting.ink[box.y0 : box.y1, box.x0 : box.x1], alone.ink)


def test_tracking_spreads_a_line_by_its_gaps() -> None:
    style = Style("lato", 60)
    assert measure("A V", replace(style, tracking=9)) == measure("A V", style) + 18
    assert typeset("AV", replace(style, wide=2)).width == 2 * measure("AV", style)


def test_only_spaces_are_refused() -> None:
    with pytest.raises(ValueError, match="got only spaces"):
        typeset("  ", Style("lato", 20))
    with pytest.raises(ValueError, match="got only spaces"):
        measure("  ", Style("lato", 20))


def perfect(pitch: int) -> printing.Printer:
    return printing.Printer(pitch, diameter=8, strength=100, spread=0, missing=0, rows=(100,), fade=(100, 100))


@pytest.mark.parametrize("pitch", [9, 16, 26, 53, 128])
def test_a_printed_line_stays_in_its_boxes(pitch: int) -> None:
    setting = typeset(SAMPLE, Style(PINS, 8, tracking=1))
    printed = printing.strike(setting, replace(perfect(pitch), diameter=6, spread=40, missing=20), Draws(3, "p"))
    left = printed.ink.copy()
    for box in filter(None, printed.boxes):
        assert printed.ink[box.y0 : box.y1, box.x0 : box.x1].any()
        left[box.y0 : box.y1, box.x0 : box.x1] = 0
    assert not left.any()


def test_a_perfect_printer_at_a_pixel_a_dot_prints_the_dots() -> None:
    setting = typeset("LOT 4", Style("inconsolata", 20, binary=True))
    printed = printing.strike(setting, perfect(16), Draws(3, "p"))
    assert np.array_equal(printed.ink > 250, setting.ink > 0)
    assert printed.boxes == setting.boxes


def test_wear_is_where_it_is_said_to_be() -> None:
    setting = typeset("HHHHHHHHHHH", Style(PINS, 8))
    whole = printing.strike(setting, perfect(64), Draws(3, "p")).ink
    worn = printing.strike(setting, replace(perfect(64), rows=(100, 100, 40, 100, 100, 100, 100)), Draws(3, "p")).ink
    assert worn[8:12].max() <= 110 < worn[:8].max() == whole.max()
    dead = printing.strike(setting, replace(perfect(64), dead=(500,)), Draws(3, "p")).ink
    column = 4 * (500 * setting.width // 1000)
    assert not dead[:, column : column + 4].any()
    assert whole[:, column : column + 4].any()
    faded = printing.strike(setting, replace(perfect(64), fade=(100, 50)), Draws(3, "p")).ink
    assert faded[:, :12].max() > 240
    assert faded[:, -4:].max() < 140
    holes = printing.strike(setting, replace(perfect(64), missing=300), Draws(3, "p")).ink
    assert 0.6 < holes.sum() / whole.sum() < 0.8
    with pytest.raises(ValueError, match="pitch=129 from 1 to 128"):
        perfect(129)


def test_every_press_prints() -> None:
    seen = set()
    for seed in range(40):
        draws = Draws(seed, "press")
        press = thermal.press(draws)
        seen.add(press.style.face)
        assert press.print("LOT 46-9 EXP 02/2024", draws).ink.max() > 100
    assert PINS in seen
    assert len(seen) >= 5


def test_undamaged_ink_is_the_picture() -> None:
    ink = np.arange(256, dtype=np.uint8).reshape(16, 16)
    picture = damage.scanned(ink, damage.NONE, Draws(0, "d"))
    assert np.array_equal(picture, np.repeat(255 - ink[:, :, None], 3, axis=2))


def test_paper_and_print_have_their_colours() -> None:
    ink = np.array([[0, 255]], np.uint8)
    tinted = damage.Damage(paper=(240, 235, 230), print=(30, 30, 42))
    assert damage.scanned(ink, tinted, Draws(0, "d")).tolist() == [[[240, 235, 230], [30, 30, 42]]]
    dark = damage.Damage(paper=(20, 20, 24), print=(230, 230, 234))
    assert damage.scanned(ink, dark, Draws(0, "d")).tolist() == [[[20, 20, 24], [230, 230, 234]]]


def test_blur_is_the_kernel_and_noise_has_its_spread() -> None:
    dot = np.zeros((7, 7), np.uint8)
    dot[3, 3] = 160
    once = damage.blurred(dot, 1)
    assert once[2:5, 2:5].tolist() == [[10, 20, 10], [20, 40, 20], [10, 20, 10]]
    flat = np.full((200, 200), 128, np.uint8)
    noisy = damage.scanned(flat, damage.Damage(noise=40), Draws(0, "d"))[:, :, 0].astype(float)
    assert 9.5 < noisy.std() < 10.5
    shaded = damage.scanned(flat, damage.Damage(shade=60), Draws(5, "d"))
    assert 10 < int(shaded.max()) - int(shaded.min()) <= 60


@pytest.mark.parametrize(
    "wrong",
    [
        {"noise": 65},
        {"noise": -1},
        {"blur": -1},
        {"shade": -1},
        {"turn": 129},
        {"lean": (0, -129)},
        {"levels": (80, 80)},
    ],
)
def test_senseless_damage_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="Expected"):
        damage.Damage(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("turn", "lean"), [(0, (0, 0)), (20, (0, 0)), (-90, (0, 0)), (12, (60, -80)), (0, (-128, 128))]
)
def test_ink_and_corners_move_together(turn: int, lean: tuple[int, int]) -> None:
    shape = (240, 320)
    matrix = geometry.askew(shape, turn, lean)
    for box in (Box(40, 50, 70, 64), Box(200, 170, 240, 200), Box(150, 110, 160, 130)):
        ink = np.zeros(shape, np.uint8)
        ink[box.y0 : box.y1, box.x0 : box.x1] = 255
        corners = ((box.x0, box.y0), (box.x1, box.y0), (box.x1, box.y1), (box.x0, box.y1))
        region = Region("name", corners, 1.0, "planted")
        _, (moved,) = geometry.carried([], [region], shape, matrix, 0)
        rows, columns = np.nonzero(geometry.pulled(ink, matrix) > 127)
        xs, ys = [p[0] for p in moved.quad], [p[1] for p in moved.quad]
        found = [columns.min(), columns.max() + 1, rows.min(), rows.max() + 1]
        assert found == pytest.approx([min(xs), max(xs), min(ys), max(ys)], abs=1.2)
        middle = [columns.mean() + 0.5, rows.mean() + 0.5]
        assert middle == pytest.approx([np.mean(xs), np.mean(ys)], abs=1.0)


def test_no_turn_changes_nothing() -> None:
    ink = np.random.default_rng(0).integers(0, 256, (31, 47), dtype=np.uint8)
    matrix = geometry.askew(ink.shape, 0, (0, 0))
    assert np.array_equal(geometry.pulled(ink, matrix), ink)
    region = Region("name", ((1, 2), (5, 2), (5, 4), (1, 4)), 1.0, "planted")
    assert geometry.carried([], [region], ink.shape, matrix, 0) == ((), (region,))


def test_quarter_turns_carry_corners_as_numpy_turns_pixels() -> None:
    ink = np.zeros((20, 30), np.uint8)
    ink[4:7, 10:22] = 255
    region = Region("name", ((10, 4), (22, 4), (22, 7), (10, 7)), 1.0, "planted")
    for quarters in (1, 2, 3):
        turned = np.rot90(ink, -quarters)
        _, (moved,) = geometry.carried([], [region], (20, 30), geometry.askew((20, 30), 0, (0, 0)), quarters)
        box = moved.box
        assert turned[box.y0 : box.y1, box.x0 : box.x1].all()
        assert turned.sum() == 255 * box.area


def test_proportional_and_fixed_faces_are_what_they_are_called() -> None:
    for face in MONOSPACED:
        assert fonts.load(face, 40).getlength("i") == fonts.load(face, 40).getlength("W")
    for face in PROPORTIONAL:
        assert fonts.load(face, 40).getlength("i") < fonts.load(face, 40).getlength("W")
