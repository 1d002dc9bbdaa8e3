"""What a first look missed, a second one fills or refuses; and each part of it switched off is noticed."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from daemon.redacting import PASSES, Quarantine, Redactor
from models import orientation, weights
from models.reader import NARROW, Reader
from privacy import anonymise
from privacy.detectors import email, interface, lookalikes, passages, phone, words
from privacy.detectors.interface import TextDetector
from privacy.detectors.unread import UnreadDetector
from privacy.page import Region

LINES = ("Invoice 4471 of today", "Tel: +44 20 7946 0958", "TOTAL 199.50 EUR", "Paid in cash", "jane.roe@example.org")


@pytest.fixture(scope="module")
def readers(weights_dir):
    guard = Reader(weights.v6_files(), "v6", narrowest=NARROW)
    return guard, Reader(weights.v4_files(weights_dir), "v4", narrowest=NARROW)


@pytest.fixture(scope="module")
def page():
    """The lines, and where the ink of the last one is."""
    canvas = Pillow.new("RGB", (420, 250), (250, 250, 246))
    font = ImageFont.load_default(22)
    for i, text in enumerate(LINES):
        ImageDraw.Draw(canvas).text((16, 14 + 46 * i), text, font=font, fill=(20, 20, 24))
    image = np.asarray(canvas).copy()
    ink = image.min(axis=2) < 128
    ink[: 14 + 46 * (len(LINES) - 1)] = False
    return image, ink


class Late:
    """A detector that misses everything at first: it begins to see with its `first`-th look at a page."""

    name, version, pixels = "late", "1", False

    def __init__(self, rule, first):
        self._detector, self._left = TextDetector(rule), first

    def find(self, image, lines):
        self._left -= 1
        return self._detector.find(image, lines) if self._left < 0 else []


def late(first=2):
    return [TextDetector(phone.RULE), Late(email.RULE, first)]


def test_what_the_first_look_missed_the_second_fills(readers, page):
    result, reason = Redactor(*readers, late()).look(page[0], 1)
    assert reason == ""
    assert result.redaction.mask[page[1]].all()
    assert not any("@" in line.text for line in result.lines)


def test_no_text_of_a_page_stays_when_it_is_done(readers, page, monkeypatch):
    def kept():
        caches = (interface._searched, lookalikes.fold, passages.found_in, words.cut)
        return [cache.cache_info().currsize for cache in caches]

    words.cut("张三住在北京")
    Redactor(*readers, late()).look(page[0], 1)
    assert kept() == [0, 0, 0, 0]
    monkeypatch.setattr("daemon.redacting.forget", lambda: None)  # mutant: nothing is forgotten
    words.cut("张三住在北京")
    Redactor(*readers, late()).look(page[0], 1)
    assert all(kept())
    interface.forget()


def blind(monkeypatch, *names):
    for name in names:
        monkeypatch.setattr(Reader, name, lambda self, image, *_: [])


def first_reading_without(monkeypatch, sign):
    """The first reading loses every line with this sign, as a detector that overlooked it would."""
    real = orientation.upright

    def short(image, reader):
        up = real(image, reader)
        return up._replace(lines=[line for line in up.lines if sign not in line.text])

    monkeypatch.setattr(orientation, "upright", short)


def test_a_line_that_nobody_saw_is_found_on_the_smaller_copy(readers, page, monkeypatch):
    first_reading_without(monkeypatch, "@")
    result, reason = Redactor(*readers, [TextDetector(r) for r in (phone.RULE, email.RULE)]).look(page[0], 1)
    assert reason == ""
    assert result.redaction.mask[page[1]].all()


def test_mutant_without_the_smaller_copy_it_stays(readers, page, monkeypatch):
    first_reading_without(monkeypatch, "@")
    blind(monkeypatch, "find_small")
    result, _ = Redactor(*readers, [TextDetector(r) for r in (phone.RULE, email.RULE)]).look(page[0], 1)
    assert not result.redaction.mask[page[1]].any()


def test_ink_that_no_reader_saw_at_all_goes_unread(readers, page, monkeypatch):
    first_reading_without(monkeypatch, "@")
    blind(monkeypatch, "find_small")
    detectors = [TextDetector(phone.RULE), TextDetector(email.RULE), UnreadDetector()]
    result, _ = Redactor(*readers, detectors).look(page[0], 1)
    assert result.redaction.mask[page[1]].all()


def leftover(monkeypatch):
    """Fills that leave the end of what they should cover."""
    real = anonymise._blocks

    def short(image, regions, lines):
        mask = real(image, regions, lines)
        columns = np.flatnonzero(mask.any(axis=0))
        if len(columns):
            mask[:, (4 * columns[0] + columns[-1]) // 5 // 8 * 8 :] = False
        return mask

    monkeypatch.setattr(anonymise, "_blocks", short)


def test_a_fill_that_is_too_short_is_seen_beside_it(readers, page, monkeypatch):
    leftover(monkeypatch)
    with pytest.raises(Quarantine, match="still shows: email"):
        Redactor(*readers, [TextDetector(email.RULE)]).page(page[0], 1)


def test_mutant_without_a_look_around_the_fills_it_is_not(readers, page, monkeypatch):
    leftover(monkeypatch)
    blind(monkeypatch, "find_parts", "find_small")
    Redactor(*readers, [TextDetector(email.RULE)]).page(page[0], 1)


def test_either_reader_is_enough(readers, page, monkeypatch):
    """One of the two is made blind, in turn: what is left is still seen."""
    leftover(monkeypatch)
    real = Reader.read_at
    for family in ("v4", "v6"):
        monkeypatch.setattr(
            Reader, "read_at", lambda self, image, quads, f=family: [] if self.family == f else real(self, image, quads)
        )
        seen = Redactor(*readers, [TextDetector(email.RULE)])
        readings = [real(readers[0], page[0], readers[0].find(page[0]))] * 2
        redaction = anonymise.anonymise(page[0], readings, [TextDetector(email.RULE)])
        left = anonymise.verify(redaction, seen._again(redaction, readings), [TextDetector(email.RULE)])
        assert {region.kind for region in left} == {"email"}, family


def test_what_goes_whole_is_not_read_by_the_model_in_service(readers, page, monkeypatch):
    read, real = [], Reader.reread
    monkeypatch.setattr(Reader, "reread", lambda self, image, lines: read.extend(lines) or real(self, image, lines))
    lines = readers[0].read(page[0])
    redaction, (guarded, second) = Redactor(*readers, [TextDetector(email.RULE)]).first(page[0], lines)
    assert redaction.mask[page[1]].all()
    assert [line.text for line in lines if line not in read] == [LINES[-1]]
    assert (guarded, [line.box for line in second]) == (lines, [line.box for line in lines])


def guard_without_the_sign(readers, page):
    """The first fill where the guard reads an address without its sign."""
    lines = readers[0].read(page[0])
    misread = [replace(line, text=line.text.replace("@", "a")) for line in lines]
    return Redactor(*readers, [TextDetector(email.RULE)]).first(page[0], misread)[0].mask[page[1]]


def test_what_the_guard_misread_the_model_in_service_reads(readers, page):
    assert guard_without_the_sign(readers, page).all()


def test_mutant_that_reads_no_line_twice_leaves_it(readers, page, monkeypatch):
    monkeypatch.setattr(anonymise, "hidden", lambda image, lines, found: [True] * len(lines))
    assert not guard_without_the_sign(readers, page).any()


def test_one_reading_does_not_confirm_itself(readers, page):
    """Detectors that look at the ink are shown a line that goes whole once: what only one reader read."""
    shown = []

    class Looks:
        name, version, pixels = "looks", "1", True

        def find(self, image, lines):
            shown.extend(line.text for line in lines)
            return []

    Redactor(*readers, [TextDetector(email.RULE), Looks()]).first(page[0], readers[0].read(page[0]))
    assert shown.count(LINES[-1]) == 1
    assert shown.count(LINES[0]) == 2


class Restless:
    """A detector that finds another place at every look."""

    name, version, pixels = "restless", "1", False

    def __init__(self):
        self.looks = 0

    def find(self, image, lines):
        self.looks += 1
        y = 8 * (self.looks % 24)
        return [Region("restless", ((300, y), (308, y), (308, y + 8), (300, y + 8)), 0.9, "test")]


def test_a_page_on_which_every_look_finds_more_is_refused(readers, page):
    restless = Restless()
    with pytest.raises(Quarantine, match="page 3 still shows: restless"):
        Redactor(*readers, [restless]).page(page[0], 3)
    assert restless.looks == 2 * (1 + PASSES)


def test_a_reader_that_breaks_stops_the_page(readers, page, monkeypatch):
    def broken(self, image, quads):
        raise RuntimeError("a reader failed")

    real = Reader.read_at
    monkeypatch.setattr(
        Reader, "read_at", lambda self, i, q: broken(self, i, q) if self.family == "v4" else real(self, i, q)
    )
    with pytest.raises(RuntimeError, match="a reader failed"):
        Redactor(*readers, late()).page(page[0], 1)
