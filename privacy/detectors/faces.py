"""Faces, by CenterFace (Xu et al. 2019, arXiv 1911.03599), with onnxruntime alone.

The network gives four maps at a quarter of the image's size: how likely a face is centred here, the
logarithm of its height and width, its centre's offset within the cell, and landmarks, which are not used.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from privacy.detectors.interface import check_page
from privacy.detectors.pictures import pictures
from privacy.page import Box, Image, Line, Quad, Region

KIND = "face"
STRIDE = 4
THRESHOLD = 0.3
OVERLAP = 0.3  # of two boxes that overlap more (intersection over union), the surer one stays
LONG_SIDE = 1280  # pixels; larger pages are scaled down: a face of 20 pixels is then still found at 3840
COARSE = 0.5  # of that size is enough for the page as a whole; pictures are looked at in full
GROWN = 0.2  # a box ends at brow and chin; hair and ears tell too

Maps = npt.NDArray[np.float32]
Bounds = tuple[float, float, float, float]


class FaceDetector:
    """Finds faces with the CenterFace ONNX file at `model`."""

    name = KIND
    version = "centerface-3"
    pixels = True

    def __init__(self, model: Path, threads: int = 1, threshold: float = THRESHOLD) -> None:
        """
        Raises:
            FileNotFoundError: there is no such file.
        """
        if not model.is_file():
            raise FileNotFoundError(f"The face detector's weights are missing: {model}.")
        self._session = _session(model, threads)
        self._threshold = threshold

    def find(self, image: Image, lines: Sequence[Line]) -> list[Region]:
        """Faces on the page as it is, and in its pictures, upright and turned: a photograph may lie otherwise."""
        check_page(image)
        page, parts = Box(0, 0, image.shape[1], image.shape[0]), pictures(image)
        boxes = self._look(image, page, 0, 1.0 if page in parts else COARSE)
        for part in parts:
            for turns in range(1 if part == page else 0, 4):
                boxes += self._look(image, part, turns)
        return [Region(KIND, _corners(box), score, "face detector") for box, score in boxes]

    def _look(self, image: Image, part: Box, turns: int, share: float = 1.0) -> list[tuple[Bounds, float]]:
        """Boxes and scores in a part of the page, looked at when it was turned by so many quarters."""
        scale = min(1.0, LONG_SIDE / max(image.shape[:2])) * share
        view = np.ascontiguousarray(np.rot90(image[part.y0 : part.y1, part.x0 : part.x1], turns))
        heat, sizes, offsets = self._session.run(["537", "538", "539"], {"input.1": network_input(view, scale)})
        height, width = view.shape[:2]
        found = []
        for x0, y0, x1, y1, score in decode(heat, sizes, offsets, self._threshold):
            dx, dy = GROWN * (x1 - x0), GROWN * (y1 - y0)
            left, right = max((x0 - dx) / scale, 0.0), min((x1 + dx) / scale, width)
            top, bottom = max((y0 - dy) / scale, 0.0), min((y1 + dy) / scale, height)
            for _ in range(turns):  # back by a quarter
                left, top, right, bottom = height - bottom, left, height - top, right
                width, height = height, width
            if right > left and bottom > top:
                at = left + part.x0, top + part.y0, right + part.x0, bottom + part.y0
                found.append((at, min(score, 1.0)))
            height, width = view.shape[:2]
        return found


def _corners(box: Bounds) -> Quad:
    left, top, right, bottom = box
    return (left, top), (right, top), (right, bottom), (left, bottom)


def network_input(image: Image, scale: float) -> Maps:
    """`(1, 3, H, W) float32` RGB in [0, 255], scaled, padded on the right and below to multiples of 32."""
    view = image
    if scale < 1.0:
        size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
        view = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    height, width = view.shape[:2]
    view = cv2.copyMakeBorder(view, 0, -height % 32, 0, -width % 32, cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(view.transpose(2, 0, 1)[None], dtype=np.float32)


def decode(heat: Maps, sizes: Maps, offsets: Maps, threshold: float) -> list[tuple[float, float, float, float, float]]:
    """`(x0, y0, x1, y1, score)` in pixels of the network's input, the surest first, overlaps removed.

    `heat` is `(1, 1, h, w)`, `sizes` and `offsets` are `(1, 2, h, w)`, vertical before horizontal.
    """
    rows, columns = np.nonzero(heat[0, 0] > threshold)
    high, wide = (np.exp(sizes[0, k, rows, columns]) * STRIDE for k in (0, 1))
    y = (rows + offsets[0, 0, rows, columns] + 0.5) * STRIDE
    x = (columns + offsets[0, 1, rows, columns] + 0.5) * STRIDE
    boxes = np.stack([x - wide / 2, y - high / 2, x + wide / 2, y + high / 2], axis=1)
    scores = heat[0, 0, rows, columns]
    kept: list[int] = []
    for i in np.argsort(-scores):
        if all(_overlap(boxes[i], boxes[k]) <= OVERLAP for k in kept):
            kept.append(int(i))
    return [(*map(float, boxes[i]), float(scores[i])) for i in kept]  # type: ignore[misc]


def _overlap(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    common = float(np.prod(np.maximum(sides, 0.0)))
    return common / float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - common)


def _session(model: Path, threads: int) -> Any:
    """The file declares 10 images of 32 x 32; the network takes any size once that is undone."""
    import onnx
    import onnxruntime

    network = onnx.load(str(model))
    weights = {weight.name for weight in network.graph.initializer}
    images = [value for value in network.graph.input if value.name not in weights]
    del network.graph.input[:]  # weights listed as inputs can't be folded into the graph
    network.graph.input.extend(images)
    for value in (*network.graph.input, *network.graph.output):
        for name, dim in zip(("n", "", "h", "w"), value.type.tensor_type.shape.dim, strict=True):
            if name:
                dim.dim_param = f"{value.name}_{name}"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.enable_cpu_mem_arena, options.log_severity_level = False, 4
    return onnxruntime.InferenceSession(network.SerializeToString(), options, providers=["CPUExecutionProvider"])
