"""The width of a value: how much of it does what is visible tell? (`bench/surrogates.py`)

Lines "Name: VALUE", drawn by the real thing. How many bits of the value's width, to 16 pixels, does what is visible
tell? Mutual information, beside what shuffled pairs give, which tell nothing.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from learners.draws import Draws
from learners.lettering import PageHand
from learners.personas import LATIN, persona
from learners.sheet import quad
from learners.typesetting import Style, typeset
from privacy.anonymise import anonymise
from privacy.fictions import KEY_BYTES
from privacy.page import Box, Char, Image, Line, Region
from privacy.surrogates import substitute

STEP = 16


class Fixed:
    """A detector that finds what it was told."""

    name, version, pixels = "fixed", "1", False

    def __init__(self, *regions: Region) -> None:
        self._regions = list(regions)

    def find(self, image: Image, lines: Sequence[Line]) -> list[Region]:
        return self._regions


def name_line(name: str, follows: str, indent: int) -> tuple[Image, Line, Region, Box]:
    """A strip of paper with one line, its reading, the region of the name, and the box of its ink."""
    text, style = f"Name: {name}{follows}", Style("noto-sans", 22)
    setting = typeset(text, style)
    x, y = 24 + indent, 40
    ink = np.zeros((104, 900), np.uint8)
    ink[y : y + setting.height, x : x + setting.width] = setting.ink
    image = np.repeat((250 - (ink.astype(np.int16) * 220 // 255))[..., None], 3, axis=2).astype(np.uint8)

    def moved(box: Box, more: int) -> Box:
        return Box(box.x0 + x - more, y - 5, box.x1 + x + more, y + setting.height + 5)

    chars = tuple(Char(c, quad(moved(b, 1)), 1.0) for c, b in zip(text, setting.boxes, strict=True) if b is not None)
    at = moved(setting.box(6, 6 + len(name)), 1)
    line = Line(text, quad(moved(setting.box(), 4)), 1.0, 1.0, chars)
    return image, line, Region("name", quad(at), 1.0, "planted"), at


def lengths(count: int, seed: int) -> dict[str, float]:
    random = np.random.default_rng(seed)
    names: list[str] = []
    while len(names) < count:
        name = persona(Draws(seed * 1000 + len(names), "length"), LATIN[len(names) % len(LATIN)]).name
        names.append(name)
    seen: dict[str, list[tuple[int, int]]] = defaultdict(list)
    tight = []
    for name in names:
        for follows, what in (("", "at the end"), (", born 1 May", "followed")):
            image, line, region, at = name_line(name, follows, int(random.integers(0, STEP)))
            redaction = anonymise(image, [[line]], [Fixed(region)])
            width = at.x1 - at.x0
            columns = np.flatnonzero(redaction.mask.any(axis=0))
            if not follows:
                tight.append(width)
                seen["a tight box"].append((width // STEP, width))
                seen["the fill, in blocks of 8 pixels"].append((width // STEP, int(columns[-1] - columns[0]) // STEP))
            label = Line("Name:", _label_quad(line), 1.0, 1.0, line.chars[:5])
            done = substitute(
                redaction, [line], ("name",), random.bytes(KEY_BYTES), PageHand(redaction.image, [label], None, random)
            )
            if not done.told:
                seen[f"left flat, {what}"].append((width // STEP, 1))
                continue
            ink = np.flatnonzero((done.image[40:70, columns[0] :].min(axis=2) < 150).any(axis=0))
            if not follows:
                seen["a surrogate at the end of its line"].append((width // STEP, int(ink[-1]) // STEP))
                plot = np.flatnonzero(done.plots.any(axis=0))
                seen["where its new paper ends"].append((width // STEP, int(plot[-1]) // STEP))
            else:
                gaps = int(np.diff(np.append(ink, ink[-1] + 1)).sum())
                seen["the whole line, when more text follows"].append((width // STEP, gaps // STEP))
    print(
        f"\nlength: of {count} names, bits of {_entropy([w // STEP for w in tight]):.2f} in the width to {STEP} pixels"
    )
    found = {}
    for what, pairs in seen.items():
        if what.startswith("left flat"):
            print(f"   {what}: {len(pairs)} of {count}")
            continue
        chance = float(np.mean([_information(_shuffled(pairs, random)) for _ in range(20)]))
        found[what] = _information(pairs)
        print(f"   {what:42} {found[what]:.2f} (shuffled pairs give {chance:.2f})")
    print(
        f"   of {math.log2(count):.1f} bits among {count} names a tight box tells {_entropy(tight):.1f}, to the pixel"
    )
    return found


def _label_quad(line: Line) -> Any:
    a, _, _, d = line.quad
    right = line.chars[4].quad[1][0] + 3
    return a, (right, a[1]), (right, d[1]), d


def _entropy(values: Sequence[Any]) -> float:
    _, counts = np.unique(np.array(values), return_counts=True)
    share = counts / counts.sum()
    return float(-(share * np.log2(share)).sum())


def _information(pairs: Sequence[tuple[int, int]]) -> float:
    one, other = [a for a, _ in pairs], [b for _, b in pairs]
    return _entropy(one) + _entropy(other) - _entropy([a * 100_003 + b for a, b in pairs])


def _shuffled(pairs: Sequence[tuple[int, int]], random: np.random.Generator) -> list[tuple[int, int]]:
    order = random.permutation(len(pairs))
    return [(pairs[i][0], pairs[j][1]) for i, j in enumerate(order)]
