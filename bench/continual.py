"""Ten private rounds over a stream of documents whose kind changes twice: what is learned, kept and spent.

    python bench/continual.py [--rounds 10] [--arrivals 80] [--tests 60] [--seed 1] [--from-released] [--start]
                              [--closed] [--cache DIR] [--quick] [--json FILE] [--picture FILE.svg]

Slots arrive one after the other: thermal labels, then receipts, then identity cards, all generated. A round takes the
last slots (a pool of four rounds' arrivals), as `learners.replay` decides, each slot in four rounds at most, one
ticket of a lifetime of epsilon 8 at delta 1e-6 each. Every round starts from the model before it (or with
--from-released from the first one), and every candidate is kept: no gate, so that forgetting shows. A round that
the plan refuses is shown as refused. The first is the released model, or with --start the public start
(`learners.public_start`, trained unless --cache has it); rounds then rehearse less and go half of the way, as in the
service. With --closed models write ASCII alone, and only lines in it are learned and tested (the released model, which
comes first without --start, still writes all).

After each round: exact lines (case-folded) on documents of each kind that never train, and on the public anchor
(generated pages of all kinds and languages, as the daemon's gate has them), that one's character error rate, and what
the slot that spent most has spent. At the end: each kind before, when its own documents stopped coming, and last.
Only the head learns, so each document is looked at once. Needs the released weights, no other data.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from features import Shelf, public_started
from learners import evaluate, finetune, public_start, replay
from learners import plan as planning
from learners.adapters import Charset
from learners.catalogue import Looks
from learners.chunks import Seen, cache, look
from learners.errors import TooFewDocuments
from learners.evaluate import Score
from learners.lines import document
from learners.plan import Plan
from learners.public import public_documents
from learners.replay import Pool, SlotState, Unit
from learners.settings import Settings
from learners.synthesis import KINDS as PAGES
from learners.synthesis import Document, generate, thermal_label
from models import recogniser, weights
from models.ctc import Alphabet
from models.reader import crop
from models.trainee import Trainee
from privacy.noise import Debit, NoiseSource
from privacy.odometer import Odometer, ranges

KINDS = ("label", "receipt", "id_card")
ANCHOR = "anchor"
LINES = 4
"""Of each document."""
TICKETS = 4
Scores = dict[int, Score]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--arrivals", type=int, default=80, help="slots between two rounds; fewer may be refused")
    parser.add_argument("--tests", type=int, default=60, help="documents of each kind that never train")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--from-released", action="store_true", help="each round starts from the first model")
    parser.add_argument("--start", action="store_true", help="the first model is the public start")
    parser.add_argument("--closed", action="store_true", help="ASCII alone")
    parser.add_argument("--cache", type=Path, help="keeps the public start here")
    parser.add_argument("--data", help="not needed: every document is generated")
    parser.add_argument("--quick", action="store_true", help="three rounds")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rounds, start = 3 if given.quick else given.rounds, Shelf(given.cache) if given.start else None
    stream = Stream(given.seed * 1_000_000, given.tests, rounds, given.arrivals, start, given.closed)
    stream.head()
    stream.show(stream.row(0, None))
    for number in range(1, stream.rounds + 1):
        plan = stream.round(number, given.from_released)
        stream.show(stream.row(number, plan))
        if given.json:
            given.json.write_text(json.dumps(stream.found, indent=1))
    stream.forgotten()
    if given.picture:
        draw(stream.found, given.picture)
    return 0


class Stream:
    """The model in service, the slots so far and what they have spent."""

    def __init__(
        self, first: int, tests: int, rounds: int, arrivals: int, start: Shelf | None, closed: bool = False
    ) -> None:
        path = weights.fetch() / "rec.onnx"
        released, self.alphabet = recogniser.load(path), Alphabet(weights.characters(path))
        self.settings = Settings(
            capacity=TICKETS * arrivals,
            rounds_per_document=TICKETS,
            adapter="head",
            public_start=start is not None,
            charset="ascii" if closed else Settings().charset,
            closed=closed,
        )
        shown = pages = public_documents(first + 700_000)
        self.model: Trainee = copy.deepcopy(released)
        if start is not None:
            charset = Charset.of(self.settings.characters, self.alphabet, self.settings.closed)
            family = "v4" if closed else f"v4-{self.settings.charset}"
            self.model = public_started(start, family, released, charset)
            shown = public_start.rehearsed(first + 700_000)
        self._public, self._untaught = Looks(self.model, shown), Looks(released, pages)
        self.rounds, self.found, self.scores = rounds, list[dict[str, Any]](), list[dict[str, Scores]]()
        self._begun, self._first, self._arrivals = self.model.weights(), first, arrivals
        self.odometer = Odometer(self.settings.epsilon_lifetime, self.settings.delta)
        self._seen: dict[int, Seen] = {}
        self._used: dict[int, int] = {}
        self._tests = {k: [self._made(k, first + 500_000 + n) for n in range(tests)] for k in (*KINDS, ANCHOR)}

    def kind(self, number: int) -> str:
        """Of the documents that arrive before a round."""
        return KINDS[min((number - 1) * len(KINDS) // self.rounds, len(KINDS) - 1)]

    def round(self, number: int, from_released: bool) -> Plan | None:
        """The arrivals since the last round, and a round over the pool; None when the plan refuses it."""
        for slot in range((number - 1) * self._arrivals, number * self._arrivals):
            self._seen[slot] = self._made(self.kind(number), self._first + slot)
            self._used[slot] = 0
        slots = [Unit(slot, (SlotState.READY,), Pool.TRAIN, used) for slot, used in self._used.items()]
        members = replay.snapshot(slots, self.settings.capacity, TICKETS).members
        if from_released:
            self.model.load_weights(self._begun)
        try:
            first = not self.settings.public_start and (number == 1 or from_released)
            released = None if first else self._untaught  # as the daemon plans
            plan, adapter = planning.plan(self.settings, self.alphabet, len(members), self._public, released)
        except TooFewDocuments as refused:
            print(f"round {number}: {refused}", flush=True)
            return None
        self.odometer.refuse_over([plan.event], ranges(members))
        self.odometer.charge([plan.event], ranges(members))
        for slot in members:
            self._used[slot] += 1
        noise = NoiseSource(Debit.for_tests(plan.noise_multiplier, plan.steps, plan.sample_rate))
        cached = dict(zip(members, cache(adapter, [self._seen[slot] for slot in members]), strict=True))
        theta = finetune.learn(plan, adapter, members, cached, self._public.at(adapter.depth), noise)
        begun = self.model.weights()
        ended = begun | {name: value.numpy() for name, value in adapter.merge(theta).items()}
        self.model.load_weights(public_start.part_way(begun, ended, plan.part))
        return plan

    def row(self, number: int, plan: Plan | None) -> dict[str, Any]:
        """Rates on the documents that never train, by kind."""
        self.scores.append({kind: self._read(seen) for kind, seen in self._tests.items()})
        rates = {kind: evaluate.total(scores).rates for kind, scores in self.scores[-1].items()}
        row = {"round": number, "rates": rates, "worst_epsilon": self.odometer.worst()}
        if plan is not None:
            row |= {"members": plan.members, "noise_over_signal": plan.noise_over_signal}
        self.found.append(row)
        return row

    def head(self) -> None:
        kinds = "".join(f"{kind:>9}" for kind in (*KINDS, ANCHOR))
        print(f"round  arrived   pool  noise/signal  {kinds}   anchor CER   worst epsilon")

    def show(self, row: dict[str, Any]) -> None:
        exact = "".join(f"{100 * rates['exact_folded']:9.1f}" for rates in row["rates"].values())
        error, number = 100 * row["rates"][ANCHOR]["cer"], row["round"]
        done = f"{row['members']:5}  {row['noise_over_signal']:12.2f}" if "members" in row else f"{'-':>5}  {'-':>12}"
        spent = f"{row['worst_epsilon']:.3f} of {self.settings.epsilon_lifetime:g}"
        arrived = self.kind(number) if number else "-"
        print(f"{number:5}  {arrived:8} {done}  {exact}   {error:10.2f}   {spent}", flush=True)

    def forgotten(self) -> None:
        """Each kind before, when its own documents stopped coming, and at the end; the anchor's change."""
        print("\nexact lines: before, after the last round with new ones of the kind, at the end [change since, 95%]")
        for kind in KINDS:
            last = max(number for number in range(1, self.rounds + 1) if self.kind(number) == kind)
            told = [100 * self.found[k]["rates"][kind]["exact_folded"] for k in (0, last, self.rounds)]
            change = evaluate.compare(self.scores[last][kind], self.scores[-1][kind], "exact_folded", 0)
            print(f"  {kind:8} {told[0]:5.1f} {told[1]:5.1f} {told[2]:5.1f} {_interval(change)}")
        for rate in ("exact_folded", "cer"):
            change = evaluate.compare(self.scores[0][ANCHOR], self.scores[-1][ANCHOR], rate, 0)
            told = [100 * self.found[k]["rates"][ANCHOR][rate] for k in (0, self.rounds)]
            print(f"  anchor, {rate:12} {told[0]:5.2f} {told[1]:5.2f} {_interval(change)}")

    @torch.inference_mode()
    def _read(self, documents: Sequence[Seen]) -> Scores:
        def text(frames: torch.Tensor) -> str:
            scores = self.model.head(self.model.features_of(frames))
            return self.alphabet.best_path(scores.softmax(1).numpy())[0]

        truths = {k: list(seen.texts) for k, seen in enumerate(documents)}
        return evaluate.score_documents(truths, {k: [text(f) for f in seen.frames] for k, seen in enumerate(documents)})

    def _made(self, kind: str, seed: int) -> Seen:
        """A document of a kind, as what no round moves sees it; one without a usable line is drawn again."""
        while True:
            if kind == "label":
                page = thermal_label(seed)
            elif kind == ANCHOR:
                page = generate(PAGES[seed % len(PAGES)], seed)
            else:
                page = generate(kind, seed, "en_GB")
            made = document(0, [(crop(page.image, each.quad), each.text) for each in self._spread(page)], LINES)
            if made is not None:
                return look(self.model, [made])[0]
            seed += 250_000

    def _spread(self, page: Document) -> list[Any]:
        shut = set(self.settings.characters) if self.settings.closed else None
        lines = [each for each in page.lines if shut is None or shut >= set(each.text)]
        return lines[:: max(1, len(lines) // LINES)]


def _interval(change: Any) -> str:
    return f"[{100 * change.low:+.1f}, {100 * change.high:+.1f}]"


def draw(found: Sequence[dict[str, Any]], path: Path) -> None:
    """Exact lines of each kind after each round, and the largest epsilon that a slot has spent; refused rounds grey."""
    from matplotlib import pyplot

    figure, (read, spent) = pyplot.subplots(
        2, 1, figsize=(7, 5), sharex=True, height_ratios=(3, 1), layout="constrained"
    )
    rounds = [row["round"] for row in found]
    for kind in found[0]["rates"]:
        read.plot(rounds, [100 * row["rates"][kind]["exact_folded"] for row in found], marker="o", label=kind)
    for change in range(1, len(KINDS)):
        read.axvline(math.ceil(change * rounds[-1] / len(KINDS)) + 0.5, color="grey", linestyle=":")
    for number in (row["round"] for row in found[1:] if "members" not in row):
        read.axvspan(number - 0.5, number + 0.5, color="grey", alpha=0.15, lw=0)  # refused
    read.set(ylabel="lines read exactly, %")
    read.legend(fontsize=8)
    spent.step(rounds, [row["worst_epsilon"] for row in found], where="mid", color="black")
    spent.axhline(Settings().epsilon_lifetime, color="grey", linestyle="--", label="cap")
    spent.set(xlabel="round", ylabel="worst epsilon")
    figure.savefig(path)


if __name__ == "__main__":
    raise SystemExit(main())
