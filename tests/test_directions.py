"""A few public directions: what they are, what learns within them, and by which documents they are judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch

from daemon.config import Learning
from learners import catalogue, neck_adapters, replay
from learners import plan as planning
from learners.adapters import ASCII, Charset
from learners.catalogue import Looks
from learners.chunks import cache, collate, look
from learners.directions import WithinDirections, leading_directions
from learners.gradients import document_gradients
from learners.lines import TrainDocument, document
from learners.plan import Settings
from learners.recipes import RECIPES, pace
from learners.synthesis import line
from models.ctc import Alphabet
from models.recogniser import Recogniser
from privacy import accountant
from privacy.page import Image

BLOCKS = [30, 10, 20]


def drawn(count: int, seed: int = 0) -> torch.Tensor:
    """Gradients `(count, 60)` of blocks whose sizes are a thousand times apart."""
    sizes = torch.cat([torch.full((n,), 10.0**k) for k, n in zip((-1, 2, 0), BLOCKS, strict=True)])
    return torch.randn(count, sum(BLOCKS), generator=torch.Generator().manual_seed(seed)) * sizes


def held(directions: torch.Tensor, gradient: torch.Tensor, usual: torch.Tensor) -> float:
    """The share of a gradient, at the scale of the usual ones, that lies in the directions' span, at theirs."""
    basis = torch.linalg.qr((directions.double() * usual).T).Q
    scaled = gradient.double() / usual
    return float((basis.T @ scaled).norm() / scaled.norm())


def usual(gradients: torch.Tensor) -> torch.Tensor:
    parts = torch.split(gradients.double(), BLOCKS, dim=1)
    return torch.cat([part.square().mean().sqrt().sqrt().expand(part.shape[1]) for part in parts])


def test_as_many_directions_as_documents_span_them_and_no_other() -> None:
    gradients = drawn(4)
    found = leading_directions(gradients, BLOCKS, 6)
    assert found.shape == (6, 60)
    assert bool((found[4:] == 0).all())
    assert float(found.square().sum(1).mean()) == pytest.approx(1.0, rel=1e-5)
    scale = usual(gradients)
    for gradient in gradients:
        assert held(found[:4], gradient, scale) == pytest.approx(1.0, abs=1e-6)
    assert held(found[:4], drawn(1, 1)[0], scale) < 0.9


def test_what_more_documents_share_comes_first_and_moves_faster() -> None:
    """Eighteen documents want the one thing, two another: a direction is as long as the root of its singular value."""
    one, other = torch.zeros(60), torch.zeros(60)
    one[0], other[35] = 1.0, 1.0
    gradients = torch.stack([one] * 18 + [other] * 2)
    first, second = leading_directions(gradients, BLOCKS, 2)
    assert int(first.abs().argmax()) == 0
    assert int(second.abs().argmax()) == 35
    scale = usual(gradients)
    squares = [float((each.double() * scale).norm()) ** 2 for each in (first, second)]
    assert squares[0] / squares[1] == pytest.approx((18 / 2) ** 0.5, rel=1e-5)


def test_a_document_counts_the_same_however_large_its_gradient() -> None:
    gradients = drawn(6)
    larger = gradients.clone()
    larger[2] *= 1.5
    rows = torch.linalg.svdvals(leading_directions(gradients, [60], 6).double())
    again = torch.linalg.svdvals(leading_directions(larger, [60], 6).double())
    assert torch.allclose(rows, again, rtol=1e-3)


def test_directions_of_other_parameters_are_refused(model: Recogniser, alphabet: Alphabet) -> None:
    inner = neck_adapters.early(model, Charset.of(ASCII, alphabet))
    with pytest.raises(ValueError, match=rf"Expected directions \(size, {inner.size}\), got \(4, 7\)"):
        WithinDirections("early", inner, torch.zeros(4, 7))


