"""Which parameters learn, and what the rest of the recogniser says about a line once and for all.

An adapter splits the recogniser into a frozen part, computed once a line (`trunk`, then `inputs`), and
a few parameters given as one flat vector that starts at zero (`logits`). `merge` writes the vector back
into plain weights of the released shapes. Small is what makes privacy cheap: noise grows with the root of
the number of parameters.

- `bias`: the scores of a public set of characters, shifted (one number each).
- `head`: their rows of the classifier and their bias. Rows move only within the directions in which
  public, generated lines want them to move: the top right-singular vectors of the head's gradients
  (Yu et al. 2021, arXiv 2007.03813, with public data as in Kairouz et al. 2020, arXiv 2008.06570).
- `top`: the neck's last projection and the full rows.

Scores of the characters that do not learn are kept: they enter as one more class whose score is their
log-sum-exp, so that the softmax is the full one, exactly. `closed` shuts them out instead, in training
and in the merged weights alike: then compare only with a stock model that is closed too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor
from torch.nn import functional

from models.ctc import BLANK, Alphabet
from models.recogniser import Recogniser

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


class Adapter(Protocol):
    """Flat parameters between a frozen part and the loss."""

    name: str
    size: int
    charset: Charset

    def inputs(self, frames: Tensor) -> Tensor:
        """What `trunk` says, `(N, T, 60)`, to what the frozen part says, `(N, T, width)`."""
        ...

    def logits(self, theta: Tensor, inputs: Tensor) -> Tensor:
        """`(N, size)`, one copy of the parameters a line, and `(N, T, width)`, to `(N, T, classes)`.

        With a copy a line, the gradient of a sum of losses is every line's own gradient at once.
        """
        ...

    def merge(self, theta: Tensor) -> dict[str, Tensor]:
        """The weights that change, by the recogniser's names, in the released shapes."""
        ...


@torch.no_grad()
def trunk(model: Recogniser, images: Tensor) -> Tensor:
    """`(N, 3, 48, W)` to `(N, T, 60)`, what enters the neck's last projection: no adapter moves it."""
    seen: list[Tensor] = []
    hook = model.neck.project.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    try:
        model.features(images)
    finally:
        hook.remove()
    return seen[0].squeeze(2).transpose(1, 2).contiguous()


class _Rows:
    """The classifier's rows that learn, and those that do not."""

    def __init__(self, model: Recogniser, charset: Charset) -> None:
        self.model, self.charset = model, charset
        weight, bias = model.head.weight.detach(), model.head.bias.detach()
        chosen = torch.zeros(len(weight), dtype=torch.bool)
        chosen[list(charset.classes)] = True
        self.index = torch.tensor(charset.classes)
        self.weight, self.bias = weight[self.index], bias[self.index]
        self.rest_weight, self.rest_bias = weight[~chosen], bias[~chosen]
        self.open = not charset.closed and bool((~chosen).any())

    def rest(self, features: Tensor) -> Tensor:
        """log-sum-exp of the scores that do not learn, `(N, T, 1)`; a chunk of frames at a time."""
        flat = features.reshape(-1, features.shape[-1])
        weight, bias = self.rest_weight.to(flat.dtype), self.rest_bias.to(flat.dtype)
        scores = [torch.logsumexp(functional.linear(part, weight, bias), dim=1) for part in torch.split(flat, 2048)]
        return torch.cat(scores).view(*features.shape[:2], 1)

    def merge(self, weight: Tensor, bias: Tensor) -> dict[str, Tensor]:
        full_weight, full_bias = (
            self.model.head.weight.detach().clone(),
            self.model.head.bias.detach().clone(),
        )
        if self.charset.closed:
            full_bias.fill_(CLOSED_BIAS)
        full_weight[self.index] = weight.to(full_weight.dtype)
        full_bias[self.index] = bias.to(full_bias.dtype)
        return {"head.weight": full_weight, "head.bias": full_bias}


