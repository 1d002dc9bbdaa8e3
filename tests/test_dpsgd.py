"""One private step, against what Abadi et al. ask of it, with documents as examples.

`CHECKS` are what must hold of any step. The step that ships passes all of them; each of `MUTANTS`, a mistake
that was made somewhere before, fails the check that is named with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from privacy import dpsgd
from privacy.dpsgd import clip, document_gradient, private_gradient
from privacy.errors import BudgetExhausted
from privacy.noise import Debit, Grid, NoiseSource

torch.set_num_threads(1)

SIZE, CLIP, SIGMA, EXPECTED = 20_000, 0.7, 1.5, 50.0
SEED = bytes(range(32))
Document = list[Tensor]
"""The gradients of a document's lines."""


class _Silent:
    """A source of no noise, to look at the sum beneath it."""

    def add_to(self, total: np.ndarray, grid: Grid, noise_multiplier: float) -> np.ndarray:
        return total


def _source(seed: bytes | None = SEED) -> NoiseSource:
    return NoiseSource(Debit.for_tests(), seed=seed)


class Step:
    """The step that ships: a document's gradient is the mean of its lines'."""

    def __call__(self, documents: Sequence[Document], noise: Any) -> Tensor:
        gradients = (self.of(document) for document in documents)
        return self.release(gradients, noise, len(documents))

    def of(self, document: Document) -> Tensor:
        return torch.stack(document).mean(dim=0)

    def release(self, gradients: Any, noise: Any, count: int) -> Tensor:
        return private_gradient(
            gradients,
            size=SIZE,
            max_grad_norm=CLIP,
            noise_multiplier=SIGMA,
            expected_documents=EXPECTED,
            noise=noise,
        )


def _line(seed: int, norm: float = 1.0) -> Tensor:
    direction = torch.randn(SIZE, generator=torch.Generator().manual_seed(seed))
    return direction * (norm / direction.norm())


POOL = [[_line(10 * number + line, 0.1 * (1 + number)) for line in range(3)] for number in range(8)]
WILD: list[Document] = [
    [_line(1, 1e6)],
    [_line(2, 1e-6)],
    [_line(3)] * 20,
    [_line(number, 5.0) for number in range(20)],
    [torch.zeros(SIZE)],
    [torch.full((SIZE,), 3e37)],
    [torch.full((SIZE,), math.nan)],
    [_line(4), torch.full((SIZE,), math.inf)],
]


def check_one_document_moves_the_sum_by_at_most_the_clip(step: Step) -> None:
    without = step(POOL, _Silent()).double()
    for document in WILD:
        moved = (step([*POOL, document], _Silent()).double() - without).norm() * EXPECTED
        assert moved <= CLIP * (1 + 1e-4)


def check_a_non_finite_gradient_is_a_zero(step: Step) -> None:
    plain = step(POOL, _Silent())
    for document in WILD[-2:]:
        assert torch.equal(step([*POOL, document], _Silent()), plain)


def check_a_small_gradient_is_kept_whole(step: Step) -> None:
    document = [_line(5, 0.5 * CLIP)]
    assert torch.allclose(step([document], _Silent()) * EXPECTED, document[0], atol=1e-6)


def check_the_divisor_is_public(step: Step) -> None:
    with_zero = [*POOL, [torch.zeros(SIZE)]]
    assert torch.equal(step(with_zero, _source()), step(POOL, _source()))
    assert torch.equal(step([], _source()), step([[torch.zeros(SIZE)]], _source()))


def _has_sigma(noise: Tensor, sigma: float) -> bool:
    scaled = (noise.double() * EXPECTED / (sigma * CLIP)).numpy()
    return bool(stats.kstest(scaled, "norm").pvalue > 1e-4)


def check_the_noise_on_a_batch_has_its_sigma(step: Step) -> None:
    noise = step(POOL, _source()) - step(POOL, _Silent())
    assert _has_sigma(noise, SIGMA)
    assert not _has_sigma(noise, SIGMA * 2 / 3)
    assert not _has_sigma(noise, SIGMA * 3 / 2)


def check_an_empty_batch_is_noise(step: Step) -> None:
    assert _has_sigma(step([], _source()), SIGMA)


def check_each_step_draws_anew_and_once(step: Step) -> None:
    source = _source()
    first, second = step(POOL, source), step(POOL, source)
    assert source.drawn == 2
    assert not torch.equal(first, second)
    assert _has_sigma((first - second) / math.sqrt(2), SIGMA)


