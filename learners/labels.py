"""Labels: what a user says the lines of a document read, and which read line each one belongs to.

Sidecars (`scan.txt` or `scan.json` beside `scan.png`) in the formats people have:

- PaddleOCR and PPOCRLabel: `image<TAB>[{"transcription": ..., "points": [[x, y], ...]}, ...]` a row;
- JSON: that list alone, or `{"lines": [...]}`; `text` and `quad` do for `transcription` and `points`;
- ICDAR: `x1,y1,x2,y2,x3,y3,x4,y4,text` a row;
- plain text, one line of the document a row.

Labels are as private as the image. Nothing here prints one: an error names the row, the kind of
value that came and what was expected. A character that the recogniser's dictionary lacks is never
replaced by a similar one; its label is dropped and counted.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import cv2
import numpy as np
from rapidfuzz.distance import Levenshtein

from learners.errors import BadLabel
from privacy.page import Line, Point, Quad, Region

MAX_BYTES = 1 << 20
MAX_LABELS = 2000
MAX_CHARACTERS = 1000
MIN_OVERLAP = 0.4
"""Intersection over union from which a labelled and a read quadrilateral are the same line."""
MAX_DISTANCE = 0.5
"""Normalised edit distance up to which a row of plain text and a reading are the same line."""
COVERED, MUCH_LARGER = 0.9, 1.8
"""A read line holds a label when it covers this share of it and is not larger by this factor."""
ILLEGIBLE = {"###", "*"}
"""ICDAR's and PaddleOCR's marks for "do not care"."""

_NUMBER = r"\s*-?\d{1,9}(?:\.\d{1,9})?\s*"
_ICDAR = re.compile(rf"^{_NUMBER}(?:,{_NUMBER}){{7}},")
_CASE_BLIND = set("cosuvwxzkpCOSUVWXZKP")
"""Letters whose two cases have one shape: a reading does not tell which it was."""


@dataclass(frozen=True)
class Label:
    """One labelled line; `legible` is false where the labeller marked it as not to be used."""

    text: str = field(repr=False)
    quad: Quad | None = None
    legible: bool = True


@dataclass(frozen=True)
class Match:
    """`text` is what the `line`-th read line says; `quad` is where to cut it out."""

    line: int
    text: str = field(repr=False)
    quad: Quad


@dataclass(frozen=True)
class Attached:
    """What can be learned from a document, and why the rest of its labels cannot (counts only)."""

    matches: tuple[Match, ...]
    dropped: Mapping[str, int]


class Written(Protocol):
    """A document with its true lines."""

    @property
    def lines(self) -> Sequence[Line]: ...


def read_sidecar(data: bytes, name: str) -> list[Label]:
    """The labels in a sidecar; `name` is the image's file name, which picks its rows in a list of images.

    Raises:
        BadLabel: naming the row, the kind of value and what was expected.
    """
    if len(data) > MAX_BYTES:
        raise BadLabel(0, f"{len(data)} bytes", f"at most {MAX_BYTES} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        raise BadLabel(data.count(b"\n", 0, fault.start) + 1, "bytes", "UTF-8 text") from None
    rows = [(number, row) for number, row in enumerate(text.splitlines(), 1) if row.strip()]
    if not rows:
        return []
    first = rows[0][1].lstrip()
    if first[0] in "[{" and (parsed := _json(text, rows[0][0], strict=len(rows) == 1)) is not None:
        labels = _items(parsed, rows[0][0])
    elif "\t" in first and first.split("\t", 1)[1].lstrip().startswith("["):
        labels = _image_list(rows, name)
    elif _ICDAR.match(first):
        labels = [_icdar(number, row) for number, row in rows]
    else:
        labels = [_label(row, None, number) for number, row in rows]
    if len(labels) > MAX_LABELS:
        raise BadLabel(rows[-1][0], f"{len(labels)} labels", f"at most {MAX_LABELS}")
    return labels


def write_sidecar(document: Written) -> bytes:
    """A generated document's true lines as a PPOCRLabel JSON sidecar."""
    items = [
        {"transcription": line.text, "points": [list(point) for point in line.quad], "difficult": False}
        for line in document.lines
    ]
    return json.dumps(items, ensure_ascii=False).encode()


def attach(
    labels: Sequence[Label], lines: Sequence[Line], regions: Sequence[Region], characters: Collection[str]
) -> Attached:
    """Gives each read line at most one label.

    Labels with a place go to the read line that they overlap best, and are cut out as the detector saw
    them, or by their own place where it saw more or less of the line; rows of plain text are aligned with
    the readings in order. A line that touches a masked region teaches nothing, nor does a label with a
    character outside `characters` (the recogniser's dictionary). Labels of a document that is labelled
    in capitals throughout take the case of the reading.
    """
    known, dropped = set(characters), Counter[str]()
    placed = _by_place(labels, lines) if any(label.quad for label in labels) else _by_text(labels, lines)
    dropped["unmatched"] = len(labels) - len(placed)
    shouting = _shouts(labels)
    matches = []
    for label, line in sorted(placed, key=lambda pair: pair[1]):
        quad = _where(label.quad, lines[line].quad)
        if not label.legible or not label.text:
            dropped["illegible"] += 1
        elif touches(quad, regions) or touches(lines[line].quad, regions):
            dropped["masked"] += 1
        elif not known.issuperset(label.text):
            dropped["outside the dictionary"] += 1
        else:
            text = take_case(label.text, lines[line].text) if shouting else label.text
            matches.append(Match(line, text, quad))
    return Attached(tuple(matches), {why: count for why, count in dropped.items() if count})


