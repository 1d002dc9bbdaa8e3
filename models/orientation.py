"""A page set upright: by the shapes of its lines, by which way a few of them read, and by how they slope.

Where lines are is found once. Most of a page's lines lie across it, or the page lies on its side; the longest few,
read first, say which way is up, and an upright page goes on from there: nothing of it is read twice. A page that
slopes is straightened before it is read, so that labels stand beside their values and fills are rectangles again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from models.looks import sides
from models.reader import DOUBTFUL, PREVIEW, Reader
from privacy.page import Image, Line, Point, Quad

SAMPLE = 8  # lines that say which way is up
LONG = 2.5  # times as long as high: a line of text, whose sides tell its direction
SLOPE = 0.6  # degrees; less is within what a detector's corners are off
STEEP = 20.0  # degrees; what slopes more is no scan that lay askew
AGREED = 0.7  # of the lines' length within a degree of the middle one, or the page has no one slope

Matrix = npt.NDArray[np.float64]


class Upright(NamedTuple):
    """A page set upright, and its reading, so that none is wasted.

    `turn` is the clockwise turn in degrees that was made first, `slope` by how many degrees the lines then still fell
    to the right, which was undone.
    """

    image: Image
    turn: int
    slope: float
    lines: list[Line]


def upright(image: Image, reader: Reader) -> Upright:
    """Sets a page upright and reads it.

    Raises:
        BadPage: not `(H, W, 3) uint8`.
    """
    quads = reader.find(image)
    sample, rest = _sample(quads)
    lines = reader.read_at(image, sample)
    turn = _turn(image, lines, reader)
    found = slope(quads, lying=turn in (90, 270))
    if turn == 0 and found == 0.0:
        return Upright(image, 0, 0.0, _in_order([*lines, *reader.read_at(image, rest)]))
    turned = rotate(image, turn)
    straight = straightened(turned, found)
    again = reader.read(straight)
    if turn == 0 or _votes(again)[0] > _votes(lines)[0]:
        return Upright(straight, turn, found, again)
    return Upright(image, 0, 0.0, _in_order([*lines, *reader.read_at(image, rest)]))


def rotate(image: Image, turn: int) -> Image:
    """The page turned clockwise by 0, 90, 180 or 270 degrees."""
    if turn not in (0, 90, 180, 270):
        raise ValueError(f"Expected a turn of 0, 90, 180 or 270 degrees, got {turn}.")
    return np.ascontiguousarray(np.rot90(image, -turn // 90))


def straightened(image: Image, degrees: float) -> Image:
    """The page turned back by its slope, on a canvas that holds all of it; its rim goes on beyond its edge."""
    if degrees == 0.0:
        return image
    matrix, (width, height) = _levelling(image.shape, degrees)
    level: Image = cv2.warpAffine(
        image, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return level


def placement(shape: tuple[int, int], turn: int, degrees: float) -> Matrix:
    """`(2, 3)`: takes `(x, y, 1)` on a page of this `(height, width)` to its place after `turn`, then levelling."""
    height, width = shape
    a = {
        0: [[1, 0, 0], [0, 1, 0]],
        90: [[0, -1, height], [1, 0, 0]],
        180: [[-1, 0, width], [0, -1, height]],
        270: [[0, 1, 0], [-1, 0, width]],
    }[turn]
    turned: Matrix = np.array(a, dtype=np.float64)
    if degrees == 0.0:
        return turned
    size = (width, height) if turn in (90, 270) else (height, width)
    level, _ = _levelling(size, degrees)
    whole: Matrix = level @ np.vstack([turned, [0, 0, 1]])
    return whole


def moved(quad: Quad, matrix: Matrix) -> Quad:
    """The quadrilateral's corners, each taken where the matrix takes it."""
    points = np.hstack([np.array(quad), np.ones((4, 1))]) @ matrix.T
    a, b, c, d = ((float(x), float(y)) for x, y in points)
    return a, b, c, d


