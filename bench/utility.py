"""What privacy costs: how well documents are read after learning from others, at several epsilons and at none.

    python bench/utility.py [--domain receipts|forms|labels] [--family v4|v6] [--data DIR] [--documents 350]
                            [--folds 5] [--only 0,1] [--epsilons 8,3,2,1] [--no-neck] [--quick] [--seed 0] [--json FILE]

Receipts (SROIE), forms (FUNSD) or generated labels are split by document, and receipts so that no vendor is on both
sides; every document is tested once. One round learns from the others: at epsilon 8, 3, 2 and 1 (the whole lifetime
at once, delta 1e-6), without privacy, and from public documents alone. What learns is PP-OCRv4, or with --family v6
PP-OCRv6 small. Peers on the same lines: the same model as released; with every character shut out but a public set
(the baseline: that costs nothing); its whole neck trained without privacy, a richer adapter; to PP-OCRv4 also stock
PP-OCRv6 small. "kept" is the share of the best non-private gain over the baseline. No private row was tuned on these
documents: the recipe comes from generated ones (bench/round.py). Labels of receipts are in capitals, so lines are
compared case-folded. Intervals are 95%, resampled by document.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

import corpora
import ordinary
import running
from corpora import Paper
from learners import evaluate, finetune, neck_adapters
from learners import plan as planning
from learners.adapters import Adapter, Charset, HeadAdapter
from learners.catalogue import Looks
from learners.chunks import Seen, cache, look
from learners.evaluate import Score
from learners.lines import MAX_WIDTH, TrainDocument, TrainLine, document, to_height
from learners.plan import Plan, Settings
from learners.public import public_documents
from models import graph_recogniser, recogniser, weights
from models.ctc import Alphabet
from models.reader import Reader
from models.trainee import Trainee
from privacy.noise import Debit, NoiseSource

Scores = dict[int, Score]
EPSILONS = (8.0, 3.0, 2.0, 1.0)
STOCK = {"v4": "stock PP-OCRv4", "v6": "stock PP-OCRv6 small"}
BASELINE = "stock, ascii only"
CEILINGS = ("without privacy", "whole neck without privacy")
RATES = ("exact_folded", "exact_spaceless", "cer", "cer_spaceless")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--domain", choices=("receipts", "forms", "labels"), default="receipts")
    parser.add_argument("--family", choices=tuple(STOCK), default="v4", help="what learns")
    parser.add_argument("--data", type=Path, default=running.DATA)
    parser.add_argument("--documents", type=int, default=350, help="of --domain labels")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--only", type=lambda text: [int(k) for k in text.split(",")], help="these folds")
    parser.add_argument("--epsilons", type=lambda text: [float(e) for e in text.split(",")], default=EPSILONS)
    parser.add_argument("--no-neck", action="store_true", help="without the row of the whole neck")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="40 documents, two folds, epsilon 8, no neck")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    papers = corpora.load(given.domain, given.data, given.documents, given.seed)[: 40 if given.quick else None]
    folds = corpora.folds(papers, given.folds, given.seed)
    epsilons = given.epsilons[: 1 if given.quick else None]
    bench = Bench(papers, given.family, given.seed, epsilons, neck=not (given.quick or given.no_neck))
    scores: dict[str, Scores] = {}
    for number in given.only or range(2 if given.quick else len(folds)):
        _say(f"fold {number}: {len(folds[number])} documents to test on, {len(papers) - len(folds[number])} to learn")
        for name, found in bench.fold(folds[number]).items():
            scores.setdefault(name, {}).update(found)
        table(scores, given.seed)
    if given.json:
        rows = {name: evaluate.total(by_document).rates for name, by_document in scores.items()}
        given.json.write_text(
            json.dumps({"rows": rows, "plan": bench.plan, "kept": kept(scores, given.seed)}, indent=1)
        )
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

    def __init__(self, papers: Sequence[Paper], family: str, seed: int, epsilons: Sequence[float], neck: bool) -> None:
        self.family, (self.model, self.alphabet) = family, load(family)
        self.settings = Settings(charset="ascii", closed=True, rounds_per_document=1)
        self.charset = Charset.of(self.settings.characters, self.alphabet, closed=True)
        self.papers, self.epsilons, self.neck, self.plan = papers, epsilons, neck, {}
        self.features: dict[int, tuple[Tensor, ...]] = {}
        made = [document(k, paper.lines) for k, paper in enumerate(papers)]
        self.taught: dict[int, TrainDocument] = {each.slot: each for each in made if each is not None}
        self.public = Looks(self.model, public_documents(seed * 1_000_000 + 700_000))
        self.seen: dict[int, Seen] = {}

    def fold(self, test: Sequence[int]) -> dict[str, Scores]:
        """Every row's scores on the documents `test`, learned from all others."""
        _say(f"looking at {sum(len(self.papers[k].lines) for k in test)} lines to test on")
        self.features = {k: self._backbone([image for image, _ in self.papers[k].lines]) for k in test}
        train = [k for k in self.taught if k not in set(test)]
        unseen = [k for k in train if k not in self.seen]
        _say(f"looking at {sum(len(self.taught[k].lines) for k in unseen)} lines to learn from")
        self.seen |= {k: look(self.model, [self.taught[k]])[0] for k in unseen}
        settings = replace(self.settings, capacity=len(train))
        surveyed = planning.survey(settings, self.alphabet, self.public)
        stock = HeadAdapter(self.model, self.charset, None)
        found = {
            STOCK[self.family]: self._scores(test, self.model, closed=False),
            BASELINE: self._scores(test, self._merged(stock, torch.zeros(stock.size))),
        }
        rows = {f"epsilon {e:g}": e for e in self.epsilons}
        rows = {"public documents alone": 0.0, CEILINGS[0]: math.inf} | rows
        for name, epsilon in rows.items():
            found[name] = self._learned(test, train, settings, surveyed, epsilon)
            _say(f"{name}: " + ", ".join(f"{k} {100 * v:.2f}" for k, v in evaluate.total(found[name]).rates.items()))
        if self.neck:
            found[CEILINGS[1]] = self._neck(test, train)
        if self.family == "v4":
            found[STOCK["v6"]] = self._read_by_v6(test)
        return found

    def _learned(
        self,
        test: Sequence[int],
        train: Sequence[int],
        settings: Settings,
        surveyed: Sequence[planning.Surveyed],
        epsilon: float,
    ) -> Scores:
        private = 0 < epsilon < math.inf
        _say(f"epsilon {epsilon:g}")
        plan, adapter = planning.choose(
            replace(settings, epsilon_lifetime=epsilon if private else 8.0), surveyed, len(train)
        )
        if private:
            self.plan[f"epsilon {epsilon:g}"] = {
                "adapter": plan.adapter,
                "parameters": plan.parameters,
                "noise_over_signal": plan.noise_over_signal,
            }
        else:
            plan = replace(plan, noise_multiplier=1e-6)
        slots = dict(zip(train, cache(adapter, [self.seen[k] for k in train]), strict=True))
        rehearsed = self.public.at(adapter.depth)
        theta = finetune.learn(plan, adapter, train, slots if epsilon else {}, rehearsed, _source(plan))
        return self._scores(test, self._merged(adapter, theta))

    def _neck(self, test: Sequence[int], train: Sequence[int]) -> Scores:
        _say("whole neck, without privacy")
        adapter = neck_adapters.neck(self.model, self.charset, basis=torch.eye(self.model.head.in_features))
        documents = cache(adapter, look(self.model, [self.taught[k] for k in train], depth="backbone"))
        theta = ordinary.train(adapter, documents, cache(adapter, self.public.at("backbone")))
        return self._scores(test, self._merged(adapter, theta))

    def _merged(self, adapter: Adapter, theta: Tensor) -> Trainee:
        candidate = copy.deepcopy(self.model)
        candidate.load_weights(self.model.weights() | {k: v.numpy() for k, v in adapter.merge(theta).items()})
        return candidate

    @torch.inference_mode()
    def _scores(self, test: Sequence[int], model: Trainee, closed: bool = True) -> Scores:
        rows = torch.tensor(self.charset.classes if closed else range(len(model.head.bias)))
        characters = self.alphabet.characters
        weight, bias, layers = model.head.weight[rows], model.head.bias[rows], model.layers("backbone")

        def read(frames: Tensor) -> str:
            features = model.features_at(layers, [frames.float().unsqueeze(0)], "backbone")
            best = (features @ weight.T + bias).argmax(1)
            kept = best[torch.cat((torch.ones(1, dtype=torch.bool), best[1:] != best[:-1]))]
            return "".join(characters[int(rows[k])] for k in kept if k)

        readings = {k: [read(frames) for frames in self.features[k]] for k in test}
        return evaluate.score_documents(self._truths(test), readings)

    def _read_by_v6(self, test: Sequence[int]) -> Scores:
        _say(STOCK["v6"])
        reader = Reader(weights.v6_files(), "v6")
        crops = {k: [image for image, _ in self.papers[k].lines] for k in test}
        readings = {k: [text for text, _, _ in reader.read_lines(crops[k])] for k in test}
        return evaluate.score_documents(self._truths(test), readings)

    def _truths(self, test: Sequence[int]) -> dict[int, list[str]]:
        return {k: [text for _, text in self.papers[k].lines] for k in test}

    def _backbone(self, images: Sequence[npt.NDArray[np.uint8]]) -> tuple[Tensor, ...]:
        """`(channels, 1, T) float16` of each line: half the memory, and only for reading."""
        lines = [TrainLine(to_height(image)[:, :MAX_WIDTH], "x") for image in images]
        parts = [TrainDocument(0, tuple(lines[k : k + 16])) for k in range(0, len(lines), 16)]
        return tuple(frames.half() for seen in look(self.model, parts, depth="backbone") for frames in seen.frames)