class HeadAdapter:
    """Rows `W + A V^T` and bias `b + c` of the charset; `A` and `c` learn, `V` `(120, rank)` is public.

    With rank 0 only the bias learns.
    """

    def __init__(self, model: Recogniser, charset: Charset, basis: Tensor | None) -> None:
        self._rows = _Rows(model, charset)
        self.charset = charset
        self.basis = torch.zeros(model.head.in_features, 0) if basis is None else basis.detach().clone()
        self.rank = self.basis.shape[1]
        self.name = "head" if self.rank else "bias"
        self.size = len(charset.classes) * (self.rank + 1)

    @torch.no_grad()
    def inputs(self, frames: Tensor) -> Tensor:
        """Features within the basis, the stock scores of the charset, and the rest's log-sum-exp."""
        project = self._rows.model.neck.project
        features = functional.silu(functional.linear(frames, project.weight.flatten(1), project.bias))
        parts = [features @ self.basis, functional.linear(features, self._rows.weight, self._rows.bias)]
        if self._rows.open:
            parts.append(self._rows.rest(features))
        return torch.cat(parts, dim=2)

    def logits(self, theta: Tensor, inputs: Tensor) -> Tensor:
        count = len(self.charset.classes)
        rows, shift = self._split(theta)
        moved = inputs[..., : self.rank] @ rows.transpose(1, 2) + shift.unsqueeze(1)
        stock = inputs[..., self.rank :]
        return torch.cat((stock[..., :count] + moved, stock[..., count:]), dim=2)

    def merge(self, theta: Tensor) -> dict[str, Tensor]:
        rows, shift = self._split(theta.unsqueeze(0))
        weight = self._rows.weight + rows[0] @ self.basis.T.to(theta.dtype)
        return self._rows.merge(weight, self._rows.bias + shift[0])

    def _split(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        count = len(self.charset.classes)
        rows, shift = torch.split(theta, [count * self.rank, count], dim=1)
        return rows.view(len(theta), count, self.rank), shift


class TopAdapter:
    """The neck's last projection, 60 to 120 channels, and the charset's rows in full."""

    name = "top"

    def __init__(self, model: Recogniser, charset: Charset) -> None:
        self._rows = _Rows(model, charset)
        self.charset = charset
        project = model.neck.project
        self._weight = project.weight.detach().flatten(1)
        self._bias = cast(Tensor, project.bias).detach()
        count, width = len(charset.classes), model.head.in_features
        self._shapes: Sequence[tuple[int, ...]] = (
            tuple(self._weight.shape),
            (width,),
            (count, width),
            (count,),
        )
        self.size = sum(math.prod(shape) for shape in self._shapes)

    def inputs(self, frames: Tensor) -> Tensor:
        """The trunk's frames as they are."""
        return frames

    def logits(self, theta: Tensor, inputs: Tensor) -> Tensor:
        project, offset, rows, shift = self._split(theta)
        hidden = torch.baddbmm((self._bias + offset).unsqueeze(1), inputs, (self._weight + project).transpose(1, 2))
        features = functional.silu(hidden)
        scores = torch.baddbmm(
            (self._rows.bias + shift).unsqueeze(1), features, (self._rows.weight + rows).transpose(1, 2)
        )
        return torch.cat((scores, self._rows.rest(features)), dim=2) if self._rows.open else scores

    def merge(self, theta: Tensor) -> dict[str, Tensor]:
        project, offset, rows, shift = (part[0] for part in self._split(theta.unsqueeze(0)))
        changed = self._rows.merge(self._rows.weight + rows, self._rows.bias + shift)
        old = self._rows.model.neck.project.weight.detach()
        changed["neck.project.weight"] = (self._weight + project).view_as(old).to(old.dtype)
        changed["neck.project.bias"] = (self._bias + offset).to(old.dtype)
        return changed

    def _split(self, theta: Tensor) -> list[Tensor]:
        parts = torch.split(theta, [math.prod(shape) for shape in self._shapes], dim=1)
        return [part.view(-1, *shape) for part, shape in zip(parts, self._shapes, strict=True)]
