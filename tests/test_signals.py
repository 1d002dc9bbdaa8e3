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
from learners.catalogue import PUBLIC_DOCUMENTS, Looks
from learners.lines import document
from learners.plan import Considered
from learners.public import public_documents
from learners.recipes import RECIPES
from learners.settings import Settings
from learners.survey import agreement, built, survey
from learners.synthesis import line
from models import recogniser
from models.ctc import Alphabet
from models.recogniser import Recogniser

SETTINGS = Settings(charset="ascii", capacity=2000)
KEY = signals.key("ascii", closed=False, rank=SETTINGS.rank)


@pytest.fixture(scope="module")
def released(weights_dir: Path) -> Recogniser:
    return recogniser.load(weights_dir / "rec.onnx")


def told(model: Recogniser, alphabet: Alphabet, settings: Settings = SETTINGS) -> dict[str, Considered]:
    made = [document(s, [line(2 * s + k, "thermal") for k in range(2)]) for s in range(1000, 1006)]
    public = Looks(model, [each for each in made if each is not None])
    found, _ = planning.choose(settings, survey(settings, alphabet, public), 2000)
    return {each.adapter: each for each in found.considered}


def test_the_record_is_of_this_release_and_these_documents(released: Recogniser) -> None:
    """Else run bench/signals.py --record again, and with --quick."""
    kept = json.loads(signals.PATH.read_text())
    assert kept["model"] == signals.model_digest(released)
    forms = {signals.key(name, closed, SETTINGS.rank) for name in CHARSETS for closed in (False, True)}
    assert set(kept[str(PUBLIC_DOCUMENTS)]["signals"]) == forms
    for count in (signals.SAMPLE, PUBLIC_DOCUMENTS):
        found, about = kept[str(count)], signals.about(public_documents(FIRST_PLANNING_SEED, count))
        assert found["documents"] == about["documents"]
        assert found["pixel"] == pytest.approx(about["pixel"], abs=0.01)
        for row in found["signals"].values():
            assert list(row) == list(RECIPES)
            assert all(0 < row[name] < recipe.max_grad_norm for name, recipe in RECIPES.items())


@pytest.fixture(scope="module")
def sample(released: Recogniser) -> Looks:
    return Looks(released, public_documents(FIRST_PLANNING_SEED, signals.SAMPLE))


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_recorded_is_still_so(name: str, alphabet: Alphabet, sample: Looks) -> None:
    """Of some of the documents. A round's own measurement of all is held against the record in test_round.py."""
    adapter = built(SETTINGS, alphabet, name, sample)
    found = agreement(adapter, sample.at(adapter.depth), RECIPES[name].max_grad_norm)
    kept = json.loads(signals.PATH.read_text())[str(signals.SAMPLE)]["signals"][KEY][name]
    assert found == pytest.approx(kept, rel=1e-3)


def test_a_plan_tells_of_what_it_leaves_out_by_the_record(released: Recogniser, alphabet: Alphabet) -> None:
    """Where there is none, by the largest signal that there could be."""
    found = told(released, alphabet)["neck"]
    least = told(released, alphabet, replace(SETTINGS, rank=63))["neck"]
    assert (found.measured, least.measured) == (True, False)
    signal = signals.recorded(released, "ascii", closed=False, rank=SETTINGS.rank)["neck"]
    scale = (found.parameters / least.parameters) ** 0.5
    assert found.noise_over_signal == pytest.approx(least.noise_over_signal * scale * 0.05 / signal)
    assert " noise at least " in str(least)
    assert " noise at least " not in str(found)


def test_of_another_model_nothing_is_recorded(released: Recogniser, alphabet: Alphabet) -> None:
    other = copy.deepcopy(released)
    with torch.no_grad():
        other.backbone.stem.bias[0] += 1e-6
    assert signals.recorded(other, "ascii", closed=False, rank=SETTINGS.rank) == {}
    assert not told(other, alphabet)["neck"].measured


def test_what_is_recorded_of_another_model_goes(
    released: Recogniser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one count's numbers, measured at the model before, would pass for this one's."""
    monkeypatch.setattr(signals, "PATH", tmp_path / "signals.json")
    four = public_documents(FIRST_PLANNING_SEED, 4)
    other = copy.deepcopy(released)
    with torch.no_grad():
        other.backbone.stem.bias[0] += 1e-6

    def counts(model: Recogniser, count: int) -> set[str]:
        signals.record(model, four[:count], {KEY: {"head": 0.1}})
        return set(json.loads(signals.PATH.read_text())) - {"model"}

    assert counts(released, 2) == {"2"}
    assert counts(released, 4) == {"2", "4"}
    assert counts(other, 4) == {"4"}


def test_documents_that_differ_by_a_word_or_are_darker_are_others() -> None:
    first, second = public_documents(FIRST_PLANNING_SEED, 2)
    head, *rest = first.lines
    word = replace(first, lines=(replace(head, text="word"), *rest))
    dark = replace(first, lines=(replace(head, image=head.image // 2), *rest))
    one, other, darker = (signals.about([each, second]) for each in (first, word, dark))
    assert one["documents"] == darker["documents"] != other["documents"]
    assert one["pixel"] == other["pixel"] > darker["pixel"] + 1
