"""The audit's bounds against the papers and the theory; an audit run stays under every claim that is kept."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import stats

from learners import audit as run
from learners.plan import Plan
from privacy import accountant
from privacy.accountant import RoundEvent
from privacy.audit import Audit, Guesses, audit, guess, least_epsilon, least_mu, p_value, refutes_gaussian
from privacy.gdp import gaussian_mu
from privacy.noise import Debit, NoiseSource

torch.set_num_threads(1)
CANARIES, SIZE, STEPS, DELTA = 1000, 1024, 8, 1e-6
Scored = tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]


# The bounds.


@pytest.mark.parametrize(
    ("guesses", "delta", "epsilon"),
    [
        (Guesses(100, 100, 75), 0.0, 0.702),
        (Guesses(100, 100, 75), 1e-4, 0.699),
        (Guesses(1000, 100, 75), 1e-4, 0.673),
        (Guesses(100_000, 1510, 1439), 1e-5, 2.675),
    ],
)
def test_the_papers_figures_come_out(guesses: Guesses, delta: float, epsilon: float) -> None:
    """Steinke et al., appendix D and section 7; the paper rounds or cuts the last digit."""
    assert least_epsilon(guesses, delta, 0.05) == pytest.approx(epsilon, abs=1e-3)


def test_the_papers_p_value_comes_out() -> None:
    assert p_value(Guesses(100, 100, 75), math.log(3), 0.0) == pytest.approx(0.553, abs=5e-4)


@pytest.mark.parametrize("guesses", [Guesses(50, 20, 15), Guesses(300, 300, 170), Guesses(10, 1, 1), Guesses(9, 4, 0)])
def test_the_p_value_is_corollary_5_4_a_term_at_a_time(guesses: Guesses) -> None:
    for epsilon, delta in ((0.0, 0.0), (0.7, 1e-3), (2.0, 1e-5)):
        chance = math.exp(epsilon) / (1 + math.exp(epsilon))
        tail = [float(stats.binom.sf(k - 1, guesses.guessed, chance)) for k in range(guesses.right + 1)]
        v = guesses.right
        alpha = max(((tail[v - i] - tail[v]) / i for i in range(1, v + 1)), default=0.0)
        expected = min(1.0, tail[v] + 2 * guesses.canaries * delta * alpha)
        assert p_value(guesses, epsilon, delta) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("count", [16, 1000])
def test_all_right_without_delta_has_a_closed_form(count: int) -> None:
    expected = -math.log(0.05 ** (-1 / count) - 1)
    assert least_epsilon(Guesses(count, count, count), 0.0, 0.05) == pytest.approx(expected, abs=1e-5)


def test_one_guess_is_the_best_test_between_two_gaussians() -> None:
    """Of one canary, mu-GDP allows a right guess with probability Phi(mu / 2), and no more."""
    for mu in (0.2, 1.0, 2.5):
        best = float(stats.norm.cdf(mu / 2))
        assert refutes_gaussian(Guesses(1, 1, 1), mu, best + 1e-6)
        assert not refutes_gaussian(Guesses(1, 1, 1), mu, best - 1e-6)


def test_more_right_guesses_bound_more() -> None:
    for guessed in (100, 1000):
        found = [least_mu(Guesses(1000, guessed, right), 0.05) for right in range(guessed // 2, guessed + 1, 10)]
        assert found == sorted(found)
        assert found[0] == 0.0 < found[-1]


def scores_of(mu: float, canaries: int, seed: int) -> Scored:
    """Scores of a Gaussian mechanism whose canaries don't disturb each other: nothing tells more."""
    random = np.random.default_rng(seed)
    inside = random.random(canaries) < 0.5
    return mu * (inside - 0.5) + random.standard_normal(canaries), inside


@pytest.mark.parametrize("epsilon", [1.0, 3.0, 8.0])
def test_bounds_of_an_ideal_gaussian_lie_under_its_epsilon_and_not_far(epsilon: float) -> None:
    """Of 100 runs, 5 may pass; the middle one finds a good part."""
    mu = gaussian_mu(epsilon, DELTA)
    found = [audit(*scores_of(mu, CANARIES, seed), DELTA, gaussian=True) for seed in range(100)]
    assert sum(each.bound > epsilon for each in found) <= 5
    assert np.median([each.bound for each in found]) > (0.4 if epsilon > 1 else 0.15) * epsilon
    assert np.median([each.bound for each in found]) > 1.5 * np.median([each.epsilon for each in found])


def test_the_bound_holds_as_often_as_it_says() -> None:
    """The significance is met where it is tight: one guess of one canary."""
    mu, chance = 1.0, float(stats.norm.cdf(0.5))
    assert least_mu(Guesses(1, 1, 1), chance + 0.01) > mu > least_mu(Guesses(1, 1, 1), chance - 0.01)


def test_guesses_are_the_surest() -> None:
    inside = np.array([True, False, True, False, True, False, True, False, True, True])
    scores = np.where(inside, 1.0, -1.0) * np.arange(1, 11)
    scores[0] *= -1
    assert guess(scores, inside, 1.0) == Guesses(10, 10, 9)
    assert guess(scores, inside, 0.9) == Guesses(10, 9, 9)
    assert guess(-scores, inside, 0.2) == Guesses(10, 2, 0)
    assert guess(scores, inside, 0.0) == Guesses(10, 1, 1)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="right <= guessed"):
        Guesses(10, 5, 6)
    with pytest.raises(ValueError, match="finite scores"):
        audit(np.zeros(0), np.zeros(0, np.bool_), DELTA, gaussian=True)
    with pytest.raises(ValueError, match="finite scores"):
        audit(np.array([1.0, math.nan]), np.zeros(2, np.bool_), DELTA, gaussian=True)
    with pytest.raises(ValueError, match="confidence"):
        audit(*scores_of(1.0, 10, 0), DELTA, gaussian=True, confidence=1.0)
    with pytest.raises(ValueError, match="epsilon >= 0"):
        p_value(Guesses(1, 1, 1), -1.0, DELTA)


