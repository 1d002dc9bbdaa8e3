"""A round: gradients against a reference, the plan against the theory, and that it pays on generated lines."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from learners import finetune
from learners import plan as planning
from learners.adapters import ASCII, Adapter, Charset, HeadAdapter, TopAdapter
from learners.errors import TooFewDocuments
from learners.evaluate import score_documents, total
from learners.gradients import cache, chunks, collate, document_gradients
from learners.lines import TrainDocument, document
from learners.plan import Plan, Settings
from learners.synthesis import line
from models import recogniser, weights
from models.ctc import Alphabet
from models.recogniser import Recogniser
from privacy import accountant
from privacy.errors import BudgetExhausted
from privacy.noise import Debit, NoiseSource


def taught(seeds: range, domain: str, lines: int = 2) -> list[TrainDocument]:
    made = [document(s, [line(lines * s + k, domain) for k in range(lines)]) for s in seeds]
    return [found for found in made if found is not None]


@pytest.fixture(scope="module")
def model(weights_dir: Path) -> Recogniser:
    return recogniser.load(weights_dir / "rec.onnx")


@pytest.fixture(scope="module")
def alphabet(weights_dir: Path) -> Alphabet:
    return Alphabet(weights.characters(weights_dir / "rec.onnx"))


@pytest.fixture(scope="module")
def public() -> list[TrainDocument]:
    return taught(range(1000, 1016), "thermal")


@pytest.fixture(scope="module")
def private() -> list[TrainDocument]:
    return taught(range(24), "thermal")


@pytest.fixture(scope="module")
def head(model: Recogniser, alphabet: Alphabet, public: list[TrainDocument]) -> Adapter:
    return planning.build("head", model, Charset.of(ASCII, alphabet), 32, public)


def reference(
    model: Recogniser, alphabet: Alphabet, taught: TrainDocument, names: list[str]
) -> dict[str, torch.Tensor]:
    """One document's gradient: the whole model in float64, the full softmax, a line at a time."""
    from learners.batches import to_tensor

    double = recogniser.Recogniser()
    double.load_state_dict(model.state_dict())
    double = double.double()
    losses = []
    for each in taught.lines:
        scores = functional.log_softmax(double(to_tensor(each.image)[None].double())[0], dim=1)
        target = torch.tensor([alphabet.encode(each.text)])
        losses.append(
            functional.ctc_loss(scores[:, None], target, [len(scores)], [target.shape[1]], reduction="sum")
            / target.shape[1]
        )
    parameters = dict(double.named_parameters())
    found = torch.autograd.grad(torch.stack(losses).mean(), [parameters[name] for name in names])
    return dict(zip(names, found, strict=True))


def relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours.double() - theirs).norm() / theirs.norm())


def test_a_documents_gradient_is_its_own(
    model: Recogniser, alphabet: Alphabet, head: Adapter, private: list[TrainDocument]
) -> None:
    rows = list(head.charset.classes)
    assert isinstance(head, HeadAdapter)
    basis = head.basis.double()
    batch = cache(head, private[:5])
    together = document_gradients(head, torch.zeros(head.size), collate(batch))
    for k in range(5):
        truth = reference(model, alphabet, private[k], ["head.weight", "head.bias"])
        flat = torch.cat(((truth["head.weight"][rows] @ basis).flatten(), truth["head.bias"][rows]))
        assert relative(together[k], flat) < 1e-5
        alone = document_gradients(head, torch.zeros(head.size), collate([batch[k]]))[0]
        assert relative(together[k], alone.double()) < 1e-5


def test_the_tops_gradient_is_the_references(
    model: Recogniser, alphabet: Alphabet, private: list[TrainDocument]
) -> None:
    adapter = TopAdapter(model, Charset.of(ASCII, alphabet))
    names = ["neck.project.weight", "neck.project.bias", "head.weight", "head.bias"]
    rows = list(adapter.charset.classes)
    batch = cache(adapter, private[:2])
    together = document_gradients(adapter, torch.zeros(adapter.size), collate(batch))
    truth = reference(model, alphabet, private[1], names)
    parts = [truth[names[0]], truth[names[1]], truth[names[2]][rows], truth[names[3]][rows]]
    assert relative(together[1], torch.cat([part.flatten() for part in parts])) < 1e-5


def test_lines_that_cannot_be_learned_leave_no_trace(head: Adapter, private: list[TrainDocument]) -> None:
    good = private[0].lines[0]
    odd = replace(good, text="你好")
    crammed = replace(good, text="x" * 700)
    batch = cache(head, [TrainDocument(0, (odd, good, crammed)), TrainDocument(1, (good,)), TrainDocument(2, (odd,))])
    assert [len(cached.inputs) for cached in batch] == [1, 1, 0]
    gradients = torch.cat([document_gradients(head, torch.zeros(head.size), chunk) for chunk in chunks(batch)])
    assert len(gradients) == 2
    assert torch.allclose(gradients[0], gradients[1], rtol=1e-5, atol=1e-8)


