"""The interface of every detector, and the one that turns a rule over text into boxes on a page.

A *rule* is a function of a text alone: it says where personal data stands in it. The same rules serve
pages, sidecar labels and the text of a receipt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from privacy.detectors.lookalikes import fold
from privacy.detectors.passages import passages
from privacy.errors import BadPage
from privacy.page import Image, Line, Region


@dataclass(frozen=True)
class Span:
    """Characters `[start, end)` of a text are personal data of this kind, and why that is believed."""

    start: int
    end: int
    kind: str
    confidence: float
    reason: str

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise ValueError(f"Expected 0 <= start < end, got {self.start} and {self.end}.")
        if not 0.0 < self.confidence <= 1.0:
            raise ValueError(f"Expected a confidence in (0, 1], got {self.confidence}.")


@dataclass(frozen=True)
class Rule:
    """A named function from a folded text to the spans it finds.

    With `squeezed`, it is also run on each line without its spaces: readers lose and invent spaces.
    """

    name: str
    version: str
    search: Callable[[str], list[Span]] = field(repr=False)
    squeezed: bool = False

    def find(self, text: str) -> list[Span]:
        """Spans of `text`, which may hold several lines: in order, of one kind none overlaps another."""
        folded = fold(text)
        spans = list(self.search(folded))
        if self.squeezed and " " in folded:
            kept = [i for i, c in enumerate(folded) if c != " "]
            for span in self.search("".join(folded[i] for i in kept)):
                start, end = kept[span.start], kept[span.end - 1] + 1
                spans.append(Span(start, end, span.kind, span.confidence, span.reason))
        return _joined(spans)


def _joined(spans: Sequence[Span]) -> list[Span]:
    joined: list[Span] = []
    for span in sorted(spans, key=lambda s: (s.kind, s.start, -s.end)):
        last = joined[-1] if joined else None
        if last and last.kind == span.kind and span.start < last.end:
            best = max(last, span, key=lambda s: s.confidence)
            joined[-1] = Span(last.start, max(last.end, span.end), span.kind, best.confidence, best.reason)
        else:
            joined.append(span)
    return sorted(joined, key=lambda s: s.start)


class Detector(Protocol):
    """Finds one sort of personal data on a page.

    `pixels` tells the detectors that look at the image from those that look at what was read: the latter
    are run on every reading. `version` changes whenever the same page could give another result.
    """

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def pixels(self) -> bool: ...

    def find(self, image: Image, lines: Sequence[Line]) -> list[Region]: ...


@dataclass(frozen=True)
class TextDetector:
    """Runs a rule over the lines of a page, over lines side by side, and over lines below each other."""

    rule: Rule
    pixels: bool = False

    @property
    def name(self) -> str:
        return self.rule.name

    @property
    def version(self) -> str:
        return self.rule.version

    def find(self, image: Image, lines: Sequence[Line]) -> list[Region]:
        regions: dict[Region, None] = {}
        for passage in passages(lines):
            for span in self.rule.find(passage.text):
                for quad in passage.quads(span.start, span.end):
                    regions[Region(span.kind, quad, span.confidence, span.reason)] = None
        return list(regions)


def check_page(image: Image) -> None:
    """Returns only if `image` is a page: `(H, W, 3) uint8`, at least one pixel.

    Raises:
        BadPage: it is not.
    """
    shape, dtype = getattr(image, "shape", None), getattr(image, "dtype", None)
    if shape is None or len(shape) != 3 or shape[2] != 3 or 0 in shape or dtype != np.uint8:
        raise BadPage(f"Expected an (H, W, 3) uint8 image with H, W >= 1, got shape {shape} of {dtype}.")
