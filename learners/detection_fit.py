"""One private round of the detector: pages in their slots -> the weights of a candidate.

The document is the page, every step takes all of them, and each gives one gradient, clipped alone; the mechanism
is `privacy.dpsgd.private_gradient`, `steps` times. All else is public (the recipe, the adapter, the threshold
branch, the rehearsed pages) or post-processing (Adam, the mean of the last iterates, the merge).

A page is looked at as `models.reader` looks at it first: half its size, at most 800 pixels long, framed by its
background to multiples of 32. What is frozen says what it says of that view once; that and the maps take 18
bytes a pixel of the view, 12 MB at most (a neck that moves wants more only while its gradient is taken).

The threshold branch is not in the released file. It is fitted here to generated pages, from a seed, before the
round, and does not learn in it: it shapes the loss and is dropped from the candidate.

How much of a round is signal is the ratio of `learners.plan`, measured on public pages: `noise_over_signal`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from torch import Tensor

from learners.detection import Targets, page_loss, targets
from learners.detection_adapters import Cached, DetectorAdapter
from models.detector import Branch, Detector, Taps, to_tensor
from models.looks import first_scale, framed
from privacy.dpsgd import document_gradient, private_gradient
from privacy.noise import NoiseSource
from privacy.page import Image, Quad

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class TrainPage:
    """A page `(H, W, 3) uint8` RGB and its lines, convex quadrilaterals in its pixels."""

    image: Image = field(repr=False)
    quads: tuple[Quad, ...] = field(repr=False)


@dataclass(frozen=True)
class SeenPage:
    """A page after the part that no adapter moves, and what it teaches."""

    taps: Taps = field(repr=False)
    targets: Targets = field(repr=False)


@dataclass(frozen=True)
class CachedPage:
    """A page as an adapter sees it, and what it teaches."""

    inputs: Cached = field(repr=False)
    targets: Targets = field(repr=False)


@dataclass(frozen=True)
class DetectorRecipe:
    """How an adapter is trained; chosen on generated pages (bench/detector.py), never on private ones."""

    max_grad_norm: float
    learning_rate: float
    steps: int
    rehearsal: float
    """Weight of the public pages' gradient beside the private one."""


RECIPES: Mapping[str, DetectorRecipe] = {
    "affine": DetectorRecipe(max_grad_norm=0.5, learning_rate=1e-2, steps=10, rehearsal=0.3),
    "affine+neck": DetectorRecipe(max_grad_norm=0.5, learning_rate=1e-2, steps=10, rehearsal=0.3),
    "head": DetectorRecipe(max_grad_norm=0.5, learning_rate=5e-3, steps=10, rehearsal=0.3),
    "tail": DetectorRecipe(max_grad_norm=0.5, learning_rate=1e-2, steps=10, rehearsal=0.3),
}
"""Only `affine` was tuned; the others were tried beside it on generated receipts, and none found more lines.
Ten steps: the loss goes on falling after that, but fewer lines of the public pages are found."""
REHEARSED = 4
"""Public pages a step."""
AVERAGED = 0.4
"""Share of the steps, the last ones, whose iterates are averaged."""
WARM_UP = 0.1


def view(page: Image, scale: float) -> tuple[Image, int]:
    """The page BGR at `scale`, framed, and the margin on its left and top: what RapidOCR's detector is given."""
    shown = np.ascontiguousarray(page[:, :, ::-1])
    if scale != 1.0:
        way = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_CUBIC
        size = (max(1, round(shown.shape[1] * scale)), max(1, round(shown.shape[0] * scale)))
        shown = np.asarray(cv2.resize(shown, size, interpolation=way), np.uint8)
    return framed(shown)


def look(model: Detector, page: TrainPage, scale: float | None = None) -> SeenPage:
    """Runs the backbone over a page, once, and draws its maps."""
    scale = first_scale(page.image) if scale is None else scale
    shown, margin = view(page.image, scale)
    with torch.no_grad():
        taps = model.backbone(to_tensor(shown)[None])
    quads = [scale * np.array(quad, np.float32) + margin for quad in page.quads]
    return SeenPage(taps, targets(quads, *shown.shape[:2]))


def gradient(adapter: DetectorAdapter, theta: Tensor, page: CachedPage) -> Tensor:
    """`(size,)`: the gradient of one page's loss at `theta`."""
    at = theta.detach().clone().requires_grad_()
    probability, threshold = adapter.logits(at, page.inputs)
    return document_gradient(page_loss(probability[0, 0], threshold[0, 0], page.targets), [at])


