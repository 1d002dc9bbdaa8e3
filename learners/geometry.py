"""A page that lies askew: the ink and what is known about it move together, on integers.

The map between the page and its picture is one homography with integer entries. Ink is pulled through
it with coordinates and bilinear weights of 1/256; corners are pushed through its adjugate, which is its
inverse up to a factor, so both are exact up to that last rounding.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

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


def moved(point: Point, page_to_picture: Matrix) -> Point:
    """Where a point of the page, in whole pixels, is in the picture."""
    (a, b, c), (d, e, f), (g, h, i) = page_to_picture
    x, y = round(point[0]), round(point[1])
    below = g * x + h * y + i
    return (a * x + b * y + c) / below, (d * x + e * y + f) / below


def pulled(ink: Ink, picture_to_page: Matrix) -> Ink:
    """The picture of the page, of the same shape; beyond the page its edge goes on.

    Coordinates are quotients of whole numbers below 2^53, which float64 holds exactly, and IEEE 754 rounds
    a quotient the same way everywhere; one operation a call leaves a compiler nothing to contract.
    """
    height, width = ink.shape
    (a, b, c), (d, e, f), (g, h, i) = picture_to_page
    # Centres of pixels lie at +1/2: doubled coordinates keep them whole.
    x = 2 * np.arange(width, dtype=np.int64) + 1
    y = 2 * np.arange(height, dtype=np.int64)[:, None] + 1
    below = (g * x).astype(np.float64) + (h * y + 2 * i)
    column = _fixed((256 * a * x).astype(np.float64) + 256 * (b * y + 2 * c), below, width)
    row = _fixed((256 * d * x).astype(np.float64) + 256 * (e * y + 2 * f), below, height)
    # The four neighbours of a place packed into one number, so that they are fetched together.
    framed = np.pad(ink, ((0, 1), (0, 1)), mode="edge").astype(np.uint32)
    upper = framed[:, :-1] | framed[:, 1:] << 8
    four = (upper[:-1] | upper[1:] << 16).ravel()[(row >> 8) * width + (column >> 8)]
    right, low = (column & 255).astype(np.uint32), (row & 255).astype(np.uint32)
    above = (four & 255) * (256 - right) + (four >> 8 & 255) * right
    under = (four >> 16 & 255) * (256 - right) + (four >> 24) * right
    return ((above * (256 - low) + under * low + 32768) >> 16).astype(np.uint8)  # type: ignore[no-any-return]


def _fixed(above: npt.NDArray[np.float64], below: npt.NDArray[np.float64], size: int) -> npt.NDArray[np.int64]:
    """`above / below` less half a pixel, in 256ths of a pixel, kept within `size` pixels."""
    return np.clip(above / below - 128, 0, 256 * (size - 1)).astype(np.int64)


def _quartered(point: Point, shape: tuple[int, int], quarters: int) -> Point:
    (x, y), (height, width) = point, shape
    for _ in range(quarters % 4):
        x, y, height, width = height - y, x, width, height
    return x, y


def carried(
    lines: list[Line], regions: list[Region], shape: tuple[int, int], picture_to_page: Matrix, quarters: int
) -> tuple[tuple[Line, ...], tuple[Region, ...]]:
    """The lines and regions of a page of `shape` where they are in its picture."""

    page_to_picture = _adjugate(picture_to_page)

    def corner(point: Point) -> Point:
        return _quartered(moved(point, page_to_picture), shape, quarters)

    def quad(quad: Quad) -> Quad:
        return corner(quad[0]), corner(quad[1]), corner(quad[2]), corner(quad[3])

    def char(char: Char) -> Char:
        return replace(char, quad=quad(char.quad))

    return (
        tuple(replace(line, quad=quad(line.quad), chars=tuple(map(char, line.chars))) for line in lines),
        tuple(replace(region, quad=quad(region.quad)) for region in regions),
    )