def planned(adapter: Adapter, members: int, **changes: float) -> Plan:
    """A plan made by hand, with next to no noise unless told otherwise."""
    numbers = {
        "capacity": members, "members": members, "sample_rate": 1.0, "steps": 12, "max_grad_norm": 0.5,
        "noise_multiplier": 1e-3, "learning_rate": 3e-2, "lines": 16, "delta": 1e-6,
        "epsilon_round": math.inf, "epsilon_lifetime": 8.0, "rounds_per_document": 4, "noise_over_signal": 0.0,
    }  # fmt: skip
    text = {"adapter": adapter.name, "charset": ASCII}
    return Plan(**(numbers | text | changes), parameters=adapter.size, closed=False)  # type: ignore[arg-type]


def source(plan: Plan, seed: int = 0) -> NoiseSource:
    debit = Debit.for_tests(plan.noise_multiplier, plan.steps, plan.sample_rate)
    return NoiseSource(debit, seed=seed.to_bytes(32, "big"))


def by_slot(documents: list[TrainDocument]) -> dict[int, TrainDocument]:
    return {each.slot: each for each in documents}


def read(model: Recogniser, alphabet: Alphabet, documents: list[TrainDocument]) -> Mapping[str, float]:
    from learners.batches import to_tensor

    with torch.inference_mode():
        readings = {
            each.slot: [
                alphabet.best_path(model(to_tensor(one.image)[None])[0].softmax(1).numpy())[0] for one in each.lines
            ]
            for each in documents
        }
    truths = {each.slot: [one.text for one in each.lines] for each in documents}
    return total(score_documents(truths, readings)).rates


def test_a_round_reads_better_and_leaves_the_model_alone(
    model: Recogniser, alphabet: Alphabet, head: Adapter, private: list[TrainDocument]
) -> None:
    before, plan, told = model.weights(), planned(head, 30), []
    found = finetune.fit(
        model, by_slot(private), range(30), plan, head, source(plan), lambda step, steps: told.append((step, steps))
    )
    assert all(np.array_equal(before[name], value) for name, value in model.weights().items())
    assert told == [(step, 12) for step in range(1, 13)]
    changed = {name for name in before if not np.array_equal(before[name], found[name])}
    assert changed == {"head.weight", "head.bias"}
    candidate = Recogniser()
    candidate.load_weights(found)
    unseen = taught(range(500, 512), "thermal")
    assert read(candidate.eval(), alphabet, unseen)["cer"] < 0.7 * read(model, alphabet, unseen)["cer"]


def test_noise_is_as_large_as_charged(model: Recogniser, head: Adapter) -> None:
    """With nobody there a step is noise alone: its size against the theory; 2/3 and 3/2 of it are rejected."""
    plan = planned(head, 10, steps=1, noise_multiplier=8.0)
    at: list[torch.Tensor] = []
    finetune.fit(model, {}, range(10), plan, Spy(head, at), source(plan))
    noise = finetune._step(plan, head, range(10), {}, source(plan, 7), torch.zeros(head.size))
    found, expected = float(noise.std()), 8.0 * 0.5 / 10
    assert found == pytest.approx(expected, rel=0.08)
    assert found != pytest.approx(expected * 2 / 3, rel=0.08)
    assert found != pytest.approx(expected * 3 / 2, rel=0.08)


class Spy:
    """An adapter that remembers where it was merged."""

    def __init__(self, adapter: Adapter, at: list[torch.Tensor]) -> None:
        self._adapter, self._at = adapter, at
        self.name, self.size, self.charset = adapter.name, adapter.size, adapter.charset
        self.inputs, self.logits = adapter.inputs, adapter.logits

    def merge(self, theta: torch.Tensor) -> dict[str, torch.Tensor]:
        self._at.append(theta)
        return self._adapter.merge(theta)


def test_one_document_moves_a_step_by_at_most_the_clip(head: Adapter, private: list[TrainDocument]) -> None:
    plan = planned(head, 24, steps=4)
    cached = dict(enumerate(cache(head, private)))
    whole = finetune._step(plan, head, range(24), cached, source(plan), torch.zeros(head.size))
    bound = plan.max_grad_norm / plan.expected_documents
    for slot in (0, 11, 23):
        rest = {k: v for k, v in cached.items() if k != slot}
        without = finetune._step(plan, head, range(24), rest, source(plan), torch.zeros(head.size))
        assert 0 < float((whole - without).norm()) <= bound * 1.001