def check_order_does_not_count(step: Step) -> None:
    assert torch.equal(step(POOL, _source()), step(POOL[::-1], _source()))


CHECKS = [
    check_one_document_moves_the_sum_by_at_most_the_clip,
    check_a_non_finite_gradient_is_a_zero,
    check_a_small_gradient_is_kept_whole,
    check_the_divisor_is_public,
    check_the_noise_on_a_batch_has_its_sigma,
    check_an_empty_batch_is_noise,
    check_each_step_draws_anew_and_once,
    check_order_does_not_count,
]


@pytest.mark.parametrize("check", CHECKS)
def test_the_step_that_ships_holds(check: Callable[[Step], None]) -> None:
    check(Step())


def check_blocks_do_not_count(step: Step) -> None:
    """Documents may come one by one or many at a time."""
    gradients = [step.of(document) for document in POOL]
    blocks = [torch.stack(gradients[:5]), gradients[5], torch.stack(gradients[6:]), torch.zeros(0, SIZE)]
    assert torch.equal(step.release(blocks, _source(), len(POOL)), step(POOL, _source()))


CHECKS.append(check_blocks_do_not_count)


class ClipsLines(Step):
    """Each line is an example of its own, as per-sample machinery does it: a document has many."""

    def __call__(self, documents: Sequence[Document], noise: Any) -> Tensor:
        return self.release((line for document in documents for line in document), noise, len(documents))


class SumsLinesAfterClipping(Step):
    """Lines are clipped, and then summed into a document's gradient."""

    def release(self, gradients: Any, noise: Any, count: int) -> Tensor:
        total = sum((g * 1.0 for g in gradients), torch.zeros(SIZE))
        noisy = noise.add_to((total / Grid(CLIP).step).long().numpy(), Grid(CLIP), SIGMA)
        return torch.from_numpy(noisy * Grid(CLIP).step / EXPECTED).float()

    def of(self, document: Document) -> Tensor:
        return sum((line * min(1.0, CLIP / float(line.norm())) for line in document), torch.zeros(SIZE))


class DividesByTheBatch(Step):
    """The mean over the documents that happen to be there: the divisor is private."""

    def release(self, gradients: Any, noise: Any, count: int) -> Tensor:
        return super().release(gradients, noise, count) * (EXPECTED / max(count, 1))


class NoisesBeforeClipping(Step):
    """Noise goes into each document's gradient, and the clip takes it out again."""

    def release(self, gradients: Any, noise: Any, count: int) -> Tensor:
        grid, total = Grid(CLIP), torch.zeros(SIZE, dtype=torch.int64)
        for gradient in gradients:
            draw = noise.add_to(np.zeros(SIZE, dtype=np.int64), grid, SIGMA)
            total += clip(gradient + torch.from_numpy(draw * grid.step).float(), grid)
        return (total.double() * grid.step / EXPECTED).float()


class SkipsEmptyBatches(Step):
    """Nobody was sampled, so no step is taken, and everybody sees that."""

    def release(self, gradients: Any, noise: Any, count: int) -> Tensor:
        return super().release(gradients, noise, count) if count else torch.zeros(SIZE)


class NoisesPerDocument(Step):
    """A share of the noise comes with each document: a smaller batch has less."""

    def release(self, gradients: Any, noise: Any, count: int) -> Tensor:
        silent = super().release(gradients, _Silent(), count)
        return silent + (super().release([], noise, 0)) * math.sqrt(count / EXPECTED)


class ReusesNoise(Step):
    """The noise is drawn once and kept, as after a resume from a checkpoint."""

    def __init__(self) -> None:
        self.kept: Tensor | None = None

    def release(self, gradients: Any, noise: Any, count: int) -> Tensor:
        if isinstance(noise, _Silent):
            return super().release(gradients, noise, count)
        if self.kept is None:
            self.kept = super().release([], noise, 0)
        return super().release(gradients, _Silent(), count) + self.kept


class NoisesWithTheWrongSigma(Step):
    """The noise is scaled to the mean's sensitivity twice."""

    def release(self, gradients: Any, noise: Any, count: int) -> Tensor:
        silent = super().release(gradients, _Silent(), count)
        return silent + super().release([], noise, 0) * CLIP


class LetsNonFiniteThrough(Step):
    """A NaN is replaced by a large number and clipped: the document is there after all."""

    def of(self, document: Document) -> Tensor:
        return torch.nan_to_num(super().of(document), nan=1.0, posinf=1.0, neginf=-1.0)