def printed(first: int) -> list[TrainDocument]:
    """Sixteen documents of a line each."""
    made = (document(k, [line(7_000 + k, "thermal")]) for k in range(first, first + 16))
    return [each for each in made if each is not None]


def test_early_is_the_stem_ten_blocks_and_the_charsets_rows(model: Recogniser, alphabet: Alphabet) -> None:
    charset = Charset.of(ASCII, alphabet)
    inner = neck_adapters.early(model, charset)
    assert (inner.size, sum(inner.blocks)) == (3_104 + 96 * 121, inner.size)
    moved = {name.split(".")[0] for name in inner.merge(torch.zeros(inner.size))}
    assert moved == {"backbone", "head"}


def test_what_learns_are_the_coordinates(
    model: Recogniser, alphabet: Alphabet, draw_lines: Callable[[int], list[tuple[Image, str]]]
) -> None:
    """The chain rule: a gradient along the directions is the inner one's products with them."""
    inner = neck_adapters.early(model, Charset.of(ASCII, alphabet))
    directions = torch.randn(3, inner.size, generator=torch.Generator().manual_seed(4)) / inner.size**0.5
    adapter = WithinDirections("early", inner, directions)
    made = document(0, draw_lines(2))
    assert made is not None
    chunk = collate(cache(adapter, look(model, [made], depth="image")))
    theta = torch.tensor([0.3, -0.2, 0.1])
    found = document_gradients(adapter, theta, chunk)
    whole = document_gradients(inner, theta @ directions, chunk)
    assert torch.allclose(found, whole @ directions.T, rtol=1e-4, atol=1e-7)
    for name, value in adapter.merge(theta).items():
        assert torch.equal(value, inner.merge(theta @ directions)[name])


def test_the_signal_is_measured_on_documents_that_named_no_direction(model: Recogniser, alphabet: Alphabet) -> None:
    """What named the directions lies within them, and would seem to agree on more than there is."""
    charset, made, others = Charset.of(ASCII, alphabet), printed(0), printed(100)
    public = Looks(model, made)
    adapter = catalogue.build("early", charset, 64, public)
    unseen = [public.at("image").index(each) for each in catalogue.unseen(adapter, public)]
    assert unseen == [4, 5, 6, 7, 12, 13, 14, 15]
    theta = torch.ones(adapter.size)

    def moved(changed: Sequence[int]) -> bool:
        mixed = Looks(model, [others[k] if k in changed else made[k] for k in range(16)])
        again = catalogue.build("early", charset, 64, mixed).merge(theta)
        return any(not torch.equal(value, again[name]) for name, value in adapter.merge(theta).items())

    assert not moved(unseen)
    assert moved([0])
    [surveyed] = planning.survey(Settings(charset="ascii", adapter="early", capacity=500), alphabet, public)
    shown = [public.at("image")[k] for k in unseen]
    assert surveyed.agreement == pytest.approx(planning.agreement(adapter, shown, RECIPES["early"].max_grad_norm))


# A pace of its own, and what it costs.


def test_what_auto_takes_has_one_price() -> None:
    assert {recipe.pace for recipe in RECIPES.values() if recipe.automatic} == {pace("auto")} == {replay.USUAL}


def test_a_set_adapters_pace_is_what_is_planned_and_what_a_ticket_is(model: Recogniser, alphabet: Alphabet) -> None:
    settings = Settings(charset="ascii", adapter="early", capacity=500)
    public = Looks(model, printed(0))
    [surveyed] = planning.survey(settings, alphabet, public)
    found = planning.planned(settings, surveyed, 500)
    assert (found.steps, found.sample_rate, found.expected_documents, found.parameters) == (
        16,
        0.2,
        100,
        catalogue.EARLY_DIRECTIONS,
    )
    assert 7.9 < accountant.epsilon([found.event] * 4, found.delta) <= 8.0
    learning = Learning(adapter="early", capacity=500)
    assert found.event == replay.ticket(pace(learning.adapter), 500, 4, learning.epsilon, learning.delta)
