"""A bench's candidates are read through what they learned."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from learners.catalogue import Looks
from learners.lines import document
from learners.settings import Settings
from learners.survey import survey
from models.ctc import Alphabet
from models.recogniser import Recogniser
from privacy.page import Image

sys.path.append(str(Path(__file__).parents[1] / "bench"))
from features import Remembered, Shelf, backbone, by_document
from lessons import Bench


@pytest.mark.parametrize("adapter", ["bias", "head", "lora", "norm", "neck"])
def test_a_candidate_is_read_through_the_neck_that_learned(
    model: Recogniser, draw_lines: Callable[[int], list[tuple[Image, str]]], adapter: str
) -> None:
    """Only where the neck did not learn may it be the start's."""
    frames = {0: backbone(model, [image for image, _ in draw_lines(2)])}
    candidate = copy.deepcopy(model)
    with torch.no_grad():
        candidate.neck.project.bias += 0.1
    bench = Bench.__new__(Bench)
    bench.settings = Settings(adapter=adapter)
    start, own = by_document(model, frames), by_document(candidate, frames)
    found = bench._features(candidate, frames, start)
    expected = start if adapter in ("bias", "head") else own
    assert all(torch.equal(a, b) for a, b in zip(found[0], expected[0], strict=True))
    assert not torch.equal(start[0][0], own[0][0])


def test_lines_are_looked_at_by_the_backbone_that_reads_them(
    model: Recogniser, draw_lines: Callable[[int], list[tuple[Image, str]]], tmp_path: Path
) -> None:
    """A start has a backbone of its own, and what another one saw must not be taken for what it sees."""
    images, start = [image for image, _ in draw_lines(2)], copy.deepcopy(model)
    with torch.no_grad():
        next(start.backbone.parameters()).mul_(1.1)
    for shelf in (Shelf(tmp_path), Shelf(None)):
        for each in (model, start, model, start):
            found = shelf.frames(each, "lines", images)
            assert all(torch.equal(a, b) for a, b in zip(found, backbone(each, images), strict=True))
    assert not torch.equal(shelf.frames(model, "lines", images)[0], found[0])


@pytest.mark.parametrize("adapter", ["head", "norm"])
def test_a_bench_surveys_what_it_remembers(
    model: Recogniser, alphabet: Alphabet, draw_lines: Callable[[int], list[tuple[Image, str]]], adapter: str
) -> None:
    """As a plan surveys public documents themselves."""
    drawn, settings = draw_lines(6), Settings(charset="ascii", adapter=adapter, rank=8)
    made = [document(k, drawn[2 * k : 2 * k + 2]) for k in range(3)]
    documents = [each for each in made if each is not None]
    frames = [tuple(backbone(model, [line.image for line in each.lines])) for each in documents]
    remembered = Remembered(model, [[line.text for line in each.lines] for each in documents], frames)
    [found] = survey(settings, alphabet, remembered)
    [expected] = survey(settings, alphabet, Looks(model, documents))
    assert found.agreement == pytest.approx(expected.agreement, rel=1e-3)
