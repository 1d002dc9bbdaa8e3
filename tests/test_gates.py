"""The gates against the theory, and with planted mistakes that the same checks must see."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from models import bounds, gates
from models.evidence import AnchorDocument, Evidence, Holdout, Latency, Parity, Privacy
from models.gates import GateResult, Limits, alpha_at, judge
from models.verdict import (
    ALWAYS_REQUIRED,
    ANCHOR,
    EXPORT_PADDLE,
    EXPORT_RAPIDOCR,
    GATES,
    HOLDOUT,
    LATENCY,
    PRIVACY,
    GateReport,
    Verdict,
)

FIELDS = {
    EXPORT_RAPIDOCR: "rapidocr",
    EXPORT_PADDLE: "paddle",
    ANCHOR: "anchor",
    LATENCY: "latency",
    HOLDOUT: "holdout",
    PRIVACY: "privacy",
}
LIMITS = Limits()


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def document(worse: int = 0, characters: int = 200, lines: int = 10) -> AnchorDocument:
    return AnchorDocument(characters, 5, 5 + worse, lines, lines - 2, lines - 2 - min(worse, lines - 2))


def good(**changes: Any) -> Evidence:
    """Evidence with which every gate passes, but for the changes."""
    everything: dict[str, Any] = {
        "rapidocr": Parity(200, 200, 1e-4),
        "paddle": Parity(200, 200),
        "anchor": tuple(document() for _ in range(40)),
        "latency": Latency((1.0,) * 24, (1.01,) * 24),
        "holdout": Holdout(gain=0.03, noise_std=0.01, slots=50, charged=True),
        "privacy": Privacy(worst_epsilon=2.0, cap=8.0, ledger_verified=True),
    }
    return Evidence("new", "old", 1, **{**everything, **changes})


def verdict(evidence: Evidence, gate: str, limits: Limits = LIMITS) -> Verdict:
    return judge(evidence, limits, rng()).results[gate].verdict


def test_a_candidate_that_shows_everything_is_promoted() -> None:
    report = judge(good(), LIMITS, rng())
    assert report.promote
    assert set(report.outcomes().values()) == {"pass"}
    assert report.reason == "every required gate passed"
    shown = json.loads(json.dumps(report.as_dict()))
    assert shown["gates"][ANCHOR].startswith("pass: on 40 public documents")
    assert shown["numbers"][LATENCY]["ratio"] == pytest.approx(1.01)


# Missing evidence


def promotes_on_missing_evidence() -> bool:
    return any(judge(good(**{field: None}), LIMITS, rng()).promote for field in FIELDS.values())


def test_missing_evidence_never_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not promotes_on_missing_evidence()
    lenient = gates.GateResult(Verdict.PASS, "nobody complained")
    strict = gates._answer
    monkeypatch.setattr(gates, "_answer", lambda found, gate: lenient if found is None else strict(found, gate))
    assert promotes_on_missing_evidence(), "the check does not see a gate that passes on missing evidence"


@given(st.sets(st.sampled_from(sorted(FIELDS)), min_size=1), st.sets(st.sampled_from(GATES)))
@settings(max_examples=25)
def test_promoted_exactly_if_no_required_gate_lacks_evidence(missing: set[str], extra: set[str]) -> None:
    limits = Limits(required=ALWAYS_REQUIRED | extra)
    report = judge(good(**{FIELDS[gate]: None for gate in missing}), limits, rng())
    assert report.promote == (not missing & limits.required)
    assert all(gate in report.reason for gate in missing & limits.required)


def test_a_gate_that_failed_blocks_even_where_it_is_not_required() -> None:
    limits = Limits(required=ALWAYS_REQUIRED)
    slow = Latency((1.0,) * 24, (2.0,) * 24)
    assert judge(good(latency=slow), limits, rng()).verdict is Verdict.FAIL
    assert judge(good(latency=None, paddle=None, holdout=None), limits, rng()).promote


@pytest.mark.parametrize("gate", sorted(ALWAYS_REQUIRED))
def test_some_gates_cannot_be_left_out(gate: str) -> None:
    with pytest.raises(ValueError, match="required"):
        Limits(required=frozenset(GATES) - {gate})
    report = judge(good(), LIMITS, rng())
    with pytest.raises(ValueError, match="results"):
        GateReport("new", "old", 1, 0.05, report.required, {k: v for k, v in report.results.items() if k != gate})


@pytest.mark.parametrize(
    "wrong", [{"alpha": 0.5}, {"cer_margin": math.inf}, {"anchor_documents": 1}, {"parity_lines": 0}]
)
def test_limits_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Limits(**wrong)


# Alpha over the system's life


def test_the_tries_of_a_life_spend_alpha_and_no_more() -> None:
    spent = sum(alpha_at(k, 0.05) for k in range(1, 100_000))
    assert 0.0499 < spent < 0.05
    with pytest.raises(ValueError, match="attempt"):
        alpha_at(0, 0.05)


def share_of_lives_with_a_bad_promotion(lives: int = 400, tries: int = 40) -> float:
    """Candidates that are worse by exactly the tolerance, judged again and again on fresh noise."""
    noise, std = rng(7), 0.01
    bad = 0
    for _ in range(lives):
        gains = -LIMITS.holdout_tolerance + noise.normal(0, std, tries)
        bad += any(
            gates.judge_holdout(Holdout(gain, std, 50, True), LIMITS, gates.alpha_at(k + 1, LIMITS.alpha)).verdict
            is Verdict.PASS
            for k, gain in enumerate(gains)
        )
    return bad / lives


def test_repeated_tries_do_not_let_a_bad_candidate_through(monkeypatch: pytest.MonkeyPatch) -> None:
    most = LIMITS.alpha + 3 * math.sqrt(LIMITS.alpha * (1 - LIMITS.alpha) / 400)
    assert share_of_lives_with_a_bad_promotion() <= most
    monkeypatch.setattr(gates, "alpha_at", lambda attempt, alpha: alpha)
    assert share_of_lives_with_a_bad_promotion() > most, "the check does not see that alpha is not spent"


def test_judge_tests_at_the_attempts_share_of_alpha() -> None:
    """A gain whose bound just passes at the first try does not at the second."""
    z = stats.norm.ppf(1 - alpha_at(1, LIMITS.alpha))
    holdout = Holdout(-LIMITS.holdout_tolerance + 1.001 * z * 0.01, 0.01, 50, True)
    first = good(holdout=holdout)
    assert verdict(first, HOLDOUT) is Verdict.PASS
    assert verdict(replace(first, attempt=2), HOLDOUT) is Verdict.INCONCLUSIVE


# Export parity


@pytest.mark.parametrize(
    ("parity", "expected"),
    [
        (Parity(200, 200, 5e-4), Verdict.PASS),
        (Parity(200, 199, 1e-6), Verdict.FAIL),
        (Parity(200, 200, 2.1e-3), Verdict.FAIL),
        (Parity(200, 200, math.nan), Verdict.FAIL),
        (Parity(99, 99, 1e-6), Verdict.INCONCLUSIVE),
        (Parity(0, 0, 0.0), Verdict.INCONCLUSIVE),
        (Parity(200, 200, None), Verdict.INCONCLUSIVE),
    ],
)
def test_the_exported_file_reads_as_the_model_does(parity: Parity, expected: Verdict) -> None:
    assert verdict(good(rapidocr=parity), EXPORT_RAPIDOCR) is expected


def test_for_paddle_texts_are_enough_but_one_wrong_text_is_too_much() -> None:
    assert verdict(good(paddle=Parity(200, 200)), EXPORT_PADDLE) is Verdict.PASS
    assert verdict(good(paddle=Parity(200, 199)), EXPORT_PADDLE) is Verdict.FAIL
    with pytest.raises(ValueError, match="identical"):
        Parity(10, 11)


# Public anchor


def test_anchor_verdicts() -> None:
    clearly_worse = tuple(document(worse=6) for _ in range(40))
    scattered = tuple(document(worse=8 if i % 8 == 0 else 0) for i in range(40))
    assert verdict(good(anchor=clearly_worse), ANCHOR) is Verdict.FAIL
    assert verdict(good(anchor=scattered), ANCHOR) is Verdict.INCONCLUSIVE
    assert verdict(good(anchor=clearly_worse[:19]), ANCHOR) is Verdict.INCONCLUSIVE
    assert verdict(good(anchor=()), ANCHOR) is Verdict.INCONCLUSIVE


def test_exact_lines_count_as_well_as_characters() -> None:
    """Spaces lost on every second line: few characters, many lines."""
    lost = tuple(AnchorDocument(2000, 10, 15, 10, 9, 4) for _ in range(40))
    assert verdict(good(anchor=lost), ANCHOR) is Verdict.FAIL


def clustered(generator: np.random.Generator, mean: float, count: int = 30) -> tuple[list[float], list[float]]:
    """Differences by document whose lines go wrong together, and the documents' sizes."""
    sizes = generator.integers(5, 40, count).astype(float)
    return list(sizes * generator.normal(mean, 0.02, count)), list(sizes)


