"""The neck of PP-OCRv4's recogniser: SVTR mixing (Du et al. 2022, arXiv 2205.00159) over the frames of a line.

`neck_frames` computes the same over lines of different widths at once.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from models import layout


class Attention(nn.Module):
    """Multi-head self-attention over the frames of a line."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, frames, width = x.shape
        parts = self.qkv(x).view(n, frames, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = parts[0], parts[1], parts[2]
        scores = (query * (width // self.heads) ** -0.5) @ key.transpose(-2, -1)
        mixed = scores.softmax(-1) @ value
        return cast(Tensor, self.out(mixed.transpose(1, 2).reshape(n, frames, width)))


class Mixer(nn.Module):
    """One SVTR block with global mixing: attention and a two-layer network, each normalised before."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-5)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-5)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return cast(Tensor, x + self.mlp(self.norm2(x)))


class Neck(nn.Module):
    """`(N, 480, 1, T)` to `(N, T, 120)`: SVTR mixing around a shortcut of the backbone's output."""

    def __init__(self, inputs: int, width: int, heads: int) -> None:
        super().__init__()
        narrow = inputs // 8
        self.squeeze = nn.Conv2d(inputs, narrow, (1, 3), padding=(0, 1))
        self.enter = nn.Conv2d(narrow, width, 1)
        self.mixers = nn.Sequential(*(Mixer(width, heads) for _ in range(layout.MIXERS)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.leave = nn.Conv2d(width, inputs, 1)
        self.join = nn.Conv2d(2 * inputs, narrow, (1, 3), padding=(0, 1))
        self.project = nn.Conv2d(narrow, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        silu = functional.silu
        z = silu(self.enter(silu(self.squeeze(x))))
        z = self.norm(self.mixers(z.squeeze(2).transpose(1, 2)))
        z = silu(self.leave(z.transpose(1, 2).unsqueeze(2)))
        z = silu(self.project(silu(self.join(torch.cat((x, z), dim=1)))))
        return z.squeeze(2).transpose(1, 2)
