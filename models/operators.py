"""The ONNX operators of PP-OCRv6's recogniser (opset 11) in torch: one function each, and no other.

Each takes its input tensors and its attributes by name, and is differentiable in what is a float. An operator that is
not here, or an attribute that its function does not take, is refused when the graph is read (`check`): a meaning that
is ignored would be a model that is almost the right one. None draws a random number or keeps a statistic.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from models.errors import UnsupportedGraph

Operator = Callable[..., Tensor]
_SAME = b"SAME_UPPER"


def check(kind: str, attributes: Mapping[str, Any], where: str) -> None:
    """Returns only if `OPERATORS` can do this.

    Raises:
        UnsupportedGraph: an unknown operator, or a known one with an attribute or a value that is not.
    """
    if kind not in OPERATORS:
        raise UnsupportedGraph(f"{where}: expected one of {', '.join(sorted(OPERATORS))}, found operator {kind}.")
    known = {name for name, p in inspect.signature(OPERATORS[kind]).parameters.items() if p.kind is p.KEYWORD_ONLY}
    unknown = sorted(attributes.keys() - known)
    if unknown:
        raise UnsupportedGraph(f"{where}: {kind} has attributes that are not understood: {', '.join(unknown)}.")
    fixed = {"ceil_mode": 0, "auto_pad": _SAME}
    if kind == "AveragePool":
        fixed["pads"] = [0, 0, 0, 0]
    for name, value in fixed.items():
        if attributes.get(name, value) != value:
            raise UnsupportedGraph(f"{where}: {kind} expects {name} {value!r}, found {attributes[name]!r}.")


def _conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    kernel_shape: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    group: int = 1,
    pads: Sequence[int] = (0, 0, 0, 0),
    auto_pad: bytes | None = None,
) -> Tensor:
    top, left, bottom, right = _same(x, kernel_shape, strides, dilations) if auto_pad else pads
    if (top, left) != (bottom, right):
        x, top, left = functional.pad(x, (left, right, top, bottom)), 0, 0
    return functional.conv2d(x, weight, bias, tuple(strides), (top, left), tuple(dilations), group)


def _max_pool(
    x: Tensor,
    *,
    kernel_shape: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int] = (0, 0, 0, 0),
    auto_pad: bytes | None = None,
    ceil_mode: int = 0,
) -> Tensor:
    top, left, bottom, right = _same(x, kernel_shape, strides, (1, 1)) if auto_pad else pads
    padded = functional.pad(x, (left, right, top, bottom), value=float("-inf"))
    return functional.max_pool2d(padded, tuple(kernel_shape), tuple(strides))


def _same(x: Tensor, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> list[int]:
    """Top, left, bottom, right: as many frames out as in, over the stride; what is odd goes to the end."""
    begin, end = [], []
    for size, reach, stride, dilation in zip(x.shape[2:], kernel, strides, dilations, strict=True):
        total = max((-(-size // stride) - 1) * stride + (reach - 1) * dilation + 1 - size, 0)
        begin.append(total // 2)
        end.append(total - total // 2)
    return [*begin, *end]


def _average_pool(
    x: Tensor,
    *,
    kernel_shape: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int] = (0, 0, 0, 0),
    ceil_mode: int = 0,
    count_include_pad: int = 0,
) -> Tensor:
    return functional.avg_pool2d(x, tuple(kernel_shape), tuple(strides))


def _batch_norm(
    x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor, *, epsilon: float = 1e-5, momentum: float = 0.9
) -> Tensor:
    """With the statistics of the file, in training as well: no line sees another.

    Written out: on a CPU torch 2.13's own gives scale and bias a wrong gradient where the gradient that comes back
    has the channels last, as it does behind a transpose.
    """
    slope = scale / (var + epsilon).sqrt()
    return x * slope[:, None, None] + (bias - mean * slope)[:, None, None]


def _reduce_mean(x: Tensor, *, axes: Sequence[int], keepdims: int = 1) -> Tensor:
    return x.mean(tuple(axes), keepdim=bool(keepdims))


def _softmax(x: Tensor, *, axis: int = 1) -> Tensor:
    """Along the last axis: of another, opset 11 would take all that follow with it."""
    if axis not in (-1, x.ndim - 1):
        raise UnsupportedGraph(f"Softmax: expected the last axis of {x.ndim}, found {axis}.")
    return x.softmax(-1)


def _slice(x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor, steps: Tensor | None = None) -> Tensor:
    stride = [1] * len(starts) if steps is None else steps.tolist()
    for start, end, axis, step in zip(starts.tolist(), ends.tolist(), axes.tolist(), stride, strict=True):
        if step < 1:
            raise UnsupportedGraph(f"Slice: expected steps >= 1, found {step}.")
        x = x[(slice(None),) * (axis % x.ndim) + (slice(start, end, step),)]
    return x


def _squeeze(x: Tensor, *, axes: Sequence[int]) -> Tensor:
    """Raises where an axis has other than one entry, as ONNX says: torch would leave it."""
    shape = list(x.shape)
    for axis in sorted((a % x.ndim for a in axes), reverse=True):
        if shape.pop(axis) != 1:
            raise UnsupportedGraph(f"Squeeze: expected 1 entry along axis {axis}, found {x.shape[axis]}.")
    return x.reshape(shape)


def _reshape(x: Tensor, shape: Tensor) -> Tensor:
    """A zero keeps the axis as it was."""
    return x.reshape([size or x.shape[axis] for axis, size in enumerate(shape.tolist())])


def _unsqueeze(x: Tensor, *, axes: Sequence[int]) -> Tensor:
    for axis in sorted(axes):
        x = x.unsqueeze(axis)
    return x


def _hard_sigmoid(x: Tensor, *, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    return (alpha * x + beta).clamp(0, 1)


def _concat(*parts: Tensor, axis: int) -> Tensor:
    return torch.cat(parts, axis)


def _transpose(x: Tensor, *, perm: Sequence[int]) -> Tensor:
    return x.permute(*perm)


def _shape(x: Tensor) -> Tensor:
    """On the CPU, where shapes are read."""
    return torch.tensor(x.shape)


OPERATORS: Mapping[str, Operator] = {
    "Add": lambda a, b: a + b,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Concat": _concat,
    "Conv": _conv,
    "Div": lambda a, b: a / b,
    "Erf": lambda x: x.erf(),
    "HardSigmoid": _hard_sigmoid,
    "Identity": lambda x: x,
    "MatMul": lambda a, b: a @ b,
    "MaxPool": _max_pool,
    "Mul": lambda a, b: a * b,
    "Pow": lambda a, b: a**b,
    "ReduceMean": _reduce_mean,
    "Relu": lambda x: x.relu(),
    "Reshape": _reshape,
    "Shape": _shape,
    "Sigmoid": lambda x: x.sigmoid(),
    "Slice": _slice,
    "Softmax": _softmax,
    "Sqrt": lambda x: x.sqrt(),
    "Squeeze": _squeeze,
    "Sub": lambda a, b: a - b,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
