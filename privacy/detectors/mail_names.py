"""Names that a mail address on the same page spells: "e.white@" says that "Elizabeth White" is somebody.

A name is two or three words with capitals side by side, of which the part before the at sign is made: given name and
surname in either order, either of them alone if it is no common word, or an initial and the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from privacy.detectors.email import search as mails
from privacy.detectors.gazetteer import plain
from privacy.detectors.interface import Rule, Span, moved, spread
from privacy.detectors.words import common

KIND = "name"
LEAST = 4  # letters of what is spelt

_UP = "A-ZÀ-ÖØ-ÞĀĂĄĆČĎĐĒĖĘĚĢĪĮĶĻŁĽŃŇŌŐŒŔŘŚŞŠȘŢŤȚŪŮŰŲŹŻŽ"
_WORD = rf"[{_UP}][^\W\d_]+(?:-[^\W\d_]+)*"
_PAIR = re.compile(rf"(?<![\w@./\-])(?=(?P<value>{_WORD},? (?:{_WORD} )??{_WORD})(?![\w@]|\.\w))")


def search(text: str) -> list[Span]:
    """Spans of names in a folded text that holds a page."""
    spaced, at = spread(text)
    locals_ = {_spelt(spaced[span.start : span.end].partition("@")[0]) for span in mails(spaced)}
    wanted = {part for part in locals_ if len(part[0]) >= LEAST}
    if not wanted:
        return []
    spans = []
    for match in _PAIR.finditer(spaced):
        words = [plain(word).replace("-", "") for word in re.findall(r"[^\s,]+", match["value"])]
        if any(_names(words[0], words[-1], *part) for part in wanted):
            spans.append(moved(Span(*match.span("value"), KIND, 0.65, "spelt by a mail address"), at))
    return spans


def _spelt(local: str) -> tuple[str, tuple[str, ...]]:
    """The letters before an at sign, and its parts."""
    parts = tuple(part for part in re.split(r"[^a-z]+", plain(local)) if part)
    return "".join(parts), parts


def _names(first: str, last: str, letters: str, parts: Iterable[str]) -> bool:
    whole = {first + last, last + first, first[:1] + last, last + first[:1], first + last[:1]}
    own = any(word in parts and len(word) >= LEAST and not common(word) for word in (first, last))
    return letters in whole or own


RULE = Rule("mail_name", "1", search, whole=True)