class NormalisesEverything(Step):
    """Every gradient is scaled *to* the clip, small ones too."""

    def of(self, document: Document) -> Tensor:
        gradient = super().of(document)
        return gradient * (CLIP / float(gradient.norm().clamp_min(1e-12)))


class SumsInFloat(Step):
    """Floating-point addition: the sum depends on the order, and so its sensitivity is not the clip."""

    def release(self, gradients: Any, noise: Any, count: int) -> Tensor:
        total = torch.zeros(SIZE)
        for gradient in gradients:
            total += gradient * min(1.0, CLIP / float(gradient.norm().clamp_min(1e-12)))
        return total / EXPECTED + super().release([], noise, 0)


MUTANTS: list[tuple[type[Step], Callable[[Step], None]]] = [
    (ClipsLines, check_one_document_moves_the_sum_by_at_most_the_clip),
    (SumsLinesAfterClipping, check_one_document_moves_the_sum_by_at_most_the_clip),
    (DividesByTheBatch, check_the_divisor_is_public),
    (NoisesBeforeClipping, check_the_noise_on_a_batch_has_its_sigma),
    (SkipsEmptyBatches, check_an_empty_batch_is_noise),
    (NoisesPerDocument, check_the_noise_on_a_batch_has_its_sigma),
    (ReusesNoise, check_each_step_draws_anew_and_once),
    (NoisesWithTheWrongSigma, check_the_noise_on_a_batch_has_its_sigma),
    (LetsNonFiniteThrough, check_a_non_finite_gradient_is_a_zero),
    (NormalisesEverything, check_a_small_gradient_is_kept_whole),
    (SumsInFloat, check_order_does_not_count),
]


@pytest.mark.parametrize(("mutant", "check"), MUTANTS)
def test_each_mistake_is_caught(mutant: type[Step], check: Callable[[Step], None]) -> None:
    with pytest.raises(AssertionError):
        check(mutant())


# The pieces.


@pytest.mark.parametrize("bound", [0.05, 0.2, 1.0, 7.3])
def test_clipping_keeps_direction_and_never_passes_the_bound(bound: float) -> None:
    grid = Grid(bound)
    for seed in range(20):
        gradient = _line(seed, bound * 10 ** (seed / 4 - 3))
        clipped = clip(gradient, grid)
        assert clipped.dtype == torch.int64
        length = math.sqrt(sum(int(n) * int(n) for n in clipped.tolist())) * grid.step  # exact, in integers
        assert length <= bound
        assert length == pytest.approx(min(float(gradient.norm()), bound), rel=1e-3, abs=bound * 1e-4)
        if length > bound * 1e-2:
            assert torch.cosine_similarity(clipped.double(), gradient.double(), dim=0) > 0.9999


def check_no_hostile_gradient_passes_the_bound(bound: float, size: int) -> None:
    """In exact arithmetic: as large and as small as float32 has them, and norms that are the bound but for rounding."""
    grid, draws = Grid(bound), torch.Generator().manual_seed(size)
    largest, smallest = torch.finfo(torch.float32).max, 2.0**-149
    noise = torch.randn(size, generator=draws)
    at_the_bound = noise * (bound / float(noise.double().norm()))
    hostile = [torch.full((size,), value) for value in (largest, -largest, smallest, bound / math.sqrt(size), bound)]
    hostile += [at_the_bound * (1.0 + k * 2.0**-24) for k in range(-3, 4)]
    hostile += [largest * noise.sign(), torch.cat((torch.tensor([largest]), smallest * torch.ones(size - 1)))]
    for gradient in hostile:
        squares = sum(int(n) * int(n) for n in clip(gradient, grid).tolist())
        assert squares * Fraction(grid.step) ** 2 <= Fraction(bound) ** 2


@pytest.mark.parametrize("bound", [0.05, 1.0, 7.3])
@pytest.mark.parametrize("size", [1, 3, 1000, 2**16 + 1])
def test_no_hostile_gradient_passes_the_bound(bound: float, size: int) -> None:
    check_no_hostile_gradient_passes_the_bound(bound, size)


def to_the_nearest(total: Tensor, gradient: Tensor, grid: Grid) -> None:
    """To the bound itself, and to the nearest grid step instead of towards zero."""
    norm = float(torch.linalg.vector_norm(gradient, dtype=torch.float64))
    total += (gradient.double() * (min(1.0, grid.bound / norm) / grid.step)).round().long()


