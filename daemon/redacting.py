"""One page without personal data: set upright, read twice, filled, and looked at again before anybody believes it.

A page is refused, and its document goes to quarantine, when
- its reading failed: what was read was mostly unsure;
- something was found that could not be filled;
- a fill is not flat;
- either reader, reading the surroundings of the fills again, or whatever of the page it had not seen on a smaller
  copy of it, still finds something when what earlier looks had found was filled as well;
- drawing surrogates changed a pixel outside their places.

Surrogates come last, on a page that was not refused (`daemon.substituting`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from daemon.substituting import Substituter
from models import orientation, reader
from privacy import anonymise
from privacy.detectors.interface import Detector, forget
from privacy.errors import BadPage
from privacy.page import Box, Image, Line, Region
from privacy.surrogates import Substitution, Told

UNSURE = 0.5  # mean confidence of a page's characters, under which its reading failed
PASSES = 3  # what a look finds is filled as well, and looked at again, so often; then the page is refused
FEW = 12  # characters; with fewer a page is as good as empty, and its ink goes as unread


class Quarantine(Exception):
    """Something personal is still on a page, or may be; the text names a kind and a page number."""


@dataclass(frozen=True)
class PageResult:
    """One page after anonymisation; `lines` are what can be read on it when it was filled, before any surrogate.

    `turn` and `slope` are what set it upright, `shape` what it measured before (see `models.orientation.placement`).
    """

    redaction: anonymise.Redaction
    lines: tuple[Line, ...] = field(repr=False)
    turn: int
    shape: tuple[int, int]
    slope: float = 0.0
    substitution: Substitution | None = None

    @property
    def image(self) -> Image:
        return self.redaction.image if self.substitution is None else self.substitution.image

    @property
    def told(self) -> tuple[Told, ...]:
        """Lines with surrogates in them."""
        return () if self.substitution is None else self.substitution.told

    def touches(self, line: Line) -> bool:
        """Was any of the line's ink filled, or drawn over?"""
        if self.substitution is None:
            return self.redaction.touches(line)
        return replace(self.redaction, mask=self.substitution.plots).touches(line)


class Redactor:
    """The two readers and the detectors; `page` does the work.

    Args:
        guard: reads best, sets pages upright.
        serving: the model in service, whose readings are learned from.
        substituter: draws surrogates on pages that pass; without one they stay filled.
    """

    def __init__(
        self,
        guard: reader.Reader,
        serving: reader.Reader,
        detectors: Sequence[Detector],
        substituter: Substituter | None = None,
    ) -> None:
        self._guard, self._serving, self._detectors = guard, serving, tuple(detectors)
        self._substituter = substituter

    def page(self, image: Image, number: int) -> PageResult:
        """Upright, read by both models, redacted in the union of what both saw, read again where it changed.

        Raises:
            Quarantine: the page could not be read, or something personal is still found after the redaction.
        """
        result, reason = self.look(image, number)
        if reason:
            raise Quarantine(reason)
        return result

    def look(self, image: Image, number: int) -> tuple[PageResult, str]:
        """The page as `page` would give it back, and why it may not be: empty if it may."""
        try:
            return self._looked(image, number)
        finally:
            forget()

    def _looked(self, image: Image, number: int) -> tuple[PageResult, str]:
        up = orientation.upright(image, self._guard)
        redaction, readings = self.first(up.image, up.lines)
        reason = f"page {number} could not be read surely" if _failed(up.lines) else ""
        for _ in range(PASSES):
            if reason:
                break
            readings = self._again(redaction, readings)
            left = anonymise.verify(redaction, readings, self._detectors)
            if not left:
                break
            if redaction.unfilled or any(region.kind == "residue" for region in left):
                reason = _still(number, left)
            else:  # what was found before is not looked for again
                redaction = anonymise.anonymise(up.image, readings, (), also=[*redaction.regions, *left])
        else:
            reason = _still(number, left)
        result = PageResult(redaction, tuple(readings[1]), up.turn, (image.shape[0], image.shape[1]), up.slope)
        if self._substituter is None or not redaction.regions or reason:
            return result, reason
        try:
            return replace(result, substitution=self._substituter.page(redaction, up.lines, readings[0])), ""
        except BadPage:
            return result, f"on page {number} a surrogate was drawn outside its place"

    def first(self, image: Image, lines: Sequence[Line]) -> tuple[anonymise.Redaction, list[list[Line]]]:
        """The first fill of a page that stands upright, before anybody looks again, and both readings of it.

        `lines` are the guard's. What goes whole by its reading alone is not read again by the model in service: in
        its reading the guard's line stands there, as context for what does not go. Only detectors that look at the
        ink do without it: one reading does not confirm itself.
        """
        texts, pixels = ([d for d in self._detectors if d.pixels is ink] for ink in (False, True))
        found = anonymise.find(image, [lines], texts)
        gone = anonymise.hidden(image, lines, found)
        seen = self._serving.reread(image, [line for line, goes in zip(lines, gone, strict=True) if not goes])
        second = sorted([*seen, *(line for line, goes in zip(lines, gone, strict=True) if goes)], key=_corner)
        found += anonymise.find(image, [second], texts) + anonymise.find(image, [lines, seen], pixels)
        return anonymise.cover(image, [lines, second], found), [list(lines), second]

    def _again(self, redaction: anonymise.Redaction, readings: Sequence[Sequence[Line]]) -> list[list[Line]]:
        """Both readings of the filled page: of lines whose pixels are as they were, the last; all others anew.

        The guard's detector looks around the fills, the other's at a smaller copy of the whole page; what either
        finds is read by both.
        """
        kept = [redaction.unchanged(lines) for lines in readings]
        known = {line.box for lines in kept for line in lines}
        quads = reader.unseen(self._guard.find_parts(redaction.image, redaction.parts), known)
        known |= {Box.around(quad) for quad in quads}
        quads += reader.unseen(self._serving.find_small(redaction.image), known)
        both = (self._guard, self._serving)
        return [_in_order([*lines, *by.read_at(redaction.image, quads)]) for by, lines in zip(both, kept, strict=True)]


def _in_order(lines: Sequence[Line]) -> list[Line]:
    return sorted(lines, key=lambda line: (line.box.y0 + line.box.y1, line.box.x0))


def _corner(line: Line) -> tuple[int, int]:
    return line.box.y0, line.box.x0


def _still(number: int, left: Sequence[Region]) -> str:
    return f"after redaction page {number} still shows: {', '.join(sorted({region.kind for region in left}))}"


def _failed(lines: Sequence[Line]) -> bool:
    count = sum(len(line.chars) for line in lines)
    return count >= FEW and sum(line.confidence * len(line.chars) for line in lines) < UNSURE * count
