"""Gaussian differential privacy in closed form, against its definition and against dp-accounting."""

from __future__ import annotations

import math

import pytest
from dp_accounting import gaussian_mechanism
from scipy import integrate, special, stats

from privacy import gdp


def test_a_cap_of_8_is_a_sum_of_squared_mu_of_2_34() -> None:
    assert gdp.gaussian_mu(8.0, 1e-6) ** 2 == pytest.approx(2.345, abs=0.005)


@pytest.mark.parametrize("mu", [0.01, 0.3, 1.5315, 6.0])
@pytest.mark.parametrize("epsilon", [0.0, 0.5, 8.0, 40.0])
def test_delta_is_the_hockey_stick_integral(mu: float, epsilon: float) -> None:
    """delta(epsilon) = E[(1 - e^(epsilon - L))_+] for the loss L ~ N(mu^2 / 2, mu^2)."""
    loss = stats.norm(mu * mu / 2, mu)
    top = mu * mu / 2 + 40 * mu
    start = max(epsilon, mu * mu / 2 - 40 * mu)
    integral, _ = integrate.quad(
        lambda x: -math.expm1(epsilon - x) * loss.pdf(x), start, max(top, start), epsabs=0, limit=500
    )
    assert math.exp(gdp.gaussian_log_delta(mu, epsilon)) == pytest.approx(integral, rel=1e-6, abs=1e-300)


def test_the_normal_distributions_tail_is_exact_far_out() -> None:
    places = [*(x / 8 for x in range(-400, 64) if x), -1e3, -1e5, 20.0, 50.0]
    for x in places:
        assert gdp.log_normal_cdf(x) == pytest.approx(float(special.log_ndtr(x)), rel=1e-11)


@pytest.mark.parametrize("epsilon", [0.01, 0.3, 1.0, 8.0, 50.0])
@pytest.mark.parametrize("delta", [1e-3, 1e-6, 1e-12, 1e-30])
def test_mu_and_epsilon_are_inverse_and_agree_with_dp_accounting(epsilon: float, delta: float) -> None:
    mu = gdp.gaussian_mu(epsilon, delta)
    assert gdp.gaussian_epsilon(mu, delta) == pytest.approx(epsilon, rel=1e-9)
    assert gdp.gaussian_epsilon(mu, delta) <= epsilon * (1 + 2e-12)  # both round up
    assert 1 / mu == pytest.approx(gaussian_mechanism.get_sigma_gaussian(epsilon, delta), rel=1e-6)


def test_limits() -> None:
    assert gdp.gaussian_epsilon(1e-9, 1e-6) == 0.0
    assert gdp.gaussian_log_delta(0.0, 1.0) == -math.inf
    for delta in (0.0, 1.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="delta"):
            gdp.gaussian_epsilon(1.0, delta)
    with pytest.raises(ValueError, match="epsilon"):
        gdp.gaussian_mu(0.0, 1e-6)
