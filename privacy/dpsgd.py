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
  they were batched, or on how many processes share them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from privacy.noise import Grid, NoiseSource


def document_gradient(loss: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """One document's gradient: `(size,) float32`, the parameters' gradients end to end, in their order.

    `loss` is the mean of the document's own lines' losses and must depend on no other document. A parameter
    that it does not reach has a zero gradient. No `.grad` is touched.
    """
    parts = torch.autograd.grad(loss, parameters, allow_unused=True)
    pairs = zip(parts, parameters, strict=True)
    flat = [torch.zeros_like(p) if part is None else part for part, p in pairs]
    return torch.cat([part.detach().reshape(-1).float() for part in flat])


def clip(gradient: Tensor, grid: Grid) -> Tensor:
    """A document's contribution: `(size,) int64` in grid steps, of L2 norm at most `grid.bound`.

    The norm is taken in float64. The vector is scaled to a hair under the bound, which covers the rounding of
    the norm and of the product, and then cut towards zero onto the grid, which can only shorten it.
    """
    exact = gradient.detach().double()
    norm = float(torch.linalg.vector_norm(exact))
    if not math.isfinite(norm):
        return torch.zeros(gradient.shape, dtype=torch.int64, device=gradient.device)
    scale = min(1.0, grid.bound * (1.0 - 2.0**-30) / norm) if norm > 0 else 1.0
    return torch.trunc(exact * (scale / grid.step)).long()


def private_gradient(
    document_gradients: Iterable[Tensor],
    *,
    size: int,
    max_grad_norm: float,
    noise_multiplier: float,
    expected_documents: float,
    noise: NoiseSource,
    device: torch.device | str = "cpu",
) -> Tensor:
    """The noisy mean gradient of one step, `(size,) float32` on `device`.

    Args:
        document_gradients: one `(size,)` gradient for each document of the batch, of *all* its lines; may be
            empty; taken one at a time, so a generator bounds the memory.
        size: the number of parameters that learn.
        max_grad_norm: the clipping norm `C` > 0, a public number.
        noise_multiplier: `sigma`, as charged.
        expected_documents: the public divisor `L` = sample rate x pool capacity > 0.
        noise: where the noise comes from; every call draws once, against its debit.

    Raises:
        BudgetExhausted: more steps, or less noise, than were charged.
        ValueError: a gradient of another size, or a bound or divisor that is not positive.
    """
    if not expected_documents > 0:
        raise ValueError(f"Expected expected_documents > 0, got {expected_documents}.")
    grid = Grid(max_grad_norm)
    total = torch.zeros(size, dtype=torch.int64, device=device)
    for gradient in document_gradients:
        if gradient.shape != (size,):
            raise ValueError(f"Expected a gradient of shape ({size},), got {tuple(gradient.shape)}.")
        total += clip(gradient, grid).to(device)
    noisy = torch.from_numpy(noise.add_to(total.cpu().numpy(), grid, noise_multiplier))
    return (noisy.double() * (grid.step / expected_documents)).float().to(device)
