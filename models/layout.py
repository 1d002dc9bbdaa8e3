"""PP-OCRv4's recogniser as a table: its blocks, and what each weight is called here and by Paddle.

The released files (ONNX and Paddle alike) use Paddle's generated names: `conv2d_157.w_0`. This module
says which is which, with the shape each must have, and turns one naming into the other without torch:

- a Paddle linear layer stores `(in, out)`, torch `(out, in)`;
- six convolutions without a bias are followed by a BatchNorm with frozen statistics. Here the pair is one
  convolution with a bias, since a running statistic is a second, unaccounted way for a document to get
  into a model. On the way back the BatchNorm becomes the identity plus that bias.

Both directions are all or nothing: a missing, unexpected or misshaped weight is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.errors import WeightsMismatch

Array = npt.NDArray[np.float32]
Shape = tuple[int, ...]

CLASSES = 6625
CHANNELS = 120
"""Channels between neck and head."""
HEADS = 8
MIXERS = 2
"""Transformer blocks of the SVTR neck."""
STEM_CHANNELS = 16
NORM_EPSILON = float(np.float32(1e-5))
"""Of the six BatchNorms in the released graph."""


@dataclass(frozen=True)
class Block:
    """One block of PPLCNetV3 x0.95: a depthwise convolution, perhaps squeeze-excite, a pointwise one."""

    kernel: int
    inputs: int
    outputs: int
    stride: tuple[int, int] = (1, 1)
    squeeze_excite: bool = False


BLOCKS: tuple[Block, ...] = (
    Block(3, 16, 32),
    Block(3, 32, 64),
    Block(3, 64, 64),
    Block(3, 64, 128, stride=(2, 1)),
    Block(3, 128, 128),
    Block(3, 128, 240, stride=(1, 2)),
    Block(5, 240, 240),
    Block(5, 240, 240),
    Block(5, 240, 240),
    Block(5, 240, 240),
    Block(5, 240, 480, stride=(2, 1), squeeze_excite=True),
    Block(5, 480, 480, squeeze_excite=True),
    Block(5, 480, 480, stride=(2, 1)),
    Block(5, 480, 480),
)


@dataclass(frozen=True)
class Weight:
    """One array: its name and shape in torch, its name in Paddle, and whether Paddle stores it transposed."""

    name: str
    shape: Shape
    paddle: str
    transposed: bool = False

    @property
    def paddle_shape(self) -> Shape:
        return self.shape[::-1] if self.transposed else self.shape


@dataclass(frozen=True)
class Folded:
    """A convolution with a bias here, a convolution and a BatchNorm in Paddle."""

    name: str
    shape: Shape
    conv: str
    norm: str

    @property
    def paddle_shapes(self) -> dict[str, Shape]:
        channels = {f"{self.norm}.{part}": self.shape[:1] for part in ("w_0", "b_0", "w_1", "w_2")}
        return {f"{self.conv}.w_0": self.shape, **channels}


def _conv(name: str, shape: Shape, paddle: str) -> Iterator[Weight]:
    yield Weight(f"{name}.weight", shape, f"{paddle}.w_0")
    yield Weight(f"{name}.bias", shape[:1], f"{paddle}.b_0")


def _linear(name: str, outputs: int, inputs: int, paddle: str) -> Iterator[Weight]:
    yield Weight(f"{name}.weight", (outputs, inputs), f"{paddle}.w_0", transposed=True)
    yield Weight(f"{name}.bias", (outputs,), f"{paddle}.b_0")


def _rep_layer(name: str, shape: Shape, number: int) -> Iterator[Weight]:
    yield from _conv(f"{name}.conv", shape, f"conv2d_{157 + number}")
    for part, paddle in (("affine", f"mobile_one_block_{number}"), ("after", f"whswish_b_{number + 1}")):
        yield Weight(f"{name}.{part}.scale", (1,), f"{paddle}.w_0")
        yield Weight(f"{name}.{part}.bias", (1,), f"{paddle}.w_1")


def _backbone() -> Iterator[Weight]:
    squeeze_excite = iter((106, 117))  # Paddle's numbers of the two first convolutions
    for i, block in enumerate(BLOCKS):
        name = f"backbone.blocks.{i}"
        yield from _rep_layer(f"{name}.depthwise", (block.inputs, 1, block.kernel, block.kernel), 2 * i)
        if block.squeeze_excite:
            first, inner = next(squeeze_excite), block.inputs // 4
            yield from _conv(f"{name}.excite.reduce", (inner, block.inputs, 1, 1), f"conv2d_{first}")
            yield from _conv(f"{name}.excite.expand", (block.inputs, inner, 1, 1), f"conv2d_{first + 1}")
        yield from _rep_layer(f"{name}.pointwise", (block.outputs, block.inputs, 1, 1), 2 * i + 1)


def _norm(name: str, number: int) -> Iterator[Weight]:
    yield Weight(f"{name}.weight", (CHANNELS,), f"layer_norm_{number}.w_0")
    yield Weight(f"{name}.bias", (CHANNELS,), f"layer_norm_{number}.b_0")


def _neck_and_head() -> Iterator[Weight]:
    for i in range(MIXERS):
        name, linear = f"neck.mixers.{i}", 77 + 4 * i
        yield from _norm(f"{name}.norm1", 43 + 2 * i)
        yield from _linear(f"{name}.attention.qkv", 3 * CHANNELS, CHANNELS, f"linear_{linear}")
        yield from _linear(f"{name}.attention.out", CHANNELS, CHANNELS, f"linear_{linear + 1}")
        yield from _norm(f"{name}.norm2", 44 + 2 * i)
        yield from _linear(f"{name}.mlp.0", 2 * CHANNELS, CHANNELS, f"linear_{linear + 2}")
        yield from _linear(f"{name}.mlp.2", CHANNELS, 2 * CHANNELS, f"linear_{linear + 3}")
    yield from _norm("neck.norm", 47)
    yield from _linear("head", CLASSES, CHANNELS, "linear_85")


WEIGHTS: tuple[Weight, ...] = (*_backbone(), *_neck_and_head())

_TOP = BLOCKS[-1].outputs
FOLDED: tuple[Folded, ...] = (
    Folded("backbone.stem", (STEM_CHANNELS, 3, 3, 3), "conv2d_10", "batch_norm2d_2"),
    Folded("neck.squeeze", (_TOP // 8, _TOP, 1, 3), "conv2d_142", "batch_norm2d_148"),
    Folded("neck.enter", (CHANNELS, _TOP // 8, 1, 1), "conv2d_143", "batch_norm2d_149"),
    Folded("neck.leave", (_TOP, CHANNELS, 1, 1), "conv2d_144", "batch_norm2d_150"),
    Folded("neck.join", (_TOP // 8, 2 * _TOP, 1, 3), "conv2d_145", "batch_norm2d_151"),
    Folded("neck.project", (CHANNELS, _TOP // 8, 1, 1), "conv2d_146", "batch_norm2d_152"),
)


def torch_shapes() -> dict[str, Shape]:
    """Name to shape of every weight of `models.recogniser.Recogniser`."""
    shapes = {weight.name: weight.shape for weight in WEIGHTS}
    for fold in FOLDED:
        shapes[f"{fold.name}.weight"] = fold.shape
        shapes[f"{fold.name}.bias"] = fold.shape[:1]
    return shapes


def paddle_shapes() -> dict[str, Shape]:
    """Name to shape of every weight of the released files."""
    shapes = {weight.paddle: weight.paddle_shape for weight in WEIGHTS}
    for fold in FOLDED:
        shapes.update(fold.paddle_shapes)
    return shapes


def to_torch(constants: Mapping[str, npt.ArrayLike]) -> dict[str, Array]:
    """Paddle's arrays under torch's names and shapes; the BatchNorms are folded into their convolutions.

    Raises:
        WeightsMismatch: `constants` is not exactly the released set.
    """
    given = _checked(constants, paddle_shapes(), "Paddle weights")
    state = {w.name: given[w.paddle].T if w.transposed else given[w.paddle] for w in WEIGHTS}
    for fold in FOLDED:
        gamma, beta, mean, variance = (
            given[f"{fold.norm}.{part}"].astype(np.float64) for part in ("w_0", "b_0", "w_1", "w_2")
        )
        scale = gamma / np.sqrt(variance + NORM_EPSILON)
        weight = given[f"{fold.conv}.w_0"] * scale[:, None, None, None]
        state[f"{fold.name}.weight"] = weight.astype(np.float32)
        state[f"{fold.name}.bias"] = (beta - mean * scale).astype(np.float32)
    return {name: np.array(value, order="C") for name, value in state.items()}


def to_paddle(state: Mapping[str, npt.ArrayLike]) -> dict[str, Array]:
    """The inverse of `to_torch`, but for the six BatchNorms, which come back as the identity plus a bias.

    With mean 0, variance `1 - epsilon` and gamma 1 a BatchNorm computes `x / sqrt(1) + beta`.

    Raises:
        WeightsMismatch: `state` is not exactly the recogniser's, or holds a value that is not finite.
    """
    given = _checked(state, torch_shapes(), "Recogniser weights")
    constants = {w.paddle: given[w.name].T if w.transposed else given[w.name] for w in WEIGHTS}
    for fold in FOLDED:
        one = np.ones(fold.shape[0], np.float32)
        constants[f"{fold.conv}.w_0"] = given[f"{fold.name}.weight"]
        constants[f"{fold.norm}.w_0"] = one
        constants[f"{fold.norm}.b_0"] = given[f"{fold.name}.bias"]
        constants[f"{fold.norm}.w_1"] = 0 * one
        constants[f"{fold.norm}.w_2"] = one - np.float32(NORM_EPSILON)
    return {name: np.array(value, order="C") for name, value in constants.items()}


def require_shapes(expected: Mapping[str, Shape], found: Mapping[str, Shape], what: str) -> None:
    """Returns only if both name the same arrays with the same shapes.

    Raises:
        WeightsMismatch: with every missing, unexpected and misshaped name, and the shapes.
    """
    problems = [f"missing {name} {expected[name]}" for name in sorted(expected.keys() - found.keys())]
    problems += [f"unexpected {name} {found[name]}" for name in sorted(found.keys() - expected.keys())]
    problems += [
        f"{name}: expected {expected[name]}, found {found[name]}"
        for name in sorted(expected.keys() & found.keys())
        if expected[name] != found[name]
    ]
    if problems:
        raise WeightsMismatch(f"{what} do not fit the model's layers: " + "; ".join(problems) + ".")


def require_finite(arrays: Mapping[str, Array], what: str) -> None:
    """Returns only if every value is a number.

    Raises:
        WeightsMismatch: with the names of the arrays that hold others.
    """
    broken = sorted(name for name, value in arrays.items() if not np.isfinite(value).all())
    if broken:
        raise WeightsMismatch(f"{what} hold values that are not finite: {', '.join(broken)}.")


def _checked(arrays: Mapping[str, npt.ArrayLike], expected: dict[str, Shape], what: str) -> dict[str, Array]:
    given = {name: np.asarray(value, dtype=np.float32) for name, value in arrays.items()}
    require_shapes(expected, {name: value.shape for name, value in given.items()}, what)
    require_finite(given, what)
    return given
