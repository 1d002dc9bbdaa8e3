"""Tills of the public documents: plain zeros, contrast, and how lines are cut out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from learners import fonts, thermal, tills, typesetting
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


def test_a_tight_cut_is_at_the_ink_and_may_hold_some_of_another_line():
    line, beside = (typeset(text, Style("roboto", 30)) for text in ("AMOUNT", "gjpqy,"))
    heights, alone, with_beside = [], 0, 0
    for seed in range(40):
        cut = till(tight=True).scan(line, None, Draws(seed, "cut"))
        heights.append(cut.shape[0])
        alone += _foreign_rows(cut)
        with_beside += _foreign_rows(till(tight=True).scan(line, beside, Draws(seed, "cut")))
    assert min(heights) < line.height < max(heights) <= line.height * 13 // 10
    assert alone == 0
    assert 5 <= with_beside <= 25


def _foreign_rows(cut):
    """1 where rows of ink are parted from the line's by paper."""
    inked = (cut[..., 0] < 128).any(1)
    return int(np.diff(np.flatnonzero(inked)).max() > 1)


@pytest.mark.parametrize("slope", [-22, 0, 22])
def test_a_line_slopes_by_its_width_and_loses_nothing(slope):
    ink = typeset("I........................................................I", Style("roboto-mono", 20)).ink
    sloping = tills._sloping(ink, slope)
    rise = abs(slope) * ink.shape[1] // 1000
    assert sloping.shape == (ink.shape[0] + min(rise, ink.shape[0] * 45 // 100), ink.shape[1])
    assert int(sloping.sum()) == int(ink.sum())
    left, right = (int(np.flatnonzero(sloping[:, columns].any(1))[0]) for columns in (slice(0, 3), slice(-3, None)))
    assert np.sign(left - right) == np.sign(slope)


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
    assert set(tills.PRESS_FACES) - {"plex-mono", "inconsolata"} == set(map(fonts.plain, thermal.FACES))
    assert typesetting.FACES is fonts.FACES
