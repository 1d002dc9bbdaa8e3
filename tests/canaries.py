"""Small files of every format with a secret in one place beside the pixels."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from PIL import Image, ImageCms, ImageDraw, ImageFont, PngImagePlugin, TiffImagePlugin

from bombs import chunk, encoded
from canaries_pdf import pdf_places, xmp

Build = Callable[[bytes], bytes]
LENGTH = 28


@dataclass(frozen=True)
class Place:
    """`build(secret)` is a file of `format` that holds the secret in `place`, and has so many pages."""

    format: str
    place: str
    pages: int
    build: Build

    @property
    def name(self) -> str:
        return f"{self.format} {self.place}"


def secret(place: str, seed: int) -> bytes:
    """One for each place and seed; all of a length, so that two files differ in nothing else."""
    return b"Quillfeather" + sha256(f"{seed} {place}".encode()).hexdigest()[: LENGTH - 12].encode()


def picture(text: str = "Invoice 4471", mode: str = "RGB") -> Image.Image:
    image = Image.new("RGB", (220, 64), "white")
    ImageDraw.Draw(image).text((14, 16), text, font=ImageFont.load_default(26), fill="black")
    return image.convert(mode)


def places() -> list[Place]:
    table = {
        "JPEG": _jpeg(),
        "PNG": _png(),
        "TIFF": _tiff(),
        "WEBP": _webp(),
        "GIF": _gif(),
        "BMP": _bmp(),
        "PDF": pdf_places(),
    }
    found = []
    for kind, builds in table.items():
        for place, build in builds.items():
            pages = 2 if "page 2" in place or "frame 2" in place else 1
            found.append(Place(kind, place, pages, build))
    return found


def _exif(tag: int, value: bytes | str, ifd: int = 0) -> bytes:
    exif = Image.Exif()
    if ifd:
        exif.get_ifd(ifd)[tag] = value
    else:
        exif[tag] = value
    return exif.tobytes()


def _iptc(found: bytes) -> bytes:
    return b"\x1c\x02\x50" + struct.pack(">H", len(found)) + found  # 2:80, by-line


def _profile(found: bytes) -> bytes:
    """sRGB whose description is the secret, in UTF-16 as version 4 has it (ICC.1:2010, section 10.13)."""
    whole = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    text = found.decode().encode("utf-16-be")
    described = b"mluc" + struct.pack(">IIIHHII", 0, 1, 12, 0x656E, 0x5553, len(text), 28) + text
    at = whole.index(b"desc", 132)
    whole[at + 4 : at + 12] = struct.pack(">II", len(whole), len(described))
    whole += described
    whole[:4] = struct.pack(">I", len(whole))
    return bytes(whole)


def _jpeg() -> dict[str, Build]:
    def made(**options: object) -> bytes:
        return encoded(picture(), "JPEG", quality=92, **options)

    def segment(marker: int, body: bytes) -> bytes:
        plain = made()
        return plain[:2] + bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body + plain[2:]

    def thumbnail(found: bytes) -> bytes:
        small = encoded(picture().resize((55, 16)), "JPEG", comment=found)
        ifd0 = struct.pack("<HI", 0, 14)
        entries = ((0x103, 3, 1, 6), (0x201, 4, 1, 56), (0x202, 4, 1, len(small)))
        ifd1 = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *e) for e in entries) + b"\0" * 4
        return b"Exif\0\0II*\0\x08\0\0\0" + ifd0 + ifd1 + small

    return {
        "EXIF description": lambda s: made(exif=_exif(0x010E, s.decode())),
        "EXIF artist": lambda s: made(exif=_exif(0x013B, s.decode())),
        "EXIF author of Windows, UTF-16": lambda s: made(exif=_exif(0x9C9D, s.decode().encode("utf-16-le"))),
        "EXIF user comment": lambda s: made(exif=_exif(0x9286, b"ASCII\0\0\0" + s, 0x8769)),
        "EXIF maker note": lambda s: made(exif=_exif(0x927C, s, 0x8769)),
        "EXIF GPS area": lambda s: made(exif=_exif(0x001C, b"ASCII\0\0\0" + s, 0x8825)),
        "EXIF thumbnail": lambda s: segment(0xE1, thumbnail(s)),
        "XMP": lambda s: segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp(s)),
        "IPTC": lambda s: segment(
            0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0" + struct.pack(">I", len(_iptc(s))) + _iptc(s)
        ),
        "ICC description": lambda s: made(icc_profile=_profile(s)),
        "comment": lambda s: made(comment=s),
        "APP9": lambda s: segment(0xE9, s),
        "JFXX thumbnail": lambda s: segment(0xE0, b"JFXX\0\x13" + struct.pack(">BB", 10, 1) + s + bytes(2)),
        "after the end": lambda s: made() + s,
    }


def _png() -> dict[str, Build]:
    def made(*before: bytes) -> bytes:
        plain = encoded(picture(), "PNG")
        return plain[:33] + b"".join(before) + plain[33:]

    def text(found: bytes, packed: bool) -> bytes:
        info = PngImagePlugin.PngInfo()
        info.add_itxt("Comment", found.decode(), zip=packed)
        return encoded(picture(), "PNG", pnginfo=info)

    def frames(found: bytes) -> bytes:
        whole = encoded(picture(), "PNG", save_all=True, append_images=[picture("TOTAL 19.50")])
        at = whole.rindex(b"fcTL") - 4
        return whole[:at] + chunk(b"tEXt", b"Comment\0" + found) + whole[at:]

    return {
        "tEXt": lambda s: made(chunk(b"tEXt", b"Author\0" + s)),
        "zTXt": lambda s: made(chunk(b"zTXt", b"Author\0\0" + zlib.compress(s))),
        "iTXt": lambda s: text(s, packed=False),
        "iTXt, packed": lambda s: text(s, packed=True),
        "XMP in iTXt": lambda s: made(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(s))),
        "eXIf": lambda s: made(chunk(b"eXIf", _exif(0x010E, s.decode())[6:])),
        "iCCP": lambda s: made(chunk(b"iCCP", b"icc\0\0" + zlib.compress(_profile(s)))),
        "private chunk": lambda s: made(chunk(b"prVt", s)),
        "suggested palette's name": lambda s: made(chunk(b"sPLT", s + b"\0\x08" + bytes(6))),
        "chunk after the pixels": lambda s: encoded(picture(), "PNG")[:-12] + chunk(b"tEXt", b"a\0" + s) + _iend(),
        "after the end": lambda s: encoded(picture(), "PNG") + s,
        "frame 2's text": frames,
    }


def _iend() -> bytes:
    return chunk(b"IEND", b"")


def _tiff() -> dict[str, Build]:
    def made(tag: int, value: bytes | str, kind: int = 2) -> bytes:
        info = TiffImagePlugin.ImageFileDirectory_v2()
        info.tagtype[tag] = kind
        info[tag] = value
        return encoded(picture(), "TIFF", tiffinfo=info)

    def second(tag: int, value: bytes | str, kind: int = 2) -> bytes:
        """Two pages; the second one's directory alone has the tag."""
        info = TiffImagePlugin.ImageFileDirectory_v2()
        info.tagtype[tag] = kind
        info[tag] = value
        page = picture("TOTAL 19.50")
        page.encoderinfo = {"tiffinfo": info}
        return encoded(picture(), "TIFF", save_all=True, append_images=[page])

    return {
        "description": lambda s: made(270, s.decode()),
        "artist": lambda s: made(315, s.decode()),
        "document name": lambda s: made(269, s.decode()),
        "private tag": lambda s: made(65000, s, 7),
        "XMP": lambda s: made(700, xmp(s), 1),
        "IPTC": lambda s: made(33723, _iptc(s), 7),
        "Photoshop": lambda s: made(34377, b"8BIM\x04\x04\0\0" + struct.pack(">I", len(_iptc(s))) + _iptc(s), 7),
        "ICC description": lambda s: encoded(picture(), "TIFF", icc_profile=_profile(s)),
        "page 2's description": lambda s: second(270, s.decode()),
        "page 2's private tag": lambda s: second(65001, s, 7),
        "after the end": lambda s: encoded(picture(), "TIFF") + s,
    }


