"""How many documents it takes: lines read exactly against the size of the pool, at several epsilons and at none.

    python bench/curve.py [--sizes 100,200,500,1000,2000,5000,10000,20000] [--epsilons 8,3,1] [--adapter head]
                          [--start [--cache DIR]] [--tests 300] [--seed 5] [--quick] [--json FILE] [--picture FILE.svg]

Generated thermal labels; a pool is the first N of them. One round takes the whole lifetime (delta 1e-6) with the
recipe of `learners.plan`: every step over the whole pool up to 2,000 slots, Poisson samples of 1,000 beyond. A plan
that predicts more noise than the adapter stands is a refusal, and shown as one. All rows write ASCII only. Intervals
are 95%, over the test documents, which are the same for all; "kept" is the share of the gain without privacy from as
many documents. Rounds begin from the released model, or with --start from the public start (trained unless --cache has
it): then they rehearse less and go half of the way, as in the service, and what is gained is over the start. With
--json FILE of the same run, rows that are there are kept. Needs the released weights, no other data.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

import corpora
from features import Shelf, public_started
from learners import evaluate, finetune, public_start
from learners import plan as planning
from learners.adapters import Adapter, Charset
from learners.catalogue import PUBLIC_DOCUMENTS, Looks
from learners.chunks import Cached, Seen, cache, look
from learners.device import CPU
from learners.errors import TooFewDocuments
from learners.evaluate import Score
from learners.lines import TrainDocument, document
from learners.plan import Plan
from learners.public import public_documents
from learners.settings import Settings
from learners.survey import built, survey
from models import recogniser, weights
from models.ctc import Alphabet
from privacy.noise import Debit, NoiseSource

SIZES = (100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000)
EPSILONS = (8.0, 3.0, 1.0)
Scores = dict[int, Score]
Row = dict[str, float | None]
"""Without privacy, epsilon is None."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=lambda text: [int(n) for n in text.split(",")], default=SIZES)
    parser.add_argument("--epsilons", type=lambda text: [float(e) for e in text.split(",")], default=EPSILONS)
    parser.add_argument("--adapter", choices=("bias", "head", "top", "lora", "norm", "neck"), default="head")
    parser.add_argument("--start", action="store_true", help="from the public start")
    parser.add_argument("--cache", type=Path, help="keeps the public start here")
    parser.add_argument("--tests", type=int, default=300, help="labels that never train")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--data", help="not needed: every document is generated")
    parser.add_argument("--quick", action="store_true", help="100 and 200 documents, epsilon 8 and none")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path, help="draw the curves")
    given = parser.parse_args()
    torch.set_num_threads(1)
    sizes = (100, 200) if given.quick else given.sizes
    shelf = Shelf(given.cache) if given.start else None
    curve = Curve(given.seed * 1_000_000, given.tests, adapter=given.adapter, shelf=shelf)
    about = {name: getattr(given, name) for name in ("seed", "tests", "adapter", "start")}
    book = Book(given.json, about)
    book.add(curve.row(0, 0.0))
    if not given.start:
        book.add(curve.row(PUBLIC_DOCUMENTS, 0.0))
    for size in sizes:
        for epsilon in (math.inf, *given.epsilons[: 1 if given.quick else None]):
            if not book.has(size, epsilon):
                book.add(curve.row(size, epsilon))
    table(book.rows)
    if given.picture:
        draw(book.rows, given.picture)
    return 0


class Book:
    """The rows so far, in a file if there is one."""

    def __init__(self, path: Path | None, run: dict[str, object]) -> None:
        self._path, self._run, self.rows = path, run, list[Row]()
        if path and path.exists():
            held = json.loads(path.read_text())
            if held.pop("rows", None) is None or held != run:
                sys.exit(f"{path} holds another run than {run}; name another file with --json")
            self.rows = json.loads(path.read_text())["rows"]

    def has(self, size: int, epsilon: float) -> bool:
        return _find(self.rows, size, epsilon) is not None

    def add(self, row: Row) -> None:
        """In place of one of the same documents and epsilon."""
        same = [(old["documents"], old["epsilon"]) != (row["documents"], row["epsilon"]) for old in self.rows]
        self.rows = [old for old, other in zip(self.rows, same, strict=True) if other] + [row]
        if self._path:
            self._path.write_text(json.dumps(self._run | {"rows": self.rows}, indent=1))


