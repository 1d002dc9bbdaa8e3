"""A page, or a text, without the personal data in it.

Regions are filled with one flat colour taken from around them, never blurred: numbers come back from
blur and mosaic. A fill grows to whole blocks of 8 x 8 pixels, so that its edge tells less of the length
of what is gone and no JPEG block holds a remainder of it.

Everything here is pure. What was read, by however many readers, is an argument; whatever one of them
makes personal data possible is removed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from privacy.detectors.interface import Detector, Rule, Span, check_page
from privacy.detectors.passages import FILLED, FILLED_ALONE
from privacy.detectors.registry import RULES
from privacy.page import Box, Image, Line, Quad, Region

BLOCK = 8
MARGIN = 3  # pixels added to either end of a region before it grows to blocks;
TRIM = 0.08  # of its height, above and below, is taken off it close to other lines: less than EDGE
RING = 6  # pixels around a fill whose median is its colour
SAME = 0.5  # of the smaller of two regions: from this overlap on they are one thing found twice
EDGE = 0.2  # of a line's height, above and below, is the reader's allowance and holds no ink
ONCE = ("unread",)  # whatever ink these look for, a flat fill holds none,
GUESSED = ("bars", "texture of a code")  # nor of what only looks like a code; words cut by a fill may, and are read
UNKNOWN = "unknown"
PIXELS = ("face", "code", "unread")  # found in the image, with no allowance about them
ALONE = ("face", "code", "unread", "leftover", UNKNOWN)  # what stands beside these is no part of them
NEXT = 2  # pixels around a line that its straightened crop is made of as well
STRIP = 4  # pixels read again above and below a fill

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Redaction:
    """A page after filling.

    `regions` are the things found, each once; `mask` is `(H, W) bool`, true where the page was filled;
    `parts` are the strips around the fills: reading these again shows whatever a fill left over.
    """

    image: Image = field(repr=False)
    regions: tuple[Region, ...]
    mask: Mask = field(repr=False)
    parts: tuple[Box, ...]
    unfilled: tuple[Region, ...] = ()
    """Found, but of no area on the page: nothing could be filled."""

    @property
    def counts(self) -> dict[str, int]:
        """Regions by kind."""
        return dict(Counter(region.kind for region in self.regions))

    def touches(self, line: Line) -> bool:
        """Was any of the line's ink filled?"""
        return bool(_core(line, self.mask).any())

    def unchanged(self, lines: Sequence[Line]) -> list[Line]:
        """Lines none of whose pixels were filled: the same reader would read them as before."""
        return [line for line in lines if _clear(line, self.mask)]


def anonymise(
    image: Image, readings: Sequence[Sequence[Line]], detectors: Sequence[Detector], also: Sequence[Region] = ()
) -> Redaction:
    """Fills whatever a detector finds in the image or in any of its readings, and `also`. The image is not changed.

    Raises:
        BadPage: the image is not `(H, W, 3) uint8` with at least one pixel.
    """
    return cover(image, readings, [*also, *find(image, readings, detectors)])


def find(image: Image, readings: Sequence[Sequence[Line]], detectors: Sequence[Detector]) -> list[Region]:
    """What the detectors find: those of text in each reading by itself, those of pixels beside all of them.

    Raises:
        BadPage: the image is not `(H, W, 3) uint8` with at least one pixel.
    """
    check_page(image)
    everything = [line for lines in readings for line in lines]
    found = []
    for detector in detectors:
        for lines in (everything,) if detector.pixels else readings:
            found += detector.find(image, lines)
    return found


def cover(image: Image, readings: Sequence[Sequence[Line]], found: Sequence[Region]) -> Redaction:
    """Fills these regions; the lines of the readings say how far a fill may grow, and what changed."""
    everything = [line for lines in readings for line in lines]
    mask = _blocks(image, found, [line.box for line in everything])
    return Redaction(
        image=fill(image, mask),
        regions=tuple(_known(_merged(found))),
        mask=mask,
        unfilled=tuple(region for region in found if not _on_page(region, mask)),
        parts=tuple(_strips(mask, [line.box for line in everything if not _clear(line, mask)])),
    )


def hidden(image: Image, lines: Sequence[Line], found: Sequence[Region]) -> list[bool]:
    """Of which lines the fills of these regions cover all ink: nothing else can be found there."""
    mask = _blocks(image, found, [line.box for line in lines])
    cores = (_core(line, mask) for line in lines)
    return [bool(core.size and core.all()) for core in cores]


