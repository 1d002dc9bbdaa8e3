"""The round that `bench/ablation.py` changes is the one that ships, and what it changes leaves a document's own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from learners import finetune
from learners.adapters import ASCII, Charset, HeadAdapter
from learners.chunks import Seen, cache, collate
from learners.gradients import document_gradients
from learners.plan import Plan
from models.recogniser import Recogniser
from privacy.noise import Debit, NoiseSource

sys.path.append(str(Path(__file__).parents[1] / "bench"))
from ablation_round import RECIPES, dropped, learn, remembered
from precision import Precise

PLAN = Plan(
    capacity=6,
    members=6,
    sample_rate=1.0,
    steps=10,
    max_grad_norm=0.05,
    noise_multiplier=1e-9,  # below the epsilon of Adam, which would scale it up
    learning_rate=1e-2,
    rehearsal=0.3,
    lines=2,
    adapter="head",
    parameters=0,
    charset=ASCII,
    closed=True,
    delta=1e-6,
    epsilon_round=1.0,
    epsilon_lifetime=1.0,
    rounds_per_document=1,
    noise_over_signal=1.0,
)


@pytest.fixture(scope="module")
def head() -> HeadAdapter:
    torch.manual_seed(0)
    charset = Charset(tuple(range(len(ASCII) + 1)), {c: k for k, c in enumerate(ASCII, 1)}, closed=True)
    return HeadAdapter(Recogniser(), charset, torch.linalg.qr(torch.randn(120, 8)).Q)


def documents(first: int, count: int) -> list[Seen]:
    draws = torch.Generator().manual_seed(first)
    return [Seen(("Ab 1", "c"), tuple(torch.randn(9, 60, generator=draws) for _ in "12")) for _ in range(count)]


def test_the_round_as_it_ships_is_the_services(head: HeadAdapter) -> None:
    private, public = documents(1, 6), documents(2, 4)
    noise = NoiseSource(Debit.for_tests(PLAN.noise_multiplier, PLAN.steps, PLAN.sample_rate))
    slots = dict(enumerate(cache(head, private)))
    theirs = finetune.learn(PLAN, head, list(slots), slots, public, noise)
    shipped, other = (learn(PLAN, RECIPES[name], head, private, public) for name in ("as it ships", "last iterate"))
    assert (shipped - theirs).norm() < 1e-5 * theirs.norm()
    assert (other - theirs).norm() > 1e-2 * theirs.norm()


def test_a_mask_is_drawn_from_the_step_and_the_documents_place() -> None:
    private, others = documents(1, 3), documents(2, 3)
    [*_, ours], [*_, beside] = dropped(private, 0.3, step=4), dropped([*others[:2], private[2]], 0.3, step=4)
    [*_, later] = dropped(private, 0.3, step=5)
    assert all(map(torch.equal, ours.frames, beside.frames))
    assert not any(map(torch.equal, ours.frames, later.frames))
    assert 0.2 < float((ours.frames[0] == 0).float().mean()) < 0.4
    assert dropped(private, 0.0, step=4) is private


def test_the_lower_precision_is_that_of_autocast(head: HeadAdapter) -> None:
    chunk, theta = collate(cache(head, documents(1, 3))), torch.randn(head.size) * 1e-2
    lower = document_gradients(Precise(head, bfloat16=True), theta, chunk)
    assert torch.equal(lower, document_gradients(head, theta, chunk, autocast=True))
    assert not torch.equal(lower, document_gradients(head, theta, chunk))


def test_labels_are_typed_as_a_recipe_says_and_the_case_is_taught_by_those_at_their_word(head: HeadAdapter) -> None:
    names = "as it ships", "capitals", "capitals taught"
    shipped, blind, taught = (remembered(head, documents(1, 2), RECIPES[name]) for name in names)
    assert [[each.one_case for each in one] for one in (shipped, blind, taught)] == [
        [False] * 2,
        [True] * 2,
        [False] * 2,
    ]
    capitals = tuple(tuple(head.charset.local[c] for c in text) for text in ("AB 1", "C"))
    assert shipped[0].targets != capitals
    assert blind[0].targets == taught[0].targets == capitals