def _find(rows: Sequence[Row], size: int, epsilon: float) -> Row | None:
    wanted = (size, epsilon if epsilon < math.inf else None)
    return next((row for row in rows if (row["documents"], row["epsilon"]) == wanted), None)


class Curve:
    """Labels as the frozen part of the model sees them, planned for on the processor and learned on a device.

    What it says of a pool's lines is kept in half precision: to `head` 20,000 labels are some 1.5 GB.

    Args:
        first: the seed of the pool's first label.
        shelf: where the public start is, if rounds begin from it.
    """

    def __init__(
        self, first: int, tests: int, on: torch.device = CPU, adapter: str = "head", shelf: Shelf | None = None
    ) -> None:
        folder = weights.fetch()
        self._model = released = recogniser.load(folder / "rec.onnx")
        self._alphabet = Alphabet(weights.characters(folder / "rec.onnx"))
        self._settings = Settings(
            charset="ascii", closed=True, rounds_per_document=1, adapter=adapter, public_start=shelf is not None
        )
        self._charset = Charset.of(self._settings.characters, self._alphabet, closed=True)
        shown, before = public_documents(first + 700_000), None
        if shelf:
            before = Looks(released, shown)
            self._model = public_started(shelf, "v4", released, self._charset)
            shown = public_start.rehearsed(first + 700_000)
        public = Looks(self._model, shown)
        self._surveyed = survey(self._settings, self._alphabet, public, before)
        self._public = public.to(on)
        self.adapter = built(self._settings, self._alphabet, adapter, self._public)
        self._first, self.pool, self._unseen = first, list[Cached](), list[TrainDocument]()
        tested = [_label(first + 800_000 + k) for k in range(tests)]
        self._truths = {k: [line.text for line in each.lines] for k, each in enumerate(tested)}
        self._tests = look(self._model, tested, depth=self.adapter.depth)
        self._baseline: Scores | None = None

    def row(self, size: int, epsilon: float) -> Row:
        """A round over the first `size` labels; size 0 is the baseline, epsilon 0 the public documents alone."""
        started = time.process_time()
        row: Row = {"documents": size, "epsilon": epsilon if epsilon < math.inf else None}
        try:
            theta = torch.zeros(self.adapter.size)
            if size:
                plan = self.plan(size, epsilon)
                for enough in range(len(self.pool) + 1, size + 1 if epsilon else 0):  # no image is kept
                    self.generate(enough)
                    self.look()
                theta = plan.part * self.learned(plan, teach=epsilon > 0)
            scores = self.scores(theta)
        except TooFewDocuments as refused:
            print(f"{size:6} documents, epsilon {epsilon:g}: {refused}", flush=True)
            return row | {"missing": float(refused.missing or 0)}
        self._baseline = self._baseline or scores
        gain = evaluate.compare(self._baseline, scores, "exact_folded", 0)
        rates = evaluate.total(scores).rates
        row |= {"exact": rates["exact_folded"], "low": gain.low, "high": gain.high, "cer": rates["cer"]}
        print(
            f"{size:6} documents, epsilon {epsilon:g}: exact {100 * rates['exact_folded']:.1f} "
            f"[{100 * gain.low:+.1f} {100 * gain.high:+.1f} over the baseline], CER {100 * rates['cer']:.2f}; "
            f"{time.process_time() - started:.0f} CPU s",
            flush=True,
        )
        return row

    def plan(self, size: int, epsilon: float) -> Plan:
        """Of a round over `size` labels; without privacy at infinity and at 0. Raises TooFewDocuments."""
        private = 0 < epsilon < math.inf
        settings = replace(self._settings, capacity=size, epsilon_lifetime=epsilon if private else 8.0)
        plan, _ = planning.choose(settings, self._surveyed, size)
        return plan if private else replace(plan, noise_multiplier=1e-6)

    def generate(self, size: int, with_map: Callable[..., Iterable[TrainDocument]] = map) -> None:
        """The labels that the pool of that size lacks, as images; `with_map` may be that of a pool of processes."""
        missing = range(self._first + len(self.pool) + len(self._unseen), self._first + size)
        self._unseen += with_map(_label, missing)

    def look(self) -> None:
        """Takes them into the pool."""
        for each in self._unseen:
            [cached] = cache(self.adapter, look(self._model, [each], depth=self.adapter.depth))
            self.pool.append(replace(cached, inputs=tuple(line.half() for line in cached.inputs)))
        self._unseen.clear()

    def learned(self, plan: Plan, adapter: Adapter | None = None, teach: bool = True) -> Tensor:
        """Where a round over the pool's first documents ends; over empty slots unless they `teach`."""
        source = NoiseSource(Debit.for_tests(plan.noise_multiplier, plan.steps, plan.sample_rate))
        slots = dict(enumerate(self.pool[: plan.members])) if teach else {}
        public, adapter = self._public.at(self.adapter.depth), adapter or self.adapter
        return finetune.learn(plan, adapter, range(plan.members), slots, public, source, device=self.adapter.device)

    @torch.inference_mode()
    def scores(self, theta: Tensor) -> Scores:
        return evaluate.score_documents(
            self._truths, {k: self._read(theta, each) for k, each in enumerate(self._tests)}
        )

    def _read(self, theta: Tensor, seen: Seen) -> list[str]:
        """Best paths (`models.ctc`) over the characters that learn: the others are shut out."""
        names, theta = ["", *self._charset.local], theta.to(self.adapter.device)
        found = []
        for frames in seen.frames:
            inputs = self.adapter.inputs(frames.unsqueeze(0).to(self.adapter.device))
            best = torch.unique_consecutive(self.adapter.logits(theta, [inputs]).argmax(1))
            found.append("".join(names[int(k)] for k in best))
        return found


