"""Labels that carry one case only do not teach the case, and their gradient is that of a float64 reference."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from learners import gradients
from learners.adapters import ASCII, CLOSED_BIAS, Adapter, Charset, HeadAdapter
from learners.batches import to_tensor
from learners.chunks import Cached, Chunk, cache, collate, look, one_case
from learners.gradients import document_gradients, document_losses
from learners.lines import TrainDocument, TrainLine, document
from models import recogniser, weights
from models.ctc import BLANK, Alphabet
from models.recogniser import Recogniser
from privacy.page import Image
from test_adapters import ADAPTERS, moved


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["TOTAL", "12.50 EUR"], True),
        (["total", "12.50 eur"], True),
        (["12.50"], True),
        (["Total"], False),
        (["TOTAL", "thank you"], False),
        (["STRASSE", "ß"], False),
    ],
)
def test_one_case_is_a_fact_of_the_whole_document(texts: list[str], expected: bool) -> None:
    assert one_case(texts) is expected


@pytest.fixture(scope="module")
def adapter(weights_dir: Path) -> HeadAdapter:
    alphabet = Alphabet(weights.characters(weights_dir / "rec.onnx"))
    model = recogniser.load(weights_dir / "rec.onnx")
    return HeadAdapter(model, Charset.of(ASCII, alphabet), torch.eye(model.head.in_features)[:, :8])


@pytest.fixture(scope="module")
def taught(draw_lines: Callable[[int], list[tuple[Image, str]]]) -> TrainDocument:
    made = document(0, draw_lines(3))
    assert made is not None
    return made


def _cached(adapter: HeadAdapter, taught: TrainDocument, change: Callable[[str], str], weights_dir: Path) -> Cached:
    model = recogniser.load(weights_dir / "rec.onnx")
    changed = replace(taught, lines=tuple(TrainLine(line.image, change(line.text)) for line in taught.lines))
    return cache(adapter, look(model, [changed]))[0]


def test_capitals_and_small_letters_teach_the_same(
    adapter: HeadAdapter, taught: TrainDocument, weights_dir: Path
) -> None:
    theta = torch.zeros(adapter.size)
    both = [_cached(adapter, taught, change, weights_dir) for change in (str.upper, str.lower)]
    found = [document_gradients(adapter, theta, collate([each])) for each in both]
    assert torch.allclose(found[0], found[1], atol=1e-7)
    # A mutant that takes such labels by the letter pulls the two apart.
    literal = [document_gradients(adapter, theta, collate([replace(each, one_case=False)])) for each in both]
    assert not torch.allclose(literal[0], literal[1], atol=1e-3)
    assert float(literal[0].norm()) > 2 * float(found[0].norm())


def test_labels_with_both_cases_are_taken_by_the_letter(
    adapter: HeadAdapter, taught: TrainDocument, weights_dir: Path
) -> None:
    cached = _cached(adapter, taught, str, weights_dir)
    assert not cached.one_case
    theta = torch.zeros(1, adapter.size)
    by_letter, blind = (document_losses(adapter, theta, collate([replace(cached, one_case=b)])) for b in (False, True))
    assert float(blind) < float(by_letter)  # either case is at least as likely as one


def test_a_document_with_one_case_does_not_blind_its_neighbour(
    adapter: HeadAdapter, taught: TrainDocument, weights_dir: Path
) -> None:
    mixed, upper = (_cached(adapter, taught, change, weights_dir) for change in (str, str.upper))
    theta = torch.zeros(adapter.size)
    together = document_gradients(adapter, theta, collate([upper, mixed]))
    assert torch.equal(together[1], document_gradients(adapter, theta, collate([mixed]))[0])
    assert torch.equal(together[0], document_gradients(adapter, theta, collate([upper]))[0])


# The gradient, against a reference that shares the model, `merge` and `one_case` with ours: CTC's own recurrence in
# float64.


def ctc(emissions: Tensor, follows: list[bool]) -> Tensor:
    """Graves et al. (2006), equations 6 to 8, in log space; every alignment's probability is summed.

    `emissions` `(T, characters + 1)` in nats, the blank's first; `follows[k]`: whether character k may come without a
    blank between it and the one before.
    """
    states = [0] + [state for k in range(1, emissions.shape[1]) for state in (k, 0)]
    never = emissions.new_full((1,), -1e30)
    skips = torch.tensor([k > 0 and follows[k - 1] for k in states])
    alpha = torch.cat([emissions[0, states[:2]], never.expand(len(states) - 2)])
    for frame in emissions[1:]:
        step, skip = torch.cat([never, alpha[:-1]]), torch.cat([never, never, alpha[:-2]])
        skip = torch.where(skips, skip, never)
        alpha = torch.stack([alpha, step, skip]).logsumexp(0) + frame[states]
    return -alpha[-2:].logsumexp(0)


def reference(double: Recogniser, alphabet: Alphabet, adapter: Adapter, theta: Tensor, taught: TrainDocument) -> Tensor:
    """The merged model in float64, from the pixels to the full softmax, a line and a character at a time."""
    start, losses = theta.double().requires_grad_(), []
    merged = dict(double.named_parameters()) | adapter.merge(start)
    blind = one_case([line.text for line in taught.lines])
    for line in taught.lines:
        scores = functional_call(double, merged, (to_tensor(line.image)[None].double(),))[0].log_softmax(1)
        ways = [{c.lower(), c.upper()} if blind else {c} for c in line.text]
        columns = [scores[:, [alphabet.encode(c)[0] for c in sorted(way)]].logsumexp(1) for way in ways]
        follows = [k > 0 and ways[k] != ways[k - 1] for k in range(len(ways))]
        losses.append(ctc(torch.stack([scores[:, BLANK], *columns], dim=1), follows) / len(ways))
    (found,) = torch.autograd.grad(torch.stack(losses).mean(), start)
    return found


@pytest.fixture(scope="module")
def documents(draw_lines: Callable[[int], list[tuple[Image, str]]]) -> list[TrainDocument]:
    """Print with both cases, typed in capitals, in small letters and as it is.

    The last has two lines: the first of them alone is read nearly as typed, and float32 leaves 1.5e-5 of its gradient.
    """
    pairs = draw_lines(6)
    parts: list[tuple[Callable[[str], str], list[tuple[Image, str]]]]
    parts = [(str.upper, pairs[:2]), (str.lower, pairs[2:4]), (str, pairs[4:])]
    made = [document(k, [(image, typed(text)) for image, text in part]) for k, (typed, part) in enumerate(parts)]
    found = [each for each in made if each is not None]
    assert [one_case([line.text for line in each.lines]) for each in found] == [True, True, False]
    return found


Gradients = Callable[[str, bool], tuple[Tensor, Tensor]]
"""From an adapter's name, and whether its charset is closed, to the documents' gradients and the reference's."""


