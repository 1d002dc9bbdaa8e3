"""Labels that carry one case only do not teach the case."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from learners.adapters import ASCII, Charset, HeadAdapter
from learners.chunks import Cached, cache, collate, look, one_case
from learners.gradients import document_gradients, document_losses
from learners.lines import TrainDocument, TrainLine, document
from models import recogniser, weights
from models.ctc import Alphabet
from privacy.page import Image


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["TOTAL", "12.50 EUR"], True),
        (["total", "12.50 eur"], True),
        (["12.50"], True),
        (["Total"], False),
        (["TOTAL", "thank you"], False),
        (["STRASSE", "ß"], False),
    ],
)
def test_one_case_is_a_fact_of_the_whole_document(texts: list[str], expected: bool) -> None:
    assert one_case(texts) is expected


@pytest.fixture(scope="module")
def adapter(weights_dir: Path) -> HeadAdapter:
    alphabet = Alphabet(weights.characters(weights_dir / "rec.onnx"))
    model = recogniser.load(weights_dir / "rec.onnx")
    return HeadAdapter(model, Charset.of(ASCII, alphabet), torch.eye(model.head.in_features)[:, :8])


@pytest.fixture(scope="module")
def taught(draw_lines: Callable[[int], list[tuple[Image, str]]]) -> TrainDocument:
    made = document(0, draw_lines(3))
    assert made is not None
    return made


def _cached(adapter: HeadAdapter, taught: TrainDocument, change: Callable[[str], str], weights_dir: Path) -> Cached:
    model = recogniser.load(weights_dir / "rec.onnx")
    changed = replace(taught, lines=tuple(TrainLine(line.image, change(line.text)) for line in taught.lines))
    return cache(adapter, look(model, [changed]))[0]


def test_capitals_and_small_letters_teach_the_same(
    adapter: HeadAdapter, taught: TrainDocument, weights_dir: Path
) -> None:
    theta = torch.zeros(adapter.size)
    both = [_cached(adapter, taught, change, weights_dir) for change in (str.upper, str.lower)]
    found = [document_gradients(adapter, theta, collate([each])) for each in both]
    assert torch.allclose(found[0], found[1], atol=1e-7)
    # A mutant that takes such labels by the letter pulls the two apart.
    literal = [document_gradients(adapter, theta, collate([replace(each, one_case=False)])) for each in both]
    assert not torch.allclose(literal[0], literal[1], atol=1e-3)
    assert float(literal[0].norm()) > 2 * float(found[0].norm())


def test_labels_with_both_cases_are_taken_by_the_letter(
    adapter: HeadAdapter, taught: TrainDocument, weights_dir: Path
) -> None:
    cached = _cached(adapter, taught, str, weights_dir)
    assert not cached.one_case
    theta = torch.zeros(1, adapter.size)
    by_letter, blind = (document_losses(adapter, theta, collate([replace(cached, one_case=b)])) for b in (False, True))
    assert float(blind) < float(by_letter)  # either case is at least as likely as one


def test_a_document_with_one_case_does_not_blind_its_neighbour(
    adapter: HeadAdapter, taught: TrainDocument, weights_dir: Path
) -> None:
    mixed, upper = (_cached(adapter, taught, change, weights_dir) for change in (str, str.upper))
    theta = torch.zeros(adapter.size)
    together = document_gradients(adapter, theta, collate([upper, mixed]))
    assert torch.equal(together[1], document_gradients(adapter, theta, collate([mixed]))[0])
    assert torch.equal(together[0], document_gradients(adapter, theta, collate([upper]))[0])
