"""A page that lies askew: the ink and what is known about it move together, on integers.

The map between the page and its picture is one homography with integer entries. Ink is pulled through
it with fixed-point coordinates and bilinear weights of 1/256; corners are pushed through its adjugate,
which is its inverse up to a factor, so both are exact up to that last rounding.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from learners.typesetting import Ink
from privacy.page import Char, Line, Point, Quad, Region

Matrix = tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]]

UNIT = 1 << 20
"""One, in the entries of a homography."""


def _product(a: Matrix, b: Matrix) -> Matrix:
    rows = [tuple(sum(a[i][k] * b[k][j] for k in range(3)) for j in range(3)) for i in range(3)]
    return rows[0], rows[1], rows[2]  # type: ignore[return-value]


def _adjugate(m: Matrix) -> Matrix:
    (a, b, c), (d, e, f), (g, h, i) = m
    return (
        (e * i - f * h, c * h - b * i, b * f - c * e),
        (f * g - d * i, a * i - c * g, c * d - a * f),
        (d * h - e * g, b * g - a * h, a * e - b * d),
    )


def askew(shape: tuple[int, int], turn: int, lean: tuple[int, int]) -> Matrix:
    """From the picture to the page, about the middle; `turn` and `lean` as in `learners.damage.Damage`.

    The rotation is the rational one with t = turn / 1024: cos = (1 - t^2) / (1 + t^2), sin = 2t / (1 + t^2).
    """
    height, width = shape
    whole = 1024 * 1024 + turn * turn
    cos, sin = (1024 * 1024 - turn * turn) * UNIT // whole, 2048 * turn * UNIT // whole
    rotation: Matrix = ((cos, sin, 0), (-sin, cos, 0), (0, 0, UNIT))
    across, down = lean[0] * UNIT // (512 * width), lean[1] * UNIT // (512 * height)
    perspective: Matrix = ((UNIT, 0, 0), (0, UNIT, 0), (across, down, UNIT))
    there: Matrix = ((1, 0, width // 2), (0, 1, height // 2), (0, 0, 1))
    back: Matrix = ((1, 0, -(width // 2)), (0, 1, -(height // 2)), (0, 0, 1))
    both = _product(_product(there, _product(rotation, perspective)), back)
    rows = [tuple(entry // UNIT for entry in row) for row in both]
    return rows[0], rows[1], rows[2]  # type: ignore[return-value]


def moved(point: Point, picture_to_page: Matrix) -> Point:
    """Where a point of the page is in the picture."""
    (a, b, c), (d, e, f), (g, h, i) = _adjugate(picture_to_page)
    x, y = round(point[0]), round(point[1])
    below = g * x + h * y + i
    return (a * x + b * y + c) / below, (d * x + e * y + f) / below


def pulled(ink: Ink, picture_to_page: Matrix) -> Ink:
    """The picture of the page, of the same shape; beyond the page its edge goes on."""
    height, width = ink.shape
    (a, b, c), (d, e, f), (g, h, i) = picture_to_page
    # Centres of pixels lie at +1/2: doubled coordinates keep them whole.
    x = 2 * np.arange(width, dtype=np.int64) + 1
    y = 2 * np.arange(height, dtype=np.int64)[:, None] + 1
    below = g * x + h * y + 2 * i
    column = ((a * x + b * y + 2 * c) * 256) // below - 128
    row = ((d * x + e * y + 2 * f) * 256) // below - 128
    column = np.clip(column, 0, 256 * (width - 1))
    row = np.clip(row, 0, 256 * (height - 1))
    at = (row >> 8) * width + (column >> 8)
    right, low = (column & 255).astype(np.int32), (row & 255).astype(np.int32)
    flat = np.append(ink.ravel(), np.zeros(width + 1, np.uint8)).astype(np.int32)
    upper = flat[at] * (256 - right) + flat[at + 1] * right
    lower = flat[at + width] * (256 - right) + flat[at + width + 1] * right
    return ((upper * (256 - low) + lower * low + 32768) >> 16).astype(np.uint8)


def _quartered(point: Point, shape: tuple[int, int], quarters: int) -> Point:
    (x, y), (height, width) = point, shape
    for _ in range(quarters % 4):
        x, y, height, width = height - y, x, width, height
    return x, y


def carried(
    lines: list[Line], regions: list[Region], shape: tuple[int, int], picture_to_page: Matrix, quarters: int
) -> tuple[tuple[Line, ...], tuple[Region, ...]]:
    """The lines and regions of a page of `shape` where they are in its picture."""

    def corner(point: Point) -> Point:
        return _quartered(moved(point, picture_to_page), shape, quarters)

    def quad(quad: Quad) -> Quad:
        return corner(quad[0]), corner(quad[1]), corner(quad[2]), corner(quad[3])

    def char(char: Char) -> Char:
        return replace(char, quad=quad(char.quad))

    return (
        tuple(replace(line, quad=quad(line.quad), chars=tuple(map(char, line.chars))) for line in lines),
        tuple(replace(region, quad=quad(region.quad)) for region in regions),
    )
