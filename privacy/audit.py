"""What one training run with canaries says about epsilon: a lower bound, to hold against the claimed one.

`m` canaries are put into the training set or left out, each by a fair coin of its own. After the run an
attacker scores every canary from what was released, above zero for "in", below for "out", guesses the canaries
it is surest of and abstains from the rest. A mechanism that keeps its promise makes many right guesses unlikely:

* `p_value`: of any (epsilon, delta)-private mechanism. Steinke, Nasr and Jagielski, "Privacy Auditing with One
  (1) Training Run", arXiv 2305.08846: theorem 5.2, in the form of corollary 5.4 (guesses with abstentions).
* `refutes_gaussian`: of any `mu`-GDP mechanism, which a full-batch round claims to be (but for the discreteness
  of its noise, which is charged to delta). Mahloujifar, Melis and Chaudhuri, "Auditing f-Differential Privacy in
  One Run", arXiv 2410.22235: algorithm 3. It says more from the same guesses: of 1,000 canaries, all guessed
  right, the first says epsilon 5.6, this one 12.1.

The smallest epsilon that is not unlikely is the bound. How many guesses to make (`SHARES`) is fixed before the
run, and the significance is split among them (the union bound, corollary 5.8).

What a bound proves: one above the claim, that the claim is wrong, but for the significance. One below it
proves nothing by itself; it is worth what the same audit says of a mechanism that is broken on purpose
(tests/test_planted_bugs.py, docs/audit.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import bdtrc, expit, ndtr, ndtri

from privacy.gdp import gaussian_epsilon

SHARES = (0.1, 1.0)
"""Shares of the canaries that are guessed. A tenth finds most at any epsilon; all of them, a total failure."""
_PRECISION = 1e-6


@dataclass(frozen=True)
class Guesses:
    """Of `canaries`, so many were guessed, and so many of these guesses were right."""

    canaries: int
    guessed: int
    right: int

    def __post_init__(self) -> None:
        if not 0 <= self.right <= self.guessed <= self.canaries or self.guessed < 1:
            raise ValueError(f"Expected 0 <= right <= guessed <= canaries, guessed >= 1, got {self}.")


@dataclass(frozen=True)
class Audit:
    """What a privacy claim says of its audit.

    Attributes:
        epsilon: the bound for any mechanism, at `delta` and `confidence`.
        gaussian_epsilon: the bound for a mechanism that claims to be Gaussian; None where none does (Poisson).
        guessed, right: the guesses behind the larger of the two.
    """

    canaries: int
    guessed: int
    right: int
    confidence: float
    delta: float
    epsilon: float
    gaussian_epsilon: float | None

    @property
    def bound(self) -> float:
        """No epsilon below this one can be claimed."""
        return max(self.epsilon, self.gaussian_epsilon or 0.0)

    def to_body(self) -> dict[str, float | int]:
        """For the claim; without `gaussian_epsilon` where there is none."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def audit(
    scores: npt.NDArray[np.float64],
    inside: npt.NDArray[np.bool_],
    delta: float,
    *,
    gaussian: bool,
    confidence: float = 0.95,
) -> Audit:
    """The bound that the scores `(canaries,)` give, where `inside` `(canaries,)` says who was in.

    Args:
        scores: above 0 where this canary seems to have been in, below where out, and the surer the farther;
            made without a look at `inside`.
        inside: fair coins, drawn independently of all else.
        delta: of the claim.
        gaussian: whether the claim is of Gaussian differential privacy (every step on the full batch).
        confidence: of the bound, over coins and noise.
    """
    if scores.shape != inside.shape or scores.ndim != 1 or not len(scores) or not np.isfinite(scores).all():
        raise ValueError(f"Expected as many finite scores as coins, got {scores.shape} and {inside.shape}.")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"Expected 0 < confidence < 1, got {confidence}.")
    significance = (1.0 - confidence) / len(SHARES)
    found = []
    for share in SHARES:
        guesses = guess(scores, inside, share)
        epsilon = least_epsilon(guesses, delta, significance)
        mu = least_mu(guesses, significance) if gaussian else 0.0
        found.append((epsilon, gaussian_epsilon(mu, delta) if mu else 0.0, guesses))
    best = max(found, key=lambda each: max(each[:2]))[2]
    return Audit(
        len(scores),
        best.guessed,
        best.right,
        confidence,
        delta,
        max(epsilon for epsilon, _, _ in found),
        max(of_gaussian for _, of_gaussian, _ in found) if gaussian else None,
    )


