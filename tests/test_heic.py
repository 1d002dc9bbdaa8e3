"""HEIC pictures, where the settings take them: every picture a page, upright, pixels only, within the limits."""

import io

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageOps

from daemon import config, decoding
from daemon.errors import BadFile, WorkerDied

pillow_heif.register_heif_opener()  # writes them; the decoder, a process of its own, does not know this library
SECRET = b"Winterbottom-Peregrine"


@pytest.fixture(scope="module")
def taking():
    made = decoding.Decoder(config.Ingest(heic=True, max_pages=3, max_pixels=100_000), "require")
    yield made
    made.close()


def picture(size=(120, 80), mode="RGB"):
    """Dark above, light below, with one corner red."""
    image = Image.new(mode, size, "white")
    image.paste("black", (0, 0, size[0], size[1] // 2))
    image.paste("red", (0, 0, size[0] // 4, size[1] // 4))
    return image


def heic(*images, **options):
    buffer = io.BytesIO()
    images[0].save(buffer, "HEIF", save_all=True, append_images=images[1:], quality=95, **options)
    return buffer.getvalue()


def decoded(made, data):
    with made.decode(data, 30) as found:
        assert found.doubt == ""
        return [
            np.frombuffer(found.message.blob(k), np.uint8).reshape(*shape, 3) for k, shape in enumerate(found.shapes)
        ]


def near(page, image):
    assert page.shape == (image.height, image.width, 3)
    return np.abs(page.astype(int) - np.asarray(image.convert("RGB"), int)).mean() < 4


def test_a_picture_is_a_page_and_every_picture_of_a_file_is_one(taking):
    (page,) = decoded(taking, heic(picture()))
    assert near(page, picture())
    pages = decoded(taking, heic(picture(), picture((80, 40))))
    assert [page.shape[:2] for page in pages] == [(80, 120), (40, 80)]
    assert near(pages[1], picture((80, 40)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_is_set_upright(taking, orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    (page,) = decoded(taking, heic(picture(), exif=tags.tobytes()))
    turned = picture()
    turned.getexif()[0x0112] = orientation
    assert near(page, ImageOps.exif_transpose(turned))


def test_what_is_transparent_is_white(taking):
    image = picture(mode="RGBA")
    image.putalpha(Image.new("L", image.size, 0))
    (page,) = decoded(taking, heic(image))
    assert (page == 255).all()


def test_nothing_but_pixels_survives(taking):
    tags = Image.Exif()
    tags[0x010E] = SECRET.decode()
    data = heic(picture(), exif=tags.tobytes(), xmp=b"<x>" + SECRET + b"</x>")
    assert SECRET in data
    (page,) = decoded(taking, data)
    assert SECRET not in page.tobytes()
    assert near(page, picture())


@pytest.mark.parametrize(("images", "told"), [
    ([(400, 300)], "a page of 400 x 300 pixels; at most 100000"), ([(40, 30)] * 4, "has 4 pages; at most 3"),
])  # fmt: skip
def test_the_limits_hold(taking, images, told):
    with pytest.raises(BadFile, match=told):
        taking.decode(heic(*map(picture, images)), 30)


def test_a_broken_file_is_refused_and_the_decoder_lives(taking):
    data = heic(picture())
    for part in (data[: len(data) // 2], data[:40], data[:200] + bytes(len(data) - 200)):
        with pytest.raises((BadFile, WorkerDied)):
            taking.decode(part, 30)
    (page,) = decoded(taking, data)
    assert near(page, picture())


def test_it_is_refused_unless_asked_for():
    made = decoding.Decoder(config.Ingest(), "require")
    with pytest.raises(BadFile, match=r"is a HEIC picture.* save it as JPEG or PNG and drop that, or set ingest\.heic"):
        made.decode(heic(picture()), 30)
    made.close()


def test_an_avif_is_refused_all_the_same(taking):
    brands = b"avif" + bytes(4) + b"mif1"
    with pytest.raises(BadFile, match="is a AVIF picture.* save it as JPEG or PNG and drop that$"):
        taking.decode((8 + len(brands)).to_bytes(4, "big") + b"ftyp" + brands + bytes(64), 30)
