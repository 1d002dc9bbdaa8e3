"""What a plan tells of adapters that it does not measure: recorded for the release, and for nothing else."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from daemon.evidence import FIRST_PLANNING_SEED
from learners import plan as planning
from learners import signals
from learners.adapters import CHARSETS
from learners.catalogue import Looks
from learners.lines import document
from learners.plan import Considered, Settings
from learners.public import public_documents
from learners.recipes import RECIPES
from learners.synthesis import line
from models import recogniser, weights
from models.ctc import Alphabet
from models.recogniser import Recogniser

SETTINGS = Settings(charset="ascii", capacity=2000)


@pytest.fixture(scope="module")
def released(weights_dir: Path) -> Recogniser:
    return recogniser.load(weights_dir / "rec.onnx")


def told(model: Recogniser, weights_dir: Path, settings: Settings = SETTINGS) -> dict[str, Considered]:
    made = [document(s, [line(2 * s + k, "thermal") for k in range(2)]) for s in range(1000, 1006)]
    public = Looks(model, [each for each in made if each is not None])
    alphabet = Alphabet(weights.characters(weights_dir / "rec.onnx"))
    found, _ = planning.choose(settings, planning.survey(settings, alphabet, public), 2000)
    return {each.adapter: each for each in found.considered}


def test_the_record_is_of_this_release_these_documents_and_these_clips(released: Recogniser) -> None:
    """Else run bench/signals.py --record again. A round's own measurement is held against it in test_round.py."""
    kept = json.loads(signals.PATH.read_text())
    assert kept["model"] == signals.model_digest(released)
    assert kept["documents"] == signals.documents_digest(public_documents(FIRST_PLANNING_SEED))
    assert kept["clips"] == {name: recipe.max_grad_norm for name, recipe in RECIPES.items()}
    rank = Settings().rank
    assert set(kept["signals"]) == {signals.key(name, closed, rank) for name in CHARSETS for closed in (False, True)}
    for row in kept["signals"].values():
        assert list(row) == list(RECIPES)
        assert all(0 < row[name] < recipe.max_grad_norm for name, recipe in RECIPES.items())


def test_a_plan_tells_of_what_it_leaves_out_by_the_record(released: Recogniser, weights_dir: Path) -> None:
    """And what it asks for by name it measures."""
    found = told(released, weights_dir)["neck"]
    signal = signals.recorded(released, "ascii", closed=False, rank=SETTINGS.rank)["neck"]
    least = told(released, weights_dir, replace(SETTINGS, rank=63))["neck"]
    assert (found.measured, least.measured) == (True, False)
    scale = (found.parameters / least.parameters) ** 0.5
    assert found.noise_over_signal == pytest.approx(least.noise_over_signal * scale * 0.05 / signal)
    assert " noise at least " in str(least)
    assert " noise at least " not in str(found)


def test_of_another_model_nothing_is_recorded(released: Recogniser, weights_dir: Path) -> None:
    other = copy.deepcopy(released)
    with torch.no_grad():
        other.backbone.stem.bias[0] += 1e-6
    assert signals.recorded(other, "ascii", closed=False, rank=SETTINGS.rank) == {}
    assert not told(other, weights_dir)["neck"].measured


def test_two_documents_that_differ_by_a_word_have_two_digests() -> None:
    first, second = public_documents(FIRST_PLANNING_SEED, 2)
    changed = replace(first, lines=(replace(first.lines[0], text="word"), *first.lines[1:]))
    assert signals.documents_digest([first, second]) != signals.documents_digest([changed, second])
