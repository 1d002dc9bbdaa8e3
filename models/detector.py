"""PP-OCRv4's text detector: PPLCNetV3 x0.75, an RSEFPN neck of width 96, the probability branch of a DB head.

Deploy form, as `recogniser.py`: every re-parameterised branch is one convolution, every BatchNorm is folded, and
no module keeps a running statistic. So a page's map depends on that page and the parameters alone, and its
gradient is the same alone and in any batch.

The released file is for inference and holds the probability branch only. Differentiable binarisation (Liao et
al., arXiv 1911.08947) trains a second branch of the same form, for the threshold; `Branch` serves both, and
`learners.detection` says where the weights of the second come from. `det_layout.py` says which weight is which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from models import det_layout, layout
from models.looks import STEP
from models.recogniser import Affine, RepLayer, SqueezeExcite
from privacy.files import write_bytes
from privacy.page import Image

Taps = Sequence[Tensor]
"""The backbone's four outputs, `(N, 12, H/4, W/4)` to `(N, 360, H/32, W/32)`."""


class Strided(nn.Module):
    """Convolution and affine: a depthwise layer of stride 2 has no activation."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel, 2, padding=kernel // 2, groups=channels)
        self.affine = Affine()

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.affine(self.conv(x)))


class Block(nn.Module):
    """A depthwise layer, squeeze-excite where the table asks for it, a pointwise layer."""

    def __init__(self, shape: layout.Block) -> None:
        super().__init__()
        plain = shape.stride == (1, 1)
        self.depthwise = (
            RepLayer(shape.inputs, shape.inputs, shape.kernel, groups=shape.inputs)
            if plain
            else Strided(shape.inputs, shape.kernel)
        )
        self.excite = SqueezeExcite(shape.inputs) if shape.squeeze_excite else nn.Identity()
        self.pointwise = RepLayer(shape.inputs, shape.outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.pointwise(self.excite(self.depthwise(x))))


class Backbone(nn.Module):
    """`(N, 3, H, W)` to the four taps."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, det_layout.STEM_CHANNELS, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(Block(shape) for shape in det_layout.BLOCKS)
        tapped = det_layout.TAPS.items()
        self.taps = nn.ModuleList(nn.Conv2d(det_layout.BLOCKS[at].outputs, channels, 1) for at, channels in tapped)

    def forward(self, x: Tensor) -> Taps:
        x = self.stem(x)
        found: list[Tensor] = []
        for at, block in enumerate(self.blocks):
            x = block(x)
            if at in det_layout.TAPS:
                found.append(self.taps[len(found)](x))
        return found


class NeckExcite(SqueezeExcite):
    """Squeeze-excite with a shortcut, and the steeper hard sigmoid that Paddle's default gives it."""

    SLOPE = 0.20000000298023224

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


