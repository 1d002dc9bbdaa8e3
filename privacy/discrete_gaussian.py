"""Integers from the discrete Gaussian N_Z(0, sigma^2), exactly: P(v) is proportional to exp(-v^2 / (2 sigma^2)).

Exact means: given uniformly random words, every integer comes with the probability that the definition gives
it, for the rational sigma it was asked for. Nothing is rounded, cut off or left to a floating-point library
(Canonne, Kamath and Steinke, arXiv 2004.00010, say why, and have a slower sampler).

How. A proposal, then a coin.

* The integers are the pairs (x >= 0, sign), v = x or -1 - x, each once: there is no -0 to reject. The x fall
  into bins of `width` h, a power of two near sigma / 32 ... sigma / 16. Bin k has an integer weight w_k out of
  2^16, w_k > C exp(-(k h)^2 / (2 sigma^2)), for an integer C. Bins, sign and offset in the bin are uniform
  bits, so v is proposed with the exact probability w_k / (2^17 h).
* It is kept with probability (C / w_k) exp(-v^2 / (2 sigma^2)), which is at most 1 since |v| >= k h. What is
  kept is then proportional to the target, over all v, with one constant.
* Beyond the table lies the tail: one more bin, in blocks of B >= sigma integers, B a power of two, of which
  block j is proposed with probability 2^-(j + 1) by tossing coins. The target falls faster: from one block
  to the next by exp(-1) < 1/2 or more. Weights that are left over propose nothing.

The coin. U is uniform in [0, 1), 48 of its bits are drawn. It is compared with the probability p in float64,
whose error is bounded below; where the two are closer than that, in decimals of as many digits, and with as
many more bits of U, as it takes. So the distribution does not depend on the machine's arithmetic.
"""

from __future__ import annotations

import decimal
import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Words = Callable[[int], npt.NDArray[np.uint64]]
"""`words(n)` gives n uniformly random 64-bit words that were never given before."""

_LEAST, _BELOW = Fraction(1, 2**60), Fraction(2**56)  # of sigma: offsets and sums fit into 63 bits
_TRIES = 1 << 15  # proposals at a time: what they need stays in the cache
_WEIGHTS = 1 << 16
_COIN = 48  # bits of U in the word whose other 16 choose the bin
_FINER = 16  # bins to a sigma, at least
_REACH = 5.5  # in sigma, where the tail starts

_MARGIN = 2.0**-40
"""How near p and U's 48 bits may be for float64 to decide.

v, v^2, the factor -1 / (2 sigma^2) and their product are rounded five times, so t = v^2 / (2 sigma^2) is right
to 5 x 2^-53 relative; exp to a few ulp. For t <= 128 the relative error of p is thus below 700 x 2^-53 < 2^-43,
and p <= 1; for t > 128 both p and its float64 are below 2^16 exp(-127) < 2^-160. U's other bits are worth
2^-48. The margin would cover an exp that is wrong by a thousand ulp.
"""


