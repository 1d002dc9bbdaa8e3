"""A document's gradient against a float64 reference, alone and in company, for every adapter."""

from __future__ import annotations

import copy
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.func import functional_call
from torch.nn import functional

import knees
from learners.adapters import ASCII, Adapter, Charset
from learners.batches import to_tensor
from learners.chunks import Cached, cache, collate, look
from learners.gradients import document_drifts, document_gradients, document_losses, gradient_blocks
from learners.lines import TrainDocument, TrainLine, document
from models.ctc import Alphabet
from models.recogniser import Recogniser
from privacy.page import Image
from test_adapters import ADAPTERS, moved

FROM_IMAGES = {"norm, images", "all"}


@pytest.fixture(scope="module")
def double(model: Recogniser) -> Recogniser:
    return copy.deepcopy(model).double()


@pytest.fixture(scope="module")
def documents(draw_lines: Callable[[int], list[tuple[Image, str]]]) -> list[TrainDocument]:
    """Of one, three and two lines, of many widths."""
    pairs = draw_lines(6)
    made = [document(k, part) for k, part in enumerate((pairs[:1], pairs[1:4], pairs[4:]))]
    return [each for each in made if each is not None]


def reference(
    double: Recogniser, alphabet: Alphabet, adapter: Adapter, theta: torch.Tensor, taught: TrainDocument
) -> torch.Tensor:
    """The merged model in float64, from the pixels to the full softmax, a line at a time."""
    start = theta.double().requires_grad_()
    merged = dict(double.named_parameters()) | adapter.merge(start)
    losses = []
    for each in taught.lines:
        scores = functional_call(double, merged, (to_tensor(each.image)[None].double(),))[0].log_softmax(1)
        target = torch.tensor([alphabet.encode(each.text)])
        length = target.shape[1]
        loss = functional.ctc_loss(scores[:, None], target, [len(scores)], [length], reduction="sum")
        losses.append(loss / length)
    (found,) = torch.autograd.grad(torch.stack(losses).mean(), start)
    return found


def relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours.double() - theirs).norm() / theirs.norm())


@pytest.mark.parametrize("name", sorted({*ADAPTERS, "neck and head, closed"} - FROM_IMAGES))
def test_gradients_are_the_references(
    model: Recogniser, double: Recogniser, alphabet: Alphabet, documents: list[TrainDocument], name: str
) -> None:
    """In float32 to 1e-5, away from the start."""
    kind = name.removesuffix(", closed")
    charset = Charset.of(ASCII, alphabet, "closed" in name)
    adapter, theirs = ADAPTERS[kind](model, charset), ADAPTERS[kind](double, charset)
    theta = 0.1 * moved(adapter)
    batch = cache(adapter, look(model, documents, depth=adapter.depth))
    found = document_gradients(adapter, theta, collate(batch))
    for k in (0, 2):
        truth = reference(double, alphabet, theirs, theta, documents[k])
        assert relative(found[k], truth) < 1e-5
        assert relative(found[k], 1.0001 * truth) > 1e-5


@pytest.mark.parametrize("name", sorted(FROM_IMAGES))
def test_gradients_from_images_are_the_references(
    model: Recogniser,
    double: Recogniser,
    alphabet: Alphabet,
    documents: list[TrainDocument],
    draw_lines: Callable[[int], list[tuple[Image, str]]],
    name: str,
) -> None:
    """In float64 to 1e-10. In float32 rounding is 1e-5 of most, and what is more is a knee: 1e-3 at most."""
    charset = Charset.of(ASCII, alphabet)
    adapter, exact = ADAPTERS[name](model, charset), ADAPTERS[name](double, charset)
    start, apart = torch.zeros(adapter.size), []
    alone = [document(k, [pair]) for k, pair in enumerate(draw_lines(6))]
    for each in [*documents[1:], *(one for one in alone if one is not None)]:
        batch = cache(adapter, look(model, [each], depth="image"))
        single, doubled = collate(batch), collate(batch, torch.float64)
        truth = reference(double, alphabet, exact, start, each)
        assert relative(document_gradients(exact, start.double(), doubled)[0], truth) < 1e-10
        assert relative(document_gradients(adapter, start, single)[0], truth) < 1e-3
        with knees.sides() as taken:
            found = document_gradients(adapter, start, single)[0]
        with knees.sides(taken):
            held = document_gradients(exact, start.double(), doubled)[0]
        apart.append(relative(found, held))
        assert relative(found, 1.0001 * held) > 3e-5
        with knees.sides() as own:
            document_gradients(exact, start.double(), doubled)
        assert sum(int((a != b).sum()) for a, b in zip(taken, own, strict=True)) < 10  # of millions
    assert statistics.median(apart) < 1e-5
    assert max(apart) < 3e-5


# A document's gradient is its own. The way that ships passes; each mutant, a way of batching that is common, fails.


