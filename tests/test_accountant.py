"""Epsilon against theory, against figures computed elsewhere, and against two independent accountants."""

from __future__ import annotations

import math
import random
import subprocess
import sys
import time

import dp_accounting
import pytest
from dp_accounting import dp_event, gaussian_mechanism, rdp
from scipy import integrate, special, stats

from privacy import accountant
from privacy.accountant import RoundEvent

DELTA = 1e-6
FULL = [RoundEvent(1.0, 13.059, 100)]
SAMPLED = [RoundEvent(0.256, 2.07, 150)]
SPARSE = [RoundEvent(0.01, 1.5, 1000)]
MIXED = [RoundEvent(0.1, 3.0, 50), RoundEvent(1.0, 20.0, 50), RoundEvent(0.05, 3.0, 500), RoundEvent(1.0, 30.0, 1)]
SCHEDULES = [FULL, SAMPLED, SPARSE, MIXED]


def _renyi(events: list[RoundEvent], delta: float) -> float:
    """A looser bound by Renyi divergences: no valid accountant may be above it by more than rounding."""
    other = rdp.RdpAccountant(neighboring_relation=dp_accounting.NeighboringRelation.REPLACE_SPECIAL)
    for event in events:
        gaussian = dp_event.GaussianDpEvent(event.noise_multiplier)
        other.compose(dp_event.PoissonSampledDpEvent(event.sample_rate, gaussian), event.steps)
    return float(other.get_epsilon(delta))


# Figures that were computed elsewhere, before this module.


def test_a_cap_of_8_is_a_sum_of_squared_mu_of_2_34() -> None:
    assert accountant.gaussian_mu(8.0, DELTA) ** 2 == pytest.approx(2.345, abs=0.005)


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


@pytest.mark.parametrize("mu", [0.01, 0.3, 1.5315, 6.0])
@pytest.mark.parametrize("epsilon", [0.0, 0.5, 8.0, 40.0])
def test_delta_is_the_hockey_stick_integral(mu: float, epsilon: float) -> None:
    """delta(epsilon) = E[(1 - e^(epsilon - L))_+] for the loss L ~ N(mu^2 / 2, mu^2)."""
    loss = stats.norm(mu * mu / 2, mu)
    top = mu * mu / 2 + 40 * mu
    start = max(epsilon, mu * mu / 2 - 40 * mu)
    integral, _ = integrate.quad(
        lambda x: -math.expm1(epsilon - x) * loss.pdf(x), start, max(top, start), epsabs=0, limit=500
    )
    assert math.exp(accountant.gaussian_log_delta(mu, epsilon)) == pytest.approx(integral, rel=1e-6, abs=1e-300)


def test_the_normal_distributions_tail_is_exact_far_out() -> None:
    places = [*(x / 8 for x in range(-400, 64) if x), -1e3, -1e5, 20.0, 50.0]
    for x in places:
        assert accountant.log_normal_cdf(x) == pytest.approx(float(special.log_ndtr(x)), rel=1e-11)


@pytest.mark.parametrize("epsilon", [0.01, 0.3, 1.0, 8.0, 50.0])
@pytest.mark.parametrize("delta", [1e-3, 1e-6, 1e-12, 1e-30])
def test_mu_and_epsilon_are_inverse_and_agree_with_dp_accounting(epsilon: float, delta: float) -> None:
    mu = accountant.gaussian_mu(epsilon, delta)
    assert accountant.gaussian_epsilon(mu, delta) == pytest.approx(epsilon, rel=1e-9)
    assert accountant.gaussian_epsilon(mu, delta) <= epsilon * (1 + 2e-12)  # both round up
    assert 1 / mu == pytest.approx(gaussian_mechanism.get_sigma_gaussian(epsilon, delta), rel=1e-6)


def test_limits() -> None:
    assert accountant.epsilon([], DELTA) == 0.0
    assert accountant.gaussian_epsilon(1e-9, DELTA) == 0.0
    assert accountant.gaussian_log_delta(0.0, 1.0) == -math.inf
    assert accountant.epsilon([RoundEvent(1.0, 1e9, 1)], DELTA) == 0.0
    assert accountant.epsilon([RoundEvent(1.0, 0.01, 1)], DELTA) > 5000
    assert accountant.epsilon([RoundEvent(1e-9, 1.0, 1)], DELTA) == pytest.approx(0.0, abs=1e-3)


def test_full_batch_rounds_compose_by_the_sum_of_squares() -> None:
    events = [RoundEvent(1.0, 10.0, 30), RoundEvent(1.0, 25.0, 80), RoundEvent(1.0, 4.0, 1)]
    mu = accountant.composed_mu(events)
    assert mu**2 == pytest.approx(30 / 100 + 80 / 625 + 1 / 16)
    assert accountant.epsilon(events, DELTA) == accountant.gaussian_epsilon(mu, DELTA)


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
    assert accountant.group_epsilon(FULL, DELTA, 3) == accountant.gaussian_epsilon(3 * mu, DELTA)
    assert accountant.group_epsilon(SAMPLED, DELTA, 1) == pytest.approx(accountant.epsilon(SAMPLED, DELTA), abs=1e-2)


# Other accountants.


@pytest.mark.parametrize("events", SCHEDULES)
def test_epsilon_agrees_with_opacus(events: list[RoundEvent]) -> None:
    ours, second = accountant.epsilon(events, DELTA), accountant.epsilon_second_opinion(events, DELTA)
    assert second is not None
    assert ours == pytest.approx(second, abs=accountant.SECOND_OPINION_ERROR)
    assert ours >= second - 1e-4, "epsilon is below what an independent accountant says"


def test_epsilon_never_falls_below_the_second_opinion() -> None:
    draw = random.Random(7)
    for _ in range(6):
        events = [
            RoundEvent(
                draw.choice([1.0, draw.uniform(0.01, 0.6)]),
                round(draw.uniform(4.0, 30.0), 3),
                draw.randint(1, 120),
            )
            for _ in range(draw.randint(1, 3))
        ]
        second = accountant.epsilon_second_opinion(events, DELTA)
        assert second is not None
        assert accountant.epsilon(events, DELTA) >= second - accountant.SECOND_OPINION_ERROR, events


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


def test_importing_is_cheap() -> None:
    code = (
        "import sys, privacy.accountant as a; a.calibrate(1.0, 100, 4, 8.0, 1e-6);"
        "print(*{n.partition('.')[0] for n in sys.modules})"
    )
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "torch", "scipy", "opacus", "dp_accounting"} & set(done.stdout.split())
    assert time.monotonic() - start < 5


def test_the_readmes_plain_words_are_the_accountants() -> None:
    """78 and 65 right answers in 100, and epsilon 189 for ten documents of one person."""
    from statistics import NormalDist

    mu = accountant.gaussian_mu(8.0, 1e-6)
    right = [round(100 * NormalDist().cdf(each / 2)) for each in (mu, mu / 2)]
    assert right == [78, 65]
    assert round(accountant.group_epsilon([RoundEvent(1.0, 1 / mu, 1)], 1e-6, 10)) == 189
