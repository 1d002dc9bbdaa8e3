"""The interface of every detector, and the one that turns a rule over text into boxes on a page.

A *rule* is a function of a text alone: it says where personal data stands in it. The same rules serve
pages, sidecar labels and the text of a receipt.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

import numpy as np

from privacy.detectors.lookalikes import fold
from privacy.detectors.passages import found_in, passages
from privacy.detectors.words import cut
from privacy.errors import BadPage
from privacy.page import Image, Line, Region

REPEATED = ("name", "national_id", "account", "phone")  # kinds that a label may announce once and not again


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

    With `whole`, it is also run on all lines of a page together, with `blocks` on lines below each other.
    """

    name: str
    version: str
    search: Callable[[str], list[Span]] = field(repr=False)
    whole: bool = False
    blocks: bool = False

    def find(self, text: str) -> list[Span]:
        """Spans of `text`, which may hold several lines: in order, of one kind none overlaps another.

        A value found once is found wherever else it stands, with or without spaces.
        """
        return list(_searched(self.search, text))


@lru_cache(maxsize=16_384)  # two readings of a page, and of what is looked at again, are much alike
def _searched(search: Callable[[str], list[Span]], text: str) -> tuple[Span, ...]:
    folded = fold(text)
    spans = list(search(folded))
    for kind, value in values(folded, spans):
        spans += again(folded, kind, value)
    return tuple(_joined(spans))


def forget() -> None:
    """No text of a page that is done stays in memory for a rule's sake."""
    for each in (_searched, fold, found_in, cut):
        each.cache_clear()


def squeeze(text: str) -> tuple[str, list[int]]:
    """The text without spaces, and where each of its characters stood."""
    kept = [i for i, c in enumerate(text) if c != " "]
    return "".join(text[i] for i in kept), kept


_SEAM = re.compile(
    r"(?<=[a-zà-ÿ.,])(?=[A-ZÀ-Þ])|(?<=[,;:])(?=\w)|(?<=[a-zà-ÿ]{2})(?=\d)|(?<=\d)(?=[A-ZÀ-Þ][a-zà-ÿ]{2})"
)


def spread(text: str) -> tuple[str, list[int]]:
    """The text with a space wherever a reader seems to have lost one, and where each character stood before."""
    pieces: list[str] = []
    at: list[int] = []
    for i, c in enumerate(text):
        if i and _SEAM.match(text, i):
            pieces.append(" ")
            at.append(i)
        pieces.append(c)
        at.append(i)
    return "".join(pieces), at


def values(folded: str, spans: Iterable[Span]) -> set[tuple[str, str]]:
    """Kind and value of what can be told apart from other text: names of two words, and long numbers."""
    found = set()
    for span in spans:
        value = squeeze(folded[span.start : span.end])[0].casefold()
        enough = 3 if not value.isascii() else 5 if any(c.isdigit() for c in value) else 8
        if span.kind in REPEATED and len(value) >= enough:
            found.add((span.kind, value))
    return found


def again(folded: str, kind: str, value: str) -> list[Span]:
    """Every other place where a value stands, not inside a longer word or number."""
    squeezed, at = squeeze("".join(low if len(low := c.casefold()) == 1 else c for c in folded))
    spans = []
    for match in re.finditer(re.escape(value), squeezed):
        span = moved(Span(*match.span(), kind, 0.7, "found elsewhere on the page"), at)
        if not folded[: span.start][-1:].isalnum() and not folded[span.end :][:1].isalnum():
            spans.append(span)
    return spans


def _single_words(folded: str, spans: Iterable[Span]) -> Iterable[str]:
    """Names of one word, as a greeting has them."""
    words = (folded[span.start : span.end] for span in spans if span.kind == "name")
    return (word for word in words if word[:1].isupper() and word.isalpha() and len(word) >= 4)


def with_surname(folded: str, surname: str) -> list[Span]:
    """Wherever else on the page a name of one word stands behind one to three words with capitals."""
    pattern = rf"(?<!\w)(?:[A-ZÀ-Þ][\w'’\-]+ ){{1,3}}{re.escape(surname)}(?!\w)"
    return [Span(*m.span(), "name", 0.6, "found elsewhere on the page") for m in re.finditer(pattern, folded)]


def moved(span: Span, at: Sequence[int]) -> Span:
    """A span of a squeezed text, in the text as it was."""
    return Span(at[span.start], at[span.end - 1] + 1, span.kind, span.confidence, span.reason)


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
        found = [
            (passage, fold(passage.text), self.rule.find(passage.text))
            for passage in passages(lines, self.rule.whole, self.rule.blocks)
        ]
        known = {value for _, folded, spans in found if spans for value in values(folded, spans)}
        surnames = {word for _, folded, spans in found if spans for word in _single_words(folded, spans)}
        regions: dict[Region, None] = {}
        for passage, folded, spans in found:
            more = [span for kind, value in known for span in again(folded, kind, value)]
            own = {span.end for span in spans}
            more += [span for name in surnames for span in with_surname(folded, name) if span.end not in own]
            for span in (*spans, *more):
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
