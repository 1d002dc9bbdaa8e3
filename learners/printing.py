"""Dot printers: how a grid of dots becomes ink on paper.

A thermal head (203 dpi) and a 24-pin head burn or strike letters rasterised at their own resolution; a
nine-pin head strikes the letters of `learners.pins`. What goes wrong is what goes wrong in print: a
weak or dead element, a tired ribbon, uneven pressure, paper that creeps, single dots that miss.

Integer arithmetic throughout; a dot is drawn on a grid of `SUB` x `SUB` places and averaged to pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from learners.draws import Draws
from learners.typesetting import Ink, Setting
from privacy.page import Box

SUB = 8
"""Places along a dot's pitch at which its shape is drawn."""

Strength = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Printer:
    """One printer on one day. Percentages are of full strength."""

    pitch: int
    """Sixteenths of a pixel from one dot to the next; at most 16 x SUB."""
    diameter: int
    """Eighths of the pitch: 8 touches its neighbours, less leaves paper between dots."""
    strength: int
    spread: int
    """How much single dots vary."""
    missing: int
    """Dots in a thousand that leave nothing."""
    rows: tuple[int, ...]
    """Strength of each row of dots: a worn pin, or bands of creeping paper; repeats downwards."""
    fade: tuple[int, int]
    """Strength at the left and the right end: a tired ribbon, or uneven pressure."""
    dead: tuple[int, ...] = ()
    """Columns, in thousandths of the width, that print nothing: dead heating elements."""

    def __post_init__(self) -> None:
        if not 1 <= self.pitch <= 16 * SUB:
            raise ValueError(f"Expected pitch={self.pitch} from 1 to {16 * SUB}.")


def thermal(draws: Draws, pitch: int) -> Printer:
    """A thermal label printer; its dots touch."""
    wave = [100 - draws.below(1 + draws.pick((4, 10, 24))) for _ in range(draws.between(5, 9))]
    return Printer(
        pitch=pitch,
        diameter=draws.pick((7, 8, 8)),
        strength=draws.between(70, 100),
        spread=draws.between(5, 35),
        missing=draws.pick((0, 0, 5, 20, 40)),
        rows=tuple(wave),
        fade=(draws.between(70, 100), draws.between(70, 100)),
        dead=tuple(draws.below(1000) for _ in range(draws.pick((0, 0, 0, 1, 2)))),
    )


def impact(draws: Draws, pitch: int, pins: int) -> Printer:
    """A needle printer with `pins` pins and an inked ribbon; one pin may be worn."""
    rows = [100 - draws.below(12) for _ in range(pins)]
    if draws.chance(35):
        rows[draws.below(pins)] = draws.between(30, 75)
    return Printer(
        pitch=pitch,
        diameter=draws.between(6, 8),
        strength=draws.between(65, 100),
        spread=draws.between(10, 40),
        missing=draws.pick((0, 5, 10, 30)),
        rows=tuple(rows),
        fade=(draws.between(65, 100), draws.between(65, 100)),
    )


def _profile(diameter: int) -> npt.NDArray[np.int32]:
    """A dot across its pitch, 0 to 255: full in the middle, soft at the rim. A dot is the product of two."""
    distance = np.abs(2 * np.arange(SUB, dtype=np.int32) + 1 - SUB)
    profile: npt.NDArray[np.int32] = np.clip((diameter + 1 - distance) * 128, 0, 255).astype(np.int32)
    return profile


def _strengths(shape: tuple[int, int], printer: Printer, draws: Draws) -> Strength:
    """How strongly each dot prints, 0 to 255."""
    height, width = shape
    rows = np.resize(np.array(printer.rows, np.int32), height)
    left, right = printer.fade
    columns = left + (right - left) * np.arange(width, dtype=np.int32) // max(width - 1, 1)
    for place in printer.dead:
        columns[place * width // 1000] = 0
    single: Strength = 100 - draws.octets(shape).astype(np.int32) * printer.spread // 255
    strength = single * rows[:, None] // 100 * columns[None, :] // 100 * printer.strength // 100
    if printer.missing:
        luck = draws.octets(shape).astype(np.int32) * 256 + draws.octets(shape)
        strength[luck < printer.missing * 65536 // 1000] = 0
    scaled: Strength = strength * 255 // 100
    return scaled


def _averaged(dots: npt.NDArray[np.int32], printer: Printer, axis: int) -> npt.NDArray[np.int32]:
    """Dots to pixels along `axis`: each pixel is the mean of the places of dots that fall into it."""
    fine = dots.repeat(SUB, axis=axis)
    places = fine.shape[axis]
    profile = np.tile(_profile(printer.diameter), dots.shape[axis])
    fine *= profile[:, None] if axis == 0 else profile
    pixels = -(-places * printer.pitch // (16 * SUB))
    edges = np.arange(pixels + 1, dtype=np.int64) * (16 * SUB) // printer.pitch
    sums: npt.NDArray[np.int32] = np.add.reduceat(fine, np.minimum(edges[:-1], places - 1), axis=axis)
    share = (255 * np.diff(edges)).astype(np.int32)
    mean: npt.NDArray[np.int32] = sums // (share[:, None] if axis == 0 else share)
    return mean


def strike(setting: Setting, printer: Printer, draws: Draws) -> Setting:
    """The same line in pixels of ink instead of dots; the boxes hold all of the dots' ink."""
    dots = (setting.ink > 0).astype(np.int32) * _strengths(setting.ink.shape, printer, draws)
    ink: Ink = _averaged(_averaged(dots, printer, 0), printer, 1).astype(np.uint8)
    boxes = tuple(None if box is None else _scaled(box, printer.pitch) for box in setting.boxes)
    return replace(setting, ink=ink, boxes=boxes, baseline=-(-setting.baseline * printer.pitch // 16))


def _scaled(box: Box, pitch: int) -> Box:
    return Box(box.x0 * pitch // 16, box.y0 * pitch // 16, -(-box.x1 * pitch // 16), -(-box.y1 * pitch // 16))
