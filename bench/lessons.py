"""Every row of `utility.py`: what is learned from some of a domain's documents, and how it reads the others."""

from __future__ import annotations

import argparse
import copy
import math
from collections.abc import Container, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

import corpora
import ordinary
from corpora import Paper
from daemon.start import RECIPE
from features import Frames, Remembered, Shelf, backbone, best_paths, by_document, public_started, taught
from learners import evaluate, finetune, neck_adapters, public_start
from learners import plan as planning
from learners.adapters import Adapter, Charset
from learners.chunks import cache, look
from learners.errors import TooFewDocuments
from learners.evaluate import Score
from learners.lines import TrainDocument, document
from learners.plan import Plan
from learners.public import public_documents
from learners.recipes import RECIPES
from learners.settings import Settings
from learners.survey import Surveyed, agreement, survey
from models import graph_recogniser, recogniser, weights
from models.ctc import Alphabet
from models.reader import Reader
from models.trainee import Trainee
from privacy.noise import Debit, NoiseSource
from shares import ALL, ALL_THE_WAY, BASELINE, NECK, NOISELESS, START, Scores

EPSILONS = (8.0, 3.0, 2.0, 1.0)
STOCK = {"v4": "stock PP-OCRv4", "v6": "stock PP-OCRv6 small"}


def load(family: str) -> tuple[Trainee, Alphabet]:
    """The released recogniser of a family."""
    if family == "v6":
        path = weights.v6_files().rec
        return graph_recogniser.load(path), Alphabet(weights.characters(path))
    path = weights.fetch() / "rec.onnx"
    return recogniser.load(path), Alphabet(weights.characters(path))


