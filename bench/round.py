"""Does a private round pay? Label print that stock PP-OCRv4 reads badly, before and after one round.

    python bench/round.py [--documents 200] [--seed 1] [--quick] [--json FILE]

Generated labels of two or three lines go the way that documents go in the daemon: found and cut out by the
detector, labelled by a sidecar. One round learns from them at the privacy of one of four tickets of a lifetime of
epsilon 8; other labels, plain print and Chinese print show what it learned and what it forgot. The settings
were chosen on other seeds. Basis, plan and rehearsal come from generated receipts, forms, letters, cards,
screenshots and plain lines: no label among them; a row says what those alone would do. Intervals are 95%,
resampled by document. Needs the released weights, no other data.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from learners import evaluate, finetune
from learners import plan as planning
from learners.adapters import Adapter, Charset, HeadAdapter
from learners.catalogue import Looks
from learners.chunks import cache, look
from learners.labels import attach
from learners.lines import TrainDocument, document
from learners.plan import Plan
from learners.public import public_documents
from learners.settings import Settings
from learners.sidecars import read_sidecar, write_sidecar
from learners.survey import survey
from learners.synthesis import line, thermal_label
from models import recogniser, weights
from models.ctc import Alphabet
from models.reader import Reader, crop
from models.recogniser import Recogniser
from privacy.noise import Debit, NoiseSource

Scores = dict[str, dict[int, evaluate.Score]]
"""By domain and document."""
RANGE = 1_000_000
"""Seeds of one run: train, test, plain and Chinese documents have a range each."""


@dataclass(frozen=True)
class Row:
    """One model's row of the table."""

    name: str
    settings: Settings
    rehearse: bool = True
    private: bool = True
    learn: bool = True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", help="not needed: every document is generated")
    parser.add_argument("--quick", action="store_true", help="60 documents, and the main rows only")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(weights.fetch(), given.seed, 60 if given.quick else given.documents, 15 if given.quick else 50)
    rows = ROWS[: 2 if given.quick else None]
    found = [bench.stock(), bench.stock(closed=True), *(bench.row(row) for row in rows)]
    bench.table(found)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))
    return 0


ASCII, LATIN = Settings(charset="ascii", adapter="head"), Settings(charset="latin", adapter="head")
ROWS = (
    Row("head, latin, full softmax", LATIN),
    Row("  without rehearsal", LATIN, rehearse=False),
    Row("  whole lifetime at once", replace(LATIN, rounds_per_document=1)),
    Row("  without privacy", LATIN, private=False),
    Row("  public documents alone", LATIN, private=False, learn=False),
    Row("head, ascii, full softmax", ASCII),
    Row("head, ascii, others closed", replace(ASCII, closed=True)),
    Row("bias, latin", replace(LATIN, adapter="bias")),
    Row("top, ascii, others closed", replace(ASCII, adapter="top", closed=True)),
)


