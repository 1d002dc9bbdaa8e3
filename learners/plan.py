"""What a private round will do, and whether it can work: decided before anything is spent.

Every number of a plan is public: it comes from the configuration, from public, generated lines, or from
the count of slots. So a plan costs nothing and may be made, refused and published freely.

How much of a round is signal. The noise of `T` steps averages to `sigma C sqrt(P) / (q N sqrt(T))` in
norm, for `P` parameters and `N` documents; what the documents agree on is the mean of their clipped
gradients. With `sigma = sqrt(T) / mu` (full batch) the steps cancel:

    noise / signal = C sqrt(P) / (mu N |mean clipped gradient|).

The mean is measured on public documents. An adapter can work when the ratio is under its bound; the
first that can, from the richest to the smallest, is chosen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor

from learners.adapters import CHARSETS, Adapter, Charset, HeadAdapter, TopAdapter
from learners.errors import TooFewDocuments
from learners.gradients import Cached, cache, chunks, document_gradients
from learners.lines import MAX_LINES, TrainDocument
from models.ctc import Alphabet
from models.recogniser import Recogniser
from privacy import accountant
from privacy.accountant import RoundEvent

FULL_BATCH_UP_TO = 2000
"""Slots up to which every step takes the whole pool: less noise than sampling, and less to prove."""
SAMPLED = 1000
"""Documents a step expects of a larger pool."""


@dataclass(frozen=True)
class Recipe:
    """How an adapter is trained; chosen on generated documents (bench/round.py), never on private ones."""

    max_grad_norm: float
    learning_rate: float
    steps: int
    noise_bound: float
    """noise / signal up to which a round with this adapter made generated documents read better."""


RECIPES: Mapping[str, Recipe] = {
    "top": Recipe(max_grad_norm=0.2, learning_rate=1e-2, steps=100, noise_bound=0.5),
    "head": Recipe(max_grad_norm=0.2, learning_rate=1e-2, steps=100, noise_bound=1.0),
    "bias": Recipe(max_grad_norm=0.05, learning_rate=5e-2, steps=50, noise_bound=1.0),
}


@dataclass(frozen=True)
class Settings:
    """The public numbers that a configuration may set."""

    capacity: int = 256
    epsilon_lifetime: float = 8.0
    delta: float = 1e-6
    rounds_per_document: int = 4
    charset: str = "latin"
    closed: bool = False
    adapter: str = "auto"
    rank: int = 32
    lines: int = MAX_LINES

    def __post_init__(self) -> None:
        if self.capacity < 1 or self.rounds_per_document < 1 or not 1 <= self.lines <= MAX_LINES:
            raise ValueError(f"Expected capacity, rounds_per_document >= 1 and lines in 1..16, got {self}.")
        if not (self.epsilon_lifetime > 0 and 0 < self.delta < 1 and 1 <= self.rank <= 120):
            raise ValueError(f"Expected epsilon_lifetime > 0, delta in (0, 1), rank in 1..120, got {self}.")
        if self.adapter != "auto" and self.adapter not in RECIPES:
            raise ValueError(f"Expected adapter auto, {', '.join(RECIPES)}, got {self.adapter!r}.")

    @property
    def characters(self) -> str:
        """The public set of characters that learn: a named set, or the characters themselves."""
        return CHARSETS.get(self.charset, self.charset)


@dataclass(frozen=True)
class Plan:
    """One round, in numbers that may be published; `event` is what it costs each of its slots."""

    capacity: int
    members: int
    sample_rate: float
    steps: int
    max_grad_norm: float
    noise_multiplier: float
    learning_rate: float
    lines: int
    adapter: str
    parameters: int
    charset: str = field(repr=False)
    closed: bool
    delta: float
    epsilon_round: float
    epsilon_lifetime: float
    rounds_per_document: int
    noise_over_signal: float

    @property
    def event(self) -> RoundEvent:
        return RoundEvent(self.sample_rate, self.noise_multiplier, self.steps)

    @property
    def expected_documents(self) -> float:
        """The public divisor of a step: sample rate x capacity, whoever is there."""
        return self.sample_rate * self.capacity

    def to_body(self) -> dict[str, str | float | int | bool]:
        """For the ledger and the claim."""
        return asdict(self)


def plan(
    settings: Settings,
    model: Recogniser,
    alphabet: Alphabet,
    members: int,
    public: Sequence[TrainDocument],
) -> tuple[Plan, Adapter]:
    """The round for `members` slots (public: those charged), and the adapter built from `public` documents.

    Raises:
        TooFewDocuments: noise would drown every adapter that is allowed; says how many are missing.
        ValueError: no slot at all, more than the capacity, or public documents with nothing to learn.
    """
    if not 0 < members <= settings.capacity:
        raise ValueError(f"Expected 1 to {settings.capacity} members, got {members}.")
    charset = Charset.of(settings.characters, alphabet, settings.closed)
    names = list(RECIPES) if settings.adapter == "auto" else [settings.adapter]
    needed = []
    for name in names:
        adapter = build(name, model, charset, settings.rank, public)
        found = _planned(settings, name, adapter, members, public)
        bound = RECIPES[name].noise_bound
        if found.noise_over_signal <= bound:
            return found, adapter
        needed.append(math.ceil(members * found.noise_over_signal / bound))
    raise TooFewDocuments(members, min(needed))


def build(
    name: str, model: Recogniser, charset: Charset, rank: int, public: Sequence[TrainDocument]
) -> Adapter:
    """An adapter by name; the head's basis comes from `public` documents."""
    if name == "top":
        return TopAdapter(model, charset)
    if name == "bias":
        return HeadAdapter(model, charset, None)
    return HeadAdapter(model, charset, gradient_basis(model, charset, rank, public))


