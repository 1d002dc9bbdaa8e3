"""A page becomes lines: RapidOCR with the recogniser in service, or with PP-OCRv6 small.

Only the detector, the line classifier and the recogniser of `rapidocr` 3.10 are used, one call each.
Its whole-page call is not: it drops lines under a score, shifts the confidences of every character
after a space by one, pairs boxes with the wrong line when one line has no character, mirrors the boxes
of a line that the classifier turned, and pads a line to the widest of its batch, which changes its text.

Here a line is cut from the page at full resolution, padded to a width that depends on nothing but its
own shape, and read alone. Characters get boxes that reach half-way to their neighbours.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from models.errors import WeightsUnavailable
from models.looks import first_scale, framed, second_scale, sides, spanning, split_lines, united
from models.weights import ReaderFiles
from privacy.detectors.interface import check_page
from privacy.page import Box, Char, Image, Line, Point, Quad

INVERTED = 0.9  # a line that the classifier says, this surely, stands on its head is also read turned;
DOUBTFUL = 0.75  # one read with less mean confidence, as soon as the classifier is not sure it does not
SMALLER = 0.6  # of the preview's or the page's size: another look at a page that was read already
SEEN = 0.5  # of a box on another look; so much of it in lines already read, and it is one of them
RAPIDOCRS, NARROW = 320, 96  # pixels to which a short line is padded; the less is read as well, a third sooner
UPRIGHT = 0.97  # nothing that stands on its head is read with so much
PREVIEW = 960  # pixels; long side of the copy on which an unreadable page is tried in all four turns


class Reading(NamedTuple):
    """What the recogniser said of one crop: text, and per character its confidence and centre in [0, 1]."""

    text: str
    confidences: tuple[float, ...]
    centres: tuple[float, ...]

    @property
    def mean(self) -> float:
        return float(np.mean(self.confidences)) if self.confidences else 0.0

    @property
    def least(self) -> float:
        return min(self.confidences, default=0.0)


class Reader:
    """Reads pages with the three ONNX files it is given. Never downloads, never logs."""

    def __init__(self, files: ReaderFiles, family: str, threads: int = 1, narrowest: int = RAPIDOCRS) -> None:
        """`family` is "v4" or "v6"; `threads` is the number each of the three sessions may use.

        With another `narrowest` than RapidOCR's, a short line is read otherwise than RapidOCR would.

        Raises:
            WeightsUnavailable: a file is missing.
        """
        if family not in ("v4", "v6"):
            raise ValueError(f'Expected family "v4" or "v6", got {family!r}.')
        if threads < 1:
            raise ValueError(f"Expected threads >= 1, got {threads}.")
        for path in (files.det, files.cls, files.rec):
            if not path.is_file():
                raise WeightsUnavailable(f"{path} is missing; `python -m models.weights` fetches the weights.")
        self.family = family
        self._engine = _engine(files, family, threads, narrowest)

    def read(self, image: Image) -> list[Line]:
        """The lines of `(H, W, 3) uint8` RGB, from top to bottom. Lines without a character are left out.

        Raises:
            BadPage: not such an image.
        """
        return self.read_at(image, self.find(image))

    def find(self, image: Image) -> list[Quad]:
        """Where lines are, from top to bottom; nothing is read.

        Raises:
            BadPage: not `(H, W, 3) uint8`.
        """
        check_page(image)
        return self._detect(image)

    def find_parts(self, image: Image, parts: Sequence[Box]) -> list[Quad]:
        """Where lines are inside `parts` only, in coordinates of the page."""
        check_page(image)
        height, width = image.shape[:2]
        quads = []
        for part in parts:
            x0, y0 = max(part.x0, 0), max(part.y0, 0)
            x1, y1 = min(part.x1, width), min(part.y1, height)
            if x1 > x0 and y1 > y0:
                quads += [_quad(np.add(quad, (x0, y0))) for quad in self._detect(image[y0:y1, x0:x1])]
        return quads

    def find_small(self, image: Image) -> list[Quad]:
        """Where lines are on a smaller copy of the page, in coordinates of the page."""
        check_page(image)
        return self._detect_at(image, min(1.0, PREVIEW / max(image.shape[:2])) * SMALLER)

    def read_at(self, image: Image, quads: Sequence[Quad]) -> list[Line]:
        """The lines at these places; pieces of one widely spaced line become one."""
        check_page(image)
        lines = [line for quad in quads if (line := self._read_line(image, quad)) is not None]
        for one, other in split_lines(lines):
            whole = self._read_line(image, spanning(one.quad, other.quad))
            if whole is not None and whole.confidence > min(one.confidence, other.confidence) - 0.1:
                place = lines.index(one)
                lines[place : place + 1] = [whole]
                lines.remove(other)
        return lines

    def reread(self, image: Image, lines: Sequence[Line]) -> list[Line]:
        """The same lines, in the same places and directions, as this reader reads them, without the empty ones."""
        check_page(image)
        read = ((line.quad, self._recognise(_cut(image, line.quad)[0])) for line in lines)
        return [Line(r.text.strip(), quad, r.mean, r.least, _characters(r, quad)) for quad, r in read if r.text.strip()]

    def read_lines(self, crops: Sequence[Image]) -> list[tuple[str, float, float]]:
        """`(text, mean confidence, least confidence)` of each line crop, each read alone."""
        readings = []
        for each in crops:
            check_page(each)
            readings.append(self._recognise(each))
        return [(r.text, r.mean, r.least) for r in readings]

    def _detect(self, image: Image) -> list[Quad]:
        scale = first_scale(image)
        quads = self._detect_at(image, scale)
        closer = second_scale(image, scale, quads)
        return quads if closer is None else united(quads, self._detect_at(image, closer))

    def _detect_at(self, image: Image, scale: float) -> list[Quad]:
        view = _bgr(image)
        if scale != 1.0:
            way = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_CUBIC
            size = (max(1, round(view.shape[1] * scale)), max(1, round(view.shape[0] * scale)))
            view = cv2.resize(view, size, interpolation=way)
        view, margin = framed(view)
        out = self._engine(view, use_det=True, use_cls=False, use_rec=False)
        if out.boxes is None:
            return []
        limit = np.array([image.shape[1], image.shape[0]], dtype=np.float64)
        boxes = np.clip((np.asarray(out.boxes, dtype=np.float64) - margin) / scale, 0.0, limit)
        quads = [_quad(box) for box in boxes]
        return [quad for quad in quads if min(sides(quad)) >= 2.0]

    def _read_line(self, image: Image, quad: Quad) -> Line | None:
        part, quad = _cut(image, quad)
        reading = self._recognise(part)
        if reading.mean < UPRIGHT and self._inverted(part) > (INVERTED if reading.mean >= DOUBTFUL else 1.0 - INVERTED):
            turned = self._recognise(np.ascontiguousarray(part[::-1, ::-1]))
            if turned.mean > reading.mean:
                reading, quad = turned, (quad[2], quad[3], quad[0], quad[1])
        if not reading.text.strip():
            return None
        return Line(reading.text.strip(), quad, reading.mean, reading.least, _characters(reading, quad))

    def _inverted(self, part: Image) -> float:
        """The line classifier's confidence, in [0, 1], that the crop stands on its head."""
        out = self._engine(_bgr(part), use_det=False, use_cls=True, use_rec=False)
        label, score = out.cls_res[0]
        return float(score) if label == "180" else 1.0 - float(score)

    def _recognise(self, part: Image) -> Reading:
        out = self._engine(_bgr(part), use_det=False, use_cls=False, use_rec=True, return_word_box=True, text_score=0.0)
        text, info = out.txts[0], out.word_results[0]
        if not text:
            return Reading("", (), ())
        columns = iter([column for word in info.word_cols for column in word])
        known = [None if c.isspace() else (next(columns) + 0.5) / info.line_txt_len for c in text]
        return Reading(text, tuple(float(c) for c in info.confs), _centres(known))


