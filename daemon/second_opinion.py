"""What OpenCV makes of an image that Pillow has decoded: two readings of one file must be one picture.

Where they differ, one of them is wrong, or the file was made to be two pictures: what a person sees in a viewer
may not be what is anonymised and learned. The first frame is compared before it is turned by its EXIF
orientation. Both use libjpeg-turbo, libwebp and libtiff in builds of their own, so what is left is rounding:
`bench/decoders.py` measures at most two levels of 255 over every format, mode and compression both can read.

Known differences, allowed for here: OpenCV ignores a grey PNG's transparent colour, and gives a TIFF's colours
multiplied by its alpha. What OpenCV can't read at all (TIFF in Zstandard, LZMA or WebP, CIELAB, 32 bits, grey with
alpha) counts as a disagreement: nobody confirmed it.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

TOLERANCE = 2.5
"""Levels of 255: two of rounding (JPEG in CMYK; one elsewhere), and half a one for 16 bits brought down to 8."""
_STRIP = 256
_ALPHA = ("RGBA", "LA", "PA", "La", "RGBa")

Pixels = npt.NDArray[Any]


def disagreement(data: bytes, frame: Image.Image, kind: str) -> str:
    """Why the two pictures are not one; "" if they are.

    Args:
        data: the whole file.
        frame: its first frame, loaded by Pillow and not yet changed.
        kind: Pillow's name of the format.
    """
    try:
        whole = kind != "PNG" or _whole_png(data)
        other = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if whole else None
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError from error
        other = None
    if other is None or other.dtype not in (np.uint8, np.uint16):
        return "a second decoder cannot read it"
    if other.shape[:2] != (frame.height, frame.width):
        return "two decoders disagree about its size"
    for top in range(0, frame.height, _STRIP):
        part = frame.crop((0, top, frame.width, min(top + _STRIP, frame.height)))
        mine, theirs = _levels(part, kind), _levels_opencv(other[top : top + _STRIP], kind)
        if np.abs(mine - theirs).max(initial=0.0) > TOLERANCE:
            return "two decoders disagree about its pixels"
    return ""


def _whole_png(data: bytes) -> bool:
    """Whether its chunks lead to its end: OpenCV clears memory for the length that a chunk says before it looks."""
    at = 8
    while at + 12 <= len(data):
        if data[at + 4 : at + 8] == b"IEND":
            return True
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    return False


def _levels(part: Image.Image, kind: str) -> Pixels:
    """`(H, W, 3) float32` RGB in [0, 255], transparency on white."""
    if part.mode.startswith("I;16"):
        return np.repeat(np.asarray(part).astype(np.float32)[:, :, None] / 257, 3, axis=2)
    keyed = "transparency" in part.info and not (kind == "PNG" and part.mode in ("1", "L"))
    if part.mode in _ALPHA or keyed:
        rgba = part.convert("RGBA")
        part = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return np.asarray(part.convert("RGB")).astype(np.float32)


def _levels_opencv(part: Pixels, kind: str) -> Pixels:
    """Likewise, from OpenCV's grey, BGR or BGRA of 8 or 16 bits."""
    if part.dtype == np.uint16:  # of 16-bit colours Pillow keeps the high byte; of greys it keeps all
        part = part >> 8 if part.ndim == 3 else part / np.float32(257)
    levels: Pixels = part.astype(np.float32)
    if levels.ndim == 2:
        levels = levels[:, :, None]
    if levels.shape[2] == 4:
        alpha = levels[:, :, 3:] / 255
        colours = levels[:, :, :3] if kind == "TIFF" else levels[:, :, :3] * alpha
        levels = colours + 255 * (1 - alpha)
    return np.repeat(levels, 3, axis=2) if levels.shape[2] == 1 else levels[:, :, ::-1]