@pytest.fixture(scope="module")
def compared(model: Recogniser, alphabet: Alphabet, documents: list[TrainDocument]) -> Gradients:
    double, truths = copy.deepcopy(model).double(), dict[tuple[str, bool], Tensor]()

    def found(name: str, closed: bool) -> tuple[Tensor, Tensor]:
        charset = Charset.of(ASCII, alphabet, closed)
        ours, theirs = ADAPTERS[name](model, charset), ADAPTERS[name](double, charset)
        theta = 0.1 * moved(ours)
        if (name, closed) not in truths:
            rows = [reference(double, alphabet, theirs, theta, each) for each in documents]
            truths[name, closed] = torch.stack(rows)
        batch = cache(ours, look(model, documents, depth=ours.depth))
        return document_gradients(ours, theta, collate(batch)), truths[name, closed]

    return found


def apart(found: Tensor, truth: Tensor) -> list[float]:
    """Of each document, relative to the reference's norm."""
    distances: list[float] = ((found.double() - truth).norm(dim=1) / truth.norm(dim=1)).tolist()
    return distances


@pytest.mark.parametrize("closed", [False, True], ids=["open", "closed"])
@pytest.mark.parametrize("name", ["bias", "head", "top", "neck and head"])
def test_gradients_are_the_references_where_a_letter_is_both_its_cases(
    compared: Gradients, name: str, closed: bool
) -> None:
    """In float32 to 1e-5, away from the start, beside a document that is taken by the letter."""
    found, truth = compared(name, closed)
    assert max(apart(found, truth)) < 1e-5
    assert min(apart(found, 1.0001 * truth)) > 1e-5