class Bench:
    """A domain's documents, what backbones say of their lines, and the public documents."""

    def __init__(self, papers: Sequence[Paper], given: argparse.Namespace, epsilons: Sequence[float]) -> None:
        self.family, (self.released, self.alphabet) = given.family, load(given.family)
        self.settings = Settings(
            charset="ascii",
            closed=not given.open,
            rounds_per_document=1,
            adapter=given.adapter,
            public_start=not given.no_start,
        )
        self.charset = Charset.of(self.settings.characters, self.alphabet, self.settings.closed)
        self.papers, self.epsilons, self.draws, self.plan = papers, epsilons, given.draws, {}
        self.neck, self.anchor = not (given.quick or given.no_neck), given.anchor
        self.all, self.brief, self.lines = given.all, given.brief, given.lines
        self.all_the_way = given.all_the_way
        self.peer = given.family == "v4" and not given.no_peer
        self.shelf = Shelf(given.cache)
        self.domain = f"{given.domain}-{given.family}-{given.seed}"
        self.start = self.released
        if not given.no_start:
            kind = f"{given.family}{'-open' if given.open else ''}"
            self.start = public_started(self.shelf, kind, self.released, self.charset)
        first = given.seed * 1_000_000 + 700_000
        self.shown = public_documents(first)
        pages = self._remembered(self.released, "pages", self.shown)
        self.public, self.before = pages, None
        if self.start is not self.released:
            self.shown = public_start.rehearsed(first)
            self.public, self.before = self._remembered(self.start, f"rehearsed-{RECIPE}", self.shown), pages

    def _remembered(self, model: Trainee, name: str, documents: Sequence[TrainDocument]) -> Remembered:
        lines = [line.image for each in documents for line in each.lines]
        flat = iter(self.shelf.frames(model, f"{self.domain}-{name}", lines))
        frames = [tuple(next(flat) for _ in each.lines) for each in documents]
        return Remembered(model, [[line.text for line in each.lines] for each in documents], frames)

    def _frames(self, model: Trainee, ks: Sequence[int]) -> dict[int, Frames]:
        """What the model's backbone says of these documents' lines."""
        images = {k: [image for image, _ in self.papers[k].lines] for k in ks}
        return {k: self.shelf.frames(model, f"{self.domain}/{k}", images[k]) for k in ks}

    def fold(self, held: Sequence[int], test: Sequence[int]) -> dict[str, Scores]:
        """Every row's scores on the documents `test`, learned from all but those `held` out, `test` among them."""
        train, learned = self._taught(set(held))
        say(f"looking at {sum(len(self.papers[k].lines) for k in test)} lines to test on, {len(train)} documents")
        stock = by_document(self.released, self._frames(self.released, test))
        frames = self._frames(self.start, test)
        start = by_document(self.start, frames)
        found = self._untaught(test, stock, start)
        settings = replace(self.settings, capacity=len(train))
        surveyed = self._surveyed(settings, learned)
        for name, epsilon in self._rounds().items():
            draws = self.draws if 0 < epsilon < math.inf else 1
            ends = [self._learned(name, learned, train, settings, surveyed, epsilon) for _ in range(draws)]
            for row, models in self._candidates(name, ends, surveyed.adapter):
                read = [self._scores(test, model, self._features(model, frames, start)) for model in models]
                found[row] = self._together(row, read)
                if self.anchor and row == f"epsilon {EPSILONS[0]:g}":
                    self._forgotten(models[0])
        if self.neck:
            say(NECK)
            model = self._neck(learned)
            found[NECK] = self._together(NECK, [self._scores(test, model, by_document(model, frames))])
        if self.all:
            say(ALL)
            found[ALL] = self._together(ALL, [self._scores_of_all(train, test)])
        if self.peer:
            found[STOCK["v6"]] = self._read_by_v6(test)
        return found

    def _untaught(self, test: Sequence[int], stock: dict[int, Frames], start: dict[int, Frames]) -> dict[str, Scores]:
        """The rows before any document of the domain has taught: what the released model sees, and the start."""
        found = {
            STOCK[self.family]: self._scores(test, self.released, stock, closed=False),
            BASELINE: self._scores(test, self.released, stock, closed=True),
        }
        if self.start is not self.released:
            found[START] = self._scores(test, self.start, start)
        for name, scores in found.items():
            _told(name, scores)
        return found

    def _surveyed(self, settings: Settings, learned: Remembered) -> Surveyed:
        """What a plan knows of the adapter. From a start, what the private documents have to say there is printed."""
        [surveyed] = survey(settings, self.alphabet, self.public, self.before)
        if self.before is not None:
            there = surveyed.adapter
            left = agreement(there, learned.at(there.depth), RECIPES[there.name].max_grad_norm)
            say(f"signal by the plan {surveyed.agreement:.4f}, of these documents at the start {left:.4f}")
        return surveyed

    def _rounds(self) -> dict[str, float]:
        """The rows of rounds, and at which epsilon: none private at 0, no privacy at infinity."""
        rows = {f"epsilon {e:g}": e for e in self.epsilons}
        if self.start is self.released:
            rows["public documents alone"] = 0.0
        if not self.brief:
            rows[NOISELESS] = math.inf
        return rows

    def _taught(self, held: Container[int]) -> tuple[list[int], Remembered]:
        """The documents that are learned from, of all but `held`, and what the start sees of them."""
        chosen = {k: taught(each.lines, self.lines) for k, each in enumerate(self.papers) if k not in held}
        train = [k for k, lines in chosen.items() if lines]
        shown = self._frames(self.start, train)
        texts = [[self.papers[k].lines[i][1] for i in chosen[k]] for k in train]
        return train, Remembered(self.start, texts, [tuple(shown[k][i] for i in chosen[k]) for k in train])

    def _learned(
        self,
        name: str,
        learned: Remembered,
        train: Sequence[int],
        settings: Settings,
        surveyed: Surveyed,
        epsilon: float,
    ) -> tuple[float, Tensor]:
        """Which part of the way a candidate goes, and the parameters where learning ends."""
        private = 0 < epsilon < math.inf
        asked = replace(settings, epsilon_lifetime=epsilon if private else 8.0)
        plan, adapter = planning.planned(asked, surveyed, len(train)), surveyed.adapter
        if private:
            verdict, noise = _verdict(asked, surveyed, len(train)), plan.noise_over_signal
            numbers = {"adapter": plan.adapter, "parameters": plan.parameters, "noise_over_signal": noise}
            self.plan[name] = {**numbers, "verdict": verdict}
            say(f"{name}: noise {noise:.2f} times the signal; {verdict}")
        else:
            plan = replace(plan, noise_multiplier=1e-6)
        slots = dict(zip(train, cache(adapter, learned.at(adapter.depth)), strict=True)) if epsilon else {}
        return plan.part, finetune.learn(plan, adapter, train, slots, self.public.at(adapter.depth), source(plan))

    def _candidates(
        self, name: str, ends: Sequence[tuple[float, Tensor]], adapter: Adapter
    ) -> Iterator[tuple[str, list[Trainee]]]:
        """A round's row; and if it is wanted, the same learning gone all the way."""
        yield name, [self._merged(adapter, part * theta) for part, theta in ends]
        if self.all_the_way:
            yield name + ALL_THE_WAY, [self._merged(adapter, theta) for _, theta in ends]

    def _neck(self, learned: Remembered) -> Trainee:
        """The whole neck, without privacy, from where the private rounds begin."""
        adapter = neck_adapters.neck(self.start, self.charset, basis=torch.eye(self.start.head.in_features))
        return self._merged(adapter, ordinary.train(adapter, learned.at("backbone"), self.public.at("backbone")))

    def _scores_of_all(self, train: Sequence[int], test: Sequence[int]) -> Scores:
        """All parameters likewise, from pixels: nothing of it is on the shelf."""
        made = (document(k, self.papers[k].lines, self.lines) for k in train)
        adapter, private = neck_adapters.everything(self.start, self.charset), [each for each in made if each]
        seen = (look(self.start, each, self.lines, "image") for each in (private, self.shown))
        model = self._merged(adapter, ordinary.train(adapter, *seen))
        frames = {k: backbone(model, [image for image, _ in self.papers[k].lines]) for k in test}
        return self._scores(test, model, by_document(model, frames))

    def _features(self, model: Trainee, frames: dict[int, Frames], start: dict[int, Frames]) -> dict[int, Frames]:
        """What a candidate's head sees: what the start's does, unless the neck learned as well."""
        return start if self.settings.adapter in ("bias", "head") else by_document(model, frames)

    def _merged(self, adapter: Adapter, theta: Tensor) -> Trainee:
        candidate = copy.deepcopy(self.start)
        candidate.load_weights(self.start.weights() | {k: v.numpy() for k, v in adapter.merge(theta).items()})
        return candidate

    def _scores(
        self, test: Sequence[int], model: Trainee, seen: dict[int, Frames], closed: bool | None = None
    ) -> Scores:
        """`seen` are the lines' features by a model with these layers; its head reads them, `closed` as rounds are."""
        readings = {k: self._read(model, seen[k], closed) for k in test}
        return evaluate.score_documents(self._truths(test), readings)

    def _read(self, model: Trainee, lines: Frames, closed: bool | None = None) -> list[str]:
        shut = self.settings.closed if closed is None else closed
        rows = self.charset.classes if shut else range(len(model.head.bias))
        return best_paths(model, rows, self.alphabet.characters, lines)

    def _together(self, name: str, draws: Sequence[Scores]) -> Scores:
        """Several draws of the noise as one row: their counts, summed by document."""
        for scores in draws:
            _told(name, scores)
        return {k: sum((scores[k] for scores in draws), Score()) for k in draws[0]}

    def _forgotten(self, model: Trainee) -> None:
        """The public anchor: generated documents of every kind, before and after."""
        crops = corpora.anchor(self.charset.local.keys())
        images = [image for image, _ in crops]
        for row, each in ((BASELINE, self.released), (START, self.start), ("epsilon 8", model)):
            beneath = self.released if row == BASELINE else self.start
            frames = self.shelf.frames(beneath, f"anchor-{self.family}", images)
            seen, closed = by_document(each, {0: frames}), True if row == BASELINE else None
            score = evaluate.score_documents({0: [text for _, text in crops]}, {0: self._read(each, seen[0], closed)})
            _told(f"public anchor, {len(crops)} lines: {row}", score)

    def _read_by_v6(self, test: Sequence[int]) -> Scores:
        say(STOCK["v6"])
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
    say(f"{name}: " + ", ".join(f"{k} {100 * v:.2f}" for k, v in evaluate.total(scores).rates.items()))


def source(plan: Plan) -> NoiseSource:
    return NoiseSource(Debit.for_tests(plan.noise_multiplier, plan.steps, plan.sample_rate))


def say(text: str) -> None:
    print(f"... {text}", flush=True)
