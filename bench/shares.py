"""Rows of scores by document: gains over the baseline and over the start, and shares of the best gain, with intervals.

On disk and back: runs that measured other things are not joined.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import astuple, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from learners import evaluate
from learners.evaluate import Score

Scores = dict[int, Score]
BASELINE = "stock, ascii only"
START = "public start"
NOISELESS, NECK, ALL = "the same without noise", "whole neck without privacy", "all without privacy"
ALL_THE_WAY = ", all the way"
"""What a row's name ends with if its candidate went so far from the start."""
CEILINGS = (NOISELESS, NOISELESS + ALL_THE_WAY, NECK, ALL)
EVEN = 1_000_000
"""Lines of a vendor where all weigh the same."""
RATES = ("exact_folded", "exact_spaceless", "cer", "cer_spaceless")


def kept(
    scores: dict[str, Scores], seed: int, before: str = BASELINE, resamples: int = 4000
) -> dict[str, dict[str, list[float]]]:
    """Share of the best non-private gain over a row, with its interval, a rate at a time.

    Of the ceilings that have all documents of a row; a row that no ceiling has all of is left out, and a rate in
    which the best does not surely gain.
    """
    there = [scores[name] for name in CEILINGS if name in scores]
    found: dict[str, dict[str, list[float]]] = {}
    for name in scores.keys() - {BASELINE, before}:
        ceilings, documents = [each for each in there if each.keys() >= scores[name].keys()], sorted(scores[name])
        if not ceilings or len(documents) < 2 or not scores.get(before, {}).keys() >= scores[name].keys():
            continue
        picks = np.random.default_rng(seed).integers(0, len(documents), (resamples, len(documents)))
        chosen = np.vstack([np.arange(len(documents)), picks])
        for rate in RATES:
            gains = [_gains(scores[before], row, rate, documents, chosen) for row in (*ceilings, scores[name])]
            best = max(gains[:-1], key=lambda v: float(v[0]))
            if np.quantile(best[1:], 0.025) <= 0.0:
                continue
            shares = gains[-1] / np.where(np.abs(best) < 1e-9, np.nan, best)
            low, high = np.nanquantile(shares[1:], [0.025, 0.975])
            found.setdefault(name, {})[rate] = [float(shares[0]), float(low), float(high)]
    return found


