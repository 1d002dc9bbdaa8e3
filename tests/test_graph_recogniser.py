"""PP-OCRv6 small as a trainee: what onnxruntime reads, what an adapter says of it, and the way back into its file."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper
from torch import Tensor
from torch.nn import functional

import knees
from learners import batches, lines
from learners.adapters import ASCII, Adapter, Charset
from learners.catalogue import Looks, build
from learners.chunks import cache, collate, look
from learners.gradients import document_gradients
from learners.lines import TrainDocument, document
from models import graph_recogniser, operators, weights
from models.ctc import Alphabet
from models.errors import UnsupportedGraph, WeightsMismatch
from models.graph_recogniser import GraphRecogniser
from models.reader import Reader
from privacy.page import Image
from test_adapters import ADAPTERS, moved
from test_gradients import reference, relative

DrawLines = Callable[[int], list[tuple[Image, str]]]
FILE = weights.v6_files().rec
HEAD_ONLY = ("bias", "head")
each_adapter = pytest.mark.parametrize("name", [*HEAD_ONLY, "lora and head", "norm and head", "neck and head"])


@pytest.fixture(scope="module")
def model() -> GraphRecogniser:
    return graph_recogniser.load(FILE)


@pytest.fixture(scope="module")
def alphabet() -> Alphabet:
    return Alphabet(weights.characters(FILE))


@pytest.fixture(scope="module")
def tensors(draw_lines: DrawLines) -> list[Tensor]:
    return [batches.to_tensor(lines.to_height(crop))[None] for crop, _ in draw_lines(10)]


@pytest.fixture(scope="module")
def released(tensors: list[Tensor]) -> list[np.ndarray]:
    return read_by_onnxruntime(FILE, tensors)


def read_by_onnxruntime(path: Path, tensors: list[Tensor]) -> list[np.ndarray]:
    """Class probabilities `(T, classes)` of each line."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return [session.run(None, {"x": x.numpy()})[0][0] for x in tensors]


def parity(model: GraphRecogniser, tensors: list[Tensor], expected: list[np.ndarray], alphabet: Alphabet) -> bool:
    """Identical texts, and no class probability off by 5e-4."""
    for x, theirs in zip(tensors, expected, strict=True):
        with torch.inference_mode():
            ours = model(x).softmax(-1)[0].numpy()
        if np.abs(ours - theirs).max() > 5e-4 or alphabet.best_path(ours)[0] != alphabet.best_path(theirs)[0]:
            return False
    return True


def test_probabilities_and_texts_are_those_of_onnxruntime(
    model: GraphRecogniser, tensors: list[Tensor], released: list[np.ndarray], alphabet: Alphabet
) -> None:
    assert len(alphabet) == model.head.out_features == 18_710
    assert parity(model, tensors, released, alphabet)


def batch_statistics(x: Tensor, scale: Tensor, bias: Tensor, *_: Tensor, **__: Any) -> Tensor:
    return functional.batch_norm(x, None, None, scale, bias, training=True)


def wider_gate(x: Tensor, **_: Any) -> Tensor:
    return (0.2 * x + 0.5).clamp(0, 1)


def other_gelu(x: Tensor) -> Tensor:
    return (1.1 * x).tanh()


@pytest.mark.parametrize(
    ("kind", "mutant"),
    [("BatchNormalization", batch_statistics), ("HardSigmoid", wider_gate), ("Erf", other_gelu)],
)
def test_parity_catches_a_planted_bug(
    model: GraphRecogniser,
    tensors: list[Tensor],
    released: list[np.ndarray],
    alphabet: Alphabet,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    mutant: Callable[..., Tensor],
) -> None:
    monkeypatch.setitem(operators.OPERATORS, kind, mutant)
    assert not parity(model, tensors[:4], released[:4], alphabet)


def test_a_line_reads_the_same_alone_in_a_batch_and_in_training_mode(
    model: GraphRecogniser, tensors: list[Tensor]
) -> None:
    x = tensors[0]
    with torch.inference_mode():
        alone, together = model(x), model(torch.cat([x, x.flip(3), torch.zeros_like(x)]))[:1]
        training = copy.deepcopy(model).train()(x)
    assert torch.equal(alone, training)
    assert float((alone.softmax(-1) - together.softmax(-1)).abs().max()) < 1e-5


def test_every_parameter_learns(model: GraphRecogniser, tensors: list[Tensor]) -> None:
    """All but those that a flat stretch of the loss leaves alone by chance: none, on two lines."""
    learner = copy.deepcopy(model)
    sum(learner(x).log_softmax(-1)[..., 1:].mean() for x in tensors[:2]).backward()
    still = [name for name, value in learner.named_parameters() if value.grad is None or not bool(value.grad.any())]
    assert still == []
    assert len(list(learner.parameters())) == 145


