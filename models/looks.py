"""At which size a detector of text lines looks at a page, whether that was enough, and how two looks add up.

Print made of dots, or spaced widely, falls apart into characters at full size and is whole at half of it,
at a quarter of the cost. Small print needs the full size. So a page is looked at small first, and again
when the lines are low, or when ink is left that nobody found: what is not found is not anonymised.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from privacy.page import Box, Image, Line, Quad

LONG_SIDE = 1600  # pixels; the largest view a detector is shown
LOW, LOWEST = 14.0, 9.0  # pixels in the view: the lowest tenth of the lines found, and the lowest of all
SUITS = 18.0  # pixels; where lines are lower than that, they are brought to this height
LARGEST = 2.0  # times its size is the most that a page is enlarged
MARGIN = 8  # pixels of background around a page with ink at its edge, or the detector misses that ink
INK = 48  # grey levels from the edge's median, from which a pixel of the edge counts as ink
STEP = 32  # the detector's stride: a page is padded to a multiple, RapidOCR would stretch it


def first_scale(image: Image) -> float:
    """Half the size, or half of what makes the longer side `LONG_SIDE`."""
    return min(1.0, LONG_SIDE / _longest(image)) / 2


def second_scale(image: Image, scale: float, quads: Sequence[Quad]) -> float | None:
    """The scale at which to look again after a look at `scale`, `None` when the first look was enough."""
    heights = [scale * min(sides(quad)) for quad in quads]
    most = min(LONG_SIDE / _longest(image), LARGEST)
    if not heights:
        return min(2 * scale, most)
    low = float(np.percentile(heights, 10))
    if low < LOW or min(heights) < LOWEST:
        return min(max(scale * SUITS / low, 1.5 * scale), most)
    return min(2 * scale, most) if left_over(image, scale, quads) else None


def left_over(image: Image, scale: float, quads: Sequence[Quad]) -> bool:
    """Is there ink in the shape of text outside all `quads`?"""
    gray = cv2.cvtColor(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    ink = cv2.adaptiveThreshold(gray, 1, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY_INV, 31, 20)
    for quad in quads:
        cv2.fillPoly(ink, [np.rint(np.array(quad) * scale).astype(np.int32)], 0)
        cv2.polylines(ink, [np.rint(np.array(quad) * scale).astype(np.int32)], True, 0, thickness=5)
    joined = cv2.morphologyEx(ink, cv2.MORPH_CLOSE, np.ones((3, 13), np.uint8))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(joined)
    inked = np.bincount(labels[ink > 0], minlength=len(stats))
    return any(
        h >= 5 and w >= 20 and 0.08 * w * h <= dots <= 0.7 * w * h
        for (_, _, w, h, _), dots in zip(stats[1:].tolist(), inked[1:].tolist(), strict=True)
    )


def united(coarse: Sequence[Quad], fine: Sequence[Quad]) -> list[Quad]:
    """The lines of two looks, each once, from top to bottom.

    A line that only the coarse look saw, or that the finer one saw in pieces, is taken from the coarse
    look; cells of a row, which the coarse look ran together, from the finer one.
    """
    kept = list(fine)
    boxes = {quad: Box.around(quad) for quad in (*coarse, *fine)}
    for quad in coarse:
        box = boxes[quad]
        parts = [k for k in kept if 2 * box.intersect(boxes[k]) > min(box.area, boxes[k].area)]
        if not parts or _pieces(box, [boxes[part] for part in parts]):
            kept = [k for k in kept if k not in parts] + [quad]
    return sorted(kept, key=lambda k: (boxes[k].y0, boxes[k].x0))


def _pieces(whole: Box, parts: Sequence[Box]) -> bool:
    """Do the parts cover less than most of the whole, or are they letters and words of one line?"""
    height = whole.y1 - whole.y0
    if max(part.y1 - part.y0 for part in parts) > 1.5 * height:
        return False
    if len(parts) == 1:
        return parts[0].x1 - parts[0].x0 < 0.7 * (whole.x1 - whole.x0)
    ordered = sorted(parts, key=lambda part: part.x0)
    gaps = [b.x0 - a.x1 for a, b in pairwise(ordered)]
    letters = np.median([(part.x1 - part.x0) / max(part.y1 - part.y0, 1) for part in parts]) < 1.3
    return bool(letters) or max(gaps) < height


def split_lines(lines: Sequence[Line]) -> list[tuple[Line, Line]]:
    """Pairs of lines that are one line of widely spaced print: side by side, one character's width apart.

    No line is in two pairs.
    """
    pairs: list[tuple[Line, Line]] = []
    for one in sorted(lines, key=lambda line: line.box.x0):
        if any(one is b for _, b in pairs):
            continue
        for other in lines:
            if other is not one and not any(other in pair for pair in pairs) and _one_line(one, other):
                pairs.append((one, other))
                break
    return pairs


def spanning(one: Quad, other: Quad) -> Quad:
    """From the beginning of the one to the end of the other."""
    return one[0], other[1], other[2], one[3]


def _one_line(one: Line, other: Line) -> bool:
    a, b = one.box, other.box
    heights = sorted((a.y1 - a.y0, b.y1 - b.y0))
    level = min(a.y1, b.y1) - max(a.y0, b.y0) >= 0.7 * heights[1] > 0
    across = one.quad[1][0] > one.quad[0][0] and other.quad[1][0] > other.quad[0][0]
    pitch = max((a.x1 - a.x0) / len(one.text), (b.x1 - b.x0) / len(other.text))
    return level and across and -0.2 * pitch <= b.x0 - a.x1 <= 1.2 * pitch and b.x0 > a.x0


def framed(view: Image) -> tuple[Image, int]:
    """The page padded with its background to whole steps of the detector, and the margin on its left and top."""
    rims = (view[:2], view[-2:], view[:, :2], view[:, -2:])
    rim = np.concatenate([part.reshape(-1, 3) for part in rims])
    background = np.median(rim, axis=0)
    margin = MARGIN if np.abs(rim - background).max() > INK else 0
    below, right = -(view.shape[0] + 2 * margin) % STEP, -(view.shape[1] + 2 * margin) % STEP
    padded: Image = cv2.copyMakeBorder(
        view, margin, below + margin, margin, right + margin, cv2.BORDER_CONSTANT, value=background.tolist()
    )
    return padded, margin


def _longest(image: Image) -> int:
    return int(max(image.shape[:2]))


def sides(quad: Quad) -> tuple[float, float]:
    """Width and height of the crop of a quadrilateral, in pixels."""
    p: npt.NDArray[np.float64] = np.array(quad)
    width = max(np.linalg.norm(p[0] - p[1]), np.linalg.norm(p[2] - p[3]))
    height = max(np.linalg.norm(p[0] - p[3]), np.linalg.norm(p[1] - p[2]))
    return float(width), float(height)
