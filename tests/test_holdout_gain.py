"""The one figure that leaves the hold-out: what a unit can move it by, and that its noise is what it says."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from daemon import evidence
from daemon.evidence import noisy_mean_gain
from models.evidence import GAIN_BOUND
from privacy.noise import Debit, NoiseSource

UNITS, DRAWS = 40, 400
Look = Callable[[Sequence[float], float, NoiseSource], dict[str, Any]]


def look(gains: Sequence[float], multiplier: float, noise: NoiseSource) -> dict[str, Any]:
    return noisy_mean_gain(gains, UNITS, multiplier, noise)


def quiet() -> NoiseSource:
    return NoiseSource(Debit.for_tests(1e-6, 1, 1.0))


def moves(by: Look) -> float:
    """The most that the sum moves by when a unit is taken out, over gains of all sizes."""
    others = list(np.linspace(-1, 1, UNITS - 1))
    without = by(others, 1e-6, quiet())["gain"]
    return max(abs(by([*others, gain], 1e-6, quiet())["gain"] - without) * UNITS for gain in np.linspace(-1, 1, 21))


def stated_over_true_noise(by: Look) -> float:
    source = NoiseSource(Debit.for_tests(3.0, DRAWS, 1.0))
    found = [by([0.1] * UNITS, 3.0, source) for _ in range(DRAWS)]
    return float(found[0]["noise_std"] / np.std([each["gain"] for each in found]))


def test_a_unit_moves_the_sum_by_its_bound_at_most() -> None:
    assert moves(look) == pytest.approx(GAIN_BOUND, abs=1e-4)


def test_the_noise_is_what_the_gate_is_told() -> None:
    """Of 400 draws: within 15% in all but one of some 10,000 runs."""
    assert stated_over_true_noise(look) == pytest.approx(1.0, rel=0.15)


def test_the_mean_is_over_all_units_and_true_but_for_noise() -> None:
    assert look([0.3, -0.1, 0.9], 1e-6, quiet())["gain"] == pytest.approx((0.3 - 0.1 + GAIN_BOUND) / UNITS, abs=1e-5)
    assert look([], 1e-6, quiet()) == {"gain": pytest.approx(0, abs=1e-5), **_told(1e-6)}


def _told(multiplier: float) -> dict[str, Any]:
    return {"noise_std": multiplier * GAIN_BOUND / UNITS, "slots": UNITS, "charged": True}


def test_planted_gains_that_are_not_cut_and_noise_for_less_than_a_unit_moves_are_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as planted:
        planted.setattr(evidence.np, "clip", lambda value, _low, _high: value)
        assert moves(look) > 1.5 * GAIN_BOUND
    with monkeypatch.context() as planted:
        grid = evidence.Grid
        planted.setattr(evidence, "Grid", lambda bound: grid(bound / 2))
        assert stated_over_true_noise(look) > 1.5


def test_a_planted_division_by_the_units_that_have_a_document_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many have one is a fact about the documents."""
    by_public_number = evidence.noisy_mean_gain
    monkeypatch.setattr(
        sys.modules[__name__],
        "noisy_mean_gain",
        lambda gains, _members, *more: by_public_number(gains, len(gains), *more),
    )
    with pytest.raises(AssertionError):
        test_the_mean_is_over_all_units_and_true_but_for_noise()