def _webp() -> dict[str, Build]:
    def made(**options: object) -> bytes:
        return encoded(picture(), "WEBP", lossless=True, **options)

    def unknown(found: bytes) -> bytes:
        whole = made(exif=_exif(0x010E, "x"))  # an extended file may hold chunks of any name
        body = whole[12:] + b"zzZZ" + struct.pack("<I", len(found)) + found + b"\0" * (len(found) % 2)
        return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body

    def frames(found: bytes) -> bytes:
        return made(save_all=True, append_images=[picture("TOTAL 19.50")], duration=100, xmp=xmp(found))

    return {
        "EXIF": lambda s: made(exif=_exif(0x010E, s.decode())),
        "XMP": lambda s: made(xmp=xmp(s)),
        "ICC description": lambda s: made(icc_profile=_profile(s)),
        "unknown chunk": unknown,
        "after the end": lambda s: made() + s,
        "XMP beside frame 2": frames,
    }


def _gif() -> dict[str, Build]:
    def before_trailer(block: bytes) -> bytes:
        return encoded(picture(mode="P"), "GIF")[:-1] + block + b";"

    def blocks(data: bytes) -> bytes:
        parts = [data[at : at + 255] for at in range(0, len(data), 255)]
        return b"".join(bytes((len(part),)) + part for part in parts) + b"\0"

    trailer = b"\x01" + bytes(range(255, -1, -1)) + b"\0"  # whatever byte a reader lands on leads it to the end

    def frames(found: bytes) -> bytes:
        return encoded(
            picture(mode="P"), "GIF", save_all=True, append_images=[picture("TOTAL 19.50", "P")], comment=found
        )

    return {
        "comment": lambda s: encoded(picture(mode="P"), "GIF", comment=s),
        "comment after the pixels": lambda s: before_trailer(b"!\xfe" + blocks(s)),
        "application extension": lambda s: before_trailer(b"!\xff\x0bOCRDTEST1.0" + blocks(s)),
        "XMP": lambda s: before_trailer(b"!\xff\x0bXMP DataXMP" + xmp(s) + trailer),
        "plain text extension": lambda s: before_trailer(b"!\x01\x0c" + bytes(12) + blocks(s)),
        "after the trailer": lambda s: encoded(picture(mode="P"), "GIF") + s,
        "comment beside frame 2": frames,
    }


def _bmp() -> dict[str, Build]:
    def gap(found: bytes) -> bytes:
        plain = encoded(picture(), "BMP")
        (start,) = struct.unpack("<I", plain[10:14])
        size = struct.pack("<I", len(plain) + len(found))
        return (
            plain[:2]
            + size
            + plain[6:10]
            + struct.pack("<I", start + len(found))
            + plain[14:start]
            + found
            + plain[start:]
        )

    return {
        "between header and pixels": gap,
        "last fields of the header": lambda s: _reserved(encoded(picture(), "BMP"), s),
        "after the end": lambda s: encoded(picture(), "BMP") + s,
    }


def _reserved(plain: bytes, found: bytes) -> bytes:
    """In the last fields of a BITMAPV5HEADER: rendering intent, profile and the word that must be 0."""
    (start, header) = struct.unpack("<II", plain[10:18])
    longer = plain[18 : 14 + header] + bytes(124 - header - LENGTH) + found
    head = (
        plain[:2] + struct.pack("<I", len(plain) + 124 - header) + plain[6:10] + struct.pack("<I", start + 124 - header)
    )
    return head + struct.pack("<I", 124) + longer + plain[start:]
