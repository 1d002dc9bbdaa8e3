"""A recogniser that is only known as an ONNX graph, as a trainee: PP-OCRv6 small.

Its last layers are found by their shape: softmax of features times a matrix plus a bias. That matrix is the head, a
`torch.nn.Linear`; everything before it is a `models.graph.Graph`, whose last average pooling is where the backbone
ends and frames begin. Parameters are named `body.<the file's name>`, `head.weight` and `head.bias`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from models import graph, layout
from models.errors import UnsupportedGraph
from models.trainee import Depth

_BODY = "body."


@dataclass(frozen=True)
class Ends:
    """Where a file's graph begins and ends, by name; `weight` is `(features, classes)`."""

    image: str
    pooled: str
    features: str
    weight: str
    bias: str

    @classmethod
    def of(cls, file: onnx.ModelProto) -> Ends:
        """Raises `UnsupportedGraph` if the graph does not end as a recogniser's does."""
        made = {node.output[0]: node for node in file.graph.node}
        held = {initializer.name for initializer in file.graph.initializer}
        found = file.graph.output[0].name
        chain: list[onnx.NodeProto] = []
        while found in made and len(chain) < 3:
            if made[found].op_type != "Identity":
                chain.append(made[found])
            found = made[found].input[0]
        kinds = [node.op_type for node in chain]
        if kinds != ["Softmax", "Add", "MatMul"] or not held.issuperset((chain[1].input[1], chain[2].input[1])):
            raise UnsupportedGraph(f"Expected a softmax of features times a matrix plus a bias, found {kinds}.")
        pools = [node.output[0] for node in file.graph.node if node.op_type == "AveragePool"]
        if not pools:
            raise UnsupportedGraph("Expected an average pooling where the backbone ends, found none.")
        return cls(file.graph.input[0].name, pools[-1], chain[2].input[0], chain[2].input[1], chain[1].input[1])


class GraphRecogniser(nn.Module):
    """The recogniser in an ONNX file: lines in, one score per frame and class out. See `models.trainee`."""

    def __init__(self, file: onnx.ModelProto) -> None:
        super().__init__()
        self.ends = Ends.of(file)
        held = {i.name: i for i in file.graph.initializer}
        matrix, bias = (torch.from_numpy(numpy_helper.to_array(held[n]).copy()) for n in self._head_names)
        self.body = graph.Graph(file, without=self._head_names)
        self.head = nn.Linear(*matrix.shape)
        with torch.no_grad():
            self.head.weight.copy_(matrix.T)
            self.head.bias.copy_(bias)

    @property
    def _head_names(self) -> tuple[str, str]:
        return self.ends.weight, self.ends.bias

    def features(self, x: Tensor) -> Tensor:
        """`(N, 3, 48, W) float32 in [-1, 1]`, BGR, to `(N, T, C)`. Padding counts, as it does for PP-OCRv4."""
        return cast(Tensor, self.body({self.ends.image: x}, self.ends.features))

    def forward(self, x: Tensor) -> Tensor:
        """Logits `(N, T, classes)`. Class 0 is CTC's blank."""
        return cast(Tensor, self.head(self.features(x)))

    @torch.no_grad()
    def frozen(self, images: Tensor, depth: Depth) -> Tensor:
        """See `Trainee`; at "projection" these are the features themselves: no layer follows that sees frames alone."""
        if depth == "image":
            return images
        wanted = self.ends.features if depth == "projection" else self.ends.pooled
        return cast(Tensor, self.body({self.ends.image: images}, wanted)).contiguous()

    def features_of(self, frames: Tensor) -> Tensor:
        """Those that `frozen` gave."""
        return frames

    def layers(self, depth: Depth) -> dict[str, Tensor]:
        """See `Trainee`."""
        read = self.body.read_by(frozenset((self._begin(depth),)), self.ends.features)
        return {_BODY + name: value for name, value in self.body.named_parameters() if name in read}

    def features_at(self, weights: Mapping[str, Tensor], groups: Sequence[Tensor], depth: Depth) -> Tensor:
        """See `Trainee`: group by group."""
        own = {name.removeprefix(_BODY): value for name, value in weights.items()}
        found = [self.body({self._begin(depth): group} | own, self.ends.features) for group in groups]
        return torch.cat([each.flatten(0, 1) for each in found])

    def _begin(self, depth: Depth) -> str:
        return self.ends.image if depth == "image" else self.ends.pooled

    @property
    def _shapes(self) -> dict[str, layout.Shape]:
        return {name: tuple(value.shape) for name, value in self.named_parameters()}

    def weights(self) -> dict[str, layout.Array]:
        """See `Trainee`; also for `write`."""
        return {name: value.detach().cpu().float().numpy().copy() for name, value in self.named_parameters()}

    def load_weights(self, state: Mapping[str, npt.ArrayLike | Tensor]) -> None:
        """See `Trainee`."""
        given = {name: torch.as_tensor(value) for name, value in state.items()}
        layout.require_shapes(self._shapes, {name: tuple(value.shape) for name, value in given.items()}, "Weights")
        with torch.no_grad():
            for name, value in self.named_parameters():
                value.copy_(given[name])

    def write(self, original: Path, state: Mapping[str, npt.ArrayLike], dest: Path) -> None:
        """Writes `original`, the file this was read from, to `dest` with all weights `state` in it.

        Raises:
            WeightsMismatch: `state` is not exactly this recogniser's, or a value is not finite. Nothing is written.
        """
        given = {name: np.asarray(value, np.float32) for name, value in state.items()}
        layout.require_shapes(self._shapes, {name: value.shape for name, value in given.items()}, "Weights")
        named = {name.removeprefix(_BODY): value for name, value in given.items() if name.startswith(_BODY)}
        head = {self.ends.weight: given["head.weight"].T, self.ends.bias: given["head.bias"]}
        graph.write(original, named | head, dest)


def load(path: Path) -> GraphRecogniser:
    """The recogniser of an ONNX file, in evaluation mode.

    Raises:
        UnsupportedGraph: it holds an operator that is not known, or does not end as a recogniser's graph does.
    """
    return GraphRecogniser(onnx.load(path)).eval()
