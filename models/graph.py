"""An ONNX graph as a torch module.

Its parameters are the file's float initialisers, by the file's own names and in the file's shapes, so that there is
no table of layers to get wrong and none to write back through. Two kinds do not learn and are buffers: the statistics
of a BatchNorm, and single numbers, which belong to formulas (the 1.4142 of a GELU). Integers are shapes and stay on
the CPU.

The graph is run in the file's order, and only as much of it as lies between what is given and what is asked for.
Nothing is random and nothing is kept: the modes of training and evaluation are one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

from models import operators
from models.errors import UnsupportedGraph
from models.layout import Array, require_finite, require_shapes
from privacy.files import write_bytes

OPSET = 11
"""Of which `models.operators` knows the meaning."""


@dataclass(frozen=True)
class Node:
    """One operator: the names it reads, the one it makes, and in a plan those that nobody reads after it."""

    kind: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Any]
    spent: tuple[str, ...] = ()


class Graph(nn.Module):
    """The graph of a file, without the parameters named in `without`.

    Raises:
        UnsupportedGraph: another opset, an operator or an attribute that `models.operators` does not have, a node
            with more than one output, or a name that a torch module has for itself.
    """

    def __init__(self, file: onnx.ModelProto, without: Sequence[str] = ()) -> None:
        super().__init__()
        opsets = {entry.version for entry in file.opset_import if not entry.domain}
        if opsets != {OPSET}:
            raise UnsupportedGraph(f"Expected opset {OPSET}, found {sorted(opsets)}.")
        self.nodes = [_node(node) for node in file.graph.node]
        self._integers: dict[str, Tensor] = {}
        self._plans: dict[tuple[frozenset[str], str], list[Node]] = {}
        frozen = {name for node in self.nodes if node.kind == "BatchNormalization" for name in node.inputs[3:]}
        for initializer in file.graph.initializer:
            value = torch.from_numpy(numpy_helper.to_array(initializer).copy())
            if initializer.name in without:
                continue
            if value.is_floating_point():
                self._hold(initializer.name, value, value.numel() > 1 and initializer.name not in frozen)
            else:
                self._integers[initializer.name] = value

    def forward(self, given: Mapping[str, Tensor], wanted: str) -> Tensor:
        """The value named `wanted`, from the values given by name, inputs of the file or anything in between.

        Raises:
            UnsupportedGraph: it does not follow from what is given.
        """
        key = frozenset(given), wanted
        if key not in self._plans:
            self._plans[key] = self._plan(*key)
        values = dict(self.named_parameters()) | dict(self.named_buffers()) | self._integers | dict(given)
        for node in self._plans[key]:
            inputs = (values[name] for name in node.inputs)
            values[node.output] = operators.OPERATORS[node.kind](*inputs, **node.attributes)
            for name in node.spent:
                del values[name]
        return values[wanted]

    def read_by(self, given: frozenset[str], wanted: str) -> set[str]:
        """The parameters that matter on the way from the values given to the one wanted."""
        read = {name for node in self._plan(given, wanted) for name in node.inputs}
        return read & {name for name, _ in self.named_parameters()}

    def _plan(self, given: frozenset[str], wanted: str) -> list[Node]:
        """The nodes on the way, in the file's order."""
        known = given | self._integers.keys() | {name for name, _ in (*self.named_parameters(), *self.named_buffers())}
        needed, plan = {wanted} - known, []
        for node in reversed(self.nodes):
            if node.output in needed:
                first_met = set(node.inputs) - known - needed
                plan.append(replace(node, spent=tuple(first_met)))
                needed |= first_met
                needed.remove(node.output)
        if needed:
            raise UnsupportedGraph(f"{wanted} does not follow from {sorted(given)}: {sorted(needed)} are missing.")
        return plan[::-1]

    def _hold(self, name: str, value: Tensor, learns: bool) -> None:
        """A parameter's own name may hold no dot, so "linear_8.w_0" is the `w_0` of a module `linear_8`."""
        *path, last = name.split(".")
        holder: nn.Module = self
        for part in path:
            if part not in dict(holder.named_children()):
                holder.add_module(part, nn.Module())
            holder = holder.get_submodule(part)
        if hasattr(holder, last):
            raise UnsupportedGraph(f"Expected a name that torch leaves free, found the initialiser {name}.")
        if learns:
            holder.register_parameter(last, nn.Parameter(value))
        else:
            holder.register_buffer(last, value)


def write(original: Path, state: Mapping[str, npt.ArrayLike], dest: Path) -> None:
    """Writes `original` to `dest` with `state` in place of the initialisers of these names; all else stays.

    The same weights give the same bytes. `dest` appears whole or not at all.

    Raises:
        WeightsMismatch: a name that the file lacks, another shape, or a value that is not finite. Nothing is written.
    """
    file = onnx.load(original)
    given: dict[str, Array] = {name: np.asarray(value, np.float32) for name, value in state.items()}
    floats = {i.name: i for i in file.graph.initializer if i.data_type == onnx.TensorProto.FLOAT}
    shapes = {name: tuple(floats[name].dims) for name in given.keys() & floats.keys()}
    require_shapes(shapes, {name: value.shape for name, value in given.items()}, "Weights")
    require_finite(given, "Weights")
    for name, value in given.items():
        floats[name].CopyFrom(numpy_helper.from_array(value.astype("<f4"), name))
    write_bytes(dest, file.SerializeToString(deterministic=True), mode=0o644)


def _node(node: onnx.NodeProto) -> Node:
    attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    where = f"Node {node.output[0]}"
    operators.check(node.op_type, attributes, where)
    if len(node.output) != 1 or node.domain:
        raise UnsupportedGraph(f"{where}: expected one output and no domain, found {len(node.output)}.")
    return Node(node.op_type, tuple(node.input), node.output[0], attributes)
