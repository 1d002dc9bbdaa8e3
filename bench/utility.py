"""What privacy costs: how well documents are read after learning from others, at several epsilons and at none.

    python bench/utility.py [--domain receipts|forms|labels] [--family v4|v6] [--adapter head] [--data DIR]
                            [--lines 16] [--documents 350] [--folds 5] [--only 0,1] [--epsilons 8,3,2,1] [--draws 1]
                            [--all] [--no-neck] [--no-peer] [--brief] [--no-start] [--anchor] [--cache DIR] [--quick]
                            [--seed 0] [--json FILE]
    python bench/utility.py --join FILE FILE ...

Receipts (SROIE), forms (FUNSD) or generated labels are split by document, and receipts so that no vendor is on both
sides; every document is tested once. One round learns from the others: at epsilon 8, 3, 2 and 1 (the whole lifetime
at once, delta 1e-6) and without privacy. It begins from the public start (`learners.public_start`), a row of its own;
with --no-start from the released model, and then public documents alone are a row. What learns is PP-OCRv4, or with
--family v6 PP-OCRv6 small. Peers on the same lines: the same model as released; with every character shut out but a
public set (the baseline: that costs nothing); its whole neck, and with --all every parameter, trained without privacy
from where the rounds begin; to PP-OCRv4 also stock PP-OCRv6 small. Several --draws of the noise are one row: their
counts together. "kept" is the share of the best non-private gain over the baseline. What was chosen on which documents,
docs/learning.md says. Labels of receipts are in capitals, so lines are compared case-folded. Intervals are 95%,
resampled by document.
"""

from __future__ import annotations

import argparse
import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

import corpora
import ordinary
import running
import shares
from corpora import Paper
from features import Frames, Remembered, Shelf, backbone, best_paths, by_document, public_started, taught
from learners import evaluate, finetune, neck_adapters, public_start
from learners import plan as planning
from learners.adapters import Adapter, Charset
from learners.chunks import cache, look
from learners.errors import TooFewDocuments
from learners.evaluate import Score
from learners.lines import MAX_LINES, TrainDocument, document
from learners.plan import Plan, Settings, Surveyed
from learners.public import public_documents
from learners.recipes import RECIPES
from models import graph_recogniser, recogniser, weights
from models.ctc import Alphabet
from models.reader import Reader
from models.trainee import Trainee
from privacy.noise import Debit, NoiseSource
from shares import BASELINE, CEILINGS, Scores