@pytest.mark.parametrize("closed", [False, True], ids=["open", "closed"])
@each_adapter
def test_an_adapters_softmax_is_the_merged_models_full_one(
    model: GraphRecogniser, alphabet: Alphabet, tensors: list[Tensor], name: str, closed: bool
) -> None:
    adapter = ADAPTERS[name](model, Charset.of(ASCII, alphabet, closed))  # type: ignore[arg-type]
    theta, index = moved(adapter), list(adapter.charset.classes)
    merged = merge(model, adapter, theta)
    with torch.inference_mode():
        ours = adapter.logits(theta, [adapter.inputs(model.frozen(tensors[0], adapter.depth))]).softmax(1)
        stock, full = (each(tensors[0])[0].softmax(1) for each in (model, merged))
    assert (ours[:, : len(index)] - full[:, index]).abs().max() < 2e-5
    assert (full - stock).abs().max() > 1e-3
    if not closed:
        assert (ours[:, -1] - (full.sum(1) - full[:, index].sum(1))).abs().max() < 2e-5


def merge(model: GraphRecogniser, adapter: Adapter, theta: Tensor) -> GraphRecogniser:
    merged = copy.deepcopy(model)
    merged.load_weights(model.weights() | {k: v.numpy() for k, v in adapter.merge(theta).items()})
    return merged


@pytest.fixture(scope="module")
def documents(draw_lines: DrawLines) -> list[TrainDocument]:
    """Of one line, and of two of different widths."""
    pairs = draw_lines(6)
    made = [document(k, part) for k, part in enumerate((pairs[:1], pairs[4:]))]
    return [each for each in made if each is not None]


@pytest.fixture(scope="module")
def double(model: GraphRecogniser) -> GraphRecogniser:
    return copy.deepcopy(model).double()


@each_adapter
def test_gradients_are_those_of_a_float64_reference(
    model: GraphRecogniser, double: GraphRecogniser, alphabet: Alphabet, documents: list[TrainDocument], name: str
) -> None:
    """Merged weights, pixels, full softmax: in float64 exactly, and in float32 from what was cached to 1e-5."""
    charset = Charset.of(ASCII, alphabet)
    adapter, exact = (ADAPTERS[name](each, charset) for each in (model, double))  # type: ignore[arg-type]
    theta = 0.1 * moved(adapter)
    truth = reference(double, alphabet, exact, theta, documents[1])  # type: ignore[arg-type]
    batch = cache(adapter, look(model, documents, depth=adapter.depth))
    found = document_gradients(adapter, theta, collate(batch))
    assert relative(found[1], truth) < 1e-5
    assert relative(found[1], 1.0001 * truth) > 1e-5
    frames = [double.frozen(batches.to_tensor(each.image)[None].double(), exact.depth) for each in documents[1].lines]
    inputs = tuple(exact.inputs(each)[0] for each in frames)
    chunk = collate([replace(batch[1], inputs=inputs)], torch.float64)
    assert relative(document_gradients(exact, theta.double(), chunk)[0], truth) < 1e-9
    assert torch.equal(found[1:2], document_gradients(adapter, theta, collate(batch[1:2])))


def test_all_parameters_from_images_have_the_references_gradient(
    model: GraphRecogniser, double: GraphRecogniser, alphabet: Alphabet, documents: list[TrainDocument]
) -> None:
    """In float64 exactly; in float32 to 1e-5 on the same side of every knee, and alone as in company."""
    charset = Charset.of(ASCII, alphabet)
    adapter, exact = (ADAPTERS["all"](each, charset) for each in (model, double))  # type: ignore[arg-type]
    start = torch.zeros(adapter.size)
    truth = reference(double, alphabet, exact, start, documents[0])  # type: ignore[arg-type]
    batch = cache(adapter, look(model, documents, depth="image"))
    found = document_gradients(adapter, start, collate(batch))
    assert relative(found[0], truth) < 1e-3
    in_double = document_gradients(exact, start.double(), collate(batch[:1], torch.float64))[0]
    assert relative(in_double, truth) < 1e-9
    assert relative(in_double, 1.0001 * truth) > 1e-5
    assert torch.equal(found[:1], document_gradients(adapter, start, collate(batch[:1])))
    with knees.sides() as taken:
        single = document_gradients(adapter, start, collate(batch[:1]))[0]
    with knees.sides(taken):
        held = document_gradients(exact, start.double(), collate(batch[:1], torch.float64))[0]
    assert relative(single, held) < 1e-5


def torchs_own(x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor, **_: Any) -> Tensor:
    return functional.batch_norm(x, mean, var, scale, bias, training=False, eps=1e-5)


