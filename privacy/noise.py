"""Gaussian noise and Poisson sampling from a cryptographic stream, drawn only against a ledger entry.

Guarantees:

* No noise without a debit. A `NoiseSource` is made from a `Debit`, and a `Debit` from a signed ledger entry.
  It draws at most as often as the entry paid for, never with less noise, and one entry serves one source.
* The stream is ChaCha20 under 32 bytes of the operating system's randomness. Nothing can be drawn twice: a
  source has no state to save, so a round that starts again draws anew, against a new debit.
* A draw is in whole grid steps. What it is added to is an exact integer sum (`Grid`), so the release is one
  too, and equals the continuous Gaussian mechanism's output rounded to the grid: post-processing, which
  costs no privacy. The sensitivity is exact, because integer sums don't depend on their order (Casacuberta
  et al., arXiv 2207.10635).

On floating point. The low bits of a floating-point Gaussian betray the value it was added to (Jin et al.,
arXiv 2112.05307). Here no low bits are left: the grid is 2^-24 of the clipping norm, so that one cell holds
some 2^28 floating-point values, and each number is the sum of four Box-Muller normals (Holohan and Braghin,
arXiv 2107.10138). That closes the published attacks. It is no proof: uniforms have 52 bits, so a cell has
the Gaussian's probability only to within a small relative error that nobody has bounded here, and noise
beyond 12 standard deviations never occurs. A discrete Gaussian sampled exactly in integer arithmetic
(Canonne, Kamath and Steinke, arXiv 2004.00010) would be a proof; it is future work, and until then the claim
names the mechanism "rounded-gaussian".
"""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from privacy.accountant import RoundEvent
from privacy.chain import Entry
from privacy.errors import BudgetExhausted

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_SEED_BYTES = 32
_GRID_BITS = 24
_SUMMED = 4  # normals summed into one
_CHUNK = 1 << 16  # numbers made at a time: bounds the memory


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

    `step` is a power of two near `bound * 2^-24`, so that integers and values convert without rounding.
    """

    bound: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.bound) and self.bound > 0):
            raise ValueError(f"Expected a finite bound > 0, got {self.bound}.")

    @property
    def step(self) -> float:
        return math.ldexp(1.0, math.frexp(self.bound)[1] - _GRID_BITS)

    @property
    def sensitivity(self) -> float:
        """The norm that one contribution can have, in grid steps."""
        return self.bound / self.step


class NoiseSource:
    """Noise and Poisson masks for one charged event.

    Args:
        debit: what was charged; it can be used once.
        seed: 32 bytes that make the draws reproducible; only with a debit for tests.
    """

    _spent: ClassVar[set[str]] = set()

    def __init__(self, debit: Debit, *, seed: bytes | None = None) -> None:
        if debit.is_real:
            if seed is not None:
                raise ValueError("Expected no seed with a real debit: noise that can be repeated hides nothing.")
            if debit.hash in self._spent:
                raise BudgetExhausted(f"Ledger entry {debit.seq} has been drawn against before.")
            self._spent.add(debit.hash)
        elif seed is not None and len(seed) != _SEED_BYTES:
            raise ValueError(f"Expected a seed of {_SEED_BYTES} bytes, got {len(seed)}.")
        self._event = debit.event
        self._drawn = 0
        self._stream = _Stream(secrets.token_bytes(_SEED_BYTES) if seed is None else seed)

    @property
    def drawn(self) -> int:
        """How many releases were drawn for."""
        return self._drawn

    def add_to(self, total: Integers, grid: Grid, noise_multiplier: float) -> Integers:
        """The Gaussian mechanism: `total + round(N(0, (noise_multiplier * bound)^2))`, in grid steps.

        `total` (any shape) is a sum of contributions of norm at most `grid.bound`, one a unit of privacy.

        Raises:
            BudgetExhausted: less noise, or more releases, than were charged.
        """
        if total.dtype != np.int64:
            raise ValueError(f"Expected an int64 sum in grid steps, got {total.dtype}.")
        charged = self._event
        if not noise_multiplier >= charged.noise_multiplier:
            least = charged.noise_multiplier
            raise BudgetExhausted(f"Expected noise_multiplier >= {least}, as charged, got {noise_multiplier}.")
        if self._drawn >= charged.steps:
            raise BudgetExhausted(f"All {charged.steps} releases that were charged have been drawn.")
        self._drawn += 1
        std = noise_multiplier * grid.sensitivity
        if not std < 2**50:
            raise ValueError(f"Expected a standard deviation below 2^50 grid steps, got {std}.")
        noise = np.rint(self._stream.normal(total.size) * std).astype(np.int64)
        return total + noise.reshape(total.shape)

    def poisson(self, size: int, sample_rate: float) -> npt.NDArray[np.bool_]:
        """Who is in a batch: `size` independent coins that fall true with probability `sample_rate`.

        Raises:
            BudgetExhausted: a higher rate than was charged.
        """
        if not 0.0 <= sample_rate <= self._event.sample_rate:
            raise BudgetExhausted(
                f"Expected 0 <= sample_rate <= {self._event.sample_rate}, as charged, got {sample_rate}."
            )
        return self._stream.uniform(size) < sample_rate


class _Stream:
    """Uniform and normal numbers from ChaCha20 under one key; every call takes a fresh nonce."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._calls = 0

    def uniform(self, size: int) -> Floats:
        """`(size,) float64` in (0, 1): the middles of 2^52 equal intervals, exactly."""
        nonce = bytes(8) + self._calls.to_bytes(8, "little")  # the block counter comes first, from 0
        self._calls += 1
        stream = Cipher(ChaCha20(self._key, nonce), mode=None).encryptor().update(bytes(8 * size))
        bits = np.frombuffer(stream, dtype="<u8") >> np.uint64(12)
        return (bits.astype(np.float64) + 0.5) * 2.0**-52

    def normal(self, size: int) -> Floats:
        """`(size,) float64`, standard normal."""
        chunks = [self._normal(min(_CHUNK, size - start)) for start in range(0, size, _CHUNK)]
        return np.concatenate(chunks) if chunks else np.zeros(0)

    def _normal(self, size: int) -> Floats:
        """Box and Muller (1958): sqrt(-2 ln u) (cos 2 pi v, sin 2 pi v) are two normals; four are summed."""
        pairs = self.uniform(_SUMMED * size).reshape(2, _SUMMED // 2, size)
        radius, angle = np.sqrt(-2.0 * np.log(pairs[0])), 2.0 * np.pi * pairs[1]
        total: Floats = (radius * (np.cos(angle) + np.sin(angle))).sum(axis=0)
        return total / math.sqrt(_SUMMED)
