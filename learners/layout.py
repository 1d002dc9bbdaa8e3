"""Where things go on a sheet: text that fits a width, paragraphs, bar codes, a silhouette."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import zxingcpp

from learners.draws import Draws
from learners.fonts import CHINESE, MONOSPACED, PROPORTIONAL
from learners.sheet import Part, Sheet, joined
from learners.typesetting import Ink, Style, measure, typeset
from privacy.page import Box

SMALLEST = 9
"""Pixels an em: text that doesn't fit at this size is refused."""


def faces(locale: str, draws: Draws, monospaced: bool = False) -> tuple[str, str]:
    """A face for running text and one for what stands out, both with all the letters of the locale."""
    if locale.startswith("zh"):
        face = CHINESE[locale == "zh_TW"]
        return face, face
    if monospaced:
        face = draws.pick([name for name in MONOSPACED if f"{name}-bold" in MONOSPACED])
        return face, f"{face}-bold"
    face = draws.pick([name for name in PROPORTIONAL if f"{name}-bold" in PROPORTIONAL])
    return face, f"{face}-bold"


def put(
    sheet: Sheet, parts: str | Sequence[Part], style: Style, x: int, baseline: int, width: int, align: str = "left"
) -> Box:
    """Writes one line into `width` pixels from `x`, smaller if it must; `align` is left, centre or right.

    Raises:
        MissingGlyph: the face lacks a character of it.
        ValueError: it doesn't fit even at the smallest size.
    """
    parts = [parts] if isinstance(parts, str) else list(parts)
    text = joined(parts)
    while (across := measure(text, style)) > width:
        if style.size == SMALLEST:
            raise ValueError(f"Expected a line of at most {width} pixels, got {across} at size {SMALLEST}.")
        style = replace(style, size=max(SMALLEST, min(style.size - 1, style.size * width // across)))
    setting = typeset(text, style)
    indent = {"left": 0, "centre": (width - setting.width) // 2, "right": width - setting.width}[align]
    return sheet.put(setting, parts, x + indent, baseline - setting.baseline)


def wrapped(text: str, style: Style, width: int) -> list[str]:
    """The text broken into lines of at most `width` pixels: at spaces, or anywhere if it has none."""
    between = " " if " " in text else ""
    lines: list[str] = []
    for piece in text.split() if between else list(text):
        longer = f"{lines[-1]}{between}{piece}" if lines else piece
        if lines and measure(longer, style) <= width:
            lines[-1] = longer
        else:
            lines.append(piece)
    return lines


def barcode(text: str, kind: zxingcpp.BarcodeFormat, module: int, height: int = 60) -> Ink:
    """A bar code of `text` with its quiet zone, `module` pixels the narrowest bar; `height` of a linear one."""
    grey = np.asarray(zxingcpp.create_barcode(text, kind).to_image(scale=1))
    if kind == zxingcpp.BarcodeFormat.Code128:
        grey = grey[grey.shape[0] // 2 : grey.shape[0] // 2 + 1].repeat(height, axis=0)
        return (255 - grey).repeat(module, axis=1)
    return (255 - grey).repeat(module, axis=0).repeat(module, axis=1)


def silhouette(height: int, width: int) -> Ink:
    """A head and shoulders in grey where a photograph would be: nobody's face."""
    y, x = np.arange(height)[:, None], np.arange(width)[None, :]
    head = (2 * x - width) ** 2 * height * height + (5 * y - 2 * height) ** 2 * width * width // 2
    body = (2 * x - width) ** 2 * height * height + (2 * y - 2 * height) ** 2 * width * width
    inside = (head < (width * height) ** 2 * 2 // 9) | (body < (width * height) ** 2 * 5 // 8)
    return np.where(inside, 120, 40).astype(np.uint8)
