"""What a domain's documents would have chosen, to be judged on another's: rehearsal, and how far a candidate goes.

    python bench/choices.py [--domain forms|receipts|labels] [--epsilons 8,3] [--rehearsals 0,.3,1] [--rates 1]
                            [--parts .25,.5,.75,1] [--folds 4] [--only 0,1] [--draws 1] [--data DIR] [--cache DIR]
                            [--seed 0] [--quick] [--json FILE]

Rounds as in `utility.py`, from the public start, with the plan's rehearsal and learning rate changed; each candidate is
read at several parts of the way from the start to where its learning ended. `--rehearsals` are weights beside the
private gradient, `--rates` times the recipe's. What is chosen on one domain was not chosen in sight of another, which
may then judge it (leave-one-domain-out). In brackets is how each differs from what ships, in points of exact lines,
case-folded, 95%, resampled by document.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

import corpora
import running
from features import by_document
from learners import evaluate, finetune
from learners import plan as planning
from learners.chunks import cache
from learners.evaluate import Score
from learners.lines import MAX_LINES
from learners.recipes import PART, RECIPES, TAUGHT
from lessons import Bench, say, source
from shares import Scores

Choice = tuple[float, float, float, float]
"""Epsilon, rehearsal, rate, part."""


class Choices(Bench):
    """A domain's documents, and what else a round could have done with them."""

    def choices(
        self, held: Sequence[int], test: Sequence[int], changes: Sequence[tuple[float, float]], parts: Sequence[float]
    ) -> dict[Choice, Scores]:
        """Scores on `test` after rounds on all documents but `held`, for each `(rehearsal, rate)` and part."""
        train, learned = self._taught(set(held))
        start = by_document(self.start, self._frames(self.start, test))
        settings = replace(self.settings, capacity=len(train))
        surveyed = self._surveyed(settings, learned)
        adapter, found = surveyed.adapter, dict[Choice, Scores]()
        slots = dict(zip(train, cache(adapter, learned.at(adapter.depth)), strict=True))
        for epsilon in self.epsilons:
            shipped = planning.planned(replace(settings, epsilon_lifetime=epsilon), surveyed, len(train))
            for rehearsal, rate in changes:
                plan = replace(shipped, rehearsal=rehearsal, learning_rate=rate * shipped.learning_rate)
                for _ in range(self.draws):
                    public = self.public.at(adapter.depth)
                    theta = finetune.learn(plan, adapter, train, slots, public, source(plan))
                    for part in parts:
                        scores = self._scores(test, self._merged(adapter, part * theta), start)
                        row = found.setdefault((epsilon, rehearsal, rate, part), {})
                        row |= {k: row.get(k, Score()) + score for k, score in scores.items()}
                say(f"epsilon {epsilon:g}, rehearsal {rehearsal:g}, rate {rate:g}: learned")
        return found


def asked() -> argparse.Namespace:
    """The command line, and what else `Bench` asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--domain", choices=("receipts", "forms", "labels"), default="forms")
    parser.add_argument("--epsilons", type=_numbers, default=(8.0, 3.0))
    parser.add_argument("--rehearsals", type=_numbers, default=(0.0, TAUGHT, 1.0))
    parser.add_argument("--rates", type=_numbers, default=(1.0,), help="times the recipe's learning rate")
    parser.add_argument("--parts", type=_numbers, default=(0.25, PART, 0.75, 1.0))
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--only", type=lambda text: [int(k) for k in text.split(",")], help="these folds")
    parser.add_argument("--draws", type=int, default=1, help="of the noise, for each choice")
    parser.add_argument("--documents", type=int, default=350, help="of --domain labels")
    parser.add_argument("--data", type=Path, default=running.DATA)
    parser.add_argument("--cache", type=Path, help="that of utility.py")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="40 documents, one fold, epsilon 8")
    parser.add_argument("--json", type=Path)
    fixed = {"family": "v4", "adapter": "head", "lines": MAX_LINES}
    parser.set_defaults(**fixed, **dict.fromkeys(("open", "no_start", "no_neck", "anchor", "all"), False))
    parser.set_defaults(brief=True, all_the_way=False, no_peer=True)
    given = parser.parse_args()
    for name in ("epsilons", "rates", "parts"):
        if wrong := [value for value in getattr(given, name) if not 0.0 < value < math.inf]:
            parser.error(f"expected finite --{name} above 0, got {wrong[0]:g}")
    for name, least in (("folds", 2), ("draws", 1), ("documents", 2), ("seed", 0)):
        if getattr(given, name) < least:
            parser.error(f"expected --{name} of {least} at least, got {getattr(given, name)}")
    if wrong := [value for value in given.rehearsals if not 0.0 <= value < math.inf]:
        parser.error(f"expected finite --rehearsals of 0 at least, got {wrong[0]:g}")
    if wrong := [k for k in given.only or () if not 0 <= k < given.folds]:
        parser.error(f"expected --only from 0 to {given.folds - 1}, got {wrong[0]}")
    if given.json and not given.json.parent.is_dir():
        parser.error(f"expected --json in a folder that is there, got {given.json}")
    return given


def main() -> int:
    given = asked()
    torch.set_num_threads(1)
    papers = corpora.load(given.domain, given.data, given.documents, given.seed)[: 40 if given.quick else None]
    folds = corpora.folds(papers, given.folds, given.seed)
    bench = Choices(papers, given, given.epsilons[: 1 if given.quick else None])
    changes = [(rehearsal, rate) for rehearsal in given.rehearsals for rate in given.rates]
    found: dict[Choice, Scores] = {}
    for number in given.only or range(1 if given.quick else len(folds)):
        test = corpora.apart(papers, folds[number])
        say(f"fold {number}: {len(papers) - len(folds[number])} documents to learn from, {len(test)} to test on")
        for choice, scores in bench.choices(folds[number], test, changes, given.parts).items():
            found.setdefault(choice, {}).update(scores)
        if given.json:
            rows = [(choice, {k: asdict(score) for k, score in row.items()}) for choice, row in found.items()]
            given.json.write_text(json.dumps(rows))
    table(found, given.seed)
    return 0


def table(found: dict[Choice, Scores], seed: int) -> None:
    """Every choice, and at each epsilon that which reads most."""
    for epsilon in dict.fromkeys(choice[0] for choice in found):
        rows = {choice: row for choice, row in found.items() if choice[0] == epsilon}
        best = max(rows, key=lambda choice: evaluate.total(rows[choice]).rates["exact_folded"])
        ships = rows.get((epsilon, RECIPES["head"].rehearsal * TAUGHT, 1.0, PART))
        print(f"\nepsilon {epsilon:g}    rehearsal  rate  part | exact [from what ships]   bare    CER")
        for choice, row in rows.items():
            rates, apart = evaluate.total(row).rates, ""
            if ships is not None and ships is not row:
                gain = evaluate.compare(ships, row, "exact_folded", seed)
                apart = f"[{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"
            told = f"{100 * rates['exact_folded']:5.1f} {apart:16} {100 * rates['exact_spaceless']:6.1f}"
            named = "{:18.2g}{:7.2g}{:6.2g}".format(*choice[1:])
            print(f"{named} | {told} {100 * rates['cer']:6.2f}{'  chosen' if choice == best else ''}")


def _numbers(text: str) -> list[float]:
    try:
        return [float(each) for each in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers, got {text}") from None


if __name__ == "__main__":
    raise SystemExit(main())