def test_sampled_rounds_take_members_by_coin(model: Recogniser, head: Adapter, private: list[TrainDocument]) -> None:
    plan = planned(head, 24, sample_rate=0.25, capacity=40)
    assert plan.expected_documents == 10
    found = finetune.fit(model, by_slot(private), range(24), plan, head, source(plan))
    again = finetune.fit(model, by_slot(private), range(24), plan, head, source(plan))
    other = finetune.fit(model, by_slot(private), range(24), plan, head, source(plan, seed=1))
    assert np.array_equal(found["head.weight"], again["head.weight"])
    assert not np.array_equal(found["head.weight"], other["head.weight"])


def test_what_was_not_planned_or_charged_is_refused(
    model: Recogniser, alphabet: Alphabet, head: Adapter, private: list[TrainDocument]
) -> None:
    plan = planned(head, 24)
    with pytest.raises(ValueError, match="members"):
        finetune.fit(model, by_slot(private), range(23), plan, head, source(plan))
    with pytest.raises(ValueError, match="members"):
        finetune.fit(model, by_slot(private), range(1, 25), plan, head, source(plan))
    with pytest.raises(ValueError, match="adapter"):
        other = HeadAdapter(model, Charset.of(ASCII, alphabet), None)
        finetune.fit(model, by_slot(private), range(24), plan, other, source(plan))
    with pytest.raises(BudgetExhausted):
        cheap = replace(plan, noise_multiplier=plan.noise_multiplier / 2)
        finetune.fit(model, {}, range(24), cheap, head, source(plan))


def test_a_plan_spends_one_ticket_of_the_lifetime(
    model: Recogniser, alphabet: Alphabet, public: list[TrainDocument]
) -> None:
    found, adapter = planning.plan(Settings(adapter="head"), model, alphabet, 256, public)
    assert (found.sample_rate, found.expected_documents, found.parameters) == (1.0, 256, adapter.size)
    assert 3.6 < found.epsilon_round < 3.75
    assert 7.99 < accountant.epsilon([found.event] * 4, found.delta) <= 8.0
    assert found.to_body()["noise_multiplier"] == found.noise_multiplier
    large, _ = planning.plan(Settings(adapter="head", capacity=5000), model, alphabet, 5000, public)
    assert large.sample_rate == 0.2
    assert large.noise_over_signal < found.noise_over_signal


def test_a_round_that_noise_would_drown_is_refused_with_what_is_missing(
    model: Recogniser, alphabet: Alphabet, public: list[TrainDocument]
) -> None:
    settings = Settings(capacity=2000, adapter="head")
    with pytest.raises(TooFewDocuments, match="missing") as caught:
        planning.plan(settings, model, alphabet, 5, public)
    needed = caught.value.needed
    assert caught.value.missing == needed - 5
    assert planning.plan(settings, model, alphabet, needed, public)[0].members == needed
    with pytest.raises(TooFewDocuments):
        planning.plan(settings, model, alphabet, needed - 2, public)


def test_prediction_follows_the_theory(model: Recogniser, alphabet: Alphabet, public: list[TrainDocument]) -> None:
    """noise / signal is inverse to the documents and to mu, and needs no private number."""
    one, _ = planning.plan(Settings(adapter="head"), model, alphabet, 256, public)
    half, _ = planning.plan(Settings(adapter="head"), model, alphabet, 200, public)
    assert half.noise_over_signal == pytest.approx(one.noise_over_signal * 256 / 200)
    fewer, _ = planning.plan(Settings(adapter="head", rounds_per_document=1), model, alphabet, 256, public)
    ratio = accountant.mu(fewer.event) / accountant.mu(one.event)
    assert one.noise_over_signal == pytest.approx(fewer.noise_over_signal * ratio, rel=1e-6)


@pytest.mark.parametrize("members", [0, 257])
def test_a_plan_for_nobody_or_too_many_is_refused(
    model: Recogniser, alphabet: Alphabet, public: list[TrainDocument], members: int
) -> None:
    with pytest.raises(ValueError, match="members"):
        planning.plan(Settings(), model, alphabet, members, public)


def test_public_documents_with_nothing_to_learn_are_refused(model: Recogniser, alphabet: Alphabet) -> None:
    with pytest.raises(ValueError, match="public"):
        planning.plan(Settings(), model, alphabet, 100, [])


@pytest.mark.parametrize("wrong", [{"capacity": 0}, {"delta": 1.0}, {"adapter": "all"}, {"lines": 17}, {"rank": 121}])
def test_settings_that_cannot_be_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="Expected"):
        Settings(**wrong)  # type: ignore[arg-type]