def threshold_branch(model: Detector, public: Sequence[SeenPage], seed: int = 0, steps: int = 60) -> Branch:
    """A threshold branch for `model`, from a seed: Adam on the threshold loss of public pages, in turn."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        branch = Branch()
    optimiser = torch.optim.Adam(branch.parameters(), lr=3e-3)
    for step in range(steps):
        page = public[step % len(public)]
        with torch.no_grad():
            features = model.neck(page.taps)
        found = branch(features)[0, 0].sigmoid()
        near, truth = page.targets.near.float(), page.targets.threshold.float()
        loss = ((found - truth).abs() * near).sum() / near.sum().clamp_min(1)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return branch.eval()


def noise_over_signal(
    adapter: DetectorAdapter,
    recipe: DetectorRecipe,
    public: Sequence[CachedPage],
    noise_multiplier: float,
    members: int,
) -> float:
    """Norm of a round's averaged noise over that of the mean clipped gradient of pages like `public`.

    The finite number of public pages is taken out of the latter: `(n |mean|^2 - mean |g|^2) / (n - 1)` is
    unbiased for its square. Infinite where nothing is left.
    """
    found = torch.stack([gradient(adapter, torch.zeros(adapter.size), page) for page in public]).double()
    clipped = found * (recipe.max_grad_norm / found.norm(dim=1, keepdim=True).clamp_min(recipe.max_grad_norm))
    count = len(clipped)
    squared = float(count * clipped.mean(0).square().sum() - clipped.square().sum(1).mean()) / (count - 1)
    noise = noise_multiplier * recipe.max_grad_norm * math.sqrt(adapter.size / recipe.steps) / members
    return noise / math.sqrt(squared) if squared > 0 else math.inf


def learn(
    adapter: DetectorAdapter,
    recipe: DetectorRecipe,
    pages: Mapping[int, CachedPage],
    public: Sequence[CachedPage],
    *,
    capacity: int,
    noise_multiplier: float,
    noise: NoiseSource,
    progress: Progress | None = None,
) -> Tensor:
    """The adapter's parameters after the round: Adam from zero on the noisy gradients, the last iterates' mean.

    `pages` are by slot; `capacity` is the public number of slots, and the divisor. A slot without a page is a
    gradient of zero.

    Raises:
        ValueError: more pages than slots.
        BudgetExhausted: the noise source's debit does not cover the round.
    """
    if len(pages) > capacity:
        raise ValueError(f"Expected at most {capacity} pages, got {len(pages)}.")
    theta = torch.zeros(adapter.size, requires_grad=True)
    optimiser = torch.optim.Adam([theta], lr=recipe.learning_rate)
    warm, averaged = max(1, round(WARM_UP * recipe.steps)), max(1, round(AVERAGED * recipe.steps))
    mean = torch.zeros(adapter.size)
    for step in range(recipe.steps):
        at = theta.detach()
        optimiser.param_groups[0]["lr"] = recipe.learning_rate * min(1.0, (step + 1) / warm)
        learned = private_gradient(
            (gradient(adapter, at, pages[slot]) for slot in sorted(pages)),
            size=adapter.size,
            max_grad_norm=recipe.max_grad_norm,
            noise_multiplier=noise_multiplier,
            expected_documents=capacity,
            noise=noise,
        )
        theta.grad = learned + _rehearsed(adapter, recipe, public, step, at)
        optimiser.step()
        if step >= recipe.steps - averaged:
            mean += theta.detach() / averaged
        if progress:
            progress(step + 1, recipe.steps)
    return mean


def _rehearsed(
    adapter: DetectorAdapter, recipe: DetectorRecipe, public: Sequence[CachedPage], step: int, theta: Tensor
) -> Tensor:
    """The mean clipped gradient of the next few public pages, in turn."""
    total, turn = torch.zeros(adapter.size), min(REHEARSED, len(public))
    for k in range(turn if recipe.rehearsal else 0):
        found = gradient(adapter, theta, public[(step * turn + k) % len(public)])
        total += found * (recipe.max_grad_norm / max(float(found.norm()), recipe.max_grad_norm)) / turn
    return total * recipe.rehearsal


def cache(adapter: DetectorAdapter, pages: Sequence[SeenPage]) -> list[CachedPage]:
    """What the adapter's frozen part says of each page."""
    return [CachedPage(adapter.cache(page.taps), page.targets) for page in pages]
