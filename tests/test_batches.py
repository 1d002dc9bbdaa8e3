"""A line becomes the tensor that RapidOCR would show its model, whatever else is in the batch."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rapidocr.ch_ppocr_rec.main import TextRecognizer

from learners.batches import by_width, to_tensor
from learners.lines import MAX_WIDTH, TrainDocument, TrainLine, document, pack, to_height, unpack


def crop(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(
    ("height", "width"), [(48, 320), (20, 31), (33, 220), (33, 221), (31, 207), (17, 300), (50, 2000), (7, 1)]
)
def test_tensors_are_rapidocrs(height: int, width: int) -> None:
    image = crop(height, width)
    theirs = TextRecognizer.resize_norm_img(
        SimpleNamespace(rec_image_shape=[3, 48, 320]),  # type: ignore[arg-type]
        np.ascontiguousarray(image[:, :, ::-1]),
        max(320 / 48, width / height),
    )
    np.testing.assert_array_equal(to_tensor(to_height(image)).numpy(), theirs)


def test_a_line_is_the_same_in_any_company() -> None:
    images = [to_height(crop(24, width, width)) for width in (40, 400, 90, 250, 400)]
    seen = {}
    for indices, batch in by_width(images, size=2):
        assert len(batch) <= 2
        for index, row in zip(indices, batch, strict=True):
            seen[index] = row
    assert sorted(seen) == list(range(5))
    assert all(torch.equal(seen[k], to_tensor(image)) for k, image in enumerate(images))


def test_a_document_is_usable_lines_spread_over_it() -> None:
    useless = [(crop(20, 60), ""), (crop(0, 10), "b"), (crop(10, MAX_WIDTH), "c")]
    made = document(7, [*useless, *((crop(20, 60), str(k)) for k in range(40))])
    assert made is not None
    assert [line.text for line in made.lines] == [str(k * 40 // 16) for k in range(16)]
    few = document(7, [*useless, *((crop(20, 60), str(k)) for k in range(5))])
    assert few is not None
    assert [line.text for line in few.lines] == list("01234")
    assert document(8, useless) is None


def test_a_document_survives_packing_and_prints_nothing() -> None:
    made = document(3, [(crop(20, 60), "secret 你好"), (crop(30, 300), "b")])
    assert made is not None
    back = unpack(3, pack(made))
    assert [line.text for line in back.lines] == ["secret 你好", "b"]
    assert all(np.array_equal(a.image, b.image) for a, b in zip(made.lines, back.lines, strict=True))
    assert "secret" not in repr(made)


def test_what_is_no_line_is_refused() -> None:
    with pytest.raises(ValueError, match="48"):
        TrainLine(crop(47, 60), "a")
    with pytest.raises(ValueError, match="width"):
        TrainLine(crop(48, 60), "")
    with pytest.raises(ValueError, match="lines"):
        TrainDocument(0, ())
    with pytest.raises(ValueError, match="pixels"):
        to_height(crop(0, 4))