def kept(scores: dict[str, Scores], seed: int, resamples: int = 4000) -> dict[str, dict[str, list[float]]]:
    """Share of the best non-private gain over the baseline, with its interval, a rate at a time."""
    documents = sorted(scores[BASELINE])
    picks = np.random.default_rng(seed).integers(0, len(documents), (resamples, len(documents)))
    found: dict[str, dict[str, list[float]]] = {}
    for rate in RATES:
        gain = {name: _gains(scores, name, rate, documents, picks) for name in scores if name != BASELINE}
        best = max((gain[name] for name in CEILINGS if name in gain), key=lambda values: float(values[0]))
        for name, values in gain.items():
            shares = values / np.where(np.abs(best) < 1e-9, np.nan, best)
            low, high = np.nanquantile(shares[1:], [0.025, 0.975])
            found.setdefault(name, {})[rate] = [float(shares[0]), float(low), float(high)]
    return found


def _gains(
    scores: dict[str, Scores], name: str, rate: str, documents: list[int], picks: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """The gain in a rate over the baseline (a fall, of error rates): of all documents, then of each resample."""
    parts = {"exact_folded": ("folded", "lines"), "exact_spaceless": ("spaceless", "lines")}
    parts |= {"cer": ("edits", "characters"), "cer_spaceless": ("spaceless_edits", "spaceless_characters")}
    over, under = parts[rate]
    chosen = np.vstack([np.arange(len(documents)), picks]) if len(documents) == picks.shape[1] else picks

    def rates(row: str) -> npt.NDArray[np.float64]:
        counts = np.array([[getattr(scores[row][k], part) for part in (over, under)] for k in documents], float)
        sums = counts[chosen].sum(1)
        return np.asarray(sums[:, 0] / sums[:, 1])

    return (rates(name) - rates(BASELINE)) * (1 if rate.startswith("exact") else -1)


def table(scores: dict[str, Scores], seed: int) -> None:
    """In percent, case-folded: exact lines with spaces and without, character error rates likewise."""
    shares = kept(scores, seed)
    print(f"\n{len(scores[BASELINE])} documents, {evaluate.total(scores[BASELINE]).lines} lines")
    print(f"{'':28} exact  [gain, 95%]    bare  [gain, 95%]      CER   bare | kept of the gain: exact, CER")
    for name, by_document in scores.items():
        rates = evaluate.total(by_document).rates
        cells = []
        for rate in ("exact_folded", "exact_spaceless"):
            gain = evaluate.compare(scores[BASELINE], by_document, rate, seed)
            cells.append(f"{100 * rates[rate]:5.1f} [{100 * gain.low:+5.1f} {100 * gain.high:+5.1f}]")
        held = [shares[name][rate] for rate in ("exact_folded", "cer")] if name in shares else []
        tail = "  ".join(f"{100 * s:4.0f}% [{100 * low:3.0f} {100 * high:3.0f}]" for s, low, high in held)
        error = f"{100 * rates['cer']:6.2f} {100 * rates['cer_spaceless']:6.2f}"
        print(f"{name:28} {'  '.join(cells)} {error} | {tail}", flush=True)


def _source(plan: Plan) -> NoiseSource:
    return NoiseSource(Debit.for_tests(plan.noise_multiplier, plan.steps, plan.sample_rate))


def _say(text: str) -> None:
    print(f"... {text}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
