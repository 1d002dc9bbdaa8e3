"""PP-OCRv4 in torch is the released graph: against onnxruntime on lines, and in double precision exactly."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn

from learners import batches, lines
from models import layout, recogniser, weights
from models.ctc import Alphabet
from models.errors import WeightsMismatch
from models.recogniser import Recogniser
from privacy.page import Image

DrawLines = Callable[[int], list[tuple[Image, str]]]


@dataclass(frozen=True)
class Parity:
    """By line: the largest difference of any class probability, and whether the text is the same."""

    differences: list[float]
    identical: list[bool]

    @property
    def holds(self) -> bool:
        return all(self.identical) and max(self.differences) < 5e-4 and np.median(self.differences) < 2e-5


Released = list[tuple[Tensor, np.ndarray]]


@pytest.fixture(scope="module")
def released(weights_dir: Path, draw_lines: DrawLines) -> Released:
    """Line tensors and the class probabilities that onnxruntime finds with the released file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(weights_dir / "rec.onnx"), options, providers=["CPUExecutionProvider"])
    tensors = [batches.to_tensor(lines.to_height(crop))[None] for crop, _ in draw_lines(60)]
    return [(x, session.run(None, {"x": x.numpy()})[0][0]) for x in tensors]


def parity(model: Recogniser, released: Released, alphabet: Alphabet) -> Parity:
    differences, identical = [], []
    for x, expected in released:
        with torch.inference_mode():
            found = model(x).softmax(-1)[0].numpy()
        differences.append(float(np.abs(found - expected).max()))
        identical.append(alphabet.best_path(found)[0] == alphabet.best_path(expected)[0])
    return Parity(differences, identical)


def test_probabilities_and_texts_are_those_of_onnxruntime(
    model: Recogniser, released: Released, alphabet: Alphabet
) -> None:
    assert torch.get_num_threads() == 1
    found = parity(model, released, alphabet)
    assert found.holds, f"median {np.median(found.differences):.1e}, maximum {max(found.differences):.1e}"


def wrong_epsilon(model: Recogniser) -> None:
    model.neck.mixers[0].norm1.eps = 1e-3


def swapped_convolutions(model: Recogniser) -> None:
    a, b = model.backbone.blocks[7].pointwise, model.backbone.blocks[8].pointwise
    a.conv, b.conv = b.conv, a.conv


def swapped_affines(model: Recogniser) -> None:
    a, b = model.backbone.blocks[7].depthwise, model.backbone.blocks[8].depthwise
    a.after, b.after = b.after, a.after


def other_heads(model: Recogniser) -> None:
    model.neck.mixers[1].attention.heads = 6


def no_shortcut(model: Recogniser) -> None:
    model.neck.join.weight[:, :480] = 0


def other_gate(model: Recogniser) -> None:
    for block in model.backbone.blocks[10:12]:
        block.excite.SLOPE = 0.2


def transposed_projection(model: Recogniser) -> None:
    model.neck.mixers[0].attention.out.weight.copy_(model.neck.mixers[0].attention.out.weight.T.clone())


@pytest.mark.parametrize(
    "mutate",
    [
        wrong_epsilon,
        swapped_convolutions,
        swapped_affines,
        other_heads,
        no_shortcut,
        other_gate,
        transposed_projection,
    ],
)
def test_parity_catches_a_planted_bug(
    model: Recogniser, released: Released, alphabet: Alphabet, mutate: Callable[[Recogniser], None]
) -> None:
    mutant = deepcopy(model)
    with torch.no_grad():
        mutate(mutant)
    assert not parity(mutant, released[:12], alphabet).holds


def test_in_double_precision_module_and_graph_are_one_function(
    model: Recogniser, weights_dir: Path, tmp_path: Path, draw_lines: DrawLines
) -> None:
    """Float32 leaves room for an epsilon of 1e-5 where 1e-6 belongs; double precision does not."""
    weights.write_onnx(weights_dir / "rec.onnx", model.weights(), tmp_path / "rec.onnx")
    x = batches.to_tensor(lines.to_height(draw_lines(1)[0][0]))[None].double()
    (expected,) = in_double(tmp_path / "rec.onnx").run(None, {"x": x.numpy()})

    def difference(double: Recogniser) -> float:
        with torch.inference_mode():
            return float(np.abs(double(x).softmax(-1).numpy() - expected).max())

    double = deepcopy(model).double()
    assert difference(double) < 2e-7
    double.neck.norm.eps = 1e-5
    assert difference(double) > 4e-7
    double.neck.norm.eps = 1e-6
    for block in double.backbone.blocks[10:12]:
        block.excite.SLOPE = 1 / 6
    assert difference(double) > 4e-7


def in_double(path: Path) -> ReferenceEvaluator:
    """ONNX's own reference implementation of the graph, with every float widened."""
    model = onnx.load(path)
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.t.data_type == onnx.TensorProto.FLOAT:
                value = onnx.numpy_helper.to_array(attribute.t).astype(np.float64)
                attribute.t.CopyFrom(onnx.numpy_helper.from_array(value))
            if node.op_type == "BatchNormalization" and attribute.name == "momentum":
                attribute.f = 1.0  # the reference evaluator would mix the batch's statistics in
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    return ReferenceEvaluator(model)


