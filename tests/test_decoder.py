"""The decoder, in a real worker process: every format and page, pixels only, and hostile files that hurt nobody."""

import io
import os
import struct
import zlib

import numpy as np
import pypdfium2
import pytest
from PIL import Image, PngImagePlugin

from daemon import workers
from daemon.errors import BadFile, WorkerDied

CONFIG = {
    "max_pages": 5, "max_pixels": 4_000_000, "max_total_pixels": 6_000_000, "pdf_dpi": 72,
    "confirm": True, "heic": False,
}  # fmt: skip
LIMITS = workers.Limits(memory=2 * 2**30, open_files=64)


@pytest.fixture(scope="module")
def decoder():
    worker = workers.Worker("daemon.decoder", CONFIG, LIMITS)
    yield worker
    worker.stop()


def decode(worker, data, seconds=120):
    with worker.call({}, [data], seconds) as reply:
        shapes = reply.header["shapes"]
        return [np.frombuffer(reply.blob(i), np.uint8).reshape(h, w, 3) for i, (h, w) in enumerate(shapes)]


def picture(colour=(200, 30, 40), size=(40, 24)):
    return Image.new("RGB", size, colour)


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "BMP"])
def test_every_format_becomes_rgb(decoder, kind):
    (page,) = decode(decoder, encoded(picture(), kind))
    assert page.shape == (24, 40, 3)
    assert np.abs(page.astype(int) - (200, 30, 40)).max() <= 6


@pytest.mark.parametrize("kind", ["TIFF", "WEBP", "PNG"])
def test_every_frame_becomes_a_page(decoder, kind):
    frames = [picture((c, 0, 0)) for c in (10, 120, 250)]
    extra = {} if kind == "TIFF" else {"duration": 100}
    if kind == "WEBP":
        extra["lossless"] = True
    pages = decode(decoder, encoded(frames[0], kind, save_all=True, append_images=frames[1:], **extra))
    assert [int(p[0, 0, 0]) for p in pages] == [10, 120, 250]


def test_every_pdf_page_becomes_a_page(decoder):
    document = pypdfium2.PdfDocument.new()
    for size in ((72, 36), (144, 72)):
        document.new_page(*size)
    buffer = io.BytesIO()
    document.save(buffer)
    document.close()
    assert [p.shape for p in decode(decoder, buffer.getvalue())] == [(36, 72, 3), (72, 144, 3)]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "YCbCr"])
def test_every_mode_becomes_rgb(decoder, mode):
    source = (
        picture((255, 255, 255)).convert("L").convert("I").convert("I;16")
        if mode == "I;16"
        else picture((255, 255, 255)).convert(mode)
    )
    if mode == "I;16":
        source = Image.fromarray(np.full((24, 40), 65535, np.uint16))
    kind = "TIFF" if mode in ("CMYK", "YCbCr", "I;16") else "PNG"
    (page,) = decode(decoder, encoded(source, kind))
    assert page.shape == (24, 40, 3)
    assert page.min() >= 250


def test_transparency_is_laid_on_white(decoder):
    (page,) = decode(decoder, encoded(Image.new("RGBA", (4, 4), (0, 0, 0, 0)), "PNG"))
    assert (page == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(decoder, orientation):
    source = Image.new("RGB", (40, 24))
    source.paste((255, 255, 255), (0, 0, 8, 8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    (page,) = decode(decoder, encoded(source, "JPEG", exif=exif, quality=95))
    assert page.shape == ((24, 40, 3) if orientation <= 4 else (40, 24, 3))
    corner = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}[
        orientation
    ]
    assert page[corner][0] > 200


def test_no_metadata_survives(decoder):
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "canary-text")
    exif = Image.Exif()
    exif[0x010E] = "canary-exif"
    data = encoded(picture(), "PNG", pnginfo=info, exif=exif)
    assert b"canary" in data
    with decoder.call({}, [data], 120) as reply:
        assert b"canary" not in reply.blob(0)
        assert list(reply.header) == ["shapes"]


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_bomb(side):
    rows = zlib.compress(b"\0" * ((side // 8 + 1) * side), 9)
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"hello", "is not a"),
        (b"%PDF-1.7 nothing else", "PDF that cannot be opened"),
        (png_bomb(20_000), "more than 8000000 pixels; at most 4000000"),
        (png_bomb(2_500), "2500 x 2500 pixels; at most 4000000"),
        (encoded(picture(), "PNG")[:60], "cannot be decoded"),
        (b"GIF89a" + b"\0" * 50, "is not a"),
        (bytes(range(7, 256)) * 20, "is not a"),
    ],
)
def test_a_bad_file_is_blamed_and_the_worker_lives(decoder, data, reason):
    decode(decoder, encoded(picture(), "PNG"))
    pid = decoder.pid
    with pytest.raises(BadFile, match=reason):
        decode(decoder, data)
    assert decoder.pid == pid


def test_too_many_pages_are_refused(decoder):
    many = encoded(picture(), "TIFF", save_all=True, append_images=[picture()] * 5)
    with pytest.raises(BadFile, match="has 6 pages; at most 5"):
        decode(decoder, many)


def test_many_large_pages_are_refused_before_they_fill_the_memory(decoder):
    page = Image.new("1", (1900, 1900))
    with pytest.raises(BadFile, match="pixels in all"):
        decode(decoder, encoded(page, "TIFF", save_all=True, append_images=[page] * 3, compression="group4"))


def test_a_worker_without_memory_left_blames_the_file():
    worker = workers.Worker(
        "daemon.decoder",
        {**CONFIG, "max_pixels": 400_000_000, "max_total_pixels": 400_000_000},
        workers.Limits(memory=700 * 2**20),
    )
    try:
        with pytest.raises((BadFile, WorkerDied)):
            decode(worker, png_bomb(18_000))
        decode(worker, encoded(picture(), "PNG"))
    finally:
        worker.stop()


def test_a_worker_that_takes_too_long_is_killed_and_replaced():
    worker = workers.Worker("daemon.decoder", CONFIG, LIMITS)
    try:
        decode(worker, encoded(picture(), "PNG"))
        pid = worker.pid
        with pytest.raises(WorkerDied, match="took more than"):
            decode(worker, encoded(picture(size=(2000, 2000)), "PNG"), seconds=0.0001)
        decode(worker, encoded(picture(), "PNG"))
        assert worker.pid != pid
    finally:
        worker.stop()


def test_a_killed_worker_is_named_and_replaced(decoder):
    decode(decoder, encoded(picture(), "PNG"))
    os.kill(decoder.pid, 9)
    with pytest.raises(WorkerDied, match="SIGKILL"):
        decode(decoder, encoded(picture(), "PNG"))
    decode(decoder, encoded(picture(), "PNG"))


def test_a_worker_holds_no_descriptor_of_the_service(decoder, tmp_path):
    """The key file is open in the service while the worker is exec'd; the worker must not have it."""
    with (tmp_path / "master.key").open("wb") as secret:
        os.set_inheritable(secret.fileno(), False)
        decoder.stop()
        decode(decoder, encoded(picture(), "PNG"))
        targets = {os.readlink(f"/proc/{decoder.pid}/fd/{n}") for n in os.listdir(f"/proc/{decoder.pid}/fd")}
    assert all("master.key" not in t for t in targets)
    assert sum(t.startswith("socket:") for t in targets) == 1


def test_a_workers_environment_is_bare(decoder, monkeypatch):
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/ocrd")
    decoder.stop()
    decode(decoder, encoded(picture(), "PNG"))
    with open(f"/proc/{decoder.pid}/environ", "rb") as file:
        assert b"CREDENTIALS" not in file.read()
