"""Bar codes and matrix codes: what zxing-cpp decodes, and what has the texture of one.

A code too blurred for this decoder may be read by the next one, so it is not enough to remove what can
be decoded here.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from privacy.detectors.interface import check_page
from privacy.page import Box, Image, Line, Quad, Region

KIND = "code"
ENLARGED = 1000  # pixels; a page with no longer side is also searched at twice its size
BARS = 24  # changes between ink and paper along a row of bars, at least
MODULES = 9.0  # and along both a row and a column of a matrix
QUIET = 4  # pixels added around a code
SAME_BARS = 0.6  # correlation of a row with the bars, from which it belongs to them

Gray = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.uint8]


class CodeDetector:
    """Finds every kind of code zxing-cpp knows, and areas that look like bars or modules."""

    name = KIND
    version = "zxing-1"
    pixels = True

    def find(self, image: Image, lines: Sequence[Line]) -> list[Region]:
        check_page(image)
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        regions = _decoded(gray, 1)
        if max(gray.shape) <= ENLARGED:
            regions += _decoded(cv2.resize(gray, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC), 2)
        regions += _textured(gray)
        kept: list[Region] = []
        for region in regions:
            box = region.box
            if all(box.intersect(other.box) < 0.8 * box.area for other in kept):
                kept.append(region)
        return kept


def _decoded(gray: Gray, scale: int) -> list[Region]:
    import zxingcpp

    regions = []
    for code in zxingcpp.read_barcodes(gray, return_errors=True):
        p = code.position
        corners = [(float(q.x), float(q.y)) for q in (p.top_left, p.top_right, p.bottom_right, p.bottom_left)]
        box = _along_bars(gray, Box.around(corners))
        if box.area <= 16 or (code.error and not _is_code(_ink(gray, box), modules=5.0)):
            continue  # without a check that holds, dotted print is taken for a code
        box = Box(box.x0 // scale, box.y0 // scale, -(-box.x1 // scale), -(-box.y1 // scale))
        if box.area > 0:
            confidence = 0.7 if code.error else 0.99
            reason = "located, not decoded" if code.error else "decoded"
            regions.append(Region(KIND, _quad(box.grown(QUIET)), confidence, reason))
    return regions


def _along_bars(gray: Gray, box: Box) -> Box:
    """The box, longer by every row above and below that shows the same bars; zxing reports scanned rows only."""
    x0, x1 = max(box.x0, 0), min(box.x1, gray.shape[1])
    y0, y1 = max(box.y0, 0), min(box.y1, gray.shape[0])
    if x1 - x0 < y1 - y0 or y1 <= y0:
        if x1 <= x0 or y1 <= y0 or 2 * (x1 - x0) > y1 - y0:
            return box  # a matrix, or nothing
        turned = _along_bars(np.ascontiguousarray(gray.T), Box(box.y0, box.x0, box.y1, box.x1))
        return Box(turned.y0, turned.x0, turned.y1, turned.x1)
    bars = gray[:, x0:x1].astype(np.float64)
    pattern = bars[y0:y1].mean(axis=0)
    bars, pattern = bars - bars.mean(axis=1, keepdims=True), pattern - pattern.mean()
    norms = np.linalg.norm(bars, axis=1) * np.linalg.norm(pattern)
    alike = np.divide(bars @ pattern, norms, out=np.zeros_like(norms), where=norms > 0) > SAME_BARS
    while y0 > 0 and alike[y0 - 1]:
        y0 -= 1
    while y1 < len(alike) and alike[y1]:
        y1 += 1
    return Box(box.x0, min(box.y0, y0), box.x1, max(box.y1, y1))


def _textured(gray: Gray) -> list[Region]:
    """Areas of ink that change to paper and back as often as a code does.

    Bars change along one direction only. Modules change along both and are half ink, which no line of
    text is; a block of text is mostly paper.
    """
    ink = _ink(gray, Box(0, 0, gray.shape[1], gray.shape[0]))
    regions = []
    for size in (5, 9):
        closed = cv2.morphologyEx(ink, cv2.MORPH_CLOSE, np.ones((size, size), np.uint8))
        _, _, areas, _ = cv2.connectedComponentsWithStats(closed)
        for x, y, w, h, area in areas[1:].tolist():
            if min(w, h) >= 16 and max(w, h) >= 40 and area >= 0.7 * w * h and _is_code(ink[y : y + h, x : x + w]):
                box = Box(x, y, x + w, y + h).grown(QUIET)
                regions.append(Region(KIND, _quad(box), 0.6, "texture of a code"))
    return regions


def _ink(gray: Gray, box: Box) -> Mask:
    side = max(15, min(gray.shape) // 8) | 1
    ink: Mask = cv2.adaptiveThreshold(gray, 1, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY_INV, side, 12).astype(
        np.uint8
    )
    return ink[max(box.y0, 0) : max(box.y1, 0), max(box.x0, 0) : max(box.x1, 0)]


def _is_code(ink: Mask, modules: float = MODULES) -> bool:
    if min(ink.shape) < 2:
        return False
    across = float(np.abs(np.diff(ink.astype(np.int8), axis=1)).sum(axis=1).mean())
    down = float(np.abs(np.diff(ink.astype(np.int8), axis=0)).sum(axis=0).mean())
    if max(across, down) >= BARS and _uniform(ink, 0 if across > down else 1) >= 0.95:
        return True
    square = max(ink.shape) <= 1.5 * min(ink.shape) and min(ink.shape) >= 40
    return square and min(across, down) >= modules and 0.3 <= float(ink.mean()) <= 0.7


def _uniform(ink: Mask, axis: int) -> float:
    """The share of pixels that agree with most of their column (axis 0) or row (axis 1)."""
    share = ink.mean(axis=axis)
    return float(np.maximum(share, 1.0 - share).mean())


def _quad(box: Box) -> Quad:
    return (box.x0, box.y0), (box.x1, box.y0), (box.x1, box.y1), (box.x0, box.y1)
