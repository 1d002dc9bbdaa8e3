"""A worker that turns one file into pages of RGB pixels; it is exec'd, holds no key and opens no file.

What survives is pixels: metadata, comments, profiles and thumbnails end here, and what hides under transparent pixels.
Every frame of a TIFF, WebP, GIF or APNG and every page of a PDF becomes a page, turned upright by its EXIF orientation,
transparency laid on white. An image's first frame is decoded twice (`daemon/second_opinion.py`); a file about which two
decoders disagree is doubtful, and nobody guesses which of them is right.
"""

from __future__ import annotations

import importlib
import io
import os
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
import pypdfium2
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError

from daemon import second_opinion, wire, workers
from daemon.errors import BadFile
from privacy import page, sandbox

LATE = (
    *("PIL.ImageCms", "PIL.ImageColor", "PIL.ImageFilter", "PIL.ImagePalette", "PIL.MpoImagePlugin", "PIL.TiffTags"),
    *("encodings.ascii", "encodings.latin_1", "encodings.utf_8", "encodings.cp1252"),
    *("encodings.utf_16", "encodings.utf_16_le", "encodings.utf_16_be"),
)
"""What Pillow imports when a file asks for it: too late behind the walls."""
FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF")
HEIF = "HEIF"
"""Pillow's name of what libheif reads."""
HEIF_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"))
"""ISO/IEC 23008-12, annex B; AVIF's are told apart by `avif` and `avis`."""
FAINT = 32
"""Alpha of 255 under which a pixel counts as transparent: ink fainter than this the readers may miss, not a person
who stretches the contrast."""


class Doubtful(Exception):
    """The decoders do not agree on what the file shows; the text says about what."""


def pages(
    data: bytes, max_pages: int, max_pixels: int, pdf_dpi: int, confirm: bool = True, heic: bool = False
) -> Iterator[page.Image]:
    """Every page of a file, as `(H, W, 3) uint8` RGB; `confirm` asks a second decoder about an image's first.

    With `heic`, HEIC pictures too, which no second decoder here can read.

    Raises:
        BadFile: not a supported format, broken, or over a limit. The text names numbers only.
        Doubtful: the second decoder sees something else.
    """
    if not data:
        raise BadFile("the file is empty")
    kind = _iso_picture(data)
    if kind == "HEIC" and heic:
        yield from _image_pages(data, max_pages, max_pixels, False, (HEIF,))
    elif kind:
        setting = ", or set ingest.heic" if kind == "HEIC" else ""
        raise BadFile(f"is a {kind} picture, which is not taken here: save it as JPEG or PNG and drop that{setting}")
    elif b"%PDF-" in data[:1024]:
        yield from _pdf_pages(data, max_pages, max_pixels, pdf_dpi)
    else:
        yield from _image_pages(data, max_pages, max_pixels, confirm)


def _iso_picture(data: bytes) -> str:
    """HEIC or AVIF by the brands of the file's first box (ISO/IEC 14496-12, section 4.3); "" for all others."""
    if data[4:8] != b"ftyp":
        return ""
    box = data[8 : min(int.from_bytes(data[:4], "big"), 256)]
    brands = {box[at : at + 4] for at in range(0, len(box), 4) if at != 4}  # the second word is a version
    if brands & {b"avif", b"avis"}:
        return "AVIF"
    return "HEIC" if brands & HEIF_BRANDS else ""


