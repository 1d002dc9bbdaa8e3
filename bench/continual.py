"""Ten private rounds over a stream of documents whose kind changes twice: what is learned, kept and spent.

    python bench/continual.py [--rounds 10] [--arrivals 80] [--seed 1] [--quick] [--json FILE]
                              [--picture FILE.svg]

Slots arrive one after the other: thermal labels, then receipts, then identity cards, all generated. A round takes the
last slots (a pool of four rounds' arrivals), as `learners.replay` decides, each slot in four rounds at most, one
ticket of a lifetime of epsilon 8 at delta 1e-6 each. Every round starts from the model before it, and every candidate
is kept (no gate), so that forgetting would show. After each round: exact lines (case-folded) on documents of each
kind that never train, and on clean print (the anchor), and what the slot that spent most has spent. Needs the
released weights, no other data.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from learners import evaluate, finetune, replay
from learners import plan as planning
from learners.catalogue import Looks
from learners.chunks import look
from learners.lines import TrainDocument, document
from learners.plan import Plan, Settings
from learners.public import public_documents
from learners.replay import Pool, SlotState, Unit
from learners.synthesis import Document, generate, line, thermal_label
from models import recogniser, weights
from models.ctc import Alphabet
from models.reader import crop
from models.recogniser import Recogniser
from privacy.noise import Debit, NoiseSource
from privacy.odometer import Odometer, ranges

KINDS = ("label", "receipt", "id_card")
LINES = 6
TICKETS = 4


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--arrivals", type=int, default=80, help="slots between two rounds; fewer may be refused")
    parser.add_argument("--tests", type=int, default=30, help="documents of each kind that never train")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", help="not needed: every document is generated")
    parser.add_argument("--quick", action="store_true", help="three rounds")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rounds, arrivals = 3 if given.quick else given.rounds, given.arrivals
    stream = Stream(given.seed * 1_000_000, rounds, arrivals, given.tests)
    found = [stream.scores(0, None)]
    print("round  pool  " + "".join(f"{kind:>10}" for kind in (*KINDS, "anchor")) + "   anchor CER   worst epsilon")
    stream.show(found[-1])
    for number in range(1, rounds + 1):
        plan = stream.round(number)
        found.append(stream.scores(number, plan))
        stream.show(found[-1])
        if given.json:
            given.json.write_text(json.dumps(found, indent=1))
    if given.picture:
        draw(found, given.picture)
    return 0


class Stream:
    """The model in service, the slots so far and what they have spent."""

    def __init__(self, first: int, rounds: int, arrivals: int, tests: int) -> None:
        folder = weights.fetch()
        self.model = recogniser.load(folder / "rec.onnx")
        self.alphabet = Alphabet(weights.characters(folder / "rec.onnx"))
        self._first, self._rounds, self._arrivals = first, rounds, arrivals
        self.settings = Settings(capacity=TICKETS * arrivals, rounds_per_document=TICKETS, adapter="head")
        self.odometer = Odometer(self.settings.epsilon_lifetime, self.settings.delta)
        self._public = public_documents(first + 700_000)
        self._documents: dict[int, TrainDocument] = {}
        self._used: dict[int, int] = {}
        self.tests = {k: [_made(k, first + 500_000 + n, n) for n in range(tests)] for k in (*KINDS, "anchor")}

    def round(self, number: int) -> Plan:
        """The arrivals since the last round, and a round over the pool."""
        kind = KINDS[min((number - 1) * len(KINDS) // self._rounds, len(KINDS) - 1)]
        for slot in range((number - 1) * self._arrivals, number * self._arrivals):
            self._documents[slot] = _made(kind, self._first + slot, slot)
            self._used[slot] = 0
        slots = [Unit(slot, (SlotState.READY,), Pool.TRAIN, used) for slot, used in self._used.items()]
        members = replay.snapshot(slots, self.settings.capacity, TICKETS).members
        public = Looks(self.model, self._public)
        plan, adapter = planning.plan(self.settings, self.alphabet, len(members), public)
        self.odometer.refuse_over([plan.event], ranges(members))
        self.odometer.charge([plan.event], ranges(members))
        for slot in members:
            self._used[slot] += 1
        noise = NoiseSource(Debit.for_tests(plan.noise_multiplier, plan.steps, plan.sample_rate))
        documents = {slot: self._documents[slot] for slot in members}
        candidate = finetune.fit(self.model, documents, members, plan, adapter, noise, public=public)
        self.model = Recogniser()
        self.model.load_weights(candidate)
        self.model.eval()
        return plan

    def scores(self, number: int, plan: Plan | None) -> dict[str, Any]:
        """Rates on the documents that never train, by kind."""
        rates = {kind: self._rates(documents) for kind, documents in self.tests.items()}
        members = 0 if plan is None else plan.members
        return {"round": number, "members": members, "rates": rates, "worst_epsilon": self.odometer.worst()}

    def show(self, row: dict[str, Any]) -> None:
        exact = "".join(f"{100 * rates['exact_folded']:10.1f}" for rates in row["rates"].values())
        error = 100 * row["rates"]["anchor"]["cer"]
        spent = f"{row['worst_epsilon']:.3f} of {self.settings.epsilon_lifetime:g}"
        print(f"{row['round']:5}  {row['members']:4}  {exact}   {error:10.2f}   {spent:>13}", flush=True)

    @torch.inference_mode()
    def _rates(self, documents: Sequence[TrainDocument]) -> dict[str, float]:
        total = evaluate.Score()
        for seen in look(self.model, documents, depth="backbone"):
            for text, frames in zip(seen.texts, seen.frames, strict=True):
                scores = self.model.head(self.model.neck(frames.unsqueeze(0)))[0]
                total += evaluate.score_line(text, self.alphabet.best_path(scores.softmax(1).numpy())[0])
        return total.rates


def draw(found: Sequence[dict[str, Any]], path: Path) -> None:
    """Exact lines of each kind after each round, above what the slot that spent most has spent."""
    from matplotlib import pyplot

    figure, (read, spent) = pyplot.subplots(
        2, 1, figsize=(7, 5), sharex=True, height_ratios=(3, 1), layout="constrained"
    )
    rounds = [row["round"] for row in found]
    for kind in found[0]["rates"]:
        read.plot(rounds, [100 * row["rates"][kind]["exact_folded"] for row in found], marker="o", label=kind)
    for change in range(1, len(KINDS)):
        read.axvline(math.ceil(change * rounds[-1] / len(KINDS)) + 0.5, color="grey", linestyle=":")
    read.set(ylabel="lines read exactly, %")
    read.legend(fontsize=8)
    spent.step(rounds, [row["worst_epsilon"] for row in found], where="mid", color="black")
    spent.axhline(Settings().epsilon_lifetime, color="grey", linestyle="--", label="cap")
    spent.set(xlabel="round", ylabel="worst epsilon")
    figure.tight_layout()
    figure.savefig(path)


def _made(kind: str, seed: int, slot: int) -> TrainDocument:
    """A document of a kind; one without a usable line is drawn again from a seed of its own."""
    while True:
        if kind == "anchor":
            crops = [line(seed * LINES + k, "plain") for k in range(LINES)]
        else:
            page = thermal_label(seed) if kind == "label" else generate(kind, seed, "en_GB")
            crops = [(crop(page.image, each.quad), each.text) for each in _spread(page)]
        made = document(slot, crops, LINES)
        if made is not None:
            return made
        seed += 250_000


def _spread(page: Document) -> list[Any]:
    return list(page.lines[:: max(1, len(page.lines) // LINES)])


if __name__ == "__main__":
    raise SystemExit(main())
