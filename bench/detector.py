"""Does the detector learn? Hmean before and after one private round on pages, and parity with the released file.

    python bench/detector.py [--data DIR] [--seed 1] [--splits 2] [--adapter affine]
                             [--only receipts] [--quick] [--json FILE]

Parity: PP-OCRv4's detector in torch against the released ONNX file in onnxruntime, on generated pages. Then: how
well RapidOCR reads lines back out of perfect maps with the shrink ratio `r`, at IoU 0.7.

Receipts are the pages under DATA/receipts/pages, split by document into 70 that teach and 30 that test. Of forms
there are line crops only, no pages: that table is generated forms, of seeds not used before. Rows: the released
detector; public, generated pages alone (epsilon 0; no form among them for the forms); one round at epsilon 8 and at
3, a lifetime's budget in one round at delta 1e-6; the same round without noise that matters.

Precision, recall and Hmean (percent) are at IoU 0.5 of quadrilaterals, one to one. "served" is `models.reader` with
the candidate's ONNX file and both of its looks at a page; "first look" is the half-size look, which is what learns.
Intervals are 95%, of the mean change in a page's Hmean, resampled by document; a page that several splits test
counts once, with its mean. "noise" is the round's noise over its signal, forecast on public pages. Recipes were
chosen on generated receipts of other seeds.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import cv2
import numpy as np
import onnxruntime
import torch
from rapidocr.ch_ppocr_det.utils import DBPostProcess, DetPreProcess

import running
from learners.detection import targets
from learners.detection_adapters import ADAPTERS, DetectorAdapter
from learners.detection_fit import RECIPES, TrainPage, cache, learn, look, noise_over_signal, threshold_branch, view
from learners.detection_score import Found, score_page
from learners.evaluate import paired_bootstrap
from learners.synthesis import KINDS, generate
from models import detector, weights
from models.looks import first_scale, second_scale, united
from models.reader import Reader
from models.weights import ReaderFiles
from privacy import accountant
from privacy.noise import Debit, NoiseSource
from privacy.page import Quad

DELTA = 1e-6
QUIET = 1e-6
RATIOS = (0.4, 0.5, 0.55, 0.62, 0.7)
WAYS = ("served", "first look")
PUBLIC = "public pages alone"
EPSILONS = {PUBLIC: 0.0, "epsilon 8": 8.0, "epsilon 3": 3.0, "no privacy": math.inf}
PUBLIC_SEED, FORM_SEED, PARITY_SEED = 80_000_000, 81_000_000, 82_000_000
"""First seeds of the generated pages. None was used to choose a recipe."""
Tested = dict[int, list[Found]]
"""By page, once for each split that tests it."""


@dataclass
class Table:
    """What one data set shows: by row and way of looking, the pages that were tested."""

    name: str
    pages: int
    found: dict[str, dict[str, Tested]] = field(default_factory=dict)
    noise: dict[str, float] = field(default_factory=dict)
    """By row: noise over signal, measured on public pages."""

    def add(self, row: str, scores: Mapping[str, Mapping[int, Found]], test: Sequence[int]) -> None:
        for way in WAYS:
            tested = self.found.setdefault(row, {}).setdefault(way, {})
            for page in test:
                tested.setdefault(page, []).append(scores[way][page])

    def rows(self) -> list[dict[str, Any]]:
        stock, public = self.found["released"], self.found[PUBLIC]
        return [
            {"name": row, "noise_over_signal": self.noise.get(row, 0.0)}
            | {way: _rates(ways[way]) | _change(stock[way], ways[way]) for way in WAYS}
            | {"over_public": _change(public["served"], ways["served"])}
            for row, ways in self.found.items()
        ]


class Bench:
    """The released detector and the ways to teach and to test it."""

    def __init__(self, adapter: str, quick: bool) -> None:
        self._files = weights.v4_files(weights.fetch())
        self.model = detector.load(self._files.det)
        self._adapter, self._public = adapter, 8 if quick else 24

    def parity(self, count: int) -> dict[str, float]:
        """Largest difference of any pixel's probability, and on how many pages all boxes are the same."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(self._files.det), options, providers=["CPUExecutionProvider"])
        read, prepare = DBPostProcess(0.3, 0.5, 1000, 1.6, "fast", True), DetPreProcess(32, "min", None, None)
        differences, same = [], 0
        for k in range(count):
            page = generate(KINDS[k % len(KINDS)], PARITY_SEED + k).image
            shown, _ = view(page, first_scale(page) * (1 + k % 2))
            expected = session.run(None, {"x": prepare(shown)})[0]
            with torch.inference_mode():
                found = self.model(detector.to_tensor(shown)[None]).numpy()
            differences.append(float(np.abs(found - expected).max()))
            same += np.array_equal(read(found, shown.shape[:2])[0], read(expected, shown.shape[:2])[0])
        median = float(np.median(differences))
        return {"pages": count, "largest": max(differences), "median": median, "pages_with_the_same_boxes": same}

    def read_back(self, count: int) -> dict[str, float]:
        """Hmean at IoU 0.7 of the lines that RapidOCR finds in perfect maps at the first look's scale, by ratio `r`."""
        read, found = DBPostProcess(0.3, 0.5, 1000, 1.6, "fast", True), dict.fromkeys(RATIOS, Found())
        for k in range(count):
            page = _generated(KINDS[k % len(KINDS)], PARITY_SEED + k)
            scale = first_scale(page.image)
            shown, margin = view(page.image, scale)
            quads = [scale * np.array(quad, np.float32) + margin for quad in page.quads]
            for ratio in RATIOS:
                core = targets(quads, shown.shape[0], shown.shape[1], ratio).core.float().numpy()
                boxes, _ = read(core[None, None], core.shape)
                true, back = ([_quad(each.tolist()) for each in side] for side in (quads, boxes))
                found[ratio] += score_page(true, back, least=0.7)
        return {f"{ratio:g}": score.hmean for ratio, score in found.items()}

    def table(self, name: str, pages: Sequence[TrainPage], kinds: Sequence[str], splits: int, seed: int) -> Table:
        """Every row of one data set; `kinds` of pages are public."""
        _say(f"{name}: {len(pages)} pages")
        public = [look(self.model, _generated(kinds[k % len(kinds)], PUBLIC_SEED + k)) for k in range(self._public)]
        adapter = DetectorAdapter(
            self.model, threshold_branch(self.model, public), self._adapter, [page.taps for page in public[:8]]
        )
        cached, rehearsed = cache(adapter, [look(self.model, page) for page in pages]), cache(adapter, public)
        found, recipe = Table(name, len(pages)), RECIPES[self._adapter]
        orders = [np.random.default_rng([seed, split]).permutation(len(pages)).tolist() for split in range(splits)]
        first = len(pages) * 7 // 10
        everyone = sorted({page for order in orders for page in order[first:]})
        fixed = {"released": self._scores(torch.zeros(adapter.size), adapter, pages, everyone)}
        for split, order in enumerate(orders):
            train, test = order[:first], sorted(order[first:])
            found.add("released", fixed["released"], test)
            for row, epsilon in EPSILONS.items():
                if row not in fixed or epsilon:
                    members = {slot: cached[k] for slot, k in enumerate(train)} if epsilon else {}
                    sigma = accountant.calibrate(1.0, recipe.steps, 1, epsilon, DELTA) if 0 < epsilon < 99 else QUIET
                    found.noise[row] = noise_over_signal(adapter, recipe, rehearsed, sigma, len(train))
                    theta = learn(
                        adapter,
                        recipe,
                        members,
                        rehearsed,
                        capacity=len(train),
                        noise_multiplier=sigma,
                        noise=NoiseSource(Debit.for_tests(sigma, recipe.steps), seed=bytes([split] * 32)),
                    )
                    fixed[row] = self._scores(theta, adapter, pages, test if epsilon else everyone)
                found.add(row, fixed[row], test)
                _say(f"{name}, split {split + 1} of {splits}, {row}: tested")
        return found

    def _scores(
        self, theta: torch.Tensor, adapter: DetectorAdapter, pages: Sequence[TrainPage], of: Sequence[int]
    ) -> dict[str, dict[int, Found]]:
        """By way and page, with the ONNX file that `theta` makes."""
        merged = {name: value.numpy() for name, value in adapter.merge(theta).items()}
        scores: dict[str, dict[int, Found]] = {way: {} for way in WAYS}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "det.onnx"
            detector.write_onnx(self._files.det, self.model.weights() | merged, path)
            reader = Reader(ReaderFiles(path, self._files.cls, self._files.rec), "v4")
            for k in of:
                image, true = pages[k].image, pages[k].quads
                # What the reader does before it recognises anything, which would cost ten times as much.
                scale = first_scale(image)
                coarse = reader._detect_at(image, scale)
                closer = second_scale(image, scale, coarse)
                served = coarse if closer is None else united(coarse, reader._detect_at(image, closer))
                scores["first look"][k], scores["served"][k] = score_page(true, coarse), score_page(true, served)
        return scores


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=running.DATA)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--splits", type=int, default=2)
    parser.add_argument("--adapter", choices=ADAPTERS, default="affine")
    parser.add_argument("--only", choices=("receipts", "forms"))
    parser.add_argument("--quick", action="store_true", help="20 pages of each kind, one split")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    bench, splits = Bench(given.adapter, given.quick), 1 if given.quick else given.splits
    found: dict[str, Any] = {"adapter": given.adapter, "parity": bench.parity(6 if given.quick else 60)}
    print("parity: " + ", ".join(f"{name} {value:g}" for name, value in found["parity"].items()), flush=True)
    count = 20 if given.quick else 100
    jobs: list[tuple[str, Callable[[], list[TrainPage]], tuple[str, ...]]] = [
        ("receipts", lambda: _receipts(given.data / "receipts" / "pages", count), KINDS),
        (
            "generated forms",
            lambda: [_generated("form", FORM_SEED + k) for k in range(count)],
            tuple(kind for kind in KINDS if kind != "form"),
        ),
    ]
    found["read_back"] = bench.read_back(12 if given.quick else 60)
    print("Hmean of perfect maps, by r: " + ", ".join(f"{r} {h:.3f}" for r, h in found["read_back"].items()))
    for name, made, kinds in jobs:
        if given.only and given.only not in name:
            continue
        begun = time.perf_counter()
        table = bench.table(name, made(), kinds, splits, given.seed)
        found[name] = {"pages": table.pages, "splits": splits, "rows": table.rows()}
        _show(table, splits, time.perf_counter() - begun)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))
    return 0


