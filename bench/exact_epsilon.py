"""Epsilon without a grid of privacy losses: what the accountant's figures are held against.

The privacy loss L of the whole schedule is a sum of independent losses, so its moment generating function is a
product, M(z) = prod_i M_i(z)^steps_i, and by Mellin inversion along Re z = c > 0

    delta(epsilon) = E[(1 - e^(epsilon - L))_+] = 1/(2 pi) integral M(z) e^(-z epsilon) / (z (z + 1)) du,  z = c + iu.

Both integrals, the one over an output x in M_i and this one, are of analytic functions that vanish at both ends,
for which sums over equal steps converge exponentially (Trefethen and Weideman, SIAM Review 56, 2014). c is the
saddle point, where nothing cancels. No loss is rounded, neither up nor down, and nothing of this is shared with
dp-accounting, Opacus or `privacy.accountant`. Written for schedules of many steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import optimize

from privacy.accountant import RoundEvent

Complex = npt.NDArray[np.complex128]
_REACH, _PER_SIGMA = 14.0, 32
"""Of the sum over outputs: how many sigma to each side, and terms a sigma."""
_PER_SADDLE, _TINY = 640, 1e-17
"""Of the sum over u: terms within 2 pi c, and the share of the largest term at which it ends."""


def exact_epsilon(events: Sequence[RoundEvent], delta: float) -> float:
    """The least epsilon at `delta` for a unit that was in all events: the greater of both directions."""
    return max(_epsilon(events, delta, removed) for removed in (True, False))


def exact_delta(events: Sequence[RoundEvent], epsilon: float) -> float:
    return max(_delta(events, epsilon, removed) for removed in (True, False))


def _epsilon(events: Sequence[RoundEvent], delta: float, removed: bool) -> float:
    def excess(epsilon: float) -> float:
        return math.log(max(_delta(events, epsilon, removed), 1e-300) / delta)

    return float(optimize.brentq(excess, 1e-4, 60.0, xtol=1e-10))


def _delta(events: Sequence[RoundEvent], epsilon: float, removed: bool) -> float:
    def log_moments(z: Complex) -> Complex:
        return sum((each.steps * _log_moments(each, z, removed) for each in events), np.zeros_like(z))

    def height(log_c: float) -> float:
        c = math.exp(log_c)
        return float(log_moments(np.array([c + 0j]))[0].real) - c * epsilon - math.log(c * (c + 1))

    c = math.exp(optimize.minimize_scalar(height, bounds=(-3.0, 6.0), method="bounded").x)
    step, terms = 2 * math.pi * c / _PER_SADDLE, np.empty(0, np.complex128)
    while not len(terms) or (abs(terms[-1]) > _TINY * abs(terms[0]) and len(terms) < 1 << 16):
        z = c + 1j * step * np.arange(len(terms), len(terms) + 256)
        terms = np.concatenate((terms, np.exp(log_moments(z) - z * epsilon) / (z * (z + 1))))
    return float(step / math.pi * (terms.real.sum() - terms[0].real / 2))


def _log_moments(event: RoundEvent, z: Complex, removed: bool) -> Complex:
    """ln E e^(zL) of one step. With Q = N(0, s^2) and P its mixture with N(1, s^2), L = ln P/Q under P if the unit is
    removed, and ln Q/P under Q if it is added."""
    rate, sigma = event.sample_rate, event.noise_multiplier
    power = z + 1 if removed else -z
    far = max(float(power.real.max()), 0.0)
    x = np.arange(-_REACH * sigma, _REACH * sigma + far, sigma / _PER_SIGMA)
    log_ratio = np.log1p(rate * np.expm1((2 * x - 1) / (2 * sigma**2)))
    log_q = -(x**2) / (2 * sigma**2) - math.log(sigma * math.sqrt(2 * math.pi)) + math.log(sigma / _PER_SIGMA)
    exponents = power[:, None] * log_ratio + log_q
    top = exponents.real.max(axis=1, keepdims=True)
    return np.log(np.exp(exponents - top).sum(axis=1) + 1e-300) + top[:, 0]
