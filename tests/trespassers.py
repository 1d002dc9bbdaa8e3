"""Files for the inbox whose pages, names, folders and labels hold what must not be seen again, in every form."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from learners import sidecars, synthesis
from learners.damage import Damage
from privacy.page import Box, Quad
from seeking import forms

SHORTEST = 6
FOLDER = "Okonkwo, Adaeze"


@dataclass
class Dropped:
    """A file for the inbox, and what of it must not be seen again."""

    name: str
    data: bytes = field(repr=False)
    sidecar: bytes | None = field(repr=False)
    needles: dict[str, bytes] = field(repr=False)


def text_needles(what: str, value: str) -> dict[str, bytes]:
    found = {}
    for variant in dict.fromkeys((value, value.replace(" ", ""))):
        escaped = json.dumps(variant)[1:-1].encode()
        for number, form in enumerate(dict.fromkeys([*forms(variant.encode()), escaped])):
            if len(form) >= 5:
                found[f"{what} {number}{'' if variant == value else ' joined'}"] = form
    return found


def page(number: int, kind: str, locale: str, seed: int, encoding: str) -> Dropped:
    """A generated page with labels; one label more belongs to no line of it."""
    document = synthesis.generate(kind, seed, locale, Damage())
    name = f"Winterbottom-Philippa-19840312-{number}{encoding}"
    data = cv2.imencode(encoding, document.image[:, :, ::-1])[1].tobytes()
    needles = text_needles("file name", Path(name).stem) | text_needles("folder name", FOLDER)
    needles[f"bytes of file {number}"] = data[len(data) // 2 :][:64]
    for at, region in enumerate(document.personal):
        box, what = region.box, f"{region.kind} {at} on page {number}"
        for value in values(document, box):
            needles |= text_needles(what, value)
        row = document.image[(box.y0 + box.y1) // 2, box.x0 : box.x1]
        if encoding == ".png" and len(np.unique(row)) > 12 and row.size >= 96:
            needles[f"pixels of {what}"] = row.tobytes()[:192]
    only = f"Quillfeather Amaryllis {number}"
    needles |= text_needles("label", only)
    labels = json.loads(sidecars.write_sidecar(document))
    entries = labels["lines"] if isinstance(labels, dict) else labels
    entries.append({"transcription": only, "points": [[1, 1], [9, 1], [9, 4], [1, 4]]})
    return Dropped(f"{FOLDER}/{name}", data, json.dumps(labels).encode(), needles)


def values(document: synthesis.Document, box: Box) -> Iterator[str]:
    """What is written in a box, line by line, with the spaces it has; short ones may stand anywhere by chance."""
    for line in document.lines:
        joined = "".join(char.text for char in line.chars if inside(char.quad, box))
        found = re.search(r"\s*".join(map(re.escape, joined)), line.text)
        if len(joined) >= SHORTEST and found:
            yield found[0]


def inside(quad: Quad, box: Box) -> bool:
    x, y = (sum(point[axis] for point in quad) / 4 for axis in (0, 1))
    return box.x0 <= x < box.x1 and box.y0 <= y < box.y1


def refused(number: int = 0) -> Dropped:
    """Not decoded, so that it takes no reading; sealed in `failed`, with its labels."""
    secret = f"Quillfeather Celandine {number}"
    data = struct.pack(">I", 16) + b"ftypheic" + bytes(4) + np.random.default_rng(number).bytes(3000)
    name = f"Winterbottom-Peregrine-{number}.heic"
    needles = text_needles("file name", Path(name).stem) | text_needles("label", secret)
    needles |= text_needles("folder name", FOLDER) | {f"bytes of file {name}": data[1500:1564]}
    return Dropped(f"{FOLDER}/{name}", data, f"{secret}\n".encode(), needles)
