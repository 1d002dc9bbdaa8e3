"""What an adapter says is what the merged recogniser says, and its softmax is the full one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from learners import neck_adapters
from learners.adapters import ASCII, LATIN, Adapter, Charset, HeadAdapter, Rows, TopAdapter
from learners.batches import by_width
from learners.chunks import look
from learners.lines import document, to_height
from models import neck_frames
from models.ctc import Alphabet
from models.recogniser import Recogniser
from models.trainee import Depth
from privacy.page import Image

DIGITS = "0123456789. "
BASIS = torch.linalg.qr(torch.randn(120, 16, generator=torch.Generator().manual_seed(1))).Q

ADAPTERS: dict[str, Callable[[Recogniser, Charset], Adapter]] = {
    "bias": lambda model, charset: HeadAdapter(model, charset, None),
    "head": lambda model, charset: HeadAdapter(model, charset, BASIS),
    "top": TopAdapter,
    "lora": neck_adapters.lora,
    "lora and head": lambda model, charset: neck_adapters.lora(model, charset, 2, BASIS),
    "norm": neck_adapters.norm,
    "norm, images": lambda model, charset: neck_adapters.norm(model, charset, "image"),
    "norm and head": lambda model, charset: neck_adapters.norm(model, charset, basis=BASIS),
    "neck": neck_adapters.neck,
    "neck and head": lambda model, charset: neck_adapters.neck(model, charset, BASIS),
    "all": neck_adapters.everything,
}
each_adapter = pytest.mark.parametrize("make", ADAPTERS.values(), ids=ADAPTERS.keys())


@pytest.fixture(scope="module")
def images(draw_lines: Callable[[int], list[tuple[Image, str]]]) -> torch.Tensor:
    crops = [to_height(crop) for crop, _ in draw_lines(6)]
    return max((batch for _, batch in by_width(crops)), key=len)


def moved(adapter: Adapter, by: float = 0.05) -> torch.Tensor:
    """Away from the start; a step of the same norm, however many parameters there are."""
    step = torch.randn(adapter.size, generator=torch.Generator().manual_seed(2))
    return step * min(by, 2.0 / adapter.size**0.5)


def merged(model: Recogniser, adapter: Adapter, theta: torch.Tensor) -> Recogniser:
    candidate = Recogniser()
    candidate.load_weights(model.weights() | {k: v.numpy() for k, v in adapter.merge(theta).items()})
    return candidate.eval()


@pytest.mark.parametrize("closed", [False, True], ids=["open", "closed"])
@each_adapter
def test_an_adapters_softmax_is_the_merged_models_full_one(
    model: Recogniser,
    alphabet: Alphabet,
    images: torch.Tensor,
    make: Callable[[Recogniser, Charset], Adapter],
    closed: bool,
) -> None:
    charset = Charset.of(DIGITS, alphabet, closed)
    adapter = make(model, charset)
    theta = moved(adapter)
    with torch.inference_mode():
        ours = adapter.logits(theta, [adapter.inputs(model.frozen(images, adapter.depth))]).softmax(1)
        stock = model(images).flatten(0, 1).softmax(1)
        full = merged(model, adapter, theta)(images).flatten(0, 1).softmax(1)
    index = torch.tensor(charset.classes)
    assert (ours[:, : len(index)] - full[:, index]).abs().max() < 1e-5
    others = full.sum(1) - full[:, index].sum(1)
    assert (full - stock).abs().max() > 1e-3
    if closed:
        assert ours.shape[1] == len(index)
        assert others.abs().max() < 1e-6
    else:
        assert (ours[:, -1] - others).abs().max() < 1e-5
        assert others.max() > 0.01


@each_adapter
def test_no_step_is_the_model_as_it_was(
    model: Recogniser, alphabet: Alphabet, images: torch.Tensor, make: Callable[[Recogniser, Charset], Adapter]
) -> None:
    adapter = make(model, Charset.of(ASCII, alphabet))
    before = dict(model.named_parameters())
    start = torch.zeros(adapter.size)
    found = adapter.merge(start)
    assert found
    for name, value in found.items():
        assert torch.equal(value, before[name].detach())
    with torch.inference_mode():
        ours = adapter.logits(start, [adapter.inputs(model.frozen(images, adapter.depth))])
        stock = model(images).flatten(0, 1)
    index = list(adapter.charset.classes)
    assert (ours[:, : len(index)] - stock[:, index]).abs().max() < 1e-4


@each_adapter
def test_every_parameter_moves_the_merged_model(
    model: Recogniser, alphabet: Alphabet, make: Callable[[Recogniser, Charset], Adapter]
) -> None:
    """None is dead, and together they move the weights that the adapter is named for, and no other."""
    adapter = make(model, Charset.of(DIGITS, alphabet))
    theta = torch.ones(adapter.size, requires_grad=True)
    changed = adapter.merge(theta)
    (slope,) = torch.autograd.grad(sum((v.square().sum() for v in changed.values()), torch.tensor(0.0)), theta)
    assert bool((slope != 0).all())
    before = dict(model.named_parameters())
    assert all(value.shape == before[name].shape for name, value in changed.items())


def test_what_each_adapter_moves(model: Recogniser, alphabet: Alphabet) -> None:
    charset = Charset.of(DIGITS, alphabet)

    def parts(adapter: Adapter) -> set[str]:
        return {name.split(".")[0] for name in adapter.merge(torch.zeros(adapter.size))}

    sizes = {name: make(model, charset).size for name, make in ADAPTERS.items()}
    assert (sizes["neck"], sizes["all"], sizes["lora"]) == (565_320, 2_687_653, 4 * 2520)
    assert sizes["lora and head"] == 2 * 2520 + len(charset.classes) * 17
    assert parts(neck_adapters.lora(model, charset)) == parts(neck_adapters.norm(model, charset)) == {"neck"}
    assert parts(neck_adapters.norm(model, charset, "image")) == {"backbone", "neck"}
    assert parts(neck_adapters.neck(model, charset, BASIS)) == {"neck", "head"}
    assert parts(neck_adapters.everything(model, charset)) == {"backbone", "neck", "head"}


def test_lora_stays_within_its_public_factor(model: Recogniser, alphabet: Alphabet) -> None:
    factors = neck_adapters.random_factors(model, 3, seed=5)
    adapter = neck_adapters.lora(model, Charset.of(DIGITS, alphabet), factors)
    before = dict(model.named_parameters())
    theta = moved(adapter)
    length = 0.0
    for name, value in adapter.merge(theta).items():
        change = (value - before[name].detach()).flatten(1)
        assert torch.linalg.matrix_rank(change, atol=1e-4) == 3
        assert (change - change @ factors[name].T @ factors[name]).abs().max() < 1e-5
        length += float(change.square().sum())
    assert length**0.5 == pytest.approx(float(theta.norm()), rel=1e-3)  # orthonormal: a step keeps its norm


def test_public_gradients_name_the_factors(model: Recogniser, alphabet: Alphabet, draw_lines: Callable) -> None:
    """They hold most of an unseen document's gradient; random directions hold next to nothing."""
    charset = Charset.of(ASCII, alphabet)
    documents = [document(s, draw_lines(12)[3 * s : 3 * s + 3]) for s in range(4)]
    seen = look(model, [each for each in documents if each is not None], depth="backbone")
    factors = neck_adapters.gradient_factors(model, charset, 4, seen[:3])
    for factor in factors.values():
        assert torch.allclose(factor @ factor.T, torch.eye(4), atol=1e-5)
    whole = neck_adapters.neck(model, charset)
    gradient = next(neck_adapters.gradient_blocks(whole, torch.zeros(whole.size), neck_adapters.cache(whole, seen[3:])))
    parts = {k: v.flatten(1) for k, v in whole.parts(gradient[0]).items() if k in factors}
    total = sum(float(v.square().sum()) for v in parts.values())

    def held(by: dict[str, torch.Tensor]) -> float:
        return sum(float((v @ by[k].T).square().sum()) for k, v in parts.items()) / total

    assert held(factors) > 0.3
    assert held(neck_adapters.random_factors(model, 4)) < 0.1