def slope(quads: Sequence[Quad], lying: bool = False) -> float:
    """By how many degrees the lines fall to the right: the middle one by length; 0 if too little, or not agreed.

    `lying`: the page lies on its side, and its lines run down or up.
    """
    angles, weights = [], []
    for quad in quads:
        start, end = _axis(quad)
        long, short = max(sides(quad)), min(sides(quad))
        if long < LONG * short:
            continue
        angle = float(np.degrees(np.arctan2(end[1] - start[1], end[0] - start[0])))
        angles.append(_about(angle, 90.0 if lying else 0.0))
        weights.append(long)
    if not angles:
        return 0.0
    order = np.argsort(angles)
    sums = np.cumsum(np.array(weights)[order])
    middle = angles[order[int(np.searchsorted(sums, sums[-1] / 2))]]
    agreed = sum(w for a, w in zip(angles, weights, strict=True) if abs(a - middle) <= 1.0)
    return middle if SLOPE <= abs(middle) <= STEEP and agreed >= AGREED * sums[-1] else 0.0


def _axis(quad: Quad) -> tuple[Point, Point]:
    """The middle line along the longer sides."""
    a, b, c, d = quad
    width, height = sides(quad)
    pairs = ((a, d), (b, c)) if width >= height else ((a, b), (d, c))
    start, end = (((p[0] + q[0]) / 2, (p[1] + q[1]) / 2) for p, q in pairs)
    return start, end


def _about(angle: float, axis: float) -> float:
    """The angle from an axis, in [-90, 90): a line has no beginning."""
    return (angle - axis + 90.0) % 180.0 - 90.0


def _levelling(shape: tuple[int, ...], degrees: float) -> tuple[Matrix, tuple[int, int]]:
    height, width = shape[:2]
    turn = np.radians(degrees)
    cos, sin = float(np.cos(turn)), float(np.sin(turn))
    wide, high = (
        int(np.ceil(width * cos + height * abs(sin))),
        int(np.ceil(width * abs(sin) + height * cos)),
    )
    back = np.array([[cos, sin], [-sin, cos]])
    shift = np.array([wide / 2, high / 2]) - back @ np.array([width / 2, height / 2])
    return np.hstack([back, shift[:, None]]), (wide, high)


def _sample(quads: Sequence[Quad]) -> tuple[list[Quad], list[Quad]]:
    """The longest lines, and all others."""
    longest = sorted(quads, key=lambda quad: -max(sides(quad)))
    return longest[:SAMPLE], longest[SAMPLE:]


def _turn(image: Image, lines: Sequence[Line], reader: Reader) -> int:
    """Which clockwise turn sets the page upright, by a reading of some of its lines."""
    votes = _votes(lines)
    if not lines or (votes[0] >= max(votes.values()) and _sure(lines)):
        return 0
    return max(votes, key=lambda t: votes[t]) if _sure(lines) else _try_all(image, reader)


def _votes(lines: Sequence[Line]) -> dict[int, float]:
    """By clockwise turn that would set them upright: characters surely read in lines of that direction."""
    votes = {0: 0.0, 90: 0.0, 180: 0.0, 270: 0.0}
    for line in lines:
        (x0, y0), (x1, y1) = line.quad[:2]
        dx, dy = x1 - x0, y1 - y0
        turn = (180 if dx < 0 else 0) if abs(dx) >= abs(dy) else (270 if dy > 0 else 90)
        votes[turn] += max(line.confidence - 0.5, 0.0) * len(line.chars)
    return votes


def _sure(lines: Sequence[Line]) -> bool:
    """Is the typical character of this reading surely read?"""
    read = sum(len(line.chars) for line in lines)
    return sum(line.confidence * len(line.chars) for line in lines) >= DOUBTFUL * read


def _try_all(image: Image, reader: Reader) -> int:
    """The turn in which the longest lines of a small copy of the page read best."""
    scale = min(1.0, PREVIEW / max(image.shape[:2]))
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else image
    scores = {}
    for turn in (0, 90, 180, 270):
        turned = rotate(small, turn)
        scores[turn] = _votes(reader.read_at(turned, _sample(reader.find(turned))[0]))[0]
    return max(scores, key=lambda turn: scores[turn])


def _in_order(lines: Sequence[Line]) -> list[Line]:
    return sorted(lines, key=lambda line: (line.box.y0, line.box.x0))
