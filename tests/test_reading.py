"""The reading worker on generated pages: what comes back is safe to seal; what is learned touches nothing removed."""

import json

import cv2
import numpy as np
import pytest

from daemon import redacting
from daemon.errors import BadFile
from daemon.reading import Reading, _turned
from learners import sidecars, synthesis
from learners.lines import unpack
from models import orientation
from models.reader import unseen
from privacy import anonymise
from privacy.page import Char, Line, Region


@pytest.fixture(scope="module")
def reading(weights_dir):
    return Reading({"weights": str(weights_dir), "model": str(weights_dir), "policy": {}, "label_confidence": 0.95})


def result(reading, document, sidecar=b""):
    header, blobs = reading.document([document.image], sidecar)
    return header, dict(zip(header["blobs"], blobs, strict=True))


def test_a_label_teaches_what_its_sidecar_says(reading):
    document = synthesis.thermal_label(3)
    header, blobs = result(reading, document, sidecars.write_sidecar(document))
    taught = unpack(0, blobs["lines"])
    assert header["labelled"]
    assert header["taught"] == len(taught.lines) > 0
    assert {line.text for line in taught.lines} <= {line.text for line in document.lines}
    assert all(line.image.shape[0] == 48 for line in taught.lines)


def test_without_a_sidecar_only_sure_readings_teach(reading):
    header, _ = result(reading, synthesis.thermal_label(3))
    assert not header["labelled"]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_was_removed_is_in_no_blob(reading, seed):
    document = synthesis.generate("letter", seed, "en_GB")
    header, blobs = result(reading, document, sidecars.write_sidecar(document))
    if header["verdict"] == "quarantined":
        assert blobs == {}
        return
    assert header["removed"]
    text = json.loads(blobs["text"])
    page = cv2.imdecode(np.frombuffer(blobs["page-1.png"], np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    assert page.shape == document.image.shape
    assert (page != document.image).any()
    for line in [*text[0], *(line.text for line in unpack(0, blobs["lines"]).lines)]:
        assert anonymise.redact_text(line)[1] == []


def test_what_verification_still_finds_sends_the_document_to_quarantine(reading, monkeypatch):
    document = synthesis.generate("letter", 1, "en_GB")
    found = Region("email", ((0, 0), (1, 0), (1, 1), (0, 1)), 0.9, "test")
    monkeypatch.setattr(anonymise, "verify", lambda *_: [found])
    header, blobs = result(reading, document)
    assert (header["verdict"], blobs) == ("quarantined", {})
    assert header["reason"] == "after redaction page 1 still shows: email"


def test_labels_that_cannot_be_read_are_blamed_without_being_quoted(reading):
    with pytest.raises(BadFile) as caught:
        reading.document([synthesis.thermal_label(3).image], b'[{"transcription": 7, "points": "secret"}]')
    assert "labels that cannot be read" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_an_empty_page_is_done_and_teaches_nothing(reading):
    header, _ = reading.document([np.full((60, 80, 3), 255, np.uint8)], b"")
    assert (header["verdict"], header["lines"], header["taught"], header["confidence"]) == ("done", 0, 0, None)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (9, 26000)])
def test_a_page_thinner_than_any_letter_is_done(reading, shape):
    header, _ = reading.document([np.full((*shape, 3), 200, np.uint8)], b"")
    assert (header["verdict"], header["lines"]) == ("done", 0)


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_labels_turn_with_their_page(reading, turn):
    document = synthesis.thermal_label(3)
    upside = orientation.rotate(document.image, 360 - turn)
    page = reading.page(upside, 1)
    assert page.image.shape == document.image.shape
    first = document.lines[0]
    height, width = document.image.shape[:2]
    forth = {
        90: lambda x, y: (y, width - x),
        180: lambda x, y: (width - x, height - y),
        270: lambda x, y: (height - y, x),
    }
    quad = tuple(forth[turn](x, y) for x, y in first.quad)
    turned = _turned(sidecars.Label(first.text, quad), page)
    assert np.allclose(turned.quad, first.quad)


def test_what_a_second_look_finds_is_filled_and_looked_at_again(reading, monkeypatch):
    document = synthesis.generate("letter", 1, "en_GB")
    corner = Region("email", ((0, 0), (40, 0), (40, 16), (0, 16)), 0.9, "test")
    looks = iter([[corner], []])
    monkeypatch.setattr(anonymise, "verify", lambda *_: next(looks))
    page = reading.page(document.image, 1)
    assert page.redaction.mask[0:16, 0:40].all()
    assert corner.kind in page.redaction.counts


def test_a_find_of_no_area_on_the_page_is_refused(reading, monkeypatch):
    """What cannot be filled is not forgotten: outside the page, or as thin as nothing."""
    document = synthesis.generate("letter", 1, "en_GB")
    real = anonymise.cover
    nowhere = Region("name", ((-9, -9), (-9, -9), (-9, -9), (-9, -9)), 0.9, "test")
    monkeypatch.setattr(anonymise, "cover", lambda i, r, found: real(i, r, (*found, nowhere)))
    header, blobs = result(reading, document)
    assert (header["verdict"], blobs) == ("quarantined", {})


def test_a_page_read_unsurely_is_refused():
    noise = np.random.default_rng(0)
    lines = [Line("x" * 20, ((0, 0), (90, 0), (90, 9), (0, 9)), c, c, chars(20, c)) for c in noise.uniform(0.1, 0.4, 5)]
    assert redacting._failed(lines)
    assert not redacting._failed([])


def chars(count, confidence):
    return tuple(Char("x", ((0, 0), (4, 0), (4, 9), (0, 9)), confidence) for _ in range(count))


def test_a_smaller_copy_shows_what_no_line_covers(reading):
    document = synthesis.generate("letter", 1, "en_GB")
    guard = reading._redactor._guard
    lines = guard.read(document.image)
    places = guard.find_small(document.image)
    assert unseen(places, [line.box for line in lines]) == []
    found = guard.read_at(document.image, unseen(places, [line.box for line in lines[1:]]))
    assert any(line.box.intersect(lines[0].box) > 0.5 * lines[0].box.area for line in found)
