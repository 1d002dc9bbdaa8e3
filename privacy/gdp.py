"""Gaussian differential privacy in closed form: from `mu` and delta to epsilon, and back.

`mu`-GDP is the privacy of one release of N(0, 1) against N(mu, 1) (Dong, Roth and Su, arXiv 1905.02383). Both
conversions are exact but for a rounding to the safe side; standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Callable

_SQRT_2 = math.sqrt(2.0)


def log_normal_cdf(x: float) -> float:
    """ln Phi(x), to some 1e-12 relative for every finite x."""
    if x > 0.0:
        return math.log1p(-math.erfc(x / _SQRT_2) / 2)
    if x > -30.0:
        return math.log(math.erfc(-x / _SQRT_2) / 2)
    y = 1.0 / (x * x)  # Mills' ratio, asymptotically (Abramowitz and Stegun, 26.2.12)
    return -x * x / 2 - math.log(-x * math.sqrt(2 * math.pi)) + math.log1p(-y * (1 - 3 * y * (1 - 5 * y)))


def gaussian_log_delta(mu: float, epsilon: float) -> float:
    """ln delta of `mu`-GDP at `epsilon` (Dong et al., corollary 2.13; Balle and Wang, 1805.06530, eq. 6).

    delta = Phi(-epsilon / mu + mu / 2) - e^epsilon Phi(-epsilon / mu - mu / 2), in log space: both terms
    underflow, and cancel, long before their difference stops to matter.
    """
    if mu == 0.0:
        return -math.inf
    first = log_normal_cdf(-epsilon / mu + mu / 2)
    second = epsilon + log_normal_cdf(-epsilon / mu - mu / 2)
    if second >= first:
        return -math.inf
    return first + math.log(-math.expm1(second - first))


def gaussian_epsilon(mu: float, delta: float) -> float:
    """The epsilon of `mu`-GDP at `delta`, to 1e-12 relative and never below it."""
    check_delta(delta)
    target = math.log(delta)
    if gaussian_log_delta(mu, 0.0) <= target:
        return 0.0
    low, high = 0.0, 1.0
    while gaussian_log_delta(mu, high) > target:
        low, high = high, 2 * high
    return _bisect(low, high, lambda epsilon: gaussian_log_delta(mu, epsilon) <= target)


def gaussian_mu(epsilon: float, delta: float) -> float:
    """The largest `mu` whose epsilon at `delta` is within `epsilon`, to 1e-12 relative and never above."""
    check_delta(delta)
    if not epsilon > 0.0:
        raise ValueError(f"Expected epsilon > 0, got {epsilon}.")
    target = math.log(delta)
    low, high = 0.0, 1.0
    while gaussian_log_delta(high, epsilon) <= target:
        low, high = high, 2 * high
    return -_bisect(-high, -low, lambda minus: gaussian_log_delta(-minus, epsilon) <= target)


def check_delta(delta: float) -> None:
    """Raises `ValueError` unless 0 < delta < 1."""
    if not 0.0 < delta < 1.0:
        raise ValueError(f"Expected 0 < delta < 1, got {delta}.")


def _bisect(low: float, high: float, holds: Callable[[float], bool]) -> float:
    """The smallest value in (low, high] for which `holds`, given that it does at `high`; never less."""
    while True:
        middle = (low + high) / 2
        if not low < middle < high or high - low <= 1e-12 * max(abs(high), abs(low)):
            return high
        low, high = (low, middle) if holds(middle) else (middle, high)
