"""Tills of the public documents: plain zeros, contrast, and how lines are cut out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from learners import fonts, slips, tills
from learners.damage import Damage, scanned
from learners.draws import Draws
from learners.tills import Till
from learners.typesetting import Style, typeset

SETTINGS = [(22, False), (29, False), (36, False), (18, True), (20, True), (22, True)]


def zero(face, size, binary):
    return typeset("0", Style(face, size, binary=binary)).ink


def holes(ink):
    """Patches of paper that ink encloses."""
    _, count = ndimage.label(np.pad(ink, 1) < 64)
    return count - 1


@pytest.mark.parametrize("face", fonts.MONOSPACED)
@pytest.mark.parametrize(("size", "binary"), SETTINGS)
def test_a_plain_zero_is_an_oval_with_one_hole(face, size, binary):
    slashed, plain = zero(face, size, binary), zero(fonts.plain(face), size, binary)
    assert holes(plain) == 1
    assert not (plain[len(plain) // 2] > 127)[len(plain[0]) * 2 // 5 : len(plain[0]) * 3 // 5].any()
    assert ((plain == slashed) | (plain == 0)).all(), "nothing is added"
    outside = ndimage.binary_fill_holes(slashed > 127) ^ ndimage.binary_fill_holes(plain > 127)
    assert not outside.any(), "the outline is whole"


def test_zeros_of_monospaced_faces_are_struck_through_otherwise():
    """What the test above would find without `plain_zero`."""
    for face in fonts.MONOSPACED:
        ink = zero(face, 36, False)
        middle = ink[len(ink) * 2 // 5 : len(ink) * 3 // 5, len(ink[0]) * 2 // 5 : len(ink[0]) * 3 // 5]
        assert (middle > 127).any(), face


def test_only_the_zero_is_another():
    for face in fonts.MONOSPACED:
        for character in "O8QD@6":
            one, other = (typeset(character, Style(name, 30)).ink for name in (face, fonts.plain(face)))
            assert (one == other).all()


def test_contrast_makes_paper_white_and_ink_black():
    ink = typeset("TOTAL 12.90", Style("roboto-mono", 30)).ink
    dull = Damage(paper=(190, 180, 170), print=(90, 95, 100), noise=16)
    grey = scanned(ink, dull, Draws(3, "scan"))
    clear = scanned(ink, replace(dull, levels=(15, 80)), Draws(3, "scan"))
    assert grey.min() > 60
    assert grey.max() < 215
    assert (clear[ink == 0] == 255).mean() > 0.95
    assert np.median(clear[ink == 255]) < 20
    assert (clear[..., 0] == clear[..., 1]).all()
    assert (clear[..., 0] == clear[..., 2]).all()


def till(**changes):
    plain = Till(None, Style("roboto", 30), Damage(), resolution=100, aspect=100, tight=False, capitals=True)
    return replace(plain, **changes)


def test_lines_are_as_wide_as_the_till_sets_them():
    line = typeset("SUBTOTAL", Style("roboto", 30))
    whole = till().scan(line, None, Draws(1, "cut"))
    narrow = till(aspect=60).scan(line, None, Draws(1, "cut"))
    coarse = till(resolution=50).scan(line, None, Draws(1, "cut"))
    assert narrow.shape == (whole.shape[0], whole.shape[1] * 60 // 100, 3)
    assert coarse.shape == (whole.shape[0] // 2, whole.shape[1] // 2, 3)


INK = np.arange(1, 21, dtype=np.uint8).reshape(4, 5) + 50


def test_a_frame_adds_paper_and_cuts_off_ink_at_the_side_that_is_said():
    assert (tills._framed(INK, 1, 0, 0, 2) == np.pad(INK, ((1, 0), (0, 2)))).all()
    assert (tills._framed(INK, 0, 3, 1, 0) == np.pad(INK, ((0, 3), (1, 0)))).all()
    assert (tills._framed(INK, -1, 0, 0, -2) == INK[1:, :-2]).all()
    assert (tills._framed(INK, 0, -2, -1, 0) == INK[:-2, 1:]).all()


def test_another_line_reaches_in_from_its_own_side():
    beside, paper = INK[:, ::-1].copy(), [0] * 5
    assert (tills._neighboured(INK, beside, 2, True) == np.concatenate([beside[2:], [paper], INK])).all()
    assert (tills._neighboured(INK, beside, 1, False) == np.concatenate([INK, [paper], beside[:1]])).all()
    short, wide = beside[:, :3], np.pad(beside, ((0, 0), (0, 4)), mode="edge")
    assert (tills._neighboured(INK, wide, 2, False)[5:] == beside[:2]).all()
    assert (tills._neighboured(INK, short, 2, False)[5:] == np.pad(short[:2], ((0, 0), (0, 2)))).all()


def test_smudges_are_trimmed_and_letters_are_not():
    smudged = np.pad(INK, 2, constant_values=tills.INKED)
    assert (tills._trimmed(smudged) == INK).all()
    assert (tills._trimmed(smudged // 2) == smudged // 2).all(), "no letter"


def test_tight_cuts_lose_little_and_hold_another_line_only_where_theirs_is_whole():
    """Rows tell which they are by their grey."""
    ink = np.repeat(np.arange(101, 201, dtype=np.uint8), 80).reshape(100, 80)
    beside, heights, strangers = (
        replace(typeset("A", Style("roboto", 30)), ink=np.full((30, 80), 255, np.uint8)),
        set(),
        0,
    )
    for seed in range(300):
        alone = tills._tight(ink, 100, None, Draws(seed, "cut"))
        both = tills._tight(ink, 100, beside, Draws(seed, "cut"))
        heights.add(np.unique(alone[alone > 0]).size)
        assert (alone > 0).any(0).sum() >= 72
        if both.shape != alone.shape:
            strangers += 1
            added = len(both) - len(alone) - 1
            above = both[0].max() == 255
            assert 4 <= added <= 14
            assert (both == (tills._neighboured(alone, beside.ink, added, above))).all()
            assert alone[0 if above else -1].max() in (0, 101 if above else 200), "its own edge was cut off"
    assert heights >= {100, 99, 95}
    assert min(heights) >= 88
    assert 60 <= strangers <= 110


def test_a_roomy_cut_keeps_its_ink_and_leaves_paper_around_it():
    line = typeset("AMOUNT", Style("roboto", 30))
    for seed in range(30):
        cut = tills._roomy(line.ink, line.height, Draws(seed, "cut"))
        above = (cut.shape[0] - line.height) // 2
        assert line.height * 6 // 100 <= above <= line.height * 26 // 100
        left = (cut > 0).any(0).argmax()
        assert (cut[above:-above, left : left + line.width] == line.ink).all()


def test_print_pales_in_places_and_comes_back():
    ink = np.full((10, 200), 250, np.uint8)
    faded = [tills._faded(ink, Draws(seed, "wear")) for seed in range(100)]
    for each in faded:
        assert each.shape == ink.shape
        assert (each == each[0]).all(), "a column is as pale as it is"
        at = each[0, ::20].astype(int)
        assert set(at) <= {250, 200, 150, 100, 62}
        assert (np.abs(each[0, 10::20][:-1] - (at[:-1] + at[1:]) / 2) <= 2).all(), "straight in between"
    assert min(each.min() for each in faded) == 62
    assert np.mean([each.max() == 250 for each in faded]) > 0.9
    assert len({each.tobytes() for each in faded}) > 90


def test_a_quarter_of_the_lines_has_pale_places():
    line = replace(typeset("A", Style("roboto", 30)), ink=np.full((20, 400), 255, np.uint8))
    scans = [till(tight=True).scan(line, None, Draws(seed, "cut")) for seed in range(300)]
    assert 50 < sum(len(np.unique(scan)) > 3 for scan in scans) < 100


@pytest.mark.parametrize("slope", [-22, -3, 0, 3, 22])
def test_a_line_slopes_by_its_width_and_loses_nothing(slope):
    ink = typeset("I........................................................I", Style("roboto-mono", 20)).ink
    rise = min(abs(slope) * ink.shape[1] // 1000, ink.shape[0] * 45 // 100)
    sloping = tills._sloping(ink, slope)
    assert sloping.shape == (ink.shape[0] + rise, ink.shape[1])
    first, last = ((0, rise) if slope < 0 else (rise, 0)) if slope else (0, 0)
    assert (sloping[first : first + len(ink), 0] == ink[:, 0]).all()
    assert (sloping[last : last + len(ink), -1] == ink[:, -1]).all()
    assert (sloping.sum(0) == ink.sum(0)).all()
    assert abs(slope) != 3 or 0 < rise < ink.shape[0] * 45 // 100, "the cap must not be all that is seen"


def test_scans_slope():
    line = typeset("I" * 60, Style("roboto", 30))
    heights = [till(tight=True).scan(line, None, Draws(seed, "cut")).shape[0] for seed in range(200)]
    straight = [len(tills._tight(line.ink, line.height, None, Draws(seed, "cut"))) for seed in range(200)]
    assert max(heights) > max(straight) + 4


def test_a_blank_line_is_cut_out_too():
    blank = replace(typeset("A", Style("roboto", 30)), ink=np.zeros((20, 40), np.uint8))
    assert till(tight=True).scan(blank, blank, Draws(5, "cut")).min() == 255


def test_small_letters_are_written_as_tills_do():
    written = {till(capitals=False).cased("NET Total", Draws(seed, "case")) for seed in range(60)}
    assert written == {"Net Total", "Net total", "net total", "NET Total"}
    assert till().cased("NET Total", Draws(1, "case")) == "NET TOTAL"


def test_tills_have_every_kind_of_print_and_mostly_plain_zeros():
    drawn = [Till.of(Draws(seed, "till")) for seed in range(200)]
    assert {each.aspect for each in drawn} >= {52, 100}
    assert {each.tight for each in drawn} == {each.capitals for each in drawn} == {True, False}
    assert {each.damage.levels is None for each in drawn} == {True, False}
    faces = [(each.press.style if each.press else each.style).face for each in drawn]
    slashed = [face for face in faces if face in fonts.MONOSPACED or face == fonts.PINS]
    assert 0 < len(slashed) < len(drawn) / 2


def test_letters_of_their_own_widths_keep_them_and_stand_close():
    drawn = [Till.of(Draws(seed, "till")) for seed in range(400)]
    spread = [each for each in drawn if each.press is None and each.style.face in fonts.PROPORTIONAL]
    assert {each.aspect for each in spread} == {80, 90, 100}
    assert {each.style.tracking for each in spread} == {0, -1, -2}
    for others in ([each for each in drawn if each.press], [each for each in drawn if not each.press]):
        fixed = [each for each in others if each not in spread]
        assert {each.aspect for each in fixed} == {52, 60, 70, 80, 90, 100}
    assert 0.4 < np.mean([each.press is not None for each in drawn]) < 0.5


def test_zeros_are_common_in_numbers():
    numbers = "".join(slips._number(Draws(seed, "number")) for seed in range(500))
    digits = [character for character in numbers if character.isdigit()]
    assert 0.25 < digits.count("0") / len(digits) < 0.37
    assert set(digits) == set("0123456789")


def test_slips_say_what_columns_hold():
    said = [slips.wording(Draws(seed, "wording")) for seed in range(2000)]
    assert len(set(slips.MARKS) & set(said)) > 15
    assert "0%" in said
    assert 40 < sum(len(text) == 1 for text in said) < 140
    assert sum('"' in text for text in said) > 10
