"""What each choice of a round is worth: one changed at a time, on generated labels, at one epsilon.

    python bench/ablation.py [--documents 240] [--tests 150] [--epsilon 3] [--draws 2] [--only NAME,NAME] [--seed 6]
                             [--start] [--adapter head|bias|lora|norm|neck] [--cache DIR] [--quick] [--json FILE]

A round of the adapter `head` from the released model over the whole lifetime (delta 1e-6, ASCII only), as it ships and
with one thing changed: the optimiser, how its rate moves, the mean of the iterates, clip, steps, rehearsal, the adapter
and how many of its numbers learn, dropout, the model's precision, and what a document's gradient is the mean of
(`copies`: augmentation multiplicity, De et al., arXiv 2204.13650: each line also as it would look moved, paler or
noisier, or with a wider edge, all inside the one clip of its document); and the same labels typed off in capitals or in
small letters, whatever the print, with the loss that ships, which takes no case from them, or "taught". With --start
the same from the public start (`learners.public_start`), and then how far towards its end a round goes is one more
choice. All cost the same epsilon, but for "median clip": that looks at the private norms for nothing, so it is more
than a private quantile (Andrew et al., arXiv 1905.03871) could give. Each round is run whatever a plan would say to its
noise. Lines are exact case-folded, and "cased" as they are. In brackets the difference from the round as it ships, 95%
by document, over all draws of the noise. Needs the released weights, no other data; --cache keeps what the backbone
says of lines, and the public start.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import corpora
from ablation_round import FROM_START, RECIPES, Recipe, Some, learn
from daemon.start import RECIPE
from features import Remembered, Shelf, public_started
from learners import evaluate, public_start
from learners import plan as planning
from learners.adapters import Adapter, Charset
from learners.chunks import Seen
from learners.evaluate import Score
from learners.lines import TrainDocument, TrainLine, document, to_height
from learners.plan import Plan
from learners.public import public_documents
from learners.settings import Settings
from learners.survey import survey
from models import recogniser, weights
from models.ctc import Alphabet
from models.trainee import Depth, Trainee
from privacy.page import Image

Scores = dict[int, Score]
SHIPS = "as it ships"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=240)
    parser.add_argument("--tests", type=int, default=150)
    parser.add_argument("--epsilon", type=float, default=3.0)
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--only", type=lambda text: text.split(","))
    parser.add_argument("--seed", type=int, default=6)
    parser.add_argument("--start", action="store_true", help="from the public start, trained unless --cache has it")
    parser.add_argument("--adapter", choices=("head", "bias", "lora", "norm", "neck"), default="head")
    parser.add_argument("--cache", type=Path, help="keeps what the backbone says of lines, and the public start, here")
    parser.add_argument("--data", help="not needed: every document is generated")
    parser.add_argument("--quick", action="store_true", help="80 documents, 30 tests, one draw, three recipes")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    recipes = RECIPES | (FROM_START if given.start else {})
    if given.quick:
        given.documents, given.tests, given.draws, given.only = 80, 30, 1, ["decay", "1 copy more"]
    if unknown := set(given.only or ()) - recipes.keys():
        parser.error(f"expected of {', '.join(recipes)}, got {', '.join(sorted(unknown))}")
    torch.set_num_threads(1)
    labels = Labels(given)
    rows: dict[str, dict[str, float]] = {}
    shipped: Scores = {}
    for name in dict.fromkeys([SHIPS, *(given.only or recipes)]):
        begun = time.process_time()
        scores = labels.scores(recipes[name], given.draws)
        if not shipped:
            shipped = scores
            rows["nothing private"] = _row("nothing private", shipped, labels.untaught(given.draws))
        rows[name] = _row(name, shipped, scores, f"; {time.process_time() - begun:.0f} CPU s")
        if given.json:
            given.json.write_text(json.dumps(rows, indent=1))
    return 0


def _row(name: str, shipped: Scores, scores: Scores, more: str = "") -> dict[str, float]:
    """Prints how well a recipe's models read, and beside the one that ships."""
    rates, row, shown = evaluate.total(scores).rates, {}, []
    for said, rate in (("exact", "exact_folded"), ("cased", "exact")):
        apart = evaluate.compare(shipped, scores, rate, 0)
        row |= {said: rates[rate], f"{said}_low": apart.low, f"{said}_high": apart.high}
        shown.append(f"{said} {100 * rates[rate]:.1f} [{100 * apart.low:+.1f}, {100 * apart.high:+.1f}]")
    print(f"{name:22} {', '.join(shown)}, CER {100 * rates['cer']:.2f}{more}", flush=True)
    return row | {"cer": rates["cer"]}