def crop(image: Image, quad: Quad) -> Image:
    """The line inside `quad`, straightened: `(h, w, 3) uint8`, as RapidOCR cuts it.

    A quadrilateral at least 1.5 times as high as wide is taken for a line that runs downwards and is
    turned by a quarter, so that its text runs across.

    Raises:
        BadPage: not `(H, W, 3) uint8`.
        ValueError: the quadrilateral is thinner than a pixel.
    """
    check_page(image)
    return _cut(image, quad)[0]


def _engine(files: ReaderFiles, family: str, threads: int, narrowest: int) -> Any:
    from rapidocr import ModelType, OCRVersion, RapidOCR  # a second of imports: only who reads pays

    v4 = family == "v4"
    version = OCRVersion.PPOCRV4 if v4 else OCRVersion.PPOCRV6
    size = ModelType.MOBILE if v4 else ModelType.SMALL
    parameters: dict[str, Any] = {
        "Global.log_level": "critical",
        "Global.text_score": 0.0,
        "Global.use_preprocess_img": False,
        "Global.use_vertical_padding": False,
        "EngineConfig.onnxruntime.intra_op_num_threads": threads,
        "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        "Det.limit_side_len": 32,
        "Det.limit_type": "min",
        "Cls.model_path": str(files.cls),
        "Rec.rec_batch_num": 1,
        "Rec.rec_img_shape": [3, 48, narrowest],
    }
    for part, path in (("Det", files.det), ("Rec", files.rec)):
        parameters |= {
            f"{part}.model_path": str(path),
            f"{part}.ocr_version": version,
            f"{part}.model_type": size,
        }
    engine = RapidOCR(params=parameters)
    logging.getLogger("RapidOCR").disabled = True
    return engine


