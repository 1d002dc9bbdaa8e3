"""Text drawn into a page in the page's own manner: face, size, weight, colour, sharpness, paper.

Everything is learned from what stands on the page in clear: lines with a known reading are set again in each of a few
faces, and the face that looks most like them is taken. What was removed from the page plays no part.
The paper under a text is the page's: its light, interpolated, and the grain of its blank blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from learners import fonts
from learners.errors import MissingGlyph
from learners.typesetting import Style, measure, typeset
from models.reader import crop
from privacy.page import Image, Line, Quad
from privacy.surrogates import Lettering

LATIN_FACES = ("roboto", "noto-sans", "noto-serif", "lato", "roboto-mono", "inconsolata", "source-code", "plex-mono")
TRIAL = 40  # pixels an em at which faces are compared
SAMPLES = 14  # lines of a page that are looked at
SURE = 0.85  # a line's mean confidence
LETTERS = 3
LIKE = 5  # samples whose median size is taken where none stands on the same line
BLOCK = 8
SELDOM = 0.12  # a typewriter's face must look so much more like the samples
DARKEST = 96  # percentile
BLURS = (0.0, 0.4, 0.6, 0.8, 1.2, 1.7)  # standard deviations in pixels

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Sample:
    """A line in clear: where it is, how high its box is, its ink `(h, w)` in [0, 1] from the box's row `top` on.

    `mass` is its mean blackness, where `colour` is 1 and `paper` 0; `peak` says how sharp it is.
    """

    quad: Quad
    height: float
    ink: Floats = field(repr=False)
    top: int
    peak: float
    paper: Colour
    colour: Colour
    mass: float
    text: str = field(repr=False)


@dataclass(frozen=True)
class Print:
    """Size in pixels an em, how far down the box the baseline lies, and the colour of full ink."""

    size: float
    baseline: float
    colour: Colour

    @property
    def style_size(self) -> int:
        return max(6, round(self.size))


class PageHand:
    """The manner of one page.

    Args:
        image: the page, `(H, W, 3) uint8` RGB, filled.
        lines: what is read on it now, in clear.
        chinese: the face of Han characters, if the page has any: `cjk-sc` or `cjk-tc`.
        random: for the grain of the paper.
    """

    def __init__(self, image: Image, lines: Sequence[Line], chinese: str | None, random: np.random.Generator) -> None:
        self._random = random
        self._samples = [s for line in lines if _usable(line) and (s := _sample(image, line)) is not None]
        self.face = chinese or self._face()
        self._prints = {s.quad: self._fitted(s) for s in self._samples}
        self.blur = self._sharpness()

    def _face(self) -> str:
        """The face that looks most like the longest samples, in the median."""
        longest = sorted(self._samples, key=lambda s: -len(s.text))[:SAMPLES]

        def unlike(face: str) -> float:
            seldom = SELDOM if face in fonts.MONOSPACED else 0.0
            return seldom + float(np.median([_unlike(sample, face) for sample in longest] or [0.0]))

        return min(LATIN_FACES, key=unlike)

    def _fitted(self, sample: Sample) -> Print | None:
        """How a sample is printed; None where the face can't tell."""
        try:
            setting = typeset(sample.text, Style(self.face, TRIAL))
        except (MissingGlyph, ValueError):
            return None
        by_height, by_width = sample.ink.shape[0] / setting.height, sample.ink.shape[1] / setting.width
        if not 0.82 < by_width / by_height < 1.22:
            return None  # read otherwise than printed, or in another face
        black = sample.mass / max(float(setting.ink.mean()) / 255, 0.01)
        paper, print_ = np.array(sample.paper), np.array(sample.colour)
        colour = np.clip(paper + (print_ - paper) * min(max(black, 1.0), 1.6), 0, 255)
        return Print(TRIAL * by_width, (sample.top + setting.baseline * by_height) / sample.height, _colour(colour))

    def _print(self, quad: Quad) -> Print:
        """Size, baseline and colour on a line: those of what stands in clear on it, or else of lines most like it."""
        height, middle = _height(quad), _middle(quad)
        fitted = [(s, f) for s in self._samples if (f := self._prints.get(s.quad)) is not None]
        if not fitted:
            return Print(0.72 * height, 0.76, (30.0, 30.0, 30.0))
        beside = [pair for pair in fitted if abs(_middle(pair[0].quad) - _at(quad, pair[0].quad)) < 0.35 * height]
        if beside:
            sample, found = max(beside, key=lambda pair: len(pair[0].text))
            base = _middle(sample.quad) + (found.baseline - 0.5) * sample.height
            return Print(found.size, (base - _at(quad, sample.quad)) / height + 0.5, found.colour)

        def unlike(pair: tuple[Sample, Print]) -> float:
            sample = pair[0]
            away = min(abs(_middle(sample.quad) - middle) / height, 20)
            return 12 * abs(float(np.log(sample.height / height))) + away / 8

        most = sorted(fitted, key=unlike)[:LIKE]
        size, usual, baseline = (
            float(np.median(v)) for v in zip(*((f.size, s.height, f.baseline) for s, f in most), strict=True)
        )
        ratio = height / usual
        return Print(size * (1.0 if 0.75 < ratio < 1.3 else ratio), baseline, _strongest(most))

    def width(self, text: str, quad: Quad) -> float | None:
        try:
            return float(measure(text, Style(self.face, self._print(quad).style_size)))
        except (MissingGlyph, ValueError):
            return None

    def draw(self, image: Image, plots: Mask, letterings: Sequence[Lettering]) -> Image:
        """The page with fresh paper in the plots and the texts on it; what would spill out of them is cut off."""
        page = self._paper(image, plots)
        for lettering in letterings:
            manner = self._print(lettering.quad)
            ink = typeset(lettering.text, Style(self.face, manner.style_size))
            cover = _placed(ink.ink, ink.baseline, lettering, manner.baseline, plots.shape)
            if self.blur:
                cover = _spread(cover, self.blur)
            cover *= plots
            page += cover[..., None] * (np.array(manner.colour, np.float32) - page)
        drawn = image.copy()
        drawn[plots] = np.clip(np.rint(page[plots]), 0, 255).astype(np.uint8)
        return drawn

    def _sharpness(self) -> float:
        """The blur at which set text is as sharp as the samples, in the median."""
        fitted = [(s, f) for s in self._samples if (f := self._prints.get(s.quad)) is not None][:LIKE]
        if not fitted:
            return BLURS[1]

        def unlike(blur: float) -> float:
            apart = []
            for sample, manner in fitted:
                ink = np.pad(typeset(sample.text, Style(self.face, manner.style_size)).ink, 6)
                cover = _spread(ink / np.float32(255), blur) if blur else ink / np.float32(255)
                apart.append(abs(_peak(cover[6:-6, 6:-6]) - sample.peak))
            return float(np.median(apart))

        return min(BLURS, key=unlike)

    def _paper(self, image: Image, plots: Mask) -> Floats:
        """The page as floats, with paper in the plots: the light around them, and the grain of blank blocks."""
        page = image.astype(np.float32)
        if not plots.any():
            return page
        height, width = image.shape[0] // BLOCK, image.shape[1] // BLOCK
        tiles = page[: height * BLOCK, : width * BLOCK].reshape(height, BLOCK, width, BLOCK, 3).swapaxes(1, 2)
        inside = plots[: height * BLOCK, : width * BLOCK].reshape(height, BLOCK, width, BLOCK).any(axis=(1, 3))
        light = np.median(tiles, axis=(2, 3))
        rough = np.abs(tiles - light[:, :, None, None]).max(axis=(2, 3, 4))
        usual = float(np.percentile(rough[~inside], 30)) if (~inside).any() else 0.0
        blank = ~inside & (rough <= 1.6 * usual + 2)
        if not blank.any():
            return page
        weight = blank.astype(np.float32)
        near = _spread(light * weight[..., None], 3.0) / np.maximum(_spread(weight, 3.0), 1e-4)[..., None]
        far = (light[blank]).mean(axis=0)
        near[_spread(weight, 3.0) < 1e-3] = far
        paper = cv2.resize(near, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR)
        grains = (tiles - light[:, :, None, None])[blank & ((rough > 0) | (usual == 0))]
        if len(grains):
            picked = grains[self._random.integers(0, len(grains), (height + 1) * (width + 1))]
            field = picked.reshape(height + 1, width + 1, BLOCK, BLOCK, 3).swapaxes(1, 2)
            paper += field.reshape((height + 1) * BLOCK, (width + 1) * BLOCK, 3)[: image.shape[0], : image.shape[1]]
        page[plots] = paper[plots]
        return page


