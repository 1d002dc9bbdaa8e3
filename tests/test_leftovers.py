"""What a first look leaves: the rest of a value, numbers nobody explains, strokes that readers take for text."""

import re

import cv2
import numpy as np
import pytest

from privacy import anonymise
from privacy.detectors import long_numbers, unread
from privacy.detectors.interface import TextDetector
from privacy.detectors.leftovers import LeftoverDetector
from privacy.detectors.passages import FILLED, FILLED_ALONE
from privacy.detectors.registry import default_detectors
from privacy.detectors.unread import UnreadDetector
from privacy.page import Char, Line, Region

PAPER = np.full((200, 600, 3), 250, np.uint8)


def quad(x0, y0, x1, y1):
    return (x0, y0), (x1, y0), (x1, y1), (x0, y1)


def line(text, x, y, confidence=1.0, wide=10):
    chars = tuple(
        Char(c, quad(x + wide * i, y, x + wide * (i + 1), y + 20), 1.0) for i, c in enumerate(text) if c != " "
    )
    return Line(text, quad(x, y, x + wide * len(text), y + 20), confidence, confidence, chars)


def fill(x0, y0, x1, y1, text=FILLED):
    return Line(text, quad(x0, y0, x1, y1), 1.0, 1.0)


def left(*lines):
    return [(r.box.x0, r.box.x1) for r in LeftoverDetector().find(PAPER, lines)]


def test_the_rest_of_a_value_beside_its_fill_is_found():
    assert left(fill(0, 0, 100, 20), line("Tapia 8", 106, 0)) == [(106, 176)]
    assert left(fill(0, 0, 100, 20), line("Xyzzy", 106, 0)) == [(106, 156)]
    assert left(line("8-12", 0, 0), fill(46, 0, 120, 20)) == [(0, 40)]


def test_labels_common_words_and_what_stands_apart_are_not():
    assert left(line("Name:", 0, 0), fill(56, 0, 120, 20)) == []
    assert left(line("Xyzzy", 0, 0), fill(56, 0, 120, 20)) == []  # for all that is known, a label
    assert left(fill(0, 0, 100, 20), line("will pay tomorrow", 106, 0)) == []
    assert left(fill(0, 0, 100, 20), line("Tapia 8", 130, 0)) == []
    assert left(fill(0, 0, 100, 20), line("Tapia 8", 106, 40)) == []


def test_nothing_is_left_on_a_page_without_fills_nor_beside_a_face():
    assert left(line("Casa Xyzzy 8", 0, 0)) == []
    assert left(fill(0, 0, 100, 20, FILLED_ALONE), line("Tapia 8", 106, 0)) == []


def test_a_label_of_several_words_against_a_fill_stays():
    assert left(fill(0, 0, 100, 20), line("Aufgenommen am 3", 106, 0)) == []
    assert left(fill(0, 0, 100, 20), line("Xyzzy Date of birth", 106, 0)) == [(106, 156)]


class Half:
    """A detector that finds the first half of a line."""

    name, version, pixels = "half", "1", False

    def find(self, image, lines):
        return [Region("name", quad(0, 0, 100, 20), 0.9, "test")]


@pytest.mark.parametrize("at_work", [True, False], ids=["at work", "mutant without it"])
def test_a_second_look_sees_the_other_half(at_work):
    image, rest = PAPER.copy(), line("Xyzzy", 106, 0)
    image[4:16, 106:156] = 0
    redaction = anonymise.anonymise(image, [[rest]], [Half()])
    found = anonymise.verify(redaction, [[rest]], [LeftoverDetector()] if at_work else [])
    assert [r.kind for r in found] == (["leftover"] if at_work else [])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("43812077", ["43812077"]),
        ("see 4381-20775 for it", ["4381-20775"]),
        ("AB1234567", ["AB1234567"]),
        ("438120", []),
        ("Order no. 43812077", []),
        ("Invoice number: 43812077", []),
        ("12/03/2025 14:05", []),
        ("2025-03-12", []),
        ("1 250 000,00", []),
        ("4006381333931", []),  # the check digit of an article number fits
        ("4006381333932", ["4006381333932"]),
        ("10 20 30 40 50", []),
        ("2026/12345", ["2026/12345"]),  # no day of any month
        ("2026/12/24 12", []),
        ("kept as 12 C 3456/26 there", ["12 C 3456/26"]),
        ("96385074", []),
        ("Filed as: 96385074", ["96385074"]),  # a word announces it, so its check digit fits by chance
        ("Article: 96385074", []),
    ],
)
def test_long_numbers_that_nothing_explains(text, found):
    assert [text[s.start : s.end] for s in long_numbers.RULE.find(text)] == found


