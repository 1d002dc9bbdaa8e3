"""What a detector learns from a page: maps that can be worked out by hand, and a loss of one page alone."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pyclipper
import pytest
import torch
from rapidocr.ch_ppocr_det.utils import DBPostProcess
from torch import Tensor
from torch.nn import functional

from learners import detection
from learners.detection import (
    SHRINK_RATIO,
    Targets,
    balanced_cross_entropy,
    page_loss,
    signed_distance,
    targets,
)
from learners.detection_score import score_page
from learners.synthesis import generate
from privacy.page import Quad


def rectangle(x0: float, y0: float, x1: float, y1: float) -> Quad:
    return (x0, y0), (x1, y0), (x1, y1), (x0, y1)


TURNED: Quad = ((20.0, 10.0), (110.0, 30.0), (105.0, 52.5), (15.0, 32.5))


def test_signed_distance_of_a_rectangle() -> None:
    at = np.array([[15.0, 5.0], [5.0, 2.0], [10.0, 10.0], [23.0, 14.0], [15.0, 0.0]], np.float32)
    found = signed_distance(rectangle(0, 0, 20, 10), at[:, 0], at[:, 1])
    np.testing.assert_allclose(found, [5, 2, 0, -5, 0], atol=1e-5)
    mirrored = rectangle(0, 0, 20, 10)[::-1]
    np.testing.assert_allclose(signed_distance(mirrored, at[:, 0], at[:, 1]), found, atol=1e-5)


def test_maps_of_a_rectangle_worked_out_by_hand() -> None:
    """60 x 26 pixels: D = 60 * 26 * (1 - 0.55^2) / 172 = 6.33, so 6 whole pixels are cut from each side (centres
    lie at .5: 5.5 is too close to the edge, 6.5 is not)."""
    found = targets([rectangle(10, 20, 70, 46)], 64, 96)
    shift = 60 * 26 * (1 - 0.55**2) / 172
    assert 5.5 < shift < 6.5
    expected = np.zeros((64, 96))
    expected[26:40, 16:64] = 1
    np.testing.assert_array_equal(found.core.numpy(), expected)
    assert found.counted.min() == 1
    row = found.threshold[33].float().numpy()  # through the middle
    for x, distance in ((10, 0.5), (12, 2.5), (9, 0.5), (6, 3.5)):
        assert row[x] == pytest.approx(0.3 + 0.4 * (1 - distance / shift), abs=1e-3)
    near = found.near[33].numpy()
    assert near[4:16].all()
    assert not near[[3, 16]].any()
    assert found.threshold[0, 0] == pytest.approx(0.3, abs=1e-3)


def test_the_core_is_what_vatti_clipping_leaves() -> None:
    """Against pyclipper, pixel by pixel: they may differ on the core's outermost ring only, where it rounds."""
    corners = np.array(TURNED)
    sides = np.linalg.norm(np.roll(corners, -1, axis=0) - corners, axis=1)
    area = abs(detection._area(corners.astype(np.float32)))
    offset = pyclipper.PyclipperOffset()
    scaled = [(round(256 * x), round(256 * y)) for x, y in TURNED]
    offset.AddPath(scaled, pyclipper.JT_MITER, pyclipper.ET_CLOSEDPOLYGON)
    (clipped,) = offset.Execute(-256 * area * (1 - SHRINK_RATIO**2) / sides.sum())
    ys, xs = np.mgrid[:64, :128] + 0.5
    inside = np.array(
        [
            pyclipper.PointInPolygon((round(256 * x), round(256 * y)), clipped)
            for x, y in zip(xs.flat, ys.flat, strict=True)
        ]
    ).reshape(xs.shape)
    core = targets([TURNED], 64, 128).core.numpy()
    assert core.sum() > 300
    assert (core != (inside != 0)).sum() <= 2


def read_back(core: Tensor, quads: list[Quad]) -> float:
    """Hmean at IoU 0.7 of the lines that RapidOCR finds in a perfect map, and the true ones."""
    read = DBPostProcess(0.3, 0.5, 1000, 1.6, "fast", True)
    boxes, _ = read(core.float().numpy()[None, None], core.shape)
    found: list[Quad] = [tuple((float(x), float(y)) for x, y in box) for box in boxes]  # type: ignore[misc]
    return score_page(quads, found, least=0.7).hmean