def test_epsilons_are_those_of_the_graph(model: Recogniser, weights_dir: Path) -> None:
    graph = onnx.load(weights_dir / "rec.onnx").graph
    constants = {n.output[0]: n.attribute[0].t for n in graph.node if n.op_type == "Constant"}
    roots = {n.input[0] for n in graph.node if n.op_type == "Sqrt"}
    added = [n.input[1] for n in graph.node if n.op_type == "Add" and n.output[0] in roots]
    expected = [float(onnx.numpy_helper.to_array(constants[name])) for name in added]
    found = [module.eps for module in model.modules() if isinstance(module, nn.LayerNorm)]
    assert found == pytest.approx(expected, rel=1e-6)


def test_nothing_but_parameters_is_kept(model: Recogniser) -> None:
    """No BatchNorm, no running statistic, no dropout: what a document changes is in a gradient or nowhere."""
    assert list(model.buffers()) == []
    assert not [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm | nn.Dropout)]
    assert {n: tuple(p.shape) for n, p in model.named_parameters()} == layout.torch_shapes()
    assert sum(p.numel() for p in model.parameters()) == 2_687_653


def test_a_line_reads_the_same_alone_in_a_batch_and_in_training_mode(model: Recogniser, released: Released) -> None:
    x = released[0][0]
    batch = torch.cat([x, x.flip(3), torch.zeros_like(x)])
    with torch.inference_mode():
        alone, together = model(x), model(batch)[:1]
        training = deepcopy(model).train()(x)
    assert torch.equal(alone, training)
    assert float((alone.softmax(-1) - together.softmax(-1)).abs().max()) < 1e-5


def test_every_parameter_learns(model: Recogniser, released: Released) -> None:
    learner = deepcopy(model).train()
    learner(released[0][0]).log_softmax(-1)[..., 1:].mean().backward()
    for name, parameter in learner.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("width", [8, 15, 320, 321, 324, 325, 327, 328, 333])
def test_frames_by_width(model: Recogniser, width: int) -> None:
    with torch.inference_mode():
        features = model.features(torch.zeros(1, 3, recogniser.HEIGHT, width))
        assert features.shape == (1, recogniser.frames(width), layout.CHANNELS)
        assert model.head(features).shape == (1, recogniser.frames(width), layout.CLASSES)


def test_weights_that_do_not_fit_leave_the_model_as_it_was(model: Recogniser) -> None:
    target = Recogniser()
    before = target.weights()
    state = model.weights()
    del state["head.bias"]
    state["neck.leave.weight"] = state["neck.leave.weight"][:7]
    state["extra"] = np.zeros(3, np.float32)
    with pytest.raises(WeightsMismatch) as refused:
        target.load_weights(state)
    for part in (
        "missing head.bias (6625,)",
        "unexpected extra (3,)",
        "neck.leave.weight: expected (480, 120, 1, 1), found (7, 120, 1, 1)",
    ):
        assert part in str(refused.value)
    assert all(np.array_equal(before[name], value) for name, value in target.weights().items())


def test_weights_are_a_copy(model: Recogniser) -> None:
    model.weights()["head.bias"][:] = 7
    assert not (model.head.bias == 7).all()


def test_a_candidate_reads_the_same_through_rapidocr(
    model: Recogniser, weights_dir: Path, tmp_path: Path, alphabet: Alphabet, draw_lines: DrawLines
) -> None:
    """Weights that are not the released ones, through the file that is rolled out."""
    from rapidocr import ModelType, OCRVersion, RapidOCR

    candidate = deepcopy(model)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        for value in candidate.parameters():
            value += 0.02 * value.square().mean().sqrt() * torch.randn(value.shape, generator=generator)
    weights.write_onnx(weights_dir / "rec.onnx", candidate.state_dict(), tmp_path / "rec.onnx")
    files = weights.v4_files(weights_dir)
    engine = RapidOCR(
        params={
            "Global.log_level": "critical",
            "Global.use_preprocess_img": False,  # it would scale a small crop before the recogniser does
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "Det.model_path": str(files.det),
            "Det.ocr_version": OCRVersion.PPOCRV4,
            "Det.model_type": ModelType.MOBILE,
            "Cls.model_path": str(files.cls),
            "Rec.model_path": str(tmp_path / "rec.onnx"),
            "Rec.ocr_version": OCRVersion.PPOCRV4,
            "Rec.model_type": ModelType.MOBILE,
        }
    )
    texts, stock = [], []
    for crop, _ in draw_lines(20):
        x = batches.to_tensor(lines.to_height(crop))[None]
        with torch.inference_mode():
            here = alphabet.best_path(candidate(x).softmax(-1)[0].numpy())[0]
            stock.append(alphabet.best_path(model(x).softmax(-1)[0].numpy())[0])
        bgr = np.ascontiguousarray(crop[:, :, ::-1])
        result = engine(bgr, use_det=False, use_cls=False, use_rec=True, text_score=0.0)
        assert result.txts == (here,)
        texts.append(here)
    assert texts != stock, "the candidate must not read like the released model for this test to mean a thing"