class Labels:
    """Generated labels as the backbone sees them, and rounds over them."""

    def __init__(self, given: argparse.Namespace) -> None:
        path = weights.fetch() / "rec.onnx"
        self._released, self._alphabet = recogniser.load(path), Alphabet(weights.characters(path))
        self._settings = Settings(
            charset="ascii",
            closed=True,
            rounds_per_document=1,
            adapter=given.adapter,
            capacity=given.documents,
            epsilon_lifetime=given.epsilon,
            public_start=given.start,
        )
        self._charset = Charset.of(self._settings.characters, self._alphabet, closed=True)
        self._shelf, self._name = Shelf(given.cache), f"ablation-{given.seed}"
        self._model: Trainee = self._released
        if given.start:
            self._model = public_started(self._shelf, "v4", self._released, self._charset)
        first = given.seed * 1_000_000
        self._public = self._seen("pages", public_documents(first + 700_000), self._released)
        self._before: Remembered | None = None
        if given.start:
            rehearsed = public_start.rehearsed(first + 700_000)
            self._public, self._before = self._seen(f"rehearsed-{RECIPE}", rehearsed), self._public
        self._labels = [_label(first + k) for k in range(given.documents)]
        self._shown: dict[str, Remembered] = {}
        tests = [_label(first + 800_000 + k) for k in range(given.tests)]
        self._truths = {k: [line.text for line in each.lines] for k, each in enumerate(tests)}
        self._tests = self._seen(f"tests-{given.tests}", tests)
        self._rounds: dict[str, tuple[Plan, Adapter]] = {}

    def scores(self, recipe: Recipe, draws: int) -> Scores:
        """How well the tests are read after a round, with several draws of its noise."""
        plan, adapter = self._planned(recipe.adapter or self._settings.adapter)
        plan, public = recipe.changed(plan), self._public.at(adapter.depth)
        if recipe.numbers:
            adapter = Some(adapter, public, recipe.numbers)
        documents = self._documents(recipe, adapter.depth)
        return self._read([plan.part * learn(plan, recipe, adapter, documents, public) for _ in range(draws)], adapter)

    def untaught(self, draws: int) -> Scores:
        """The same, where a round begins."""
        _, adapter = self._planned(self._settings.adapter)
        return self._read([torch.zeros(adapter.size)] * draws, adapter)

    def _planned(self, name: str) -> tuple[Plan, Adapter]:
        if name not in self._rounds:
            settings = replace(self._settings, adapter=name)
            [surveyed] = survey(settings, self._alphabet, self._public, self._before)
            self._rounds[name] = planning.planned(settings, surveyed, settings.capacity), surveyed.adapter
            noise = self._rounds[name][0].noise_over_signal
            print(f"... {name}: {surveyed.adapter.size} numbers, noise {noise:.2f} times the signal", flush=True)
        return self._rounds[name]

    def _documents(self, recipe: Recipe, depth: Depth) -> list[Seen]:
        """Each document with all copies of each line; they are one document's, and share its one clip."""
        changes: dict[str, Callable[[Image], Image]] = {"plain": np.asarray}
        for copy in range(1, recipe.copies + 1):
            draws = np.random.default_rng(copy)
            changes[f"copy-{copy}"] = lambda image, draws=draws: _moved(image, draws)
        if recipe.padded:
            changes["padded"] = _padded
        copies = [self._changed(name, change).at(depth) for name, change in changes.items()]
        return [
            Seen(sum((each.texts for each in one), ()), sum((each.frames for each in one), ()))
            for one in zip(*copies, strict=True)
        ]

    def _changed(self, name: str, change: Callable[[Image], Image]) -> Remembered:
        if name not in self._shown:
            changed = [
                TrainDocument(each.slot, tuple(TrainLine(change(line.image), line.text) for line in each.lines))
                for each in self._labels
            ]
            self._shown[name] = self._seen(f"{len(changed)}-{name}", changed)
        return self._shown[name]

    def _seen(self, name: str, documents: Sequence[TrainDocument], model: Trainee | None = None) -> Remembered:
        """As the model sees them from which rounds begin, or as another one does."""
        seen_by, images = model or self._model, [line.image for each in documents for line in each.lines]
        flat = iter(self._shelf.frames(seen_by, f"{self._name}-{name}", images))
        frames = [tuple(next(flat) for _ in each.lines) for each in documents]
        return Remembered(seen_by, [[line.text for line in each.lines] for each in documents], frames)

    @torch.inference_mode()
    def _read(self, thetas: Sequence[Tensor], adapter: Adapter) -> Scores:
        """Several draws' counts, summed by document."""
        found: Scores = {}
        tests, names = self._tests.at(adapter.depth), ["", *self._charset.local]
        inputs = [[adapter.inputs(frames.unsqueeze(0)) for frames in seen.frames] for seen in tests]

        def text(theta: Tensor, line: Tensor) -> str:
            best = torch.unique_consecutive(adapter.logits(theta, [line]).argmax(1))
            return "".join(names[int(k)] for k in best)

        for theta in thetas:
            read = {k: [text(theta, line) for line in lines] for k, lines in enumerate(inputs)}
            for k, score in evaluate.score_documents(self._truths, read).items():
                found[k] = found.get(k, Score()) + score
        return found


def _label(seed: int) -> TrainDocument:
    made = document(0, corpora.label(seed).lines)
    if made is None:
        raise ValueError(f"Expected a label with a line, got none from seed {seed}.")
    return made


def _padded(image: Image) -> Image:
    """Cut out three pixels wider on each side, of the colour of the edge."""
    return to_height(np.pad(image, ((3, 3), (3, 3), (0, 0)), mode="edge"))


def _moved(image: Image, draws: np.random.Generator) -> Image:
    """Up to three pixels off, a little paler or darker, with a little noise."""
    down, right = draws.integers(-3, 4), draws.integers(-3, 4)
    rows = np.clip(np.arange(image.shape[0]) + down, 0, image.shape[0] - 1)
    columns = np.clip(np.arange(image.shape[1]) + right, 0, image.shape[1] - 1)
    contrast, light = draws.uniform(0.8, 1.2), draws.uniform(-15, 15)
    noise = draws.normal(0.0, draws.uniform(0.0, 8.0), image.shape)
    moved = (image[rows][:, columns].astype(float) - 128.0) * contrast + 128.0 + light + noise
    return np.asarray(moved.clip(0, 255), np.uint8)


if __name__ == "__main__":
    raise SystemExit(main())
