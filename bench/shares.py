"""Rows of scores by document: gains over the baseline and shares of the best one, with intervals; on disk and back."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

import numpy as np
import numpy.typing as npt

from learners import evaluate
from learners.evaluate import Score

Scores = dict[int, Score]
BASELINE = "stock, ascii only"
CEILINGS = ("without privacy", "whole neck without privacy", "all without privacy")
RATES = ("exact_folded", "exact_spaceless", "cer", "cer_spaceless")


def kept(scores: dict[str, Scores], seed: int, resamples: int = 4000) -> dict[str, dict[str, list[float]]]:
    """Share of the best non-private gain over the baseline, with its interval, a rate at a time.

    Of the ceilings that have all documents of a row; if none has, over those that they have.
    """
    there = [scores[name] for name in CEILINGS if name in scores]
    found: dict[str, dict[str, list[float]]] = {}
    for name in scores.keys() - {BASELINE} if there else ():
        ceilings = [each for each in there if each.keys() >= scores[name].keys()] or there
        documents = sorted(set(scores[name]).intersection(*ceilings))
        if len(documents) < 2:
            continue
        picks = np.random.default_rng(seed).integers(0, len(documents), (resamples, len(documents)))
        chosen = np.vstack([np.arange(len(documents)), picks])
        for rate in RATES:
            best = max((_gains(scores, row, rate, documents, chosen) for row in ceilings), key=lambda v: float(v[0]))
            shares = _gains(scores, scores[name], rate, documents, chosen) / np.where(np.abs(best) < 1e-9, np.nan, best)
            low, high = np.nanquantile(shares[1:], [0.025, 0.975])
            found.setdefault(name, {})[rate] = [float(shares[0]), float(low), float(high)]
    return found


def _gains(
    scores: dict[str, Scores], row: Scores, rate: str, documents: list[int], chosen: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """The gain in a rate over the baseline (a fall, of error rates), for each choice of documents."""
    parts = {"exact_folded": ("folded", "lines"), "exact_spaceless": ("spaceless", "lines")}
    parts |= {"cer": ("edits", "characters"), "cer_spaceless": ("spaceless_edits", "spaceless_characters")}
    over, under = parts[rate]

    def rates(of: Scores) -> npt.NDArray[np.float64]:
        counts = np.array([[getattr(of[k], part) for part in (over, under)] for k in documents], float)
        sums = counts[chosen].sum(1)
        return np.asarray(sums[:, 0] / sums[:, 1])

    return (rates(row) - rates(scores[BASELINE])) * (1 if rate.startswith("exact") else -1)


def table(scores: dict[str, Scores], seed: int) -> None:
    """In percent, case-folded: exact lines with spaces and without, character error rates likewise."""
    shares = kept(scores, seed)
    print(f"\n{len(scores[BASELINE])} documents, {evaluate.total(scores[BASELINE]).lines} lines; fewer in brackets")
    print(f"{'':28} exact  [gain, 95%]    bare  [gain, 95%]      CER   bare | kept of the gain: exact, CER")
    for name, by_document in scores.items():
        rates = evaluate.total(by_document).rates
        cells = []
        for rate in ("exact_folded", "exact_spaceless"):
            before = {k: scores[BASELINE][k] for k in by_document}
            gain = evaluate.compare(before, by_document, rate, seed)
            cells.append(f"{100 * rates[rate]:5.1f} [{100 * gain.low:+5.1f} {100 * gain.high:+5.1f}]")
        held = [shares[name][rate] for rate in ("exact_folded", "cer")] if name in shares else []
        tail = "  ".join(f"{100 * s:4.0f}% [{100 * low:3.0f} {100 * high:3.0f}]" for s, low, high in held)
        error = f"{100 * rates['cer']:6.2f} {100 * rates['cer_spaceless']:6.2f}"
        fewer = "" if len(by_document) == len(scores[BASELINE]) else f" ({len(by_document)})"
        print(f"{name + fewer:28} {'  '.join(cells)} {error} | {tail}", flush=True)


def write(path: Path, scores: dict[str, Scores], plan: dict[str, object], seed: int) -> None:
    rows = {name: evaluate.total(by_document).rates for name, by_document in scores.items()}
    documents = {name: {k: astuple(score) for k, score in found.items()} for name, found in scores.items()}
    path.write_text(json.dumps({"rows": rows, "plan": plan, "kept": kept(scores, seed), "documents": documents}))


def join(paths: Sequence[Path], seed: int) -> None:
    """The table of several runs' documents together; what several runs drew for one document counts together."""
    scores: dict[str, Scores] = {}
    for path in paths:
        for name, found in json.loads(path.read_text())["documents"].items():
            row = scores.setdefault(name, {})
            for k, counts in found.items():
                drawn = Score() if name == BASELINE else row.get(int(k), Score())
                row[int(k)] = drawn + Score(*counts)
    table({name: _even(scores[BASELINE], found) for name, found in scores.items()}, seed)


def _even(baseline: Scores, row: Scores) -> Scores:
    """The row with every document drawn equally often: runs may differ in their draws."""
    draws = {k: row[k].lines // baseline[k].lines for k in row}
    common = math.lcm(*draws.values())
    return {k: Score(*(count * (common // draws[k]) for count in astuple(row[k]))) for k in row}
