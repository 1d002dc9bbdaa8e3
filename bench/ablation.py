"""What each choice of a round is worth: one changed at a time, on generated labels, at one epsilon.

    python bench/ablation.py [--documents 240] [--tests 150] [--epsilon 3] [--draws 2] [--only NAME,NAME] [--seed 6]
                             [--quick] [--json FILE]

A round of the adapter `head` from the released model over the whole lifetime (delta 1e-6, ASCII only), as it ships and
with one thing changed: the optimiser, how its rate moves, the mean of the iterates, clip, steps, rehearsal, how many
numbers learn, and what a document's gradient is the mean of (`copies`: augmentation multiplicity, De et al., arXiv
2204.13650: each line also as it would look moved, paler or noisier, all inside the one clip of its document). All cost
the same epsilon, but for "median clip": that looks at the private norms for nothing, so it is more than a private
quantile (Andrew et al., arXiv 1905.03871) could give. In brackets the difference in exact lines from the round as it
ships, 95% by document, over all draws of the noise. Needs the released weights, no other data.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import corpora
from learners import evaluate, finetune
from learners import plan as planning
from learners.adapters import Adapter, Charset
from learners.catalogue import Looks, build, start_gradients
from learners.chunks import Cached, Seen, cache, look
from learners.evaluate import Score
from learners.gradients import gradient_blocks
from learners.lines import MAX_LINES, TrainDocument, TrainLine, document
from learners.plan import Plan, Settings
from learners.public import public_documents
from models import recogniser, weights
from models.ctc import Alphabet
from privacy.dpsgd import private_gradient
from privacy.noise import Debit, NoiseSource
from privacy.page import Image

Scores = dict[int, Score]


@dataclass(frozen=True)
class Recipe:
    """What a round does beside its plan; the defaults are those that ship."""

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
    numbers: int = 0
    """Of the adapter's parameters only so many learn: those that public documents move most. 0 for all."""


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
    "2,500 numbers": Recipe(numbers=2500),
    "1,000 numbers": Recipe(numbers=1000),
    "1 copy more": Recipe(copies=1),
    "3 copies more": Recipe(copies=3),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=240)
    parser.add_argument("--tests", type=int, default=150)
    parser.add_argument("--epsilon", type=float, default=3.0)
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(RECIPES))
    parser.add_argument("--seed", type=int, default=6)
    parser.add_argument("--data", help="not needed: every document is generated")
    parser.add_argument("--quick", action="store_true", help="80 documents, 30 tests, one draw, three recipes")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if unknown := set(given.only) - RECIPES.keys():
        parser.error(f"expected of {', '.join(RECIPES)}, got {', '.join(sorted(unknown))}")
    if given.quick:
        given.documents, given.tests, given.draws, given.only = 80, 30, 1, ["decay", "1 copy more"]
    torch.set_num_threads(1)
    labels = Labels(given)
    rows: dict[str, dict[str, float]] = {}
    shipped: Scores | None = None
    for name in ["as it ships", *(each for each in given.only if each != "as it ships")]:
        begun = time.process_time()
        scores = labels.scores([labels.learned(RECIPES[name]) for _ in range(given.draws)])
        shipped = shipped or scores
        difference = evaluate.compare(shipped, scores, "exact_folded", 0)
        rates = evaluate.total(scores).rates
        rows[name] = {
            "exact": rates["exact_folded"],
            "low": difference.low,
            "high": difference.high,
            "cer": rates["cer"],
        }
        print(
            f"{name:22} exact {100 * rates['exact_folded']:.1f} [{100 * difference.low:+.1f}, "
            f"{100 * difference.high:+.1f}], CER {100 * rates['cer']:.2f}; {time.process_time() - begun:.0f} CPU s",
            flush=True,
        )
        if given.json:
            given.json.write_text(json.dumps(rows, indent=1))
    return 0


class Some:
    """An adapter of which some numbers alone learn: those whose public gradients have the largest squares."""

    def __init__(self, whole: Adapter, public: Sequence[Seen], numbers: int) -> None:
        squares = torch.cat(start_gradients(whole, public)).square().mean(0)
        self._whole, self._index = whole, squares.topk(numbers).indices
        self.name, self.size, self.charset, self.depth = whole.name, numbers, whole.charset, whole.depth

    def all(self, theta: Tensor) -> Tensor:
        """The whole adapter's parameters: zero where nothing learns."""
        return theta.new_zeros(self._whole.size).index_copy(0, self._index, theta)

    def inputs(self, frames: Tensor) -> Tensor:
        return self._whole.inputs(frames)

    def logits(self, theta: Tensor, groups: Sequence[Tensor]) -> Tensor:
        return self._whole.logits(self.all(theta), groups)

    def merge(self, theta: Tensor) -> dict[str, Tensor]:
        return self._whole.merge(self.all(theta))


