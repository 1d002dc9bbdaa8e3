"""The discrete Gaussian is exact: by its frequencies, by its own proofs, and its mutants are caught."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import mpmath
import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from privacy import discrete_gaussian
from privacy.discrete_gaussian import DiscreteGaussian, Integers, Words, below_exp, exp_between

SMALL = [0.3, 0.5, 1.0, 2.5, 7.0, 33.3]
LARGE = [5000.0, 2.0**40 - 1, 13.059 * 2.0**40]
WRONG = (2 / 3, 3 / 2)
DRAWS = 200_000


def words(seed: int = 0) -> Words:
    generator = np.random.default_rng(seed)
    return lambda n: generator.integers(0, 2**64, n, dtype=np.uint64)


def draws(sigma: float, size: int = DRAWS, **options: float) -> Integers:
    return DiscreteGaussian(Fraction(sigma), **options).draw(size, words())


def chances(sigma: float, reach: int) -> npt.NDArray[np.float64]:
    """P(v) for v = -reach ... reach, from the definition."""
    everything = np.arange(-max(reach, 40), max(reach, 40) + 1)
    masses = np.exp(-(everything**2) / (2 * sigma**2))
    return masses[np.abs(everything) <= reach] / math.fsum(masses)


def fits(found: Integers, sigma: float, asked: float) -> bool:
    """Chi-square against N_Z(0, sigma^2): cells of an integer each, or of a fraction of `asked`."""
    reach = int(asked * stats.norm.isf(20 / found.size)) if asked > 1 else 1
    if asked < 100:
        edges = np.arange(-reach, reach + 2)
        expected = chances(sigma, reach)
    else:
        edges = np.linspace(-reach, reach, 64 if found.size < 50_000 else 400).astype(np.int64)
        expected = np.diff(stats.norm.cdf((edges - 0.5) / sigma))
    counted = np.diff(np.searchsorted(np.sort(found), edges)).astype(float)
    counted, expected = np.append(counted, found.size - counted.sum()), np.append(expected, 1 - expected.sum())
    kept = expected * found.size > 1e-9  # the rest cell may be empty by right
    statistic = float(np.sum((counted - expected * found.size)[kept] ** 2 / (expected * found.size)[kept]))
    return bool(stats.chi2.sf(statistic, kept.sum() - 1) > 1e-4)


@pytest.mark.parametrize("sigma", [*SMALL, *LARGE])
@pytest.mark.parametrize("reach", [5.5, 1.0])
def test_frequencies_are_those_of_the_sigma_asked_for_and_no_other(sigma: float, reach: float) -> None:
    """With `reach` 1 a third of the draws come from the tail."""
    found = draws(sigma, DRAWS if reach > 1 else 10_000, reach=reach)
    assert fits(found, sigma, sigma)
    for wrong in WRONG:
        assert not fits(found, wrong * sigma, sigma)


@pytest.mark.parametrize("sigma", LARGE)
def test_large_draws_are_normal_and_their_low_bits_uniform(sigma: float) -> None:
    found = draws(sigma, 1_000_000)
    assert stats.kstest(found / sigma, "norm").pvalue > 1e-4
    for wrong in WRONG:
        assert stats.kstest(found / (wrong * sigma), "norm").pvalue < 1e-9
    for bits in (1, 5):
        assert stats.chisquare(np.bincount(found % 2**bits)).pvalue > 1e-4
    assert abs(stats.kurtosis(found / sigma)) < 0.03
    assert np.abs(found).max() > 4.5 * sigma


@pytest.mark.parametrize("sigma", [Fraction(1, 2**60), Fraction(1, 10**9), Fraction(1, 20)])
def test_next_to_no_noise_is_none(sigma: Fraction) -> None:
    assert not DiscreteGaussian(sigma).draw(100_000, words()).any()


def test_what_cannot_be_drawn_is_refused() -> None:
    for sigma in (Fraction(0), Fraction(-1), Fraction(1, 2**61), Fraction(2**56)):
        with pytest.raises(ValueError, match="standard deviation"):
            DiscreteGaussian(sigma)
    with pytest.raises(ValueError, match="reach"):
        DiscreteGaussian(Fraction(1), reach=0.5)
    assert DiscreteGaussian(Fraction(2**56) - 1).draw(1000, words()).std() == pytest.approx(2**56, rel=0.1)


# What makes it exact: a proposal that dominates, and a coin that is never rounded.


def dominates(sampler: DiscreteGaussian) -> bool:
    """Whether no v is kept with a probability above 1, at the place in each bin and block where it is largest."""
    weights = sampler._weights
    sigma2, width = sampler._doubled / 2, sampler._width
    places = [(k * width, Fraction(sampler._scale, weight)) for k, weight in enumerate(weights[:-1])]
    for number in range(12):
        start = (len(weights) - 1) * width + number * sampler._block
        places.append((start, Fraction(2 ** (number + 1) * sampler._block * sampler._scale, width * weights[-1])))
    return all(ratio * exp_between(Fraction(x * x) / (2 * sigma2), 200)[1] <= 1 for x, ratio in places)


@pytest.mark.parametrize("sigma", [1e-9, *SMALL, 16.0, 31.999, 32.0, 2.0**39, *LARGE])
@pytest.mark.parametrize("reach", [5.5, 1.0])
def test_the_proposal_is_above_the_target_everywhere(sigma: float, reach: float) -> None:
    sampler = DiscreteGaussian(Fraction(sigma), reach=reach)
    assert dominates(sampler)
    assert sum(sampler._weights) <= 2**16
    assert len(sampler._bins) == 2**16
    shares = np.bincount(sampler._bins, minlength=len(sampler._weights))
    assert shares[: len(sampler._weights)].tolist() == sampler._weights
    assert sampler._width * 16 <= max(sigma, 16)
    assert sampler._block >= sigma


def test_weights_rounded_the_other_way_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = DiscreteGaussian._weighted

    def rounded(sampler: DiscreteGaussian) -> tuple[int, list[int]]:
        scale, weights = exact(sampler)
        return scale, [max(weight - 1, 1) for weight in weights]

    monkeypatch.setattr(DiscreteGaussian, "_weighted", rounded)
    assert not dominates(DiscreteGaussian(Fraction(100)))


@pytest.mark.parametrize("sigma", [1e-9, 0.4, 3.0, 100.0, 13.059 * 2.0**40])
@pytest.mark.parametrize("reach", [5.5, 1.0])
def test_the_fast_path_decides_as_the_exact_one(sigma: float, reach: float) -> None:
    """A margin of 2 sends every proposal down the exact path; the stream gives the same values."""
    assert np.array_equal(draws(sigma, 3000, reach=reach), draws(sigma, 3000, reach=reach, margin=2.0))


def test_the_exact_path_is_reached_from_the_tail_and_from_close_calls_only(monkeypatch: pytest.MonkeyPatch) -> None:
    settled, whole = [], DiscreteGaussian._settled

    def counting(sampler: DiscreteGaussian, bin_: int, *others: object) -> tuple[int, bool]:
        settled.append(bin_)
        return whole(sampler, bin_, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(DiscreteGaussian, "_settled", counting)
    sampler = DiscreteGaussian(Fraction(1000))
    sampler.draw(1_000_000, words())
    assert 3 <= len(settled) <= 50  # a weight of 1 in 65,536
    assert set(settled) == {sampler._tail}
    settled.clear()
    close = DiscreteGaussian(Fraction(1000), margin=1e-4)
    close.draw(100_000, words())
    assert 5 <= sum(bin_ < close._tail for bin_ in settled) <= 100


@pytest.mark.parametrize(
    "t", [Fraction(0), Fraction(1, 3), Fraction(17, 2), Fraction(10**30, 10**29 + 7), Fraction(35)]
)
@pytest.mark.parametrize("ratio", [Fraction(1), Fraction(2451, 2452), Fraction(5, 7)])
def test_a_coin_that_is_too_close_to_call_is_tossed_on(t: Fraction, ratio: Fraction) -> None:
    """The true p to 1,000 bits; U agrees with it in 48, then 112, then 176 bits, and differs then."""
    with mpmath.workprec(1000):
        p = mpmath.mpf(ratio.numerator) / ratio.denominator * mpmath.exp(-mpmath.mpf(t.numerator) / t.denominator)
        bits = int(mpmath.floor(p * mpmath.mpf(2) ** 240)) if p < 1 else 2**240 - 1
    known, *rest = bits >> 192, (bits >> 128) % 2**64, (bits >> 64) % 2**64, bits % 2**64

    def tossed(*given: int) -> tuple[bool, int]:
        left = list(given)
        result = below_exp(known, 48, ratio, t, lambda n: np.array([left.pop(0)], dtype=np.uint64))
        return result, len(given) - len(left)

    assert tossed(rest[0] - 1) == (True, 1)
    assert tossed(rest[0], rest[1] - 1) == (True, 2)
    assert tossed(rest[0], rest[1], rest[2] - 1) == (True, 3)
    if p < 1:
        assert tossed(rest[0] + 1) == (False, 1)
        assert tossed(rest[0], rest[1], rest[2] + 1) == (False, 3)
        assert below_exp(known - 1, 48, ratio, t, never) if known else True
        assert not below_exp(known + 1, 48, ratio, t, never)


def never(count: int) -> npt.NDArray[np.uint64]:
    raise AssertionError(f"{count} more words were drawn where none can matter.")


def test_bounds_of_exp_hold_it_and_are_close() -> None:
    generator = np.random.default_rng(1)
    for _ in range(300):
        t = Fraction(int(generator.integers(0, 2**60)), int(generator.integers(2**54, 2**60)))
        bits = int(generator.choice([60, 80, 150, 300]))
        low, high = exp_between(t, bits)
        with mpmath.workprec(2000):
            true = mpmath.exp(-mpmath.mpf(t.numerator) / t.denominator)
            assert mpmath.mpf(low.numerator) / low.denominator < true < mpmath.mpf(high.numerator) / high.denominator
        assert high - low <= Fraction(1, 2**bits)
    assert exp_between(Fraction(10**40), 80) == (Fraction(0), Fraction(1, 2**80))


def test_float64_errs_by_less_than_the_margin_allows() -> None:
    """What the margin's proof takes for granted of this machine's exp: a few ulp."""
    t = np.random.default_rng(2).uniform(0, 128, 5000)
    with mpmath.workprec(100):
        errors = [abs(float(mpmath.mpf(float(np.exp(-x))) / mpmath.exp(-mpmath.mpf(x)) - 1)) for x in t]
    assert max(errors) < 4 * 2.0**-52


# Mutants: each is seen by the frequencies.

FINE = LARGE[1]  # a block of the tail is little more than a sigma


def _patched(name: str, value: object) -> Callable[[float], Integers]:
    """With the tail near, so that what is wrong about it shows."""

    def drawn(sigma: float) -> Integers:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(DiscreteGaussian if hasattr(DiscreteGaussian, name) else discrete_gaussian, name, value)
            return draws(sigma, 10_000, reach=1.0)

    return drawn


def _with_ratios(change: Callable[[DiscreteGaussian], npt.NDArray[np.float64]]) -> Callable[[float], Integers]:
    """The chance that a proposal is kept, over exp(-v^2 / (2 sigma^2)), by bin."""

    def drawn(sigma: float) -> Integers:
        sampler = DiscreteGaussian(Fraction(sigma))
        sampler._ratios[: sampler._tail] = change(sampler)[: sampler._tail]
        return sampler.draw(DRAWS, words())

    return drawn


def _zero_twice(sigma: float) -> Integers:
    """Sign and size apart, and -0 not drawn again."""
    found = draws(sigma)
    return np.where(np.arange((found >= 0).sum()) % 2, 1, -1) * found[found >= 0]


def _rounded(sigma: float) -> Integers:
    return np.rint(np.random.default_rng(0).normal(0, sigma, DRAWS)).astype(np.int64)


def _light(sampler: DiscreteGaussian) -> npt.NDArray[np.float64]:
    """Some bins have a tenth less weight than they need: they can't be kept more often than always."""
    return np.array([ratio * (0.9 if k % 4 == 1 else 1.0) for k, ratio in enumerate(sampler._ratios)])


MUTANTS: dict[str, tuple[float, Callable[[float], Integers]]] = {
    "weights too small": (FINE, _with_ratios(_light)),
    "weights forgotten": (FINE, _with_ratios(lambda sampler: np.full(200, sampler._ratios[0]))),
    "every proposal kept": (FINE, _with_ratios(lambda sampler: np.full(200, 1e9))),
    "zero comes twice": (1.0, _zero_twice),
    "rounded, not discrete": (1.0, _rounded),
    "no tail": (1.0, _patched("_settled", lambda *_: (0, False))),
    "a tail of one block": (FINE, _patched("_tails_before_heads", lambda words: 0)),
    "a tail of blocks too many": (FINE, _patched("_tails_before_heads", lambda words: int(words(1)[0] % 4))),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_sampler_that_is_not_exact_is_seen(mutant: str) -> None:
    """What the same draws of the true sampler pass: `test_frequencies_are...`."""
    sigma, broken = MUTANTS[mutant]
    assert not fits(broken(sigma), sigma, sigma)
