"""Labels of lines in which values were replaced by surrogates.

A label says what a line said. Where a value stood in the reading is known; where it stands in the label follows from
the characters beside it, which must be the same in both. If that leaves a doubt, the line teaches nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from rapidfuzz.distance import Levenshtein

from learners.labels import attach
from learners.sidecars import Label
from privacy.detectors.interface import Span
from privacy.page import Quad
from privacy.surrogates import Told, replaced

Taught = tuple[Quad, str]
Redact = Callable[[str], tuple[str, Sequence[Span]]]
"""What finds personal data in a text (`privacy.anonymise.redact_text` with a deployment's rules)."""


def from_labels(
    told: Sequence[Told], labels: Sequence[Label], characters: Collection[str], redact: Redact
) -> list[Taught]:
    """Where each told line now lies and what it says, by its label."""
    befores = [each.before for each in told]
    known = set(characters) | {c for label in labels for c in label.text}  # judged when the value is replaced
    matches = attach(labels, befores, (), known).matches
    pairs = [(told[m.line], spans) for m in matches if (spans := placed(told[m.line], m.text)) is not None]
    texts = {m.line: m.text for m in matches}
    return [
        (each.quad, text)
        for each, spans in pairs
        if (text := replaced(texts[befores.index(each.before)], spans))
        and set(characters).issuperset(text)
        and safe(text, spans, redact)
    ]


def from_readings(told: Sequence[Told], bound: float, characters: Collection[str], redact: Redact) -> list[Taught]:
    """Likewise by the reading, where the least sure character that stayed reaches `bound`."""
    taught = []
    for each in told:
        inked = [i for i, c in enumerate(each.before.text) if not c.isspace()]
        sure = [char.confidence for char in each.before.chars if not char.text.isspace()]
        stayed = [c for i, c in zip(inked, sure, strict=True) if not any(f <= i < n for f, n, _ in each.spans)]
        known = set(characters).issuperset(each.text)
        if known and min(stayed, default=1.0) >= bound and safe(each.text, each.spans, redact):
            taught.append((each.quad, each.text))
    return taught


def placed(told: Told, label: str) -> tuple[tuple[int, int, str], ...] | None:
    """Each value's place in a label, with its surrogate; None if one is not sure."""
    text = told.before.text
    same: dict[int, int] = {}
    for op in Levenshtein.opcodes(_low(text), _low(label)):
        if op.tag == "equal":
            same |= {i: op.dest_start + i - op.src_start for i in range(op.src_start, op.src_end)}
    spans = []
    for first, last, new in told.spans:
        before = next((i for i in range(first - 1, -1, -1) if not text[i].isspace()), None)
        after = next((i for i in range(last, len(text)) if not text[i].isspace()), None)
        if (before is not None and before not in same) or (after is not None and after not in same):
            return None
        start = 0 if before is None else same[before] + 1
        stop = len(label) if after is None else same[after]
        value = label[start:stop]
        if not value.strip() or not _whole(value.strip()):
            return None
        spans.append((start + len(value) - len(value.lstrip()), start + len(value.rstrip()), new))
    return tuple(spans)


def _whole(value: str) -> bool:
    """Does it begin and end as values do? A mark there would be one that the reading lost."""
    return (value[0].isalnum() or value[0] in "+(") and (value[-1].isalnum() or value[-1] in ")")


def safe(text: str, spans: Sequence[tuple[int, int, str]], redact: Redact) -> bool:
    """Is what the rules find in the new text a surrogate's, letter by letter?"""
    drawn: set[int] = set()
    moved = 0
    for first, last, new in sorted(spans):
        drawn.update(range(first + moved, first + moved + len(new)))
        moved += len(new) - (last - first)
    return not any(
        text[i].isalnum() and i not in drawn for found in redact(text)[1] for i in range(found.start, found.end)
    )


def _low(text: str) -> str:
    return "".join(low if len(low := c.casefold()) == 1 else c for c in text)
