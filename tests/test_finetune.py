"""A round: gradients against a reference, clip and noise against the theory, and that it pays on generated lines."""

from __future__ import annotations

import math
import weakref
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from learners import finetune
from learners.adapters import ASCII, Adapter, Charset, HeadAdapter, TopAdapter
from learners.batches import to_tensor
from learners.catalogue import Looks, gradient_basis
from learners.chunks import Cached, Remembered, Seen, cache, chunks, collate, foreign, look
from learners.evaluate import score_documents, total
from learners.gradients import document_drifts, document_gradients, document_losses
from learners.lines import TrainDocument, document, joined, pack, unpack
from learners.plan import Plan
from learners.synthesis import line
from models import recogniser
from models.ctc import Alphabet
from models.recogniser import Recogniser
from privacy.errors import BudgetExhausted
from privacy.noise import Debit, NoiseSource


def taught(seeds: range, lines: int = 2) -> list[TrainDocument]:
    made = [document(s, [line(lines * s + k, "thermal") for k in range(lines)]) for s in seeds]
    return [found for found in made if found is not None]


@pytest.fixture(scope="module")
def head(model: Recogniser, alphabet: Alphabet) -> HeadAdapter:
    public = look(model, taught(range(1000, 1012)))
    charset = Charset.of(ASCII, alphabet)
    return HeadAdapter(model, charset, gradient_basis(model, charset, 32, public))


@pytest.fixture(scope="module")
def private() -> list[TrainDocument]:
    return taught(range(16))


@pytest.fixture(scope="module")
def seen(model: Recogniser, private: list[TrainDocument]) -> list[Seen]:
    return look(model, private)


def reference(
    model: Recogniser, alphabet: Alphabet, taught: TrainDocument, names: list[str]
) -> dict[str, torch.Tensor]:
    """One document's gradient: the whole model in float64, the full softmax, a line at a time."""
    double = recogniser.Recogniser()
    double.load_state_dict(model.state_dict())
    double = double.double()
    losses = []
    for each in taught.lines:
        scores = functional.log_softmax(double(to_tensor(each.image)[None].double())[0], dim=1)
        target = torch.tensor([alphabet.encode(each.text)])
        length = target.shape[1]
        loss = functional.ctc_loss(scores[:, None], target, [len(scores)], [length], reduction="sum")
        losses.append(loss / length)
    parameters = dict(double.named_parameters())
    found = torch.autograd.grad(torch.stack(losses).mean(), [parameters[name] for name in names])
    return dict(zip(names, found, strict=True))


def by_the_letter(batch: Sequence[Cached]) -> list[Cached]:
    """The reference knows nothing of labels with one case (tests/test_one_case.py)."""
    return [replace(cached, one_case=False) for cached in batch]


def relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours.double() - theirs).norm() / theirs.norm())


def test_a_documents_gradient_is_its_own(
    model: Recogniser, alphabet: Alphabet, head: HeadAdapter, private: list[TrainDocument], seen: list[Seen]
) -> None:
    rows, basis = list(head.charset.classes), head.basis.double()
    batch = by_the_letter(cache(head, seen[:5]))
    together = document_gradients(head, torch.zeros(head.size), collate(batch))
    for k in (0, 4):
        truth = reference(model, alphabet, private[k], ["head.weight", "head.bias"])
        flat = torch.cat(((truth["head.weight"][rows] @ basis).flatten(), truth["head.bias"][rows]))
        assert relative(together[k], flat) < 1e-5
        alone = document_gradients(head, torch.zeros(head.size), collate([batch[k]]))[0]
        assert relative(together[k], alone.double()) < 1e-5


def test_the_tops_gradient_is_the_references(
    model: Recogniser, alphabet: Alphabet, private: list[TrainDocument], seen: list[Seen]
) -> None:
    adapter = TopAdapter(model, Charset.of(ASCII, alphabet))
    names = ["neck.project.weight", "neck.project.bias", "head.weight", "head.bias"]
    rows = list(adapter.charset.classes)
    together = document_gradients(adapter, torch.zeros(adapter.size), collate(by_the_letter(cache(adapter, seen[:2]))))
    truth = reference(model, alphabet, private[1], names)
    parts = [truth[names[0]], truth[names[1]], truth[names[2]][rows], truth[names[3]][rows]]
    assert relative(together[1], torch.cat([part.flatten() for part in parts])) < 1e-5