def in_single_precision(total: Tensor, gradient: Tensor, grid: Grid) -> None:
    """By a norm in float32: at the bound it may be the smaller one."""
    norm = max(float(torch.linalg.vector_norm(gradient)), 1e-30)
    total += (gradient.double() * (min(1.0, grid.bound / norm) / grid.step)).long()


@pytest.mark.parametrize("careless", [to_the_nearest, in_single_precision])
def test_a_careless_clip_is_seen(careless: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dpsgd, "_add_clipped", careless)
    with pytest.raises(AssertionError):
        check_no_hostile_gradient_passes_the_bound(1.0, 1000)


def test_a_documents_contribution_is_the_same_alone_and_in_any_block() -> None:
    """To the last grid step, with wild neighbours, in any order, and from memory of any layout."""
    grid = Grid(CLIP)
    rows = torch.stack([torch.stack(document).mean(0) for document in [*POOL, *WILD]])
    alone = torch.stack([clip(row, grid) for row in rows])
    given = rows.clone()
    assert torch.equal(clip(rows, grid), alone)
    assert torch.equal(clip(rows.flip(0), grid), alone.flip(0))
    assert torch.equal(clip(rows[3:9], grid), alone[3:9])
    assert torch.equal(clip(rows.T.contiguous().T, grid), alone)
    assert torch.equal(rows.nan_to_num(), given.nan_to_num())  # what came in is left as it was
    assert not alone[-2:].any()


class _ByTheBlock:
    """A clip of a whole block at once: one norm for all, as when a batch's mean gradient is clipped."""

    def __call__(self, gradients: Tensor, grid: Grid) -> Tensor:
        scale = min(1.0, grid.bound / float(gradients.double().norm()))
        return (gradients.double() * scale / grid.step).long()


def test_a_clip_by_the_block_is_caught() -> None:
    mutant, grid = _ByTheBlock(), Grid(CLIP)
    rows = torch.stack([torch.stack(document).mean(0) for document in POOL])
    assert not torch.equal(mutant(rows, grid), torch.stack([mutant(row, grid) for row in rows]))


def test_a_sum_that_would_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred thousand documents fit in 64 bits, all at the bound in one coordinate; the limit is named."""
    for bound in (0.05, 1.0, math.nextafter(1.0, 0.0)):
        assert 2**62 // math.ceil(Grid(bound).sensitivity) > 100_000
    row = torch.tensor([[1e9]])
    one = clip(row, Grid(1.0))
    found = private_gradient(
        (row.expand(1000, 1) for _ in range(100)),
        size=1,
        max_grad_norm=1.0,
        noise_multiplier=SIGMA,
        expected_documents=1e5,
        noise=_Silent(),  # type: ignore[arg-type]
    )
    assert float(found) == pytest.approx(float(one) * Grid(1.0).step, rel=1e-6)
    monkeypatch.setattr(Grid, "sensitivity", 2.0**60)
    with pytest.raises(ValueError, match="at most 4 documents a step, so that their sum fits, got 5"):
        private_gradient(
            [row.expand(5, 1)],
            size=1,
            max_grad_norm=1.0,
            noise_multiplier=SIGMA,
            expected_documents=1.0,
            noise=_Silent(),  # type: ignore[arg-type]
        )


def test_the_bound_holds_for_as_many_numbers_as_a_recogniser_has() -> None:
    grid = Grid(0.05)
    clipped = clip(torch.linspace(0.9, 1.1, 2_687_653), grid)
    length = math.sqrt(sum(n * n for n in clipped.tolist())) * grid.step  # exact, in integers
    assert grid.bound * (1 - 1e-6) < length <= grid.bound


def test_a_single_large_number_does_not_pass_the_bound() -> None:
    for bound in (1.0, 0.5, 0.3):
        for value in (bound, bound * (1 + 1e-7), 1e30, -3e38):
            grid = Grid(bound)
            assert abs(int(clip(torch.tensor([value, 0.0]), grid)[0])) * grid.step <= bound


def test_the_mean_comes_out_when_the_pool_is_large() -> None:
    """With enough documents the noise is small beside the sum, and the clipped mean gradient is found."""
    torch.manual_seed(0)
    truth = _line(0, 0.5)
    gradients = (truth + _line(seed, 0.3) for seed in range(1, 2001))
    found = private_gradient(
        gradients,
        size=SIZE,
        max_grad_norm=1.0,
        noise_multiplier=0.1,
        expected_documents=2000,
        noise=_source(),
    )
    assert torch.cosine_similarity(found, truth, dim=0) > 0.99
    assert found.norm() == pytest.approx(0.5, rel=0.05)


class _Net(nn.Module):
    """Enough of a recogniser: a convolution, attention over the line, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.mix = nn.MultiheadAttention(4, 2, batch_first=True)
        self.unused = nn.Linear(2, 2)
        self.head = nn.Linear(4, 7)

    def forward(self, x: Tensor) -> Tensor:
        features = self.conv(x).mean(dim=2).transpose(1, 2)
        mixed = features + self.mix(features, features, features, need_weights=False)[0]
        out: Tensor = self.head(mixed).log_softmax(-1)
        return out