def coverage(bound: Callable[..., bounds.Bound], alpha: float = 0.05, repeats: int = 250) -> float:
    """How often the upper bound is above the truth."""
    generator = rng(3)
    above = 0
    for _ in range(repeats):
        differences, sizes = clustered(generator, mean=0.01)
        above += bound(differences, sizes, alpha, generator).high >= 0.01
    return above / repeats


def test_the_bound_covers_the_truth_and_one_that_takes_lines_for_independent_does_not() -> None:
    least = 0.95 - 3 * math.sqrt(0.05 * 0.95 / 250)
    assert coverage(bounds.ratio_of_sums) >= least

    def by_line(
        differences: list[float], sizes: list[float], alpha: float, generator: np.random.Generator
    ) -> bounds.Bound:
        lines = np.repeat(np.divide(differences, sizes), np.array(sizes, int))
        half = stats.norm.ppf(1 - alpha) * float(lines.std()) / math.sqrt(len(lines))
        return bounds.Bound(float(lines.mean()), float(lines.mean()) - half, float(lines.mean()) + half)

    assert coverage(by_line) < least, "the check does not see lines taken for independent"


def test_the_bound_reaches_as_far_out_as_alpha_does() -> None:
    """With 5,000 resamples a percentile stops at the largest of them; the bound must go on."""
    differences, sizes = clustered(rng(5), mean=0.0)
    highs = [bounds.ratio_of_sums(differences, sizes, alpha, rng(1)).high for alpha in (3e-2, 1e-4, 1e-6, 1e-8)]
    assert all(b > 1.1 * a for a, b in pairwise(highs))