def _spread(field: npt.NDArray[Any], sigma: float) -> Floats:
    return np.asarray(cv2.GaussianBlur(field.astype(np.float32), (0, 0), sigma), np.float32)


def _usable(line: Line) -> bool:
    (ax, ay), (bx, by), _, _ = line.quad
    text = line.text.strip()
    return bx > ax and abs(by - ay) < (bx - ax) / 8 and line.confidence >= SURE and len(text) >= LETTERS


def _height(quad: Quad) -> float:
    (ax, ay), _, _, (dx, dy) = quad
    return float(np.hypot(dx - ax, dy - ay))


def _sample(image: Image, line: Line) -> Sample | None:
    """Of a line in clear: its ink, measured. None where it does not stand out from its paper."""
    try:
        part = crop(image, line.quad).astype(np.float32)
    except ValueError:
        return None
    gray = part.mean(axis=2)
    paper = float(np.median(gray))
    away = np.abs(gray - paper)
    depth = float(np.percentile(away, 97))
    if depth < 30:
        return None
    cover = np.clip(away / depth, 0, 1)
    cover[cover < 0.15] = 0
    rows, columns = np.flatnonzero((cover > 0.4).any(axis=1)), np.flatnonzero((cover > 0.4).any(axis=0))
    if len(rows) < 5 or len(columns) < 12 or len(rows) < 0.3 * len(gray):
        return None
    ink = cover[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32)
    paper_colour, colour = np.median(part[cover == 0], axis=0), np.median(part[cover > 0.9], axis=0)
    print_away = float(colour.mean() - paper_colour.mean())
    dark = (gray[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] - paper_colour.mean()) / print_away
    return Sample(
        line.quad, float(part.shape[0]), ink, int(rows[0]), _peak(dark), _colour(paper_colour), _colour(colour),
        float(dark.mean()), line.text.strip(),
    )  # fmt: skip


