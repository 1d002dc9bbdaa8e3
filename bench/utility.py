"""What privacy costs: how well documents are read after learning from others, at several epsilons and at none.

    python bench/utility.py [--domain receipts|forms|labels] [--family v4|v6] [--adapter head] [--data DIR]
                            [--lines 16] [--documents 350] [--folds 5] [--only 0,1] [--epsilons 8,3,2,1] [--draws 1]
                            [--open] [--all] [--no-neck] [--no-peer] [--brief] [--no-start] [--anchor]
                            [--all-the-way] [--cache DIR] [--quick] [--seed 0] [--json FILE]
    python bench/utility.py --join FILE FILE ... [--ceilings FILE ...] [--by-vendor]

Receipts (SROIE), forms (FUNSD) or generated labels are split by document, and receipts so that no vendor is on both
sides; every document is held out once, and tested unless it shares two of its first lines with one outside
(`corpora.apart`). One round learns from the others: at epsilon 8, 3, 2 and 1 (the whole lifetime at once, delta 1e-6)
and without privacy. It begins from the public start (`learners.public_start`), a row of its own; with --no-start from
the released model, and then public documents alone are a row. What learns is PP-OCRv4, or with --family v6 PP-OCRv6
small. Peers on the same lines: the same model as released; with every character shut out but a public set (the
baseline: that costs nothing); its whole neck, and with --all every parameter, trained without privacy from where the
rounds begin; to PP-OCRv4 also stock PP-OCRv6 small. Several --draws of the noise are one row: their counts together.
"kept" is the share of the best non-private gain over the baseline, "of the rest" that over the start, where there
surely is one. What was chosen on which documents, docs/learning.md says. Labels of receipts are in capitals, so lines
are compared case-folded. Intervals are 95%, resampled by document; with --by-vendor once more by vendor, of whom few
have most documents, and with every vendor weighing the same.
With --open no character is shut out, but in the baseline.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import torch

import corpora
import running
import shares
from learners.lines import MAX_LINES
from learners.signals import model_digest
from lessons import EPSILONS, STOCK, Bench, say
from shares import Scores

MEASURED = ("domain", "family", "adapter", "lines", "open", "no_start", "seed", "folds", "documents", "quick")
"""What runs must have in common to be joined, beside the weights that their rounds begin from."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--domain", choices=("receipts", "forms", "labels"), default="receipts")
    parser.add_argument("--family", choices=tuple(STOCK), default="v4", help="what learns")
    parser.add_argument("--data", type=Path, default=running.DATA)
    parser.add_argument("--documents", type=int, default=350, help="of --domain labels")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--only", type=_folds, help="these folds")
    parser.add_argument("--adapter", choices=("bias", "head", "lora", "norm", "neck"), default="head")
    parser.add_argument("--lines", type=int, default=MAX_LINES, help="of a document that are learned from, at most")
    parser.add_argument("--epsilons", type=_epsilons, default=EPSILONS)
    parser.add_argument("--draws", type=int, default=1, help="of the noise, for each epsilon")
    parser.add_argument("--open", action="store_true", help="no character is shut out of what learns and of its model")
    parser.add_argument("--all", action="store_true", help="a row of all parameters: 55 processor minutes a fold")
    parser.add_argument("--no-neck", action="store_true", help="without the row of the whole neck")
    parser.add_argument("--brief", action="store_true", help="without the row of the same round without noise")
    parser.add_argument("--all-the-way", action="store_true", help="rounds also without stopping half of the way")
    parser.add_argument("--no-start", action="store_true", help="from the released model, without the public start")
    parser.add_argument("--anchor", action="store_true", help="what epsilon 8 costs on generated documents")
    parser.add_argument("--cache", type=Path, help="keeps what the backbone says of lines, and the public start, here")
    parser.add_argument("--no-peer", action="store_true", help="without the row of stock PP-OCRv6 small")
    parser.add_argument("--join", type=Path, nargs="+", help="print the table of what other runs left in --json files")
    parser.add_argument(
        "--ceilings",
        type=Path,
        nargs="+",
        default=(),
        help="--join also these runs' rows without privacy, of any start",
    )
    parser.add_argument(
        "--by-vendor", action="store_true", help="the table also resampled by vendor, and of vendors alike"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="40 documents, two folds, epsilon 8, no neck")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.all and given.lines > MAX_LINES:
        parser.error(f"expected at most {MAX_LINES} lines with --all, got {given.lines}")
    if given.all_the_way and given.no_start:
        parser.error("expected one of --all-the-way and --no-start, which goes all the way already")
    if given.ceilings and not given.join:
        parser.error("expected --join with --ceilings")
    for name, least in (("draws", 1), ("lines", 1), ("documents", 2), ("folds", 2), ("seed", 0)):
        if getattr(given, name) < least:
            parser.error(f"expected --{name} of {least} at least, got {getattr(given, name)}")
    if given.join:
        shares.join(given.join, given.seed, given.by_vendor, given.ceilings)
        return 0
    if given.json and not given.json.parent.is_dir():
        parser.error(f"expected --json in a folder that is there, got {given.json}")
    for number in given.only or ():
        if not 0 <= number < given.folds:
            parser.error(f"expected --only from 0 to {given.folds - 1}, got {number}")
    measure(given)
    return 0


def measure(given: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    papers = corpora.load(given.domain, given.data, given.documents, given.seed)[: 40 if given.quick else None]
    folds = corpora.folds(papers, given.folds, given.seed)
    tested = [corpora.apart(papers, held) for held in folds]
    vendors = {k: min(group) for group in corpora.vendors(papers) for k in group}
    for number in given.only or range(len(folds)):
        if len(tested[number]) < 2:
            sys.exit(f"Expected two documents to test on in fold {number} at least, got {len(tested[number])}.")
    bench = Bench(papers, given, given.epsilons[: 1 if given.quick else None])
    about = {name: getattr(given, name) for name in MEASURED} | {"start": model_digest(bench.start)}
    scores: dict[str, Scores] = {}
    for number in given.only or range(2 if given.quick else len(folds)):
        held, test = folds[number], tested[number]
        say(f"fold {number}: {len(papers) - len(held)} documents to learn from, {len(test)} of {len(held)} to test on")
        for name, found in bench.fold(held, test).items():
            scores.setdefault(name, {}).update(found)
        if given.json:
            shares.write(given.json, scores, bench.plan, about, given.seed, vendors)
        shares.tables(scores, given.seed, vendors if given.by_vendor else None)


def _folds(text: str) -> list[int]:
    try:
        return [int(k) for k in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers of folds, got {text}") from None


def _epsilons(text: str) -> list[float]:
    try:
        found = [float(each) for each in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(0.0 < each < math.inf for each in found):
        raise argparse.ArgumentTypeError(f"expected finite epsilons above 0, got {text}")
    return found


if __name__ == "__main__":
    raise SystemExit(main())