@pytest.mark.parametrize("depth", ["projection", "backbone", "image"])
def test_what_is_remembered_is_the_models_own_to_the_bit(
    model: Recogniser, draw_lines: Callable[[int], list[tuple[Image, str]]], depth: Depth
) -> None:
    """And a document's own: the same whoever else is looked at."""
    pairs = draw_lines(6)
    documents = [document(0, pairs[:4]), document(1, pairs[4:])]
    taught = [each for each in documents if each is not None]
    together, alone = look(model, taught, depth=depth), [look(model, [each], depth=depth)[0] for each in taught]
    for ours, theirs in zip(together, alone, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours.frames, theirs.frames, strict=True))
    kept: list[torch.Tensor] = []
    if depth == "image":
        assert all(
            a.numpy() is not None and (a.numpy() == b.image).all()
            for a, b in zip(together[0].frames, taught[0].lines, strict=True)
        )
        return
    layer = model.neck.project if depth == "projection" else model.neck
    hook = layer.register_forward_pre_hook(lambda _, given: kept.append(given[0]))
    with torch.inference_mode():
        for indices, batch in by_width([each.image for each in taught[0].lines]):
            model(batch)
            for index, own in zip(indices, kept.pop(), strict=True):
                expected = own.squeeze(1).T if depth == "projection" else own
                assert torch.equal(together[0].frames[index], expected)
    hook.remove()


