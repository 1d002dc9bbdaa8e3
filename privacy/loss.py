"""The privacy loss distribution of a Poisson-sampled Gaussian: dp-accounting's, some three times as fast.

dp-accounting asks for the deltas of one step one loss at a time, in Python, over a grid of 100,000 losses and
more. Here they are computed in one sweep, by the same formula in the same order of operations; the rest
(connecting the dots, composition) is dp-accounting's own. The tests hold the two against each other.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def sampled_gaussian(sample_rate: float, noise_multiplier: float, steps: int, interval: float) -> Any:
    """dp-accounting's `PrivacyLossDistribution` of so many steps, 0 < sample_rate < 1, on a grid of `interval`."""
    from dp_accounting.pld.pld_pmf import create_pmf_pessimistic_connect_dots_fixed_gap
    from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution
    from dp_accounting.pld.privacy_loss_mechanism import AdjacencyType, GaussianPrivacyLoss

    def one_step(removed: bool) -> Any:
        adjacency = AdjacencyType.REMOVE if removed else AdjacencyType.ADD
        loss = GaussianPrivacyLoss(noise_multiplier, sampling_prob=sample_rate, adjacency_type=adjacency)
        bounds = loss.connect_dots_bounds()
        low, high = math.floor(bounds.epsilon_lower / interval), math.ceil(bounds.epsilon_upper / interval)
        deltas = _deltas(loss, sample_rate, noise_multiplier, removed, np.arange(low, high + 1) * interval)
        return create_pmf_pessimistic_connect_dots_fixed_gap(interval, low, high, deltas)

    return PrivacyLossDistribution(one_step(removed=True), one_step(removed=False)).self_compose(steps)


def _deltas(loss: Any, rate: float, sigma: float, removed: bool, epsilons: Floats) -> Floats:
    """The hockey-stick divergence of one step at every epsilon, as `loss.get_delta_for_epsilon` has it.

    With `sign` +1 if the unit is removed and -1 if it is added, a loss of epsilon is one of

        sign ln(1 + (e^(sign epsilon) - 1) / rate)

    without sampling, which is that of one output x; delta is P(at most x) - e^epsilon Q(at most x). Losses that
    no output has lie beyond `edge`: there delta is 1 - e^epsilon if removed, and 0 if added.
    """
    sign = 1.0 if removed else -1.0
    edge = sign * math.log1p(-rate)
    found = sign * (epsilons - edge) > 1e-9 * np.maximum(abs(epsilons), abs(edge))
    deltas = -np.expm1(epsilons) if removed else np.zeros_like(epsilons)
    inside = epsilons[found]
    sampled = sign * inside + np.log(1.0 / rate)
    unsampled = sign * (sampled + np.log1p(-np.exp(np.log(1.0 / rate - 1.0) - sampled)))
    outputs = (0.0 if removed else 1.0) + (-0.5 - unsampled * sigma**2)
    outputs[inside == 0.0] = loss.inverse_privacy_loss(0.0)
    deltas[found] = loss.mu_upper_cdf(outputs) - np.exp(inside + loss.mu_lower_log_cdf(outputs))
    return np.clip(deltas, 0.0, 1.0)
