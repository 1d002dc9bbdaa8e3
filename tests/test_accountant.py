"""Epsilon against theory, against figures computed elsewhere, and against two independent accountants."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import dp_accounting
import mpmath
import numpy as np
import pytest
from dp_accounting import dp_event, rdp
from dp_accounting.pld.privacy_loss_mechanism import AdjacencyType, GaussianPrivacyLoss
from scipy import optimize, stats

from privacy import accountant, gdp, loss
from privacy.accountant import RoundEvent

sys.path.append(str(Path(__file__).parents[1] / "bench"))
from exact_epsilon import exact_epsilon

DELTA = 1e-6
FULL = [RoundEvent(1.0, 13.059, 100)]
SAMPLED = [RoundEvent(0.256, 2.07, 150)]
SPARSE = [RoundEvent(0.01, 1.5, 1000)]
MIXED = [RoundEvent(0.1, 3.0, 50), RoundEvent(1.0, 20.0, 50), RoundEvent(0.05, 3.0, 500), RoundEvent(1.0, 30.0, 1)]
SCHEDULES = [FULL, SAMPLED, SPARSE, MIXED]


def closed_form(mu: float) -> float:
    """At 0.999 delta: the rest is for `privacy.filters`; the nanonat is for the noise's discreteness."""
    return gdp.gaussian_epsilon(mu, 0.999 * DELTA * (1 - 1e-9)) + 1e-9


def _renyi(events: list[RoundEvent], delta: float) -> float:
    """A looser bound by Renyi divergences: no valid accountant may be above it by more than rounding."""
    other = rdp.RdpAccountant(neighboring_relation=dp_accounting.NeighboringRelation.REPLACE_SPECIAL)
    for event in events:
        gaussian = dp_event.GaussianDpEvent(event.noise_multiplier)
        other.compose(dp_event.PoissonSampledDpEvent(event.sample_rate, gaussian), event.steps)
    return float(other.get_epsilon(delta))


# Figures that were computed elsewhere, before this module.


@pytest.mark.parametrize(("rounds", "each"), [(1, 8.0), (2, 5.4), (4, 3.7), (10, 2.2)])
def test_a_cap_of_8_leaves_this_much_a_round(rounds: int, each: float) -> None:
    noise = accountant.calibrate(0.256, 150, rounds, 8.0, DELTA)
    assert accountant.epsilon([RoundEvent(0.256, noise, 150)], DELTA) == pytest.approx(each, abs=0.05)


def test_52_rounds_compose_to_9_45() -> None:
    event = RoundEvent(0.1, 3.0, 50)
    one = accountant.epsilon([event], DELTA)
    assert 52 * one == pytest.approx(58.5, abs=0.05)
    assert _renyi([event] * 52, DELTA) == pytest.approx(10.1, abs=0.05)
    assert accountant.epsilon([event] * 52, DELTA) == pytest.approx(9.45, abs=0.005)


@pytest.mark.parametrize(("delta", "expected"), [(1e-5, 7.94), (1e-6, 8.85)])
def test_epsilon_depends_on_delta(delta: float, expected: float) -> None:
    assert accountant.epsilon(SAMPLED, delta) == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize(("lines", "expected"), [(1, 0.65), (5, 3.9), (20, 21.5)])
def test_line_level_privacy_is_not_document_level_privacy(lines: int, expected: float) -> None:
    sampled_lines = [RoundEvent(0.05, 3.0, 100)]
    assert accountant.group_epsilon(sampled_lines, 1e-5, lines) == pytest.approx(expected, abs=0.05)


# Theory.


def test_limits() -> None:
    assert accountant.epsilon([], DELTA) == 0.0
    assert accountant.epsilon([RoundEvent(1.0, 1e9, 1)], DELTA) == 1e-9
    assert 5000 < accountant.epsilon([RoundEvent(1.0, 0.01, 1)], DELTA) < math.inf
    assert accountant.epsilon([RoundEvent(1e-9, 1.0, 1)], DELTA) == pytest.approx(0.0, abs=1e-3)


def test_full_batch_rounds_compose_by_the_sum_of_squares() -> None:
    events = [RoundEvent(1.0, 10.0, 30), RoundEvent(1.0, 25.0, 80), RoundEvent(1.0, 4.0, 1)]
    mu = accountant.composed_mu(events)
    assert mu**2 == pytest.approx(30 / 100 + 80 / 625 + 1 / 16)
    assert accountant.epsilon(events, DELTA) == pytest.approx(closed_form(mu), abs=1e-12)