# The run.


def planned(epsilon: float, rounds: int = 1, sample_rate: float = 1.0, steps: int = STEPS) -> Plan:
    """One of `rounds` equal rounds that together claim `epsilon`, with a slot a canary."""
    sigma = accountant.calibrate(sample_rate, steps, rounds, epsilon, DELTA)
    event = RoundEvent(sample_rate, sigma, steps)
    return Plan(
        capacity=CANARIES,
        members=CANARIES,
        sample_rate=sample_rate,
        steps=steps,
        max_grad_norm=0.05,
        noise_multiplier=sigma,
        learning_rate=2e-2,
        rehearsal=0.0,
        lines=16,
        adapter="canary",
        parameters=SIZE,
        charset="x",
        closed=True,
        delta=DELTA,
        epsilon_round=accountant.epsilon([event], DELTA),
        epsilon_lifetime=epsilon,
        rounds_per_document=rounds,
        noise_over_signal=0.0,
    )


def scored(plan: Plan, seed: int | None = 1, lines: int = 2) -> Scored:
    """An audit run of the plan's lifetime; noise from the system's generator without a seed."""
    inside = np.random.default_rng(0).random(plan.members) < 0.5
    seeds = [None if seed is None else bytes([seed, k]) * 16 for k in range(plan.rounds_per_document)]
    debit = Debit.for_tests(plan.noise_multiplier, plan.steps, plan.sample_rate)
    sources = [NoiseSource(debit, seed=each) for each in seeds]
    return run.canary_scores(plan, inside, sources, lines), inside


def audited(plan: Plan, seed: int | None = 1, lines: int = 2) -> Audit:
    return audit(*scored(plan, seed, lines), plan.delta, gaussian=plan.sample_rate == 1.0)


def test_the_attack_is_as_strong_as_the_theory_allows() -> None:
    """Scores of canaries in and out lie mu of their standard deviations apart; not 2/3 or 3/2 of it."""
    plan = planned(8.0)
    scores, inside = scored(plan)
    apart = (scores[inside].mean() - scores[~inside].mean()) / scores[~inside].std()
    mu, spread = math.sqrt(plan.steps) / plan.noise_multiplier, 2 / math.sqrt(CANARIES)
    assert abs(apart - mu) < 4 * spread
    assert all(abs(apart - wrong * mu) > 4 * spread for wrong in (2 / 3, 3 / 2))


@pytest.mark.parametrize("epsilon", [1.0, 3.0, 8.0])
def test_a_sound_round_stays_under_its_claim(epsilon: float) -> None:
    found = audited(planned(epsilon))
    assert found.canaries >= 1000
    assert found.bound <= epsilon
    if epsilon > 1:  # and the canaries are seen: the bound is not empty
        assert found.bound > 0.4 * epsilon


def test_a_sound_lifetime_stays_under_its_claim() -> None:
    found = audited(planned(8.0, rounds=4, steps=2))
    assert 3.0 < found.bound <= 8.0


def test_sampled_rounds_stay_under_their_claim() -> None:
    found = audited(planned(8.0, sample_rate=0.25))
    assert found.gaussian_epsilon is None
    assert 0.5 < found.bound <= 8.0


@pytest.mark.parametrize("epsilon", [1.0, 3.0, 8.0])
def test_a_round_without_noise_is_flagged(epsilon: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NoiseSource, "add_to", lambda self, total, grid, noise_multiplier: total)
    found = audited(planned(epsilon, steps=2))
    assert (found.guessed, found.right) == (CANARIES, CANARIES)
    assert found.bound > epsilon


def test_every_canary_pushes_as_hard_as_the_clip_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without noise the scores of those in and out lie exactly steps x clip / divisor apart."""
    monkeypatch.setattr(NoiseSource, "add_to", lambda self, total, grid, noise_multiplier: total)
    plan = replace(planned(8.0, steps=3), max_grad_norm=0.3)
    inside = np.arange(CANARIES) % 3 == 0
    scores = run.canary_scores(plan, inside, [NoiseSource(Debit.for_tests())])
    assert scores == pytest.approx(3 * 0.3 / CANARIES * (inside - inside.mean()), rel=1e-4)


def test_the_record_is_fit_for_a_claim() -> None:
    body = audit(*scores_of(1.5, CANARIES, 0), DELTA, gaussian=True).to_body()
    assert json.loads(json.dumps(body)) == body
    assert all(isinstance(value, int | float) for value in body.values())
    assert "gaussian_epsilon" not in audit(*scores_of(1.5, CANARIES, 0), DELTA, gaussian=False).to_body()


def test_runs_that_cannot_be_are_refused() -> None:
    plan = planned(8.0)
    with pytest.raises(ValueError, match="coin for each"):
        run.canary_scores(plan, np.zeros(3, np.bool_), [])
    with pytest.raises(ValueError, match="at most 900 canaries"):
        run.canary_scores(replace(plan, parameters=900), np.zeros(CANARIES, np.bool_), [])
    assert run.audit_plan(replace(plan, rehearsal=1.0), 5000).members == 5000