def _without_gaps(lines: neck_frames._Lines) -> neck_frames._Lines:
    """A line's last frame then sees the next line's first one."""
    return replace(lines, columns=torch.arange(len(lines.columns)))


def _without_mask(lines: neck_frames._Lines) -> neck_frames._Lines:
    """A line attends to the padding of the table."""
    return replace(lines, own=torch.ones_like(lines.own))


@pytest.mark.parametrize("mutant", [None, _without_gaps, _without_mask])
def test_lines_of_any_width_go_through_the_neck_as_if_alone(
    model: Recogniser, monkeypatch: pytest.MonkeyPatch, mutant: Callable | None
) -> None:
    generator = torch.Generator().manual_seed(3)
    groups = [torch.randn(n, 480, 1, t, generator=generator) for n, t in ((2, 40), (1, 41), (3, 97))]
    if mutant:
        of = neck_frames._Lines.of
        monkeypatch.setattr(neck_frames._Lines, "of", lambda groups: mutant(of(groups)))
    weights = {key: value for key, value in model.named_parameters() if key.startswith("neck.")}
    with torch.inference_mode():
        ours = neck_frames.neck_frames(model.neck, weights, groups)
        theirs = torch.cat([model.neck(line[None])[0] for group in groups for line in group])
    assert ((ours - theirs).abs().max() < 1e-5) == (mutant is None)


def test_the_rests_slope_is_exact(model: Recogniser, alphabet: Alphabet) -> None:
    rows = Rows(model, Charset.of(DIGITS, alphabet))
    features = torch.randn(3, 120, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(rows.rest, (features,))
    scores = features @ model.head.weight.detach()[rows.others].double().T + model.head.bias.detach()[rows.others]
    assert torch.allclose(rows.rest(features), scores.logsumexp(1, keepdim=True))


def test_only_the_charset_moves_and_only_within_the_basis(model: Recogniser, alphabet: Alphabet) -> None:
    charset = Charset.of(DIGITS, alphabet)
    adapter = HeadAdapter(model, charset, BASIS)
    change = adapter.merge(moved(adapter))["head.weight"] - model.head.weight.detach()
    touched = torch.nonzero(change.abs().sum(1) > 0).flatten().tolist()
    assert touched == sorted(charset.classes)
    assert torch.linalg.matrix_rank(change[touched], atol=1e-4) <= min(16, len(touched))
    assert adapter.size == len(charset.classes) * 17


def test_closing_shuts_out_all_other_characters(model: Recogniser, alphabet: Alphabet, images: torch.Tensor) -> None:
    charset = Charset.of(ASCII, alphabet, closed=True)
    adapter = HeadAdapter(model, charset, None)
    with torch.inference_mode():
        best = merged(model, adapter, torch.zeros(adapter.size))(images).argmax(2)
    assert set(best.flatten().tolist()) <= set(charset.classes)


def test_parameters_that_cannot_learn_are_refused(model: Recogniser, alphabet: Alphabet) -> None:
    charset = Charset.of(DIGITS, alphabet)
    wrong: list[dict[str, torch.Tensor | None]] = [
        {"neck.none": None},
        {"backbone.stem.weight": None},
        {"head.weight": None},
        {"neck.enter.weight": torch.eye(3)},
    ]
    for learned in wrong:
        with pytest.raises(ValueError, match="Expected"):
            neck_adapters.DeepAdapter("wrong", model, charset, learned)
    with pytest.raises(ValueError, match="each once"):
        neck_adapters.DeepAdapter("twice", model, charset, {"head.weight": None, "head.bias": None}, basis=BASIS)


def test_a_charset_is_what_the_dictionary_has_of_it(alphabet: Alphabet) -> None:
    charset = Charset.of("aß€b ", alphabet)
    assert len(charset.classes) == 4
    assert charset.encode("ab a") == [charset.local[c] for c in "ab a"]
    assert charset.encode("aß") is None
    assert len(Charset.of(ASCII, alphabet).classes) == 96
    assert len(Charset.of(LATIN, alphabet).classes) > 110
    with pytest.raises(ValueError, match="none"):
        Charset.of("ß", alphabet)