def test_loss_distributions_agree_with_the_closed_form() -> None:
    for events in (FULL, [RoundEvent(1.0, 10.0, 30), RoundEvent(1.0, 4.0, 1)]):
        exact = accountant.epsilon(events, DELTA)
        assert exact <= accountant.loss_distribution_epsilon(events, DELTA) + 1e-9
        assert accountant.loss_distribution_epsilon(events, DELTA) == pytest.approx(exact, rel=1e-6)
    almost = [RoundEvent(1.0 - 1e-9, 13.059, 100)]
    assert accountant.epsilon(almost, DELTA) == pytest.approx(accountant.epsilon(FULL, DELTA), rel=1e-4)


def test_zero_out_is_not_replacement() -> None:
    """Another document in its place would move the sum twice as far; this is what is *not* claimed."""
    gaussian = dp_event.GaussianDpEvent(2.07)
    figures = {}
    for relation in dp_accounting.NeighboringRelation:
        other = dp_accounting.pld.PLDAccountant(relation, 1e-3)
        other.compose(dp_event.PoissonSampledDpEvent(0.256, gaussian), 150)
        figures[relation.name] = other.get_epsilon(DELTA)
    assert accountant.epsilon(SAMPLED, DELTA) == pytest.approx(figures["REPLACE_SPECIAL"], abs=1e-3)
    assert figures["ADD_OR_REMOVE_ONE"] == figures["REPLACE_SPECIAL"]
    assert figures["REPLACE_ONE"] > 1.5 * figures["REPLACE_SPECIAL"]


@pytest.mark.parametrize("removed", [True, False])
@pytest.mark.parametrize(("rate", "sigma"), [(0.02, 0.617), (0.25, 3.388), (0.5, 20.0), (0.999, 1.5), (1e-4, 1.0)])
def test_the_deltas_of_a_step_are_dp_accountings(rate: float, sigma: float, removed: bool) -> None:
    """All of them at once and one by one: to the last digit where the same mathematical library computes both."""
    adjacency = AdjacencyType.REMOVE if removed else AdjacencyType.ADD
    step = GaussianPrivacyLoss(sigma, sampling_prob=rate, adjacency_type=adjacency)
    edge = math.log1p(-rate) if removed else -math.log1p(-rate)
    epsilons = np.array([*np.arange(-2000, 2001) * 5e-3, edge, edge * (1 + 1e-12), edge * (1 - 1e-7)])
    found = loss._deltas(step, rate, sigma, removed, epsilons)
    assert found == pytest.approx(step.get_delta_for_epsilon(epsilons), rel=1e-12, abs=1e-15)
    mutant = loss._deltas(step, rate, sigma, not removed, epsilons)
    assert abs(mutant - found).max() > 1e-10


@pytest.mark.parametrize("interval", [1e-3, 1e-4])
@pytest.mark.parametrize("events", [SAMPLED, SPARSE, MIXED])
def test_loss_distributions_are_dp_accountings(events: list[RoundEvent], interval: float) -> None:
    relation = dp_accounting.NeighboringRelation.REPLACE_SPECIAL
    other = dp_accounting.pld.PLDAccountant(relation, interval)
    if full := [event for event in events if event.sample_rate == 1.0]:
        other.compose(dp_event.GaussianDpEvent(1.0 / accountant.composed_mu(full)))
    for event in (event for event in events if event.sample_rate < 1.0):
        gaussian = dp_event.GaussianDpEvent(event.noise_multiplier)
        other.compose(dp_event.PoissonSampledDpEvent(event.sample_rate, gaussian), event.steps)
    expected = other.get_epsilon(0.999 * DELTA * (1 - 1e-9)) + 1e-9
    assert accountant.loss_distribution_epsilon(events, DELTA, interval) == pytest.approx(expected, abs=1e-7)


def test_a_coarser_grid_is_never_lower() -> None:
    for events in (SAMPLED, SPARSE, [RoundEvent(0.02, 0.617, 200)]):
        figures = [accountant.epsilon(events, DELTA, interval) for interval in (1e-4, 7e-4, 3e-3, 2e-2)]
        assert figures == sorted(figures)
        assert figures[2] < figures[0] + 2e-5 * events[0].steps


def test_order_and_splitting_do_not_count() -> None:
    parts = [RoundEvent(0.1, 3.0, 20), RoundEvent(1.0, 20.0, 50), RoundEvent(0.1, 3.0, 30)]
    assert accountant.merged(parts) == (RoundEvent(0.1, 3.0, 50), RoundEvent(1.0, 20.0, 50))
    assert accountant.epsilon(parts, DELTA) == accountant.epsilon(parts[::-1], DELTA)


