"""An adapter within a few public directions: for layers with more numbers than a pool of documents can pay for.

Noise grows with the root of the numbers that learn. What documents agree on lies near few directions, and generated
documents show which (projected DP-SGD: Zhou, Wu and Banerjee 2021, arXiv 2007.03813). So what learns, is clipped and
gets noise are the coordinates along these; gradients find their way through the directions by the chain rule.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from learners.adapters import Adapter

_FAINTEST = 1e-12


class WithinDirections:
    """`inner`'s parameters are `theta @ directions`.

    Args:
        name: the kind of adapter.
        directions: `(size, inner.size)`, public.

    Raises:
        ValueError: directions of another number of parameters.
    """

    def __init__(self, name: str, inner: Adapter, directions: Tensor) -> None:
        if directions.ndim != 2 or directions.shape[1] != inner.size:
            raise ValueError(f"Expected directions (size, {inner.size}), got {tuple(directions.shape)}.")
        self.name, self.size = name, len(directions)
        self.charset, self.depth, self.device = inner.charset, inner.depth, inner.device
        self._inner, self._directions = inner, directions.detach().to(inner.device)

    def inputs(self, frames: Tensor) -> Tensor:
        return self._inner.inputs(frames)

    def logits(self, theta: Tensor, groups: Sequence[Tensor]) -> Tensor:
        return self._inner.logits(self._along(theta), groups)

    def merge(self, theta: Tensor) -> dict[str, Tensor]:
        return self._inner.merge(self._along(theta))

    def _along(self, theta: Tensor) -> Tensor:
        with torch.autocast(theta.device.type, enabled=False):
            return theta @ self._directions.to(theta.dtype)


def leading_directions(gradients: Tensor, blocks: Sequence[int], count: int) -> Tensor:
    """`(count, size)`: the directions along which documents with these gradients, `(n, size)`, move parameters most.

    Each of the `blocks` of parameters, end to end, is divided by the root of its usual gradient, so that none drowns
    the others, and each document is scaled to one length; of that, the top right singular vectors. Each is as long as
    the root of its singular value, so that what more documents share moves faster; the root mean square of their
    lengths is 1. Those that the documents do not span are zero.
    """
    split = torch.split(gradients.double(), list(blocks), dim=1)
    usual = torch.cat([part.square().mean().expand(part.shape[1]) for part in split]) ** 0.25
    rows = gradients.double() / usual.clamp_min(_FAINTEST)
    rows = rows / rows.norm(dim=1, keepdim=True).clamp_min(_FAINTEST)
    squares, vectors = torch.linalg.eigh(rows @ rows.T)
    top = squares.flip(0)[:count].clamp_min(0.0)
    kept = int((top > _FAINTEST * top[0]).sum())
    found = rows.new_zeros(count, rows.shape[1])
    found[:kept] = top[:kept, None] ** -0.25 * (vectors.flip(1)[:, :kept].T @ rows) / usual.clamp_min(_FAINTEST)
    directions: Tensor = found / found.norm() * count**0.5
    return directions.float()