class Ours:
    """Documents to gradients `(n, size)`, with an adapter that reads whole lines."""

    def __init__(self, model: Recogniser, alphabet: Alphabet, name: str = "neck and head") -> None:
        self.model = model
        self.adapter = ADAPTERS[name](model, Charset.of(ASCII, alphabet))
        self.theta = 0.1 * moved(self.adapter)

    def __call__(self, documents: Sequence[TrainDocument]) -> torch.Tensor:
        batch = cache(self.adapter, look(self.model, documents, depth=self.adapter.depth))
        return self.of(batch)

    def of(self, batch: Sequence[Cached]) -> torch.Tensor:
        return document_gradients(self.adapter, self.theta, collate(batch))


class PadsToTheBatch(Ours):
    """Every line gets the width of the batch's widest: squeeze-excite and attention see the padding."""

    def __call__(self, documents: Sequence[TrainDocument]) -> torch.Tensor:
        widest = max(line.image.shape[1] for each in documents for line in each.lines)

        def wide(line: TrainLine) -> TrainLine:
            padded = np.full((48, widest, 3), 127, np.uint8)  # as near to the middle grey as a crop can be
            padded[:, : line.image.shape[1]] = line.image
            return TrainLine(padded, line.text)

        return super().__call__([TrainDocument(each.slot, tuple(map(wide, each.lines))) for each in documents])


class DividesByTheBatchsLines(Ours):
    """A line's weight is one over the lines of the batch: documents with many lines drown the others."""

    def of(self, batch: Sequence[Cached]) -> torch.Tensor:
        chunk = collate(batch)
        weights = torch.full_like(chunk.weights, 1 / len(chunk.weights)) / chunk.lengths
        return document_gradients(self.adapter, self.theta, replace(chunk, weights=weights))


class SharesOneCopy(Ours):
    """One copy of the parameters for all: what comes out is everybody's mean, for everybody."""

    def of(self, batch: Sequence[Cached]) -> torch.Tensor:
        chunk = collate(batch, joint=True)
        theta = self.theta.clone().requires_grad_()
        loss = document_losses(self.adapter, theta.unsqueeze(0), chunk).mean()
        return torch.autograd.grad(loss, theta)[0].expand(len(batch), -1)


class NormalisesAcrossTheBatch(Ours):
    """Features are centred over the batch, as BatchNorm does in training."""

    def of(self, batch: Sequence[Cached]) -> torch.Tensor:
        mean = torch.cat([line.flatten(1) for each in batch for line in each.inputs], dim=1).mean(1)
        centred = [replace(each, inputs=tuple(line - mean.view(-1, 1, 1) for line in each.inputs)) for each in batch]
        return super().of(centred)


def check_a_documents_gradient_is_its_own(ours: Ours, documents: list[TrainDocument]) -> None:
    """To the bit: alone, in company, and in any order."""
    together, turned = ours(documents), ours(documents[::-1]).flip(0)
    alone = torch.cat([ours([each]) for each in documents])
    assert torch.equal(together, alone)
    assert torch.equal(together, turned)


@pytest.mark.parametrize("name", ["bias", "head", "top", "lora and head", "norm", "neck and head"])
def test_a_documents_gradient_is_its_own(
    model: Recogniser, alphabet: Alphabet, documents: list[TrainDocument], name: str
) -> None:
    check_a_documents_gradient_is_its_own(Ours(model, alphabet, name), documents)


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("name", ["bias", "head", "top"])
def test_a_documents_gradient_is_its_own_whatever_the_threads(
    model: Recogniser, alphabet: Alphabet, name: str, threads: int
) -> None:
    """Larger products are shared out among threads; the service takes all cores but one."""
    ours, draws, before = Ours(model, alphabet, name), random.Random(threads), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        documents = [drawn_document(ours.adapter, draws) for _ in range(12)]
        alone = torch.cat([ours.of([each]) for each in documents])
        for _ in range(6):
            chosen = draws.sample(range(12), draws.randint(2, 8))
            assert torch.equal(ours.of([documents[k] for k in chosen]), alone[chosen])
    finally:
        torch.set_num_threads(before)


def drawn_document(adapter: Adapter, draws: random.Random) -> Cached:
    """One to five lines of random frames and texts."""
    generator = torch.Generator().manual_seed(draws.getrandbits(32))
    frames = [torch.randn(1, draws.randint(40, 97), 60, generator=generator) for _ in range(draws.randint(1, 5))]
    classes = range(1, len(adapter.charset.classes))
    texts = [tuple(draws.choices(classes, k=draws.randint(3, 18))) for _ in frames]
    return Cached(tuple(adapter.inputs(each)[0] for each in frames), tuple(texts), draws.random() < 0.5)


