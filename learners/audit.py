"""An audit run: documents whose gradients an attacker chose, through a real round.

A canary is a document whose every line pulls the parameters along the canary's own direction, as hard as the
clip allows. Directions are orthonormal, so that no canary is in another's way. A slot whose coin said "out" is
empty (zero-out adjacency). Everything else is the learner's: `learners.finetune.learn` with its loop, its
gradients, its clip, its noise and its optimiser.

The attacker sees every noisy gradient that reaches the optimiser, which is more than is ever released. A
canary's score is the sum of its inner products with them, less the mean of all: where noise is Gaussian, the
likelihood ratio. From step to step and round to round all directions
change sign: noise that is drawn anew does not care, and noise that is drawn twice cancels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import fft
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_pre_hook

from learners.adapters import Charset
from learners.chunks import Cached
from learners.finetune import learn
from learners.plan import Plan
from models.ctc import BLANK
from models.trainee import Depth
from privacy.noise import NoiseSource

_STEEP = 1e3
"""The norm of a canary's gradient before the clip."""


def audit_plan(plan: Plan, canaries: int) -> Plan:
    """The plan with a slot for every canary, and nothing public beside the noisy gradient."""
    return replace(plan, capacity=canaries, members=canaries, rehearsal=0.0)


def canary_scores(
    plan: Plan, inside: npt.NDArray[np.bool_], sources: Sequence[NoiseSource], lines: int = 2
) -> npt.NDArray[np.float64]:
    """`(canaries,) float64`: above 0 for the canaries that seem to have been in, below for the others.

    Args:
        plan: of one round, made by `audit_plan`.
        inside: who is in.
        sources: of the rounds, one each.
        lines: of a canary document.

    Raises:
        ValueError: another number of members than of canaries, or more canaries than parameters.
        RuntimeError: a step whose gradient did not reach the optimiser.
    """
    if inside.shape != (plan.members,):
        raise ValueError(f"Expected a coin for each of {plan.members} members, got {inside.shape}.")
    canaries = Canaries(plan.parameters, plan.members)
    cached = {int(slot): canaries.document(int(slot), lines) for slot in np.flatnonzero(inside)}
    with canaries.watching():
        for number, source in enumerate(sources):
            canaries.sign = -1.0 if number % 2 else 1.0
            learn(plan, canaries, range(plan.members), cached, (), source, canaries.turn)
    if canaries.seen != plan.steps * len(sources):
        raise RuntimeError(f"Expected {plan.steps * len(sources)} gradients, got {canaries.seen}.")
    leanings = canaries.leanings()
    scores: npt.NDArray[np.float64] = leanings - leanings.mean()
    return scores


class Canaries:
    """An adapter of `size` parameters, one direction of which belongs to each of `count` canaries.

    The directions are rows of the discrete cosine transform: orthonormal, and as dense as a real gradient.
    """

    name = "canary"
    depth: Depth = "projection"
    device = torch.device("cpu")
    charset = Charset((BLANK, 1), {"x": 1}, closed=True)

    def __init__(self, size: int, count: int) -> None:
        self.size, self.sign, self.seen = size, 1.0, 0
        if count > size:
            raise ValueError(f"Expected at most {size} canaries, as many as parameters, got {count}.")
        basis = fft.idct(np.eye(count, size, dtype=np.float32), norm="ortho", overwrite_x=True)
        self._directions = torch.from_numpy(basis)
        self._released = torch.zeros(size, dtype=torch.float64)

    def document(self, canary: int, lines: int) -> Cached:
        """Lines of one frame, which holds the canary's number; each reads "x"."""
        return Cached((torch.full((1, 1), float(canary)),) * lines, ((1,),) * lines)

    def inputs(self, frames: Tensor) -> Tensor:
        return frames

    def logits(self, theta: Tensor, groups: Sequence[Tensor]) -> Tensor:
        """Blank and "x" are as likely as ever, but their gradient is `_STEEP` along the canary's direction."""
        numbers = torch.cat([group.flatten() for group in groups]).long()
        pull = self._directions[numbers].to(theta.dtype) @ theta
        moved = 2 * _STEEP * self.sign * (pull - pull.detach())
        return torch.stack((torch.zeros_like(moved), moved), dim=-1)

    def merge(self, theta: Tensor) -> dict[str, Tensor]:
        raise NotImplementedError("An audit run has no candidate.")

    def turn(self, step: int, steps: int) -> None:
        """All directions change sign."""
        self.sign = -self.sign

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Sees each gradient as it reaches the optimiser."""
        handle = register_optimizer_step_pre_hook(self._see)
        try:
            yield
        finally:
            handle.remove()

    def _see(self, optimiser: torch.optim.Optimizer, *_: Any) -> None:
        (theta,) = optimiser.param_groups[0]["params"]
        self._released -= self.sign * theta.grad.double()  # the loss falls against the gradient
        self.seen += 1

    def leanings(self) -> npt.NDArray[np.float64]:
        """The inner product of each direction with the sum of what was seen."""
        found: npt.NDArray[np.float64] = fft.dct(self._released.numpy(), norm="ortho")[: len(self._directions)]
        return found
