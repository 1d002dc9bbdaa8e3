"""What a private round will do, and whether it can work: decided before anything is spent.

Every number of a plan is public: it comes from the configuration, from public, generated lines, or from
the count of slots. So a plan costs nothing and may be made, refused and published freely.

How much of a round is signal. The noise of `T` steps averages to `sigma C sqrt(P) / (q N sqrt(T))` in
norm, for `P` parameters and `N` documents; what the documents agree on is the mean of their clipped
gradients. With `sigma = sqrt(T) / mu` (full batch) the steps cancel:

    noise / signal = C sqrt(P) / (mu N |mean clipped gradient|).

The mean is measured on public documents. An adapter can work when the ratio is under its bound; the
first that can, from the richest to the smallest, is chosen. Deep ones take minutes to measure: those that are not taken
unless they are asked for, or would be over their bound, are judged by what `learners.signals` has of the release; of
another model, by the least that the ratio can be: the mean is no longer than C.

What a deep adapter reads from is large, and what does not fit into memory is looked at again at each of a document's
turns, for hours. How much it is must not be asked of private documents, so "auto" takes it where as many lines as wide
as public ones would fit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Any

from learners import replay
from learners.adapters import Adapter
from learners.catalogue import Looks
from learners.errors import TooFewDocuments
from learners.recipes import PART, RECIPES, STARTED_BOUND, TAUGHT
from learners.settings import Settings
from learners.survey import Surveyed, survey
from models.ctc import Alphabet
from privacy import accountant
from privacy.accountant import RoundEvent

PASSED_OVER, LEFT_OUT = "passed over", "left out unless asked for"
BESIDES = 3 * 2**30
"""Bytes that a round takes beside what it remembers of its documents: libraries, models, public documents, a step."""


@dataclass(frozen=True)
class Considered:
    """An adapter that a plan looked at, and whether it was taken, and why."""

    adapter: str
    parameters: int
    verdict: str
    noise_over_signal: float
    noise_bound: float
    measured: bool = True
    """If not, the ratio is what the largest possible signal would leave."""

    def __str__(self) -> str:
        ratio = f"{'' if self.measured else 'at least '}{self.noise_over_signal:.2f}"
        bound = f"noise {ratio} times the signal, at most {self.noise_bound:g}"
        return f"{self.adapter} ({self.parameters} parameters) {self.verdict}: {bound}"


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
    settings: Settings,
    alphabet: Alphabet,
    members: int,
    public: Looks,
    released: Looks | None = None,
    tell: Callable[[str], Any] = lambda text: None,
) -> tuple[Plan, Adapter]:
    """The round for `members` units (public: those charged), and the adapter of `public.model`, built from `public`.

    `released` and `tell`: see `survey`.

    Raises:
        TooFewDocuments: noise would drown every adapter that is allowed; says how many are missing.
        ValueError: no slot at all, more than the capacity, or public documents with nothing to learn.
    """
    return choose(settings, survey(settings, alphabet, public, released, tell), members)


def choose(settings: Settings, surveyed: Sequence[Surveyed], members: int) -> tuple[Plan, Adapter]:
    """The first adapter whose noise stays under its bound with `members` slots. Raises as `plan` does.

    Of those that "auto" does not take, and those that come after the one that is taken, the signal is not measured: it
    is what is recorded, or else the largest that there can be.
    """
    if not 0 < members <= settings.capacity:
        raise ValueError(f"Expected 1 to {settings.capacity} members, got {members}.")
    considered: list[Considered] = []
    taken: tuple[Plan, Adapter] | None = None
    needed = []
    for each in surveyed:
        told = _told(settings, each, members)
        verdict = "not needed" if taken and told.verdict != LEFT_OUT else told.verdict
        if not verdict:
            found = planned(settings, each, members)
            ratio, bound = found.noise_over_signal, told.noise_bound
            told = replace(told, noise_over_signal=ratio, measured=True)
            verdict = "taken" if ratio <= bound else PASSED_OVER
            if ratio <= bound:
                taken = found, each.adapter
            elif math.isfinite(ratio):
                needed.append(math.ceil(members * ratio / bound))
        considered.append(replace(told, verdict=verdict))
    if taken is None:
        tried = [str(each) for each in considered if each.verdict == PASSED_OVER]
        raise TooFewDocuments(members, min(needed, default=None), tried)
    return replace(taken[0], considered=tuple(considered)), taken[1]


def _told(settings: Settings, each: Surveyed, members: int) -> Considered:
    """An adapter as far as it can be judged without measuring it; the verdict is empty if that must be done."""
    recipe = RECIPES[each.name]
    bound = min(recipe.noise_bound, STARTED_BOUND) if settings.public_start else recipe.noise_bound
    ratio = recipe.max_grad_norm * _noise(settings, each.size, members) / (each.recorded or recipe.max_grad_norm)
    verdict = ""
    if settings.adapter == "auto" and not recipe.automatic:
        if settings.public_start and recipe.from_start:
            bound, verdict = recipe.from_start, _too_large(settings, each, members)
            verdict = PASSED_OVER if ratio > bound else verdict
        else:
            verdict = LEFT_OUT
    return Considered(each.name, each.size, verdict, ratio, bound, measured=bool(each.recorded))


def _too_large(settings: Settings, each: Surveyed, members: int) -> str:
    """The verdict on an adapter for which there is too little memory; empty if there is enough."""
    wanted = members * settings.lines * each.bytes_a_line
    if settings.memory is None or wanted <= room(settings.memory):
        return ""
    return f"left out, for it wants {wanted / 2**30:.1f} GiB of memory and has {room(settings.memory) / 2**30:.1f}"


def room(memory: int) -> int:
    """Of the bytes that a round may take, those for what it remembers of its documents: a quarter at least."""
    return max(memory - BESIDES, memory // 4)


def _noise(settings: Settings, parameters: int, members: int) -> float:
    """The norm of a round's averaged noise, of so many numbers, in clips."""
    event = _ticket(settings)
    return math.sqrt(parameters) * event.noise_multiplier / (event.sample_rate * members * math.sqrt(event.steps))


@lru_cache(maxsize=16)
def _ticket(settings: Settings) -> RoundEvent:
    return replay.ticket(settings.capacity, settings.rounds_per_document, settings.epsilon_lifetime, settings.delta)


def planned(settings: Settings, surveyed: Surveyed, members: int) -> Plan:
    adapter, recipe = surveyed.adapter, RECIPES[surveyed.adapter.name]
    event = _ticket(settings)
    noise = recipe.max_grad_norm * _noise(settings, adapter.size, members)
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
