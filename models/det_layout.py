"""PP-OCRv4's detector as a table: its blocks, and what each weight is called here and by Paddle.

The twin of `layout.py`. Two convolutions without a bias and one transposed convolution with one are followed by
a BatchNorm with frozen statistics, folded here for the reason given there. A transposed convolution keeps its
output channels second, and Paddle its bias as `(1, C, 1, 1)`.

Both directions are all or nothing: a missing, unexpected or misshaped weight is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import WeightsMismatch
from models.layout import NORM_EPSILON, Array, Block, Shape, Weight, require_shapes

STEM_CHANNELS = 16
BLOCKS: tuple[Block, ...] = (
    Block(3, 16, 32),
    Block(3, 32, 48, stride=(2, 2)),
    Block(3, 48, 48),
    Block(3, 48, 96, stride=(2, 2)),
    Block(3, 96, 96),
    Block(3, 96, 192, stride=(2, 2)),
    Block(5, 192, 192),
    Block(5, 192, 192),
    Block(5, 192, 192),
    Block(5, 192, 192),
    Block(5, 192, 384, stride=(2, 2), squeeze_excite=True),
    Block(5, 384, 384, squeeze_excite=True),
    Block(5, 384, 384),
    Block(5, 384, 384),
)
TAPS: Mapping[int, int] = {2: 12, 4: 18, 9: 42, 13: 360}
"""The blocks whose output the neck sees, at a 4th, 8th, 16th and 32nd of the page, and its channels there."""
WIDTH = 96
"""Channels of the neck, a quarter of them from each tap."""
NARROW = WIDTH // 4


@dataclass(frozen=True)
class Folded:
    """A (transposed) convolution with a bias here, that and a BatchNorm in Paddle."""

    name: str
    shape: Shape
    conv: str
    norm: str
    transposed: bool = False

    @property
    def outputs(self) -> int:
        return self.shape[1 if self.transposed else 0]

    @property
    def across(self) -> tuple[int, ...]:
        """The shape in which a number for each output channel meets the weight."""
        return (1, -1, 1, 1) if self.transposed else (-1, 1, 1, 1)

    @property
    def paddle_shapes(self) -> dict[str, Shape]:
        shapes: dict[str, Shape] = {f"{self.norm}.{part}": (self.outputs,) for part in ("w_0", "b_0", "w_1", "w_2")}
        if self.transposed:
            shapes[f"{self.conv}.b_0"] = (1, self.outputs, 1, 1)
        return shapes | {f"{self.conv}.w_0": self.shape}


def _conv(name: str, shape: Shape, number: int) -> Iterator[Weight]:
    yield Weight(f"{name}.weight", shape, f"conv2d_{number}.w_0")
    yield Weight(f"{name}.bias", shape[:1], f"conv2d_{number}.b_0")


def _squeeze_excite(name: str, channels: int, number: int) -> Iterator[Weight]:
    yield from _conv(f"{name}.reduce", (channels // 4, channels, 1, 1), number)
    yield from _conv(f"{name}.expand", (channels, channels // 4, 1, 1), number + 1)


def _affine(name: str, paddle: str) -> Iterator[Weight]:
    yield Weight(f"{name}.scale", (1,), f"{paddle}.w_0")
    yield Weight(f"{name}.bias", (1,), f"{paddle}.w_1")


def _rep_layer(name: str, shape: Shape, number: int, activated: bool = True) -> Iterator[Weight]:
    yield from _conv(f"{name}.conv", shape, 394 + number)
    yield from _affine(f"{name}.affine", f"mobile_one_block_{number}")
    if activated:
        yield from _affine(f"{name}.after", f"whswish_b_{number + 1}")


def _backbone() -> Iterator[Weight]:
    squeeze_excite = iter((96, 107))  # Paddle's numbers of the two first convolutions
    for i, block in enumerate(BLOCKS):
        name, depthwise = f"backbone.blocks.{i}", (block.inputs, 1, block.kernel, block.kernel)
        yield from _rep_layer(f"{name}.depthwise", depthwise, 2 * i, activated=block.stride == (1, 1))
        if block.squeeze_excite:
            yield from _squeeze_excite(f"{name}.excite", block.inputs, next(squeeze_excite))
        yield from _rep_layer(f"{name}.pointwise", (block.outputs, block.inputs, 1, 1), 2 * i + 1)
    for k, (block_index, channels) in enumerate(TAPS.items()):
        yield from _conv(f"backbone.taps.{k}", (channels, BLOCKS[block_index].outputs, 1, 1), 131 + k)


def _neck() -> Iterator[Weight]:
    for k, channels in enumerate(TAPS.values()):
        enter, leave = 135 + 6 * k, 138 + 6 * k
        yield Weight(f"neck.enter.{k}.conv.weight", (WIDTH, channels, 1, 1), f"conv2d_{enter}.w_0")
        yield from _squeeze_excite(f"neck.enter.{k}.excite", WIDTH, enter + 1)
        yield Weight(f"neck.leave.{k}.conv.weight", (NARROW, WIDTH, 3, 3), f"conv2d_{leave}.w_0")
        yield from _squeeze_excite(f"neck.leave.{k}.excite", NARROW, leave + 1)


WEIGHTS: tuple[Weight, ...] = (
    *_backbone(),
    *_neck(),
    Weight("head.out.weight", (NARROW, 1, 2, 2), "conv2d_transpose_1.w_0"),
)
_OUT_BIAS = "conv2d_transpose_1.b_0"
FOLDED: tuple[Folded, ...] = (
    Folded("backbone.stem", (STEM_CHANNELS, 3, 3, 3), "conv2d_0", "batch_norm2d_0"),
    Folded("head.conv", (NARROW, WIDTH, 3, 3), "conv2d_159", "batch_norm_0"),
    Folded("head.up", (NARROW, NARROW, 2, 2), "conv2d_transpose_0", "batch_norm_1", transposed=True),
)


def torch_shapes() -> dict[str, Shape]:
    """Name to shape of every weight of `models.detector.Detector`."""
    shapes = {weight.name: weight.shape for weight in WEIGHTS} | {"head.out.bias": (1,)}
    for fold in FOLDED:
        shapes |= {f"{fold.name}.weight": fold.shape, f"{fold.name}.bias": (fold.outputs,)}
    return shapes


def paddle_shapes() -> dict[str, Shape]:
    """Name to shape of every weight of the released file."""
    shapes = {weight.paddle: weight.paddle_shape for weight in WEIGHTS} | {_OUT_BIAS: (1, 1, 1, 1)}
    for fold in FOLDED:
        shapes |= fold.paddle_shapes
    return shapes


def to_torch(constants: Mapping[str, npt.ArrayLike]) -> dict[str, Array]:
    """Paddle's arrays under torch's names and shapes; the BatchNorms are folded into their convolutions.

    Raises:
        WeightsMismatch: `constants` is not exactly the detector's, or holds a value that is not finite.
    """
    given = _checked(constants, paddle_shapes(), "The detector's constants")
    state: dict[str, npt.NDArray[Any]] = {weight.name: given[weight.paddle] for weight in WEIGHTS}
    state["head.out.bias"] = given[_OUT_BIAS].reshape(1)
    for fold in FOLDED:
        gamma, beta, mean, variance = (given[f"{fold.norm}.{part}"].astype(float) for part in _NORM)
        scale = gamma / np.sqrt(variance + NORM_EPSILON)
        before = given[f"{fold.conv}.b_0"].reshape(-1) if fold.transposed else 0.0
        state[f"{fold.name}.weight"] = given[f"{fold.conv}.w_0"] * scale.reshape(fold.across)
        state[f"{fold.name}.bias"] = beta + (before - mean) * scale
    return {name: np.array(value, np.float32, order="C") for name, value in state.items()}


def to_paddle(state: Mapping[str, npt.ArrayLike]) -> dict[str, Array]:
    """The inverse of `to_torch`, but for the three BatchNorms, which come back as the identity plus a bias.

    Raises:
        WeightsMismatch: `state` is not exactly the detector's, or holds a value that is not finite.
    """
    given = _checked(state, torch_shapes(), "The detector's weights")
    constants = {weight.paddle: given[weight.name] for weight in WEIGHTS}
    constants[_OUT_BIAS] = given["head.out.bias"].reshape(1, 1, 1, 1)
    for fold in FOLDED:
        one = np.ones(fold.outputs, np.float32)
        identity = (one, given[f"{fold.name}.bias"], 0 * one, one - np.float32(NORM_EPSILON))
        constants |= {f"{fold.norm}.{part}": value for part, value in zip(_NORM, identity, strict=True)}
        constants[f"{fold.conv}.w_0"] = given[f"{fold.name}.weight"]
        if fold.transposed:
            constants[f"{fold.conv}.b_0"] = np.zeros((1, fold.outputs, 1, 1), np.float32)
    return {name: np.array(value, np.float32, order="C") for name, value in constants.items()}


_NORM = ("w_0", "b_0", "w_1", "w_2")  # gamma, beta, mean, variance


def _checked(arrays: Mapping[str, npt.ArrayLike], expected: dict[str, Shape], what: str) -> dict[str, Array]:
    given = {name: np.asarray(value, dtype=np.float32) for name, value in arrays.items()}
    require_shapes(expected, {name: value.shape for name, value in given.items()}, what)
    broken = sorted(name for name, value in given.items() if not np.isfinite(value).all())
    if broken:
        raise WeightsMismatch(f"{what} hold values that are not finite: {', '.join(broken)}.")
    return given
