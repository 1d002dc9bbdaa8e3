"""Files made hostile with a seed: flipped bits, cuts, swapped and repeated parts, edited headers, two files in one."""

from __future__ import annotations

import copy
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

NUMBERS = (
    b"\x00\x00\x00\x00",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\x00\x00\x10\x00",
    b"\x00\x01",
)


def flip(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """1 to 64 bits, anywhere."""
    changed = bytearray(data)
    for place in rng.integers(0, len(data), 2 ** rng.integers(0, 7)):
        changed[place] ^= 1 << rng.integers(0, 8)
    return bytes(changed)


def cut(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """The end is missing."""
    return data[: rng.integers(1, len(data) + 1)]


def hole(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """A part is missing."""
    start, end = sorted(rng.integers(0, len(data) + 1, 2))
    return data[:start] + data[end:]


def swap(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """Two neighbouring parts change places."""
    a, b, c = sorted(rng.integers(0, len(data) + 1, 3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def repeat(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """A part comes 2 to 32 times."""
    start, end = sorted(rng.integers(0, len(data) + 1, 2))
    return data[:start] + data[start:end][:4096] * int(rng.integers(2, 33)) + data[end:]


def header(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """Sizes and counts live near the front: one or two of them become extreme."""
    changed = bytearray(data)
    for _ in range(rng.integers(1, 3)):
        number = NUMBERS[rng.integers(len(NUMBERS))]
        place = int(rng.integers(0, min(len(data), 128)))
        changed[place : place + len(number)] = number
    return bytes(changed)


def splice(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """The front of one file and the back of another."""
    return data[: rng.integers(1, len(data) + 1)] + other[rng.integers(0, len(other)) :]


KINDS: tuple[Callable[[bytes, bytes, np.random.Generator], bytes], ...] = (
    flip,
    cut,
    hole,
    swap,
    repeat,
    header,
    splice,
)


KEPT = 16
"""Bytes of the front that three of four files keep: without its signature a file is refused at once."""


def mutated(files: Sequence[bytes], rng: np.random.Generator) -> bytes:
    """One file with one to three of these done to it; never empty. Half of the PNGs get their checksums put right."""
    data, other = (files[rng.integers(len(files))] for _ in range(2))
    front = data[:KEPT] if rng.random() < 0.75 and len(data) > 2 * KEPT else b""
    body = data[len(front) :]
    for _ in range(rng.integers(1, 4)):
        body = KINDS[rng.integers(len(KINDS))](body, other, rng) or body
    data = front + body
    return repaired(data) if data.startswith(b"\x89PNG") and rng.random() < 0.5 else data


def repaired(data: bytes) -> bytes:
    """A PNG whose chunks have the checksums of what they hold, as far as they lead."""
    out, at = bytearray(data), 8
    while at + 12 <= len(data) and (end := at + 8 + int.from_bytes(data[at : at + 4], "big")) + 4 <= len(data):
        out[end : end + 4] = zlib.crc32(data[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(out)


ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 2**63, 10**400, 0.5, 1e308, "", "0", "\x00", "\ud800", "é" * 5000),
    *([], {}, [[]], [[[[[[[[]]]]]]]], {"": {}}, [0] * 3000, {str(n): n for n in range(300)}),
)


def mutated_json(document: bytes, rng: np.random.Generator) -> bytes:
    """JSON that stays JSON: one to three of its values become odd ones, or another of its values, go, or come twice."""
    value = json.loads(document)
    for _ in range(rng.integers(1, 4)):
        places = list(_places(value))
        if not places:
            break
        holder, key = places[rng.integers(len(places))]
        kind = rng.integers(4)
        if kind == 0:
            del holder[key]
        elif kind == 1:
            holder[key] = [holder[key], holder[key]]
        elif kind == 2:
            other, place = places[rng.integers(len(places))]
            holder[key] = copy.deepcopy(other[place])
        else:
            holder[key] = copy.deepcopy(ODD[rng.integers(len(ODD))])
    return json.dumps(value).encode()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place within a JSON value: what holds it, and its key or index."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])
