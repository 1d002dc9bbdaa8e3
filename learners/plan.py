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
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch

from learners import replay
from learners.adapters import CHARSETS, Adapter, Charset
from learners.catalogue import Looks, build, start_gradients
from learners.chunks import Seen
from learners.errors import TooFewDocuments
from learners.lines import MAX_LINES
from models.ctc import Alphabet
from privacy import accountant
from privacy.accountant import RoundEvent


@dataclass(frozen=True)
class Recipe:
    """How an adapter is trained; chosen on generated documents (bench/round.py), never on private ones."""

    max_grad_norm: float
    learning_rate: float
    rehearsal: float
    """Weight of the public documents' gradient beside the private one."""
    noise_bound: float
    """noise / signal up to which a round with this adapter made generated documents read better; 1, noise no larger
    than signal, where no bench has shown more."""


RECIPES: Mapping[str, Recipe] = {
    "top": Recipe(max_grad_norm=0.05, learning_rate=4e-3, rehearsal=1.0, noise_bound=3.0),
    "head": Recipe(max_grad_norm=0.05, learning_rate=1e-2, rehearsal=1.0, noise_bound=4.0),
    "bias": Recipe(max_grad_norm=0.05, learning_rate=1e-1, rehearsal=1.0, noise_bound=1.0),
    "lora": Recipe(max_grad_norm=0.05, learning_rate=2e-3, rehearsal=1.0, noise_bound=1.0),
    "norm": Recipe(max_grad_norm=0.05, learning_rate=2e-3, rehearsal=1.0, noise_bound=1.0),
    "neck": Recipe(max_grad_norm=0.05, learning_rate=2e-4, rehearsal=1.0, noise_bound=1.0),
    "all": Recipe(max_grad_norm=0.05, learning_rate=1e-4, rehearsal=1.0, noise_bound=1.0),
}
TAUGHT = 0.3
"""Share of a recipe's rehearsal where rounds begin from a public start. Public documents are there to hold it: all of
their weight pulls it past what they have in common with others."""
PART = 0.5
"""How far from a public start towards where a round's learning ended its candidate stands. What learning adds to a
start goes too far for documents unlike those it saw; half of the way keeps most of what it gains and a quarter of the
noise's variance (docs/learning.md). It is what the start itself does (Wortsman et al. 2022, arXiv 2109.01903), and
free."""
STARTED_BOUND = 2.5
"""noise / signal up to which rounds from a public start made real documents read better, half of the way (forms at
2.54; receipts at .99, and at 2.72 no more; docs/learning.md). The signal is measured at the released model, and a
start leaves some half of it."""
AUTOMATIC = ("head", "bias")
"""What is tried, in order. `top` has never been seen to beat `head` and costs many times its time."""


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
    rank: int = 64
    lines: int = MAX_LINES
    public_start: bool = False

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
class Considered:
    """An adapter that a plan looked at, and why it was taken or passed over."""

    adapter: str
    parameters: int
    noise_over_signal: float
    noise_bound: float

    @property
    def works(self) -> bool:
        return self.noise_over_signal <= self.noise_bound

    def __str__(self) -> str:
        verdict = "taken" if self.works else "passed over"
        ratio = f"noise {self.noise_over_signal:.2f} times the signal, at most {self.noise_bound:g}"
        return f"{self.adapter} ({self.parameters} parameters) {verdict}: {ratio}"


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
    rehearsal: float
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
    considered: tuple[Considered, ...] = ()
    part: float = 1.0
    """How far from where the round began towards where learning ended the candidate stands."""

    @property
    def event(self) -> RoundEvent:
        return RoundEvent(self.sample_rate, self.noise_multiplier, self.steps)

    @property
    def expected_documents(self) -> float:
        """The public divisor of a step: sample rate x capacity, whoever is there."""
        return self.sample_rate * self.capacity

    def to_body(self) -> dict[str, Any]:
        """For the ledger, the claim and `ocrd status`."""
        return {**asdict(self), "considered": [str(each) for each in self.considered]}


def plan(
    settings: Settings, alphabet: Alphabet, members: int, public: Looks, released: Looks | None = None
) -> tuple[Plan, Adapter]:
    """The round for `members` units (public: those charged), and the adapter of `public.model`, built from `public`.

    `released`: see `survey`.

    Raises:
        TooFewDocuments: noise would drown every adapter that is allowed; says how many are missing.
        ValueError: no slot at all, more than the capacity, or public documents with nothing to learn.
    """
    return choose(settings, survey(settings, alphabet, public, released), members)


