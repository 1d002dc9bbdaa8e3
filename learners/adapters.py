"""Which parameters learn, and what the rest of the recogniser says about a line once and for all.

An adapter splits a recogniser of any family (`models.trainee`) into a frozen part, computed once a line (the
trainee's `frozen` at the adapter's depth, then `inputs`), and parameters given as one flat vector that starts at
zero (`logits`). `merge` writes the vector back into plain weights of the released shapes. Small is what makes
privacy cheap: noise grows with the root of the number of parameters.

- `bias`: the scores of a public set of characters, shifted (one number each).
- `head`: their rows of the classifier and their bias. Rows move only within the directions in which
  public, generated lines want them to move: the top right-singular vectors of the head's gradients
  (Zhou, Wu and Banerjee 2021, arXiv 2007.03813; Kairouz et al. 2020, arXiv 2008.06570).
- `top`: the neck's last projection and the full rows; PP-OCRv4 alone has one.
- `lora`, `norm`, `neck`, `all`: what lies deeper, see `learners.neck_adapters`.

Scores of the characters that do not learn are kept: they enter as one more class whose score is their
log-sum-exp, so that the softmax is the full one, exactly. `closed` shuts them out instead, in training
and in the merged weights alike: then compare only with a stock model that is closed too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, cast

import torch
from torch import Tensor
from torch.nn import functional

from models.ctc import BLANK, Alphabet
from models.recogniser import Recogniser
from models.trainee import Depth, Trainee

CLOSED_BIAS = -1e4
"""Bias of a class that is shut out: its probability is zero in float32, whatever its row says."""
ASCII = "".join(chr(code) for code in range(32, 127))
LATIN = ASCII + "¢£¥§©®°±²³·×÷ÁÄÅÉÜàáâäåèéíîïóôùúüōū–—‘’“”•…€™"
CHARSETS: Mapping[str, str] = {"ascii": ASCII, "latin": LATIN}


@dataclass(frozen=True)
class Charset:
    """A public set of characters that may learn: local class 0 is the blank."""

    classes: tuple[int, ...]
    local: Mapping[str, int]
    closed: bool = False

    @classmethod
    def of(cls, characters: str, alphabet: Alphabet, closed: bool = False) -> Charset:
        """The characters that the dictionary has, of those named; the others cannot be learned at all."""
        known = [c for c in alphabet.characters[1:] if c in set(characters)]
        if not known:
            raise ValueError(f"Expected characters of the dictionary, got none among {len(characters)}.")
        classes = (BLANK, *(alphabet.encode(c)[0] for c in known))
        return cls(classes, {c: k for k, c in enumerate(known, 1)}, closed)

    def encode(self, text: str) -> list[int] | None:
        """Local classes of a text; None when a character of it does not learn."""
        return [self.local[c] for c in text] if self.local.keys() >= set(text) else None

    @cached_property
    def cases(self) -> tuple[list[int], list[int]]:
        """Local classes of the letters that learn in both cases: the small ones, and their capitals in that order."""
        small = [c for c in self.local if c.islower() and c.upper() in self.local]
        return [self.local[c] for c in small], [self.local[c.upper()] for c in small]


class Adapter(Protocol):
    """Flat parameters between a frozen part and the loss."""

    name: str
    size: int
    charset: Charset
    depth: Depth
    device: torch.device
    """Where its tensors are: those of the model that it was built from."""

    def inputs(self, frames: Tensor) -> Tensor:
        """From what `frozen` says of `N` lines of one width to what the adapter's own frozen part says."""
        ...

    def logits(self, theta: Tensor, groups: Sequence[Tensor]) -> Tensor:
        """`(size,)` and lines' inputs, `(N, ...)` of one width a group, to `(frames, classes)`, end to end.

        The classes are the charset's, and one for the rest if that is open.
        """
        ...

    def merge(self, theta: Tensor) -> dict[str, Tensor]:
        """The weights that change, by the recogniser's names, in the released shapes."""
        ...


def end_to_end(groups: Sequence[Tensor]) -> Tensor:
    """Groups of lines `(N, T, width)` to all their frames, `(frames, width)`."""
    parts = [group.flatten(0, 1) for group in groups]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


class Rows:
    """The classifier's rows that learn, and those that do not."""

    def __init__(self, model: Trainee, charset: Charset) -> None:
        weight, bias = model.head.weight.detach(), model.head.bias.detach()
        chosen = torch.zeros(len(weight), dtype=torch.bool)
        chosen[list(charset.classes)] = True
        self.charset = charset
        self.index = torch.tensor(charset.classes, device=weight.device)
        self.others = torch.nonzero(~chosen).flatten().to(weight.device)
        self.weight, self.bias = weight[self.index], bias[self.index]
        self.open = not charset.closed and bool((~chosen).any())
        self._full = weight, bias
        self._rest = weight[self.others], bias[self.others]

    def rest(self, features: Tensor) -> Tensor:
        """`(F, 120)` to `(F, 1)`: log-sum-exp of the scores that do not learn, at the head as it was released."""
        weight, bias = (part.to(features.dtype) for part in self._rest)
        found: Tensor = _LogSumExp.apply(features, weight, bias)  # type: ignore[no-untyped-call]
        return found.unsqueeze(1)

    def merge(self, weight: Tensor, bias: Tensor) -> dict[str, Tensor]:
        full_weight, full_bias = (part.clone() for part in self._full)
        if self.charset.closed:
            full_bias.fill_(CLOSED_BIAS)
        full_weight[self.index] = weight.to(full_weight.dtype)
        full_bias[self.index] = bias.to(full_bias.dtype)
        return {"head.weight": full_weight, "head.bias": full_bias}


