"""How well the lines of a page were found: precision, recall and their harmonic mean, "Hmean".

A quadrilateral that was found is right when its intersection over union with a true one is at least one half and
neither has another partner (ICDAR 2015, task 4.1). Counts are by document, so that intervals can be too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from privacy.page import Box, Quad

LEAST_IOU = 0.5


@dataclass(frozen=True)
class Found:
    """Counts over the lines of one page, or of many."""

    matched: int = 0
    found: int = 0
    true: int = 0

    def __add__(self, other: Found) -> Found:
        return Found(self.matched + other.matched, self.found + other.found, self.true + other.true)

    @property
    def precision(self) -> float:
        """Of what was found, how much is right; 1 where nothing was found."""
        return self.matched / self.found if self.found else 1.0

    @property
    def recall(self) -> float:
        """Of what is there, how much was found; 1 where nothing is."""
        return self.matched / self.true if self.true else 1.0

    @property
    def hmean(self) -> float:
        """2 P R / (P + R), which is 2 matched / (found + true); 1 for an empty page left empty."""
        return 2 * self.matched / (self.found + self.true) if self.found + self.true else 1.0


def iou(one: Quad, other: Quad) -> float:
    """Intersection over union of two convex quadrilaterals, in [0, 1]; 0 when one has no area."""
    if not Box.around(one).intersect(Box.around(other)):
        return 0.0
    a, b = np.array(one, np.float32), np.array(other, np.float32)
    corner = np.minimum(a.min(0), b.min(0))  # float32 has no digits to spare for where on the page they lie
    area, _ = cv2.intersectConvexConvex(a - corner, b - corner)
    whole = cv2.contourArea(a - corner) + cv2.contourArea(b - corner) - area
    return float(area / whole) if whole > 0 else 0.0


def score_page(true: Sequence[Quad], found: Sequence[Quad], least: float = LEAST_IOU) -> Found:
    """Matches one to one, the best pairs first.

    Raises:
        ValueError: 0 < least <= 1 does not hold.
    """
    if not 0 < least <= 1:
        raise ValueError(f"Expected 0 < least <= 1, got {least}.")
    pairs = [(iou(t, f), i, j) for i, t in enumerate(true) for j, f in enumerate(found)]
    taken_true: set[int] = set()
    taken_found: set[int] = set()
    for overlap, i, j in sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2])):
        if overlap < least:
            break
        if i not in taken_true and j not in taken_found:
            taken_true.add(i)
            taken_found.add(j)
    return Found(len(taken_true), len(found), len(true))
