"""Discrete Gaussian noise and Poisson sampling from a cryptographic stream, drawn only against a ledger entry.

Guarantees:

* No noise without a debit. A `NoiseSource` is made from a `Debit`, and a `Debit` from a signed ledger entry.
  It draws at most as often as the entry paid for, never with less noise, and in a process one entry serves
  one source.
* The stream is ChaCha20 under 32 bytes of the operating system's randomness. Nothing can be drawn twice: a
  source has no state to save, so a round that starts again draws anew, against a new debit.
* A draw is in whole grid steps, and so is what it is added to, an exact integer sum (`Grid`). The sensitivity
  is exact, because integer sums don't depend on their order (Casacuberta et al., arXiv 2207.10635).
* The noise is exactly the discrete Gaussian (`privacy.discrete_gaussian`), and a coin falls true with a
  probability that is exactly known and never above the rate charged. No floating-point number is released,
  and none decides, so there are no low bits that betray what was added to (Jin et al., arXiv 2112.05307).
* What this costs beyond the continuous Gaussian is proven and charged: `privacy.accountant`, "Discreteness".
  The proof takes at most `MOST_NUMBERS` numbers a release, and a source refuses more.

All of it supposes that ChaCha20's output can't be told from true randomness.
"""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from privacy.accountant import GRID_BITS, MOST_NUMBERS, RoundEvent
from privacy.chain import Entry
from privacy.discrete_gaussian import DiscreteGaussian, Integers
from privacy.errors import BudgetExhausted

Kind = Literal["discrete-gaussian", "float64-gaussian"]

_SEED_BYTES = 32


@dataclass(frozen=True)
class Debit:
    """What a ledger entry allows to be drawn: its number and hash, and the event that was charged.

    Made by `of`, which checks the signature, or by `for_tests`.
    """

    seq: int
    hash: str
    event: RoundEvent

    @classmethod
    def of(cls, entry: Entry, public: bytes) -> Debit:
        """The debit of a ledger entry signed by `public` (32 bytes), whose body holds it under "event".

        Raises:
            BudgetExhausted: the entry is not signed by this key, or charges for no event.
        """
        if not entry.signed_by(public):
            raise BudgetExhausted("The debit is not a ledger entry signed by the expected key.")
        try:
            event = RoundEvent.from_body(entry.body["event"])
        except (KeyError, TypeError, ValueError):
            raise BudgetExhausted(f"Ledger entry {entry.seq} ({entry.kind}) charges for no event.") from None
        return cls(entry.seq, entry.hash, event)

    @classmethod
    def for_tests(cls, noise_multiplier: float = 1e-9, steps: int = 1 << 40, sample_rate: float = 1.0) -> Debit:
        """A debit that no ledger holds: what is drawn against it is worth nothing, and `is_real` is false."""
        return cls(-1, "test", RoundEvent(sample_rate, noise_multiplier, steps))

    @property
    def is_real(self) -> bool:
        return self.seq >= 0


@dataclass(frozen=True)
class Grid:
    """The integer grid on which contributions of norm at most `bound` are summed and released.

    `step` is a power of two, more than `bound * 2^-40` and at most twice that, so that integers and values
    convert without rounding. Eight million contributions fit into an int64 sum; should there be more, sum
    and noise are both taken modulo 2^64, which is post-processing.
    """

    bound: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.bound) and self.bound > 0):
            raise ValueError(f"Expected a finite bound > 0, got {self.bound}.")

    @property
    def step(self) -> float:
        return math.ldexp(1.0, math.frexp(self.bound)[1] - GRID_BITS)

    @property
    def sensitivity(self) -> float:
        """The norm that one contribution can have, in grid steps: 2^39 or more, less than 2^40."""
        return self.bound / self.step