@dataclass(frozen=True)
class Surveyed:
    """An adapter, and the norm of the mean clipped gradient of public documents."""

    adapter: Adapter
    agreement: float


def survey(settings: Settings, alphabet: Alphabet, public: Looks, released: Looks | None = None) -> list[Surveyed]:
    """The adapters that the settings allow, the richest first, measured on public documents.

    Where `public.model` was taught on public documents, they no longer tell how much other documents have to teach.
    Then the released model's view of them is measured, `released`; the adapters are `public.model`'s all the same.
    """
    found = []
    for name in AUTOMATIC if settings.adapter == "auto" else (settings.adapter,):
        adapter = built(settings, alphabet, name, public)
        at, by = (public, adapter) if released is None else (released, built(settings, alphabet, name, released))
        found.append(Surveyed(adapter, agreement(by, at.at(by.depth), RECIPES[name].max_grad_norm)))
    return found


def built(settings: Settings, alphabet: Alphabet, name: str, public: Looks) -> Adapter:
    """The adapter of that name for `public.model`, where that is."""
    return build(name, Charset.of(settings.characters, alphabet, settings.closed), settings.rank, public)


def choose(settings: Settings, surveyed: Sequence[Surveyed], members: int) -> tuple[Plan, Adapter]:
    """The first adapter whose noise stays under its bound with `members` slots. Raises as `plan` does."""
    if not 0 < members <= settings.capacity:
        raise ValueError(f"Expected 1 to {settings.capacity} members, got {members}.")
    considered: list[Considered] = []
    needed = []
    for each in surveyed:
        found = planned(settings, each, members)
        bound = RECIPES[each.adapter.name].noise_bound
        bound = min(bound, STARTED_BOUND) if settings.public_start else bound
        considered.append(Considered(each.adapter.name, each.adapter.size, found.noise_over_signal, bound))
        if considered[-1].works:
            return replace(found, considered=tuple(considered)), each.adapter
        if math.isfinite(found.noise_over_signal):
            needed.append(math.ceil(members * found.noise_over_signal / bound))
    raise TooFewDocuments(members, min(needed, default=None), [str(each) for each in considered])


def agreement(adapter: Adapter, public: Sequence[Seen], max_grad_norm: float) -> float:
    """The norm of the mean clipped gradient of documents like `public`, at the model as it is.

    Without the part that comes from their finite number: `(n |mean|^2 - mean |g|^2) / (n - 1)` is
    unbiased for the squared norm.
    """
    gradients = torch.cat([part.double() for part in start_gradients(adapter, public)])
    clipped = gradients * (max_grad_norm / gradients.norm(dim=1, keepdim=True).clamp_min(max_grad_norm))
    count = len(clipped)
    squared = count * clipped.mean(0).square().sum() - clipped.square().sum(1).mean()
    return math.sqrt(max(float(squared) / (count - 1), 0.0))


def planned(settings: Settings, surveyed: Surveyed, members: int) -> Plan:
    adapter, recipe = surveyed.adapter, RECIPES[surveyed.adapter.name]
    budget = settings.epsilon_lifetime, settings.delta
    event = replay.ticket(settings.capacity, settings.rounds_per_document, *budget)
    mean = event.noise_multiplier / (event.sample_rate * members * math.sqrt(event.steps))
    noise = recipe.max_grad_norm * math.sqrt(adapter.size) * mean
    return Plan(
        capacity=settings.capacity,
        members=members,
        sample_rate=event.sample_rate,
        steps=event.steps,
        max_grad_norm=recipe.max_grad_norm,
        noise_multiplier=event.noise_multiplier,
        learning_rate=recipe.learning_rate,
        rehearsal=recipe.rehearsal * (TAUGHT if settings.public_start else 1.0),
        lines=settings.lines,
        adapter=adapter.name,
        parameters=adapter.size,
        charset=settings.characters,
        closed=settings.closed,
        delta=settings.delta,
        epsilon_round=accountant.epsilon([event], settings.delta),
        epsilon_lifetime=settings.epsilon_lifetime,
        rounds_per_document=settings.rounds_per_document,
        noise_over_signal=noise / surveyed.agreement if surveyed.agreement else math.inf,
        part=PART if settings.public_start else 1.0,
    )
