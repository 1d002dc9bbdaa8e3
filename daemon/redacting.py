"""One page without personal data: set upright, read twice, filled, and looked at again before anybody believes it.

A page is refused, and its document goes to quarantine, when
- its reading failed: what was read was mostly unsure;
- something was found that could not be filled;
- a fill is not flat;
- either reader, reading the surroundings of the fills again, or whatever of the page it had not seen on a smaller
  copy of it, still finds something when what earlier looks had found was filled as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from models import reader
from privacy import anonymise
from privacy.detectors.interface import Detector
from privacy.page import Image, Line, Region

UNSURE = 0.5  # mean confidence of a page's characters, under which its reading failed
PASSES = 3  # what a look finds is filled as well, and looked at again, so often; then the page is refused
FEW = 12  # characters; with fewer a page is as good as empty, and its ink goes as unread


class Quarantine(Exception):
    """Something personal is still on a page, or may be; the text names a kind and a page number."""


@dataclass(frozen=True)
class PageResult:
    """One page after anonymisation; `lines` are what can be read on it now."""

    redaction: anonymise.Redaction
    lines: tuple[Line, ...] = field(repr=False)
    turn: int
    shape: tuple[int, int]

    @property
    def image(self) -> Image:
        return self.redaction.image


class Redactor:
    """The two readers and the detectors; `page` does the work.

    Args:
        guard: reads best, sets pages upright.
        serving: the model in service, whose readings are learned from.
    """

    def __init__(self, guard: reader.Reader, serving: reader.Reader, detectors: Sequence[Detector]) -> None:
        self._guard, self._serving, self._detectors = guard, serving, tuple(detectors)

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
        up = reader.upright(image, self._guard)
        guarded, served = up.lines, self._serving.read(up.image)
        readings = [guarded, served]
        redaction = anonymise.anonymise(up.image, readings, self._detectors)
        reason = f"page {number} could not be read surely" if _failed(guarded) else ""
        found: list[Region] = []
        for _ in range(PASSES):
            if reason or not redaction.regions:
                break
            guarded = self._again(self._guard, redaction, readings[0])
            served = self._again(self._serving, redaction, readings[1])
            left = anonymise.verify(redaction, [guarded, served], self._detectors)
            if not left:
                break
            found += left
            if redaction.unfilled or any(region.kind == "residue" for region in left):
                reason = _still(number, left)
            else:
                redaction = anonymise.anonymise(up.image, readings, self._detectors, also=found)
        else:
            reason = _still(number, left)
        return PageResult(redaction, tuple(served), up.turn, (image.shape[0], image.shape[1])), reason

    def readings(self, image: Image) -> list[list[Line]]:
        """Both models' readings of a page that stands upright."""
        return [self._guard.read(image), self._serving.read(image)]

    def filled(self, image: Image, readings: Sequence[Sequence[Line]]) -> anonymise.Redaction:
        """The first fill, before anybody looks again."""
        return anonymise.anonymise(image, readings, self._detectors)

    @staticmethod
    def _again(by: reader.Reader, redaction: anonymise.Redaction, lines: Sequence[Line]) -> list[Line]:
        """The reading of the filled page: lines that did not change, changed strips read again, what was not seen."""
        found = [*redaction.unchanged(lines), *by.read_parts(redaction.image, redaction.parts)]
        found += by.read_unseen(redaction.image, found)
        return sorted(found, key=lambda line: (line.box.y0 + line.box.y1, line.box.x0))


def _still(number: int, left: Sequence[Region]) -> str:
    return f"after redaction page {number} still shows: {', '.join(sorted({region.kind for region in left}))}"


def _failed(lines: Sequence[Line]) -> bool:
    count = sum(len(line.chars) for line in lines)
    return count >= FEW and sum(line.confidence * len(line.chars) for line in lines) < UNSURE * count
