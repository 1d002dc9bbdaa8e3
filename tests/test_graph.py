"""`models.graph` on small graphs of our own: what onnxruntime computes, or a refusal that says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from models import graph, operators
from models.errors import UnsupportedGraph, WeightsMismatch
from models.graph import Graph

SHAPE = (2, 4, 7, 6)
KERNEL = {"kernel_shape": [2, 3], "strides": [2, 1], "dilations": [1, 1], "group": 1}


def file(*nodes: onnx.NodeProto, opset: int = 11, **held: Any) -> onnx.ModelProto:
    """A graph from "x" to "y" with initialisers."""
    values = [numpy_helper.from_array(np.asarray(value), name) for name, value in held.items()]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy"]
    made = helper.make_graph(nodes, "small", ends[:1], ends[1:], values)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def theirs(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    return np.asarray(onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0])


def ours(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return np.asarray(Graph(model)({"x": torch.from_numpy(x)}, "y").numpy())


NORM = {"s": floats(4), "b": floats(4, seed=1), "m": floats(4, seed=2), "v": floats(4, seed=3) ** 2}
ONE_NODE: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "convolution, uneven pads": ("Conv", {"w": floats(3, 4, 2, 3)}, KERNEL | {"pads": [1, 0, 0, 2]}),
    "convolution, same size": ("Conv", {"w": floats(3, 4, 2, 3)}, KERNEL | {"auto_pad": "SAME_UPPER"}),
    "convolution, dilated": ("Conv", {"w": floats(3, 4, 2, 3), "b": floats(3)}, KERNEL | {"dilations": [2, 1]}),
    "convolution, depthwise": ("Conv", {"w": floats(4, 1, 2, 3)}, KERNEL | {"group": 4, "pads": [0, 0, 0, 0]}),
    "maximum, same size": ("MaxPool", {}, {"kernel_shape": [2, 2], "strides": [1, 1], "auto_pad": "SAME_UPPER"}),
    "average": ("AveragePool", {}, {"kernel_shape": [3, 2], "strides": [3, 2]}),
    "batch norm": ("BatchNormalization", NORM, {"epsilon": 1e-2}),
    "mean": ("ReduceMean", {}, {"axes": [2, 3], "keepdims": 1}),
    "mean, flat": ("ReduceMean", {}, {"axes": [-1], "keepdims": 0}),
    "slice": ("Slice", {"s": ints(1, -4), "e": ints(9, -1), "a": ints(1, -1), "t": ints(2, 1)}, {}),
    "slice without steps": ("Slice", {"s": ints(2), "e": ints(4), "a": ints(2)}, {}),
    "reshape": ("Reshape", {"s": ints(0, -1, 3)}, {}),
    "unsqueeze": ("Unsqueeze", {}, {"axes": [0, 2]}),
    "softmax": ("Softmax", {}, {"axis": 3}),
    "gate": ("HardSigmoid", {}, {"alpha": 0.3, "beta": 0.4}),
    "gate by default": ("HardSigmoid", {}, {}),
    "power": ("Pow", {"p": np.float32(2.0)}, {}),
}


@pytest.mark.parametrize("name", ONE_NODE)
def test_a_node_is_what_onnxruntime_computes(name: str) -> None:
    kind, held, attributes = ONE_NODE[name]
    model = file(helper.make_node(kind, ["x", *held], ["y"], **attributes), **held)
    expected, found = theirs(model, floats(*SHAPE, seed=3)), ours(model, floats(*SHAPE, seed=3))
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-5


def lower(x: torch.Tensor, kernel: Any, strides: Any, dilations: Any, right: Any = operators._same) -> list[int]:
    """A mutant: SAME_LOWER, what is odd goes to the beginning."""
    top, left, bottom, end = right(x, kernel, strides, dilations)
    return [bottom, end, top, left]


@pytest.mark.parametrize("name", ["convolution, same size", "maximum, same size"])
def test_a_pad_on_the_wrong_side_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operators, "_same", lower)
    with pytest.raises(AssertionError):
        test_a_node_is_what_onnxruntime_computes(name)


@pytest.mark.parametrize(
    ("kind", "attributes", "said"),
    [
        ("LSTM", {}, "found operator LSTM"),
        ("Dropout", {"ratio": 0.5}, "found operator Dropout"),
        ("Relu", {"slope": 0.1}, "not understood: slope"),
        ("Conv", KERNEL | {"auto_pad": "SAME_LOWER"}, "expects auto_pad"),
        ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}, "expects ceil_mode 0"),
        ("AveragePool", {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [1, 1, 1, 1]}, "expects pads"),
    ],
)
def test_what_is_not_understood_is_refused_before_anything_is_run(
    kind: str, attributes: dict[str, Any], said: str
) -> None:
    with pytest.raises(UnsupportedGraph, match=said):
        Graph(file(helper.make_node(kind, ["x"], ["y"], **attributes)))


def test_another_opset_is_refused() -> None:
    """From 13 on, softmax and squeeze mean something else."""
    with pytest.raises(UnsupportedGraph, match=r"Expected opset 11, found \[13\]"):
        Graph(file(helper.make_node("Relu", ["x"], ["y"]), opset=13))


def test_what_a_graph_cannot_do_with_a_value_is_refused() -> None:
    squeeze = file(helper.make_node("Squeeze", ["x"], ["y"], axes=[1]))
    with pytest.raises(UnsupportedGraph, match="found 4"):
        ours(squeeze, floats(*SHAPE))
    softmax = file(helper.make_node("Softmax", ["x"], ["y"], axis=1))
    with pytest.raises(UnsupportedGraph, match="last axis"):
        ours(softmax, floats(*SHAPE))


CHAIN = (
    helper.make_node("Mul", ["x", "a.w_0"], ["middle"]),
    helper.make_node("Add", ["middle", "a.b_0"], ["sum"]),
    helper.make_node("Mul", ["sum", "by.two"], ["y"]),
)
HELD = {"a.w_0": floats(6), "a.b_0": floats(6, seed=1), "by.two": np.float32(0.5)}


def test_parameters_have_the_files_names_and_single_numbers_do_not_learn() -> None:
    model = Graph(file(*CHAIN, **HELD))
    assert [name for name, _ in model.named_parameters()] == ["a.w_0", "a.b_0"]
    assert [name for name, _ in model.named_buffers()] == ["by.two"]


def test_a_name_that_torch_needs_is_refused() -> None:
    with pytest.raises(UnsupportedGraph, match="initialiser half"):
        Graph(file(helper.make_node("Mul", ["x", "half"], ["y"]), half=np.float32(0.5)))


def test_only_what_lies_between_is_run() -> None:
    model = Graph(file(*CHAIN, **HELD))
    middle = torch.randn(3, 6)
    assert torch.equal(model({"middle": middle}, "y"), (middle + torch.from_numpy(HELD["a.b_0"])) * 0.5)
    assert model.read_by(frozenset({"middle"}), "y") == {"a.b_0"}
    assert model.read_by(frozenset({"x"}), "middle") == {"a.w_0"}
    with pytest.raises(UnsupportedGraph, match=r"y does not follow from \['z'\]"):
        model({"z": middle}, "y")


def test_what_is_written_is_there_and_nothing_else_moves(tmp_path: Path) -> None:
    onnx.save(file(*CHAIN, **HELD), tmp_path / "a.onnx")
    graph.write(tmp_path / "a.onnx", {"a.w_0": 2 * HELD["a.w_0"]}, tmp_path / "b.onnx")
    graph.write(tmp_path / "a.onnx", {"a.w_0": 2 * HELD["a.w_0"]}, tmp_path / "c.onnx")
    assert (tmp_path / "b.onnx").read_bytes() == (tmp_path / "c.onnx").read_bytes()
    written = {i.name: numpy_helper.to_array(i) for i in onnx.load(tmp_path / "b.onnx").graph.initializer}
    assert np.array_equal(written["a.w_0"], 2 * HELD["a.w_0"])
    assert np.array_equal(written["a.b_0"], HELD["a.b_0"])


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"a.w_1": floats(6)}, "unexpected a.w_1"),
        ({"a.w_0": floats(5)}, r"expected \(6,\), found \(5,\)"),
        ({"a.w_0": np.full(6, np.nan)}, "not finite"),
    ],
)
def test_what_does_not_fit_is_not_written(tmp_path: Path, state: dict[str, np.ndarray], said: str) -> None:
    onnx.save(file(*CHAIN, **HELD), tmp_path / "a.onnx")
    with pytest.raises(WeightsMismatch, match=said):
        graph.write(tmp_path / "a.onnx", state, tmp_path / "b.onnx")
    assert not (tmp_path / "b.onnx").exists()
