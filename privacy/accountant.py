"""From `(sample rate, noise multiplier, steps)` to epsilon at delta, and back.

What is accounted. Neighbouring pools differ in one unit of privacy, a document, whose slot is *zeroed
out*: the same slots, the same slot count, nothing in that one. In dp-accounting's words that is
`NeighboringRelation.REPLACE_SPECIAL` (a record becomes a special, null record; Kairouz et al., arXiv
2103.00039, definition 1.1), with a sensitivity of `1 x max_grad_norm`. `REPLACE_ONE` (another document in
its place) would have twice the sensitivity and is *not* what is claimed. `ADD_OR_REMOVE_ONE` has the same
privacy loss as `REPLACE_SPECIAL` but lets the number of slots differ, which here is public.

How. An event with sample rate 1 is a Gaussian mechanism with `mu = sqrt(steps) / noise_multiplier`. Those
compose by `mu^2 = sum mu_i^2` and convert exactly (Dong, Roth and Su, arXiv 1905.02383, corollaries 2.13
and 3.3). Poisson-sampled events are composed by dp-accounting's privacy loss distributions, which round up
("connect the dots", Doroshenko et al., arXiv 2207.04380), in both directions of the neighbouring relation.

When the figure holds. For a schedule fixed in advance or chosen from public numbers; `privacy.filters` says
what holds when later parameters depend on earlier *outputs*. Hyperparameters are taken from public data only:
nothing here pays for choosing them on private data (Papernot and Steinke, arXiv 2110.03620).

Discreteness. What is drawn is q, the discrete Gaussian of s = noise multiplier x sensitivity >= 2^39 steps of
the grid. Let g be the density of N(0, s^2), p its rounding to whole steps, h = 1 / (24 s^2). Then

    p <= q e^(h x^2 / s^2),    q <= p / (1 - h)

because p(x) = g(x) E[e^(-u^2 / 2s^2) cosh(x u / s^2)], u uniform in +-1/2, with 1 - u^2 / 2s^2 and 1 below the
first factor and the second, and E cosh(y u) = sinh(y/2) / (y/2) <= e^(y^2 / 24) above both; and g and q agree
to a factor 1 + 3 e^(-2 pi^2 s^2), q <= g (Poisson summation). A mechanism with p is the continuous one,
rounded, and so just as private. Let H be the sum of h over all numbers ever drawn, h' the largest. Under p,
E e^((h / 4h') x^2 / s^2) <= e^(h / 2h'), so the sum of h x^2 / s^2 passes 2H + 4 L h' with a probability of at
most e^-L. Hence, adaptively too, q in place of p turns (epsilon, delta) into

    (epsilon + 3.1 H + 4 L h',  e^(1.1 H) (delta + e^(epsilon - L))).

At most 2^23 numbers a release and a sum of steps / noise_multiplier^2 of at most 2^20, beyond which epsilon is
infinite here, leave H < 10^-11 and epsilon < 600,000; with L = 2^20 all of it is below (10^-9, 10^-9 delta),
which every epsilon of this module includes. For groups too.

A thousandth of delta is kept back for `privacy.filters`: every epsilon here is one at 0.999 delta.

Importing this module is cheap: dp-accounting and Opacus are loaded by the function that needs them.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from privacy.gdp import check_delta, gaussian_epsilon, gaussian_mu

GRID_BITS = 40
MOST_NUMBERS = 1 << 23
"""What the noise promises for "Discreteness": a sensitivity of 2^(GRID_BITS - 1) steps, so many numbers a release.

