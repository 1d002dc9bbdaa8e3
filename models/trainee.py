"""What learning asks of a recogniser, whatever its family: PP-OCRv4's modules, PP-OCRv6's graph.

A trainee reads lines through a body and a linear head. An adapter caches what the body says of a line at the depth
where that adapter begins, and moves only what lies above. So a trainee says three things: what it sees at a depth,
which parameters lie above that depth, and what the features are at other values of those.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, Self

import torch
from torch import Tensor, nn

from models.layout import Array

Depth = Literal["projection", "backbone", "image"]
"""Where the frozen part ends: as near to the head as frames are still seen one by one, before the layers in which
frames see their line, or at the pixels."""


class Trainee(Protocol):
    """A recogniser that can learn. A line's output depends on that line and the parameters alone."""

    head: nn.Linear
    """`(F, C)` features to `(F, classes)` scores; its parameters are named `head.weight` and `head.bias`."""

    def to(self, device: torch.device) -> Self:
        """Itself, with all its parameters moved to the device."""
        ...

    def frozen(self, images: Tensor, depth: Depth) -> Tensor:
        """`(N, 3, 48, W)` to what no parameter above this depth moves, without a graph of gradients.

        `(N, T, width)` at "projection", `(N, channels, 1, T)` at "backbone", the images themselves at "image".
        """
        ...

    def features_of(self, frames: Tensor) -> Tensor:
        """What `frozen` says at "projection" to the head's features, `(N, T, C)`, frame by frame."""
        ...

    def layers(self, depth: Depth) -> dict[str, Tensor]:
        """The parameters above a depth "backbone" or "image" but the head's, by name, in a fixed order."""
        ...

    def features_at(self, weights: Mapping[str, Tensor], groups: Sequence[Tensor], depth: Depth) -> Tensor:
        """Groups of lines of one width, seen at "backbone" or "image", to all their frames' features, `(frames, C)`.

        `weights` has a value for each of `layers(depth)`. Lines of different groups do not see each other.
        """
        ...

    def weights(self) -> dict[str, Array]:
        """A copy of every parameter by name, float32 on the CPU."""
        ...

    def load_weights(self, state: Mapping[str, Array]) -> None:
        """Replaces every parameter, or none.

        Raises:
            WeightsMismatch: a name is missing or unexpected, or a shape differs.
        """
        ...
