"""Algorithm 1 of Abadi et al., "Deep Learning with Differential Privacy" (2016), a document as its example.

    for each document i in the batch:  g_i  = gradient of the mean loss over the document's lines
                                       g~_i = g_i / max(1, |g_i|_2 / C)
    g~ = (sum_i g~_i + N(0, sigma^2 C^2 I)) / L

`C` is `max_grad_norm`, `sigma` `noise_multiplier`, `L` `expected_documents` = sample rate x pool capacity.

Guarantees:

* The sum has the sensitivity that the accountant assumes: one document, whatever its lines and its loss,
  moves it by at most `C` in L2 norm. The neighbour has a zero in its place (zero-out).
* A gradient with a NaN or an infinity counts as zero: the document then leaves no trace.
* Noise is added once a step, after clipping and summing, and to an empty batch too: that a batch was empty is
  private.
* `L` is a public number. The true number of documents in the batch is used nowhere.
* The sum is over integers (`privacy.noise.Grid`), so it does not depend on the order of the documents, on how
  they were batched, or on how many processes share them. No process's sum can overflow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from privacy.coins import Coins
from privacy.noise import Grid, NoiseSource

Mechanism = Callable[[Tensor], Tensor]
Once = Callable[[Tensor, Mechanism], Tensor]
"""`once(part, mechanism)`: what the mechanism says of the sum of all processes' parts, asked once and told to all."""
_PART = 1 << 16
"""Numbers of a gradient that are clipped at a time: they stay in the processor's cache."""


def document_gradient(loss: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """One document's gradient: `(size,) float32`, the parameters' gradients end to end, in their order.

    `loss` is the mean of the document's own lines' losses and must depend on no other document. A parameter
    that it does not reach has a zero gradient. No `.grad` is touched.
    """
    parts = torch.autograd.grad(loss, parameters, allow_unused=True)
    pairs = zip(parts, parameters, strict=True)
    flat = [torch.zeros_like(p) if part is None else part for part, p in pairs]
    return torch.cat([part.detach().reshape(-1).float() for part in flat])


def clip(gradients: Tensor, grid: Grid) -> Tensor:
    """Documents' contributions: `int64` in grid steps, of the shape of `gradients`: `(size,)` or `(n, size)`.

    Each row is one document's and has L2 norm at most `grid.bound`. It is the same alone as in any block.
    """
    size = gradients.shape[-1]
    clipped = torch.zeros(gradients.shape, dtype=torch.int64, device=gradients.device)
    for gradient, into in zip(gradients.reshape(-1, size), clipped.view(-1, size), strict=True):
        _add_clipped(into, gradient, grid)
    return clipped


def _add_clipped(total: Tensor, gradient: Tensor, grid: Grid) -> None:
    """Adds one document's contribution to the sum, `(size,) int64`, in place.

    The norm is taken in float64. The vector is scaled to a hair under the bound, which covers the rounding of
    the norm (of up to 2^23 numbers) and of the product, and then cut towards zero onto the grid, which can only
    shorten it.
    """
    gradient = gradient.detach().contiguous()
    norm = float(torch.linalg.vector_norm(gradient, dtype=torch.float64))
    if not math.isfinite(norm):
        return
    scale = min(1.0, grid.bound * (1.0 - 2.0**-30) / norm) if norm > 0 else 1.0
    for part, into in zip(torch.split(gradient, _PART), torch.split(total, _PART), strict=True):
        into += (part.double() * (scale / grid.step)).long()  # the conversion cuts towards zero


def private_gradient(
    document_gradients: Iterable[Tensor],
    *,
    size: int,
    max_grad_norm: float,
    noise_multiplier: float,
    expected_documents: float,
    noise: NoiseSource | Coins,
    device: torch.device | str = "cpu",
    once: Once = lambda total, mechanism: mechanism(total),
) -> Tensor:
    """The noisy mean gradient of one step, `(size,) float32` on `device`.

    Args:
        document_gradients: one gradient for each document of the batch, of *all* its lines: `(size,)` each, or
            blocks `(n, size)` of some documents'; may be empty; taken one at a time, so a generator bounds the
            memory.
        size: the number of parameters that learn.
        max_grad_norm: the clipping norm `C` > 0, a public number.
        noise_multiplier: `sigma`, as charged.
        expected_documents: the public divisor `L` = sample rate x pool capacity > 0.
        noise: where the noise comes from; every call draws once, against its debit.
        once: how the processes that share a step's documents release their sum; by default there is one process.

    Raises:
        BudgetExhausted: more steps, or less noise, than were charged.
        ValueError: a gradient of another size, a bound or divisor that is not positive, or more documents than
            an int64 sum is safe for.
    """
    if not expected_documents > 0:
        raise ValueError(f"Expected expected_documents > 0, got {expected_documents}.")
    grid, documents = Grid(max_grad_norm), 0
    most = 2**62 // math.ceil(grid.sensitivity)  # half of int64's range, and half for the noise
    total = torch.zeros(size, dtype=torch.int64, device=device)
    for block in document_gradients:
        if block.ndim not in (1, 2) or block.shape[-1] != size:
            raise ValueError(f"Expected gradients of shape ({size},) or (n, {size}), got {tuple(block.shape)}.")
        for gradient in block.to(device).reshape(-1, size):
            documents += 1
            if documents > most:
                raise ValueError(f"Expected at most {most} documents a step, so that their sum fits, got {documents}.")
            _add_clipped(total, gradient, grid)

    def mechanism(total: Tensor) -> Tensor:
        return torch.from_numpy(noise.add_to(total.cpu().numpy(), grid, noise_multiplier))

    noisy = once(total, mechanism)
    return (noisy.double() * (grid.step / expected_documents)).float().to(device)
