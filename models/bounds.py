"""One-sided confidence bounds for the gates: a paired bootstrap by document, and a sign test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

_RESAMPLES = 5000
_HELD = 2_000_000  # resampled documents in memory at a time


@dataclass(frozen=True)
class Bound:
    """An estimate with a lower and an upper bound, each one-sided at the alpha it was asked for."""

    value: float
    low: float
    high: float


def ratio_of_sums(
    differences: Sequence[float], sizes: Sequence[float], alpha: float, rng: np.random.Generator
) -> Bound:
    """The sum of paired `differences` over the sum of `sizes`, one pair a document, bootstrapped by document.

    Lines of one document resemble each other, so documents are resampled, never lines. A percentile of few
    resamples knows nothing of a tail as far out as alpha may lie, so each bound is the wider of the
    percentile's and value +- t_{n-1}(1 - alpha) * (the bootstrap's standard error).

    Raises:
        ValueError: fewer than two documents, a size that is not positive, or 0 < alpha < 0.5 does not hold.
    """
    difference, size = np.asarray(differences, np.float64), np.asarray(sizes, np.float64)
    if difference.shape != size.shape or len(difference) < 2 or not (size > 0).all() or not 0 < alpha < 0.5:
        raise ValueError(f"Expected two or more pairs, sizes > 0, 0 < alpha < 0.5; got {size.shape}, {alpha=}.")
    value = float(difference.sum() / size.sum())
    ratios = _resampled(difference, size, rng)
    half = float(stdtrit(len(difference) - 1, 1 - alpha)) * float(ratios.std(ddof=1))
    low, high = (float(q) for q in np.quantile(ratios, [alpha, 1 - alpha]))
    return Bound(value, min(low, value - half), max(high, value + half))


def binomial_tail(n: int, k: int) -> float:
    """P(Binomial(n, 1/2) >= k), exact: the p-value of a sign test in which k of n pairs agree."""
    return float(sum(math.comb(n, i) for i in range(k, n + 1)) / 2**n)


def _resampled(
    difference: npt.NDArray[np.float64], size: npt.NDArray[np.float64], rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """`_RESAMPLES` ratios, each of as many documents as there are, drawn with replacement."""
    documents = len(difference)
    batch = max(1, _HELD // documents)
    parts = []
    for first in range(0, _RESAMPLES, batch):
        drawn = rng.integers(0, documents, (min(batch, _RESAMPLES - first), documents))
        parts.append(difference[drawn].sum(1) / size[drawn].sum(1))
    return np.concatenate(parts)
