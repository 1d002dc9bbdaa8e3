"""PP-OCRv4's text-line recogniser: PPLCNetV3 x0.95, an SVTR neck of width 120, a CTC head.

Deploy form: every re-parameterised branch is one convolution, every BatchNorm is folded into the
convolution before it, and no module keeps a running statistic or draws a random number. So a line's
output depends on that line and the parameters alone, in training mode as in evaluation mode, and a
document's gradient is the same alone and in any batch.

The layers are those of `ppocr/modeling` (PaddleOCR, Apache-2.0) under names of our own; `layout.py` says
which weight is which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from models import layout
from models.neck import Neck
from models.neck_frames import neck_frames
from models.trainee import Depth
from models.weights import read_onnx

HEIGHT = 48
"""Height of a line in pixels."""


def frames(width: int) -> int:
    """T, the frames of output for a line `width` pixels wide: an eighth of it, rounded as the strides do."""
    return -(-width // 4) // 2


class Affine(nn.Module):
    """`scale * x + bias`, one number each for the whole layer (PaddleOCR's learnable affine block)."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x + self.bias


class RepLayer(nn.Module):
    """Convolution, affine, hard-swish, affine.

    The last affine cannot be folded into the next convolution where that one pads: its zeros would have
    to become `bias`. So both stay.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: tuple[int, int] = (1, 1), groups: int = 1
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups)
        self.affine = Affine()
        self.after = Affine()

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.after(functional.hardswish(self.affine(self.conv(x)))))


class SqueezeExcite(nn.Module):
    """Scales each channel by a gate computed from the means of all channels (Hu et al. 2018).

    The gate is PaddleOCR's hard sigmoid, whose slope is not 1/6 but the float32 nearest 0.1666667. Close
    to a shut gate that is not nothing: with 1/6 some hard lines were off by 5e-4 in probability.
    """

    SLOPE = 0.16666670143604279

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, channels // 4, 1)
        self.expand = nn.Conv2d(channels // 4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = self.expand(functional.relu(self.reduce(x.mean((2, 3), keepdim=True))))
        return x * (self.SLOPE * gate + 0.5).clamp(0, 1)


class Block(nn.Module):
    """A depthwise layer, squeeze-excite where the table asks for it, a pointwise layer."""

    def __init__(self, shape: layout.Block) -> None:
        super().__init__()
        self.depthwise = RepLayer(shape.inputs, shape.inputs, shape.kernel, shape.stride, groups=shape.inputs)
        self.excite = SqueezeExcite(shape.inputs) if shape.squeeze_excite else nn.Identity()
        self.pointwise = RepLayer(shape.inputs, shape.outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.pointwise(self.excite(self.depthwise(x))))


class Backbone(nn.Module):
    """`(N, 3, 48, W)` to `(N, 480, 1, T)`."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, layout.STEM_CHANNELS, 3, stride=2, padding=1)
        self.blocks = nn.Sequential(*(Block(shape) for shape in layout.BLOCKS))

    def forward(self, x: Tensor) -> Tensor:
        return functional.avg_pool2d(self.blocks(self.stem(x)), (3, 2))


class Recogniser(nn.Module):
    """PP-OCRv4's recogniser: lines in, one score per frame and class out. See `models.trainee`."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.neck = Neck(layout.BLOCKS[-1].outputs, layout.CHANNELS, layout.HEADS)
        self.head = nn.Linear(layout.CHANNELS, layout.CLASSES)

    def features(self, x: Tensor) -> Tensor:
        """`(N, 3, 48, W) float32 in [-1, 1]`, BGR, W at least 8, to `(N, frames(W), 120)`: all but the head.

        Padding counts: squeeze-excite and attention see it. Give each line a width that depends on that
        line alone.
        """
        return cast(Tensor, self.neck(self.backbone(x)))

    def forward(self, x: Tensor) -> Tensor:
        """Logits `(N, frames(W), 6625)` of the line tensors `features` takes. Class 0 is CTC's blank."""
        return cast(Tensor, self.head(self.features(x)))

    @torch.no_grad()
    def frozen(self, images: Tensor, depth: Depth) -> Tensor:
        """See `Trainee`: `(N, T, 60)` before the neck's last projection, or `(N, 480, 1, T)` after the backbone."""
        if depth == "image":
            return images
        if depth == "backbone":
            return cast(Tensor, self.backbone(images))
        seen: list[Tensor] = []
        hook = self.neck.project.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        try:
            self.features(images)
        finally:
            hook.remove()
        return seen[0].squeeze(2).transpose(1, 2).contiguous()

    def features_of(self, frames: Tensor) -> Tensor:
        """See `Trainee`: the last projection, frame by frame."""
        project = self.neck.project
        return functional.silu(functional.linear(frames, project.weight.flatten(1), project.bias))

    def layers(self, depth: Depth) -> dict[str, Tensor]:
        """See `Trainee`."""
        above = ("neck.",) if depth == "backbone" else ("backbone.", "neck.")
        return {name: value for name, value in self.named_parameters() if name.startswith(above)}

    def features_at(self, weights: Mapping[str, Tensor], groups: Sequence[Tensor], depth: Depth) -> Tensor:
        """See `Trainee`: the backbone group by group, the neck for all lines at once."""
        if depth == "image":
            prefix = "backbone."
            own = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
            groups = [functional_call(self.backbone, own, (group,)) for group in groups]
        return neck_frames(self.neck, weights, groups)

    def weights(self) -> dict[str, layout.Array]:
        """A copy of every parameter, as float32 arrays on the CPU, for `weights.write_onnx`."""
        return {name: value.detach().cpu().float().numpy().copy() for name, value in self.named_parameters()}

    def load_weights(self, state: Mapping[str, npt.ArrayLike | Tensor]) -> None:
        """Replaces every parameter, or none.

        Raises:
            WeightsMismatch: a name is missing or unexpected, or a shape differs; all of them are named.
        """
        given = {name: torch.as_tensor(value) for name, value in state.items()}
        expected = {name: tuple(value.shape) for name, value in self.named_parameters()}
        found = {name: tuple(value.shape) for name, value in given.items()}
        layout.require_shapes(expected, found, "Weights")
        self.load_state_dict(given)


def load(path: Path) -> Recogniser:
    """The recogniser of an ONNX file (the released one, or one that `write_onnx` made), in evaluation mode.

    Raises:
        WeightsMismatch: the file's weights are not exactly PP-OCRv4's; nothing is loaded.
    """
    model = Recogniser()
    model.load_weights(read_onnx(path))
    return model.eval()
