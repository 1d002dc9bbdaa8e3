"""The public start: a round's model after ordinary training on generated documents, before anything private.

Nothing private is spent by it, and it takes the noise off what everybody knows: where spaces go, what dots of a
printer look like. Every layer and the charset's rows of the head learn from the pixels of pages, clean lines and till
slips; lines in characters that do not learn (Chinese) are held where they were. That is done three times, on documents
of its own each time, and the mean of the three (a model soup: Wortsman et al. 2022, arXiv 2203.05482) goes half of the
way back to the released weights (Wortsman et al. 2022, arXiv 2109.01903): generated print is not the world, and what
the three have in common, half-way, reads other kinds of print better than any of the ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from learners import neck_adapters
from learners.adapters import CLOSED_BIAS, Adapter, Charset
from learners.catalogue import PUBLIC_DOCUMENTS, PUBLIC_LINES
from learners.chunks import Cached, cache, collate, foreign, look
from learners.gradients import Losses, document_drifts, document_losses
from learners.lines import TrainDocument, document
from learners.public import public_documents
from learners.slips import slip
from models.trainee import Trainee

Weights = dict[str, npt.NDArray[np.float32]]

FIRST_SEED = 40_000_000
"""No bench, demo, anchor or plan draws its documents from here."""
TRAININGS, PAGES, SLIPS, SLIP_LINES = 3, 150, 600, 8
APART = 1_000_000
"""Between the seeds of one training and the next."""
EPOCHS, BATCH, RATE, WARM_UP, AVERAGED = 1, 4, 1e-4, 0.1, 0.4
WAY = 0.5
"""From the released weights (0) to those that training ended with (1)."""


def documents(training: int, pages: int = PAGES, slips: int = SLIPS) -> list[TrainDocument]:
    """What one of the trainings sees: pages and clean lines of `learners.public`, and slips."""
    first = FIRST_SEED + training * APART
    made = (document(first + k, slip(first + k, SLIP_LINES)) for k in range(slips))
    return public_documents(first, pages) + [each for each in made if each is not None]


def started(model: Trainee, charset: Charset, sets: Iterable[Sequence[TrainDocument]] | None = None) -> Weights:
    """The weights of the public start, by the recogniser's names; `model` is left as it was.

    Args:
        charset: what may learn. If it is open, lines in other characters are held where they were.
        sets: what each training sees; `documents` unless given.

    Raises:
        ValueError: a training has no line to learn from.
    """
    sets = map(documents, range(TRAININGS)) if sets is None else sets
    return between(model, charset, [end(model, charset, shown) for shown in sets])


def between(model: Trainee, charset: Charset, ends: Sequence[Tensor]) -> Weights:
    """The start whose trainings came to these ends: half of the way to their mean."""
    adapter = _adapter(model, charset)
    merged = adapter.merge(WAY * torch.stack(list(ends)).mean(0).to(adapter.device))
    return model.weights() | {name: value.cpu().numpy() for name, value in merged.items()}


def end(model: Trainee, charset: Charset, shown: Sequence[TrainDocument]) -> Tensor:
    """`(numbers,)`: where one training on these documents ends, as a change of what learns.

    Raises:
        ValueError: no line to learn from.
    """
    adapter = _adapter(model, charset)
    seen = look(model, shown, depth="image")
    learned = [each for each in cache(adapter, seen) if each.inputs]
    held = [] if adapter.charset.closed else [each for each in foreign(adapter, seen) if each.inputs]
    if not learned:
        raise ValueError(f"Expected documents to learn from, got {len(shown)} without a line of the charset.")
    return train(adapter, learned, held).cpu()


def _adapter(model: Trainee, charset: Charset) -> Adapter:
    """Every layer, and the charset's rows of the head."""
    width = model.head.in_features
    return neck_adapters.everything(model, charset, basis=torch.eye(width, device=model.head.weight.device))


def part_way(begun: Weights, ended: Weights, part: float) -> Weights:
    """Between two sets of weights: those of `begun` at 0, of `ended` at 1."""
    return {name: value + np.float32(part) * (ended[name] - value) for name, value in begun.items()}


def reopened(now: Weights, released: Weights, charset: Charset) -> Weights:
    """A model's weights, with the released biases of the characters that it is `shut` to and this charset allows.

    To be shut out changes a class's bias and nothing else. The layers below went on without it, so it is read worse
    than by the released model.
    """
    bias = now["head.bias"]
    allowed = np.full(len(bias), not charset.closed)
    allowed[list(charset.classes)] = True
    return {**now, "head.bias": np.where(allowed & shut(now), released["head.bias"], bias)}


def shut(weights: Weights) -> npt.NDArray[np.bool_]:
    """`(classes,)`: which classes earlier rounds shut out, all the way or part of it."""
    return weights["head.bias"] < CLOSED_BIAS / 10


def train(adapter: Adapter, learned: Sequence[Cached], held: Sequence[Cached]) -> Tensor:
    """`(size,)`: AdamW over shuffled documents, a warm-up, the mean of the last iterates."""
    theta = torch.zeros(adapter.size, device=adapter.device, requires_grad=True)
    optimiser = torch.optim.AdamW([theta], lr=RATE, weight_decay=0.0)
    draws, mean = np.random.default_rng(0), torch.zeros_like(theta)
    batches = [part for _ in range(EPOCHS) for part in _shuffled(learned, draws)]
    averaged = max(1, round(AVERAGED * len(batches)))
    for step, batch in enumerate(batches):
        optimiser.param_groups[0]["lr"] = RATE * min(1.0, (step + 1) / (WARM_UP * len(batches)))
        optimiser.zero_grad()
        backward(document_losses, adapter, theta, batch)
        backward(document_drifts, adapter, theta, _beside(held, step))
        torch.nn.utils.clip_grad_norm_([theta], 1.0)
        optimiser.step()
        if step >= len(batches) - averaged:
            mean += theta.detach() / averaged
    return mean


def _beside(held: Sequence[Cached], step: int) -> list[Cached]:
    return [held[(step * BATCH + k) % len(held)] for k in range(min(BATCH, len(held)))]


def backward(losses: Losses, adapter: Adapter, theta: Tensor, documents: Sequence[Cached]) -> None:
    """Adds the gradient of the documents' mean loss, line by line: a pixel of a line's width takes 400 kB.

    A document's loss is the mean of its lines' (`learners.gradients`).
    """
    for each in documents:
        for inputs, target in zip(each.inputs, each.targets, strict=True):
            line = collate([replace(each, inputs=(inputs,), targets=(target,))]).to(theta.device)
            loss = losses(adapter, theta.unsqueeze(0), line).sum()
            (loss / (len(each.inputs) * len(documents))).backward()  # type: ignore[no-untyped-call]


def _shuffled(learned: Sequence[Cached], draws: np.random.Generator) -> list[list[Cached]]:
    order = draws.permutation(len(learned))
    return [[learned[k] for k in order[start : start + BATCH]] for start in range(0, len(order), BATCH)]


def rehearsed(first: int, count: int = PUBLIC_DOCUMENTS) -> list[TrainDocument]:
    """What a round from the start plans with and rehearses, by turns: pages or clean lines, and slips.

    The start has not seen them if `first` is out of its range.
    """
    made = (document(first + k, slip(first + k, PUBLIC_LINES)) for k in range(count // 2))
    slips = [each for each in made if each is not None]
    pages = public_documents(first, count - len(slips))
    return [each for pair in zip(pages, slips, strict=False) for each in pair] + pages[len(slips) :]
