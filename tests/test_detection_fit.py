"""The detector's private round: one gradient a page, clipped and noised; what comes back are plain weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from learners import detection_fit
from learners.detection import page_loss
from learners.detection_adapters import ADAPTERS, DetectorAdapter
from learners.detection_fit import (
    CachedPage,
    DetectorRecipe,
    SeenPage,
    TrainPage,
    cache,
    learn,
    look,
    noise_over_signal,
    threshold_branch,
)
from learners.synthesis import thermal_label
from models import detector
from models.detector import Detector, to_tensor
from models.errors import WeightsMismatch
from models.looks import first_scale
from privacy.errors import BudgetExhausted
from privacy.noise import Debit, NoiseSource

QUIET = 1e-6
RECIPE = DetectorRecipe(max_grad_norm=0.5, learning_rate=5e-3, steps=3, rehearsal=0.0)


@pytest.fixture(scope="module")
def model(weights_dir: Path) -> Detector:
    return detector.load(weights_dir / "det.onnx")


@pytest.fixture(scope="module")
def pages() -> list[TrainPage]:
    made = [thermal_label(seed) for seed in range(6)]
    return [TrainPage(each.image, tuple(line.quad for line in each.lines)) for each in made]


@pytest.fixture(scope="module")
def seen(model: Detector, pages: list[TrainPage]) -> list[SeenPage]:
    return [look(model, page, 1.0) for page in pages]


@pytest.fixture(scope="module", params=ADAPTERS)
def adapter(request: pytest.FixtureRequest, model: Detector, seen: list[SeenPage]) -> DetectorAdapter:
    return DetectorAdapter(model, threshold_branch(model, seen, steps=2), request.param, [page.taps for page in seen])


def merged(model: Detector, adapter: DetectorAdapter, theta: Tensor) -> Detector:
    candidate = Detector()
    candidate.load_weights(model.weights() | {k: v.detach().numpy() for k, v in adapter.merge(theta).items()})
    return candidate.eval()


def test_the_path_of_training_is_the_path_in_service(
    model: Detector, adapter: DetectorAdapter, pages: list[TrainPage], seen: list[SeenPage]
) -> None:
    """Cached inputs and `theta` give the map of the merged detector, at zero and away from it."""
    inputs = cache(adapter, seen[:1])[0].inputs
    shown = to_tensor(detection_fit.view(pages[0].image, 1.0)[0])[None]
    for theta in (torch.zeros(adapter.size), 0.02 * torch.randn(adapter.size)):
        with torch.inference_mode():
            expected = merged(model, adapter, theta)(shown)
            found = adapter.logits(theta, inputs)[0].sigmoid()
        np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-4)
    assert all((adapter.merge(torch.zeros(adapter.size))[k] == v).all() for k, v in parts(model, adapter).items())


def parts(model: Detector, adapter: DetectorAdapter) -> dict[str, Tensor]:
    names = adapter.merge(torch.zeros(adapter.size)).keys()
    return {name: value for name, value in model.named_parameters() if name in names}


def test_sizes_are_the_documented_ones(model: Detector, seen: list[SeenPage]) -> None:
    branch = threshold_branch(model, seen, steps=1)
    sizes = [DetectorAdapter(model, branch, name, [seen[0].taps]).size for name in ADAPTERS]
    assert sizes == [98, 2473, 23185, 578]
    with pytest.raises(ValueError, match="public pages"):
        DetectorAdapter(model, branch, "affine", [])
    with pytest.raises(ValueError, match="Expected an adapter"):
        DetectorAdapter(model, branch, "all", [seen[0].taps])


@pytest.mark.parametrize("size", [0.0, 0.02])
def test_a_gradient_is_that_of_a_float64_reference(
    model: Detector, adapter: DetectorAdapter, seen: list[SeenPage], size: float
) -> None:
    """The merged detector in float64, from the backbone's taps through neck, head and threshold branch."""
    theta = size * torch.randn(adapter.size, generator=torch.Generator().manual_seed(0))
    expected = reference(model, adapter, theta, seen[0])
    page = cache(adapter, seen[:1])[0]

    def off(at: Tensor) -> float:
        return float((detection_fit.gradient(adapter, at, page) - expected).norm() / expected.norm())

    assert off(theta) < 1e-5
    assert off(theta + 0.01) > 1e-3  # as if it had been taken elsewhere


