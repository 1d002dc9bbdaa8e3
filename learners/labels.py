"""Which read line each label belongs to, and what an unlabelled line may teach.

A character that the recogniser's dictionary lacks is never replaced by a similar one; its label is
dropped and counted. Nothing here prints a label: labels are as private as the image.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from rapidfuzz.distance import Levenshtein

from learners.sidecars import MAX_LABELS, Label
from privacy.page import Line, Quad, Region

MIN_OVERLAP = 0.4
"""Intersection over union from which a labelled and a read quadrilateral are the same line."""
MAX_DISTANCE = 0.5
"""Normalised edit distance up to which a row of plain text and a reading are the same line."""
COVERED, MUCH_LARGER = 0.9, 1.8
"""A read line holds a label when it covers this share of it and is not larger by this factor."""


@dataclass(frozen=True)
class Match:
    """`text` is what the `line`-th read line says; `quad` is where to cut it out."""

    line: int
    text: str = field(repr=False)
    quad: Quad


@dataclass(frozen=True)
class Attached:
    """What can be learned from a document, and why the rest of its labels cannot (counts only)."""

    matches: tuple[Match, ...]
    dropped: Mapping[str, int]


def attach(
    labels: Sequence[Label], lines: Sequence[Line], regions: Sequence[Region], characters: Collection[str]
) -> Attached:
    """Gives each read line at most one label.

    Labels with a place go to the read line that they overlap best, and are cut out as the detector saw
    them, or by their own place where it saw more or less of the line; rows of plain text are aligned with
    the readings in order. A line that touches a masked region teaches nothing, nor does a label with a
    character outside `characters` (the recogniser's dictionary). Labels keep their case; where a document's
    labels have one case only, the loss asks for no case (`learners.gradients`).
    """
    known, dropped = set(characters), Counter[str]()
    placed = _by_place(labels, lines) if any(label.quad for label in labels) else _by_text(labels, lines)
    dropped["unmatched"] = len(labels) - len(placed)
    matches = []
    for label, line in sorted(placed, key=lambda pair: pair[1]):
        quad = _where(label.quad, lines[line].quad)
        if not label.legible or not label.text:
            dropped["illegible"] += 1
        elif touches(quad, regions) or touches(lines[line].quad, regions):
            dropped["masked"] += 1
        elif not known.issuperset(label.text):
            dropped["outside the dictionary"] += 1
        else:
            matches.append(Match(line, label.text, quad))
    return Attached(tuple(matches), {why: count for why, count in dropped.items() if count})


def pseudo_labels(lines: Sequence[Line], regions: Sequence[Region], bound: float = 0.95) -> Attached:
    """The model's own readings as labels, where its *least* certain character reaches the public `bound`.

    The minimum is the calibrated one: on receipts it leaves 9.9% of the kept lines wrong at 0.95,
    where the mean leaves 25% (bench/). `bound` comes from the configuration, never from the documents.
    """
    if not 0 < bound <= 1:
        raise ValueError(f"Expected 0 < bound <= 1, got {bound=}.")
    dropped, matches = Counter[str](), []
    for index, line in enumerate(lines):
        if touches(line.quad, regions):
            dropped["masked"] += 1
        elif not line.text or line.min_confidence < bound:
            dropped["unsure"] += 1
        else:
            matches.append(Match(index, line.text, line.quad))
    return Attached(tuple(matches), dict(dropped))


def touches(quad: Quad, regions: Sequence[Region]) -> bool:
    """Whether a line has a pixel in common with any region."""
    return any(_overlap(quad, region.quad)[0] > 0 for region in regions)


def _by_place(labels: Sequence[Label], lines: Sequence[Line]) -> list[tuple[Label, int]]:
    """One to one, the best overlap first; ties go to the earlier label, then the earlier line."""
    scored = []
    for i, label in enumerate(labels):
        for j, line in enumerate(lines):
            if label.quad and (score := _overlap(label.quad, line.quad)[1]) >= MIN_OVERLAP:
                scored.append((-score, i, j))
    free_labels, free_lines, placed = set(range(len(labels))), set(range(len(lines))), []
    for _, i, j in sorted(scored):
        if i in free_labels and j in free_lines:
            free_labels.remove(i)
            free_lines.remove(j)
            placed.append((labels[i], j))
    return placed


def _by_text(labels: Sequence[Label], lines: Sequence[Line]) -> list[tuple[Label, int]]:
    """The alignment of rows and readings in order with the largest total similarity (Needleman-Wunsch)."""
    n, m = len(labels), min(len(lines), MAX_LABELS)
    best = [[0.0] * (m + 1) for _ in range(n + 1)]
    gain = [[MAX_DISTANCE - _distance(a.text, b.text) for b in lines[:m]] for a in labels]
    for i in range(n):
        for j in range(m):
            best[i + 1][j + 1] = max(best[i][j + 1], best[i + 1][j], best[i][j] + gain[i][j])
    placed, i, j = [], n, m
    while i and j:
        if best[i][j] == best[i - 1][j]:
            i -= 1
        elif best[i][j] == best[i][j - 1]:
            j -= 1
        else:
            i, j = i - 1, j - 1
            placed.append((labels[i], j))
    return placed[::-1]


def _distance(a: str, b: str) -> float:
    """Normalised edit distance without case and spaces, which the reader loses most."""
    return float(Levenshtein.normalized_distance(_squeeze(a), _squeeze(b)))


def _squeeze(text: str) -> str:
    return "".join(text.casefold().split())


def _where(label: Quad | None, read: Quad) -> Quad:
    """The read quadrilateral where it shows what the label says, else the label's own."""
    if label is None:
        return read
    common, size, shown = _overlap(label, read)[0], _area(label), _area(read)
    return read if common >= COVERED * size and shown <= MUCH_LARGER * size else label


def _area(quad: Quad) -> float:
    return float(cv2.contourArea(cv2.convexHull(np.array(quad, np.float32))))


def _overlap(a: Quad, b: Quad) -> tuple[float, float]:
    """Intersection in pixels, and over the union."""
    xs, ys = np.array(a)[:, 0], np.array(a)[:, 1]
    us, vs = np.array(b)[:, 0], np.array(b)[:, 1]
    if xs.max() < us.min() or us.max() < xs.min() or ys.max() < vs.min() or vs.max() < ys.min():
        return 0.0, 0.0
    hulls = [cv2.convexHull(np.array(quad, np.float32)) for quad in (a, b)]
    common = float(cv2.intersectConvexConvex(hulls[0], hulls[1])[0])
    union = _area(a) + _area(b) - common
    return common, common / union if union > 0 and math.isfinite(union) else 0.0
