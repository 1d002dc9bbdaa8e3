"""The recogniser's neck over lines of different widths at once, without padding any of them.

Most of the neck sees one frame at a time. So all lines' frames go through it end to end, in a few large matrix
products; only the two convolutions, where a frame sees its neighbours, and attention, where it sees its line, keep
lines apart: by a column of zeros, which is what a line sees past its own ends, and by a mask. What comes out is what
`models.neck.Neck` says of each line by itself, up to rounding, half as slowly as line by line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional

from models.neck import Mixer, Neck


def neck_frames(neck: Neck, weights: Mapping[str, Tensor], groups: Sequence[Tensor]) -> Tensor:
    """Groups of lines `(N, 480, 1, T)`, one T a group, to all their frames, `(frames, 120)`.

    `neck` says how it is built, `weights` holds its parameters by the recogniser's names.
    """
    lines = _Lines.of(groups)
    at = _At(weights, "neck")
    row = lines.apart(torch.cat([group.squeeze(2).transpose(1, 2).flatten(0, 1) for group in groups]))
    z = functional.silu(at.linear("enter", lines.frames(functional.silu(at.neighbours("squeeze", row)))))
    for number, mixer in enumerate(neck.mixers):
        z = _mix(cast("Mixer", mixer), at.below(f"mixers.{number}"), z, lines)
    z = functional.silu(at.linear("leave", at.norm("norm", z, neck.norm.eps)))
    joined = functional.silu(at.neighbours("join", torch.cat((row, lines.apart(z)), dim=1)))
    return functional.silu(at.linear("project", lines.frames(joined)))


def _mix(mixer: Mixer, at: _At, z: Tensor, lines: _Lines) -> Tensor:
    """One SVTR block, `(frames, width)`: attention within each line, then a network frame by frame."""
    heads, width = mixer.attention.heads, z.shape[1]
    qkv = lines.side_by_side(at.linear("attention.qkv", at.norm("norm1", z, mixer.norm1.eps)))
    query, key, value = qkv.view(*qkv.shape[:2], 3, heads, width // heads).permute(2, 0, 3, 1, 4)
    scores = (query * (width // heads) ** -0.5) @ key.transpose(-2, -1)
    mixed = scores.masked_fill(~lines.own[:, None, None], float("-inf")).softmax(-1) @ value
    z = z + at.linear("attention.out", lines.own_frames(mixed.transpose(1, 2).flatten(2)))
    hidden = functional.silu(at.linear("mlp.0", at.norm("norm2", z, mixer.norm2.eps)))
    return z + at.linear("mlp.2", hidden)


@dataclass(frozen=True)
class _Lines:
    """Where each frame of lines laid end to end is, in a row with gaps and in a table with one line a row."""

    columns: Tensor
    cells: Tensor
    own: Tensor
    """`(lines, longest)`: which cells of the table are frames."""

    @classmethod
    def of(cls, groups: Sequence[Tensor]) -> _Lines:
        lengths = torch.tensor([group.shape[3] for group in groups for _ in group])
        line = torch.repeat_interleave(lengths)
        moment = torch.arange(len(line)) - (lengths.cumsum(0) - lengths)[line]
        own = torch.arange(int(lengths.max())) < lengths.unsqueeze(1)
        device = groups[0].device
        return cls(
            (torch.arange(len(line)) + line).to(device), (line * own.shape[1] + moment).to(device), own.to(device)
        )

    def apart(self, frames: Tensor) -> Tensor:
        """`(frames, C)` to `(1, C, 1, columns)`, a zero between lines."""
        row = frames.new_zeros(int(self.columns[-1]) + 1, frames.shape[1]).index_copy(0, self.columns, frames)
        return row.T[None, :, None]

    def frames(self, row: Tensor) -> Tensor:
        """The inverse of `apart`."""
        return row[0, :, 0].T.index_select(0, self.columns)

    def side_by_side(self, frames: Tensor) -> Tensor:
        """`(frames, C)` to `(lines, longest, C)`, zeros past a line's end."""
        table = frames.new_zeros(self.own.numel(), frames.shape[1]).index_copy(0, self.cells, frames)
        return table.view(*self.own.shape, -1)

    def own_frames(self, table: Tensor) -> Tensor:
        """The inverse of `side_by_side`."""
        return table.flatten(0, 1).index_select(0, self.cells)


@dataclass(frozen=True)
class _At:
    """Layers by name, at given weights."""

    weights: Mapping[str, Tensor]
    prefix: str

    def below(self, name: str) -> _At:
        return _At(self.weights, f"{self.prefix}.{name}")

    def _of(self, name: str) -> tuple[Tensor, Tensor]:
        return self.weights[f"{self.prefix}.{name}.weight"], self.weights[f"{self.prefix}.{name}.bias"]

    def linear(self, name: str, frames: Tensor) -> Tensor:
        """A linear layer or a 1x1 convolution."""
        weight, bias = self._of(name)
        return functional.linear(frames, weight.flatten(1), bias)

    def neighbours(self, name: str, row: Tensor) -> Tensor:
        """A 1x3 convolution."""
        weight, bias = self._of(name)
        return functional.conv2d(row, weight, bias, padding=(0, 1))

    def norm(self, name: str, frames: Tensor, eps: float) -> Tensor:
        weight, bias = self._of(name)
        return functional.layer_norm(frames, weight.shape, weight, bias, eps)