class Bench:
    """The documents of one seed, what the trunk says of them, and the stock model's scores."""

    def __init__(self, folder: Path, seed: int, documents: int, tests: int) -> None:
        self.model = recogniser.load(folder / "rec.onnx")
        self.alphabet = Alphabet(weights.characters(folder / "rec.onnx"))
        self._reader = Reader(weights.v4_files(folder), "v4")
        first = seed * RANGE
        _say(f"reading {documents} labels")
        self.train = look(self.model, self._labels(range(first, first + documents)))
        _say(f"reading {tests} held-back labels, plain and Chinese lines")
        self.tests = {
            "thermal": look(self.model, self._labels(range(first + 500_000, first + 500_000 + tests))),
            "plain": look(self.model, _lines(first, 3 * tests, "plain")),
            "chinese": look(self.model, _lines(first, 3 * tests, "chinese")),
        }
        self.capacity = documents
        self.public = Looks(self.model, public_documents(first + 700_000))
        self._stock = {False: self._all(self.model), True: self._all(self._closed())}

    def stock(self, closed: bool = False) -> dict[str, Any]:
        name = "stock, all but ascii closed" if closed else "stock PP-OCRv4"
        return {"name": name, "scores": _rates(self._stock[closed])}

    def row(self, row: Row) -> dict[str, Any]:
        """Plans, trains and scores one row; a round that is refused says why."""
        _say(row.name.strip())
        settings = replace(row.settings, capacity=self.capacity)
        [surveyed] = survey(settings, self.alphabet, self.public)
        adapter, plan = surveyed.adapter, planning.planned(settings, surveyed, self.capacity)
        if not row.private:
            epsilon = math.inf if row.learn else 0.0
            plan = replace(plan, noise_multiplier=1e-6, epsilon_round=epsilon, noise_over_signal=0.0)
        slots = range(len(self.train))
        cached = dict(zip(slots, cache(adapter, self.train), strict=True)) if row.learn else {}
        begun = time.perf_counter()
        rehearsed = self.public.at(adapter.depth) if row.rehearse else ()
        theta = finetune.learn(plan, adapter, slots, cached, rehearsed, _source(plan))
        seconds = (time.perf_counter() - begun) / plan.steps
        scores, stock = self._all(self._merged(adapter, theta)), self._stock[settings.closed]
        change = {d: vars(evaluate.compare(stock[d], scores[d], "exact", seed=0)) for d in scores}
        found = {"name": row.name, "seconds_a_step": seconds, "scores": _rates(scores), "change": change}
        return found | _numbers(plan)

    def table(self, found: Sequence[dict[str, Any]]) -> None:
        """In percent: exact lines and their change from stock; case-folded; the same without spaces ("bare"); CER."""
        print(f"\n{len(self.train)} documents, tested on {len(self.tests['thermal'])} others")
        print(f"{'':28} {'epsilon':>7} {'n/s':>5}  thermal  change       folded  bare    CER | plain   CER | chinese")
        for each in found:
            thermal, plain, chinese = (each["scores"][d] for d in ("thermal", "plain", "chinese"))
            change = each.get("change", {}).get("thermal")
            bounds = f"[{100 * change['low']:+5.1f} {100 * change['high']:+5.1f}]" if change else " " * 13
            print(
                f"{each['name']:28} {each.get('epsilon_round', 0):7.2f} {each.get('noise_over_signal', 0):5.2f}  "
                f"{100 * thermal['exact']:7.1f} {bounds:15} {100 * thermal['exact_folded']:6.1f} "
                f"{100 * thermal['exact_spaceless']:5.1f} {100 * thermal['cer']:6.2f} | "
                f"{100 * plain['exact']:5.1f} {100 * plain['cer']:5.2f} | {100 * chinese['exact']:5.1f}"
            )

    def _merged(self, adapter: Adapter, theta: torch.Tensor) -> Recogniser:
        candidate = Recogniser()
        candidate.load_weights(self.model.weights() | {k: v.numpy() for k, v in adapter.merge(theta).items()})
        return candidate.eval()

    def _closed(self) -> Recogniser:
        charset = Charset.of(ASCII.characters, self.alphabet, closed=True)
        adapter = HeadAdapter(self.model, charset, None)
        return self._merged(adapter, torch.zeros(adapter.size))

    def _all(self, model: Recogniser) -> Scores:
        return {domain: self._scores(domain, model) for domain in self.tests}

    def _scores(self, domain: str, model: Recogniser) -> dict[int, evaluate.Score]:
        seen = self.tests[domain]
        truths = {k: list(each.texts) for k, each in enumerate(seen)}
        readings = {k: [self._read(model, frames) for frames in each.frames] for k, each in enumerate(seen)}
        return evaluate.score_documents(truths, readings)

    @torch.inference_mode()
    def _read(self, model: Recogniser, frames: torch.Tensor) -> str:
        project = model.neck.project
        hidden = torch.nn.functional.linear(frames, project.weight.flatten(1), project.bias)
        scores: torch.Tensor = model.head(torch.nn.functional.silu(hidden))
        return self.alphabet.best_path(scores.softmax(1).numpy())[0]

    def _labels(self, seeds: range) -> list[TrainDocument]:
        """As in the daemon: the detector finds the lines, a sidecar says what they read."""
        found = []
        for seed in seeds:
            made = thermal_label(seed)
            labels = read_sidecar(write_sidecar(made), "label.png")
            attached = attach(labels, self._reader.read(made.image), [], self.alphabet.characters[1:])
            crops = [(crop(made.image, match.quad), match.text) for match in attached.matches]
            if (taught := document(seed, crops)) is not None:
                found.append(taught)
        return found


def _lines(first: int, count: int, domain: str) -> list[TrainDocument]:
    made = [document(k, [line(first + k, domain)]) for k in range(count)]
    return [each for each in made if each is not None]


def _rates(scores: Scores) -> dict[str, dict[str, float]]:
    return {domain: evaluate.total(by_document).rates for domain, by_document in scores.items()}


def _numbers(plan: Plan) -> dict[str, float]:
    names = ("epsilon_round", "noise_multiplier", "noise_over_signal", "parameters", "steps", "max_grad_norm")
    return {name: getattr(plan, name) for name in names}


def _source(plan: Plan) -> NoiseSource:
    return NoiseSource(Debit.for_tests(plan.noise_multiplier, plan.steps, plan.sample_rate), seed=bytes(32))


_say: Callable[[str], None] = lambda text: print(f"... {text}", flush=True)  # noqa: E731

if __name__ == "__main__":
    raise SystemExit(main())