def test_away_from_the_start_the_gradient_is_that_of_the_loss(head: HeadAdapter, seen: list[Seen]) -> None:
    """Central differences of the loss, in float64, along random directions."""
    generator = torch.Generator().manual_seed(3)
    chunk = collate(cache(head, seen[:1]), torch.float64)
    theta = 0.05 * torch.randn(head.size, dtype=torch.float64, generator=generator)
    gradient = document_gradients(head, theta, chunk)[0]

    def loss(at: torch.Tensor) -> float:
        return float(document_losses(head, at.expand(len(chunk.inputs), -1), chunk)[0])

    for _ in range(3):
        way = torch.randn(head.size, dtype=torch.float64, generator=generator)
        slope = (loss(theta + 1e-5 * way) - loss(theta - 1e-5 * way)) / 2e-5
        assert slope == pytest.approx(float(gradient @ way), rel=1e-4)


def test_lines_that_cannot_be_learned_leave_no_trace(
    model: Recogniser, head: HeadAdapter, private: list[TrainDocument]
) -> None:
    good = private[0].lines[0]
    odd, crammed = replace(good, text="你好"), replace(good, text="x" * 700)
    documents = [TrainDocument(0, (odd, good, crammed)), TrainDocument(1, (good,)), TrainDocument(2, (odd,))]
    batch = cache(head, look(model, documents))
    assert [len(cached.inputs) for cached in batch] == [1, 1, 0]
    gradients = torch.cat([document_gradients(head, torch.zeros(head.size), chunk) for chunk in chunks(batch)])
    assert len(gradients) == 2
    assert torch.allclose(gradients[0], gradients[1], rtol=1e-5, atol=1e-8)


