"""The adapters by name, built from public documents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from learners import neck_adapters
from learners.adapters import Adapter, Charset, HeadAdapter, TopAdapter
from learners.chunks import Seen, cache, look
from learners.gradients import gradient_blocks
from learners.lines import HEIGHT, MIN_WIDTH, TrainDocument
from models.recogniser import Recogniser
from models.trainee import Depth, Trainee

PUBLIC_DOCUMENTS, PUBLIC_LINES = 300, 5
"""How much of the public documents is looked at: few of them are learned by heart, and receipts then read worse."""
LORA_RANK = 2
_WITHIN = ("head", "lora", "norm", "neck")
"""Adapters that move the charset's rows within a basis."""
_FAINTEST = 1e-5
"""A row whose gradients are fainter than this share of the strongest row's is as good as never seen."""


class Looks:
    """Public documents as a model sees them: at each depth once."""

    def __init__(self, model: Trainee, documents: Sequence[TrainDocument]) -> None:
        self.model, self._documents = model, documents[:PUBLIC_DOCUMENTS]
        self._found: dict[Depth, list[Seen]] = {}

    def to(self, device: torch.device) -> Looks:
        """The same documents, looked at there; the model itself goes along."""
        return self if device == self.model.head.weight.device else Looks(self.model.to(device), self._documents)

    def mean_width(self) -> int:
        """Of a line, in pixels, at least what a line is padded to."""
        widths = [max(line.image.shape[1], MIN_WIDTH) for each in self._documents for line in each.lines]
        return round(sum(widths) / max(len(widths), 1)) or MIN_WIDTH

    def at(self, depth: Depth) -> list[Seen]:
        """What `learners.chunks.look` says of them."""
        if depth not in self._found:
            self._found[depth] = look(self.model, self._documents, PUBLIC_LINES, depth)
        return self._found[depth]


def build(name: str, charset: Charset, rank: int, public: Looks) -> Adapter:
    """An adapter of `public.model` by name; its subspaces come from the public documents.

    All but "bias", "top" and "all" move the charset's rows within a public basis of `rank` directions.

    Raises:
        ValueError: no such adapter, or "top" of a model without a last projection.
    """
    model, basis, factors = public.model, None, dict[str, Tensor]()
    if name in _WITHIN:
        basis = gradient_basis(model, charset, rank, public.at("projection"))
    if name == "lora":
        factors = neck_adapters.gradient_factors(model, charset, LORA_RANK, public.at("backbone"))
    return _of(name, model, charset, basis, factors)


def possible(model: Trainee, names: Iterable[str]) -> list[str]:
    """Those adapters that `build` can make of the model: "top" of PP-OCRv4 alone."""
    return [name for name in names if name != "top" or isinstance(model, Recogniser)]


def outline(name: str, charset: Charset, rank: int, model: Trainee) -> Adapter:
    """An adapter of the size and depth of the one that `build` makes, in other directions. Raises as it does."""
    basis = torch.eye(model.head.in_features, rank) if name in _WITHIN else None
    factors = neck_adapters.random_factors(model, LORA_RANK) if name == "lora" else {}
    return _of(name, model, charset, basis, factors)


def bytes_a_line(public: Looks, depth: Depth) -> int:
    """What is remembered, to learn at this depth, of a line as wide as public ones are on average."""
    width = public.mean_width()
    if depth == "image":
        return width * HEIGHT * 3
    said = public.model.frozen(public.model.head.weight.new_zeros(1, 3, HEIGHT, width), depth)
    return said.nbytes


def _of(name: str, model: Trainee, charset: Charset, basis: Tensor | None, factors: Mapping[str, Tensor]) -> Adapter:
    match name:
        case "bias" | "head":
            return HeadAdapter(model, charset, basis)
        case "top":
            if not isinstance(model, Recogniser):
                raise ValueError(f"Expected a PP-OCRv4 recogniser for the adapter top, got {type(model).__name__}.")
            return TopAdapter(model, charset)
        case "lora":
            return neck_adapters.lora(model, charset, factors, basis)
        case "norm":
            return neck_adapters.norm(model, charset, basis=basis)
        case "neck":
            return neck_adapters.neck(model, charset, basis)
        case "all":
            return neck_adapters.everything(model, charset)
    raise ValueError(f"Expected an adapter's name, got {name!r}.")


def gradient_basis(model: Trainee, charset: Charset, rank: int, public: Sequence[Seen]) -> Tensor:
    """`(C, rank)`: the directions of the features along which public documents move the rows most.

    The top right-singular vectors of the documents' gradients of the rows, all rows and documents
    stacked (arXiv 2007.03813, section 3), each row's at the same scale: the blank's and the space's gradients
    are a hundred times those of the letters, and would take the basis for themselves.
    """
    width, classes = model.head.in_features, len(charset.classes)
    adapter = HeadAdapter(model, charset, torch.eye(width, device=model.head.weight.device))
    found = torch.cat(list(start_gradients(adapter, public)))[:, : classes * width].reshape(-1, classes, width).double()
    scale = found.square().mean((0, 2), keepdim=True).sqrt()
    rows = (found / scale.clamp_min(_FAINTEST * float(scale.max()))).reshape(-1, width)
    second = rows.T @ rows
    directions: Tensor = torch.linalg.eigh(second).eigenvectors
    return directions.flip(1)[:, :rank].float().contiguous()


def start_gradients(adapter: Adapter, public: Sequence[Seen]) -> Iterator[Tensor]:
    """The public documents' gradients where the adapter starts: blocks `(n, size)`.

    Raises:
        ValueError: fewer than two documents have something to learn.
    """
    start, count = torch.zeros(adapter.size, device=adapter.device), 0
    for block in gradient_blocks(adapter, start, cache(adapter, public)):
        count += len(block)
        yield block
    if count < 2:
        raise ValueError(f"Expected two or more public documents to learn from, got {count}.")