def guess(scores: npt.NDArray[np.float64], inside: npt.NDArray[np.bool_], share: float) -> Guesses:
    """Guesses the share of the canaries whose scores are farthest from 0, and abstains from the rest."""
    guessed = max(1, round(share * len(scores)))
    surest = np.argsort(-np.abs(scores), kind="stable")[:guessed]
    return Guesses(len(scores), guessed, int(np.sum((scores[surest] > 0) == inside[surest])))


def p_value(guesses: Guesses, epsilon: float, delta: float) -> float:
    """At most how likely so many right guesses are under (epsilon, delta)-privacy (corollary 5.4).

    With W ~ Binomial(guessed, e^epsilon / (1 + e^epsilon)) and v right guesses:
    P[W >= v] + 2 m delta max_i (P[W >= v - i] - P[W >= v]) / i.
    """
    if not (epsilon >= 0.0 and 0.0 <= delta < 1.0):
        raise ValueError(f"Expected epsilon >= 0 and 0 <= delta < 1, got {epsilon=}, {delta=}.")
    v, r, chance = guesses.right, guesses.guessed, expit(epsilon)
    beta = float(bdtrc(v - 1, r, chance))
    fewer = np.arange(1, v + 1)
    alpha = float(np.max((bdtrc(v - fewer - 1, r, chance) - beta) / fewer, initial=0.0))
    return min(1.0, beta + 2 * guesses.canaries * delta * alpha)


def least_epsilon(guesses: Guesses, delta: float, significance: float) -> float:
    """The bound on epsilon at this significance (lemma 4.7): every smaller one is refuted."""
    return _largest(lambda epsilon: p_value(guesses, epsilon, delta) < significance)


def refutes_gaussian(guesses: Guesses, mu: float, significance: float) -> bool:
    """Whether so many right guesses have a probability under `significance` for every `mu`-GDP mechanism.

    Let p_j be the probability of j right guesses of r; r_i = sum_{j >= i} j p_j / m and h_i = sum_{j >= i}
    (r - j) p_j / m are the chances that a random canary is guessed right, or wrong, while at least i are right.
    Turn one canary's coin and keep the output: what was a right guess is wrong, and one less is right. So
    `mu`-GDP says r_{i+1} <= Phi(Phi^-1(h_i) + mu). From v right guesses with probability `significance`, the
    recursion adds the least that this allows at every i < v; if the total passes r / m, no such p exists.
    """
    m, r, v = guesses.canaries, guesses.guessed, guesses.right
    right, wrong = significance * v / m, significance * (r - v) / m
    for i in range(v - 1, -1, -1):
        least = float(ndtr(ndtri(right) - mu))
        if least <= wrong:
            return False  # nothing has to be added, here or further down
        right, wrong = min(1.0, right + i / (r - i) * (least - wrong)), least
        if right + wrong > r / m:
            return True
    return False


def least_mu(guesses: Guesses, significance: float) -> float:
    """The bound on `mu` at this significance: a Gaussian mechanism with less is refuted."""
    return _largest(lambda mu: refutes_gaussian(guesses, mu, significance))


def _largest(refuted: Callable[[float], bool]) -> float:
    """The largest value that is refuted, to `_PRECISION` and never above it; 0 when even 0 is not."""
    if not refuted(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while refuted(high):
        low, high = high, 2 * high
    while high - low > _PRECISION:
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low