def _strongest(prints: Sequence[tuple[Sample, Print]]) -> Colour:
    """The print that stands out most from its paper: small print looks paler than it is."""
    return max(prints, key=lambda pair: abs(sum(pair[1].colour) - sum(pair[0].paper)))[1].colour


def _colour(values: npt.NDArray[np.floating[Any]]) -> Colour:
    r, g, b = (float(v) for v in values)
    return r, g, b


def _peak(dark: npt.NDArray[Any]) -> float:
    """How much darker than their mean the darkest pixels are: what blur takes away, whatever the colour."""
    return float(np.log(max(float(np.percentile(dark, DARKEST)), 1e-3) / max(float(dark.mean()), 1e-3)))


def _unlike(sample: Sample, face: str) -> float:
    """How far a face is from a sample: one less the correlation of their ink, and by the ratio of width to height."""
    try:
        setting = typeset(sample.text, Style(face, TRIAL))
    except (MissingGlyph, ValueError):
        return 2.0
    height, width = sample.ink.shape
    ink = cv2.resize(setting.ink, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    alike = float(np.corrcoef(ink.ravel(), sample.ink.ravel())[0, 1])
    return 1 - alike + abs(float(np.log(setting.width / setting.height * height / width)))


def _middle(quad: Quad) -> float:
    return (quad[0][1] + quad[2][1]) / 2


def _at(line: Quad, other: Quad) -> float:
    """How far down a line's mid-axis is where another quadrilateral has its middle."""
    (ax, ay), (bx, by), _, (_, dy) = line
    x = (other[0][0] + other[2][0]) / 2
    return ay + (dy - ay) / 2 + (by - ay) * (x - ax) / (bx - ax)


def _placed(
    ink: npt.NDArray[np.uint8], rises: int, lettering: Lettering, baseline: float, shape: tuple[int, ...]
) -> Floats:
    """`(H, W)` coverage of the page by a text that stands on its line's baseline."""
    (ax, ay), (bx, by), _, (dx, dy) = lettering.quad
    length, height = np.hypot(bx - ax, by - ay), np.hypot(dx - ax, dy - ay)
    along, down = np.array((bx - ax, by - ay)) / length, np.array((dx - ax, dy - ay)) / height
    corner = np.array((ax, ay)) + along * lettering.left + down * (baseline * height - rises)
    matrix = np.column_stack([along, down, corner]).astype(np.float32)
    placed: Floats = cv2.warpAffine(ink.astype(np.float32) / 255, matrix, (shape[1], shape[0]), flags=cv2.INTER_LINEAR)
    return placed


def face_of(language: str) -> str | None:
    """The face of a page's Han characters."""
    return {"zh": fonts.CHINESE[0], "zh-hant": fonts.CHINESE[1]}.get(language)