class Lateral(nn.Module):
    """A convolution without a bias, and squeeze-excite with a shortcut."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.excite = NeckExcite(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.excite(self.conv(x)))


class Neck(nn.Module):
    """The taps to `(N, 96, H/4, W/4)`: coarse ones added to finer ones, then all side by side, the coarsest first."""

    def __init__(self) -> None:
        super().__init__()
        wide, narrow = det_layout.WIDTH, det_layout.NARROW
        self.enter = nn.ModuleList(Lateral(channels, wide, 1) for channels in det_layout.TAPS.values())
        self.leave = nn.ModuleList(Lateral(wide, narrow, 3) for _ in det_layout.TAPS)

    def forward(self, taps: Taps) -> Tensor:
        levels = [enter(tap) for enter, tap in zip(self.enter, taps, strict=True)]
        for k in reversed(range(len(levels) - 1)):
            levels[k] = levels[k] + _enlarged(levels[k + 1], 2)
        parts = [_enlarged(leave(level), 2**k) for k, (leave, level) in enumerate(zip(self.leave, levels, strict=True))]
        return torch.cat(parts[::-1], dim=1)


class Branch(nn.Module):
    """One branch of the DB head: `(N, 96, H/4, W/4)` to logits `(N, 1, H, W)`."""

    def __init__(self) -> None:
        super().__init__()
        wide, narrow = det_layout.WIDTH, det_layout.NARROW
        self.conv = nn.Conv2d(wide, narrow, 3, padding=1)
        self.up = nn.ConvTranspose2d(narrow, narrow, 2, stride=2)
        self.out = nn.ConvTranspose2d(narrow, 1, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.out(functional.relu(self.up(functional.relu(self.conv(x))))))


class Detector(nn.Module):
    """PP-OCRv4's detector: a page in, the probability of each pixel to lie in the core of a text line out."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.neck = Neck()
        self.head = Branch()

    def forward(self, x: Tensor) -> Tensor:
        """`(N, 3, H, W) float32`, as `to_tensor` makes it, to probabilities `(N, 1, H, W)`.

        Padding counts, since squeeze-excite takes means over the page: give each page its own size.
        """
        return cast(Tensor, self.head(self.neck(self.backbone(x)))).sigmoid()

    def weights(self) -> dict[str, layout.Array]:
        """A copy of every parameter, as float32 arrays on the CPU, for `write_onnx`."""
        return {name: value.detach().cpu().float().numpy().copy() for name, value in self.named_parameters()}

    def load_weights(self, state: Mapping[str, npt.ArrayLike | Tensor]) -> None:
        """Replaces every parameter, or none.

        Raises:
            WeightsMismatch: a name is missing or unexpected, or a shape differs; all of them are named.
        """
        given = {name: torch.as_tensor(value) for name, value in state.items()}
        expected = {name: tuple(value.shape) for name, value in self.named_parameters()}
        layout.require_shapes(expected, {name: tuple(value.shape) for name, value in given.items()}, "Weights")
        self.load_state_dict(given)


def to_tensor(view: Image) -> Tensor:
    """A view `(H, W, 3) uint8` BGR, both sides multiples of 32, as `(3, H, W) float32` in [-1, 1], as RapidOCR does.

    Raises:
        ValueError: a side that is no multiple; RapidOCR would stretch such a page, and this would not.
    """
    if view.shape[0] % STEP or view.shape[1] % STEP or not view.size:
        raise ValueError(f"Expected sides that are multiples of {STEP} pixels, got {view.shape[:2]}.")
    scaled = (view.astype(np.float32) * (1 / 255.0) - 0.5) / 0.5
    return torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 0, 1)))


def load(path: Path) -> Detector:
    """The detector of an ONNX file (the released one, or one that `write_onnx` made), in evaluation mode.

    Raises:
        WeightsMismatch: the file's weights are not exactly PP-OCRv4's; nothing is loaded.
    """
    constants = _weight_constants(onnx.load(path))
    model = Detector()
    model.load_weights(det_layout.to_torch({name: numpy_helper.to_array(value) for name, value in constants.items()}))
    return model.eval()


def write_onnx(original: Path, state: Mapping[str, npt.ArrayLike], dest: Path) -> None:
    """Writes `original` to `dest` with `state` in its weight constants; the graph and its names stay.

    The same weights give the same bytes. `dest` appears whole or not at all.

    Raises:
        WeightsMismatch: `state` or `original` is not exactly PP-OCRv4's detector, or a value is not finite.
            Nothing is written.
    """
    constants = det_layout.to_paddle(state)
    graph = onnx.load(original)
    tensors = _weight_constants(graph)
    found = {name: tuple(tensor.dims) for name, tensor in tensors.items()}
    layout.require_shapes(det_layout.paddle_shapes(), found, f"Constants of {original}")
    for name, tensor in tensors.items():
        tensor.raw_data = constants[name].astype("<f4").tobytes()
    write_bytes(dest, graph.SerializeToString(deterministic=True), mode=0o644)


def _weight_constants(graph: Any) -> dict[str, onnx.TensorProto]:
    """All constants but the ones that the export to ONNX added for its own arithmetic."""
    named = ((node.output[0], node) for node in graph.graph.node if node.op_type == "Constant")
    return {name: node.attribute[0].t for name, node in named if not name.startswith("p2o.")}


def _enlarged(x: Tensor, times: int) -> Tensor:
    return functional.interpolate(x, scale_factor=times, mode="nearest") if times > 1 else x