EPSILONS = (8.0, 3.0, 2.0, 1.0)
STOCK = {"v4": "stock PP-OCRv4", "v6": "stock PP-OCRv6 small"}
START = "public start"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--domain", choices=("receipts", "forms", "labels"), default="receipts")
    parser.add_argument("--family", choices=tuple(STOCK), default="v4", help="what learns")
    parser.add_argument("--data", type=Path, default=running.DATA)
    parser.add_argument("--documents", type=int, default=350, help="of --domain labels")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--only", type=lambda text: [int(k) for k in text.split(",")], help="these folds")
    parser.add_argument("--adapter", choices=("bias", "head", "lora", "norm", "neck"), default="head")
    parser.add_argument("--lines", type=int, default=MAX_LINES, help="of a document that are learned from, at most")
    parser.add_argument("--epsilons", type=lambda text: [float(e) for e in text.split(",")], default=EPSILONS)
    parser.add_argument("--draws", type=int, default=1, help="of the noise, for each epsilon")
    parser.add_argument("--all", action="store_true", help="a row of all parameters: half an hour a fold")
    parser.add_argument("--no-neck", action="store_true", help="without the row of the whole neck")
    parser.add_argument("--brief", action="store_true", help="without the row of the same adapter without privacy")
    parser.add_argument("--no-start", action="store_true", help="from the released model, without the public start")
    parser.add_argument("--anchor", action="store_true", help="what epsilon 8 costs on generated documents")
    parser.add_argument("--cache", type=Path, help="keeps what the backbone says of lines, and the public start, here")
    parser.add_argument("--no-peer", action="store_true", help="without the row of stock PP-OCRv6 small")
    parser.add_argument("--join", type=Path, nargs="+", help="print the table of what other runs left in --json files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="40 documents, two folds, epsilon 8, no neck")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.join:
        shares.join(given.join, given.seed)
        return 0
    papers = corpora.load(given.domain, given.data, given.documents, given.seed)[: 40 if given.quick else None]
    folds = corpora.folds(papers, given.folds, given.seed)
    epsilons = given.epsilons[: 1 if given.quick else None]
    bench = Bench(papers, given, epsilons)
    scores: dict[str, Scores] = {}
    for number in given.only or range(2 if given.quick else len(folds)):
        _say(f"fold {number}: {len(folds[number])} documents to test on, {len(papers) - len(folds[number])} to learn")
        for name, found in bench.fold(folds[number]).items():
            scores.setdefault(name, {}).update(found)
        shares.table(scores, given.seed)
        if given.json:
            shares.write(given.json, scores, bench.plan, given.seed)
    return 0


def load(family: str) -> tuple[Trainee, Alphabet]:
    """The released recogniser of a family."""
    if family == "v6":
        path = weights.v6_files().rec
        return graph_recogniser.load(path), Alphabet(weights.characters(path))
    path = weights.fetch() / "rec.onnx"
    return recogniser.load(path), Alphabet(weights.characters(path))


class Bench:
    """A domain's documents, what the backbone says of their lines, and the public documents."""

    def __init__(self, papers: Sequence[Paper], given: argparse.Namespace, epsilons: Sequence[float]) -> None:
        self.family, (self.released, self.alphabet) = given.family, load(given.family)
        self.settings = Settings(
            charset="ascii",
            closed=True,
            rounds_per_document=1,
            adapter=given.adapter,
            public_start=not given.no_start,
        )
        self.charset = Charset.of(self.settings.characters, self.alphabet, closed=True)
        self.papers, self.epsilons, self.draws, self.plan = papers, epsilons, given.draws, {}
        self.neck, self.anchor = not (given.quick or given.no_neck), given.anchor
        self.all, self.brief, self.lines = given.all, given.brief, given.lines
        self.peer = given.family == "v4" and not given.no_peer
        self.shelf = Shelf(given.cache)
        self.domain = f"{given.domain}-{given.family}-{given.seed}"
        self.start = self.released
        if not given.no_start:
            self.start = public_started(self.shelf, given.family, self.released, self.charset)
        first = given.seed * 1_000_000 + 700_000
        self.shown = public_documents(first)
        pages = self._remembered(self.released, "pages", self.shown)
        self.public, self.before = pages, None
        if self.start is not self.released:
            self.shown = public_start.rehearsed(first)
            self.public, self.before = self._remembered(self.start, "public-new", self.shown), pages

    def _remembered(self, model: Trainee, name: str, documents: Sequence[TrainDocument]) -> Remembered:
        lines = [line.image for each in documents for line in each.lines]
        flat = iter(self.shelf.get(f"{self.domain}-{name}", lambda: backbone(self.released, lines)))
        frames = [tuple(next(flat) for _ in each.lines) for each in documents]
        return Remembered(model, [[line.text for line in each.lines] for each in documents], frames)

    def _frames(self, k: int) -> Frames:
        images = [image for image, _ in self.papers[k].lines]
        return self.shelf.get(f"{self.domain}/{k}", lambda: backbone(self.released, images))

    def fold(self, test: Sequence[int]) -> dict[str, Scores]:
        """Every row's scores on the documents `test`, learned from all others."""
        train = [k for k in range(len(self.papers)) if k not in set(test)]
        chosen = {k: taught(self.papers[k].lines, self.lines) for k in train}
        train = [k for k in train if chosen[k]]
        _say(f"looking at {sum(len(self.papers[k].lines) for k in test)} lines to test on, {len(train)} documents")
        shown = {k: self._frames(k) for k in train}
        learned = Remembered(
            self.start,
            [[self.papers[k].lines[i][1] for i in chosen[k]] for k in train],
            [tuple(shown[k][i] for i in chosen[k]) for k in train],
        )
        del shown
        frames = {k: self._frames(k) for k in test}
        stock, start = by_document(self.released, frames), by_document(self.start, frames)
        found = {
            STOCK[self.family]: self._scores(test, self.released, stock, closed=False),
            BASELINE: self._scores(test, self.released, stock),
        }
        if self.start is not self.released:
            found[START] = self._scores(test, self.start, start)
        for name, scores in found.items():
            _told(name, scores)
        settings = replace(self.settings, capacity=len(train))
        [surveyed] = planning.survey(settings, self.alphabet, self.public, self.before)
        if self.before is not None:
            there = surveyed.adapter
            left = planning.agreement(there, learned.at(there.depth), RECIPES[there.name].max_grad_norm)
            _say(f"signal by the plan {surveyed.agreement:.4f}, of these documents at the start {left:.4f}")
        rows = {f"epsilon {e:g}": e for e in self.epsilons}
        if self.start is self.released:
            rows["public documents alone"] = 0.0
        if not self.brief:
            rows[CEILINGS[0]] = math.inf
        for name, epsilon in rows.items():
            draws = self.draws if 0 < epsilon < math.inf else 1
            models = [self._learned(name, learned, train, settings, surveyed, epsilon) for _ in range(draws)]
            found[name] = self._together(name, [self._scores(test, model, start) for model in models])
            if self.anchor and epsilon == EPSILONS[0]:
                self._forgotten(models[0])
        if self.neck:
            _say(CEILINGS[1])
            model = self._neck(learned)
            found[CEILINGS[1]] = self._together(CEILINGS[1], [self._scores(test, model, by_document(model, frames))])
        if self.all:
            _say(CEILINGS[2])
            model = self._everything(train)
            frames = {k: backbone(model, [image for image, _ in self.papers[k].lines]) for k in test}
            found[CEILINGS[2]] = self._together(CEILINGS[2], [self._scores(test, model, by_document(model, frames))])
        if self.peer:
            found[STOCK["v6"]] = self._read_by_v6(test)
        return found

    def _learned(
        self,
        name: str,
        learned: Remembered,
        train: Sequence[int],
        settings: Settings,
        surveyed: Surveyed,
        epsilon: float,
    ) -> Trainee:
        private = 0 < epsilon < math.inf
        asked = replace(settings, epsilon_lifetime=epsilon if private else 8.0)
        plan, adapter = planning.planned(asked, surveyed, len(train)), surveyed.adapter
        if private:
            verdict, noise = _verdict(asked, surveyed, len(train)), plan.noise_over_signal
            numbers = {"adapter": plan.adapter, "parameters": plan.parameters, "noise_over_signal": noise}
            self.plan[name] = {**numbers, "verdict": verdict}
            _say(f"{name}: noise {noise:.2f} times the signal; {verdict}")
        else:
            plan = replace(plan, noise_multiplier=1e-6)
        slots = dict(zip(train, cache(adapter, learned.at(adapter.depth)), strict=True)) if epsilon else {}
        theta = finetune.learn(plan, adapter, train, slots, self.public.at(adapter.depth), _source(plan))
        return self._merged(adapter, plan.part * theta)

    def _neck(self, learned: Remembered) -> Trainee:
        """The whole neck, without privacy, from where the private rounds begin."""
        adapter = neck_adapters.neck(self.start, self.charset, basis=torch.eye(self.start.head.in_features))
        return self._merged(adapter, ordinary.train(adapter, learned.at("backbone"), self.public.at("backbone")))

    def _everything(self, train: Sequence[int]) -> Trainee:
        """All parameters likewise, from pixels: nothing of it is on the shelf."""
        made = (document(k, self.papers[k].lines, self.lines) for k in train)
        adapter, private = neck_adapters.everything(self.start, self.charset), [each for each in made if each]
        seen = (look(self.start, each, self.lines, "image") for each in (private, self.shown))
        return self._merged(adapter, ordinary.train(adapter, *seen))

    def _merged(self, adapter: Adapter, theta: Tensor) -> Trainee:
        candidate = copy.deepcopy(self.start)
        candidate.load_weights(self.start.weights() | {k: v.numpy() for k, v in adapter.merge(theta).items()})
        return candidate

    def _scores(self, test: Sequence[int], model: Trainee, seen: dict[int, Frames], closed: bool = True) -> Scores:
        """`seen` are the lines' features by a model with this neck; its head reads them."""
        readings = {k: self._read(model, seen[k], closed) for k in test}
        return evaluate.score_documents(self._truths(test), readings)

    def _read(self, model: Trainee, lines: Frames, closed: bool = True) -> list[str]:
        rows = self.charset.classes if closed else range(len(model.head.bias))
        return best_paths(model, rows, self.alphabet.characters, lines)

    def _together(self, name: str, draws: Sequence[Scores]) -> Scores:
        """Several draws of the noise as one row: their counts, summed by document."""
        for scores in draws:
            _told(name, scores)
        return {k: sum((scores[k] for scores in draws), Score()) for k in draws[0]}

    def _forgotten(self, model: Trainee) -> None:
        """The public anchor: generated documents of every kind, before and after."""
        crops = corpora.anchor(self.charset.local.keys())
        name = f"anchor-{self.family}"
        frames = {0: self.shelf.get(name, lambda: backbone(self.released, [image for image, _ in crops]))}
        for row, each in ((BASELINE, self.released), (START, self.start), ("epsilon 8", model)):
            seen = by_document(each, frames)
            score = evaluate.score_documents({0: [text for _, text in crops]}, {0: self._read(each, seen[0])})
            _told(f"public anchor, {len(crops)} lines: {row}", score)

    def _read_by_v6(self, test: Sequence[int]) -> Scores:
        _say(STOCK["v6"])
        reader = Reader(weights.v6_files(), "v6")

        def read(k: int) -> list[str]:
            return [text for text, _, _ in reader.read_lines([image for image, _ in self.papers[k].lines])]

        kept = {k: self.shelf.get(f"{self.domain}/read-by-v6/{k}", lambda k=k: map(_encoded, read(k))) for k in test}
        readings = {k: [bytes(line.tolist()).decode() for line in lines] for k, lines in kept.items()}
        return self._together(STOCK["v6"], [evaluate.score_documents(self._truths(test), readings)])

    def _truths(self, test: Sequence[int]) -> dict[int, list[str]]:
        return {k: [text for _, text in self.papers[k].lines] for k in test}


def _verdict(settings: Settings, surveyed: Surveyed, members: int) -> str:
    """What the service would do with such a round. Here it is run in any case, to see what comes of it."""
    try:
        planning.choose(settings, [surveyed], members)
    except TooFewDocuments as error:
        return str(error)
    return "taken"


def _encoded(text: str) -> Tensor:
    return torch.tensor(list(text.encode()), dtype=torch.uint8)


def _told(name: str, scores: Scores) -> None:
    _say(f"{name}: " + ", ".join(f"{k} {100 * v:.2f}" for k, v in evaluate.total(scores).rates.items()))


def _source(plan: Plan) -> NoiseSource:
    return NoiseSource(Debit.for_tests(plan.noise_multiplier, plan.steps, plan.sample_rate))


def _say(text: str) -> None:
    print(f"... {text}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
