"""Planted drifts are found soon, quiet streams raise few alarms, and state survives a restart."""

import doctest
import json
import math
import random

import pytest
from scipy import stats

import learners.drift
from learners.drift import Detector, Kswin, PageHinkley, kolmogorov_smirnov


def test_the_examples_hold() -> None:
    result = doctest.testmod(learners.drift)
    assert result.attempted >= 8
    assert result.failed == 0


def confidence(rng: random.Random, drifted: bool) -> float:
    """`1 - min_confidence` of a document: skewed, in [0, 1]."""
    return rng.betavariate(1.2, 3.0) if drifted else rng.betavariate(0.8, 6.0)


@pytest.mark.parametrize("make", [PageHinkley, Kswin])
def test_a_planted_drift_is_found_and_quiet_stays_quiet(make: type[PageHinkley] | type[Kswin]) -> None:
    delays, false_alarms = [], 0
    for seed in range(10):
        rng = random.Random(seed)
        detector = make()
        false_alarms += sum(detector.update(confidence(rng, False)) for _ in range(500))
        alarm = next((n for n in range(300) if detector.update(confidence(rng, True))), None)
        assert alarm is not None
        delays.append(alarm)
    assert false_alarms <= 2
    assert sorted(delays)[5] < 60


def test_page_hinkley_does_not_mind_better_documents() -> None:
    detector = PageHinkley()
    assert not any(detector.update(x) for x in [0.5] * 200 + [0.1] * 200)


@pytest.mark.parametrize("make", [PageHinkley, Kswin])
def test_state_survives_a_restart(make: type[PageHinkley] | type[Kswin]) -> None:
    rng = random.Random(5)
    stream = [rng.gauss(0.2 if n < 250 else 0.5, 0.1) for n in range(500)]
    whole = make()
    expected = [whole.update(x) for x in stream]
    assert any(expected)
    broken: Detector = make()
    found = []
    for n, x in enumerate(stream):
        if n % 7 == 0:
            broken = make.from_dict(json.loads(json.dumps(broken.to_dict())))
        found.append(broken.update(x))
    assert found == expected


@pytest.mark.parametrize("make", [PageHinkley, Kswin])
def test_values_that_are_no_numbers_are_passed_over(make: type[PageHinkley] | type[Kswin]) -> None:
    detector = make()
    before = detector.to_dict()
    assert not detector.update(math.nan)
    assert not detector.update(math.inf)
    assert detector.to_dict() == before


def test_the_p_value_agrees_with_scipy() -> None:
    rng = random.Random(3)
    for shift in (0.0, 0.3, 0.6, 1.0):
        a = [rng.gauss(0, 1) for _ in range(40)]
        b = [rng.gauss(shift, 1) for _ in range(40)]
        theirs = stats.ks_2samp(a, b, method="exact").pvalue
        ours = kolmogorov_smirnov(a, b)
        assert abs(math.log(ours / theirs)) < 0.7
    assert kolmogorov_smirnov([1.0] * 5, [1.0] * 5) == 1.0


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match="threshold"):
        PageHinkley(threshold=0)
    with pytest.raises(ValueError, match="window"):
        Kswin(window=50, recent=40)
