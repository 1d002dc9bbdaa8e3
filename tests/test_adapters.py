"""What an adapter says is what the merged recogniser says, and its softmax is the full one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from learners.adapters import ASCII, LATIN, Adapter, Charset, HeadAdapter, TopAdapter, trunk
from learners.batches import by_width
from learners.lines import to_height
from models import recogniser, weights
from models.ctc import Alphabet
from models.recogniser import Recogniser
from privacy.page import Image

DIGITS = "0123456789. "


@pytest.fixture(scope="module")
def model(weights_dir: Path) -> Recogniser:
    return recogniser.load(weights_dir / "rec.onnx")


@pytest.fixture(scope="module")
def alphabet(weights_dir: Path) -> Alphabet:
    return Alphabet(weights.characters(weights_dir / "rec.onnx"))


@pytest.fixture(scope="module")
def images(draw_lines: Callable[[int], list[tuple[Image, str]]]) -> torch.Tensor:
    crops = [to_height(crop) for crop, _ in draw_lines(6)]
    return max((batch for _, batch in by_width(crops)), key=len)


def adapters(model: Recogniser, charset: Charset) -> list[Adapter]:
    basis = torch.linalg.qr(torch.randn(120, 16, generator=torch.Generator().manual_seed(1))).Q
    return [HeadAdapter(model, charset, None), HeadAdapter(model, charset, basis), TopAdapter(model, charset)]


def moved(adapter: Adapter) -> torch.Tensor:
    return 0.05 * torch.randn(adapter.size, generator=torch.Generator().manual_seed(2))


def merged(model: Recogniser, adapter: Adapter, theta: torch.Tensor) -> Recogniser:
    candidate = Recogniser()
    candidate.load_weights(model.weights() | {k: v.numpy() for k, v in adapter.merge(theta).items()})
    return candidate.eval()


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("which", [0, 1, 2], ids=["bias", "head", "top"])
def test_an_adapters_softmax_is_the_merged_models_full_one(
    model: Recogniser, alphabet: Alphabet, images: torch.Tensor, which: int, closed: bool
) -> None:
    charset = Charset.of(DIGITS, alphabet, closed)
    adapter = adapters(model, charset)[which]
    theta = moved(adapter)
    ours = adapter.logits(theta.expand(len(images), -1), adapter.inputs(trunk(model, images))).softmax(2)
    with torch.inference_mode():
        full = merged(model, adapter, theta)(images).softmax(2)
    index = torch.tensor(charset.classes)
    assert (ours[..., : len(index)] - full[..., index]).abs().max() < 1e-5
    others = full.sum(2) - full[..., index].sum(2)
    if closed:
        assert ours.shape[2] == len(index)
        assert others.abs().max() < 1e-6
    else:
        assert (ours[..., -1] - others).abs().max() < 1e-5
        assert others.max() > 0.01


@pytest.mark.parametrize("which", [0, 1, 2], ids=["bias", "head", "top"])
def test_no_step_is_the_model_as_it_was(model: Recogniser, alphabet: Alphabet, which: int) -> None:
    adapter = adapters(model, Charset.of(ASCII, alphabet))[which]
    before = dict(model.named_parameters())
    for name, value in adapter.merge(torch.zeros(adapter.size)).items():
        assert torch.equal(value, before[name].detach())


def test_only_the_charset_moves_and_only_within_the_basis(model: Recogniser, alphabet: Alphabet) -> None:
    charset = Charset.of(DIGITS, alphabet)
    adapter = adapters(model, charset)[1]
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


def test_a_charset_is_what_the_dictionary_has_of_it(alphabet: Alphabet) -> None:
    charset = Charset.of("aß€b ", alphabet)
    assert len(charset.classes) == 4
    assert charset.encode("ab a") == [charset.local[c] for c in "ab a"]
    assert charset.encode("aß") is None
    assert len(Charset.of(ASCII, alphabet).classes) == 96
    assert len(Charset.of(LATIN, alphabet).classes) > 110
    with pytest.raises(ValueError, match="none"):
        Charset.of("ß", alphabet)