def verify(redaction: Redaction, readings: Sequence[Sequence[Line]], detectors: Sequence[Detector]) -> list[Region]:
    """What is still found on a filled page, given readings of it. Anything at all sends it to quarantine.

    A reading is complete when it has the unchanged lines and whatever else is in `redaction.parts`, read again.
    A label whose value was filled is satisfied. A fill that is not of one colour is always a find, and so is a
    region that could not be filled. Detectors that look at pixels are asked again when they had found something.
    """
    fills = [Line(FILLED_ALONE if r.kind in ALONE else FILLED, r.quad, 1.0, 1.0) for r in redaction.regions]
    left = [*_residue(redaction), *redaction.unfilled]
    for detector in detectors:
        if not detector.pixels:
            for lines in readings:
                left += detector.find(redaction.image, [*lines, *fills])
        elif detector.name not in ONCE and any(region.kind == detector.name for region in redaction.regions):
            again = detector.find(redaction.image, [line for lines in readings for line in lines])
            left += [region for region in again if region.reason not in GUESSED]
    return _merged(left)


def redact_text(text: str, rules: Sequence[Rule] = RULES) -> tuple[str, list[Span]]:
    """The text with `[KIND]` in place of personal data, and the spans of `text` that were replaced.

    The rules are those that fill pages. Redacting twice changes nothing more.
    """
    spans: list[Span] = []
    for span in sorted((s for rule in rules for s in rule.find(text)), key=lambda s: s.start):
        if spans and span.start < spans[-1].end:
            spans[-1] = _union(spans[-1], span)
        else:
            spans.append(span)
    for span in reversed(spans):
        text = f"{text[: span.start]}[{span.kind.upper()}]{text[span.end :]}"
    return text, spans


def fill(image: Image, mask: Mask) -> Image:
    """A copy in which every connected part of the mask has one colour: the median of what surrounds it."""
    filled = image.copy()
    rest = image[~mask]
    page = np.median(rest, axis=0) if len(rest) else np.full(3, 255.0)
    labels, boxes = _components(mask)
    for label, box in enumerate(boxes, start=1):
        window = _clipped(box.grown(RING), mask)
        at = slice(window.y0, window.y1), slice(window.x0, window.x1)
        around = image[at][~mask[at]]
        filled[at][labels[at] == label] = np.median(around, axis=0) if len(around) else page
    return filled


def _on_page(region: Region, mask: Mask) -> bool:
    box = _clipped(region.box, mask)
    return box.area > 0 and bool(mask[box.y0 : box.y1, box.x0 : box.x1].any())


