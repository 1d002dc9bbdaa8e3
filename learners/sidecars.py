"""Sidecars: label files beside an image, in the formats people have.

`scan.txt` or `scan.json` beside `scan.png`:

- PaddleOCR and PPOCRLabel: `image<TAB>[{"transcription": ..., "points": [[x, y], ...]}, ...]` a row;
- JSON: that list alone, or `{"lines": [...]}`; `text` and `quad` do for `transcription` and `points`;
- ICDAR: `x1,y1,x2,y2,x3,y3,x4,y4,text` a row;
- plain text, one line of the document a row.

Labels are as private as the image. Nothing here prints one: an error names the row, the kind of
value that came and what was expected.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from learners.errors import BadLabel
from privacy.page import Line, Point, Quad

MAX_BYTES = 1 << 20
MAX_LABELS = 2000
MAX_CHARACTERS = 1000
ILLEGIBLE = {"###", "*"}
"""ICDAR's and PaddleOCR's marks for "do not care"."""


_NUMBER = r"\s*-?\d{1,9}(?:\.\d{1,9})?\s*"
_ICDAR = re.compile(rf"^{_NUMBER}(?:,{_NUMBER}){{7}},")


@dataclass(frozen=True)
class Label:
    """One labelled line; `legible` is false where the labeller marked it as not to be used."""

    text: str = field(repr=False)
    quad: Quad | None = None
    legible: bool = True


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
