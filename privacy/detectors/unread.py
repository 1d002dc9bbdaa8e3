"""Ink that no reader took for text: signatures, handwriting, stamps, photographs, codes that can't be decoded.

There are no detectors of signatures and handwriting whose licence and size would do here, so these go by default:
whatever is dark, is not a ruled line, and lies outside every line that was read. A logo goes with them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
from rapidfuzz.distance import Indel

from privacy.detectors import labels
from privacy.detectors.interface import check_page
from privacy.detectors.lookalikes import fold
from privacy.page import Box, Image, Line, Quad, Region

KIND = "unread"
LONG_SIDE = 1600  # pixels; larger pages are looked at scaled down
CONTRAST = 12  # grey levels darker than the paper around it: ink
RULED = 2.5  # line heights; a thin stroke so long and so straight is a rule
LEAST = 0.12  # of the square of a line's height: ink of a patch
UNDERLINE = 16  # line heights; of a rule no longer than that, what lies so near to the ink upon it
ABOUT = 3.0  # goes as well
SIGNATURE = 14, 5  # line heights; strokes no longer and no taller are followed where they leave a patch
SPECK = 6  # pixels; less than this is dust
GROWN = 0.2  # of a line's height: what reaches out of a line that was read belongs to it
_SIGNED = re.compile(rf"^\s*{labels.one_of(labels.SIGNATURE, labels.CLOSING)}[\s:.,!_]*$")
NEAR_LABEL = 6  # letters and digits; less than that around such a label is a signature,
SURELY = 0.9  # and so is what is read there with less mean confidence; elsewhere one reader so sure is believed
UNSURELY = 0.5  # what is read with less than that is never believed, and what is read with less than
SHORT_SURELY = 0.75  # that not if it is short
ONE_SURELY, HALF = 0.97, 0.5  # of short ones it is enough that one reader is so sure, and two share so much
ALIKE = 0.7  # of two readings' letters; two readers that agree so far are believed
WHOLE = 0.5  # of a stroke's ink outside the lines, from which all of it is: signatures cross what is printed
SHORT = 4  # letters and digits; of less than that readers have to agree
TALL = 1.6  # times the usual height; so tall and so short a line is no text
DARK, FLAT = 100, 0.5  # grey level and share of a page: a screen at night is darker, and has more of one tone
_USUAL_HEIGHT = 24.0

Mask = npt.NDArray[np.uint8]


class UnreadDetector:
    """Finds patches of ink outside the lines it is given."""

    name = KIND
    version = "4"
    pixels = True

    def find(self, image: Image, lines: Sequence[Line]) -> list[Region]:
        check_page(image)
        scale = min(1.0, LONG_SIDE / max(image.shape[:2]))
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        if scale < 1.0:
            size = (max(1, round(gray.shape[1] * scale)), max(1, round(gray.shape[0] * scale)))
            gray = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
        if dark(gray):
            gray = 255 - gray
        heights = [min(_sides(line.quad)) * scale for line in lines]
        height = float(np.clip(np.median(heights), 8, 60)) if heights else _USUAL_HEIGHT
        everything = _ink(gray)
        ink = _unruled(everything, height)
        rules, strokes = everything - ink, ink.copy()
        thin = cv2.min(_thin(gray), 1 - cv2.dilate(rules, np.ones((3, 3), np.uint8)))
        for line in _believed(lines, height / scale):
            _erase(ink, line.quad, scale)
            _erase(thin, line.quad, scale)
        ink = _whole_strokes(ink, strokes)
        patches = _followed(_patches(ink, height), thin, height)
        return [_region(box, scale, image) for box in (*patches, *_underlines(rules, patches, height))]


def _believed(lines: Sequence[Line], height: float) -> list[Line]:
    """Lines that are text: one reader is sure of them, or two read alike; short ones are of a usual height besides.

    Readers make letters of a signature, too: seldom the same, and seldom surely.
    """
    signed = [line.box for line in lines if _SIGNED.search(fold(line.text))]
    texts = ["".join(c for c in line.text.casefold() if c.isalnum()) for line in lines]
    boxes = [line.box for line in lines]
    kept = []
    for i, line in enumerate(lines):
        poor = len(texts[i]) < NEAR_LABEL or line.confidence < SURELY
        if line.confidence < UNSURELY or (poor and any(_around(boxes[i], label, height) for label in signed)):
            continue
        others = [j for j in range(len(lines)) if j != i and 2 * boxes[i].intersect(boxes[j]) > boxes[i].area]
        alike = max((Indel.normalized_similarity(texts[i], texts[j]) for j in others), default=0.0)
        if len(texts[i]) >= SHORT:
            believed = line.confidence >= SURELY or alike >= ALIKE
        else:
            believed = min(_sides(line.quad)) <= TALL * height and line.confidence >= SHORT_SURELY
            believed = believed and alike >= (HALF if line.confidence >= ONE_SURELY else 1.0)
        if believed:
            kept.append(line)
    return kept


def _around(box: Box, label: Box, height: float) -> bool:
    """Does the box begin right of the label, or lie not far below or closely above it?"""
    middle = (box.y0 + box.y1) / 2
    if label.y0 - height < middle < label.y1 + height and box.x0 >= label.x1 - height / 2:
        return True
    apart = box.x0 >= label.x1 + 4 * height or box.x1 <= label.x0 - 4 * height
    return not apart and (0 < middle - label.y1 < 3.5 * height or 0 < label.y0 - middle < 2.5 * height)


def dark(gray: npt.NDArray[np.uint8]) -> bool:
    """Is it light on dark, as a screen at night: most of it one dark tone? A photograph has many."""
    tone = float(np.median(gray))
    return tone < DARK and float((np.abs(gray.astype(np.int16) - tone) <= CONTRAST).mean()) > FLAT


def _ink(gray: Mask) -> Mask:
    soft = cv2.medianBlur(gray.astype(np.uint8), 3)
    side = max(31, min(gray.shape) // 8) | 1
    ink = cv2.adaptiveThreshold(soft, 1, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY_INV, side, CONTRAST)
    found: Mask = ink.astype(np.uint8)
    return found


def _thin(gray: Mask) -> Mask:
    """Ink with the strokes of one pixel that `_ink` loses; and with more dust."""
    soft = cv2.GaussianBlur(gray, (0, 0), 1.0)
    side = max(31, min(gray.shape) // 8) | 1
    ink = cv2.adaptiveThreshold(soft, 1, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY_INV, side, CONTRAST)
    found: Mask = ink.astype(np.uint8)
    return found


def _followed(patches: Sequence[Box], thin: Mask, height: float) -> list[Box]:
    """The patches, as long as the strokes in them go on: a pen's, no longer than a signature, no frame."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(thin, connectivity=8)
    wide, tall = SIGNATURE[0] * height, SIGNATURE[1] * height
    found = []
    for patch in patches:
        inside = np.unique(labels[patch.y0 : patch.y1, patch.x0 : patch.x1])
        strokes = [stats[n].tolist() for n in inside if n and stats[n][cv2.CC_STAT_AREA] >= SPECK]
        boxes = [Box(x, y, x + w, y + h) for x, y, w, h, _ in strokes if w <= wide and h <= tall]
        corners = [(b.x0, b.y0) for b in (patch, *boxes)] + [(b.x1, b.y1) for b in (patch, *boxes)]
        found.append(Box.around(corners))
    return found


