"""The middle of an Aztec code: squares within squares, each as wide as the paper between them.

Blur that keeps anybody from decoding a code leaves these to be seen, and nothing that is written looks like them.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from privacy.page import Box, Region

KIND = "code"
DOTTED, BLURRED = (1, 1, 1, 1, 1, 1, 1), (1, 1, 3, 1, 1)
"""Modules of paper and ink along a line through the middle, paper first and last; blur takes the dot in the middle."""
MODULES = 9  # from rim to rim, with the outer square, which touches what is about
UNEVEN = 0.45, 1.8  # times its share of the whole is what a run may measure
WIDEST = 12  # pixels of a module
NEAR = 25  # pixels; ink is darker than what is so near to it
DARKER = 8  # grey levels
ROUND = 1.35  # times as long as the other is the longer crossing, at most
CLEAR = 0.35  # share of ink that a square has more than the paper beside it
WHOLE = 3.5  # half the side of the largest small code, in halves of the squares' side

Gray = npt.NDArray[np.uint8]


def bullseyes(gray: Gray) -> list[Region]:
    """Codes around the middles that are seen in a page, `(H, W) uint8`, dark on light."""
    soft = cv2.GaussianBlur(gray, (0, 0), 0.6)
    ink = cv2.adaptiveThreshold(soft, 1, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY_INV, NEAR, DARKER)
    across = _crossings(ink)
    if not across:
        return []
    down = {(x, y): size for (y, x), size in _crossings(np.ascontiguousarray(ink.T)).items()}
    found: list[Region] = []
    for (x, y), size in across.items():
        other = next((down[x + i, y + j] for i in (0, -1, 1) for j in (0, -1, 1) if (x + i, y + j) in down), 0.0)
        if other and max(size, other) <= ROUND * min(size, other) and _squares(ink, x, y, (size + other) / 2):
            reach = _reach(ink, x, y, max(size, other))
            if all(region.box.intersect(Box(x, y, x + 1, y + 1)) == 0 for region in found):
                x0, y0, x1, y1 = x - reach, y - reach, x + reach + 1, y + reach + 1
                found.append(Region(KIND, ((x0, y0), (x1, y0), (x1, y1), (x0, y1)), 0.7, "squares within squares"))
    return found


def _squares(ink: npt.NDArray[np.uint8], x: int, y: int, size: float) -> bool:
    """Are the two squares around the middle inked all the way round, and what is between them not?"""
    rows, columns = np.ogrid[: ink.shape[0], : ink.shape[1]]
    reach = round(size / 2) + 1
    at = slice(max(y - reach, 0), y + reach + 1), slice(max(x - reach, 0), x + reach + 1)
    ring = np.rint(np.maximum(np.abs(rows[at[0]] - y), np.abs(columns[:, at[1]] - x)) * MODULES / size).astype(int)
    part = ink[at]
    share = [float(part[ring == k].mean()) if (ring == k).any() else 0.0 for k in range(5)]
    return min(share[2], share[4]) - max(share[1], share[3]) >= CLEAR


def _crossings(ink: npt.NDArray[np.uint8]) -> dict[tuple[int, int], float]:
    """`(x, y)` of the middles of even runs along rows, paper first and last, and how long these and the rim are."""
    height, width = ink.shape
    flat = np.zeros((height, width + 2), np.int8)
    flat[:, 1:-1] = ink
    flat[:, -1] = 2  # no run goes from one row to the next
    flat = flat.ravel()
    starts = np.flatnonzero(np.diff(flat)) + 1
    lengths = np.diff(np.append(starts, flat.size))
    found: dict[tuple[int, int], float] = {}
    for pattern in (DOTTED, BLURRED):
        if len(lengths) < len(pattern):
            continue
        windows = np.lib.stride_tricks.sliding_window_view(lengths, len(pattern))
        totals = windows.sum(axis=1)
        shares = windows * (sum(pattern) / np.maximum(totals, 1))[:, None] / np.array(pattern)
        even = (shares.min(axis=1) >= UNEVEN[0]) & (shares.max(axis=1) <= UNEVEN[1])
        even &= (totals <= WIDEST * sum(pattern)) & (flat[starts[: len(windows)]] == 0)
        for i in np.flatnonzero(even).tolist():
            row, column = divmod(int(starts[i]), width + 2)
            total = int(totals[i])
            if column + total <= width + 1:
                found[column - 1 + total // 2, row] = total * MODULES / sum(pattern)
    return found


def _reach(ink: npt.NDArray[np.uint8], x: int, y: int, size: float) -> int:
    """Pixels from the middle to the rim: where a ring around it holds little ink, but no further than codes go."""
    most = round(WHOLE * size / 2)
    for reach in range(round(0.5 * size) + 1, most):
        x0, y0 = max(x - reach, 0), max(y - reach, 0)
        part = ink[y0 : y + reach + 1, x0 : x + reach + 1]
        rim = np.concatenate([part[0], part[-1], part[:, 0], part[:, -1]])
        if rim.mean() < 0.08:
            return reach
    return round(0.5 * size * 15 / MODULES) + 2  # what is around hides the rim: as large as the smallest kind
