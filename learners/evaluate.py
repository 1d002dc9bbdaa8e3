"""How well texts were read: per document, and compared with an interval.

Lines of one document resemble each other (a design effect of 3.3-4.5 on receipts), so every interval
resamples documents, never lines. A character error rate is edits over true characters; a line is
exact *strictly*, *case-folded*, or *case-folded without spaces* (for labels in capitals, and for
readers that lose spaces).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from rapidfuzz.distance import Levenshtein


@dataclass(frozen=True)
class Score:
    """Counts over the lines of one document, or of many."""

    lines: int = 0
    exact: int = 0
    folded: int = 0
    spaceless: int = 0
    characters: int = 0
    edits: int = 0
    spaceless_characters: int = 0
    spaceless_edits: int = 0

    def __add__(self, other: Score) -> Score:
        return Score(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def rates(self) -> dict[str, float]:
        """Shares of exact lines, and CER (case-folded; with and without spaces)."""
        return {
            "exact": self.exact / max(self.lines, 1),
            "exact_folded": self.folded / max(self.lines, 1),
            "exact_spaceless": self.spaceless / max(self.lines, 1),
            "cer": self.edits / max(self.characters, 1),
            "cer_spaceless": self.spaceless_edits / max(self.spaceless_characters, 1),
        }


@dataclass(frozen=True)
class Difference:
    """Mean of candidate - baseline over documents, with the bounds of a bootstrap interval."""

    mean: float
    low: float
    high: float
    documents: int


def score_line(truth: str, reading: str) -> Score:
    """One line against its truth."""
    folded, read = truth.casefold(), reading.casefold()
    bare, bare_read = "".join(folded.split()), "".join(read.split())
    return Score(
        lines=1,
        exact=int(truth == reading),
        folded=int(folded == read),
        spaceless=int(bare == bare_read),
        characters=len(folded),
        edits=Levenshtein.distance(folded, read),
        spaceless_characters=len(bare),
        spaceless_edits=Levenshtein.distance(bare, bare_read),
    )


def score_documents(truths: Mapping[int, Sequence[str]], readings: Mapping[int, Sequence[str]]) -> dict[int, Score]:
    """One score a document.

    Raises:
        ValueError: a document without readings, or with another number of lines: missing data never passes.
    """
    if truths.keys() != readings.keys():
        raise ValueError(f"Expected readings of {len(truths)} documents, got {len(readings)}.")
    scores = {}
    for document, lines in truths.items():
        pairs = zip(lines, readings[document], strict=True)
        scores[document] = sum((score_line(truth, reading) for truth, reading in pairs), Score())
    return scores


def total(scores: Mapping[int, Score]) -> Score:
    """All documents together."""
    return sum(scores.values(), Score())


def cer(truth: str, reading: str) -> float:
    """Edits over true characters, strict; an empty truth counts each character read."""
    return Levenshtein.distance(truth, reading) / max(len(truth), 1)


def paired_bootstrap(
    baseline: Sequence[float],
    candidate: Sequence[float],
    seed: int,
    level: float = 0.95,
    resamples: int = 4000,
    weights: Sequence[float] | None = None,
) -> Difference:
    """The mean difference by document, with a two-sided percentile interval at `level`.

    `baseline[i]` and `candidate[i]` are one document's score under the two models; `weights` are the
    documents' sizes (lines or characters), which makes the mean a ratio estimate over lines.
    """
    a, b = np.asarray(baseline, float), np.asarray(candidate, float)
    w = np.ones_like(a) if weights is None else np.asarray(weights, float)
    if not (a.ndim == 1 and a.shape == b.shape == w.shape and len(a) >= 2):
        raise ValueError(f"Expected two or more paired documents, got {a.shape}, {b.shape}, {w.shape}.")
    if not 0 < level < 1 or not (w > 0).all() or not np.isfinite([a, b, w]).all():
        raise ValueError(f"Expected 0 < level < 1, positive weights and finite scores, got {level=}.")
    rng = np.random.default_rng(seed)
    picks = rng.integers(0, len(a), size=(resamples, len(a)))
    means = ((b - a) * w)[picks].sum(1) / w[picks].sum(1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Difference(float(((b - a) * w).sum() / w.sum()), float(low), float(high), len(a))


def compare(
    baseline: Mapping[int, Score], candidate: Mapping[int, Score], rate: str, seed: int, level: float = 0.95
) -> Difference:
    """`paired_bootstrap` of one of `Score.rates`, documents weighted by what the rate divides by."""
    if baseline.keys() != candidate.keys():
        raise ValueError(f"Expected the same {len(baseline)} documents, got {len(candidate)}.")
    sizes = {"cer": "characters", "cer_spaceless": "spaceless_characters"}
    keys = [key for key in sorted(baseline) if getattr(baseline[key], sizes.get(rate, "lines"))]
    return paired_bootstrap(
        [baseline[key].rates[rate] for key in keys],
        [candidate[key].rates[rate] for key in keys],
        seed,
        level,
        weights=[getattr(baseline[key], sizes.get(rate, "lines")) for key in keys],
    )