@pytest.mark.parametrize("mutant", [None, torchs_own])
def test_the_gradient_of_a_batch_norm_is_that_of_its_formula(
    model: GraphRecogniser, monkeypatch: pytest.MonkeyPatch, mutant: Callable[..., Tensor] | None
) -> None:
    """Torch's own operator reads as well, and on a CPU teaches otherwise (`models.operators._batch_norm`).

    When this fails for "torchs_own", torch has been mended.
    """
    if mutant:
        monkeypatch.setitem(operators.OPERATORS, "BatchNormalization", mutant)
    frames = torch.randn(1, 384, 1, 40, generator=torch.Generator().manual_seed(0))
    at = {k: v.detach().clone() for k, v in model.layers("backbone").items()}
    name = next(name for name in at if "batch_norm2d_55.b_0" in name)

    def value(shift: Tensor) -> Tensor:
        return model.features_at(at | {name: at[name] + shift}, [frames], "backbone").square().sum()

    start = torch.zeros_like(at[name], requires_grad=True)
    (found,) = torch.autograd.grad(value(start), start)
    way = 1e-2 * torch.sign(found) / found.numel()
    with torch.no_grad():
        slope = float(value(way) - value(-way)) / 2
    assert (slope == pytest.approx(float(found @ way), rel=0.02)) == (mutant is None)


def test_the_catalogue_builds_what_a_round_needs(
    model: GraphRecogniser, alphabet: Alphabet, documents: list[TrainDocument]
) -> None:
    public, charset = Looks(model, documents), Charset.of(ASCII, alphabet)
    assert [build(name, charset, 16, public).size for name in HEAD_ONLY] == [96, 96 * 17]
    with pytest.raises(ValueError, match="Expected a PP-OCRv4 recogniser"):
        build("top", charset, 16, public)


def shaken(model: GraphRecogniser) -> GraphRecogniser:
    """Every weight off by 1% of its array's size, so that one that is not written back is seen."""
    found, generator = copy.deepcopy(model), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in found.parameters():
            value += 0.01 * value.square().mean().sqrt() * torch.randn(value.shape, generator=generator)
    return found


def test_rapidocr_reads_the_written_file_as_torch_reads_the_weights(
    model: GraphRecogniser, alphabet: Alphabet, tensors: list[Tensor], draw_lines: DrawLines, tmp_path: Path
) -> None:
    candidate = shaken(model)
    candidate.write(FILE, candidate.weights(), tmp_path / "rec.onnx")
    assert parity(candidate, tensors[:4], read_by_onnxruntime(tmp_path / "rec.onnx", tensors[:4]), alphabet)
    files = weights.v6_files()
    reader = Reader(weights.ReaderFiles(files.det, files.cls, tmp_path / "rec.onnx"), "v6")
    with torch.inference_mode():
        texts = [alphabet.best_path(candidate(x).softmax(-1)[0].numpy())[0] for x in tensors[:4]]
    assert [text for text, _, _ in reader.read_lines([crop for crop, _ in draw_lines(4)])] == texts
    again = graph_recogniser.load(tmp_path / "rec.onnx").weights()
    assert all(np.array_equal(value, again[name]) for name, value in candidate.weights().items())


@pytest.mark.parametrize("forgotten", ["head.weight", "body."])
def test_a_weight_that_is_not_written_back_is_seen(
    model: GraphRecogniser, alphabet: Alphabet, tensors: list[Tensor], tmp_path: Path, forgotten: str
) -> None:
    candidate, stock = shaken(model), model.weights()
    state = {k: stock[k] if k.startswith(forgotten) else v for k, v in candidate.weights().items()}
    candidate.write(FILE, state, tmp_path / "rec.onnx")
    assert not parity(candidate, tensors[:3], read_by_onnxruntime(tmp_path / "rec.onnx", tensors[:3]), alphabet)


def test_weights_that_do_not_fit_change_nothing(model: GraphRecogniser, tmp_path: Path) -> None:
    state = model.weights()
    del state["head.bias"]
    for refused in (model.load_weights, lambda given: model.write(FILE, given, tmp_path / "rec.onnx")):
        with pytest.raises(WeightsMismatch, match=r"missing head.bias \(18710,\)"):
            refused(state)
    assert list(tmp_path.iterdir()) == []


def test_a_graph_that_does_not_end_in_a_head_is_refused() -> None:
    file = onnx.load(FILE)
    last = file.graph.node[-1]
    assert last.op_type == "Softmax"
    last.CopyFrom(helper.make_node("Sigmoid", list(last.input), list(last.output)))
    with pytest.raises(UnsupportedGraph, match="softmax of features times a matrix"):
        GraphRecogniser(file)