The clip's norm is proven for as many (`privacy.dpsgd`).
"""

KEPT = 0.999
"""The share of delta that the figures of this module may use."""

_DISCRETE, _MOST_SQUARED_MU = 1e-9, 2.0**20
_SMALLEST_DELTA = 1e-12
_INTERVAL, _SEARCH, _GROUP = 1e-4, 1e-3, 5e-3  # grids of the privacy loss, in nats
SECOND_OPINION_ERROR = 0.01
"""Half the width of the interval, in nats, within which the second opinion promises the truth to lie."""

_GRAIN = 1000  # noise multipliers are whole thousandths
_SQRT_2 = math.sqrt(2.0)


@dataclass(frozen=True, order=True)
class RoundEvent:
    """What one round, or one noisy query, did to every slot of its snapshot.

    `steps` releases of a sum of clipped contributions, each contribution in it with probability `sample_rate`
    independently, plus Gaussian noise of `noise_multiplier` times the clipping norm. A query of all slots is
    `RoundEvent(1.0, sigma, 1)`.
    """

    sample_rate: float
    noise_multiplier: float
    steps: int

    def __post_init__(self) -> None:
        if not 0.0 < self.sample_rate <= 1.0:
            raise ValueError(f"Expected 0 < sample_rate <= 1, got {self.sample_rate}.")
        if not (math.isfinite(self.noise_multiplier) and self.noise_multiplier > 0.0):
            raise ValueError(f"Expected a finite noise_multiplier > 0, got {self.noise_multiplier}.")
        if type(self.steps) is not int or self.steps < 1:
            raise ValueError(f"Expected a whole number of steps >= 1, got {self.steps!r}.")

    def to_body(self) -> dict[str, float | int]:
        """For the ledger."""
        return asdict(self)

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> RoundEvent:
        """Raises `KeyError`, `TypeError` or `ValueError` for what `to_body` would not have written."""
        return cls(float(body["sample_rate"]), float(body["noise_multiplier"]), body["steps"])


Events = tuple[RoundEvent, ...]


def mu(event: RoundEvent) -> float:
    """The Gaussian-DP parameter of a full-batch event."""
    if event.sample_rate != 1.0:
        raise ValueError(f"Expected sample_rate = 1 for a closed form, got {event.sample_rate}.")
    return math.sqrt(event.steps) / event.noise_multiplier


def composed_mu(events: Iterable[RoundEvent]) -> float:
    """The `mu` of several full-batch events together: the root of the sum of squares (corollary 3.3)."""
    return math.sqrt(math.fsum(mu(event) ** 2 for event in events))


def epsilon(events: Sequence[RoundEvent], delta: float, interval: float = _INTERVAL) -> float:
    """The epsilon at `delta` of all the events together, for a unit that was in all; an upper bound.

    An `interval` that is a whole multiple of the default is quicker and never lower; the closed form has none.
    """
    return _epsilon(merged(events), delta, interval)


def merged(events: Iterable[RoundEvent]) -> Events:
    """The same privacy loss in fewer events: equal mechanisms add their steps; order does not count."""
    steps: Counter[tuple[float, float]] = Counter()
    for event in events:
        steps[event.sample_rate, event.noise_multiplier] += event.steps
    return tuple(sorted(RoundEvent(rate, noise, count) for (rate, noise), count in steps.items()))


@lru_cache(maxsize=65536)
def _epsilon(events: Events, delta: float, interval: float) -> float:
    check_delta(delta)
    if all(event.sample_rate == 1.0 for event in events):
        return discrete(events, KEPT * delta, lambda delta: gaussian_epsilon(composed_mu(events), delta))
    return loss_distribution_epsilon(events, delta, interval)


def discrete(events: Events, delta: float, continuous: Callable[[float], float], size: int = 1) -> float:
    """Epsilon at exactly `delta` for groups of `size`, given it for continuous noise: "Discreteness", above."""
    if not events:
        return 0.0
    unsampled = math.fsum(event.steps / event.noise_multiplier / event.noise_multiplier for event in events)
    if size * size * unsampled > _MOST_SQUARED_MU:
        return math.inf
    return continuous(delta * (1.0 - _DISCRETE)) + _DISCRETE


def loss_distribution_epsilon(events: Iterable[RoundEvent], delta: float, interval: float = _INTERVAL) -> float:
    """`epsilon` by privacy loss distributions, for any sample rates."""
    events = merged(events)
    check_delta(delta)
    if delta < _SMALLEST_DELTA:
        raise ValueError(f"Expected delta >= {_SMALLEST_DELTA} with Poisson sampling, got {delta}.")

    def continuous(delta: float) -> float:
        from dp_accounting.pld import privacy_loss_distribution as pld

        from privacy.loss import sampled_gaussian

        composed = pld.identity(interval)
        if full := [event for event in events if event.sample_rate == 1.0]:
            one = pld.from_gaussian_mechanism(1.0 / composed_mu(full), value_discretization_interval=interval)
            composed = composed.compose(one)
        for event in (event for event in events if event.sample_rate < 1.0):
            steps = sampled_gaussian(event.sample_rate, event.noise_multiplier, event.steps, interval)
            composed = composed.compose(steps)
        return float(composed.get_epsilon_for_delta(delta))

    return discrete(events, KEPT * delta, continuous)


def calibrate(sample_rate: float, steps: int, rounds: int, epsilon: float, delta: float) -> float:
    """The noise multiplier with which `rounds` equal rounds together stay within `epsilon` at `delta`.

    Rounded up to a whole thousandth: with what comes back,
    `accountant.epsilon([RoundEvent(sample_rate, it, steps)] * rounds, delta) <= epsilon`, and with a
    thousandth less it is not.
    """
    if rounds < 1:
        raise ValueError(f"Expected rounds >= 1, got {rounds}.")

    def event(grains: int) -> RoundEvent:
        return RoundEvent(sample_rate, grains / _GRAIN, steps * rounds)

    def within(grains: int) -> bool:
        return _epsilon((event(grains),), delta, _INTERVAL) <= epsilon

    def surely_within(grains: int) -> bool:
        return loss_distribution_epsilon([event(grains)], delta, _SEARCH) <= epsilon

    # Sampling lessens the loss, so the closed form without it bounds the search; should the loss distributions'
    # rounding up outweigh that, a little more noise does.
    high = math.ceil(_GRAIN * math.sqrt(steps * rounds) / gaussian_mu(epsilon, delta))
    while not within(high):
        high += 1 + high // 1000
    if sample_rate < 1.0:
        high = _smallest(surely_within, 0, high)
    step = 1
    while high > step and within(high - step):
        high, step = high - step, 2 * step
    return _smallest(within, max(high - step, 0), high) / _GRAIN


def group_epsilon(events: Iterable[RoundEvent], delta: float, size: int, interval: float = _GROUP) -> float:
    """`epsilon` for `size` units of privacy together, say ten documents of one person; an upper bound.

    An `interval` that is a whole multiple of the default is quicker and never lower.

    In a full batch all are present: `size` times `mu`. In a Poisson batch a binomial number of them is, and
    the sum moves by up to that many clipping norms: a mixture of Gaussians (Choquette-Choo et al., arXiv
    2312.15526).
    """
    if size < 1:
        raise ValueError(f"Expected size >= 1, got {size}.")
    return _group_epsilon(merged(events), delta, size, interval)


@lru_cache(maxsize=4096)
def _group_epsilon(events: Events, delta: float, size: int, interval: float) -> float:
    def continuous(delta: float) -> float:
        if all(event.sample_rate == 1.0 for event in events):
            return gaussian_epsilon(size * composed_mu(events), delta)
        from dp_accounting import dp_event
        from dp_accounting.pld.pld_privacy_accountant import PLDAccountant
        from dp_accounting.privacy_accountant import NeighboringRelation

        present, accountant = range(size + 1), PLDAccountant(NeighboringRelation.REPLACE_SPECIAL, interval)
        for event in events:
            rate, sigma = event.sample_rate, event.noise_multiplier
            chances = [math.comb(size, n) * rate**n * (1.0 - rate) ** (size - n) for n in present]
            accountant.compose(dp_event.MixtureOfGaussiansDpEvent(sigma, present, chances), event.steps)
        return float(accountant.get_epsilon(delta))

    return discrete(events, KEPT * delta, continuous, size)


def epsilon_second_opinion(events: Iterable[RoundEvent], delta: float) -> float | None:
    """`epsilon` by Opacus's privacy-random-variable accountant (Gopi et al., arXiv 2106.02848).

    Other authors, other code, another discretisation. The truth is promised within `SECOND_OPINION_ERROR` of
    it. None where that accountant gives up, as it does for the smallest deltas. Loads torch.
    """
    import numpy as np
    from opacus.accountants.analysis import prv

    events = merged(events)
    full = [event for event in events if event.sample_rate == 1.0]
    variables: list[Any] = [
        prv.PoissonSubsampledGaussianPRV(event.sample_rate, event.noise_multiplier)
        for event in events
        if event.sample_rate < 1.0
    ]
    counts = [event.steps for event in events if event.sample_rate < 1.0]
    if full:  # Opacus's own formula divides by zero at rate 1
        variables, counts = [*variables, _GaussianLoss(composed_mu(full))], [*counts, 1]
    error, delta_error = SECOND_OPINION_ERROR, delta / 1000
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            half = prv.compute_safe_domain_size(variables, counts, error, delta_error)
            mesh = error / math.sqrt(sum(counts) * math.log(12 / delta_error) / 2)
            domain = prv.Domain.create_aligned(-half, half, mesh)
            cut = [prv.TruncatedPrivacyRandomVariable(v, domain.t_min, domain.t_max) for v in variables]
            composed = prv.compose_heterogeneous([prv.discretize(v, domain) for v in cut], counts)
            _, estimate, _ = composed.compute_epsilon(delta, delta_error, error)
        except (ValueError, RuntimeError):
            return None
    return max(float(estimate), 0.0) if math.isfinite(estimate) else None


class _GaussianLoss:
    """The privacy loss of `mu`-GDP, N(mu^2 / 2, mu^2), with the attributes that Opacus asks for."""

    sample_rate = 1.0

    def __init__(self, mu: float) -> None:
        self.mean, self.std, self.noise_multiplier = mu * mu / 2, mu, 1.0 / mu

    def cdf(self, loss: Any) -> Any:
        import numpy as np

        return np.vectorize(math.erfc, otypes=[float])((self.mean - loss) / (self.std * _SQRT_2)) / 2


def _smallest(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The smallest integer in (low, high] for which `holds`, given that it does at `high`, not at `low`."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
