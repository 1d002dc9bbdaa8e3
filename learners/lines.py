"""What one document teaches: line crops with what they say, packed into one blob to be sealed.

No torch here: the workers that read pages make these, and only a round turns them into tensors
(`learners.batches`).
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field

import cv2
import numpy as np

from learners.replay import spread
from privacy.page import Image

HEIGHT = 48
MIN_WIDTH = 320
MAX_WIDTH = 2400
"""A longer line (50 times its height) is left out; on receipts and letters there is none."""
MAX_LINES = 16
"""Lines of a document that are learned from, spread over it."""
MAX_UNPACKED = MAX_LINES * MAX_WIDTH * HEIGHT * 3 + 2**20
"""Bytes of a document's pixels, widths and texts, headers and all."""


@dataclass(frozen=True)
class TrainLine:
    """A crop `(48, W, 3) uint8 RGB` and what it says."""

    image: Image = field(repr=False)
    text: str = field(repr=False)

    def __post_init__(self) -> None:
        if self.image.dtype != np.uint8 or self.image.ndim != 3 or self.image.shape[::2] != (HEIGHT, 3):
            raise ValueError(f"Expected (48, W, 3) uint8, got {self.image.shape} {self.image.dtype}.")
        if not 1 <= self.image.shape[1] <= MAX_WIDTH or not isinstance(self.text, str) or not self.text:
            raise ValueError(f"Expected a width up to {MAX_WIDTH} and a text, got {self.image.shape}.")


@dataclass(frozen=True)
class TrainDocument:
    """What one unit of privacy teaches: a document, or all that a source has; `slot` is the unit's number."""

    slot: int
    lines: tuple[TrainLine, ...] = field(repr=False)

    def __post_init__(self) -> None:
        if not 1 <= len(self.lines) <= MAX_LINES:
            raise ValueError(f"Expected 1 to {MAX_LINES} lines, got {len(self.lines)}.")


def to_height(crop: Image) -> Image:
    """A crop `(H, W, 3)` at height 48, by RapidOCR's rule for a line read alone."""
    height, width = crop.shape[:2]
    if not height or not width:
        raise ValueError(f"Expected a crop with pixels, got {crop.shape}.")
    natural = HEIGHT * width / height
    target = math.ceil(natural) if math.ceil(natural) <= MIN_WIDTH else int(natural)
    return np.asarray(cv2.resize(np.ascontiguousarray(crop), (target, HEIGHT)), np.uint8)


def document(slot: int, crops: Iterable[tuple[Image, str]], cap: int = MAX_LINES) -> TrainDocument | None:
    """At most `cap` usable lines, spread evenly over a document: its first ones alone would all be letterhead.

    None when it has none to learn from.
    """
    usable = [(crop, text) for crop, text in crops if text and _fits(crop)]
    chosen = [TrainLine(to_height(crop), text) for crop, text in spread(usable, cap)]
    return TrainDocument(slot, tuple(chosen)) if chosen else None


def joined(slot: int, documents: Iterable[TrainDocument]) -> TrainDocument:
    """The documents of one unit as one, to have one gradient: at most `MAX_LINES` lines, spread evenly over all."""
    return TrainDocument(slot, tuple(spread([line for each in documents for line in each.lines], MAX_LINES)))


def _fits(crop: Image) -> bool:
    return bool(crop.shape[0]) and 0 < HEIGHT * crop.shape[1] / crop.shape[0] <= MAX_WIDTH


def pack(document: TrainDocument) -> bytes:
    """The lines of a document as one blob to be sealed; the slot is not in it."""
    pixels = np.concatenate([line.image for line in document.lines], axis=1)
    widths = np.array([line.image.shape[1] for line in document.lines], np.int64)
    texts = np.frombuffer(json.dumps([line.text for line in document.lines]).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, pixels=pixels, widths=widths, texts=texts)
    return buffer.getvalue()


def unpack(slot: int, blob: bytes) -> TrainDocument:
    """The inverse of `pack`; reads no more than `MAX_UNPACKED` bytes of what it cannot be.

    Raises:
        ValueError: `pack` did not write this.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(blob)) as archive:
            if sum(member.file_size for member in archive.infolist()) > MAX_UNPACKED:
                raise ValueError(f"Expected at most {MAX_UNPACKED} bytes.")
        with np.load(io.BytesIO(blob), allow_pickle=False) as saved:
            pixels, widths, texts = saved["pixels"], saved["widths"], json.loads(saved["texts"].tobytes())
        if pixels.ndim != 3 or len(widths) > MAX_LINES or widths.sum() != pixels.shape[1] or (widths < 1).any():
            raise ValueError(f"Expected lines side by side, got {pixels.shape}.")
        images = np.split(pixels, np.cumsum(widths)[:-1], axis=1)
        return TrainDocument(slot, tuple(TrainLine(i, t) for i, t in zip(images, texts, strict=True)))
    except Exception as error:  # zipfile, zlib, NumPy and json raise a dozen types
        raise ValueError(f"Expected the lines of a document, got {len(blob)} bytes that are not.") from error