class Labels:
    """Generated labels as the frozen part of the model sees them, and a plan for a round over them."""

    def __init__(self, given: argparse.Namespace) -> None:
        folder, first = weights.fetch(), given.seed * 1_000_000
        self._model = recogniser.load(folder / "rec.onnx")
        alphabet = Alphabet(weights.characters(folder / "rec.onnx"))
        settings = Settings(
            charset="ascii",
            closed=True,
            rounds_per_document=1,
            adapter="head",
            capacity=given.documents,
            epsilon_lifetime=given.epsilon,
        )
        self._charset = Charset.of(settings.characters, alphabet, closed=True)
        self._public = Looks(self._model, public_documents(first + 700_000))
        self._adapter = build("head", self._charset, settings.rank, self._public)
        surveyed = planning.survey(settings, alphabet, self._public)
        self._plan, _ = planning.choose(settings, surveyed, given.documents)
        self._documents = [_label(first + k) for k in range(given.documents)]
        self._copies: list[list[Cached]] = []
        tests = [_label(first + 800_000 + k) for k in range(given.tests)]
        self._truths = {k: [line.text for line in each.lines] for k, each in enumerate(tests)}
        self._tests = look(self._model, tests)

    def learned(self, recipe: Recipe) -> Tensor:
        """The mean of the last iterates of one round."""
        steps = round(recipe.steps * self._plan.steps)
        plan = replace(
            self._plan,
            steps=steps,
            noise_multiplier=self._plan.noise_multiplier * math.sqrt(steps / self._plan.steps),
            max_grad_norm=self._plan.max_grad_norm * (recipe.clip or 1.0),
            learning_rate=self._plan.learning_rate * recipe.rate,
            rehearsal=self._plan.rehearsal * recipe.rehearsal,
        )
        public, documents = self._public.at("projection"), self._with_copies(recipe.copies)
        if not recipe.numbers:
            return _learn(plan, recipe, self._adapter, documents, public)
        some = Some(self._adapter, public, recipe.numbers)
        return some.all(_learn(plan, recipe, some, documents, public))

    def _with_copies(self, copies: int) -> list[Cached]:
        """Each document with `copies` more of each line; all of them are one document's, and share its one clip."""
        while len(self._copies) <= copies:
            draws = np.random.default_rng(len(self._copies))
            changed = [_changed(each, draws) if self._copies else each for each in self._documents]
            self._copies.append(cache(self._adapter, look(self._model, changed, MAX_LINES)))
        return [_joined(each) for each in zip(*self._copies[: copies + 1], strict=True)]

    @torch.inference_mode()
    def scores(self, thetas: Sequence[Tensor]) -> Scores:
        """Several draws' counts, summed by document."""
        found: Scores = {}
        for theta in thetas:
            read = {k: self._read(theta, seen) for k, seen in enumerate(self._tests)}
            for k, score in evaluate.score_documents(self._truths, read).items():
                found[k] = found.get(k, Score()) + score
        return found

    def _read(self, theta: Tensor, seen: Seen) -> list[str]:
        names = ["", *self._charset.local]
        inputs = [self._adapter.inputs(frames.unsqueeze(0)) for frames in seen.frames]
        best = [torch.unique_consecutive(self._adapter.logits(theta, [each]).argmax(1)) for each in inputs]
        return ["".join(names[int(k)] for k in line) for line in best]


def _label(seed: int) -> TrainDocument:
    made = document(0, corpora.label(seed).lines)
    if made is None:
        raise ValueError(f"Expected a label with a line, got none from seed {seed}.")
    return made


def _changed(shown: TrainDocument, draws: np.random.Generator) -> TrainDocument:
    return TrainDocument(shown.slot, tuple(TrainLine(_moved(line.image, draws), line.text) for line in shown.lines))


def _moved(image: Image, draws: np.random.Generator) -> Image:
    """Up to three pixels off, a little paler or darker, with a little noise."""
    down, right = draws.integers(-3, 4), draws.integers(-3, 4)
    rows = np.clip(np.arange(image.shape[0]) + down, 0, image.shape[0] - 1)
    columns = np.clip(np.arange(image.shape[1]) + right, 0, image.shape[1] - 1)
    contrast, light = draws.uniform(0.8, 1.2), draws.uniform(-15, 15)
    noise = draws.normal(0.0, draws.uniform(0.0, 8.0), image.shape)
    moved = (image[rows][:, columns].astype(float) - 128.0) * contrast + 128.0 + light + noise
    return np.asarray(moved.clip(0, 255), np.uint8)


def _joined(copies: Sequence[Cached]) -> Cached:
    inputs = tuple(line for each in copies for line in each.inputs)
    targets = tuple(line for each in copies for line in each.targets)
    return Cached(inputs, targets, copies[0].one_case)


def _learn(plan: Plan, recipe: Recipe, adapter: Adapter, documents: Sequence[Cached], public: Sequence[Seen]) -> Tensor:
    """The loop of `learners.finetune.learn` on the full batch, with what a recipe changes."""
    rehearsal = finetune.Rehearsal(adapter, plan, public)
    noise = NoiseSource(Debit.for_tests(plan.noise_multiplier, plan.steps, plan.sample_rate))
    theta = torch.zeros(adapter.size, requires_grad=True)
    optimiser: torch.optim.Optimizer
    if recipe.optimiser == "sgd":
        optimiser = torch.optim.SGD([theta], momentum=0.9)
    else:
        optimiser = torch.optim.AdamW([theta], betas=finetune.BETAS, weight_decay=recipe.weight_decay)
    averaged = max(1, round(recipe.averaged * plan.steps))
    warm, mean = max(1, round(recipe.warm_up * plan.steps)), torch.zeros(adapter.size)
    for step in range(plan.steps):
        at = theta.detach()
        left = (plan.steps - step) / (plan.steps - warm) if recipe.decay else 1.0
        optimiser.param_groups[0]["lr"] = plan.learning_rate * min(1.0, (step + 1) / warm, left)
        blocks = list(gradient_blocks(adapter, at, documents))
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


if __name__ == "__main__":
    raise SystemExit(main())
