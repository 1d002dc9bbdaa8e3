"""What documents have to teach each adapter: the signal of `learners.plan`, measured on public documents.

It is the norm of the mean clipped gradient. It is measured when it is first asked for: of deep adapters for minutes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

import torch

from learners import signals
from learners.adapters import Adapter, Charset
from learners.catalogue import Looks, build, bytes_a_line, outline, possible, start_gradients
from learners.chunks import Seen
from learners.recipes import RECIPES
from learners.settings import Settings
from models.ctc import Alphabet


class Surveyed:
    """An adapter that could learn. It is built, and its signal measured, when either is first asked for.

    `recorded`: the signal that is known without measuring, if one is. `bytes_a_line`: what is remembered of a line, on
    average, where memory is limited.
    """

    def __init__(
        self,
        name: str,
        size: int,
        measure: Callable[[], tuple[Adapter, float]],
        recorded: float | None = None,
        bytes_a_line: int = 0,
    ) -> None:
        self.name, self.size, self._measure, self.recorded = name, size, measure, recorded
        self.bytes_a_line = bytes_a_line

    @classmethod
    def of(cls, adapter: Adapter, agreement: float, recorded: float | None = None, bytes_a_line: int = 0) -> Surveyed:
        """One that has been measured."""
        return cls(adapter.name, adapter.size, lambda: (adapter, agreement), recorded, bytes_a_line)

    @cached_property
    def _measured(self) -> tuple[Adapter, float]:
        return self._measure()

    @property
    def adapter(self) -> Adapter:
        return self._measured[0]

    @property
    def agreement(self) -> float:
        """The norm of the mean clipped gradient of public documents."""
        return self._measured[1]


def survey(
    settings: Settings,
    alphabet: Alphabet,
    public: Looks,
    released: Looks | None = None,
    tell: Callable[[str], Any] = lambda text: None,
) -> list[Surveyed]:
    """The adapters that the settings allow, the richest first, to be measured on public documents.

    Where `public.model` was taught on public documents, they no longer tell how much other documents have to teach.
    Then the released model's view of them is measured, `released`; the adapters are `public.model`'s all the same.
    `tell` hears what is being measured, every few documents.
    """
    charset = Charset.of(settings.characters, alphabet, settings.closed)

    def measured(name: str) -> tuple[Adapter, float]:
        text = f"measuring what public documents teach {name}"
        tell(text)
        adapter = built(settings, alphabet, name, public)
        at, by = (public, adapter) if released is None else (released, built(settings, alphabet, name, released))
        return adapter, agreement(by, at.at(by.depth), RECIPES[name].max_grad_norm, partial(tell, text))

    model = public.model
    names = possible(model, RECIPES) if settings.adapter == "auto" else [settings.adapter]
    outlines = [outline(name, charset, settings.rank, model) for name in names]
    limited = settings.memory is not None  # else nobody asks
    large = {depth: bytes_a_line(public, depth) if limited else 0 for depth in {each.depth for each in outlines}}
    at = model if released is None else released.model
    known = signals.recorded(at, settings.charset, settings.closed, settings.rank)
    return [
        Surveyed(each.name, each.size, partial(measured, each.name), known.get(each.name), large[each.depth])
        for each in outlines
    ]


def built(settings: Settings, alphabet: Alphabet, name: str, public: Looks) -> Adapter:
    """The adapter of that name for `public.model`, where that is."""
    return build(name, Charset.of(settings.characters, alphabet, settings.closed), settings.rank, public)


def agreement(
    adapter: Adapter, public: Sequence[Seen], max_grad_norm: float, alive: Callable[[], Any] = lambda: None
) -> float:
    """The norm of the mean clipped gradient of documents like `public`, at the model as it is.

    Without the part that comes from their finite number: `(n |mean|^2 - mean |g|^2) / (n - 1)` is
    unbiased for the squared norm. `alive` is called every few documents.
    """
    count, total, squares = 0, torch.zeros(adapter.size, dtype=torch.float64, device=adapter.device), 0.0
    for block in start_gradients(adapter, public):
        alive()
        gradients = block.double()
        clipped = gradients * (max_grad_norm / gradients.norm(dim=1, keepdim=True).clamp_min(max_grad_norm))
        count, total = count + len(clipped), total + clipped.sum(0)
        squares += float(clipped.square().sum())
    squared = (float(total.square().sum()) - squares) / (count * (count - 1))
    return math.sqrt(max(squared, 0.0))
