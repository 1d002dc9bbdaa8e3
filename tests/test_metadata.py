"""Secrets beside the pixels: none reaches a page, whatever the format and place; all pages and frames are kept."""

from __future__ import annotations

import io
import json
import struct

import numpy as np
import pytest
from PIL import Image, ImageDraw, PngImagePlugin

from bombs import encoded
from canaries import picture, places, secret
from canaries_pdf import pdf
from daemon import config, decoding
from daemon.errors import BadFile
from daemon.home import create, open_home
from daemon.pipeline import ORIGINAL_BLOB, Pipeline
from daemon.state import Database
from daemon.taking import Claim
from seeking import forms, held, holds

PLACES = {place.name: place for place in places()}


@pytest.fixture(scope="module")
def decoder():
    made = decoding.Decoder(config.Ingest(), "require")
    yield made
    made.close()


def decoded(decoder, data):
    with decoder.decode(data, 30) as found:
        assert found.doubt == ""
        return [
            np.frombuffer(found.message.blob(k), np.uint8).reshape(*shape, 3) for k, shape in enumerate(found.shapes)
        ]


def test_there_are_enough_places_of_every_format():
    assert len(PLACES) >= 60
    assert {place.format for place in PLACES.values()} == {"JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP", "PDF"}


@pytest.mark.parametrize("name", PLACES)
def test_pages_do_not_depend_on_what_lies_beside_the_pixels(decoder, name):
    """Nothing of a secret can be in pages that are the same whatever the secret is."""
    place = PLACES[name]
    one, other = (place.build(secret(name, seed)) for seed in (1, 2))
    assert one != other
    assert holds(one, secret(name, 1)), "the search must see it where it is"
    assert not holds(one, secret(name, 2))
    mine, theirs = decoded(decoder, one), decoded(decoder, other)
    assert len(mine) == place.pages
    assert all((a == b).all() for a, b in zip(mine, theirs, strict=True))


def test_what_is_drawn_does_make_a_difference(decoder):
    """The comparison above is not blind: the same secret as page content changes the page."""
    one, other = (pdf([], b"", b"", b"BT /F1 12 Tf 10 8 Td (%s) Tj ET" % secret("drawn", seed), b"") for seed in (1, 2))
    assert (decoded(decoder, one)[0] != decoded(decoder, other)[0]).any()


@pytest.mark.parametrize("form", range(len(forms(b"x" * 28))))
def test_the_search_sees_every_form_in_a_page_as_it_is_stored(form):
    """A writer of pages that kept metadata would be seen, as it is and packed."""
    info = PngImagePlugin.PngInfo()
    info.add_text("a", forms(secret("kept", 1))[form].decode("latin-1"), zip=form % 2 == 1)
    assert held(encoded(picture(), "PNG", pnginfo=info), {"kept": secret("kept", 1)}) == ["kept"]
    assert held(encoded(picture(), "PNG"), {"kept": secret("kept", 1)}) == []


def test_nothing_that_the_pipeline_keeps_or_tells_holds_a_secret(tmp_path, weights_dir):
    """Two pages through real workers; the sealed original, which is the file itself, is left out."""
    home_dir, name = tmp_path / "state", "TIFF page 2's private tag"
    create(home_dir, weights_dir, lambda text: None)
    home, secrets = open_home(home_dir), {name: secret(name, 3)}
    database = Database(home.settings.database_path)
    pipeline = Pipeline(home, database, lambda: False)
    try:
        folder = home.settings.claimed_dir / f"{0:016x}"
        folder.mkdir()
        (folder / "scan.tif").write_bytes(PLACES[name].build(secrets[name]))
        assert pipeline.process(Claim(folder.name, folder, folder / "scan.tif", None)).state == "done"
    finally:
        pipeline.close()
        database.close()
    kept = {f"{v.purpose}/{n}": v.get(id, n) for v in home.vaults for id in v.ids() for n in v.names(id)}
    assert {"documents/page-1.png", "documents/page-2.png", "documents/text", "documents/audit"} <= set(kept)
    originals = [data for name, data in kept.items() if name.endswith(ORIGINAL_BLOB)]
    assert any(held(data, secrets) for data in originals), "the search must see it where it is"
    for name, data in kept.items():
        assert name.endswith(ORIGINAL_BLOB) or held(data, secrets) == [], name
    lying = [p for p in home_dir.rglob("*") if p.is_file() and not {"weights", "models"} & set(p.parts)]
    assert [p.name for p in lying if held(p.name.encode() + p.read_bytes(), secrets)] == []
    (receipt,) = (json.loads(path.read_text()) for path in home.settings.outbox_dir.glob("*.json"))
    assert receipt["pages"] == 2


def hidden(alpha, kind):
    """Black text whose every pixel has this alpha, on nothing."""
    image = Image.new("RGBA", (220, 64), (255, 255, 255, 0))
    ImageDraw.Draw(image).text((14, 16), "jane.roe@example.org", fill=(0, 0, 0, alpha))
    if kind == "GIF":  # black is the transparent colour
        return encoded(picture(mode="L").point(lambda level: 255 * (level > 127)), "GIF", transparency=0)
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    return encoded(image, kind, **options)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "GIF"])
def test_text_under_transparent_pixels_ends_with_the_transparency(decoder, kind):
    data = hidden(0, kind)
    with Image.open(io.BytesIO(data)) as image:
        seen = np.asarray(image if kind == "GIF" else image.convert("RGBA").convert("RGB"))
        assert len(np.unique(seen)) > 1, "the text must be there to be hidden"
    (page,) = decoded(decoder, data)
    assert (page == 255).all()


@pytest.mark.parametrize(("alpha", "stays"), [(1, False), (31, False), (32, True), (255, True)])
def test_ink_that_readers_may_miss_is_as_good_as_transparent(decoder, alpha, stays):
    (page,) = decoded(decoder, hidden(alpha, "PNG"))
    assert (page < 255).any() == stays


@pytest.mark.parametrize(("major", "others", "kind"), [
    (b"heic", [b"mif1", b"heic"], "HEIC"), (b"mif1", [b"mif1", b"heic"], "HEIC"),
    (b"hevc", [], "HEIC"), (b"avif", [b"mif1", b"miaf"], "AVIF"),
])  # fmt: skip
def test_a_heic_is_refused_by_its_name_with_what_to_do(decoder, major, others, kind):
    brands = major + bytes(4) + b"".join(others)
    with pytest.raises(BadFile, match=f"is a {kind} picture.* save it as JPEG or PNG"):
        decoder.decode(struct.pack(">I", 8 + len(brands)) + b"ftyp" + brands + b"\0" * 64, 30)


def test_another_iso_file_is_not_called_a_picture(decoder):
    with pytest.raises(BadFile, match="is not a PNG, JPEG"):
        decoder.decode(struct.pack(">I", 20) + b"ftypisom" + bytes(4) + b"mp42" + b"\0" * 64, 30)