class NoiseSource:
    """Noise and Poisson masks for one charged event.

    Args:
        debit: what was charged; it can be used once.
        seed: 32 bytes that make the draws reproducible; only with a debit for tests.
        kind: "float64-gaussian" is there to be compared with, and drawn only against a debit for tests.
    """

    _spent: ClassVar[set[str]] = set()

    def __init__(self, debit: Debit, *, seed: bytes | None = None, kind: Kind = "discrete-gaussian") -> None:
        if debit.is_real:
            if seed is not None:
                raise ValueError("Expected no seed with a real debit: noise that can be repeated hides nothing.")
            if kind != "discrete-gaussian":
                raise ValueError(f"Expected discrete-gaussian noise with a real debit, got {kind}.")
            if debit.hash in self._spent:
                raise BudgetExhausted(f"Ledger entry {debit.seq} has been drawn against before.")
            self._spent.add(debit.hash)
        elif seed is not None and len(seed) != _SEED_BYTES:
            raise ValueError(f"Expected a seed of {_SEED_BYTES} bytes, got {len(seed)}.")
        self._event, self._kind = debit.event, kind
        self._drawn = 0
        self._stream = _Stream(secrets.token_bytes(_SEED_BYTES) if seed is None else seed)

    @property
    def drawn(self) -> int:
        """How many releases were drawn for."""
        return self._drawn

    def add_to(self, total: Integers, grid: Grid, noise_multiplier: float) -> Integers:
        """The Gaussian mechanism: `total + N_Z(0, (noise_multiplier * bound)^2)`, in grid steps.

        `total` (any shape) is a sum of contributions of norm at most `grid.bound`, one a unit of privacy.

        Raises:
            BudgetExhausted: less noise, more releases, or more numbers in one, than were charged.
        """
        if total.dtype != np.int64:
            raise ValueError(f"Expected an int64 sum in grid steps, got {total.dtype}.")
        charged = self._event
        if not noise_multiplier >= charged.noise_multiplier:
            least = charged.noise_multiplier
            raise BudgetExhausted(f"Expected noise_multiplier >= {least}, as charged, got {noise_multiplier}.")
        if not noise_multiplier < math.inf:
            raise ValueError(f"Expected a finite noise_multiplier, got {noise_multiplier}.")
        if self._drawn >= charged.steps:
            raise BudgetExhausted(f"All {charged.steps} releases that were charged have been drawn.")
        if total.size > MOST_NUMBERS:
            raise BudgetExhausted(f"Expected at most {MOST_NUMBERS} numbers in a release, got {total.size}.")
        sigma = Fraction(noise_multiplier) * Fraction(grid.bound) / Fraction(grid.step)
        self._drawn += 1
        noise = self._draw(sigma, total.size)
        return total + noise.reshape(total.shape)

    def _draw(self, sigma: Fraction, size: int) -> Integers:
        if self._kind == "float64-gaussian":
            return np.rint(self._stream.normal(size) * float(sigma)).astype(np.int64)
        return DiscreteGaussian(sigma).draw(size, self._stream.words)

    def poisson(self, size: int, sample_rate: float) -> npt.NDArray[np.bool_]:
        """Who is in a batch: `size` independent coins, each true with probability floor(2^64 rate) / 2^64.

        Raises:
            BudgetExhausted: a higher rate than was charged.
        """
        if not 0.0 <= sample_rate <= self._event.sample_rate:
            raise BudgetExhausted(
                f"Expected 0 <= sample_rate <= {self._event.sample_rate}, as charged, got {sample_rate}."
            )
        if sample_rate == 1.0:
            return np.ones(size, dtype=np.bool_)
        return self._stream.words(size) < np.uint64(math.floor(Fraction(sample_rate) * 2**64))


class _Stream:
    """Random words from ChaCha20 under one key; every call takes a fresh nonce."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._calls = 0

    def words(self, size: int) -> npt.NDArray[np.uint64]:
        """`(size,) uint64`, uniform and independent."""
        nonce = bytes(8) + self._calls.to_bytes(8, "little")  # the block counter comes first, from 0
        self._calls += 1
        stream = Cipher(ChaCha20(self._key, nonce), mode=None).encryptor().update(bytes(8 * size))
        return np.frombuffer(stream, dtype="<u8")

    def normal(self, size: int) -> npt.NDArray[np.float64]:
        """`(size,) float64`, standard normal but for rounding: Box and Muller (1958). For comparison only."""
        radius, angle = ((self.words(2 * size) >> np.uint64(11)) * 2.0**-53).reshape(2, size)
        return np.asarray(np.sqrt(-2.0 * np.log1p(-radius)) * np.cos(2.0 * np.pi * angle), dtype=np.float64)