def pseudo_labels(lines: Sequence[Line], regions: Sequence[Region], bound: float = 0.95) -> Attached:
    """The model's own readings as labels, where its *least* certain character reaches the public `bound`.

    The minimum is the calibrated one: on receipts it leaves 9.9% of the kept lines wrong at 0.95,
    where the mean leaves 25% (bench/). `bound` comes from the configuration, never from the documents.
    """
    if not 0 < bound <= 1:
        raise ValueError(f"Expected 0 < bound <= 1, got {bound=}.")
    dropped, matches = Counter[str](), []
    for index, line in enumerate(lines):
        if touches(line.quad, regions):
            dropped["masked"] += 1
        elif not line.text or line.min_confidence < bound:
            dropped["unsure"] += 1
        else:
            matches.append(Match(index, line.text, line.quad))
    return Attached(tuple(matches), dict(dropped))


def touches(quad: Quad, regions: Sequence[Region]) -> bool:
    """Whether a line has a pixel in common with any region."""
    return any(_overlap(quad, region.quad)[0] > 0 for region in regions)


def take_case(label: str, reading: str) -> str:
    """A label in capitals, with the case in which the line was read; unchanged if they differ too much.

    Letters with one shape for both cases (c, o, s, ...) and letters that were read as something else go
    with the rest of their word: lower unless they begin a word that was begun with a capital.
    """
    folded, heard = label.lower(), reading.lower()
    if _distance(label, reading) > MAX_DISTANCE or (len(folded), len(heard)) != (len(label), len(reading)):
        return label
    read_as: dict[int, str] = {}
    for op in Levenshtein.opcodes(folded, heard):
        if op.tag == "equal":
            read_as |= {op.src_start + k: reading[op.dest_start + k] for k in range(op.src_end - op.src_start)}
    out = list(label)
    for word in re.finditer(r"[^\W\d_]+", label):
        seen = {k: read_as[k] for k in range(*word.span()) if k in read_as}
        if not any(c.islower() for c in seen.values() if c not in _CASE_BLIND):
            continue
        for k in range(*word.span()):
            told = seen.get(k)
            if told is not None and (told not in _CASE_BLIND or k == word.start()):
                out[k] = told
            elif k != word.start():
                out[k] = folded[k]
    return "".join(out)


def _shouts(labels: Sequence[Label]) -> bool:
    letters = [c for label in labels if label.legible for c in label.text if c.isupper() or c.islower()]
    return bool(letters) and all(c.isupper() for c in letters)


def _json(text: str, row: int, strict: bool) -> Any:
    """The parsed value; None when several rows do not make one JSON text, which is then no JSON sidecar."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        if strict and text.lstrip()[:2] in ("[{", '{"'):
            raise BadLabel(row, "text", "one JSON list of lines") from None
        return None


def _items(parsed: Any, row: int) -> list[Label]:
    items = parsed.get("lines") if isinstance(parsed, dict) else parsed
    if not isinstance(items, list):
        raise BadLabel(row, type(items).__name__, 'a list of lines, or {"lines": [...]}')
    return [_item(item, row) for item in items]


def _item(item: Any, row: int) -> Label:
    if isinstance(item, str):
        return _label(item, None, row)
    if not isinstance(item, dict):
        raise BadLabel(row, type(item).__name__, "an object with transcription and points")
    text = item.get("transcription", item.get("text"))
    points = item.get("points", item.get("quad"))
    if not isinstance(text, str):
        raise BadLabel(row, type(text).__name__, "a string as transcription")
    return _label(text, None if points is None else _quad(points, row), row, bool(item.get("difficult")))


def _image_list(rows: Sequence[tuple[int, str]], name: str) -> list[Label]:
    """PaddleOCR's list of images: the rows of this image, or the only row there is."""
    labels: list[Label] = []
    for number, row in rows:
        image, _, rest = row.partition("\t")
        if len(rows) > 1 and re.split(r"[\\/]", image)[-1] != name:
            continue
        try:
            parsed = json.loads(rest)
        except (ValueError, RecursionError):
            raise BadLabel(number, "text", "image<TAB>JSON list") from None
        labels += _items(parsed, number)
    return labels