@pytest.mark.parametrize(
    "wrong", [([0.0], [1.0], 0.05), ([0, 0], [1, 0], 0.05), ([0, 0], [1, 1], 0.5), ([0, 0], [1], 0.05)]
)
def test_bounds_are_not_made_up(wrong: Any) -> None:
    with pytest.raises(ValueError, match="pairs"):
        bounds.ratio_of_sums(*wrong, rng())


# Latency


def times(ratio: float, pairs: int, spread: float = 0.0, seed: int = 0) -> Latency:
    noise = np.exp(rng(seed).normal(0, spread, (2, pairs)))
    return Latency(tuple(noise[0]), tuple(ratio * noise[1]))


@pytest.mark.parametrize(
    ("latency", "expected"),
    [
        (times(1.0, 24), Verdict.PASS),
        (times(1.1, 24), Verdict.PASS),
        (times(1.0, 60, spread=0.1), Verdict.PASS),
        (times(1.2, 24), Verdict.FAIL),
        (times(1.0, 19), Verdict.INCONCLUSIVE),
        (times(1.1, 24, spread=0.3), Verdict.INCONCLUSIVE),
    ],
)
def test_latency_verdicts(latency: Latency, expected: Verdict) -> None:
    assert verdict(good(latency=latency), LATENCY) is expected


