"""Adapters that reach below the last projection: `lora`, `norm`, `neck` and `all`.

They share one class. What learns is a list of the recogniser's parameters, each moved as a whole or within
a public subspace, and, if asked for, the charset's rows of the classifier within a public basis:

- `lora`: the neck's linear layers and convolutions, `W + B A` (Hu et al. 2021, arXiv 2106.09685). `A` is
  public and frozen, `B` alone learns and starts at zero (LoRA-FA, Zhang et al. 2023, arXiv 2308.03303), so
  the start is exactly the released model. The rows of `A` are orthonormal, so a change of `B` is a change
  of the weights of the same norm.
- `norm`: biases, normalisation and the backbone's affine scales: every parameter with one axis.
- `neck`: all of the neck. `all`: everything, the whole classifier included unless a basis is given.

Layers below the classifier move every character's score. So the characters that do not learn stay in the
softmax (or the charset is closed): otherwise untrained classes would win.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from learners.adapters import Charset, Rows
from learners.chunks import Seen, cache
from learners.gradients import gradient_blocks
from models.trainee import Depth, Trainee

_HEAD = ("head.weight", "head.bias")


class DeepAdapter:
    """Some of the recogniser's parameters, as one flat vector of changes.

    Args:
        name: the kind of adapter.
        learned: parameters by name: None for one that moves as a whole, or its frozen factor `(rank, inputs)`,
            a kernel's taps among the inputs.
        depth: "backbone", or "image" where the backbone learns as well.
        basis: `(C, rank)`, public: the charset's rows of the classifier learn within it, and their bias;
            None: they do not.

    Raises:
        ValueError: a parameter that there is not, that lies below the depth, or that learns twice.
    """

    def __init__(
        self,
        name: str,
        model: Trainee,
        charset: Charset,
        learned: Mapping[str, Tensor | None],
        depth: Depth = "backbone",
        basis: Tensor | None = None,
    ) -> None:
        self.name, self.charset, self.depth = name, charset, depth
        self._rows, self._basis, self._learned = Rows(model, charset), basis, dict(learned)
        self._model, self.device = model, model.head.weight.device
        self._below = {key: value.detach() for key, value in model.layers(depth).items()}
        self._base = self._below | {key: value.detach() for key, value in _head_of(model).items()}
        self._whole_head = learned.keys() >= set(_HEAD)
        twice = basis is not None and self._whole_head
        if twice or learned.keys() - self._below.keys() not in (set(), set(_HEAD)):
            raise ValueError(f"Expected parameters above depth {depth!r}, each once, got {sorted(learned)}.")
        self._sizes = [self._count(key, factor) for key, factor in learned.items()]
        self._rank = 0 if basis is None else basis.shape[1]
        self._sizes.append(0 if basis is None else len(charset.classes) * (self._rank + 1))
        self.size = sum(self._sizes)

    def _count(self, key: str, factor: Tensor | None) -> int:
        value = self._base[key]
        if factor is None:
            return value.numel()
        if factor.ndim != 2 or factor.shape[1] != value[0].numel():
            raise ValueError(f"Expected a factor (rank, {value[0].numel()}) of {key}, got {tuple(factor.shape)}.")
        return len(value) * len(factor)

    def inputs(self, frames: Tensor) -> Tensor:
        """What `frozen` says, as it is."""
        return frames

    def logits(self, theta: Tensor, groups: Sequence[Tensor]) -> Tensor:
        """`(size,)` and groups `(N, channels, 1, T)` or `(N, 3, 48, W)` to `(frames, classes)`."""
        with torch.autocast(theta.device.type, enabled=False):  # weights are made in full precision
            moved = self._moved(theta)
            rows, shift = self._head(theta, moved)
        weights = {key: moved[key] if key in moved else base.to(theta.dtype) for key, base in self._below.items()}
        features = self._model.features_at(weights, groups, self.depth)
        scores = functional.linear(features, rows, shift)
        if not self._rows.open:
            return scores
        if not self._whole_head:
            return torch.cat((scores, self._rows.rest(features)), dim=1)
        rest = functional.linear(features, *(moved[key][self._rows.others] for key in _HEAD))
        return torch.cat((scores, rest.logsumexp(dim=1, keepdim=True)), dim=1)

    def merge(self, theta: Tensor) -> dict[str, Tensor]:
        moved = self._moved(theta)
        if self._basis is not None or self.charset.closed:
            moved |= self._rows.merge(*self._head(theta, moved))
        return {key: value.to(self._base[key].dtype) for key, value in moved.items()}

    def parts(self, gradient: Tensor) -> dict[str, Tensor]:
        """A flat vector as parameters: those that move as a whole."""
        pairs = zip(self._learned.items(), torch.split(gradient, self._sizes)[:-1], strict=True)
        return {key: part.view_as(self._base[key]) for (key, factor), part in pairs if factor is None}

    def _moved(self, theta: Tensor) -> dict[str, Tensor]:
        """The parameters that learn, all but the charset's rows."""
        moved = {}
        for (key, factor), part in zip(self._learned.items(), torch.split(theta, self._sizes)[:-1], strict=True):
            base = self._base[key].to(theta.dtype)
            change = part if factor is None else part.view(len(base), -1) @ factor.to(theta.dtype)
            moved[key] = base + change.view_as(base)
        return moved

    def _head(self, theta: Tensor, moved: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The charset's rows of the classifier and their bias."""
        if self._whole_head:
            index = self._rows.index
            return moved["head.weight"][index], moved["head.bias"][index]
        weight, bias = self._rows.weight.to(theta.dtype), self._rows.bias.to(theta.dtype)
        if self._basis is None:
            return weight, bias
        rows, shift = torch.split(theta[-self._sizes[-1] :], [len(bias) * self._rank, len(bias)])
        return weight + rows.view(len(bias), -1) @ self._basis.T.to(theta.dtype), bias + shift


def lora(
    model: Trainee, charset: Charset, factors: Mapping[str, Tensor] | int = 4, basis: Tensor | None = None
) -> DeepAdapter:
    """The neck's matrices and kernels within `factors`, or within random ones of that rank."""
    learned = random_factors(model, factors) if isinstance(factors, int) else factors
    return DeepAdapter("lora", model, charset, learned, basis=basis)


def norm(model: Trainee, charset: Charset, depth: Depth = "backbone", basis: Tensor | None = None) -> DeepAdapter:
    """Parameters with one axis: of the neck, and at depth "image" of the backbone too."""
    learned = [key for key, value in model.layers(depth).items() if value.ndim == 1]
    return DeepAdapter("norm", model, charset, dict.fromkeys(learned), depth, basis)


def neck(model: Trainee, charset: Charset, basis: Tensor | None = None) -> DeepAdapter:
    """All of the neck."""
    return DeepAdapter("neck", model, charset, dict.fromkeys(model.layers("backbone")), basis=basis)


def everything(model: Trainee, charset: Charset, basis: Tensor | None = None) -> DeepAdapter:
    """All parameters, read from images: `all`; with a basis, of the classifier the charset's rows alone."""
    learned = [*model.layers("image"), *(_HEAD if basis is None else ())]
    return DeepAdapter("all", model, charset, dict.fromkeys(learned), "image", basis)


def random_factors(model: Trainee, rank: int, seed: int = 0) -> dict[str, Tensor]:
    """Orthonormal factors in random directions, the same for everyone."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for key, inputs in _matrices(model):
        found[key] = torch.linalg.qr(torch.randn(inputs, rank, generator=generator)).Q.T.contiguous()
    return {key: factor.to(model.head.weight.device) for key, factor in found.items()}


def gradient_factors(model: Trainee, charset: Charset, rank: int, public: Sequence[Seen]) -> dict[str, Tensor]:
    """Orthonormal factors along which public documents, seen at depth "backbone", move each layer most.

    The top right-singular vectors of the documents' gradients of the layer, all documents stacked
    (arXiv 2007.03813, section 3).
    """
    whole = neck(model, charset)
    start = model.head.weight.new_zeros(whole.size)
    second = {key: start.new_zeros(inputs, inputs, dtype=torch.float64) for key, inputs in _matrices(model)}
    for block in gradient_blocks(whole, start, cache(whole, public)):
        for gradient in block:
            for key, part in whole.parts(gradient).items():
                if key in second:
                    rows = part.flatten(1).double()
                    second[key] += rows.T @ rows
    return {key: _top(moment, rank) for key, moment in second.items()}


def _matrices(model: Trainee) -> Iterable[tuple[str, int]]:
    """The neck's matrices and kernels, and the inputs of each."""
    for key, value in model.layers("backbone").items():
        if value.ndim > 1:
            yield key, value[0].numel()


def _head_of(model: Trainee) -> dict[str, Tensor]:
    return dict(zip(_HEAD, (model.head.weight, model.head.bias), strict=True))


def _top(moment: Tensor, rank: int, rounds: int = 30) -> Tensor:
    """`(rank, n)`: the leading eigenvectors of a positive matrix, by subspace iteration from a fixed start."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(len(moment), rank + 8, dtype=torch.float64, generator=generator).to(moment.device)
    basis = torch.linalg.qr(start).Q
    for _ in range(rounds):
        basis = torch.linalg.qr(moment @ basis).Q
    values, vectors = torch.linalg.eigh(basis.T @ moment @ basis)
    order = values.argsort(descending=True)[:rank]
    leading: Tensor = basis @ vectors[:, order]
    return leading.T.float().contiguous()