def _image_pages(
    data: bytes, max_pages: int, max_pixels: int, confirm: bool, formats: tuple[str, ...] = FORMATS
) -> Iterator[page.Image]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=formats) as image:
                count = getattr(image, "n_frames", 1)
                if count > max_pages:
                    raise BadFile(f"has {count} pages; at most {max_pages} are taken (ingest.max_pages)")
                for number, frame in enumerate(ImageSequence.Iterator(image)):
                    _check_size(frame.width, frame.height, max_pixels)
                    frame.load()
                    if confirm and number == 0:
                        _confirm(data, frame, image.format or "")
                    yield np.asarray(_flat(frame))
    except (BadFile, Doubtful, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        told = f"has a page of more than {2 * max_pixels} pixels; at most {max_pixels} are taken (ingest.max_pixels)"
        raise BadFile(told) from error
    except UnidentifiedImageError as error:
        raise BadFile(f"is not a {', '.join(FORMATS)} or PDF file, or its header is broken") from error
    except Exception as error:  # Pillow raises nearly every type there is on a broken file
        raise BadFile(f"cannot be decoded ({type(error).__name__})") from error


def _confirm(data: bytes, frame: Image.Image, kind: str) -> None:
    if doubt := second_opinion.disagreement(data, frame, kind):
        raise Doubtful(doubt)


def _flat(frame: Image.Image) -> Image.Image:
    """Any mode to RGB: 16-bit scaled to 8, transparency on white, EXIF orientation applied."""
    frame = ImageOps.exif_transpose(frame)
    if frame.mode in ("I", "F") or frame.mode.startswith("I;16"):
        grey = np.asarray(frame).astype(np.float64)
        top = 65535.0 if grey.max(initial=0) > 255 else 255.0
        return Image.fromarray((np.clip(grey / top, 0, 1) * 255).astype(np.uint8)).convert("RGB")
    if frame.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in frame.info:
        rgba = frame.convert("RGBA")
        rgba.putalpha(rgba.getchannel("A").point([0] * FAINT + list(range(FAINT, 256))))
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return frame.convert("RGB")


def _pdf_pages(data: bytes, max_pages: int, max_pixels: int, dpi: int) -> Iterator[page.Image]:
    try:
        with pypdfium2.PdfDocument(data) as document:
            if len(document) > max_pages:
                raise BadFile(f"has {len(document)} pages; at most {max_pages} are taken (ingest.max_pages)")
            if len(document) == 0:
                raise BadFile("is a PDF without pages")
            for index in range(len(document)):
                sheet = document[index]
                width, height = (round(points * dpi / 72) for points in sheet.get_size())
                _check_size(width, height, max_pixels)
                bitmap = sheet.render(scale=dpi / 72, rev_byteorder=True, may_draw_forms=False)
                yield np.ascontiguousarray(np.asarray(bitmap.to_pil().convert("RGB")))
                bitmap.close()
                sheet.close()
    except pypdfium2.PdfiumError as error:
        raise BadFile("is a PDF that cannot be opened: broken, or locked with a password") from error


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise BadFile(f"has a page of {width} x {height} pixels; at most {max_pixels} are taken (ingest.max_pixels)")
    if width < 1 or height < 1:
        raise BadFile(f"has a page of {width} x {height} pixels")


def _prepare(config: dict[str, Any]) -> Callable[[wire.Message], workers.Reply]:
    Image.MAX_IMAGE_PIXELS = config["max_pixels"]  # twice that ends an open; a GIF makes room for its frame in there
    Image.init()  # every plug-in is loaded now, not when a document asks for one
    for module in LATE:
        importlib.import_module(module)
    cv2.setNumThreads(1)
    if config["heic"]:
        _register_heif()
    limits = config["max_pages"], config["max_pixels"], config["pdf_dpi"]
    _rehearse(limits)

    def answer(message: wire.Message) -> workers.Reply:
        data = message.blob(0)
        shapes: list[tuple[int, int]] = []
        fds: list[bytes | int] = []
        try:
            for image in pages(data, *limits, config["confirm"], config["heic"]):
                shapes.append((image.shape[0], image.shape[1]))
                # In-memory files are not part of the address space that the rlimit bounds: they are bounded here.
                if (total := sum(h * w for h, w in shapes)) > config["max_total_pixels"]:
                    raise BadFile(f"has more than {total} pixels in all (ingest.max_total_pixels)")
                fds.append(wire.memfd(np.ascontiguousarray(image).data))
        except Doubtful as doubt:
            _close(fds)
            return {"doubt": str(doubt)}, ()
        except BaseException:
            _close(fds)
            raise
        return {"shapes": shapes}, fds

    return answer


def _register_heif() -> None:
    """Main pictures only, with as few threads as libheif can be told to start."""
    import pi_heif

    pi_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=0)


def _close(fds: list[bytes | int]) -> None:
    for fd in fds:
        if isinstance(fd, int):
            os.close(fd)


def _rehearse(limits: tuple[int, int, int]) -> None:
    """Decodes a dot in every format before the walls close: what a library loads late, it loads now."""
    for kind in FORMATS:
        for mode in ("1", "L", "P", "RGB", "RGBA"):
            encoded = io.BytesIO()
            try:
                Image.new(mode, (8, 8)).save(encoded, kind)
            except OSError:  # JPEG has no RGBA
                continue
            for _ in pages(encoded.getvalue(), *limits):
                pass
    with pypdfium2.PdfDocument.new() as document:
        document.new_page(8, 8)
        encoded = io.BytesIO()
        document.save(encoded)
    for _ in pages(encoded.getvalue(), *limits):
        pass


def main() -> None:
    workers.serve(_prepare, lambda config: sandbox.decoder(threads=config["heic"]))


if __name__ == "__main__":
    main()
