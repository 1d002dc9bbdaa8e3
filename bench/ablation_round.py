"""One private round with something changed: the recipes that `ablation.py` compares, and the loop that runs them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from learners import finetune
from learners.adapters import Adapter
from learners.catalogue import start_gradients
from learners.chunks import Cached, Seen, cache
from learners.gradients import gradient_blocks
from learners.plan import Plan
from learners.recipes import TAUGHT
from precision import Precise
from privacy.dpsgd import private_gradient
from privacy.noise import Debit, NoiseSource


@dataclass(frozen=True)
class Recipe:
    """What a round does beside its plan; the defaults are those that ship."""

    adapter: str = ""
    """The one that was asked for, if none is named."""
    optimiser: str = "adam"
    rate: float = 1.0
    """Times the plan's."""
    warm_up: float = finetune.WARM_UP
    decay: bool = False
    """Down to nothing in a line, after the warm-up."""
    averaged: float = finetune.AVERAGED
    weight_decay: float = 0.0
    clip: float = 1.0
    """Times the plan's; 0 for the median of the documents' norms at each step."""
    steps: float = 1.0
    rehearsal: float = 1.0
    copies: int = 0
    padded: bool = False
    """Each line once more, with a little of its background around it."""
    numbers: int = 0
    """Of the adapter's parameters only so many learn: those that public documents move most. 0 for all."""
    dropout: float = 0.0
    """Share of the numbers that the adapter sees of each frame that are zero while it learns, drawn at each step; of
    rehearsed documents once."""
    bfloat16: bool = False
    """While it learns the model runs in bfloat16, as it does on a GPU."""
    part: float | None = None
    """How far towards where learning ended the candidate stands; None for the plan's."""
    typed: Callable[[str], str] = str
    """How the labels that are learned from were typed off, whatever the print; the tests keep the truth."""
    at_their_word: bool = False
    """Labels of one case teach the case, as others do."""

    def changed(self, plan: Plan) -> Plan:
        """The plan with this recipe's numbers, at the same epsilon."""
        steps = round(self.steps * plan.steps)
        return replace(
            plan,
            steps=steps,
            noise_multiplier=plan.noise_multiplier * math.sqrt(steps / plan.steps),
            max_grad_norm=plan.max_grad_norm * (self.clip or 1.0),
            learning_rate=plan.learning_rate * self.rate,
            rehearsal=plan.rehearsal * self.rehearsal,
            part=plan.part if self.part is None else self.part,
        )


RECIPES = {
    "as it ships": Recipe(),
    "rate / 2": Recipe(rate=0.5),
    "rate x 2": Recipe(rate=2.0),
    "no warm-up": Recipe(warm_up=0.0),
    "decay": Recipe(decay=True),
    "last iterate": Recipe(averaged=0.0),
    "decay and last iterate": Recipe(decay=True, averaged=0.0),
    "decay and rate x 2": Recipe(decay=True, rate=2.0),
    "weight decay": Recipe(weight_decay=1.0),
    "SGD with momentum": Recipe(optimiser="sgd", rate=100.0),
    "clip / 4": Recipe(clip=0.25),
    "clip x 4": Recipe(clip=4.0),
    "median clip": Recipe(clip=0.0),
    "half of the steps": Recipe(steps=0.5),
    "twice the steps": Recipe(steps=2.0),
    "no rehearsal": Recipe(rehearsal=0.0),
    "2500 numbers": Recipe(numbers=2500),
    "1000 numbers": Recipe(numbers=1000),
    "1 copy more": Recipe(copies=1),
    "3 copies more": Recipe(copies=3),
    "1 padded copy more": Recipe(padded=True),
    "dropout .1": Recipe(dropout=0.1),
    "dropout .3": Recipe(dropout=0.3),
    "bfloat16": Recipe(bfloat16=True),
    "bias": Recipe(adapter="bias"),
    "norm": Recipe(adapter="norm"),
    "norm at rate / 2": Recipe(adapter="norm", rate=0.5),
    "lora": Recipe(adapter="lora"),
    "capitals": Recipe(typed=str.upper),
    "capitals taught": Recipe(typed=str.upper, at_their_word=True),
    "small letters": Recipe(typed=str.lower),
    "small letters taught": Recipe(typed=str.lower, at_their_word=True),
}
FROM_START = {
    "all the way": Recipe(part=1.0),
    "a quarter of the way": Recipe(part=0.25),
    "full rehearsal": Recipe(rehearsal=1.0 / TAUGHT),
}
"""What there is to change besides where a round begins from the public start."""


