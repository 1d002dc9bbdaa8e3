"""The typefaces of the public documents: from pinned packages, checked by hash, never from the system.

Guarantee: a face is these bytes or an error. FreeType's outlines, hinting and rasteriser are
fixed-point, and Pillow's wheels carry their own FreeType, so with Pillow pinned a glyph is the same
bitmap on every machine. Layout is Pillow's basic engine: whether libraqm is there makes no difference.

A face without a glyph would draw an empty box without a word; `require` refuses such text.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from importlib import resources
from pathlib import Path

import numpy as np
from PIL import ImageFont

from learners import pins
from learners.errors import FontUnavailable, MissingGlyph


@dataclass(frozen=True)
class Face:
    """A font file inside a package, and which of its members and weights is meant."""

    package: str
    file: str
    sha256: str
    index: int = 0
    weight: int | None = None
    """Of a variable font; None for a static one."""
    plain_zero: bool = False
    """Whether the slash or dot in the zero is left out: it is there for code."""


_SHA256 = {
    "Roboto[wdth,wght].ttf": "d7598e12c5dbef095ff8272cfc55da0250bd07fbdecbac8a530b9b277872a134",
    "NotoSans[wdth,wght].ttf": "bfb7bb691513f12e734dc346c03a03f784912432d7e3fa8e56efcf906fe86b3d",
    "NotoSerif[wdth,wght].ttf": "4d8e6761424656867019081a1a01336f3cb086982682698714054fc33f782713",
    "RobotoMono[wght].ttf": "66a80e79d17e4c7cabd162e2916578a4cc08fd19eef6e2a643305eae9c567b2b",
    "Inconsolata[wdth,wght].ttf": "23ded25b447074d00659392bf9b1123d89df55cb07b0ad9bfef3366d199b5fcb",
    "SourceCodePro[wght].ttf": "b400fc584e10aff25d0e775ce181b4fc1c5ea1b5dc37b81aeb2084375b945790",
    "Lato-Regular.ttf": "d636e4683231f931eda222d588e944d082bfd3bdba02f928bee461c0f185b251",
    "Lato-Bold.ttf": "8a0aace75d33794eece4b28187bfc1df0bbd2888b5d8a56e01788c8d65d16be1",
    "Lato-Italic.ttf": "e399c44efe1387100531d26c7e4800c5d12251b890d6654a3098c7c679cb1786",
    "IBMPlexMono-Regular.ttf": "6a3412f058c7d8dfd9170c41e85ade48e5156ecb89356110ca57a0a27734af46",
    "IBMPlexMono-Medium.ttf": "a9b4c49bb299e05b5f6c481e7fb5e78943d2793249a0c8874ab574a2d1ea6755",
    "IBMPlexMono-Bold.ttf": "ac27abd6450a64dd94467580a02fe6235156d5b92f2926ebbc8e7489df64e0be",
    "OpenSans[wdth,wght].ttf": "36643644f318a812aab2d2ed3bb98f8cf0872527f835fe9398d95fe6b9adb878",
    "Merriweather[opsz,wdth,wght].ttf": "d0ed0e359e396af7ad05e73dffd11a3a4c326ea0d0283c56bd9361cb2cc86a96",
    "PT_Serif-Web-Regular.ttf": "a4951fade06ff8f09b7673aa81ffb65a8cd409e24d3289a6dc670bc4dda2557a",
    "PT_Serif-Web-Bold.ttf": "038ba7336bd7ea14f12ad155bed51a4345cac5153275d521dec3ba04021c526e",
    "Lora[wght].ttf": "822a6621ccbe8d97d20ac88c1c41f5615c9c2c202eaa75f272cd452aac6475a7",
    "NotoSansCJK-Regular.ttc": "b76b0433203017ca80401b2ee0dd69350349871c4b19d504c34dbdd80541690a",
}


def _face(package: str, file: str, index: int = 0, weight: int | None = None) -> Face:
    return Face(package, file, _SHA256[file.rpartition("/")[2]], index, weight)


FACES = {
    "roboto": _face("fontpkg_roboto", "files/Roboto[wdth,wght].ttf", weight=400),
    "roboto-bold": _face("fontpkg_roboto", "files/Roboto[wdth,wght].ttf", weight=700),
    "noto-sans": _face("fontpkg_noto_sans", "files/NotoSans[wdth,wght].ttf", weight=400),
    "noto-sans-bold": _face("fontpkg_noto_sans", "files/NotoSans[wdth,wght].ttf", weight=700),
    "noto-serif": _face("fontpkg_noto_serif", "files/NotoSerif[wdth,wght].ttf", weight=400),
    "noto-serif-bold": _face("fontpkg_noto_serif", "files/NotoSerif[wdth,wght].ttf", weight=700),
    "roboto-mono": _face("fontpkg_roboto_mono", "files/RobotoMono[wght].ttf", weight=400),
    "roboto-mono-bold": _face("fontpkg_roboto_mono", "files/RobotoMono[wght].ttf", weight=700),
    "inconsolata": _face("fontpkg_inconsolata", "files/Inconsolata[wdth,wght].ttf", weight=500),
    "inconsolata-bold": _face("fontpkg_inconsolata", "files/Inconsolata[wdth,wght].ttf", weight=800),
    "source-code": _face("fontpkg_source_code_pro", "files/SourceCodePro[wght].ttf", weight=400),
    "source-code-bold": _face("fontpkg_source_code_pro", "files/SourceCodePro[wght].ttf", weight=700),
    "lato": _face("fontpkg_lato", "files/Lato-Regular.ttf"),
    "lato-bold": _face("fontpkg_lato", "files/Lato-Bold.ttf"),
    "lato-italic": _face("fontpkg_lato", "files/Lato-Italic.ttf"),
    "plex-mono": _face("fontpkg_ibm_plex_mono", "files/IBMPlexMono-Regular.ttf"),
    "plex-mono-medium": _face("fontpkg_ibm_plex_mono", "files/IBMPlexMono-Medium.ttf"),
    "plex-mono-bold": _face("fontpkg_ibm_plex_mono", "files/IBMPlexMono-Bold.ttf"),
    "open-sans": _face("fontpkg_open_sans", "files/OpenSans[wdth,wght].ttf", weight=400),
    "open-sans-bold": _face("fontpkg_open_sans", "files/OpenSans[wdth,wght].ttf", weight=700),
    "merriweather": _face("fontpkg_merriweather", "files/Merriweather[opsz,wdth,wght].ttf", weight=400),
    "merriweather-bold": _face("fontpkg_merriweather", "files/Merriweather[opsz,wdth,wght].ttf", weight=700),
    "pt-serif": _face("fontpkg_pt_serif", "files/PT_Serif-Web-Regular.ttf"),
    "pt-serif-bold": _face("fontpkg_pt_serif", "files/PT_Serif-Web-Bold.ttf"),
    "lora": _face("fontpkg_lora", "files/Lora[wght].ttf", weight=400),
    "lora-bold": _face("fontpkg_lora", "files/Lora[wght].ttf", weight=700),
    "cjk-sc": _face("noto_cjk_sans_otc", "NotoSansCJK-Regular.ttc", index=2),
    "cjk-tc": _face("noto_cjk_sans_otc", "NotoSansCJK-Regular.ttc", index=3),
}
"""By the name used everywhere else."""

MONOSPACED = ("roboto-mono", "inconsolata", "source-code", "plex-mono", "plex-mono-medium", "plex-mono-bold")
PROPORTIONAL = (
    "roboto", "roboto-bold", "noto-sans", "noto-sans-bold", "noto-serif", "noto-serif-bold", "lato", "lato-bold",
    "lato-italic",
)  # fmt: skip
HELD_OUT = ("open-sans", "merriweather", "pt-serif", "lora")
"""On the held-out pages of the yardstick (`learners.yardstick`) and nowhere else; each has a bold one."""
PINS = "nine-pin"
"""The draft letters of a nine-pin printer (`learners.pins`): a face without a file, of one size."""
CHINESE = ("cjk-sc", "cjk-tc")


def plain(name: str) -> str:
    """The name of a monospaced face whose zero is plain."""
    return f"{name}-plain"


FACES |= {plain(name): replace(FACES[name], plain_zero=True) for name in MONOSPACED}


@cache
def _path(package: str, file: str, sha256: str) -> str:
    """Where the file is, once its bytes are known to be the pinned ones."""
    try:
        path = Path(str(resources.files(package).joinpath(file)))
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except (ModuleNotFoundError, FileNotFoundError) as cause:
        raise FontUnavailable(f"Expected {file} from the pinned package {package}; install ocrd again.") from cause
    if found != sha256:
        raise FontUnavailable(f"Expected {file} of {package} with SHA-256 {sha256}, got {found}.")
    return str(path)


def _named(name: str) -> Face:
    if name not in FACES:
        raise FontUnavailable(f"Expected one of {', '.join(FACES)}, got {name!r}.")
    return FACES[name]


@lru_cache(maxsize=512)
def load(name: str, size: int) -> ImageFont.FreeTypeFont:
    """The face at `size` pixels an em.

    Raises:
        FontUnavailable: the name is unknown, its package is missing, or its bytes aren't the pinned ones.
    """
    face = _named(name)
    path = _path(face.package, face.file, face.sha256)
    font = ImageFont.truetype(path, size, index=face.index, layout_engine=ImageFont.Layout.BASIC)
    if face.weight is not None:
        axes = font.get_variation_axes()
        font.set_variation_by_axes(
            [float(face.weight if axis["name"] == b"Weight" else axis["default"] or 0) for axis in axes]
        )
    return font


@cache
def coverage(name: str) -> frozenset[int]:
    """The code points for which the face has a glyph of its own, from its `cmap` table."""
    if name == PINS:
        return frozenset(map(ord, pins.CHARACTERS))
    face = _named(name)
    data = Path(_path(face.package, face.file, face.sha256)).read_bytes()
    start = struct.unpack_from(">I", data, 12 + 4 * face.index)[0] if data[:4] == b"ttcf" else 0
    tables = struct.unpack_from(">H", data, start + 4)[0]
    for entry in range(start + 12, start + 12 + 16 * tables, 16):
        if data[entry : entry + 4] == b"cmap":
            return _code_points(data, struct.unpack_from(">I", data, entry + 8)[0])
    raise FontUnavailable(f"Expected a cmap table in {face.file}, found none.")


def _code_points(data: bytes, cmap: int) -> frozenset[int]:
    """What the Unicode subtables of formats 4 and 12 map to a glyph other than 0 (OpenType 1.9, `cmap`)."""
    points: set[int] = set()
    for record in range(struct.unpack_from(">H", data, cmap + 2)[0]):
        platform, encoding, offset = struct.unpack_from(">HHI", data, cmap + 4 + 8 * record)
        if (platform, encoding) not in {(0, 3), (0, 4), (3, 1), (3, 10)}:
            continue
        table = cmap + offset
        version = struct.unpack_from(">H", data, table)[0]
        if version == 4:
            points |= _format_4(data, table)
        elif version == 12:
            groups = struct.unpack_from(">I", data, table + 12)[0]
            for first, last, glyph in struct.iter_unpack(">III", data[table + 16 : table + 16 + 12 * groups]):
                points.update(range(first if glyph else first + 1, last + 1))
    return frozenset(points)


def _format_4(data: bytes, table: int) -> set[int]:
    segments = struct.unpack_from(">H", data, table + 6)[0] // 2
    ends, starts, deltas, offsets = (
        np.frombuffer(data, ">u2", segments, table + 14 + 2 * segments * column + (2 if column else 0)).tolist()
        for column in range(4)
    )
    where = table + 16 + 6 * segments
    points: set[int] = set()
    for segment, (first, last, delta, offset) in enumerate(zip(starts, ends, deltas, offsets, strict=True)):
        for point in range(first, min(last, 0xFFFE) + 1):
            if offset:
                at = where + 2 * segment + offset + 2 * (point - first)
                glyph = struct.unpack_from(">H", data, at)[0]
            else:
                glyph = (point + delta) & 0xFFFF
            if glyph:
                points.add(point)
    return points


def require(text: str, name: str) -> None:
    """Refuses `text` unless the face has a glyph for each of its characters.

    Raises:
        MissingGlyph: naming the face and the code points it lacks.
    """
    covered = coverage(name)
    missing = sorted({ord(c) for c in text} - covered)
    if missing:
        points = ", ".join(f"U+{point:04X}" for point in missing)
        raise MissingGlyph(f"Expected glyphs for all of the text in the face {name}; it has none for {points}.")
