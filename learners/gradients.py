"""One gradient a document, of the parameters that learn.

A document's loss is the mean over its lines of the CTC loss divided by the line's length (Graves et al.
2006). Its gradient does not depend on who else is in the batch, on a CPU to the last bit: every document has its own
copy of the parameters and its own matrix products, every line its own width, and what the frozen part says of a
document is computed from that document alone, once.

Labels often carry one case only: receipts are typed off in capitals. They must not teach the case. So where all
of a document's letters have one case, a letter's probability in its loss is that of both its cases together,
and how much each of them moves is left to what the model sees.

Small adapters see the frames one by one, so some documents share one backward pass, each with its own copy.
Deep ones see whole lines and are large: a backward pass a document, lines of equal width side by side. On a GPU every
adapter takes a document at a time: how its kernels round may depend on what else is in a batch, and then one document
would move the others' gradients, which nobody has charged. No per-sample machinery either way: the copies are
ordinary leaves of an ordinary graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor
from torch.nn import functional

from learners.adapters import CLOSED_BIAS, Adapter
from learners.chunks import Cached, Chunk, chunks

Losses = Callable[[Adapter, Tensor, Chunk], Tensor]
"""From an adapter, the copies of its parameters, and a chunk, to one loss a document."""


def document_losses(adapter: Adapter, theta: Tensor, chunk: Chunk) -> Tensor:
    """Each document's loss in nats a character; `theta` has one row a copy, `(len(chunk.inputs), size)`.

    CTC adds up many small probabilities, so from there on in float64.
    """
    log_probabilities = functional.log_softmax(_logits(adapter, theta, chunk), dim=1, dtype=torch.float64)
    log_probabilities, targets = _case_blind(log_probabilities, adapter, chunk)
    losses = functional.ctc_loss(
        _time_first(log_probabilities, chunk.frames),
        targets,
        chunk.frames,
        chunk.lengths,
        reduction="none",
        zero_infinity=True,
    )
    return losses.new_zeros(chunk.documents).index_add(0, chunk.owner, losses * chunk.weights)


def _case_blind(log_probabilities: Tensor, adapter: Adapter, chunk: Chunk) -> tuple[Tensor, Tensor]:
    """Lines whose labels have one case only: there, a letter's small class stands for both its cases.

    The capital's class is emptied, so that probabilities still sum to one: PyTorch's CTC takes that for granted
    in its gradient.
    """
    if not chunk.one_case.any():
        return log_probabilities, chunk.targets
    small, capital = adapter.charset.cases
    folded = log_probabilities.clone()
    folded[:, small] = _log_sum(log_probabilities[:, small], log_probabilities[:, capital])
    folded[:, capital] = CLOSED_BIAS
    device = folded.device
    rows = chunk.one_case[torch.repeat_interleave(chunk.frames).to(device)]
    letters = chunk.one_case[torch.repeat_interleave(chunk.lengths).to(device)]
    fold = torch.arange(folded.shape[1], device=device)
    fold[capital] = torch.tensor(small, device=device)
    targets = torch.where(letters, fold[chunk.targets], chunk.targets)
    return torch.where(rows.unsqueeze(1), folded, log_probabilities), targets


def _log_sum(one: Tensor, other: Tensor) -> Tensor:
    """ln(e^one + e^other). torch.logaddexp rounds by where a number lies among others: by who else is in the batch."""
    return torch.maximum(one, other) + torch.log1p(torch.exp(-(one - other).abs()))


def document_drifts(adapter: Adapter, theta: Tensor, chunk: Chunk) -> Tensor:
    """How far each document's frames are from what the model said at the start: KL in nats a character."""
    with torch.no_grad():
        before = functional.log_softmax(_logits(adapter, torch.zeros_like(theta), chunk), dim=1)
    now = functional.log_softmax(_logits(adapter, theta, chunk), dim=1)
    lines = torch.repeat_interleave(chunk.frames).to(theta.device)
    by_frame = (before.exp() * (before - now)).sum(1) * chunk.weights[lines]
    return by_frame.new_zeros(chunk.documents).index_add(0, chunk.owner[lines], by_frame)


def _logits(adapter: Adapter, theta: Tensor, chunk: Chunk) -> Tensor:
    """`(frames, classes)`: all lines' frames end to end."""
    pairs = zip(theta, chunk.inputs, strict=True)
    return torch.cat([adapter.logits(own, groups) for own, groups in pairs if groups])


def _time_first(flat: Tensor, frames: Tensor) -> Tensor:
    """Lines' frames end to end, `(F, classes)`, side by side: `(T, lines, classes)`, zeros past a line's end."""
    count, longest = len(frames), int(frames.max())
    line = torch.repeat_interleave(frames)
    moment = torch.arange(len(flat)) - (frames.cumsum(0) - frames)[line]
    places = (moment * count + line).to(flat.device)
    return flat.new_zeros(longest * count, flat.shape[1]).index_copy(0, places, flat).view(longest, count, -1)


def document_gradients(
    adapter: Adapter,
    theta: Tensor,
    chunk: Chunk,
    losses: Losses = document_losses,
    autocast: bool | None = None,
) -> Tensor:
    """`(documents, size)`: the gradient of each document's loss at the flat parameters `theta`, on its device.

    Every document has a copy of the parameters, so one backward pass over the sum of all losses leaves each
    document's own gradient in its copy. With `autocast` (by default on a GPU) the model runs in bfloat16;
    parameters, gradients and CTC keep their precision.
    """
    on_card = theta.device.type == "cuda"
    parts = chunk.alone() if chunk.deep or on_card else iter((chunk,))
    lower = on_card if autocast is None else autocast
    found = [_gradients(adapter, theta, part.to(theta.device), losses, lower) for part in parts]
    return torch.cat(found) if len(found) > 1 else found[0]


def _gradients(adapter: Adapter, theta: Tensor, chunk: Chunk, losses: Losses, lower: bool) -> Tensor:
    copies = theta.detach().expand(chunk.documents, -1).clone().requires_grad_()
    if not len(chunk.owner):
        return torch.zeros_like(copies)
    with torch.autocast(theta.device.type, torch.bfloat16, enabled=lower):
        total = losses(adapter, copies, chunk).sum()
    (found,) = torch.autograd.grad(total, copies)  # each operation in the precision that it had
    return found


def gradient_blocks(adapter: Adapter, theta: Tensor, documents: Iterable[Cached]) -> Iterator[Tensor]:
    """The documents' gradients, some at a time: `(n, size)` each, for `privacy.dpsgd.private_gradient`."""
    for chunk in chunks(documents):
        yield document_gradients(adapter, theta, chunk)