def _show(table: Table, splits: int, seconds: float) -> None:
    train = table.pages * 7 // 10
    print(f"\n{table.name}: {train} teach, {table.pages - train} test, {splits} split(s), {seconds:.0f} s")
    print(
        f"{'':20}{'noise':>7}"
        + "".join(f"{way:>10}:  P     R     H   change a page       " for way in WAYS)
        + "  served, over public"
    )
    for row in table.rows():
        parts = []
        for way in WAYS:
            p, r, h, change, low, high = (100 * row[way][each] for each in _COLUMNS)
            parts.append(f"{'':8}{p:6.1f}{r:6.1f}{h:6.1f}  {change:+5.1f} [{low:+5.1f} {high:+5.1f}]")
        change, low, high = (100 * row["over_public"][each] for each in _COLUMNS[3:])
        parts.append(f"  {change:+5.1f} [{low:+5.1f} {high:+5.1f}]")
        print(f"{row['name']:20}{row['noise_over_signal']:7.2f}" + "".join(parts), flush=True)


_COLUMNS = ("precision", "recall", "hmean", "change", "low", "high")


def _rates(tested: Tested) -> dict[str, float]:
    pooled = sum((each for scores in tested.values() for each in scores), Found())
    return {name: getattr(pooled, name) for name in ("precision", "recall", "hmean")}