def reference(model: Detector, adapter: DetectorAdapter, theta: Tensor, page: SeenPage) -> Tensor:
    double, branch = copy.deepcopy(model).double(), copy.deepcopy(adapter._threshold).double()
    at = theta.double().requires_grad_()
    moved = DetectorAdapter(double, branch, adapter.name, [tuple(tap.double() for tap in page.taps)])
    moved._units = adapter._units  # of the pages that the adapter was made from
    weights = dict(double.named_parameters()) | moved.merge(at)

    def under(part: str) -> dict[str, Tensor]:
        return {key.removeprefix(part): value for key, value in weights.items() if key.startswith(part)}

    features = functional_call(double.neck, under("neck."), (tuple(tap.double() for tap in page.taps),))
    probability = functional_call(double.head, under("head."), (features,))
    return torch.autograd.grad(page_loss(probability[0, 0], branch(features)[0, 0], page.targets), at)[0]


def rounds(
    adapter: DetectorAdapter, pages: dict[int, CachedPage], recipe: DetectorRecipe = RECIPE, **more: float
) -> Tensor:
    multiplier = more.get("noise_multiplier", QUIET)
    source = NoiseSource(Debit.for_tests(multiplier, recipe.steps), seed=bytes(32))
    return learn(
        adapter, recipe, pages, [], capacity=int(more.get("capacity", 6)), noise_multiplier=multiplier, noise=source
    )


@pytest.fixture(scope="module")
def affine(model: Detector, seen: list[SeenPage]) -> tuple[DetectorAdapter, list[CachedPage]]:
    branch = threshold_branch(model, seen, steps=2)
    adapter = DetectorAdapter(model, branch, "affine", [page.taps for page in seen])
    return adapter, cache(adapter, seen)


Affine = tuple[DetectorAdapter, list[CachedPage]]