def test_more_of_anything_costs_more() -> None:
    base = accountant.epsilon([RoundEvent(0.1, 3.0, 50)], DELTA)
    for worse in (RoundEvent(0.12, 3.0, 50), RoundEvent(0.1, 2.9, 50), RoundEvent(0.1, 3.0, 55)):
        assert accountant.epsilon([worse], DELTA) > base
    assert accountant.epsilon([RoundEvent(0.1, 3.0, 50)], 1e-7) > base


def test_a_group_of_full_batch_units_costs_its_size_in_mu() -> None:
    mu = accountant.composed_mu(FULL)
    assert accountant.group_epsilon(FULL, DELTA, 3) == pytest.approx(closed_form(3 * mu), abs=1e-12)
    assert accountant.group_epsilon(SAMPLED, DELTA, 1) == pytest.approx(accountant.epsilon(SAMPLED, DELTA), abs=1e-2)


# Other accountants.


def near(ours: float, other: float) -> bool:
    """Never below another accountant's figure, but for what that errs by, and within max(0.5%, 0.02) of it."""
    return other - 1e-4 <= ours <= other + max(0.005 * other, 0.02)


def _drawn_schedules(count: int) -> list[list[RoundEvent]]:
    draw = random.Random(7)

    def event() -> RoundEvent:
        rate = draw.choice([1.0, draw.uniform(0.01, 0.6)])
        return RoundEvent(rate, round(draw.uniform(4.0, 30.0), 3), draw.randint(1, 120))

    return [[event() for _ in range(draw.randint(1, 3))] for _ in range(count)]


def at_or_above(events: Sequence[RoundEvent], truth: float) -> bool:
    """Never below the truth, and within max(0.5%, 0.02) of it."""
    return truth <= accountant.epsilon(events, DELTA) <= truth + max(0.005 * truth, 0.02)


@pytest.mark.parametrize("events", [*SCHEDULES, *_drawn_schedules(2), [RoundEvent(0.01, 3.4, 100)]])
def test_epsilon_is_never_below_the_exact_one(events: list[RoundEvent]) -> None:
    """Both directions, inverted without a grid of losses (bench/exact_epsilon.py)."""
    assert at_or_above(events, exact_epsilon(events, DELTA))


@pytest.mark.parametrize("wrong", [2 / 3, 3 / 2])
@pytest.mark.parametrize("events", [FULL, SAMPLED])
def test_a_wrong_sigma_is_not_the_exact_one(events: list[RoundEvent], wrong: float) -> None:
    [event] = events
    other = [RoundEvent(event.sample_rate, wrong * event.noise_multiplier, event.steps)]
    assert not at_or_above(other, exact_epsilon(events, DELTA))


@pytest.mark.parametrize("mu", [0.3, 2.34])
def test_the_exact_epsilon_is_the_closed_forms(mu: float) -> None:
    assert exact_epsilon([RoundEvent(1.0, 10 / mu, 100)], DELTA) == pytest.approx(
        gdp.gaussian_epsilon(mu, DELTA), abs=1e-8
    )


@pytest.mark.parametrize("events", [*SCHEDULES, *_drawn_schedules(8), [RoundEvent(0.05, 30.0, 100)]])
def test_epsilon_agrees_with_opacus(events: list[RoundEvent]) -> None:
    second = accountant.epsilon_second_opinion(events, DELTA)
    assert second is not None
    assert near(accountant.epsilon(events, DELTA), second)