def test_a_documents_gradient_is_its_own_from_images(
    model: Recogniser, alphabet: Alphabet, documents: list[TrainDocument]
) -> None:
    check_a_documents_gradient_is_its_own(Ours(model, alphabet, "all"), documents[:2])


@pytest.mark.parametrize("mutant", [PadsToTheBatch, DividesByTheBatchsLines, SharesOneCopy, NormalisesAcrossTheBatch])
def test_each_way_to_mix_documents_is_caught(
    model: Recogniser, alphabet: Alphabet, documents: list[TrainDocument], mutant: type[Ours]
) -> None:
    with pytest.raises(AssertionError):
        check_a_documents_gradient_is_its_own(mutant(model, alphabet), documents)


# The pieces.


@pytest.mark.parametrize("name", ["head", "lora"])
def test_blocks_hold_every_document_that_teaches_once_and_in_order(
    model: Recogniser, alphabet: Alphabet, documents: list[TrainDocument], name: str
) -> None:
    ours = Ours(model, alphabet, name)
    batch = cache(ours.adapter, look(model, documents, depth=ours.adapter.depth))
    times, sizes = (10, [8, 8, 8, 6]) if name == "head" else (2, [1] * 6)
    found = list(gradient_blocks(ours.adapter, ours.theta, [*batch, Cached((), ())] * times))
    assert [len(block) for block in found] == sizes
    assert torch.equal(torch.cat(found), ours.of(batch).repeat(times, 1))
    assert list(gradient_blocks(ours.adapter, ours.theta, [Cached((), ())])) == []


@pytest.mark.parametrize("name", ["head", "neck"])
def test_a_document_without_a_line_has_a_zero_gradient(
    model: Recogniser, alphabet: Alphabet, documents: list[TrainDocument], name: str
) -> None:
    ours = Ours(model, alphabet, name)
    batch = cache(ours.adapter, look(model, documents, depth=ours.adapter.depth))
    found = ours.of([batch[0], Cached((), ()), batch[1]])
    assert torch.equal(found[1], torch.zeros(ours.adapter.size))
    assert torch.equal(found[[0, 2]], ours.of(batch[:2]))


@pytest.mark.parametrize("name", ["head", "top", "neck"])
def test_a_joint_chunk_is_ordinary_training(
    model: Recogniser, alphabet: Alphabet, documents: list[TrainDocument], name: str
) -> None:
    ours = Ours(model, alphabet, name)
    shared = SharesOneCopy(model, alphabet, name)(documents)[0]
    assert relative(shared, ours(documents).double().mean(0)) < 1e-5


@pytest.mark.parametrize("name", ["head", "lora and head"])
def test_drift_is_nothing_at_the_start_and_grows(
    model: Recogniser, alphabet: Alphabet, documents: list[TrainDocument], name: str
) -> None:
    ours = Ours(model, alphabet, name)
    chunk = collate(cache(ours.adapter, look(model, documents, depth=ours.adapter.depth)))

    def drift(theta: torch.Tensor) -> torch.Tensor:
        return document_drifts(ours.adapter, theta.expand(len(chunk.inputs), -1), chunk)

    assert drift(torch.zeros(ours.adapter.size)).abs().max() < 1e-6
    assert drift(ours.theta).min() > 0
    back = document_gradients(ours.adapter, ours.theta, chunk, document_drifts).sum(0)
    assert drift(ours.theta - 1e-4 * back / back.norm()).sum() < drift(ours.theta).sum()


@pytest.mark.parametrize("name", ["head", "top", "lora", "neck and head"])
def test_half_precision_is_near_and_its_gradients_are_float32(
    model: Recogniser, alphabet: Alphabet, documents: list[TrainDocument], name: str
) -> None:
    ours = Ours(model, alphabet, name)
    chunk = collate(cache(ours.adapter, look(model, documents, depth=ours.adapter.depth)))
    full = document_gradients(ours.adapter, ours.theta, chunk)
    half = document_gradients(ours.adapter, ours.theta, chunk, autocast=True)
    assert half.dtype == torch.float32
    assert not torch.equal(half, full)
    for k in range(3):
        assert relative(half[k], full[k].double()) < 0.1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", ["head", "neck and head", "all"])
def test_a_gpu_gives_the_same_gradients(
    model: Recogniser, alphabet: Alphabet, documents: list[TrainDocument], name: str
) -> None:
    ours, there = Ours(model, alphabet, name), Ours(copy.deepcopy(model).cuda(), alphabet, name)
    there.theta = there.theta.cuda()
    batch = cache(there.adapter, look(there.model, documents, depth=there.adapter.depth))
    found = document_gradients(there.adapter, there.theta, collate(batch), autocast=False).cpu()
    assert relative(found, ours(documents).double()) < 1e-3
    assert relative(document_gradients(there.adapter, there.theta, collate(batch)).cpu(), found.double()) < 0.1
