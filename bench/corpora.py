"""Documents to learn from and to test on: lines with their true text, by document, and vendors kept apart."""

from __future__ import annotations

import csv
import io
import re
import sys
import zipfile
from collections import defaultdict
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from learners.synthesis import KINDS, generate, thermal_label
from models.reader import crop
from privacy.page import Image

_REGISTRATION, _TAX = re.compile(r"\b(\d{5,7}) ?- ?[A-Z]\b"), re.compile(r"\b(\d{12})\b")
_TRADE = re.compile(r"SDN|BHD|ENTERPRISE|TRADING|RESTAURANT|RESTORAN|SHOP|STORE|MARKET|HARDWARE|KEDAI|CAFE|PERNIAGAAN")
ANCHOR, ANCHOR_SEED = 60, 90_000_000
HEAD, TELLING, SHARED = 8, 12, 2


@dataclass(frozen=True)
class Paper:
    """One document: crops `(H, W, 3) uint8` RGB and what they say."""

    name: str
    lines: tuple[tuple[Image, str], ...] = field(repr=False)


def load(domain: str, data: Path, count: int, seed: int) -> list[Paper]:
    """All `receipts` or `forms` of the benchmark data, or `count` generated thermal `labels`."""
    if domain == "labels":
        return [label(seed * 1_000_000 + k) for k in range(count)]
    folder = data / domain
    if not all((folder / name).is_file() for name in ("lines.tsv", "lines.zip")):
        sys.exit(f"Expected {folder}/lines.tsv and lines.zip; name the data with --data DIR.")
    by_document: dict[str, list[tuple[Image, str]]] = defaultdict(list)
    with zipfile.ZipFile(folder / "lines.zip") as images, (folder / "lines.tsv").open(encoding="utf-8") as table:
        rows = csv.reader(table, delimiter="\t", quoting=csv.QUOTE_NONE)
        next(rows)
        for name, text, document in rows:
            if text.strip() and "*" not in text:  # SROIE writes "*" for what it does not transcribe
                by_document[document].append((_opened(images.read(name)), text))
    return [Paper(name, tuple(lines)) for name, lines in by_document.items()]


def folds(papers: Sequence[Paper], count: int, seed: int) -> list[list[int]]:
    """`count` sets of about equal size that hold every document once; `vendors` are never split."""
    groups = vendors(papers)
    np.random.default_rng(seed).shuffle(groups)
    found: list[list[int]] = [[] for _ in range(count)]
    for group in sorted(groups, key=len, reverse=True):
        min(found, key=len).extend(group)
    return found


def apart(papers: Sequence[Paper], held: Sequence[int]) -> list[int]:
    """Those of the held-out documents that share fewer than two of their first eight lines with each one outside.

    Sister companies have numbers and names of their own and one address and layout. Lines count as shared from twelve
    letters and digits on, whatever their case and punctuation.
    """
    heads = [{bare for _, text in each.lines[:HEAD] if len(bare := _bare(text)) >= TELLING} for each in papers]
    outside = [heads[k] for k in set(range(len(papers))).difference(held)]
    return [k for k in held if all(len(heads[k] & other) < SHARED for other in outside)]


def _bare(text: str) -> str:
    return "".join(each for each in text.upper() if each.isalnum())


def vendors(papers: Sequence[Paper]) -> list[list[int]]:
    """Documents that share a registration number, a tax number or a trade name near their top."""
    parent = list(range(len(papers)))

    def root(k: int) -> int:
        while parent[k] != k:
            k = parent[k]
        return k

    first: dict[str, int] = {}
    for k, paper in enumerate(papers):
        for key in _keys([text for _, text in paper.lines[:15]]):
            parent[root(k)] = root(first.setdefault(key, k))
    groups: dict[int, list[int]] = defaultdict(list)
    for k in range(len(papers)):
        groups[root(k)].append(k)
    return list(groups.values())


def _keys(texts: Sequence[str]) -> set[str]:
    numbers = {found for text in texts for rule in (_REGISTRATION, _TAX) for found in rule.findall(text)}
    names = {re.sub(r"[^A-Z]", "", text) for text in texts[:6]}
    return numbers | {name for name in names if len(name) >= 8 and _TRADE.search(name)}


def _opened(data: bytes) -> Image:
    with Pillow.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def label(seed: int) -> Paper:
    made = thermal_label(seed)
    return Paper(str(seed), tuple((crop(made.image, each.quad), each.text) for each in made.lines))


def anchor(characters: Container[str]) -> list[tuple[Image, str]]:
    """Lines of generated documents of every kind, those that these characters can write."""
    pages = [generate(KINDS[k % len(KINDS)], ANCHOR_SEED + k) for k in range(ANCHOR)]
    return [
        (crop(page.image, line.quad), line.text)
        for page in pages
        for line in page.lines
        if all(each in characters for each in line.text)
    ]
