"""Files that are small on disk and large, endless or two-faced in a decoder; every one is made here."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageDraw


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(side: int, *before: bytes) -> bytes:
    """A square of one bit a pixel, all black."""
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * ((side // 8 + 1) * side))
    chunks = [chunk(b"IHDR", header), *before, chunk(b"IDAT", rows), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def png_text() -> bytes:
    """256 MiB of text, packed."""
    return png(8, chunk(b"zTXt", b"Comment\0\0" + _packed(2**28)))


def png_profile() -> bytes:
    return png(8, chunk(b"iCCP", b"icc\0\0" + _packed(2**28)))


def png_chunks() -> bytes:
    return png(8, chunk(b"tEXt", b"a\0b") * 200_000)


def apng(frames: int = 2**31 - 1) -> bytes:
    """Says that it has so many frames."""
    return png(8, chunk(b"acTL", struct.pack(">II", frames, 0)))


def jpeg_side() -> bytes:
    """65500 x 65500 pixels, says the header."""
    data = bytearray(encoded(Image.new("L", (16, 16)), "JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", 65500, 65500)
    return bytes(data)


def jpeg_scans(scans: int = 3000) -> bytes:
    """A progressive JPEG whose last refinement is there again and again: each is a walk over the whole picture."""
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (240, 240), np.uint8).repeat(8, 0).repeat(8, 1))
    data = encoded(noise, "JPEG", progressive=True, quality=20)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + data[-2:]


def tiff_side() -> bytes:
    return _patched_tiff(256, 100_000, 257, 100_000)


def tiff_loop() -> bytes:
    """Two directories, the second leads to itself."""
    data = bytearray(encoded(Image.new("L", (8, 8)), "TIFF", save_all=True, append_images=[Image.new("L", (8, 8))]))
    first = struct.unpack_from("<I", data, 4)[0]
    second_at = first + 2 + 12 * struct.unpack_from("<H", data, first)[0]
    second = struct.unpack_from("<I", data, second_at)[0]
    struct.pack_into("<I", data, second + 2 + 12 * struct.unpack_from("<H", data, second)[0], second)
    return bytes(data)


def tiff_pages(count: int = 300) -> bytes:
    page = Image.new("1", (8, 8))
    return encoded(page, "TIFF", save_all=True, append_images=[page] * (count - 1))


def webp_side() -> bytes:
    data = bytearray(encoded(Image.new("RGB", (16, 16)), "WEBP", lossless=True))
    at = data.index(b"VP8L") + 9  # behind the signature: 14 bits of width - 1, 14 bits of height - 1
    struct.pack_into("<I", data, at, struct.unpack_from("<I", data, at)[0] & ~(2**28 - 1) | 16382 << 14 | 16382)
    return bytes(data)


def gif_side() -> bytes:
    """65535 x 65535 pixels, one code of data."""
    screen = struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0) + bytes(6)
    frame = b"," + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0) + b"\x02\x02\x4c\x01\x00"
    return b"GIF89a" + screen + frame + b";"


def gif_frames(count: int = 5000) -> bytes:
    screen = struct.pack("<HHBBB", 8, 8, 0x80, 0, 0) + bytes(6)
    frame = b"," + struct.pack("<HHHHB", 0, 0, 8, 8, 0) + b"\x02\x02\x4c\x01\x00"
    return b"GIF89a" + screen + frame * count + b";"


def gif_outgrown() -> bytes:
    """A frame larger than its screen, to be cleared later: room for it is made while the file is opened."""
    screen = struct.pack("<HHBBB", 8, 8, 0x80, 0, 0) + bytes(6) + b"!\xf9\x04\x09\x00\x00\x00\x00"
    frame = b"," + struct.pack("<HHHHB", 60_000, 60_000, 50_000, 60_000, 0) + b"\x02\x02\x4c\x01\x00"
    return b"GIF89a" + screen + frame + b";"


def bmp_side() -> bytes:
    data = bytearray(encoded(Image.new("L", (8, 8)), "BMP"))
    struct.pack_into("<ii", data, 18, 60_000, 60_000)
    return bytes(data)


def pdf(*objects: bytes, pages: bytes = b"<</Type/Pages/Kids[3 0 R]/Count 1>>") -> bytes:
    """A PDF of the given objects, from number 3 on."""
    out = bytearray(b"%PDF-1.7\n")
    places = []
    for number, body in enumerate((b"<</Type/Catalog/Pages 2 0 R>>", pages, *objects), 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (len(places) + 1, len(out))
    return bytes(out) + b"xref\n0 %d\n0000000000 65535 f \n" % (len(places) + 1) + table + end


def stream(body: bytes, entries: bytes = b"") -> bytes:
    return b"<</Length %d%s>>stream\n%s\nendstream" % (len(body), entries, body)


def pdf_side() -> bytes:
    return pdf(b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200000 200000]>>")


def pdf_pages() -> bytes:
    """A tree whose leaves are one page, a million times over."""
    page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 8 8]>>"
    return pdf(page, pages=b"<</Type/Pages/Count 1000000/Kids[" + b"3 0 R " * 100_000 + b"]>>")


def pdf_laughs(depth: int = 12) -> bytes:
    """Each form draws the next one twelve times: 12^12 rectangles."""
    page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]/Contents 4 0 R/Resources<</XObject<</F 5 0 R>>>>>>"
    objects = [page, stream(b"/F Do")]
    for level in range(depth):
        last = level == depth - 1
        form = b"/Type/XObject/Subtype/Form/BBox[0 0 99 99]"
        form += b"" if last else b"/Resources<</XObject<</F %d 0 R>>>>" % (6 + level)
        objects.append(stream(b"0 0 9 9 re f" if last else b"/F Do " * 12, form))
    return pdf(*objects)


def pdf_flate() -> bytes:
    """Contents packed three times: 8 GiB of blanks in some kilobytes."""
    page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents 4 0 R>>"
    body = zlib.compress(zlib.compress(_packed(2**33, b" "), 9), 9)
    return pdf(page, stream(body, b"/Filter[/FlateDecode/FlateDecode/FlateDecode]"))


def pdf_image() -> bytes:
    """A picture of 60000 x 60000 pixels on a page of one inch."""
    page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 72 72]/Contents 4 0 R/Resources<</XObject<</I 5 0 R>>>>>>"
    picture = b"/Type/XObject/Subtype/Image/Width 60000/Height 60000/BitsPerComponent 8/ColorSpace/DeviceRGB"
    packed = zlib.compress(_packed(60_000 * 60_000 * 3), 9)
    return pdf(page, stream(b"72 0 0 72 0 0 cm /I Do"), stream(packed, picture + b"/Filter[/FlateDecode/FlateDecode]"))


def png_length() -> bytes:
    """A picture whose data say that they are 2 GiB long: who makes room for that first works for seconds."""
    data = bytearray(png(8))
    at = data.index(b"IDAT") - 4
    data[at : at + 4] = b"\x7f\xff\xff\xff"
    return bytes(data)


BOMBS = {
    "a PNG of 20,000 x 20,000": lambda: png(20_000),
    "a PNG with 256 MiB of text": png_text,
    "a PNG with a profile of 256 MiB": png_profile,
    "a PNG of 200,000 chunks": png_chunks,
    "an APNG of two thousand million frames": apng,
    "a JPEG of 65,500 x 65,500": jpeg_side,
    "a JPEG of 3,000 scans": jpeg_scans,
    "a TIFF of 100,000 x 100,000": tiff_side,
    "a TIFF that leads back to itself": tiff_loop,
    "a TIFF of 300 pages": tiff_pages,
    "a WebP of 16,383 x 16,383": webp_side,
    "a GIF of 65,535 x 65,535": gif_side,
    "a GIF that outgrows its screen": gif_outgrown,
    "a GIF of 5,000 frames": gif_frames,
    "a BMP of 60,000 x 60,000": bmp_side,
    "a PDF page of 200,000 points": pdf_side,
    "a PDF of a million pages": pdf_pages,
    "a PDF of 12^12 rectangles": pdf_laughs,
    "a PDF of 8 GiB of blanks": pdf_flate,
    "a PDF with a picture of 60,000 x 60,000": pdf_image,
}


def two_faced_png() -> bytes:
    """The second IDAT's checksum is wrong: one decoder stops there, another reads on."""
    image = Image.new("L", (64, 64), 255)
    ImageDraw.Draw(image).rectangle((8, 40, 56, 56), fill=0)
    plain = encoded(image, "PNG")
    at = plain.index(b"IDAT")
    length = struct.unpack(">I", plain[at - 4 : at])[0]
    body = plain[at + 4 : at + 4 + length]
    broken = bytearray(chunk(b"IDAT", body[length // 2 :]))
    broken[-1] ^= 1
    return plain[: at - 4] + chunk(b"IDAT", body[: length // 2]) + bytes(broken) + chunk(b"IEND", b"")


def _packed(size: int, of: bytes = b"\0") -> bytes:
    """So many MiB-fuls of one byte as a zlib stream: one deflated block, repeated, and its Adler-32 by formula."""
    count = -(-size // 2**20)
    packer = zlib.compressobj(9)
    first = packer.compress(of * 2**20) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(of * 2**20) + packer.flush(zlib.Z_FULL_FLUSH)
    total, value = count * 2**20, of[0]
    low, high = 1 + total * value, total + value * total * (total + 1) // 2
    end = b"\x03\x00" + struct.pack(">HH", high % 65521, low % 65521)  # an empty last block, then the checksum
    return first + again * (count - 1) + end


def _patched_tiff(*pairs: int) -> bytes:
    """A small TIFF with tags (given as tag, value) set to other 32-bit values."""
    data = bytearray(encoded(Image.new("L", (8, 8)), "TIFF", compression="tiff_deflate"))
    first = struct.unpack_from("<I", data, 4)[0]
    wanted = dict(zip(pairs[::2], pairs[1::2], strict=True))
    for entry in range(struct.unpack_from("<H", data, first)[0]):
        place = first + 2 + 12 * entry
        if (tag := struct.unpack_from("<H", data, place)[0]) in wanted:
            struct.pack_into("<HHII", data, place, tag, 4, 1, wanted[tag])
    return bytes(data)