def _blocks(image: Image, regions: Sequence[Region], lines: Sequence[Box] = ()) -> Mask:
    """The regions, longer by a margin, and the rest of every block they touch.

    Where a line stands close above or below, a region that was read goes without a part of its reader's allowance.
    """
    height, width = image.shape[:2]
    mask = np.zeros((height + -height % BLOCK, width + -width % BLOCK), dtype=np.uint8)
    for region in regions:
        yields = region.kind not in PIXELS and any(_close(region.box, line) for line in lines)
        quad = _shrunk(region.quad, TRIM) if yields else region.quad
        _paint(mask, _longer(quad, MARGIN), Box(0, 0, 0, 0))
    touched = mask.reshape(mask.shape[0] // BLOCK, BLOCK, mask.shape[1] // BLOCK, BLOCK).any(axis=(1, 3))
    whole: Mask = np.repeat(np.repeat(touched, BLOCK, axis=0), BLOCK, axis=1)[:height, :width]
    return whole


def _close(a: Box, b: Box) -> bool:
    """Does `b` stand above or below `a`, so close that a block may hold ink of both?"""
    common = min(a.y1, b.y1) - max(a.y0, b.y0)
    return -BLOCK < common < min(a.y1 - a.y0, b.y1 - b.y0) / 2 and min(a.x1, b.x1) > max(a.x0, b.x0)


def _paint(mask: npt.NDArray[np.uint8], quad: Quad, origin: Box) -> None:
    points = np.array([[(x - origin.x0, y - origin.y0) for x, y in quad]])
    cv2.fillPoly(mask, np.rint(points).astype(np.int32), 1)


def _components(mask: Mask) -> tuple[npt.NDArray[np.int32], list[Box]]:
    """The connected parts of a mask: an image of their numbers, from 1, and their boxes."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    return labels, [Box(x, y, x + w, y + h) for x, y, w, h, _ in stats[1:].tolist()]


def _core(line: Line, mask: Mask) -> Mask:
    """`(N,)`: of the mask, the pixels between the reader's allowances above and below the line."""
    core = _shrunk(line.quad, EDGE)
    box = _clipped(Box.around(core), mask)
    inside = np.zeros((box.y1 - box.y0, box.x1 - box.x0), dtype=np.uint8)
    if inside.size:
        _paint(inside, core, box)
    pixels: Mask = mask[box.y0 : box.y1, box.x0 : box.x1][inside > 0]
    return pixels


def _clear(line: Line, mask: Mask) -> bool:
    """Is nothing filled of what the line's straightened crop is made of?"""
    box = _clipped(line.box.grown(NEXT), mask)
    return not mask[box.y0 : box.y1, box.x0 : box.x1].any()


def _strips(mask: Mask, changed: Sequence[Box]) -> list[Box]:
    """Strips over the full width that hold every fill, some pixels more, and whole every line that changed."""
    height, width = mask.shape
    strips: list[Box] = []
    for box in sorted(_components(mask)[1], key=lambda b: b.y0):
        top, bottom = box.y0 - STRIP, box.y1 + STRIP
        met = [b for b in changed if b.y0 < bottom and b.y1 > top]
        top, bottom = min([top, *(b.y0 - STRIP for b in met)]), max([bottom, *(b.y1 + STRIP for b in met)])
        if strips and top <= strips[-1].y1:
            last = strips.pop()
            top, bottom = min(top, last.y0), max(bottom, last.y1)
        strips.append(Box(0, max(top, 0), width, min(bottom, height)))
    return strips


def _merged(regions: Sequence[Region]) -> list[Region]:
    """Regions of one kind that overlap become one: the surest's reason, around all of them."""
    merged: list[Region] = []
    for region in sorted(regions, key=lambda r: -r.confidence):
        for i, other in enumerate(merged):
            a, b = region.box, other.box
            if region.kind == other.kind and a.intersect(b) >= SAME * min(a.area, b.area):
                around = Box.around([*region.quad, *other.quad])
                merged[i] = Region(other.kind, _corners(around), other.confidence, other.reason)
                break
        else:
            merged.append(region)
    return sorted(merged, key=lambda r: (r.box.y0, r.box.x0))


def _known(regions: Sequence[Region]) -> list[Region]:
    """Without what is of no known kind and lies inside something that is."""
    known = [region.box for region in regions if region.kind != UNKNOWN]
    return [
        region
        for region in regions
        if region.kind != UNKNOWN or not any(region.box.intersect(box) >= region.box.area for box in known)
    ]


def _union(a: Span, b: Span) -> Span:
    best = max(a, b, key=lambda s: s.confidence)
    return Span(min(a.start, b.start), max(a.end, b.end), best.kind, best.confidence, best.reason)


def _residue(redaction: Redaction) -> list[Region]:
    labels, boxes = _components(redaction.mask)
    left = []
    for label, box in enumerate(boxes, start=1):
        at = slice(box.y0, box.y1), slice(box.x0, box.x1)
        pixels = redaction.image[at][labels[at] == label]
        if (pixels != pixels[0]).any():
            left.append(Region("residue", _corners(box), 1.0, "a fill is not flat"))
    return left


def _clipped(box: Box, mask: Mask) -> Box:
    height, width = mask.shape
    x0, y0 = min(max(box.x0, 0), width), min(max(box.y0, 0), height)
    return Box(x0, y0, max(min(box.x1, width), x0), max(min(box.y1, height), y0))


def _corners(box: Box) -> Quad:
    return (box.x0, box.y0), (box.x1, box.y0), (box.x1, box.y1), (box.x0, box.y1)


def _longer(quad: Quad, pixels: float) -> Quad:
    """The quadrilateral, longer by so many pixels at both ends of its text."""
    (a, b, c, d) = (np.array(p) for p in quad)
    step = pixels * (b - a) / max(float(np.linalg.norm(b - a)), 1.0)
    p, q, r, s = ((float(x), float(y)) for x, y in (a - step, b + step, c + step, d - step))
    return p, q, r, s


def _shrunk(quad: Quad, part: float) -> Quad:
    """The quadrilateral without `part` of its height above and below."""
    (a, b, c, d) = (np.array(p) for p in quad)
    points = (a + part * (d - a), b + part * (c - b), c + part * (b - c), d + part * (a - d))
    p, q, r, s = ((float(x), float(y)) for x, y in points)
    return p, q, r, s
