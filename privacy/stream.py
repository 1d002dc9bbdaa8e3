"""Cutting a blob into the numbered chunks of the STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár, 2015).

A large page is sealed and opened chunk by chunk: at no time is more of it in memory than two chunks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from privacy.keys import NONCE_BYTES

CHUNK_BYTES = 65536


def rechunked(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in chunks of exactly `CHUNK_BYTES`, the last one shorter; at least one chunk."""
    held, given = bytearray(), False
    for part in parts:
        held += part
        while len(held) > CHUNK_BYTES:  # one full chunk is held back: it may be the last
            yield bytes(held[:CHUNK_BYTES])
            given = True
            del held[:CHUNK_BYTES]
    if held or not given:
        yield bytes(held)


def numbered(chunks: Iterator[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Each chunk with its nonce: its number (88 bits), then 1 for the last chunk and 0 for others.

    A stream without chunks gives an empty last one, so that a blob cut after its header fails to open.
    """
    number, chunk = 0, next(chunks, b"")
    for following in chunks:
        yield number.to_bytes(NONCE_BYTES - 1, "big") + b"\x00", chunk
        number, chunk = number + 1, following
    yield number.to_bytes(NONCE_BYTES - 1, "big") + b"\x01", chunk
