"""Which of the detector's weights learn, and how few numbers say how.

Noise grows with the square root of the parameters, and pages are few, so the small adapters come first:

    affine         a factor and a shift for each channel of the head's three layers          98 parameters
    tail           the same for its first layer, every weight of the other two            2,473
    head           every weight of the head                                              23,185
    affine+neck    `affine`, and a factor for each channel of the neck's eight convolutions 578

All start at zero, where the detector is as it was, and merge into plain weights of the same shapes. A weight is
moved in units of its channel's size, a shift in units of what the layer puts out on public pages (the released
head's weights lie five orders of magnitude apart). The backbone is frozen, and so is the threshold branch, which
no released file holds and no reader asks.

What lies before the first weight that moves is computed once a page, by the same layers as in service.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from models.detector import Branch, Detector, Taps

ADAPTERS = ("affine", "tail", "head", "affine+neck")
Cached = tuple[Tensor, ...]
"""A page after what is frozen: the first layer's output without its bias, the neck's output, or the taps."""


class DetectorAdapter:
    """`size` numbers that move weights of `model`'s head, and of its neck where the name says so.

    Args:
        threshold: a fitted threshold branch.
        public: the taps of some generated pages; they only set the units of the shifts.
    """

    def __init__(self, model: Detector, threshold: Branch, name: str, public: Sequence[Taps]) -> None:
        """Raises ValueError for a name that is not in `ADAPTERS`, or without public pages."""
        if name not in ADAPTERS or not public:
            raise ValueError(f"Expected an adapter among {', '.join(ADAPTERS)} and public pages, got {name!r}.")
        self.name = name
        self._model, self._threshold = model, threshold
        self._whole = {"tail": ("head.up", "head.out"), "head": ("head.",)}.get(name, ())
        parts = ("head.", "neck.") if name.endswith("neck") else ("head.",)
        named = {key: value.detach() for key, value in model.named_parameters() if key.startswith(parts)}
        self._base = {key: value for key, value in named.items() if ".excite." not in key}
        with torch.no_grad():
            self._units = self._measured(public)
        self._shapes = {key: self._shape(key, value) for key, value in self._base.items()}
        self.size = sum(shape.numel() for shape in self._shapes.values())

    def merge(self, theta: Tensor) -> dict[str, Tensor]:
        """The weights that `theta` `(size,)` makes, by the detector's names. Differentiable.

        Raises:
            ValueError: a theta of another size.
        """
        moves = self._moves(theta)
        return {key: self._moved(key, value, moves[key]) for key, value in self._base.items()}

    def cache(self, taps: Taps) -> Cached:
        """What of a page no `theta` moves."""
        if self.name == "affine+neck":
            return tuple(taps)
        with torch.no_grad():
            features = self._model.neck(taps)
            if self.name == "head":
                return features, self._threshold(features)
            conv = self._model.head.conv
            return functional.conv2d(features, conv.weight, padding=conv.padding), self._threshold(features)

    def logits(self, theta: Tensor, cached: Cached) -> tuple[Tensor, Tensor]:
        """Of the probability and the threshold branch, `(N, 1, H, W)` each."""
        merged = self.merge(theta)
        head = _under("head.", merged)
        if self.name == "affine+neck":
            features = functional_call(self._model.neck, _under("neck.", merged), (cached,))
            frozen = {key: value.detach() for key, value in self._threshold.named_parameters()}
            threshold = functional_call(self._threshold, frozen, (features,))
            return functional_call(self._model.head, head, (features,)), threshold
        if self.name == "head":
            return functional_call(self._model.head, head, (cached[0],)), cached[1]
        # A factor for a channel of the first layer meets that layer's output, so no convolution is left.
        factor = 1 + self._moves(theta)["head.conv.weight"].view(1, -1, 1, 1)
        x = functional.relu(cached[0] * factor + head["conv.bias"].view(1, -1, 1, 1))
        x = functional.relu(functional.conv_transpose2d(x, head["up.weight"], head["up.bias"], stride=2))
        return functional.conv_transpose2d(x, head["out.weight"], head["out.bias"], stride=2), cached[1]

    def _moves(self, theta: Tensor) -> dict[str, Tensor]:
        if theta.shape != (self.size,):
            raise ValueError(f"Expected theta of shape ({self.size},), got {tuple(theta.shape)}.")
        parts = torch.split(theta, [shape.numel() for shape in self._shapes.values()])
        return {key: part.view(shape) for (key, shape), part in zip(self._shapes.items(), parts, strict=True)}

    def _moved(self, key: str, value: Tensor, move: Tensor) -> Tensor:
        if key.endswith("bias"):
            return value + self._units[key] * move
        if not key.startswith(self._whole):
            return value * (1 + move)
        size = value.square().mean([axis for axis in range(4) if axis != _channels(key)], keepdim=True).sqrt()
        return value + size * move

    def _shape(self, key: str, value: Tensor) -> torch.Size:
        """Of the numbers that move a weight: its own, or one a channel that broadcasts against it."""
        if key.endswith("bias") or key.startswith(self._whole):
            return value.shape
        return torch.Size(n if axis == _channels(key) else 1 for axis, n in enumerate(value.shape))

    def _measured(self, public: Sequence[Taps]) -> dict[str, float]:
        """The root mean square of what each layer of the head puts out on public pages."""
        head, sums = self._model.head, torch.zeros(3)
        for taps in public:
            first = head.conv(self._model.neck(taps))
            second = head.up(functional.relu(first))
            third = head.out(functional.relu(second))
            sums += torch.stack([each.square().mean() for each in (first, second, third)])
        sizes = (sums / len(public)).sqrt().tolist()
        return dict(zip(("head.conv.bias", "head.up.bias", "head.out.bias"), sizes, strict=True))


def _channels(key: str) -> int:
    """The axis of a weight's output channels: the second one of a transposed convolution."""
    return 1 if key in ("head.up.weight", "head.out.weight") else 0


def _under(prefix: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
