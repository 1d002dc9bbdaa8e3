"""What a detector learns from a page: differentiable binarisation's maps and loss (Liao et al., arXiv 1911.08947).

For a line `G` of area `A` and perimeter `L`, with `D = A (1 - r^2) / L`:

    shrink map     1 where a pixel lies at least D inside G: what Vatti clipping leaves of it (its core)
    threshold map  0.7 on the edge of G, falling to 0.3 at D from it on either side; counts only there
    loss           5 L_shrink + 10 L_threshold + L_binary, as PP-OCR weights them
    L_shrink       cross entropy over the core's pixels and three times as many of the hardest others
    L_threshold    mean |T - threshold map|
    L_binary       1 - Dice coefficient of B and the shrink map, B = sigmoid(50 (P - T))        (equation 2)

Lines are convex quadrilaterals, so all of it follows from one signed distance to the edge; no polygon is clipped.

On `r`. The paper says 0.4; PP-OCRv4's training ends at 0.6. It must fit what reads the map: RapidOCR grows a core
of height h to 2.6 h, so a long line would come back as it was drawn for r = 2.6^-1/2 = 0.62; but it first widens
the core by a pixel and rounds, which counts for low lines. 0.55 is what brings most lines of perfect maps back on
generated pages at the scale of the reader's first look (`bench/detector.py`).

Everything is of one page: the hard pixels are the hardest of that page, never of a batch, so a document's loss
and gradient depend on that document alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

SHRINK_RATIO = 0.55
THRESHOLDS = 0.3, 0.7
SHARPNESS = 50.0
"""`k` of equation 2."""
HARD_NEGATIVES = 3
"""Pixels outside all cores for each pixel inside, at most."""
WEIGHTS = 5.0, 10.0, 1.0
"""Of L_shrink, L_threshold and L_binary."""
LEAST_CORE = 3.0
"""Pixels of a view. RapidOCR drops a lower core, so a low line keeps more of its height than `r` would leave it."""
LEAST_SIDE = 5.0
"""Pixels of a view: a lower line teaches nothing, for even such a core comes back too high."""

Map = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Targets:
    """One view's maps, each `(H, W)`, in half precision."""

    core: Tensor = field(repr=False)
    """1 in a core, else 0."""
    counted: Tensor = field(repr=False)
    """0 in lines that are too low to be learned, else 1."""
    threshold: Tensor = field(repr=False)
    near: Tensor = field(repr=False)
    """1 where the threshold map counts."""


def signed_distance(quad: npt.ArrayLike, xs: Map, ys: Map) -> Map:
    """From each point to the edge of a convex quadrilateral in pixels, positive inside.

    `xs` and `ys` broadcast against each other. A quadrilateral without area has no inside.
    """
    corners = np.asarray(quad, np.float32)
    ahead = np.roll(corners, -1, axis=0) - corners
    turning = 1.0 if _area(corners) >= 0 else -1.0
    inside = np.full(np.broadcast_shapes(xs.shape, ys.shape), np.inf, np.float32)
    outside = inside.copy()
    for (x, y), (dx, dy) in zip(corners.tolist(), ahead.tolist(), strict=True):
        length = max(float(np.hypot(dx, dy)), 1e-6)
        along = np.clip(((xs - x) * dx + (ys - y) * dy) / length**2, 0, 1)
        outside = np.minimum(outside, np.hypot(xs - x - along * dx, ys - y - along * dy))
        inside = np.minimum(inside, turning * ((ys - y) * dx - (xs - x) * dy) / length)
    return np.where(inside > 0, inside, -outside)


def targets(quads: Sequence[npt.ArrayLike], height: int, width: int, shrink_ratio: float = SHRINK_RATIO) -> Targets:
    """The maps of a view `height` x `width` pixels with lines at `quads`, `(4, 2)` each, in pixels of the view.

    A pixel stands for its centre. Of lines that overlap, a pixel is in a core if it is in any.
    """
    core, counted = np.zeros((height, width), np.float32), np.ones((height, width), np.float32)
    threshold, near = np.zeros_like(core), np.zeros_like(core)
    for quad in quads:
        corners = np.asarray(quad, np.float32)
        sides = np.linalg.norm(np.roll(corners, -1, axis=0) - corners, axis=1)
        shift = abs(_area(corners)) * (1 - shrink_ratio**2) / max(float(sides.sum()), 1e-6)
        shift = min(shift, (float(min(sides)) - LEAST_CORE) / 2)
        rows, columns = _window(corners, shift, height, width)
        ys, xs = np.mgrid[rows, columns].astype(np.float32) + 0.5
        distance = signed_distance(quad, xs, ys)
        if min(sides) < LEAST_SIDE:
            counted[rows, columns][distance >= 0] = 0
            continue
        core[rows, columns][distance >= shift] = 1
        near[rows, columns][np.abs(distance) <= shift] = 1
        threshold[rows, columns] = np.maximum(threshold[rows, columns], 1 - np.abs(distance) / shift)
    counted[core > 0] = 1
    low, high = THRESHOLDS
    maps = (core, counted, low + (high - low) * threshold, near)
    return Targets(*(torch.from_numpy(each).half() for each in maps))


def page_loss(probability: Tensor, threshold: Tensor, truth: Targets) -> Tensor:
    """The loss of one view, from logits `(H, W)` of the two branches. Zero for a view without a line to learn."""
    core, counted, near = truth.core.float(), truth.counted.float(), truth.near.float()
    p, t = probability.sigmoid(), threshold.sigmoid()
    shrink = balanced_cross_entropy(probability, core, counted)
    border = ((t - truth.threshold.float()).abs() * near).sum() / near.sum().clamp_min(1)
    binary = (SHARPNESS * (p - t)).sigmoid()
    common = (binary * core * counted).sum()
    dice = 1 - 2 * common / ((binary * counted).sum() + (core * counted).sum()).clamp_min(1)
    first, second, third = WEIGHTS
    return (first * shrink + second * border + third * dice) * (core.sum() > 0)


def balanced_cross_entropy(logits: Tensor, core: Tensor, counted: Tensor) -> Tensor:
    """Mean cross entropy over the core's pixels and the hardest others of the same page."""
    losses = functional.binary_cross_entropy_with_logits(logits, core, reduction="none")
    positive, negative = core * counted, (1 - core) * counted
    inside = int(positive.sum())
    taken = min(HARD_NEGATIVES * inside, int(negative.sum()))
    hardest = (losses * negative).flatten().topk(taken, sorted=False).values
    return ((losses * positive).sum() + hardest.sum()) / max(inside + taken, 1)


def _area(corners: Map) -> float:
    """Of a polygon `(n, 2)`; positive when its corners are clockwise to the eye (y down)."""
    x, y = corners[:, 0], corners[:, 1]
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def _window(corners: Map, margin: float, height: int, width: int) -> tuple[slice, slice]:
    """The rows and columns that hold every pixel at most `margin` from the corners' bounding box."""
    size = np.array([width, height])
    low = np.clip(np.floor(corners.min(0) - margin), 0, size).astype(int)
    high = np.clip(np.ceil(corners.max(0) + margin), 0, size).astype(int)
    return slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))