def _loss(net: _Net, lines: Tensor) -> Tensor:
    """A document's loss: the mean over its lines of CTC divided by the label's length."""
    labels = torch.arange(1, 4).repeat(len(lines), 1)
    lengths = torch.full((len(lines),), lines.shape[-1])
    loss = nn.functional.ctc_loss(
        net(lines).transpose(0, 1),
        labels,
        lengths,
        torch.full((len(lines),), 3),
        reduction="none",
        zero_infinity=True,
    )
    return (loss / 3).mean()


def test_a_documents_gradient_is_its_own() -> None:
    torch.manual_seed(1)
    net = _Net()
    parameters = list(net.parameters())
    documents = [torch.randn(lines, 1, 8, 16) for lines in (1, 4, 2)]
    alone = [document_gradient(_loss(net, document), parameters) for document in documents]
    assert all(p.grad is None for p in parameters)
    assert all(g.shape == (sum(p.numel() for p in parameters),) and g.dtype == torch.float32 for g in alone)
    together = document_gradient(torch.stack([_loss(net, document) for document in documents]).sum(), parameters)
    assert torch.allclose(torch.stack(alone).sum(dim=0), together, atol=1e-5)
    backward = net(documents[1])  # nothing of one document is left over for the next
    assert backward.requires_grad
    assert torch.equal(document_gradient(_loss(net, documents[0]), parameters), alone[0])


def test_a_parameter_that_is_not_reached_has_a_zero_gradient() -> None:
    torch.manual_seed(1)
    net = _Net()
    gradient = document_gradient(_loss(net, torch.randn(2, 1, 8, 16)), list(net.unused.parameters()))
    assert torch.equal(gradient, torch.zeros(6))


def test_gradients_in_half_precision_are_clipped_in_full() -> None:
    weight = torch.randn(1000, dtype=torch.bfloat16, requires_grad=True)
    gradient = document_gradient((weight * 300.0).sum().float(), [weight])
    assert gradient.dtype == torch.float32
    assert float(clip(gradient, Grid(0.2)).double().norm()) * Grid(0.2).step == pytest.approx(0.2, rel=1e-4)


def test_a_step_that_was_not_charged_is_refused() -> None:
    noise = NoiseSource(Debit.for_tests(noise_multiplier=SIGMA, steps=1))
    step = Step()
    step(POOL, noise)
    with pytest.raises(BudgetExhausted, match="All 1 releases"):
        step(POOL, noise)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"expected_documents": 0.0}, "expected_documents"),
        ({"expected_documents": math.nan}, "expected_documents"),
        ({"max_grad_norm": 0.0}, "bound"),
        ({"size": SIZE + 1}, "shape"),
    ],
)
def test_bad_numbers_are_refused(change: dict[str, Any], named: str) -> None:
    arguments = {
        "size": SIZE,
        "max_grad_norm": CLIP,
        "noise_multiplier": SIGMA,
        "expected_documents": EXPECTED,
        "noise": _source(),
    }
    with pytest.raises(ValueError, match=named):
        private_gradient([_line(0)], **{**arguments, **change})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_step() -> None:
    on_cpu = Step()(POOL, _source())
    gradients = (torch.stack(document).mean(dim=0).cuda() for document in POOL)
    on_gpu = private_gradient(
        gradients,
        size=SIZE,
        max_grad_norm=CLIP,
        noise_multiplier=SIGMA,
        expected_documents=EXPECTED,
        noise=_source(),
        device="cuda",
    )
    assert torch.allclose(on_cpu, on_gpu.cpu(), atol=1e-6)


def test_the_core_is_short_enough_to_read() -> None:
    assert dpsgd.__file__
    with open(dpsgd.__file__, encoding="utf-8") as file:
        assert len(file.readlines()) < 130