class DiscreteGaussian:
    """N_Z(0, sigma^2).

    Args:
        sigma: exact, in 2^-60 ... 2^56.
        reach, margin: for tests, which bring the tail near, or send every decision down the exact path. The
            distribution depends on neither, and the margin changes no value.
    """

    def __init__(self, sigma: Fraction, *, reach: float = _REACH, margin: float = _MARGIN) -> None:
        if not _LEAST <= sigma < _BELOW:
            raise ValueError(f"Expected a standard deviation of 2^-60 ... 2^56 grid steps, got about {round(sigma)}.")
        if not 1.0 <= reach <= 7.0:
            raise ValueError(f"Expected 1 <= reach <= 7, got {reach}.")
        self._doubled = 2 * sigma * sigma
        self._margin = margin
        self._width = 1 << max(0, math.floor(math.log2(sigma / _FINER)))
        self._block = 1 << max(0, math.ceil(math.log2(sigma)))
        self._tail = max(1, math.ceil(reach * float(sigma) / self._width))  # the tail's bin, after all others
        self._rate = -1.0 / float(self._doubled)
        self._starts = np.arange(self._tail + 1, dtype=np.int64) * self._width
        self._scale, self._weights = self._weighted()
        rest = _WEIGHTS - sum(self._weights)
        self._bins = np.repeat(np.arange(self._tail + 2, dtype=np.uint8), [*self._weights, rest])
        self._lefts = np.append(self._starts, 0)
        # NaN: what fell into the tail is always decided exactly. 0: what is left over is refused.
        self._ratios = np.array([self._scale / weight for weight in self._weights[:-1]] + [math.nan, 0.0])

    def _weighted(self) -> tuple[int, list[int]]:
        """C and the weights: above C times the target's largest value in each bin; 2^16 at most in all."""
        above = np.exp(self._starts.astype(np.float64) ** 2 * self._rate) * (1.0 + _MARGIN)
        above[-1] *= 2 * self._block / self._width  # block 0 of the tail has half of its weight
        scale = int((_WEIGHTS - above.size) / above.sum())
        return scale, [math.floor(scale * each) + 1 for each in above]

    def draw(self, size: int, words: Words) -> Integers:
        """`(size,) int64`, independent, modulo 2^64 (128 sigma or more), as the sums they are added to."""
        parts, missing = [np.zeros(0, dtype=np.int64)], size
        while missing > 0:
            kept = self._kept(min(_TRIES, missing + missing // 8 + 16), words)[:missing]
            parts.append(kept)
            missing -= kept.size
        return np.concatenate(parts)

    def _kept(self, tries: int, words: Words) -> Integers:
        """What is kept of so many proposals."""
        drawn = words(2 * tries)
        where, coin = drawn[:tries].view(np.int64), drawn[tries:]
        bins = self._bins[coin >> np.uint64(_COIN)]
        coin = coin & np.uint64((1 << _COIN) - 1)
        values: Integers = (self._lefts[bins] + (where & np.int64(self._width - 1))) ^ (where >> np.int64(63))
        lead = values.astype(np.float64)  # of the probability over U
        np.multiply(lead, lead, out=lead)
        np.exp(np.multiply(lead, self._rate, out=lead), out=lead)
        lead *= self._ratios[bins]
        lead -= coin * 2.0**-_COIN
        keep = lead > self._margin
        for k in np.flatnonzero(~(np.abs(lead) > self._margin)):
            values[k], keep[k] = self._settled(int(bins[k]), int(where[k]), int(values[k]), int(coin[k]), words)
        kept: Integers = values[keep]
        return kept

    def _settled(self, bin_: int, where: int, value: int, coin: int, words: Words) -> tuple[int, bool]:
        """A proposal's value and whether it is kept, without rounding."""
        if bin_ > self._tail:
            return value, False
        ratio = Fraction(self._scale, self._weights[bin_])
        if bin_ == self._tail:
            number = _tails_before_heads(words)
            ratio *= Fraction(2 ** (number + 1) * self._block, self._width)
            value = self._tail * self._width + number * self._block + where % self._block
            value = ~value if where < 0 else value
        keep = below_exp(coin, _COIN, ratio, value * value / self._doubled, words)
        return (value + 2**63) % 2**64 - 2**63, keep


def below_exp(known: int, bits: int, ratio: Fraction, t: Fraction, words: Words) -> bool:
    """Whether U < ratio exp(-t), of U in [0, 1) the first `bits` being `known`, and more drawn if that matters."""
    while True:
        low, high = exp_between(t, bits + 32)
        if Fraction(known + 1, 1 << bits) <= ratio * low:
            return True
        if Fraction(known, 1 << bits) >= ratio * high:
            return False
        known, bits = known << 64 | int(words(1)[0]), bits + 64


def exp_between(t: Fraction, bits: int) -> tuple[Fraction, Fraction]:
    """Two numbers, no further apart than about 2^-bits, that have exp(-t) between them; t >= 0.

    `decimal` divides and exponentiates with correct rounding, so the next digits up and down are bounds.
    """
    if t > bits:
        return Fraction(0), Fraction(1, 1 << bits)
    context = decimal.Context(prec=bits // 3 + 8, rounding=decimal.ROUND_HALF_EVEN)
    least, most = (context.copy(), context.copy())
    least.rounding, most.rounding = decimal.ROUND_FLOOR, decimal.ROUND_CEILING
    over, under = decimal.Decimal(t.numerator), decimal.Decimal(t.denominator)
    low = context.exp(most.divide(over, under).copy_negate()).next_minus(context)
    high = context.exp(least.divide(over, under).copy_negate()).next_plus(context)
    return Fraction(low), Fraction(high)


def _tails_before_heads(words: Words) -> int:
    """j with probability 2^-(j + 1): tosses of a fair coin."""
    tossed = 0
    while not (word := int(words(1)[0])):
        tossed += 64
    return tossed + (word & -word).bit_length() - 1
