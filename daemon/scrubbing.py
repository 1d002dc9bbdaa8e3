"""What SQLite leaves behind of deleted rows, and its removal.

`secure_delete` overwrites a cell where it is deleted. But when a page of a b-tree is split or merged its cells are
packed anew, and what the page held before stays in the space between its pointers and its cells, which SQLite never
reads again and gives to the next cell that comes: pieces of rows, a few bytes of a digest here and there. `wipe`
overwrites that space in place.

That is safe beside readers and at a power cut: no byte that means anything is changed, so each sector may be the old
one or the new. It would not be beside another writer, who may move what lies on a page: hence the write lock and the
empty log. Everything here works on a descriptor that the caller keeps open: when a process closes any descriptor of
a file (mmap closes one of its own), the locks are gone that SQLite holds in it, and another process would take
the log for its own to delete (https://www.sqlite.org/howtocorrupt.html, 2.2).

File format: https://www.sqlite.org/fileformat2.html, 1.6 "B-tree Pages".
"""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Iterator, Sequence

_HEADER = struct.Struct(">BHHH")
"""Of a page of a b-tree: kind, first free block, number of cells, where the cells begin (0 for 65536)."""
_HEADER_BYTES = {2: 12, 5: 12, 10: 8, 13: 8}
"""By kind: interior pages of indices and tables, their leaves."""
_FIRST_PAGE = 100
"""Bytes of the file's own header, before the first page's."""
_BLOCK = 1 << 20
"""Bytes read at a time: a whole number of pages of any size."""


def wipe(fd: int) -> int:
    """Overwrites the unused space of every page with zeros, durably; returns how many pages had anything there.

    The log must be empty, and the caller hold the write lock; it must drop the pages it has in memory.
    """
    gaps = list(gaps_of(fd))
    for first, left in gaps:
        os.pwrite(fd, bytes(len(left)), first)
    if gaps:
        os.fsync(fd)
    return len(gaps)


def gaps_of(fd: int) -> Iterator[tuple[int, bytes]]:
    """Unused space that is not all zeros: where it begins in the file, and what is there."""
    size = int.from_bytes(os.pread(fd, 2, 16), "big")
    size = 65536 if size == 1 else size
    headers, zeros = struct.Struct(f"{_HEADER.format}{size - _HEADER.size}x"), bytes(size)
    for offset, block in _blocks(fd):
        pages = headers.iter_unpack(block)
        if offset == 0:
            next(pages)
            pages = itertools.chain([_HEADER.unpack_from(block, _FIRST_PAGE)], pages)
        for start, (kind, _, cells, begins) in zip(range(0, len(block), size), pages, strict=True):
            if (header := _HEADER_BYTES.get(kind)) is not None:
                first = start + header + 2 * cells + (_FIRST_PAGE if offset + start == 0 else 0)
                after = start + (begins or 65536)
                if first < after <= start + size and (left := block[first:after]) != zeros[: after - first]:
                    yield offset + first, left


def found(fd: int, needles: Sequence[bytes]) -> bool:
    """Whether any of the byte strings is in the file."""
    longest = max(map(len, needles), default=0)
    before = b""
    for _, block in _blocks(fd):
        seam = before + block[:longest]
        if any(needle in block or needle in seam for needle in needles):
            return True
        before = block[-longest:]
    return False


def _blocks(fd: int) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while block := os.pread(fd, _BLOCK, offset):
        yield offset, block
        offset += len(block)