def planned(adapter: Adapter, members: int, **changes: float) -> Plan:
    """A plan made by hand, with next to no noise unless told otherwise."""
    numbers = {
        "capacity": members, "members": members, "sample_rate": 1.0, "steps": 12, "max_grad_norm": 0.5,
        "noise_multiplier": 1e-3, "learning_rate": 3e-2, "rehearsal": 0.0, "lines": 16, "delta": 1e-6,
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
    def best(image: torch.Tensor) -> str:
        return alphabet.best_path(model(image[None])[0].softmax(1).numpy())[0]

    with torch.inference_mode():
        readings = {each.slot: [best(to_tensor(one.image)) for one in each.lines] for each in documents}
    truths = {each.slot: [one.text for one in each.lines] for each in documents}
    return total(score_documents(truths, readings)).rates


def test_a_round_reads_better_and_leaves_the_model_alone(
    model: Recogniser, alphabet: Alphabet, head: HeadAdapter, private: list[TrainDocument]
) -> None:
    before, plan = model.weights(), planned(head, 20)
    told: list[tuple[int, int]] = []
    heard: list[int] = []
    found = finetune.fit(
        model,
        by_slot(private),
        range(20),
        plan,
        head,
        source(plan),
        lambda step, steps: told.append((step, steps)),
        alive=lambda: heard.append(len(told)),
    )
    assert all(np.array_equal(before[name], value) for name, value in model.weights().items())
    assert told == [(step, 12) for step in range(1, 13)]
    assert Counter(heard) == {0: 20 + 2, **dict.fromkeys(range(1, 12), 2)}, "every slot, every block of eight"
    assert {name for name in before if not np.array_equal(before[name], found[name])} == {"head.weight", "head.bias"}
    candidate = Recogniser()
    candidate.load_weights(found)
    unseen = taught(range(500, 508))
    assert read(candidate.eval(), alphabet, unseen)["cer"] < 0.7 * read(model, alphabet, unseen)["cer"]


class Unsealed:
    """Documents that are made when they are asked for, and which of them are still there."""

    def __init__(self, count: int) -> None:
        self.asked, self._made, self._count = Counter[int](), list[weakref.ref[TrainDocument]](), count

    def keys(self) -> Set[int]:
        return set(range(self._count))

    def get(self, slot: int, /) -> TrainDocument | None:
        self.asked[slot] += 1
        [made] = taught(range(slot, slot + 1))
        self._made.append(weakref.ref(made))
        return made

    def alive(self) -> int:
        return sum(each() is not None for each in self._made)


@pytest.mark.parametrize(("room", "looks"), [(None, 1), (0, 12), (150_000, None)])
def test_a_round_remembers_what_there_is_room_for(
    model: Recogniser, head: HeadAdapter, room: int | None, looks: int | None
) -> None:
    """The rest is looked at again, to the same candidate; the images of one document are there at a time."""
    plan, documents, alive = planned(head, 6), Unsealed(6), list[int]()

    def fit(taught: finetune.Documents, room: int | None = None) -> finetune.Weights:
        quiet = NoiseSource(Debit.for_tests(plan.noise_multiplier, plan.steps, plan.sample_rate), seed=bytes(32))
        return finetune.fit(
            model, taught, range(6), plan, head, quiet, alive=lambda: alive.append(documents.alive()), room=room
        )

    candidate = fit(documents, room)
    assert max(alive) == 0
    assert len(alive) >= 6
    if looks:
        assert documents.asked == dict.fromkeys(range(6), looks)
    else:
        assert set(documents.asked.values()) == {1, 12}
    whole = {slot: found for slot in range(6) if (found := documents.get(slot))}
    alive.clear()
    same = fit(whole)
    assert all(np.array_equal(candidate[name], same[name]) for name in same)
    assert min(alive) == 6, "a mutant: all of them at once"


def test_what_is_remembered_takes_no_more_than_its_room(head: HeadAdapter, seen: list[Seen]) -> None:
    cached, asked = cache(head, seen), list[int]()
    one = sum(each.nbytes for each in cached[0].inputs)

    def find(slot: int) -> Cached | None:
        asked.append(slot)
        return None if slot == 5 else cached[0]

    remembered = Remembered(find, room=3 * one)
    for _ in range(2):
        assert [remembered.get(slot) for slot in range(6)] == [cached[0]] * 5 + [None]
    assert asked == [0, 1, 2, 3, 4, 5, 3, 4], "a slot without a document is not asked again"


def test_pixels_are_remembered_without_what_was_beside_them(model: Recogniser) -> None:
    """A crop is a view of its whole document's pixels, and a unit's lines may come of sixteen documents."""
    packed = pack(TrainDocument(0, tuple(taught(range(1))[0].lines) * 8))
    unit = joined(0, [unpack(0, packed) for _ in range(4)])
    [seen] = look(model, [unit], depth="image")
    held = {frames.untyped_storage().data_ptr(): frames.untyped_storage().nbytes() for frames in seen.frames}
    assert sum(held.values()) == sum(frames.nbytes for frames in seen.frames)


class Spy:
    """An adapter that remembers where it was merged."""

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter
        self.at = torch.zeros(adapter.size)
        self.name, self.size, self.charset = adapter.name, adapter.size, adapter.charset
        self.inputs, self.logits = adapter.inputs, adapter.logits
        self.depth, self.device = adapter.depth, adapter.device

    def merge(self, theta: torch.Tensor) -> dict[str, torch.Tensor]:
        self.at = theta
        return self._adapter.merge(theta)


def test_rehearsal_is_training_on_the_public_documents(model: Recogniser, head: HeadAdapter) -> None:
    """With nobody there and next to no noise, they are all that moves the model."""
    public, plan, spy = taught(range(2000, 2004)), planned(head, 4, rehearsal=3.0, noise_multiplier=1e-9), Spy(head)
    finetune.fit(model, {}, range(4), plan, spy, source(plan), public=Looks(model, public))
    chunk = collate(cache(head, look(model, public)))

    def loss(theta: torch.Tensor) -> float:
        return float(document_losses(head, theta.expand(len(chunk.inputs), -1), chunk).mean())

    assert loss(spy.at) < 0.7 * loss(torch.zeros(head.size))


def test_lines_that_do_not_learn_are_held_where_they_were(model: Recogniser, head: HeadAdapter) -> None:
    """Chinese lines pull nowhere at the start, and back once the model has left it."""
    made = [document(s, [line(2 * s + k, "chinese") for k in range(2)]) for s in range(2)]
    seen = look(model, [each for each in made if each is not None])
    assert sum(len(cached.inputs) for cached in cache(head, seen)) < 4
    held = collate(foreign(head, seen))
    start = torch.zeros(head.size)
    moved = 0.05 * torch.randn(head.size, generator=torch.Generator().manual_seed(4))

    def drift(theta: torch.Tensor) -> float:
        return float(document_drifts(head, theta.expand(len(held.inputs), -1), held).sum())

    assert drift(start) == pytest.approx(0.0, abs=1e-6)
    assert float(document_gradients(head, start, held, document_drifts).norm()) < 1e-4
    back = document_gradients(head, moved, held, document_drifts).sum(0)
    assert drift(moved - 0.01 * back / back.norm()) < drift(moved)
    plan = planned(head, 4, rehearsal=1.0)
    pull = finetune.Rehearsal(head, plan, seen).gradient(moved)
    assert float(pull @ back) > 0


def step(plan: Plan, head: HeadAdapter, cached: Mapping[int, object], noise: NoiseSource) -> torch.Tensor:
    members = range(plan.members)
    return finetune._step(plan, head, members, cached, noise, torch.zeros(head.size))  # type: ignore[arg-type]


def test_noise_is_as_large_as_charged(head: HeadAdapter) -> None:
    """With nobody there a step is noise alone: its size against the theory; 2/3 and 3/2 of it are rejected."""
    plan = planned(head, 10, steps=1, noise_multiplier=8.0)
    found, expected = float(step(plan, head, {}, source(plan, 7)).std()), 8.0 * 0.5 / 10
    assert found == pytest.approx(expected, rel=0.08)
    assert found != pytest.approx(expected * 2 / 3, rel=0.08)
    assert found != pytest.approx(expected * 3 / 2, rel=0.08)


def test_one_document_moves_a_step_by_at_most_the_clip(head: HeadAdapter, seen: list[Seen]) -> None:
    plan = planned(head, 16, steps=4)
    cached = dict(enumerate(cache(head, seen)))
    whole, bound = step(plan, head, cached, source(plan)), plan.max_grad_norm / plan.expected_documents
    for slot in (0, 7, 15):
        rest = {k: v for k, v in cached.items() if k != slot}
        without = step(plan, head, rest, source(plan))
        assert 0 < float((whole - without).norm()) <= bound * 1.001


def test_sampled_steps_take_members_by_coin(head: HeadAdapter, seen: list[Seen]) -> None:
    """Over many steps a document is there at the public rate, and counts against the public divisor."""
    plan = planned(head, 16, sample_rate=0.25, steps=400, noise_multiplier=1e-9)
    assert plan.expected_documents == 4
    cached, noise = {3: cache(head, seen[3:4])[0]}, source(plan)
    norms = [float(step(plan, head, cached, noise).norm()) for _ in range(400)]
    assert 70 < sum(norm > 1e-3 for norm in norms) < 130
    assert max(norms) == pytest.approx(0.5 / 4, rel=1e-3)


def test_what_was_not_planned_or_charged_is_refused(
    model: Recogniser, alphabet: Alphabet, head: HeadAdapter, private: list[TrainDocument]
) -> None:
    plan = planned(head, 16)
    with pytest.raises(ValueError, match="members"):
        finetune.fit(model, by_slot(private), range(15), plan, head, source(plan))
    with pytest.raises(ValueError, match="members"):
        finetune.fit(model, by_slot(private), range(1, 17), plan, head, source(plan))
    bias = HeadAdapter(model, Charset.of(ASCII, alphabet), None)
    with pytest.raises(ValueError, match="adapter"):
        finetune.fit(model, by_slot(private), range(16), plan, bias, source(plan))
    cheap = replace(plan, noise_multiplier=plan.noise_multiplier / 2)
    with pytest.raises(BudgetExhausted):
        finetune.fit(model, {}, range(16), cheap, head, source(plan))
