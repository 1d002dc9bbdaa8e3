"""A search for secrets in bytes that sees through the encodings a container may use."""

from __future__ import annotations

import base64
import re
import struct
import zlib
from collections.abc import Iterator, Mapping


def forms(found: bytes) -> list[bytes]:
    """The secret as it is, as UTF-16, in hexadecimal, and in base64 at each of its three offsets."""
    text = found.decode()
    wide = [text.encode("utf-16-le"), text.encode("utf-16-be")]
    based = []
    for offset in range(3):
        whole = base64.b64encode(b"\0" * offset + found)
        based.append(whole[4 if offset else 0 : -4])  # the ends depend on the neighbours
    hexed = [form.hex().encode() for form in (found, *wide)]
    return [found, *wide, *hexed, *(form.upper() for form in hexed), *based]


def views(data: bytes, depth: int = 2) -> Iterator[bytes]:
    """The bytes, and whatever in them is a zlib stream, inflated; IDAT chunks of a PNG are one stream."""
    yield data
    if depth == 0:
        return
    if data.startswith(b"\x89PNG"):
        packed = b"".join(_chunks_of(data, b"IDAT"))
        yield from views(packed, depth - 1)
    for match in re.finditer(rb"\x78[\x01\x5e\x9c\xda]|\x58\x85|\x48\x89", data):
        try:
            inflated = zlib.decompressobj().decompress(data[match.start() :], 2**26)
        except zlib.error:
            continue
        if inflated:
            yield from views(inflated, depth - 1)


def holds(data: bytes, found: bytes) -> bool:
    return bool(held(data, {"": found}))


def held(data: bytes, secrets: Mapping[str, bytes]) -> list[str]:
    """The names of the secrets that are somewhere in the bytes, in any form."""
    seen = list(views(data))
    return [name for name, found in secrets.items() if any(form in view for form in forms(found) for view in seen)]


def _chunks_of(data: bytes, kind: bytes) -> Iterator[bytes]:
    at = 8
    while at + 8 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        if data[at + 4 : at + 8] == kind:
            yield data[at + 8 : at + 8 + length]
        at += 12 + length