def _gains(
    before: Scores, row: Scores, rate: str, documents: list[int], chosen: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """The gain of a row in a rate over another (a fall, of error rates), for each choice of documents."""
    parts = {"exact_folded": ("folded", "lines"), "exact_spaceless": ("spaceless", "lines")}
    parts |= {"cer": ("edits", "characters"), "cer_spaceless": ("spaceless_edits", "spaceless_characters")}
    over, under = parts[rate]

    def rates(of: Scores) -> npt.NDArray[np.float64]:
        counts = np.array([[getattr(of[k], part) for part in (over, under)] for k in documents], float)
        sums = counts[chosen].sum(1)
        return np.asarray(sums[:, 0] / sums[:, 1])

    return (rates(row) - rates(before)) * (1 if rate.startswith("exact") else -1)


def by_vendor(scores: dict[str, Scores], vendors: Mapping[int, int]) -> dict[str, Scores]:
    """Every row by vendor instead of by document. Folds split no vendor: a row has all of its documents or none."""
    found: dict[str, Scores] = {name: {} for name in scores}
    for name, row in scores.items():
        for document, score in row.items():
            found[name][vendors[document]] = found[name].get(vendors[document], Score()) + score
    return found


def alike(row: Scores) -> Scores:
    """As if each had the same number of lines."""
    return {k: Score(*(round(count * EVEN / score.lines) for count in astuple(score))) for k, score in row.items()}


def effective(row: Scores) -> float:
    """How many of one size would weigh as these do, by lines (Kish 1965)."""
    lines = [score.lines for score in row.values()]
    return sum(lines) ** 2 / sum(count**2 for count in lines)


def tables(scores: dict[str, Scores], seed: int, vendors: Mapping[int, int] | None = None) -> None:
    """The table of all lines, resampled by document; given their vendors, also by vendor, and of vendors alike.

    One vendor's documents are alike, and few vendors have most of them.
    """
    row = scores[BASELINE]
    table(scores, seed, f"{len(row)} documents, {evaluate.total(row).lines} lines; fewer in brackets")
    if vendors is not None and len({vendors[document] for document in row}) > 1:
        grouped = by_vendor(scores, vendors)
        many = f"{len(grouped[BASELINE])} vendors"
        weigh = f"which weigh like {effective(grouped[BASELINE]):.0f} of one size"
        table(grouped, seed, f"The same lines, resampled by vendor: {many}, {weigh}")
        table({name: alike(found) for name, found in grouped.items()}, seed, f"{many}, each of the same weight")


def table(scores: dict[str, Scores], seed: int, title: str) -> None:
    """In percent, case-folded: exact lines with spaces and without, character error rates likewise."""
    taught = {name: found for name, found in scores.items() if not name.startswith("stock") or name == BASELINE}
    shares, beyond = kept(scores, seed), kept(taught, seed, START)
    print(f"\n{title}")
    heads = f"{'':28} {'exact [gain, 95%]':22}  {'bare [gain, 95%]':22}    CER   bare"
    print(f"{heads} | {'over the start':21} | {'kept: exact':17}{'bare':17}{'CER':15} | of the rest")
    for name, by_document in scores.items():
        rates = evaluate.total(by_document).rates
        gains = [_gain(scores, BASELINE, name, rate, seed) for rate in RATES[:2]]
        cells = [f"{100 * rates[rate]:5.1f} {gain:16}" for rate, gain in zip(RATES, gains, strict=False)]
        held = [shares.get(name, {}).get(rate) for rate in RATES[:3]]
        tail = f"{'  '.join(map(_share, held)):49} | {_share(beyond.get(name, {}).get(RATES[0]))}".rstrip(" |")
        error = f"{100 * rates['cer']:6.2f} {100 * rates['cer_spaceless']:6.2f}"
        more = _gain(scores, START, name, RATES[0], seed, mean=True)
        fewer = "" if len(by_document) == len(scores[BASELINE]) else f" ({len(by_document)})"
        print(f"{name + fewer:28} {'  '.join(cells)} {error} | {more:21} | {tail}", flush=True)


def _share(found: Sequence[float] | None) -> str:
    """A share with its interval, in percent."""
    return f"{100 * found[0]:4.0f}% [{100 * found[1]:3.0f} {100 * found[2]:3.0f}]" if found else 15 * " "


def _gain(scores: dict[str, Scores], before: str, name: str, rate: str, seed: int, mean: bool = False) -> str:
    """What a row gains over another one, in points, with its interval."""
    of = scores.get(before, {})
    if name == before or not of.keys() >= scores[name].keys():
        return ""
    gain = evaluate.compare({k: of[k] for k in scores[name]}, scores[name], rate, seed)
    return (f"{100 * gain.mean:+5.2f} " if mean else "") + f"[{100 * gain.low:+5.2f} {100 * gain.high:+5.2f}]"


def write(
    path: Path,
    scores: dict[str, Scores],
    plan: dict[str, object],
    about: Mapping[str, object],
    seed: int,
    vendors: Mapping[int, int],
) -> None:
    """`about` says what was measured: the domain, what learned, and how. `vendors` has every document's."""
    rows = {name: evaluate.total(by_document).rates for name, by_document in scores.items()}
    documents = {name: {k: astuple(score) for k, score in found.items()} for name, found in scores.items()}
    found = {"about": dict(about), "rows": rows, "plan": plan, "kept": kept(scores, seed), "documents": documents}
    found["vendors"] = {k: vendors[k] for k in scores[BASELINE]}
    path.write_text(json.dumps(found))


def join(paths: Sequence[Path], seed: int, vendors_too: bool = False, elsewhere: Sequence[Path] = ()) -> None:
    """The table of several runs' documents together; what several runs drew for one document counts together.

    With `vendors_too` also by vendor. Of the runs `elsewhere`, which may begin from another start, what was trained
    without privacy is added where the others have no such row.

    Exits, naming the file, where one is named twice, can't be read or measured something else than the first.
    """
    scores: dict[str, Scores] = {}
    vendors: dict[int, int] = {}
    about: dict[str, object] = {}
    own: set[str] = set()
    every = [*paths, *elsewhere]
    for k, path in enumerate(every):
        if path in every[:k]:
            sys.exit(f"Expected each file once, got {path} twice.")
        measured, rows, sold_by = _read(path)
        vendors |= sold_by
        about = measured if k == 0 else about
        if k == len(paths):
            own = set(scores)
        if k >= len(paths):
            rows = {name: _of(scores[BASELINE], row) for name, row in rows.items() if name in {NECK, ALL} - own}
            measured = measured | {"start": about["start"]}
        if measured != about:
            sys.exit(f"Expected runs of {about}, as {paths[0]} is, got {path} of {measured}.")
        for name, found in rows.items():
            row = scores.setdefault(name, {})
            for document, counts in found.items():
                row[document] = counts if name == BASELINE else row.get(document, Score()) + counts
    even = {name: _even(scores[BASELINE], found) for name, found in scores.items()}
    tables(even, seed, vendors if vendors_too else None)


def _read(path: Path) -> tuple[dict[str, object], dict[str, Scores], dict[int, int]]:
    """What a run measured, its rows, and each document's vendor. Exits where `write` did not leave them."""
    try:
        left = json.loads(path.read_text())
        rows = {name: {int(k): _score(counts) for k, counts in row.items()} for name, row in left["documents"].items()}
        about, known = dict(left["about"]), rows[BASELINE].keys()
        vendors = {int(k): int(vendor) for k, vendor in left["vendors"].items()}
        if not known <= vendors.keys():
            raise ValueError("a document without a vendor")
        if not all(row.keys() <= known for row in rows.values()):
            raise ValueError("documents that the baseline has not")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        sys.exit(f"Expected a file that `--json` left, got {path}: {type(error).__name__}: {error}.")
    return about, rows, vendors


def _score(counts: Sequence[int]) -> Score:
    if len(counts) != len(fields(Score)):
        raise ValueError(f"{len(counts)} counts of a document")
    return Score(*counts)


def _of(documents: Scores, row: Scores) -> Scores:
    return {k: score for k, score in row.items() if k in documents}


def _even(baseline: Scores, row: Scores) -> Scores:
    """The row with every document drawn equally often: runs may differ in their draws."""
    draws = {k: row[k].lines // baseline[k].lines for k in row}
    common = math.lcm(*draws.values())
    return {k: Score(*(count * (common // draws[k]) for count in astuple(row[k]))) for k in row}
