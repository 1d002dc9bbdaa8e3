"""Random draws for public documents that are the same on every machine.

Guarantee: a draw is a function of the seed and of the draws before it, and of nothing else. It rests
on two things only: NumPy promises that the raw stream of `PCG64` never changes (the distributions of
`Generator` carry no such promise, so none is used), and everything after it is integer arithmetic.

Public documents only. Noise for privacy and keys come from `privacy.noise` and the system's generator.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T")

_BLOCK = 64


class Draws:
    """A stream of draws named by a seed and a purpose; two purposes of one seed are independent."""

    def __init__(self, seed: int, purpose: str) -> None:
        if seed < 0:
            raise ValueError(f"Expected seed={seed} >= 0.")
        tag = int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "little")
        self._bits = np.random.PCG64(np.random.SeedSequence([seed, tag]))
        self._block: list[int] = []

    def _word(self) -> int:
        if not self._block:
            self._block = self._bits.random_raw(_BLOCK).tolist()
        return self._block.pop()

    def below(self, bound: int) -> int:
        """Uniform in `0 .. bound - 1`, up to a bias of `bound / 2**64`."""
        if bound < 1:
            raise ValueError(f"Expected bound={bound} >= 1.")
        return (self._word() * bound) >> 64

    def between(self, low: int, high: int) -> int:
        """Uniform in `low .. high`, both included."""
        return low + self.below(high - low + 1)

    def chance(self, percent: int) -> bool:
        return self.below(100) < percent

    def pick(self, options: Sequence[T]) -> T:
        return options[self.below(len(options))]

    def sample(self, options: Sequence[T], count: int) -> list[T]:
        """`count` different options, in the order they were drawn (Fisher-Yates)."""
        rest = list(options)
        return [rest.pop(self.below(len(rest))) for _ in range(count)]

    def digits(self, count: int) -> str:
        return "".join(str(self.below(10)) for _ in range(count))

    def string(self, alphabet: str, count: int) -> str:
        return "".join(alphabet[self.below(len(alphabet))] for _ in range(count))

    def octets(self, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
        """An array of uniform bytes."""
        count = int(np.prod(shape))
        words = self._bits.random_raw(-(-count // 8)).astype("<u8")
        return words.view(np.uint8)[:count].reshape(shape)

    def bell(self, shape: tuple[int, ...]) -> npt.NDArray[np.int16]:
        """An array of sums of four uniform bytes about zero: bell-shaped, standard deviation 147.8."""
        total: npt.NDArray[np.int16] = self.octets((4, *shape)).sum(axis=0, dtype=np.int16)
        return total - np.int16(510)
