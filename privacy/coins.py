"""Poisson masks for the processes of a round that hold no debit.

One process of a round adds the noise, against the debit (`privacy.noise.NoiseSource`). The others take their own
documents by coins of their own, straight from the operating system: no seed is shared, so the coins of any two
documents are independent, which is all that the accountant supposes. How many processes there are does not
enter the event. They can add no noise, and so they can release nothing.
"""

from __future__ import annotations

import math
import secrets
from fractions import Fraction
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from privacy.accountant import RoundEvent
from privacy.errors import BudgetExhausted


class Coins:
    """Coins as in `NoiseSource.poisson`, for a charged event, and no noise."""

    def __init__(self, event: RoundEvent) -> None:
        self._most = event.sample_rate

    def poisson(self, size: int, sample_rate: float) -> npt.NDArray[np.bool_]:
        """Who is in a batch: `size` independent coins, each true with probability floor(2^64 rate) / 2^64.

        Raises:
            BudgetExhausted: a higher rate than was charged.
        """
        if not 0.0 <= sample_rate <= self._most:
            raise BudgetExhausted(f"Expected 0 <= sample_rate <= {self._most}, as charged, got {sample_rate}.")
        if sample_rate == 1.0:
            return np.ones(size, dtype=np.bool_)
        words = np.frombuffer(secrets.token_bytes(8 * size), dtype="<u8")
        return words < np.uint64(math.floor(Fraction(sample_rate) * 2**64))

    def add_to(self, *_: object) -> NoReturn:
        """Raises `BudgetExhausted`: there is no debit to draw against."""
        raise BudgetExhausted("Expected the process that holds the debit to add the noise, got one with coins only.")
