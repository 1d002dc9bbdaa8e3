"""A key for every number that can forget some of them: a puncturable pseudo-random function. Pure.

The construction of Goldreich, Goldwasser and Micali (1986): a binary tree, each node's children by HMAC-SHA256 under
it; the key of number n is the n-th leaf. To *puncture* a number is to give up every node above its leaf and keep the
siblings on the way (Boneh and Waters 2013): all other leaves stay as they were, and the punctured one can't be computed
any more, by anybody, from what is left. Used for deletion that reaches copies (Green and Miers 2015).

    value(child b of node) = HMAC-SHA256(value(node), b)

Size: one node of 41 bytes for an unpunctured tree. A run of adjacent punctured numbers costs at most 2 x 40 nodes
however long it is; a lone one at most 40, and about 40 - log2(m) each when m lie scattered.
"""

from __future__ import annotations

import hmac
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from privacy.errors import Punctured

DEPTH = 40
LEAVES = 1 << DEPTH
_NEAR, _MOST_NEAR = 8, 4096
VALUE_BYTES = 32
_NODE = struct.Struct(f">BQ{VALUE_BYTES}s")

Range = tuple[int, int]
"""Numbers `[first, after)`."""


def _below(value: bytes, bit: int) -> bytes:
    return hmac.digest(value, b"\x01" if bit else b"\x00", "sha256")


def _down(value: bytes, number: int, level: int, to: int = 0) -> bytes:
    """The value at level `to` above leaf `number`, from that at `level`."""
    for each in range(level - 1, to - 1, -1):
        value = _below(value, number >> each & 1)
    return value


@dataclass(frozen=True)
class Node:
    """The root of a whole subtree: its leaves are `[index << level, (index + 1) << level)`."""

    level: int
    index: int
    value: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.level <= DEPTH or not 0 <= self.index < 1 << (DEPTH - self.level):
            raise ValueError(f"Expected a node of a tree of depth {DEPTH}, got level {self.level}.")
        if len(self.value) != VALUE_BYTES:
            raise ValueError(f"Expected a value of {VALUE_BYTES} bytes, got {len(self.value)}.")

    def child(self, bit: int) -> Node:
        return Node(self.level - 1, 2 * self.index + bit, _below(self.value, bit))

    def without(self, cuts: Sequence[Range]) -> Iterator[Node]:
        """The subtrees that are left of this one, in order."""
        first, after = self.index << self.level, (self.index + 1) << self.level
        here = [cut for cut in cuts if cut[0] < after and first < cut[1]]
        if not here:
            yield self
        elif not any(cut[0] <= first and after <= cut[1] for cut in here):
            yield from self.child(0).without(here)
            yield from self.child(1).without(here)


@dataclass(frozen=True)
class Tree:
    """What is left of a tree: whole subtrees that don't overlap."""

    nodes: tuple[Node, ...] = field(repr=False)

    @classmethod
    def grow(cls, seed: bytes) -> Tree:
        """The whole tree under a seed of 32 random bytes."""
        return cls((Node(DEPTH, 0, seed),))

    @cached_property
    def _near(self) -> dict[int, bytes]:
        """Values of whole subtrees of 2^_NEAR leaves that were asked for, by their index; at most _MOST_NEAR."""
        return {}

    @cached_property
    def _places(self) -> dict[tuple[int, int], Node]:
        return {(node.level, node.index): node for node in self.nodes}

    def leaf(self, number: int) -> bytes:
        """The key of a number, 32 bytes.

        Raises:
            Punctured: it was given up.
            ValueError: not a number of this tree.
        """
        near = self._near.get(number >> _NEAR)
        if near is not None:
            return _down(near, number, _NEAR)
        node = self._above(number)
        if node is None:
            raise Punctured(f"The key of slot {number} was destroyed for good.")
        if node.level < _NEAR:
            return _down(node.value, number, node.level)
        if len(self._near) >= _MOST_NEAR:
            self._near.clear()
        near = self._near[number >> _NEAR] = _down(node.value, number, node.level, _NEAR)
        return _down(near, number, _NEAR)

    def holds(self, number: int) -> bool:
        """Whether the number's key can still be computed."""
        return self._above(number) is not None

    def _above(self, number: int) -> Node | None:
        if not 0 <= number < LEAVES:
            raise ValueError(f"Expected a slot in [0, 2^{DEPTH}), got {number}.")
        found = (self._places.get((level, number >> level)) for level in range(DEPTH + 1))
        return next((node for node in found if node is not None), None)

    def punctured(self, cuts: Iterable[Range]) -> Tree:
        """The tree without the numbers in the ranges. Doing it again changes nothing."""
        merged: list[Range] = []
        for first, after in sorted(cuts):
            if not 0 <= first <= after <= LEAVES:
                raise ValueError(f"Expected a range with 0 <= first <= after, got {(first, after)}.")
            if merged and first <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(after, merged[-1][1]))
            elif first < after:
                merged.append((first, after))
        starts = [first for first, _ in merged]
        ends = [after for _, after in merged]
        left: list[Node] = []
        for node in self.nodes:
            low, high = node.index << node.level, (node.index + 1) << node.level
            left += node.without(merged[bisect_right(ends, low) : bisect_left(starts, high)])
        return Tree(tuple(left))

    def gaps(self) -> list[Range]:
        """The punctured numbers, as the fewest ranges."""
        ends, found = 0, []
        for node in sorted(self.nodes, key=lambda node: node.index << node.level):
            first = node.index << node.level
            if first > ends:
                found.append((ends, first))
            ends = first + (1 << node.level)
        return [*found, (ends, LEAVES)] if ends < LEAVES else found

    def to_bytes(self) -> bytes:
        return b"".join(_NODE.pack(node.level, node.index, node.value) for node in self.nodes)

    @classmethod
    def from_bytes(cls, data: bytes) -> Tree:
        """Raises `ValueError` for bytes that `to_bytes` would not have written."""
        try:
            return cls(tuple(Node(*fields) for fields in _NODE.iter_unpack(data)))
        except struct.error as error:
            raise ValueError(f"Expected nodes of {_NODE.size} bytes each, got {len(data)} bytes.") from error