def _change(stock: Tested, tested: Tested) -> dict[str, float]:
    """Of a page's Hmean, the mean over pages, with its interval."""
    before, after = ([fmean(each.hmean for each in side[k]) for k in sorted(side)] for side in (stock, tested))
    found = paired_bootstrap(before, after, seed=0)
    return {"change": found.mean, "low": found.low, "high": found.high}


def _receipts(folder: Path, count: int) -> list[TrainPage]:
    return [_receipt(path) for path in sorted(folder.glob("*.json"))[:count]]


def _receipt(path: Path) -> TrainPage:
    picture = cv2.imdecode(np.fromfile(path.with_suffix(".jpg"), np.uint8), cv2.IMREAD_COLOR_RGB)
    labels = json.loads(path.read_text())["lines"]
    return TrainPage(np.asarray(picture, np.uint8), tuple(_quad(each["points"]) for each in labels))


def _quad(points: Sequence[Sequence[float]]) -> Quad:
    a, b, c, d = ((float(x), float(y)) for x, y in points)
    return a, b, c, d


def _generated(kind: str, seed: int) -> TrainPage:
    page = generate(kind, seed)
    return TrainPage(page.image, tuple(line.quad for line in page.lines))


_say: Callable[[str], None] = lambda text: print(f"... {text}", flush=True)  # noqa: E731

if __name__ == "__main__":
    raise SystemExit(main())