def scrawl(*lines):
    """Is a stroke under these readings still unread?"""
    image = PAPER.copy()
    points = np.array([[100 + 8 * k, 60 + (28 if k % 2 else 0)] for k in range(12)])
    cv2.polylines(image, [points], False, (20, 20, 20), 3)
    printed = [line("Some words of a usual height", 40, 150), line("and some more of them", 40, 176)]
    return bool([r for r in UnreadDetector().find(image, [*lines, *printed]) if r.box.y0 < 100])


def over(text, confidence):
    return Line(text, quad(90, 50, 200, 98), confidence, confidence)


def test_letters_that_readers_make_of_a_stroke_are_not_believed(monkeypatch):
    assert scrawl(over("allanals", 0.86), over("lml", 0.73))
    assert scrawl(over("Veeceee", 0.54), over("eee8", 0.51))
    assert not scrawl(over("Widgets", 0.95))
    assert not scrawl(over("Widgets", 0.7), over("Wldgets", 0.6))
    monkeypatch.setattr(unread, "SURELY", 0.5)  # mutant: any reading is believed
    assert not scrawl(over("allanals", 0.86), over("lml", 0.73))


def test_a_name_above_its_label_that_was_read_poorly_is_a_signature():
    label = line("Signature", 100, 104)
    assert scrawl(over("Wills", 0.95), over("Wills", 0.95), label)
    assert not scrawl(over("Wills", 0.95), over("Wills", 0.95))


def night(ink):
    """A screen at night: lighter bubbles, a line of print that was read in the first, and a stroke below them."""
    image = np.full((600, 600, 3), 30, np.uint8)
    for top in (60, 130, 200, 270):
        image[top : top + 50, 60:500] = 46
    cv2.putText(image, "Some words", (80, 95), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (220,) * 3, 2)
    points = np.array([[100 + 8 * k, 400 + (30 if k % 2 else 0)] for k in range(8)])
    cv2.polylines(image, [points], False, (ink,) * 3, 3)
    return [r.box.y0 for r in UnreadDetector().find(image, [Line("Some words", quad(75, 72, 235, 104), 0.99, 0.99)])]


def test_on_a_dark_page_ink_is_what_is_light(monkeypatch):
    assert night(30) == []
    assert [y > 350 for y in night(230)] == [True]
    monkeypatch.setattr(unread, "DARK", 0)  # mutant: ink is dark everywhere
    assert night(30) != []


def test_a_short_rule_goes_with_the_ink_upon_it(monkeypatch):
    image = PAPER.copy()
    cv2.polylines(image, [np.array([[100 + 8 * k, 60 + (30 if k % 2 else 0)] for k in range(8)])], False, (0, 0, 0), 2)
    image[90:92, 60:300] = 0

    def widest():
        return max(r.box.x1 - r.box.x0 for r in UnreadDetector().find(image, []))

    assert 90 < widest() < 230
    monkeypatch.setattr(unread, "UNDERLINE", 0)  # mutant: rules stay
    assert widest() < 90


def test_a_signature_goes_as_far_as_its_stroke(monkeypatch):
    image = PAPER.copy()
    cv2.polylines(image, [np.array([[160 + 8 * k, 60 + (30 if k % 2 else 0)] for k in range(8)])], False, (0, 0, 0), 2)
    cv2.line(image, (110, 78), (160, 60), (0, 0, 0), 1)  # its first stroke, fine and nearly straight

    def first():
        return min(r.box.x0 for r in UnreadDetector().find(image, []))

    assert first() <= 110
    monkeypatch.setattr(unread, "SIGNATURE", (0, 0))  # mutant: strokes are not followed
    assert first() > 110


def test_below_a_closing_two_letters_are_a_signature(monkeypatch):
    image = PAPER.copy()
    cv2.polylines(image, [np.array([[70 + 14 * k, 76 + (30 if k % 2 else 0)] for k in range(8)])], False, (0, 0, 0), 3)
    read = [Line("m", quad(60, 70, 180, 112), 0.93, 0.93), Line("M>", quad(60, 70, 180, 112), 0.8, 0.8)]

    def found(closing):
        return UnreadDetector().find(image, [Line(closing, quad(40, 30, 150, 60), 0.99, 0.99), *read])

    assert all(map(found, ("此致敬礼", "Herzliche Grüße,", "敬祝 安康")))
    monkeypatch.setattr(unread, "_SIGNED", re.compile("(?!)"))  # mutant: no label counts
    assert not found("此致敬礼")


def test_the_service_has_them(weights_dir):
    names = {d.name for d in default_detectors(weights_dir / "centerface.onnx")}
    assert {"leftover", "long_number"} <= names
    assert isinstance(
        next(d for d in default_detectors(weights_dir / "centerface.onnx", without=("face",))), TextDetector
    )
