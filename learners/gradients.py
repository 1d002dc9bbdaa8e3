"""One gradient a document, of the parameters that learn.

A document's loss is the mean over its lines of the CTC loss divided by the line's length (Graves et al.
2006), and its gradient does not depend on who else is in the batch: each line keeps its own width, its
own frames and its own copy of the parameters. What the frozen part says of a line is computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from learners.adapters import Adapter, trunk
from learners.batches import by_width
from learners.lines import MAX_LINES, TrainDocument
from models.ctc import frames_needed
from models.recogniser import Recogniser

CHUNK = 24
"""Documents whose gradients are computed at a time: enough to be fast, few enough for memory."""


@dataclass(frozen=True)
class Seen:
    """A document after the part that no adapter moves: each line's text and frames `(T, 60)`."""

    texts: tuple[str, ...] = field(repr=False)
    frames: tuple[Tensor, ...] = field(repr=False)


@dataclass(frozen=True)
class Cached:
    """A document's usable lines: what the adapter's frozen part says `(T, width)`, and local classes."""

    inputs: tuple[Tensor, ...] = field(repr=False)
    targets: tuple[tuple[int, ...], ...] = field(repr=False)


@dataclass(frozen=True)
class Chunk:
    """Some documents' lines side by side, padded; frames past a line's own are never looked at."""

    documents: int
    owner: Tensor
    inputs: Tensor
    frames: Tensor
    targets: Tensor
    lengths: Tensor
    weights: Tensor


Losses = Callable[[Adapter, Tensor, Chunk], Tensor]
"""From an adapter, a copy of its parameters a line, and a chunk, to one loss a document."""


def look(model: Recogniser, documents: Sequence[TrainDocument], lines: int = MAX_LINES) -> list[Seen]:
    """Runs the trunk over the first `lines` lines of each document, once."""
    flat = [(d, line) for d, document in enumerate(documents) for line in document.lines[:lines]]
    frames: dict[int, Tensor] = {}
    for indices, images in by_width([line.image for _, line in flat]):
        frames |= {i: found.clone() for i, found in zip(indices, trunk(model, images), strict=True)}
    rows: list[list[int]] = [[] for _ in documents]
    for index, (d, _) in enumerate(flat):
        rows[d].append(index)
    return [Seen(tuple(flat[i][1].text for i in row), tuple(frames[i] for i in row)) for row in rows]


def cache(adapter: Adapter, documents: Sequence[Seen]) -> list[Cached]:
    """What the adapter's frozen part says of each line.

    A line with a character that does not learn, or with fewer frames than its text needs, teaches
    nothing; so does a document without another line. Both are facts of that line alone.
    """
    found = []
    for document in documents:
        kept = []
        for text, frames in zip(document.texts, document.frames, strict=True):
            target = adapter.charset.encode(text)
            if target and frames_needed(target) <= len(frames):
                kept.append((adapter.inputs(frames.unsqueeze(0))[0], tuple(target)))
        found.append(Cached(tuple(i for i, _ in kept), tuple(t for _, t in kept)))
    return found


def foreign(adapter: Adapter, documents: Sequence[Seen]) -> list[Cached]:
    """The lines that `cache` leaves out for a character that does not learn. Targets only tell their length."""
    found = []
    for document in documents:
        pairs = zip(document.texts, document.frames, strict=True)
        kept = [(text, frames) for text, frames in pairs if adapter.charset.encode(text) is None]
        inputs = tuple(adapter.inputs(frames.unsqueeze(0))[0] for _, frames in kept)
        found.append(Cached(inputs, tuple((0,) * len(text) for text, _ in kept)))
    return found


def collate(documents: Sequence[Cached], dtype: torch.dtype = torch.float32) -> Chunk:
    """A chunk of at least one line; documents without one take part with a gradient of zero."""
    flat = [(d, i, t) for d, cached in enumerate(documents) for i, t in zip(cached.inputs, cached.targets, strict=True)]
    lengths = torch.tensor([len(t) for _, _, t in flat])
    counts = torch.tensor([len(documents[d].inputs) for d, _, _ in flat])
    return Chunk(
        len(documents),
        torch.tensor([d for d, _, _ in flat]),
        torch.nn.utils.rnn.pad_sequence([i.to(dtype) for _, i, _ in flat], batch_first=True),
        torch.tensor([len(i) for _, i, _ in flat]),
        torch.tensor([c for _, _, t in flat for c in t]),
        lengths,
        1.0 / (lengths * counts).double(),
    )


def chunks(documents: Sequence[Cached], dtype: torch.dtype = torch.float32) -> Iterator[Chunk]:
    """All documents that have a line, `CHUNK` at a time."""
    usable = [cached for cached in documents if cached.inputs]
    for start in range(0, len(usable), CHUNK):
        yield collate(usable[start : start + CHUNK], dtype)


def document_losses(adapter: Adapter, theta: Tensor, chunk: Chunk) -> Tensor:
    """Each document's loss in nats a character; `theta` has one row a line, `(lines, size)`.

    CTC adds up many small probabilities, so from there on in float64.
    """
    log_probabilities = functional.log_softmax(adapter.logits(theta, chunk.inputs), dim=2).double()
    losses = functional.ctc_loss(
        log_probabilities.transpose(0, 1),
        chunk.targets,
        chunk.frames,
        chunk.lengths,
        reduction="none",
        zero_infinity=True,
    )
    return losses.new_zeros(chunk.documents).index_add(0, chunk.owner, losses * chunk.weights)


def document_drifts(adapter: Adapter, theta: Tensor, chunk: Chunk) -> Tensor:
    """How far each document's frames are from what the model said at the start: KL in nats a character."""
    with torch.no_grad():
        before = functional.log_softmax(adapter.logits(torch.zeros_like(theta), chunk.inputs), dim=2)
    now = functional.log_softmax(adapter.logits(theta, chunk.inputs), dim=2)
    own = torch.arange(chunk.inputs.shape[1]) < chunk.frames.unsqueeze(1)
    by_line = ((before.exp() * (before - now)).sum(2) * own).sum(1) * chunk.weights
    return by_line.new_zeros(chunk.documents).index_add(0, chunk.owner, by_line)


def document_gradients(adapter: Adapter, theta: Tensor, chunk: Chunk, losses: Losses = document_losses) -> Tensor:
    """`(documents, size)`: the gradient of each document's loss at the flat parameters `theta`.

    Every line has a copy of the parameters, so one backward pass over the sum of all losses leaves each
    line's own gradient in its copy.
    """
    copies = theta.to(chunk.inputs.dtype).expand(len(chunk.inputs), -1).clone().requires_grad_()
    (by_line,) = torch.autograd.grad(losses(adapter, copies, chunk).sum(), copies)
    return by_line.new_zeros(chunk.documents, adapter.size).index_add_(0, chunk.owner, by_line)
