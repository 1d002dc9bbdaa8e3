"""Files that are small, endless or two-faced, in the real decoder: each costs itself, in bounded time."""

import io
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import bombs
from bombs import encoded
from daemon import config, decoding, second_opinion
from daemon.decoder import FORMATS
from daemon.errors import BadFile, WorkerDied

SECONDS = 1.0
"""Of a decode. The service's default is 30; what is endless is endless in one, too."""
PATIENCE = 120.0
"""Of a decode that comes to an end, its process's start included, on a machine that is slow and busy."""
ENDLESS = {"a JPEG of 3,000 scans", "a PDF of 12^12 rectangles", "a PDF of 8 GiB of blanks"}
HARMLESS = {"a TIFF that leads back to itself", "a PDF with a picture of 60,000 x 60,000", "a PNG of 200,000 chunks"}
"""Loops are seen, and what is not needed for the page is not unpacked; 200,000 chunks take a second or two."""


@pytest.fixture(scope="module")
def decoder():
    made = decoding.Decoder(config.Ingest(), "require")
    made.decode(encoded(Image.new("L", (8, 8)), "PNG"), PATIENCE).message.close()
    yield made
    made.close()


@pytest.mark.parametrize("name", bombs.BOMBS)
def test_a_bomb_costs_itself(decoder, name):
    data = bombs.BOMBS[name]()
    assert len(data) < 2**22
    begun = time.monotonic()
    if name in HARMLESS:
        with decoder.decode(data, PATIENCE) as decoded:
            assert decoded.shapes
            assert all(max(shape) <= 300 for shape in decoded.shapes)
    elif name in ENDLESS:
        with pytest.raises(WorkerDied, match="took more than|was killed"):
            decoder.decode(data, SECONDS)
        assert time.monotonic() - begun < SECONDS + PATIENCE
    else:
        with pytest.raises(BadFile, match=r"at most \d+ are taken|cannot be decoded"):
            decoder.decode(data, PATIENCE)
    with decoder.decode(encoded(Image.new("L", (8, 9)), "PNG"), PATIENCE) as decoded:
        assert decoded.shapes == [(9, 8)]


def noise(mode="RGB", seed=0):
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 256, (41, 53, 3), np.uint8)).convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray(rng.integers(0, 256, (41, 53), np.uint8)))
    return image