def test_a_page_has_the_same_gradient_alone_and_in_any_batch(affine: Affine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What reaches the mechanism for slot 2 does not depend on the slots beside it."""
    adapter, cached = affine
    assert contribution(monkeypatch, adapter, {2: cached[2]}, 2) == contribution(
        monkeypatch, adapter, dict(enumerate(cached)), 2
    )

    def batched(adapter: DetectorAdapter, theta: Tensor, page: CachedPage) -> Tensor:
        """The planted bug: the loss of a page is divided by the lines of all pages that came before."""
        batched.pixels += float(page.targets.core.sum())  # type: ignore[attr-defined]
        return right(adapter, theta, page) / batched.pixels  # type: ignore[attr-defined]

    right = detection_fit.gradient
    monkeypatch.setattr(detection_fit, "gradient", batched)
    outcomes = []
    for batch in ({2: cached[2]}, dict(enumerate(cached))):
        batched.pixels = 0.0  # type: ignore[attr-defined]
        outcomes.append(contribution(monkeypatch, adapter, batch, 2))
    assert outcomes[0] != outcomes[1]


def contribution(
    monkeypatch: pytest.MonkeyPatch, adapter: DetectorAdapter, pages: dict[int, CachedPage], slot: int
) -> list[float]:
    """What the first step hands to `private_gradient` for one slot."""
    taken: list[Sequence[Tensor]] = []
    real = detection_fit.private_gradient

    def listening(gradients: Sequence[Tensor], **rest: object) -> Tensor:
        taken.append(list(gradients))
        return real(taken[-1], **rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(detection_fit, "private_gradient", listening)
        rounds(adapter, pages, replace(RECIPE, steps=1))
    found: list[float] = taken[0][sorted(pages).index(slot)].tolist()
    return found


def test_a_page_moves_the_sum_by_the_clipping_norm_at_most(affine: Affine) -> None:
    """One step of Adam hides sizes, so the mechanism's own output is looked at."""
    adapter, cached = affine
    theta = torch.zeros(adapter.size)
    gradients = [detection_fit.gradient(adapter, theta, page) for page in cached]
    assert min(float(each.norm()) for each in gradients) > 2 * RECIPE.max_grad_norm, "the test needs clipping"

    def mechanism(batch: list[Tensor]) -> Tensor:
        return detection_fit.private_gradient(
            batch,
            size=adapter.size,
            max_grad_norm=RECIPE.max_grad_norm,
            noise_multiplier=QUIET,
            expected_documents=6,
            noise=NoiseSource(Debit.for_tests(QUIET, 1), seed=bytes(32)),
        )

    moved = 6 * (mechanism(gradients) - mechanism(gradients[:-1])).norm()
    assert float(moved) == pytest.approx(RECIPE.max_grad_norm, rel=1e-3)


def test_noise_is_drawn_every_step_and_for_empty_slots(affine: Affine) -> None:
    adapter, cached = affine
    source = NoiseSource(Debit.for_tests(1.0, 3), seed=bytes(32))
    more = {"capacity": 6, "noise_multiplier": 1.0}
    learn(adapter, RECIPE, {}, [], noise=source, **more)  # type: ignore[arg-type]
    assert source.drawn == RECIPE.steps
    with pytest.raises(BudgetExhausted):
        learn(adapter, RECIPE, {0: cached[0]}, [], noise=source, **more)  # type: ignore[arg-type]
    short = NoiseSource(Debit.for_tests(2.0, 3), seed=bytes(32))
    with pytest.raises(BudgetExhausted):
        learn(adapter, RECIPE, {0: cached[0]}, [], noise=short, **more)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at most 1 pages"):
        rounds(adapter, dict(enumerate(cached)), capacity=1)


def test_learning_lowers_the_loss_of_its_pages_and_is_reproducible(affine: Affine) -> None:
    adapter, cached = affine
    cached = cached[:3]
    pages, recipe = dict(enumerate(cached)), replace(RECIPE, learning_rate=1e-2, steps=5)
    theta = rounds(adapter, pages, recipe)

    def loss(at: Tensor) -> float:
        with torch.no_grad():
            maps = [adapter.logits(at, page.inputs) for page in cached]
        each = [page_loss(p[0, 0], t[0, 0], page.targets) for (p, t), page in zip(maps, cached, strict=True)]
        return float(torch.stack(each).mean())

    assert loss(theta) < 0.95 * loss(torch.zeros(adapter.size))
    assert torch.equal(theta, rounds(adapter, pages, recipe))
    assert not torch.equal(theta, rounds(adapter, pages, recipe, noise_multiplier=1.0))


def test_rehearsal_is_public_and_a_candidate_goes_into_the_file(
    affine: Affine, model: Detector, weights_dir: Path, tmp_path: Path
) -> None:
    adapter, cached = affine
    source = NoiseSource(Debit.for_tests(QUIET, 3), seed=bytes(32))
    recipe = replace(RECIPE, rehearsal=1.0)
    theta = learn(adapter, recipe, {}, cached, capacity=6, noise_multiplier=QUIET, noise=source)
    assert theta.norm() > 0, "pages that nobody sent still teach"
    detector.write_onnx(weights_dir / "det.onnx", merged(model, adapter, theta).weights(), tmp_path / "det.onnx")
    taught, stock = detector.load(tmp_path / "det.onnx").weights(), model.weights()
    assert {name.split(".")[0] for name in stock if not np.allclose(taught[name], stock[name], rtol=1e-5)} == {"head"}
    with pytest.raises(WeightsMismatch):
        detector.write_onnx(weights_dir / "rec.onnx", taught, tmp_path / "other.onnx")


def test_noise_over_signal_worked_out(affine: Affine) -> None:
    """Pages that agree wholly: the mean clipped gradient has the clipping norm, and sigma sqrt(P / T) / N is left."""
    adapter, cached = affine
    same = [cached[0], cached[0]]
    expected = 2.0 * math.sqrt(98 / RECIPE.steps) / 70
    assert noise_over_signal(adapter, RECIPE, same, 2.0, 70) == pytest.approx(expected, rel=1e-3)
    assert noise_over_signal(adapter, RECIPE, cached, 2.0, 70) > expected


def test_the_threshold_branch_comes_from_a_seed_and_public_pages(model: Detector, seen: list[SeenPage]) -> None:
    before = torch.get_rng_state()
    one, two, other = (threshold_branch(model, seen, seed, steps=8) for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(one.conv.weight, other.conv.weight)
    with torch.no_grad():
        page = seen[0]
        found = one(model.neck(page.taps))[0, 0].sigmoid()
    near = page.targets.near.bool()
    assert float((found - page.targets.threshold.float())[near].abs().mean()) < 0.3


def test_a_view_is_what_the_reader_shows(pages: list[TrainPage]) -> None:
    for page in pages:
        shown, _ = detection_fit.view(page.image, first_scale(page.image))
        assert shown.shape[0] % 32 == shown.shape[1] % 32 == 0
        assert max(shown.shape) <= max(page.image.shape) / 2 + 64