def _icdar(number: int, row: str) -> Label:
    found = _ICDAR.match(row)
    if not found:
        raise BadLabel(number, "text", "x1,y1,x2,y2,x3,y3,x4,y4,text")
    values = [float(v) for v in found.group().rstrip(",").split(",")]
    points = list(zip(values[0::2], values[1::2], strict=True))
    return _label(row[found.end() :], _quad(points, number), number)


def _label(text: str, quad: Quad | None, row: int, difficult: bool = False) -> Label:
    """Composed characters (NFC) and single spaces; nothing else about the text is touched."""
    if len(text) > MAX_CHARACTERS:
        raise BadLabel(row, f"{len(text)} characters", f"at most {MAX_CHARACTERS}")
    text = " ".join(unicodedata.normalize("NFC", text).split())
    return Label(text, quad, legible=not difficult and text not in ILLEGIBLE)


def _quad(points: Any, row: int) -> Quad:
    """Four points as they come; a polygon with more becomes its upright box."""
    wanted = "4 or more points [x, y]"
    if not isinstance(points, list | tuple) or not 4 <= len(points) <= 100:
        raise BadLabel(row, type(points).__name__, wanted)
    clean: list[Point] = []
    for point in points:
        if not isinstance(point, list | tuple) or len(point) != 2:
            raise BadLabel(row, type(point).__name__, wanted)
        if not all(type(v) in (int, float) and abs(v) <= 1e6 for v in point):
            raise BadLabel(row, "coordinate", "finite numbers of pixels")
        clean.append((float(point[0]), float(point[1])))
    if len(clean) == 4:
        return (clean[0], clean[1], clean[2], clean[3])
    xs, ys = [p[0] for p in clean], [p[1] for p in clean]
    x0, y0, x1, y1 = min(xs), min(ys), max(xs), max(ys)
    return ((x0, y0), (x1, y0), (x1, y1), (x0, y1))


def _by_place(labels: Sequence[Label], lines: Sequence[Line]) -> list[tuple[Label, int]]:
    """One to one, the best overlap first; ties go to the earlier label, then the earlier line."""
    scored = []
    for i, label in enumerate(labels):
        for j, line in enumerate(lines):
            if label.quad and (score := _overlap(label.quad, line.quad)[1]) >= MIN_OVERLAP:
                scored.append((-score, i, j))
    free_labels, free_lines, placed = set(range(len(labels))), set(range(len(lines))), []
    for _, i, j in sorted(scored):
        if i in free_labels and j in free_lines:
            free_labels.remove(i)
            free_lines.remove(j)
            placed.append((labels[i], j))
    return placed


def _by_text(labels: Sequence[Label], lines: Sequence[Line]) -> list[tuple[Label, int]]:
    """The alignment of rows and readings in order with the largest total similarity (Needleman-Wunsch)."""
    n, m = len(labels), min(len(lines), MAX_LABELS)
    best = [[0.0] * (m + 1) for _ in range(n + 1)]
    gain = [[MAX_DISTANCE - _distance(a.text, b.text) for b in lines[:m]] for a in labels]
    for i in range(n):
        for j in range(m):
            best[i + 1][j + 1] = max(best[i][j + 1], best[i + 1][j], best[i][j] + gain[i][j])
    placed, i, j = [], n, m
    while i and j:
        if best[i][j] == best[i - 1][j]:
            i -= 1
        elif best[i][j] == best[i][j - 1]:
            j -= 1
        else:
            i, j = i - 1, j - 1
            placed.append((labels[i], j))
    return placed[::-1]


def _distance(a: str, b: str) -> float:
    """Normalised edit distance without case and spaces, which the reader loses most."""
    return float(Levenshtein.normalized_distance(_squeeze(a), _squeeze(b)))


def _squeeze(text: str) -> str:
    return "".join(text.casefold().split())


def _where(label: Quad | None, read: Quad) -> Quad:
    """The read quadrilateral where it shows what the label says, else the label's own."""
    if label is None:
        return read
    common, size, shown = _overlap(label, read)[0], _area(label), _area(read)
    return read if common >= COVERED * size and shown <= MUCH_LARGER * size else label


def _area(quad: Quad) -> float:
    return float(cv2.contourArea(cv2.convexHull(np.array(quad, np.float32))))


def _overlap(a: Quad, b: Quad) -> tuple[float, float]:
    """Intersection in pixels, and over the union."""
    xs, ys = np.array(a)[:, 0], np.array(a)[:, 1]
    us, vs = np.array(b)[:, 0], np.array(b)[:, 1]
    if xs.max() < us.min() or us.max() < xs.min() or ys.max() < vs.min() or vs.max() < ys.min():
        return 0.0, 0.0
    hulls = [cv2.convexHull(np.array(quad, np.float32)) for quad in (a, b)]
    common = float(cv2.intersectConvexConvex(hulls[0], hulls[1])[0])
    union = _area(a) + _area(b) - common
    return common, common / union if union > 0 and math.isfinite(union) else 0.0
