"""Bar codes and matrix codes: what zxing-cpp decodes, and what has the texture of one.

A code too blurred for this decoder may be read by the next one, so it is not enough to remove what can
be decoded here.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from privacy.detectors.bullseyes import bullseyes
from privacy.detectors.interface import check_page
from privacy.detectors.unread import dark
from privacy.page import Box, Image, Line, Quad, Region

KIND = "code"
ENLARGED = 1000  # pixels; a page with no longer side is also searched at twice its size
BARS = 24  # changes between ink and paper along a row of bars, at least
MODULES = 9.0  # and along both a row and a column of a matrix
QUIET = 4  # pixels added around a code
WINDOW = 15  # pixels; around each, what way its edges run
COHERENT = 0.8  # of the gradients there run one way,
EDGES = 36.0  # and so strong they are, squared, on average
ROW_OF_BARS, ASTRAY = 20.0, 0.1  # changes along a row of blurred bars, at least, and of them across it, at most
CLOSED = ((5, 15), (9, 15), (9, 31), (17, 15))  # pixels; gaps that are bridged, up to the widest between bars, and
LEAST = 22  # pixels; the smallest code; what is thinner than the second number is let go, as lines of text beside it
MASSIVE, LINES = 0.5, 1.8  # share of ink, and heights of a line on both sides: so much and so large is no text
SOLID = 0.75  # of its box is ink and bridged gaps
PART = 0.9  # of the page's shorter side; what is larger is the page
FILLED = 0.3, 0.75  # the shares of ink in a matrix, sharp or blurred
FEWEST = 3.5  # changes along either side of a small matrix that is blurred, at least,
ROW, STACKED = 16.0, 40  # and along a row of stacked bars, of so many pixels together
NARROW = 25  # pixels; blurred modules are seen against what is so near
RULE = 0.9  # of a row or a column; with more ink it is a rule, or a part of a code's rim
READ = 0.6  # of its ink in lines that are surely text, and it is text
SURELY = 0.9  # mean confidence from which a line is text
SAME = 0.5  # of an area, in one found before: the same code, and what stands about it
DENSE = 0.22  # share of ink in a code's columns, wide gaps between its bars included; text has less
SAME_BARS = 0.6  # correlation of a row with the bars, from which it belongs to them

Gray = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.uint8]


class CodeDetector:
    """Finds every kind of code zxing-cpp knows, and areas that look like bars or modules."""

    name = KIND
    version = "zxing-3"
    pixels = True

    def find(self, image: Image, lines: Sequence[Line]) -> list[Region]:
        check_page(image)
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        regions = _decoded(gray, 1)
        if max(gray.shape) <= ENLARGED:
            regions += _decoded(cv2.resize(gray, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC), 2)
        if dark(gray):
            gray = 255 - gray
        text = [line.box for line in lines if _surely(line)]
        ink = _ink(gray, Box(0, 0, gray.shape[1], gray.shape[0]))
        regions += [r for r in (*_barred(gray, ink), *_textured(gray, ink)) if not _read(ink, r.box, text)]
        regions += bullseyes(gray)
        kept: list[Region] = []
        for region in regions:
            box = region.box
            if all(box.intersect(other.box) < SAME * box.area for other in kept):
                kept.append(region)
        return kept


def _decoded(gray: Gray, scale: int) -> list[Region]:
    import zxingcpp

    regions = []
    for code in zxingcpp.read_barcodes(gray, return_errors=True):
        p = code.position
        corners = [(float(q.x), float(q.y)) for q in (p.top_left, p.top_right, p.bottom_right, p.bottom_left)]
        box = _along_rows(gray, _along_bars(gray, Box.around(corners)))
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


def _along_rows(gray: Gray, box: Box) -> Box:
    """The box of a long code, longer at both ends as far as there is ink as dense: a reader may know a part of it."""
    if box.x1 - box.x0 < 1.5 * (box.y1 - box.y0):
        if box.y1 - box.y0 < 1.5 * (box.x1 - box.x0):
            return box
        turned = _along_rows(np.ascontiguousarray(gray.T), Box(box.y0, box.x0, box.y1, box.x1))
        return Box(turned.y0, turned.x0, turned.y1, turned.x1)
    rows = _ink(gray, Box(0, box.y0, gray.shape[1], box.y1))
    if rows.size == 0:
        return box
    dense = rows.mean(axis=0)
    window = max(12, (box.y1 - box.y0) // 4)
    left, right, most = max(box.x0, 0), min(box.x1, len(dense)), (box.x1 - box.x0) // 2
    while left > max(box.x0 - most, 0) and dense[max(left - window, 0) : left].mean() >= DENSE:
        left = max(left - window // 2, 0)
    while right < min(box.x1 + most, len(dense)) and dense[right : right + window].mean() >= DENSE:
        right = min(right + window // 2, len(dense))
    return Box(min(left, box.x0), box.y0, max(right, box.x1), box.y1)


def _barred(gray: Gray, ink: Mask) -> list[Region]:
    """Areas in which every edge runs one way, of many bars. Of letters no line has so few edges across."""
    soft = cv2.GaussianBlur(gray, (0, 0), 1.0)
    dx, dy = (cv2.Sobel(soft, cv2.CV_32F, *way, scale=1 / 8) for way in ((1, 0), (0, 1)))
    xx, yy, xy = (cv2.boxFilter(product, -1, (WINDOW, WINDOW)) for product in (dx * dx, dy * dy, dx * dy))
    one_way = (np.hypot(xx - yy, 2 * xy) > COHERENT * (xx + yy)) & (xx + yy > EDGES)
    joined = cv2.morphologyEx(one_way.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((11, 11), np.uint8))
    regions = []
    for each in (one_way.astype(np.uint8), joined):
        whole = cv2.morphologyEx(each, cv2.MORPH_OPEN, np.ones((9, 9), np.uint8))
        _, _, areas, _ = cv2.connectedComponentsWithStats(whole, connectivity=4)
        for x, y, w, h, area in areas[1:].tolist():
            inside = ink[y : y + h, x : x + w]
            fewer, more = sorted(_changes(inside)) if area >= 0.6 * w * h else (0.0, 0.0)
            if more >= ROW_OF_BARS and fewer <= ASTRAY * more and FILLED[0] <= inside.mean() <= FILLED[1]:
                box = _along_bars(gray, Box(x, y, x + w, y + h)).grown(WINDOW // 2)
                regions.append(Region(KIND, _quad(box), 0.6, "bars"))
    return regions


def _textured(gray: Gray, ink: Mask) -> list[Region]:
    """Areas of ink that change to paper and back as often as a code does, and in which nobody reads words.

    Bars change along one direction only. Modules change along both and are about half ink; so are letters of some
    scripts, but those are read surely, and two or more in a line.
    """
    sharp = _ink(cv2.GaussianBlur(gray, (0, 0), 0.8), Box(0, 0, gray.shape[1], gray.shape[0]), NARROW)
    regions = []
    for size, thin in CLOSED:
        closed = cv2.morphologyEx(ink, cv2.MORPH_CLOSE, np.ones((size, size), np.uint8))
        closed = cv2.morphologyEx(closed, cv2.MORPH_OPEN, np.ones((thin, thin), np.uint8))
        _, _, areas, _ = cv2.connectedComponentsWithStats(closed, connectivity=4)
        for x, y, w, h, area in areas[1:].tolist():
            if min(w, h) >= LEAST and area >= SOLID * w * h and min(w, h) < PART * min(gray.shape):
                box, inside = Box(x, y, x + w, y + h), ink[y : y + h, x : x + w]
                if _is_code(inside) or any(_is_matrix(i[y : y + h, x : x + w]) for i in (ink, sharp)):
                    regions.append(Region(KIND, _quad(box.grown(QUIET)), 0.6, "texture of a code"))
    return regions


def _surely(line: Line) -> bool:
    """Is it text? Readers make one character of a small code, as \u56de, and are sure of it."""
    return line.confidence >= SURELY and sum(c.isalnum() for c in line.text) >= 2


def _read(ink: Mask, box: Box, lines: Sequence[Box]) -> bool:
    """Does most of its ink lie in these lines? Not if it is too dense and too large for text that lies about it."""
    inside = ink[max(box.y0, 0) : box.y1, max(box.x0, 0) : box.x1]
    heights = [min(line.y1 - line.y0, line.x1 - line.x0) for line in lines if box.intersect(line)]
    large = bool(heights) and min(inside.shape) >= LINES * float(np.median(heights))
    if large and inside.mean() >= MASSIVE:
        return False
    rules = (inside.mean(axis=1, keepdims=True) > RULE) | (inside.mean(axis=0, keepdims=True) > RULE)
    inside = np.where(rules, 0, inside).astype(np.uint8)
    left = inside.copy()
    for line in lines:
        if box.intersect(line):
            x0, y0 = max(line.x0 - max(box.x0, 0), 0), max(line.y0 - max(box.y0, 0), 0)
            left[y0 : line.y1 - max(box.y0, 0), x0 : line.x1 - max(box.x0, 0)] = 0
    return bool(left.sum() <= (1 - READ) * inside.sum())


def _is_matrix(ink: Mask) -> bool:
    """Ink and paper in the shares of a code, and changes along both sides, or as many along one as rows of it have."""
    changes = _changes(ink)
    stacked = min(ink.shape) >= STACKED and max(changes) >= ROW
    return FILLED[0] <= float(ink.mean()) <= FILLED[1] and (min(changes) >= FEWEST or stacked)


def _changes(ink: Mask) -> tuple[float, float]:
    """Changes between ink and paper along a row and along a column, on average."""
    signs = ink.astype(np.int8)
    across, down = (float(np.abs(np.diff(signs, axis=a)).sum(axis=a).mean()) for a in (1, 0))
    return across, down


def _ink(gray: Gray, box: Box, side: int = 0) -> Mask:
    side = side or max(15, min(gray.shape) // 8) | 1
    ink: Mask = cv2.adaptiveThreshold(gray, 1, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY_INV, side, 12).astype(
        np.uint8
    )
    return ink[max(box.y0, 0) : max(box.y1, 0), max(box.x0, 0) : max(box.x1, 0)]


def _is_code(ink: Mask, modules: float = MODULES) -> bool:
    if min(ink.shape) < 2:
        return False
    across, down = _changes(ink)
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