def _unruled(ink: Mask, height: float) -> Mask:
    """The ink without straight strokes across or down that are long and thin."""
    length, thick = max(15, round(RULED * height)), max(5, round(height / 3))
    rest = ink.copy()
    for turn in (lambda a: a, np.transpose):
        view = np.ascontiguousarray(turn(ink))
        wide = cv2.dilate(view, np.ones((3, 1), np.uint8))  # a rule that lies a little askew is still one
        strokes = cv2.morphologyEx(wide, cv2.MORPH_OPEN, np.ones((1, length), np.uint8))
        bars = cv2.morphologyEx(strokes, cv2.MORPH_OPEN, np.ones((thick, 1), np.uint8))
        thin = cv2.dilate(strokes - cv2.min(strokes, bars), np.ones((3, 3), np.uint8))
        rest[np.ascontiguousarray(turn(thin)) > 0] = 0
    return rest


def _erase(ink: Mask, quad: Quad, scale: float) -> None:
    a, b, c, d = (np.array(p) * scale for p in quad)
    across, down = b - a, d - a
    reach = GROWN * min(float(np.linalg.norm(across)), float(np.linalg.norm(down)))
    x = reach * across / max(float(np.linalg.norm(across)), 1.0)
    y = reach * down / max(float(np.linalg.norm(down)), 1.0)
    points = np.array([[a - x - y, b + x - y, c + x + y, d - x + y]])
    cv2.fillPoly(ink, np.rint(points).astype(np.int32), 0)