def mutant(
    *, summed: bool = True, emptied: bool = True, both: bool = False, targets: bool = True, all_lines: bool = False
) -> Callable[[Tensor, Adapter, Chunk], tuple[Tensor, Tensor]]:
    """`_case_blind` written another way; with a step left out, or one too many, it is wrong."""

    def blind(lp: Tensor, adapter: Adapter, chunk: Chunk) -> tuple[Tensor, Tensor]:
        small, capital = adapter.charset.cases
        small_of, folded, aimed = dict(zip(capital, small, strict=True)), lp.clone(), chunk.targets.clone()
        lines = torch.ones_like(chunk.one_case) if all_lines else chunk.one_case
        at = lines[torch.repeat_interleave(chunk.frames)].unsqueeze(1)
        either = torch.logaddexp(lp[:, small], lp[:, capital])
        folded[:, small] = torch.where(at, either, lp[:, small]) if summed else lp[:, small]
        if both:
            folded[:, capital] = torch.where(at, either, lp[:, capital])
        elif emptied:
            folded[:, capital] = torch.where(at, lp.new_tensor(CLOSED_BIAS), lp[:, capital])
        for k in torch.nonzero(lines[torch.repeat_interleave(chunk.lengths)]).flatten().tolist() if targets else ():
            aimed[k] = small_of.get(int(aimed[k]), int(aimed[k]))
        return folded, aimed

    return blind


@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 2e-6), (torch.float64, 1e-14)])
def test_a_letters_two_cases_sum_to_the_same_whoever_else_is_there(dtype: torch.dtype, near: float) -> None:
    """To the bit, at any place in a block of any length: a processor's wide instructions end where a block does."""
    draws = torch.Generator().manual_seed(0)
    for _ in range(100):
        one, other = -20.0 * torch.rand(2, 997, generator=draws, dtype=dtype)
        whole = gradients._log_sum(one, other)
        assert torch.allclose(whole.exp(), one.exp() + other.exp(), rtol=near)
        for first in (1, 3, 5, 990, 996):
            assert torch.equal(gradients._log_sum(one[first:].clone(), other[first:].clone()), whole[first:])
    shut = torch.tensor([CLOSED_BIAS, CLOSED_BIAS, -1.0], dtype=dtype)
    expected = torch.tensor([CLOSED_BIAS + math.log(2.0), -1.0, -1.0], dtype=dtype)
    assert torch.equal(gradients._log_sum(shut, shut[[0, 2, 1]]), expected)


def test_another_way_to_write_the_loss_passes(compared: Gradients, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradients, "_case_blind", mutant())
    assert max(apart(*compared("head", True))) < 1e-5


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"emptied": False}, id="the capital's class left in place"),
        pytest.param({"both": True, "targets": False}, id="each case has the probability of both"),
        pytest.param({"summed": False, "emptied": False}, id="the targets alone are folded"),
        pytest.param({"targets": False}, id="the probabilities alone are folded"),
        pytest.param({"summed": False}, id="the capital's probability thrown away"),
        pytest.param({"summed": False, "emptied": False, "targets": False}, id="taken by the letter"),
        pytest.param({"all_lines": True}, id="the neighbour's case is not taught either"),
    ],
)
@pytest.mark.parametrize("closed", [False, True], ids=["open", "closed"])
def test_each_wrong_loss_is_seen(
    compared: Gradients, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, bool], closed: bool
) -> None:
    monkeypatch.setattr(gradients, "_case_blind", mutant(**wrong))
    assert max(apart(*compared("head", closed))) > 1e-4