def learn(plan: Plan, recipe: Recipe, adapter: Adapter, documents: Sequence[Seen], public: Sequence[Seen]) -> Tensor:
    """The loop of `learners.finetune.learn` on the full batch, with what a recipe changes: where learning ended."""
    if recipe.bfloat16:
        adapter = Precise(adapter, bfloat16=True)
    rehearsal = finetune.Rehearsal(adapter, plan, dropped(public, recipe.dropout, plan.steps))
    noise = NoiseSource(Debit.for_tests(plan.noise_multiplier, plan.steps, plan.sample_rate))
    theta = torch.zeros(adapter.size, requires_grad=True)
    optimiser: torch.optim.Optimizer
    if recipe.optimiser == "sgd":
        optimiser = torch.optim.SGD([theta], momentum=0.9)
    else:
        optimiser = torch.optim.AdamW([theta], betas=finetune.BETAS, weight_decay=recipe.weight_decay)
    averaged = max(1, round(recipe.averaged * plan.steps))
    warm, mean = max(1, round(recipe.warm_up * plan.steps)), torch.zeros(adapter.size)
    cached = remembered(adapter, documents, recipe)
    for step in range(plan.steps):
        at = theta.detach()
        left = (plan.steps - step) / (plan.steps - warm) if recipe.decay else 1.0
        optimiser.param_groups[0]["lr"] = plan.learning_rate * min(1.0, (step + 1) / warm, left)
        if recipe.dropout:
            cached = remembered(adapter, dropped(documents, recipe.dropout, step), recipe)
        blocks = list(gradient_blocks(adapter, at, cached))
        clip = plan.max_grad_norm if recipe.clip else float(torch.cat([each.norm(dim=1) for each in blocks]).median())
        theta.grad = rehearsal.gradient(at) + private_gradient(
            blocks,
            size=adapter.size,
            max_grad_norm=clip,
            noise_multiplier=plan.noise_multiplier,
            expected_documents=plan.expected_documents,
            noise=noise,
        )
        optimiser.step()
        if step >= plan.steps - averaged:
            mean += theta.detach() / averaged
    return mean


def remembered(adapter: Adapter, documents: Sequence[Seen], recipe: Recipe) -> list[Cached]:
    """What a round remembers of the documents, their labels typed as the recipe says."""
    typed = [replace(seen, texts=tuple(map(recipe.typed, seen.texts))) for seen in documents]
    found = cache(adapter, typed)
    return [replace(each, one_case=False) for each in found] if recipe.at_their_word else found


def dropped(documents: Sequence[Seen], rate: float, step: int) -> Sequence[Seen]:
    """The documents with that share of their frames' numbers at zero (Srivastava et al. 2014).

    A mask is drawn from the step and the document's place alone, so that a document's gradient stays its own.
    """
    if not rate:
        return documents
    found = []
    for place, seen in enumerate(documents):
        draws = torch.Generator().manual_seed(step * 1_000_000 + place)
        masks = [torch.rand(frames.shape, generator=draws) >= rate for frames in seen.frames]
        kept = tuple(frames * mask / (1.0 - rate) for frames, mask in zip(seen.frames, masks, strict=True))
        found.append(replace(seen, frames=kept))
    return found


class Some:
    """An adapter of which some numbers alone learn: those whose public gradients have the largest squares."""

    def __init__(self, whole: Adapter, public: Sequence[Seen], numbers: int) -> None:
        squares = torch.cat(list(start_gradients(whole, public))).square().mean(0)
        self._whole, self._index = whole, squares.topk(numbers).indices
        self.name, self.size, self.charset, self.depth = whole.name, numbers, whole.charset, whole.depth
        self.inputs, self.device = whole.inputs, whole.device

    def _all(self, theta: Tensor) -> Tensor:
        """The whole adapter's parameters: zero where nothing learns."""
        return theta.new_zeros(self._whole.size).index_copy(0, self._index, theta)

    def logits(self, theta: Tensor, groups: Sequence[Tensor]) -> Tensor:
        return self._whole.logits(self._all(theta), groups)

    def merge(self, theta: Tensor) -> dict[str, Tensor]:
        return self._whole.merge(self._all(theta))
