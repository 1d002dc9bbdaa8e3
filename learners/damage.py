"""What scanning does to a page: it lies askew, light is uneven, the lens blurs, the sensor hisses, JPEG bites.

Guarantee: the bytes depend on the ink and the draws alone. All arithmetic is on integers (a turn is a
rational rotation, not a sine), and JPEG goes through Pillow's libjpeg-turbo with its default integer
transform, whose vector and scalar code agree bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as Pictures

from learners.draws import Draws
from learners.typesetting import Ink
from privacy.page import Image


@dataclass(frozen=True)
class Damage:
    """One pass through a scanner or a camera; the default changes nothing."""

    paper: tuple[int, int, int] = (255, 255, 255)
    print: tuple[int, int, int] = (0, 0, 0)
    blur: int = 0
    """Passes of the kernel (1, 2, 1) / 4 in both directions."""
    shade: int = 0
    """Greatest difference in light across the page, in grey levels."""
    noise: int = 0
    """Standard deviation of the sensor's noise, in quarters of a grey level."""
    levels: tuple[int, int] | None = None
    """What becomes black and what white, in hundredths of the way from the darkest ink to the paper, and all of it
    grey: the contrast that a scanner's software makes."""
    jpeg: int | None = None
    """Quality; None for none."""
    turn: int = 0
    """Clockwise, in units of 2/1024 radian (about a ninth of a degree)."""
    lean: tuple[int, int] = (0, 0)
    """Perspective across and down: a side's shrinking, in 1024ths."""
    quarters: int = 0
    """Quarter turns clockwise, after all else."""

    def __post_init__(self) -> None:
        if not 0 <= self.noise <= 64:
            raise ValueError(f"Expected noise={self.noise} from 0 to 64.")
        if min(self.blur, self.shade) < 0:
            raise ValueError(f"Expected blur={self.blur} >= 0 and shade={self.shade} >= 0.")
        if self.levels is not None and self.levels[0] >= self.levels[1]:
            raise ValueError(f"Expected levels={self.levels} to rise.")
        if max(abs(self.turn), abs(self.lean[0]), abs(self.lean[1])) > 128:
            raise ValueError(f"Expected turn={self.turn} and lean={self.lean} from -128 to 128.")


NONE = Damage()


def some(draws: Draws, turn: int = 9, lean: int = 0) -> Damage:
    """A scanner or a telephone as one meets them, askew by no more than `turn` and `lean`."""
    paper = draws.between(215, 255)
    tint = draws.pick((0, 0, 4, 10))
    dark = draws.between(10, 65)
    return Damage(
        paper=(paper, paper - tint // 2, paper - tint),
        print=(dark, dark, dark + draws.pick((0, 0, 12))),
        blur=draws.pick((0, 0, 1, 1, 2)),
        shade=draws.pick((0, 10, 30)),
        noise=draws.pick((0, 4, 8, 16, 28)),
        jpeg=draws.pick((None, 85, 70, 50)),
        turn=draws.between(-turn, turn) if draws.chance(50) else 0,
        lean=(draws.between(-lean, lean), draws.between(-lean, lean)) if draws.chance(30) else (0, 0),
    )


def slight(draws: Draws) -> Damage:
    """A good scan of a clean print, lying straight."""
    paper, dark = draws.between(238, 255), draws.between(0, 45)
    return Damage(
        paper=(paper, paper, paper - draws.pick((0, 0, 4))),
        print=(dark, dark, dark),
        shade=draws.pick((0, 0, 8)),
        noise=draws.pick((0, 4, 8)),
        jpeg=draws.pick((None, 95, 88)),
    )


def screen(draws: Draws) -> Damage:
    """A screenshot, light or dark: no optics, only compression."""
    light, dark = draws.between(243, 255), draws.between(10, 50)
    if draws.chance(35):
        light, dark = draws.between(18, 40), draws.between(210, 245)
    blue = draws.pick((0, 0, 4))
    return Damage(
        paper=(light, light, light + min(blue, 255 - light)),
        print=(dark, dark, dark + blue),
        jpeg=draws.pick((None, None, 90, 75)),
    )


def blurred(ink: Ink, passes: int) -> Ink:
    """`passes` times the kernel (1, 2, 1) / 4 along both axes; the edge repeats."""
    soft: npt.NDArray[Any] = ink.astype(np.uint16)
    for _ in range(passes):
        for axis in (0, 1):
            wide = np.pad(soft, [(1, 1) if a == axis else (0, 0) for a in (0, 1)], mode="edge")
            count = soft.shape[axis]
            first, middle, last = (wide[k : k + count] if axis == 0 else wide[:, k : k + count] for k in (0, 1, 2))
            soft = (first + 2 * middle + last + 2) >> 2
    return soft.astype(np.uint8)


def _shade(shape: tuple[int, int], depth: int, draws: Draws) -> npt.NDArray[np.int16]:
    """A slope of light between the four corners."""
    height, width = shape
    corners = [draws.below(depth + 1) for _ in range(4)]
    x = np.arange(width, dtype=np.int32)
    top = (corners[0] * (width - x) + corners[1] * x) // width
    bottom = (corners[2] * (width - x) + corners[3] * x) // width
    y = np.arange(height, dtype=np.int32)[:, None]
    return ((top * (height - y) + bottom * y) // height).astype(np.int16)


def scanned(ink: Ink, damage: Damage, draws: Draws) -> Image:
    """The ink as a picture, `(H, W, 3) uint8` RGB; where things are does not change."""
    soft = blurred(ink, damage.blur)
    paper, dark = damage.paper[0], damage.print[0]
    covered = np.arange(256, dtype=np.int32)
    level = (paper - covered * (paper - dark) // 255).astype(np.int16)[soft]
    if damage.shade:
        level -= _shade(ink.shape, damage.shade, draws)
    if damage.noise:
        level += draws.bell(ink.shape) * np.int16(damage.noise) // np.int16(591)
    if damage.levels is None:
        picture = _tints(damage)[np.clip(level, 0, 255).astype(np.uint8)]
    else:
        picture = np.repeat(_levelled(level, damage.levels)[..., None], 3, axis=2)
    return picture if damage.jpeg is None else _compressed(picture, damage.jpeg)


def _levelled(level: npt.NDArray[np.int16], levels: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Ink is as dark as the darkest fiftieth of a line, paper as light as the lightest two fifths."""
    ranked = np.sort(np.clip(level, 0, 255), axis=None)
    ink, paper = (int(ranked[ranked.size * percent // 100]) for percent in (2, 60))
    span = max(paper - ink, 24)
    black, white = ink + span * levels[0] // 100, paper - span * (100 - levels[1]) // 100
    stretched: npt.NDArray[np.uint8] = np.clip(
        (level.astype(np.int32) - black) * 255 // max(1, white - black), 0, 255
    ).astype(np.uint8)
    return stretched


def _tints(damage: Damage) -> npt.NDArray[np.uint8]:
    """`(256, 3)`: red, green and blue for each level of red, straight between print and paper."""
    red = np.arange(256, dtype=np.int32)
    span = (damage.paper[0] - damage.print[0]) or 1
    tints = [
        red
        + (dark - damage.print[0])
        + (paper - damage.paper[0] - dark + damage.print[0]) * (red - damage.print[0]) // span
        for paper, dark in zip(damage.paper, damage.print, strict=True)
    ]
    return np.clip(np.stack(tints, axis=1), 0, 255).astype(np.uint8)


def _compressed(picture: Image, quality: int) -> Image:
    buffer = BytesIO()
    Pictures.fromarray(picture).save(buffer, "JPEG", quality=quality)
    return np.array(Pictures.open(buffer))