class _LogSumExp(torch.autograd.Function):
    """`(F, 120)` features to `(F,)`: log-sum-exp of frozen linear scores.

    Its Jacobian, softmax times the rows, is 120 numbers a frame: it is found on the way forward, while the
    scores are at hand, so that no frame's 6,000 scores are ever kept.
    """

    FRAMES = 256
    """At a time: their scores stay in the processor's cache."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        values = features.new_empty(len(features))
        slopes = torch.empty_like(features) if ctx.needs_input_grad[0] else None
        for start in range(0, len(features), _LogSumExp.FRAMES):
            part = slice(start, start + _LogSumExp.FRAMES)
            scores = functional.linear(features[part], weight, bias)
            top = scores.amax(dim=1, keepdim=True)
            total = scores.sub_(top).exp_().sum(dim=1, keepdim=True)
            values[part] = (total.log() + top).squeeze(1)
            if slopes is not None:
                slopes[part] = scores @ weight / total
        if slopes is not None:
            ctx.save_for_backward(slopes)
        return values

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (slopes,) = ctx.saved_tensors
        return slopes * grads[0].unsqueeze(1), None, None


class HeadAdapter:
    """Rows `W + A V^T` and bias `b + c` of the charset; `A` and `c` learn, `V` `(120, rank)` is public.

    With rank 0 only the bias learns.
    """

    depth: Depth = "projection"

    def __init__(self, model: Trainee, charset: Charset, basis: Tensor | None) -> None:
        self._rows, self._model = Rows(model, charset), model
        self.charset, self.device = charset, model.head.weight.device
        weight = self._rows.weight
        self.basis = weight.new_zeros(weight.shape[1], 0) if basis is None else basis.detach().to(weight, copy=True)
        self.rank = self.basis.shape[1]
        self.name = "head" if self.rank else "bias"
        self.size = len(charset.classes) * (self.rank + 1)

    @torch.no_grad()
    def inputs(self, frames: Tensor) -> Tensor:
        """Features within the basis, the stock scores of the charset, and the rest's log-sum-exp."""
        features = self._model.features_of(frames)
        parts = [features @ self.basis, functional.linear(features, self._rows.weight, self._rows.bias)]
        if self._rows.open:
            parts.append(self._rows.rest(features.flatten(0, 1)).view(*features.shape[:2], 1))
        return torch.cat(parts, dim=2)

    def logits(self, theta: Tensor, groups: Sequence[Tensor]) -> Tensor:
        count, inputs = len(self.charset.classes), end_to_end(groups)
        rows, shift = self._split(theta)
        within, stock = torch.split(inputs, [self.rank, inputs.shape[1] - self.rank], dim=1)
        moved = functional.linear(within, rows, shift) + stock[:, :count]
        return torch.cat((moved, stock[:, count:]), dim=1)

    def merge(self, theta: Tensor) -> dict[str, Tensor]:
        rows, shift = self._split(theta)
        return self._rows.merge(self._rows.weight + rows @ self.basis.T.to(theta.dtype), self._rows.bias + shift)

    def _split(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        count = len(self.charset.classes)
        rows, shift = torch.split(theta, [count * self.rank, count])
        return rows.view(count, self.rank), shift


class TopAdapter:
    """PP-OCRv4's last projection, 60 to 120 channels, and the charset's rows in full."""

    name = "top"
    depth: Depth = "projection"

    def __init__(self, model: Recogniser, charset: Charset) -> None:
        self._rows = Rows(model, charset)
        self.charset, self.device = charset, model.head.weight.device
        project = model.neck.project
        self._kernel = project.weight.shape
        self._base = (project.weight.detach().flatten(1), cast(Tensor, project.bias).detach())
        self._shapes: Sequence[tuple[int, ...]] = tuple(
            tuple(part.shape) for part in (*self._base, self._rows.weight, self._rows.bias)
        )
        self.size = sum(math.prod(shape) for shape in self._shapes)

    def inputs(self, frames: Tensor) -> Tensor:
        """The trunk's frames as they are."""
        return frames

    def logits(self, theta: Tensor, groups: Sequence[Tensor]) -> Tensor:
        weight, bias, rows, shift = self._moved(theta)
        features = functional.silu(functional.linear(end_to_end(groups), weight, bias))
        scores = functional.linear(features, rows, shift)
        return torch.cat((scores, self._rows.rest(features)), dim=1) if self._rows.open else scores

    def merge(self, theta: Tensor) -> dict[str, Tensor]:
        weight, bias, rows, shift = self._moved(theta)
        dtype = self._base[0].dtype
        changed = self._rows.merge(rows, shift)
        changed["neck.project.weight"] = weight.view(self._kernel).to(dtype)
        changed["neck.project.bias"] = bias.to(dtype)
        return changed

    def _moved(self, theta: Tensor) -> list[Tensor]:
        parts = torch.split(theta, [math.prod(shape) for shape in self._shapes])
        base = (*self._base, self._rows.weight, self._rows.bias)
        return [old.to(part.dtype) + part.view_as(old) for old, part in zip(base, parts, strict=True)]