def unseen(quads: Sequence[Quad], known: Collection[Box]) -> list[Quad]:
    """The places that the `known` boxes leave open; they may overlap each other."""
    around = [(quad, Box.around(quad)) for quad in quads]
    return [q for q, box in around if sum(box.intersect(other) for other in known) < SEEN * max(box.area, 1)]


def _bgr(image: Image) -> Image:
    return np.ascontiguousarray(image[:, :, ::-1])


def _quad(points: npt.NDArray[Any]) -> Quad:
    a, b, c, d = ((float(x), float(y)) for x, y in points)
    return a, b, c, d


def _cut(image: Image, quad: Quad) -> tuple[Image, Quad]:
    """The straightened crop and the quadrilateral in its reading direction."""
    width, height = (int(side) for side in sides(quad))
    if min(width, height) < 1:
        raise ValueError(f"Expected a quadrilateral of at least 1 x 1 pixels, got {width} x {height}.")
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float32)
    matrix = cv2.getPerspectiveTransform(np.array(quad, dtype=np.float32), corners)
    part = cv2.warpPerspective(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE, flags=cv2.INTER_CUBIC)
    if height / width >= 1.5:
        part, quad = np.rot90(part), (quad[1], quad[2], quad[3], quad[0])
    return np.ascontiguousarray(part), quad


def _centres(known: Sequence[float | None]) -> tuple[float, ...]:
    """Centres of all characters from those that have one; a run of spaces is spread over its gap."""
    marks = [(i, c) for i, c in enumerate(known) if c is not None]
    if not marks:
        return tuple((i + 0.5) / len(known) for i in range(len(known)))
    at = [-1.0, *(float(i) for i, _ in marks), float(len(known))]
    to = [0.0, *(c for _, c in marks), 1.0]
    return tuple(float(x) for x in np.clip(np.interp(range(len(known)), at, to), 0.0, 1.0))


def _characters(reading: Reading, quad: Quad) -> tuple[Char, ...]:
    """Boxes from half-way to the character before, to half-way to the one after; none for a space.

    The first and the last reach to the ends of the line, the others at most .75 of its height from their
    centre.
    """
    width, height = sides(quad)
    reach = 0.75 * height / width
    c = reading.centres
    inked = [i for i, text in enumerate(reading.text) if not text.isspace()]
    characters = []
    for i in inked:
        left = max(c[i] - reach, (c[i - 1] + c[i]) / 2) if i != inked[0] else 0.0
        right = min(c[i] + reach, (c[i] + c[i + 1]) / 2) if i != inked[-1] else 1.0
        corners = (_at(quad, left, 0), _at(quad, right, 0), _at(quad, right, 1), _at(quad, left, 1))
        characters.append(Char(reading.text[i], corners, reading.confidences[i]))
    return tuple(characters)


def _at(quad: Quad, u: float, side: int) -> Point:
    """The point at `u` of the way along the upper (0) or lower (1) edge."""
    (x0, y0), (x1, y1) = (quad[0], quad[1]) if side == 0 else (quad[3], quad[2])
    return x0 + u * (x1 - x0), y0 + u * (y1 - y0)