def _label(seed: int) -> TrainDocument:
    made = document(0, corpora.label(seed).lines)
    if made is None:
        raise ValueError(f"Expected a label with a line, got none from seed {seed}.")
    return made


def table(rows: Sequence[Row]) -> None:
    """Exact lines in percent, and the share of the gain that privacy leaves."""
    print("\ndocuments  without privacy" + "".join(f"{f'epsilon {e:g}':>11}   kept" for e in EPSILONS))
    base = _exact(rows, 0, 0.0) or 0.0
    for size in sorted({int(row["documents"] or 0) for row in rows if row["epsilon"] is None}):
        most = _exact(rows, size, math.inf) or math.nan
        cells = []
        for found in (_exact(rows, size, epsilon) for epsilon in EPSILONS):
            kept = f"{100 * (found - base) / (most - base):5.0f}%" if found else ""
            cells.append(f"{100 * found:11.1f} {kept}" if found else f"{'-':>11}{'':7}")
        print(f"{size:9,}  {100 * most:15.1f}{''.join(cells)}")


def _exact(rows: Sequence[Row], size: int, epsilon: float) -> float | None:
    row = _find(rows, size, epsilon)
    return row.get("exact") if row else None


def draw(rows: Sequence[Row], path: Path) -> None:
    """Exact lines against documents, a curve an epsilon."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
    rows = sorted(rows, key=lambda row: row["documents"] or 0)
    base, *public = (row for row in rows if row["epsilon"] == 0)
    for label, row, style in (("before", base, ":"), *(("public documents alone", row, "--") for row in public)):
        axes.axhline(100 * (row["exact"] or 0), color="grey", linestyle=style, label=label)
    for epsilon in (math.inf, *EPSILONS):
        mine = [row for row in rows if row["epsilon"] == (epsilon if epsilon < math.inf else None) and "exact" in row]
        label = f"epsilon {epsilon:g}" if epsilon < math.inf else "without privacy"
        middle = [100 * (row["exact"] or 0) for row in mine]
        axes.plot([row["documents"] for row in mine], middle, marker="o", label=label)
        low, high = ([100 * ((base["exact"] or 0) + (row[side] or 0)) for row in mine] for side in ("low", "high"))
        axes.fill_between([row["documents"] for row in mine], low, high, alpha=0.12)
    axes.set(xscale="log", xlabel="documents in the pool", ylabel="lines read exactly, %")
    axes.legend(loc="lower right", fontsize=8)
    figure.savefig(path)


if __name__ == "__main__":
    raise SystemExit(main())
