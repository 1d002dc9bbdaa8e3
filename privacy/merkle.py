"""A Merkle tree as in RFC 9162 (Certificate Transparency), section 2.1: one hash for a whole log.

A proof of `log2 n` hashes shows that an entry is in a log of which only the root is known: a model's claim
carries one, so that its debit can be checked without the rest of the ledger.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def _leaf(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


class Tree:
    """The root of a growing list, in `O(log n)` memory and work an entry.

    Kept are the roots of the perfect subtrees that the list falls into, by size: 7 entries are 4 + 2 + 1.
    """

    def __init__(self, entries: Sequence[bytes] = ()) -> None:
        self._perfect: list[tuple[int, bytes]] = []
        for entry in entries:
            self.add(entry)

    def add(self, entry: bytes) -> None:
        size, root = 1, _leaf(entry)
        while self._perfect and self._perfect[-1][0] == size:
            size, root = 2 * size, _node(self._perfect.pop()[1], root)
        self._perfect.append((size, root))

    def root(self) -> bytes:
        if not self._perfect:
            return hashlib.sha256().digest()
        roots = [root for _, root in self._perfect]
        joined = roots.pop()
        while roots:
            joined = _node(roots.pop(), joined)
        return joined


def prove(entries: Sequence[bytes], index: int) -> list[bytes]:
    """The inclusion proof of `entries[index]`: its siblings from the leaf up (RFC 9162, section 2.1.3.1)."""
    if not 0 <= index < len(entries):
        raise IndexError(f"Expected 0 <= index < {len(entries)}, got {index}.")
    if len(entries) == 1:
        return []
    half = 1 << ((len(entries) - 1).bit_length() - 1)  # the largest power of two smaller than the length
    if index < half:
        return [*prove(entries[:half], index), Tree(entries[half:]).root()]
    return [*prove(entries[half:], index - half), Tree(entries[:half]).root()]


def included(entry: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether `proof` shows `entry` to be number `index` of the `size` under `root` (section 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    place, last, joined = index, size - 1, _leaf(entry)
    for sibling in proof:
        if last == 0:
            return False
        if place & 1 or place == last:
            joined = _node(sibling, joined)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            joined = _node(joined, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and joined == root