SAVED = [
    *((kind, mode, {}) for kind in FORMATS for mode in ("1", "L", "P", "RGB", "RGBA", "CMYK")),
    *(
        ("JPEG", mode, {"progressive": True, "quality": q, "subsampling": s})
        for mode in ("L", "RGB")
        for q in (20, 95)
        for s in (0, 2)
    ),
    *(("TIFF", "RGB", {"compression": c}) for c in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")),
    *(("TIFF", "1", {"compression": c}) for c in ("group3", "group4")),
    *(("WEBP", mode, {"lossless": True}) for mode in ("RGB", "RGBA")),
    ("PNG", "LA", {}),
    ("PNG", "P", {"transparency": 3}),
    ("PNG", "L", {"transparency": 3}),
    ("GIF", "P", {"transparency": 3}),
]


def doubts(data):
    with Image.open(io.BytesIO(data), formats=FORMATS) as frame:
        frame.load()
        return second_opinion.disagreement(data, frame, frame.format)


@pytest.mark.parametrize(("kind", "mode", "options"), SAVED)
def test_two_decoders_agree_about_an_honest_file(kind, mode, options):
    try:
        data = encoded(noise(mode), kind, **options)
    except (OSError, ValueError):
        pytest.skip(f"{kind} holds no {mode}")
    assert doubts(data) == ""


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_they_agree_about_turned_and_sixteen_bit_pictures(kind):
    exif = Image.Exif()
    exif[0x0112] = 6
    assert doubts(encoded(noise(), kind, exif=exif)) == ""
    if kind in ("PNG", "TIFF"):
        colours = np.random.default_rng(1).integers(0, 65536, (41, 53, 4), np.uint16)
        assert doubts(cv2.imencode(f".{kind.lower()}", colours[:, :, :3])[1].tobytes()) == ""
        assert kind == "TIFF" or doubts(cv2.imencode(".png", colours)[1].tobytes()) == ""
        wide = Image.fromarray(np.random.default_rng(1).integers(0, 65536, (41, 53), np.uint16))
        assert doubts(encoded(wide, kind)) == ""


def test_one_changed_digit_is_a_disagreement():
    """A few pixels of a page are enough, and so is a shift of three levels over all of it."""
    page = Image.new("L", (600, 800), 255)
    changed = page.copy()
    changed.paste(0, (300, 700, 303, 709))
    shifted = page.point(lambda level: level - 3)
    for kind in ("PNG", "TIFF", "BMP"):
        for other in (changed, shifted):
            assert second_opinion.disagreement(encoded(page, kind), other, kind) == decoding.DOUBTS[2]
    assert second_opinion.disagreement(encoded(page, "PNG"), page.crop((0, 0, 600, 799)), "PNG") == decoding.DOUBTS[1]


def test_a_comparison_that_forgives_too_much_is_seen(monkeypatch):
    """The mutant: with a tolerance of 255 levels every picture is every other."""
    page = Image.new("L", (60, 80), 255)
    monkeypatch.setattr(second_opinion, "TOLERANCE", 255)
    assert second_opinion.disagreement(encoded(page, "PNG"), page.point(lambda level: level - 3), "PNG") == ""


TWO_FACED = {
    "a broken checksum that one decoder overlooks": (bombs.two_faced_png, decoding.DOUBTS[0]),
    "an APNG whose still picture is not in its film": (
        lambda: encoded(
            noise(), "PNG", save_all=True, default_image=True, append_images=[noise(seed=1), noise(seed=2)]
        ),
        decoding.DOUBTS[2],
    ),
    "CIELAB, which OpenCV takes for something else": (lambda: encoded(noise("LAB"), "TIFF"), decoding.DOUBTS[2]),
    "a compression that only one knows": (lambda: encoded(noise(), "TIFF", compression="zstd"), decoding.DOUBTS[0]),
}


@pytest.mark.parametrize("name", TWO_FACED)
def test_a_two_faced_file_is_doubted_and_not_guessed(decoder, name):
    make, doubt = TWO_FACED[name]
    with decoder.decode(make(), PATIENCE) as decoded:
        assert (decoded.doubt, decoded.shapes, decoded.fds) == (doubt, [], [])


@pytest.mark.parametrize("looked", [True, False], ids=["looked at first", "mutant that shows it"])
def test_a_length_of_two_gibibytes_is_not_shown_to_opencv(decoder, monkeypatch, looked):
    """Found by bench/hostile.py: OpenCV cleared that much memory, for seconds, before it saw that nothing follows."""
    shown = []
    monkeypatch.setattr(second_opinion.cv2, "imdecode", lambda data, _: shown.append(len(data)))
    if not looked:
        monkeypatch.setattr(second_opinion, "_whole_png", lambda data: True)
    data = bombs.png_length()
    assert second_opinion.disagreement(data, Image.new("L", (8, 8)), "PNG") == decoding.DOUBTS[0]
    assert shown == ([] if looked else [len(data)])
    with decoder.decode(data, PATIENCE) as decoded:
        assert decoded.doubt == decoding.DOUBTS[0]


def test_who_wants_no_second_opinion_gets_none():
    made = decoding.Decoder(config.Ingest(confirm=False), "require")
    try:
        with made.decode(bombs.two_faced_png(), PATIENCE) as decoded:
            assert (decoded.doubt, decoded.shapes) == ("", [(64, 64)])
    finally:
        made.close()


def test_every_doubt_is_one_that_the_service_believes():
    """What the decoder can say and what the service accepts from it are kept in two files."""
    source = Path(second_opinion.__file__).read_text()
    assert all(f'return "{doubt}"' in source for doubt in decoding.DOUBTS)
    assert source.count('return "') == len(decoding.DOUBTS) + 1  # and the empty one