def gradient_basis(model: Recogniser, charset: Charset, rank: int, public: Sequence[TrainDocument]) -> Tensor:
    """`(120, rank)`: the directions of the features along which public documents move the rows most.

    The top right-singular vectors of the documents' gradients of the rows, all rows and documents
    stacked (arXiv 2007.03813, section 3).
    """
    width = model.head.in_features
    adapter = HeadAdapter(model, charset, torch.eye(width))
    second = torch.zeros(width, width, dtype=torch.float64)
    for _, gradients in _public_gradients(adapter, public):
        rows = gradients[:, : len(charset.classes) * width].reshape(-1, width).double()
        second += rows.T @ rows
    directions: Tensor = torch.linalg.eigh(second).eigenvectors
    return directions.flip(1)[:, :rank].float().contiguous()


def _public_gradients(adapter: Adapter, public: Sequence[TrainDocument]) -> list[tuple[int, Tensor]]:
    cached: list[Cached] = cache(adapter, public)
    start = torch.zeros(adapter.size)
    found = [(chunk.documents, document_gradients(adapter, start, chunk)) for chunk in chunks(cached)]
    if sum(count for count, _ in found) < 2:
        raise ValueError(f"Expected public documents with lines of the charset, got {len(public)} without.")
    return found


def agreement(adapter: Adapter, public: Sequence[TrainDocument], max_grad_norm: float) -> float:
    """The norm of the mean clipped gradient of documents like `public`, at the model as it is.

    Without the part that comes from their finite number: `(n |mean|^2 - mean |g|^2) / (n - 1)` is
    unbiased for the squared norm.
    """
    total, squares, count = torch.zeros(adapter.size, dtype=torch.float64), 0.0, 0
    for documents, gradients in _public_gradients(adapter, public):
        exact = gradients.double()
        norms = exact.norm(dim=1, keepdim=True)
        clipped = exact * (max_grad_norm / norms.clamp_min(max_grad_norm))
        total += clipped.sum(0)
        squares += float(clipped.square().sum())
        count += documents
    squared = (float((total / count).square().sum()) * count - squares / count) / (count - 1)
    return math.sqrt(max(squared, 0.0))


def _planned(
    settings: Settings, name: str, adapter: Adapter, members: int, public: Sequence[TrainDocument]
) -> Plan:
    recipe = RECIPES[name]
    full = settings.capacity <= FULL_BATCH_UP_TO
    sample_rate = 1.0 if full else SAMPLED / settings.capacity
    budget = settings.epsilon_lifetime, settings.delta
    sigma = accountant.calibrate(sample_rate, recipe.steps, settings.rounds_per_document, *budget)
    event = RoundEvent(sample_rate, sigma, recipe.steps)
    noise = sigma * recipe.max_grad_norm * math.sqrt(adapter.size / recipe.steps) / (sample_rate * members)
    signal = agreement(adapter, public, recipe.max_grad_norm)
    return Plan(
        capacity=settings.capacity,
        members=members,
        sample_rate=sample_rate,
        steps=recipe.steps,
        max_grad_norm=recipe.max_grad_norm,
        noise_multiplier=sigma,
        learning_rate=recipe.learning_rate,
        lines=settings.lines,
        adapter=name,
        parameters=adapter.size,
        charset=settings.characters,
        closed=settings.closed,
        delta=settings.delta,
        epsilon_round=accountant.epsilon([event], settings.delta),
        epsilon_lifetime=settings.epsilon_lifetime,
        rounds_per_document=settings.rounds_per_document,
        noise_over_signal=noise / signal if signal else math.inf,
    )