def _whole_strokes(ink: Mask, strokes: Mask) -> Mask:
    """The ink that is left, and all of every stroke of which most is left."""
    _, labels = cv2.connectedComponents(strokes, connectivity=8)
    all_of_it, left = np.bincount(labels.ravel()), np.bincount(labels.ravel(), weights=ink.ravel())
    most = left >= WHOLE * all_of_it
    most[0] = False
    whole: Mask = np.maximum(ink, most[labels].astype(np.uint8) * strokes)
    return whole


def _patches(ink: Mask, height: float) -> list[Box]:
    """Boxes around strokes that lie close together, of the size of a letter or more."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(ink, connectivity=8)
    dust = stats[:, cv2.CC_STAT_AREA] < SPECK
    clean = np.where(dust[labels], 0, ink).astype(np.uint8)
    near = max(3, round(0.5 * height)) | 1
    _, labels, stats, _ = cv2.connectedComponentsWithStats(cv2.dilate(clean, np.ones((near, near), np.uint8)))
    counts = np.bincount(labels.ravel(), weights=clean.ravel(), minlength=len(stats))
    found = []
    for number, (x, y, w, h, _) in enumerate(stats.tolist()):
        inner_w, inner_h = w - near + 1, h - near + 1
        large = min(inner_w, inner_h) >= 0.45 * height and max(inner_w, inner_h) >= 0.9 * height
        if number and large and counts[number] >= LEAST * height * height:
            found.append(Box(x + near // 2, y + near // 2, x + w - near // 2, y + h - near // 2))
    return found


def _underlines(rules: Mask, patches: Sequence[Box], height: float) -> list[Box]:
    """As much of short rules as lies about a patch that touches them: a straight stroke of a pen looks like a rule."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(cv2.dilate(rules, np.ones((3, 3), np.uint8)))
    reach, found = round(ABOUT * height), []
    for x, y, w, h, _ in stats[1:].tolist():
        box = Box(x, y, x + w, y + h)
        if w <= UNDERLINE * height and h <= height:
            for patch in patches:
                if box.intersect(patch.grown(2)) > 0:
                    found.append(Box(max(x, patch.x0 - reach), y, min(x + w, patch.x1 + reach), y + h))
    return found


def _region(box: Box, scale: float, image: Image) -> Region:
    x0, y0 = max(int(box.x0 / scale) - 2, 0), max(int(box.y0 / scale) - 2, 0)
    x1, y1 = (
        min(int(np.ceil(box.x1 / scale)) + 2, image.shape[1]),
        min(int(np.ceil(box.y1 / scale)) + 2, image.shape[0]),
    )
    return Region(KIND, ((x0, y0), (x1, y0), (x1, y1), (x0, y1)), 0.5, "ink that no reader took for text")


def _sides(quad: Quad) -> tuple[float, float]:
    a, b, _, d = (np.array(p) for p in quad)
    return float(np.linalg.norm(b - a)), float(np.linalg.norm(d - a))