def test_rapidocr_reads_the_lines_back_out_of_a_perfect_map() -> None:
    page = generate("letter", 3)
    quads, (height, width) = [line.quad for line in page.lines], page.image.shape[:2]
    assert len(quads) > 10
    assert read_back(targets(quads, height, width).core, quads) > 0.9
    for wrong in (
        0.4,
        0.99,
    ):  # the paper's ratio, which RapidOCR does not undo, and maps that are as good as not shrunk
        assert read_back(targets(quads, height, width, wrong).core, quads) < 0.5


def test_low_lines_keep_a_core_that_rapidocr_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    quads = [rectangle(10, 20 * k + 5.3, 90, 20 * k + 12.8) for k in range(6)]  # 7.5 pixels high
    assert read_back(targets(quads, 128, 128).core, quads) == 1
    monkeypatch.setattr(detection, "LEAST_CORE", 1.0)
    assert read_back(targets(quads, 128, 128).core, quads) < 1


def test_low_lines_and_lines_outside_count_for_nothing() -> None:
    low = targets([rectangle(10, 10, 60, 14)], 32, 96)
    assert low.core.max() == low.near.max() == 0
    assert (low.counted[10:14, 10:60] == 0).all()
    assert low.counted.float().sum() == 32 * 96 - 4 * 50
    outside = targets([rectangle(200, 200, 260, 226)], 32, 96)
    assert outside.core.sum() == 0
    assert outside.counted.min() == 1
    logits = torch.randn(32, 96, requires_grad=True)
    loss = page_loss(logits, torch.zeros(32, 96), low)
    assert loss.item() == 0
    (slope,) = torch.autograd.grad(loss, logits)
    assert slope.abs().max() == 0


def test_the_loss_worked_out_by_hand() -> None:
    """Two core pixels, ten others: the two, and the six hardest of the ten."""
    core = torch.tensor([[1.0, 1.0] + [0.0] * 10])
    logits = torch.tensor([[0.0, 2.0] + [-9.0] * 4 + [1.0] * 6])
    by_pixel = [math.log(2), math.log1p(math.exp(-2.0))] + [math.log1p(math.e)] * 6
    assert balanced_cross_entropy(logits, core, torch.ones_like(core)).item() == pytest.approx(np.mean(by_pixel))

    near = torch.zeros_like(core)
    near[0, 4:6] = 1
    truth = Targets(core, torch.ones_like(core), torch.full_like(core, 0.7), near)
    p, t = logits.double().sigmoid(), torch.zeros_like(logits, dtype=torch.float64).sigmoid()
    binary = (50 * (p - t)).sigmoid()
    dice = 1 - 2 * binary[0, :2].sum() / (binary.sum() + 2)
    expected = 5 * np.mean(by_pixel) + 10 * 0.2 + dice.item()
    assert page_loss(logits, torch.zeros_like(logits), truth).item() == pytest.approx(expected, rel=1e-5)


Loss = Callable[[Tensor, Tensor], Tensor]


def own(logits: Tensor, core: Tensor) -> Tensor:
    """Each page's loss, the pages on the first axis."""
    ones = torch.ones_like(core[0])
    return torch.stack([balanced_cross_entropy(each, truth, ones) for each, truth in zip(logits, core, strict=True)])


def across(logits: Tensor, core: Tensor) -> Tensor:
    """The planted bug: the hardest pixels of the batch, as a batched loss takes them."""
    losses = functional.binary_cross_entropy_with_logits(logits, core, reduction="none")
    taken = 3 * int(core.sum())
    least = (losses * (1 - core)).flatten().topk(taken).values.min()
    return ((losses * (core + (1 - core) * (losses >= least))).sum((1, 2))) / (4 * core.sum((1, 2)))


def leaks(loss: Loss) -> bool:
    """Does one page's loss change with the other page?"""
    generator = torch.Generator().manual_seed(0)
    core = torch.zeros(2, 12, 12)
    core[:, 4:6, 4:6] = 1
    quiet, loud = torch.randn(3, 12, 12, generator=generator)[:2], 5 + torch.randn(12, 12, generator=generator)
    other = torch.stack([quiet[0], loud])
    return not torch.equal(loss(quiet, core)[0], loss(other, core)[0])


def test_hard_pixels_are_those_of_one_page() -> None:
    assert not leaks(own)
    assert leaks(across), "the test must see a mining across pages"
