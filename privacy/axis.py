"""A line's mid-axis on a redacted page: which of its columns are filled, and which show ink."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from privacy.anonymise import EDGE, Mask
from privacy.page import Quad

CONTRAST = 22  # grey levels from the paper: ink
REACH = 1.2  # line heights within which what a fill cut off must end
STEP = 10.0  # line heights, from the line's start: blank paper is taken up to a multiple of it


class Axis:
    """Columns of pixels along the line, from `REACH` before it to past the next step behind it."""

    def __init__(self, quad: Quad, gray: npt.NDArray[np.uint8], mask: Mask) -> None:
        self.quad, self.origin = quad, np.array(quad[0])
        (ax, ay), (bx, by), _, (dx, dy) = quad
        self.length, self.height = float(np.hypot(bx - ax, by - ay)), float(np.hypot(dx - ax, dy - ay))
        self.along, self.down = (np.array(quad[1]) - quad[0]) / self.length, (np.array(quad[3]) - quad[0]) / self.height
        self.start = -int(REACH * self.height)
        columns = np.arange(self.start, int(self.length + (STEP + 1 + REACH) * self.height))
        rows = np.arange(0, self.height)
        grid = self.origin + columns[:, None, None] * self.along + rows[None, :, None] * self.down
        x, y = np.rint(grid[..., 0]).astype(int), np.rint(grid[..., 1]).astype(int)
        inside = (x >= 0) & (x < mask.shape[1]) & (y >= 0) & (y < mask.shape[0])
        x, y = np.clip(x, 0, mask.shape[1] - 1), np.clip(y, 0, mask.shape[0] - 1)
        core = slice(round(EDGE * self.height), round((1 - EDGE) * self.height))
        self._filled = (mask[y, x] & inside)[:, core].any(axis=1)
        levels = gray[y, x].astype(np.int16)
        paper = np.median(levels[inside]) if inside.any() else 255
        ink = (np.abs(levels - paper) > CONTRAST) & ~mask[y, x]
        self._ink = ink[:, core].any(axis=1)
        self._taken = ink.any(axis=1) | mask[y, x].any(axis=1) | ~inside.all(axis=1)

    def masked(self, place: tuple[float, float]) -> bool:
        """Was any column of the middle half of a character filled?"""
        left, right = place
        quarter = (right - left) / 4
        return bool(self._filled[self._column(left + quarter) : self._column(right - quarter) + 1].any())

    def fill_around(self, left: float, right: float) -> tuple[float, float]:
        """From the first to the last filled column that hangs together with those between `left` and `right`."""
        inside = np.flatnonzero(self._filled[self._column(left) : self._column(right) + 1]) + self._column(left)
        first, last = int(inside[0]), int(inside[-1])
        while first > 0 and self._filled[first - 1]:
            first -= 1
        while last + 1 < len(self._filled) and self._filled[last + 1]:
            last += 1
        return first + self.start, last + 1.0 + self.start

    def blank_from(self, column: float, step: int) -> float | None:
        """The first blank column from here, within reach: what a fill cut in two ends there."""
        at = self._column(column)
        for _ in range(int(REACH * self.height)):
            if not 0 <= at < len(self._ink):
                return None
            if not self._ink[at]:
                return float(at + self.start)
            at += step
        return None

    def ink_before(self, column: float) -> float | None:
        """Where the ink before a blank column ends; None if it is not near."""
        at = self._column(column)
        near = np.flatnonzero(self._ink[max(at - int(REACH * self.height), 0) : at + 1])
        return None if not len(near) else float(max(at - int(REACH * self.height), 0) + near[-1] + 1 + self.start)

    def ink_after(self, column: float) -> float:
        """Where blank paper ends: at ink, a fill, the page's edge, or a step that does not tell where it began."""
        at = self._column(column)
        stop = self._column(STEP * self.height * np.ceil((column + self.height) / (STEP * self.height)))
        while at < stop and not self._taken[at]:
            at += 1
        return float(at + self.start)

    def _column(self, at: float) -> int:
        return min(max(int(at) - self.start, 0), len(self._filled) - 1)