def test_a_few_slow_moments_do_not_decide() -> None:
    slow = Latency((1.0,) * 24, (1.0,) * 21 + (30.0,) * 3)
    assert verdict(good(latency=slow), LATENCY) is Verdict.PASS


def test_the_sign_test_is_exact() -> None:
    for n, k in ((20, 15), (24, 18), (60, 31), (1, 0)):
        assert bounds.binomial_tail(n, k) == pytest.approx(stats.binom.sf(k - 1, n, 0.5), rel=1e-12)


@pytest.mark.parametrize("wrong", [((1.0,), (1.0, 2.0)), ((0.0,), (1.0,)), ((1.0,), (math.nan,))])
def test_times_are_checked(wrong: Any) -> None:
    with pytest.raises(ValueError, match="Expected"):
        Latency(*wrong)


# Hold-out and privacy


def test_the_holdout_bound_knows_the_noise() -> None:
    """Passes with the right standard deviation; with 3/2 of it the same gain decides nothing."""
    z = stats.norm.ppf(1 - alpha_at(1, LIMITS.alpha))
    gain = -LIMITS.holdout_tolerance + 1.01 * z * 0.02
    assert verdict(good(holdout=Holdout(gain, 0.02, 50, True)), HOLDOUT) is Verdict.PASS
    assert verdict(good(holdout=Holdout(gain, 0.03, 50, True)), HOLDOUT) is Verdict.INCONCLUSIVE
    assert verdict(good(holdout=Holdout(-0.2, 0.02, 50, True)), HOLDOUT) is Verdict.FAIL


def test_an_open_question_says_how_many_slots_would_have_answered_it() -> None:
    """The noise of the sum is the same whatever the number of slots: one fewer than it says would not do."""
    alpha, gain, multiplier = alpha_at(1, LIMITS.alpha), 0.2, 1.7

    def judged(slots: int) -> GateResult:
        return gates.judge_holdout(Holdout(gain, multiplier / slots, slots, True), LIMITS, alpha)

    said = re.search(r"; of such a gain (\d+) slots would tell$", judged(10).reason)
    assert said is not None
    wanted = int(said[1])
    assert gates.holdout_slots(gain, multiplier, 1, LIMITS) == wanted
    assert judged(wanted).verdict is Verdict.PASS
    assert judged(wanted - 1).verdict is Verdict.INCONCLUSIVE
    worse = gates.judge_holdout(Holdout(-LIMITS.holdout_tolerance, 0.1, 50, True), LIMITS, alpha)
    assert worse.verdict is Verdict.INCONCLUSIVE
    assert "would tell" not in worse.reason


@pytest.mark.parametrize(
    "holdout",
    [
        Holdout(0.5, 0.01, 50, charged=False),
        Holdout(0.5, 0.0, 50, charged=True),
        Holdout(0.5, math.nan, 50, charged=True),
        Holdout(math.nan, 0.01, 50, charged=True),
        Holdout(math.inf, 0.01, 50, charged=True),
    ],
)
def test_a_look_that_was_not_paid_for_decides_nothing(holdout: Holdout) -> None:
    assert verdict(good(holdout=holdout), HOLDOUT) is Verdict.FAIL


@pytest.mark.parametrize(
    ("privacy", "expected"),
    [
        (Privacy(8.0, 8.0, True), Verdict.PASS),
        (Privacy(8.001, 8.0, True), Verdict.FAIL),
        (Privacy(math.nan, 8.0, True), Verdict.FAIL),
        (Privacy(1.0, math.inf, True), Verdict.FAIL),
        (Privacy(1.0, 8.0, False), Verdict.FAIL),
    ],
)
def test_the_cap_holds_and_the_ledger_verifies(privacy: Privacy, expected: Verdict) -> None:
    assert verdict(good(privacy=privacy), PRIVACY) is expected


def test_the_same_evidence_gives_the_same_report() -> None:
    noisy = tuple(document(worse=int(w)) for w in rng(2).integers(0, 3, 40))
    assert judge(good(anchor=noisy), LIMITS, rng(1)) == judge(good(anchor=noisy), LIMITS, rng(1))