@pytest.mark.parametrize("events", [[RoundEvent(0.01, 13.06, 100)], [RoundEvent(0.01, 3.4, 100)], MIXED])
def test_where_opacus_says_more_it_is_its_own_error(events: list[RoundEvent], monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of it, and Opacus lies below."""
    monkeypatch.setattr(accountant, "SECOND_OPINION_ERROR", 1e-3)
    second = accountant.epsilon_second_opinion(events, DELTA)
    assert second is not None
    assert second < accountant.epsilon(events, DELTA) < second + 1e-3


@pytest.mark.parametrize(("rate", "noise"), [(0.25, 1.0), (0.01, 0.7), (0.6, 5.0), (0.9, 2.0), (1e-3, 0.5)])
def test_one_sampled_release_is_its_own_definition(rate: float, noise: float) -> None:
    """delta(epsilon) = sup P - e^epsilon Q over events, P and Q being N(0, s^2) and its mixture with N(1, s^2)."""

    def delta(epsilon: float) -> float:
        def tail(x: float, mean: float) -> float:
            return float(stats.norm.sf((x - mean) / noise))

        def below(x: float, mean: float) -> float:
            return float(stats.norm.cdf((x - mean) / noise))

        x = 0.5 + noise**2 * math.log((math.exp(epsilon) - 1 + rate) / rate)
        one = rate * tail(x, 1) + (1 - rate - math.exp(epsilon)) * tail(x, 0)
        if math.exp(-epsilon) <= 1 - rate:
            return one
        x = 0.5 + noise**2 * math.log((math.exp(-epsilon) - 1 + rate) / rate)
        return max(one, below(x, 0) - math.exp(epsilon) * (rate * below(x, 1) + (1 - rate) * below(x, 0)))

    exact = optimize.brentq(lambda epsilon: delta(epsilon) - DELTA, 1e-9, 50)
    assert near(accountant.epsilon([RoundEvent(rate, noise, 1)], DELTA), exact)
    assert accountant.epsilon([RoundEvent(rate, noise, 1)], DELTA) >= exact


@pytest.mark.parametrize("events", SCHEDULES)
def test_epsilon_lies_below_renyi_and_not_far_below(events: list[RoundEvent]) -> None:
    ours, renyi = accountant.epsilon(events, DELTA), _renyi(events, DELTA)
    assert 0.75 * renyi <= ours <= renyi


@pytest.mark.parametrize("wrong", [2 / 3, 3 / 2])
@pytest.mark.parametrize("events", [FULL, SAMPLED])
def test_a_wrong_sigma_is_told_apart(events: list[RoundEvent], wrong: float) -> None:
    second = accountant.epsilon_second_opinion(events, DELTA)
    assert second is not None
    [event] = events
    shifted = [RoundEvent(event.sample_rate, wrong * event.noise_multiplier, event.steps)]
    assert abs(accountant.epsilon(shifted, DELTA) - second) > 20 * accountant.SECOND_OPINION_ERROR


def test_the_second_opinion_may_be_missing() -> None:
    assert accountant.epsilon_second_opinion(SAMPLED, 1e-25) is None


# Discreteness: what the discrete Gaussian q costs beyond the rounded one p.


def _masses(s: float) -> tuple[range, list[mpmath.mpf], list[mpmath.mpf]]:
    """The integers within 14 s, and p and q there, from their definitions."""
    where = range(-math.ceil(14 * s), math.ceil(14 * s) + 1)

    def tail(x: float) -> mpmath.mpf:
        return mpmath.erfc(x / (s * mpmath.sqrt(2))) / 2

    p = [tail(abs(x) - 0.5) - tail(abs(x) + 0.5) if x else 1 - 2 * tail(0.5) for x in where]
    weights = [mpmath.exp(-mpmath.mpf(x * x) / (2 * s * s)) for x in where]
    return where, p, [weight / mpmath.fsum(weights) for weight in weights]


@pytest.mark.parametrize("s", [1.0, 1.5, 4.0, 20.0])
def test_the_lemma_on_discreteness_holds_and_is_not_loose(s: float) -> None:
    def holds(h: float) -> bool:
        near = 1 + 3 * mpmath.exp(-2 * mpmath.pi**2 * s * s)
        above = all(p <= q * near * mpmath.exp(h * x * x / s**2) for x, p, q in zip(*masses, strict=True))
        return above and all(q <= p / (1 - h) for _, p, q in zip(*masses, strict=True))

    with mpmath.workdps(80):
        masses, h = _masses(s), 1 / (24 * s * s)
        assert holds(h)
        assert not holds(0.9 * h)
        for share in (1.0, 0.1):
            moment = mpmath.fsum(p * mpmath.exp(share * x * x / (4 * s * s)) for x, p, _ in zip(*masses, strict=True))
            assert moment <= mpmath.exp(share / 2)


@pytest.mark.parametrize("s", [2.0, 8.0])
@pytest.mark.parametrize("epsilon", [0.5, 2.0, 8.0])
def test_a_discrete_release_is_as_private_as_the_accountant_says(s: float, epsilon: float) -> None:
    """One number, sensitivity s, on a grid so coarse that the lemma's terms show: delta is below the bound."""
    shift, h, most = int(s), 1 / (24 * s * s), 30.0
    with mpmath.workdps(60):
        _, _, q = _masses(s)
        away = [mpmath.mpf(0)] * shift + q[:-shift]
        delta = mpmath.fsum(max(one - math.exp(epsilon) * other, 0) for one, other in zip(away, q, strict=True))
    continuous = math.exp(gdp.gaussian_log_delta(1.0, epsilon - 3.1 * h - 4 * most * h))
    assert delta <= math.exp(1.1 * h) * (continuous + math.exp(epsilon - most))


def test_on_the_grid_that_is_used_discreteness_is_within_a_nanonat() -> None:
    sensitivity = 2.0 ** (accountant.GRID_BITS - 1)
    least = 1 / (24 * sensitivity**2)  # of numbers with noise multiplier 1
    together, largest, most = accountant.MOST_NUMBERS * 2**20 * least, 2**20 * least, 2**20
    assert together < 1e-11
    assert 3.1 * together + 4 * most * largest < 1e-9
    for mu in (1.0, 1024.0):
        assert gdp.gaussian_epsilon(mu, 1e-300) < 600_000 < most
    assert accountant.epsilon([RoundEvent(1.0, 1 / 1024, 1)], DELTA) < math.inf
    for events, size in (([RoundEvent(1.0, 1 / 1025, 1)], 1), ([RoundEvent(0.1, 1e-200, 1)], 1), (FULL, 2000)):
        assert accountant.group_epsilon(events, DELTA, size) == math.inf
    assert accountant.epsilon([RoundEvent(0.5, 1e-3, 10)], DELTA) == math.inf


# Calibration.


@pytest.mark.parametrize(
    ("rate", "steps", "rounds", "epsilon"),
    [(1.0, 100, 4, 8.0), (1.0, 1, 1, 0.1), (0.25, 100, 4, 8.0), (0.01, 300, 1, 1.0), (0.9, 10, 2, 3.0)],
)
def test_calibration_gives_the_least_thousandth_that_is_enough(
    rate: float, steps: int, rounds: int, epsilon: float
) -> None:
    noise = accountant.calibrate(rate, steps, rounds, epsilon, DELTA)
    assert round(noise, 3) == noise
    assert accountant.epsilon([RoundEvent(rate, noise, steps)] * rounds, DELTA) <= epsilon
    less = round(noise - 0.001, 3)
    assert accountant.epsilon([RoundEvent(rate, less, steps)] * rounds, DELTA) > epsilon


# What is refused.


@pytest.mark.parametrize(
    ("rate", "noise", "steps", "named"),
    [
        (0.0, 1.0, 1, "sample_rate"),
        (1.1, 1.0, 1, "sample_rate"),
        (math.nan, 1.0, 1, "sample_rate"),
        (0.5, 0.0, 1, "noise_multiplier"),
        (0.5, -1.0, 1, "noise_multiplier"),
        (0.5, math.inf, 1, "noise_multiplier"),
        (0.5, math.nan, 1, "noise_multiplier"),
        (0.5, 1.0, 0, "steps"),
        (0.5, 1.0, 1.5, "steps"),
        (0.5, 1.0, True, "steps"),
    ],
)
def test_an_event_that_is_none_is_refused(rate: float, noise: float, steps: int, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        RoundEvent(rate, noise, steps)


def test_other_bad_numbers_are_refused() -> None:
    for delta in (0.0, 1.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="delta"):
            accountant.epsilon(FULL, delta)
    with pytest.raises(ValueError, match="delta >="):
        accountant.epsilon(SAMPLED, 1e-13)
    with pytest.raises(ValueError, match="sample_rate = 1"):
        accountant.mu(SAMPLED[0])
    with pytest.raises(ValueError, match="rounds"):
        accountant.calibrate(1.0, 1, 0, 1.0, DELTA)
    with pytest.raises(ValueError, match="epsilon"):
        accountant.calibrate(1.0, 1, 1, 0.0, DELTA)
    with pytest.raises(ValueError, match="size"):
        accountant.group_epsilon(FULL, DELTA, 0)


def test_events_pass_through_the_ledgers_json() -> None:
    for event in MIXED:
        assert RoundEvent.from_body(event.to_body()) == event
    for body in ({}, {"sample_rate": 1, "noise_multiplier": 1.0}, {**MIXED[0].to_body(), "steps": "1"}):
        with pytest.raises((KeyError, TypeError, ValueError)):
            RoundEvent.from_body(body)


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys, privacy.accountant as a; a.calibrate(1.0, 100, 4, 8.0, 1e-6);"
        "print(*{n.partition('.')[0] for n in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "torch", "scipy", "opacus", "dp_accounting"} & set(done.stdout.split())


def test_the_readmes_plain_words_are_the_accountants() -> None:
    """78 and 65 right answers in 100, and epsilon 189 for ten documents of one person."""
    from statistics import NormalDist

    mu = gdp.gaussian_mu(8.0, 1e-6)
    right = [round(100 * NormalDist().cdf(each / 2)) for each in (mu, mu / 2)]
    assert right == [78, 65]
    assert round(accountant.group_epsilon([RoundEvent(1.0, 1 / mu, 1)], 1e-6, 10)) == 189
