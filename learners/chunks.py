"""What a round remembers of documents, and how their lines are put side by side.

A document is looked at by itself, once: what is remembered of it is a function of its own lines only. Lines of one
width go side by side; none is padded, since padding is seen, and would be another document's doing.

Labels often carry one case only: receipts are typed off in capitals. Which documents' labels do is noted here.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from learners.adapters import Adapter
from learners.batches import by_width, to_tensor
from learners.lines import MAX_LINES, MIN_WIDTH, TrainDocument
from learners.replay import spread
from models import recogniser
from models.ctc import frames_needed
from models.trainee import Depth, Trainee

CHUNK = 8
"""Documents of a small adapter that share a backward pass: enough to be fast, few enough for memory."""


@dataclass(frozen=True)
class Seen:
    """A document after the part that no adapter moves: each line's text and what `frozen` says of it.

    `(T, width)`, `(channels, 1, T)`, or for adapters that read images the crop itself, `(48, W, 3) uint8`.
    """

    texts: tuple[str, ...] = field(repr=False)
    frames: tuple[Tensor, ...] = field(repr=False)


@dataclass(frozen=True)
class Cached:
    """A document's usable lines: what the adapter's frozen part says, local classes, and if those tell the case."""

    inputs: tuple[Tensor, ...] = field(repr=False)
    targets: tuple[tuple[int, ...], ...] = field(repr=False)
    one_case: bool = field(default=False, repr=False)


@dataclass(frozen=True)
class Chunk:
    """Some documents' lines, in the order of their copies of the parameters.

    `inputs` has one entry a copy: its lines in groups of equal width, ready for `Adapter.logits`. The rest
    is by line: the document it belongs to, its number of frames, its target and that one's length, its
    weight in its document's loss, and whether its document's labels have one case only.
    """

    documents: int
    owner: Tensor
    inputs: tuple[tuple[Tensor, ...], ...]
    frames: Tensor
    targets: Tensor
    lengths: Tensor
    weights: Tensor
    one_case: Tensor

    @property
    def deep(self) -> bool:
        """Whether whole lines go in, not frames."""
        return any(group.ndim == 4 for groups in self.inputs for group in groups)

    def alone(self) -> Iterator[Chunk]:
        """Each document as a chunk of its own."""
        targets = torch.split(self.targets, self.lengths.tolist())
        for document, groups in enumerate(self.inputs):
            own = torch.nonzero(self.owner == document).flatten().tolist()
            yield Chunk(
                1,
                torch.zeros_like(self.owner[own]),
                (groups,),
                self.frames[own],
                torch.cat([targets[line] for line in own]) if own else self.targets[:0],
                self.lengths[own],
                self.weights[own],
                self.one_case[own],
            )

    def to(self, device: torch.device) -> Chunk:
        """Lengths stay on the CPU, where CTC wants them."""
        inputs = tuple(tuple(group.to(device) for group in groups) for groups in self.inputs)
        names = ("owner", "targets", "weights", "one_case")
        return replace(self, inputs=inputs, **{name: getattr(self, name).to(device) for name in names})


def look(
    model: Trainee, documents: Sequence[TrainDocument], lines: int = MAX_LINES, depth: Depth = "projection"
) -> list[Seen]:
    """What is frozen at this depth says of `lines` lines of each document, spread over it, once; kept on the CPU.

    A document is looked at by itself: what is remembered of it is a function of its own lines only.
    """
    return [_look(model, document, lines, depth) for document in documents]


def _look(model: Trainee, document: TrainDocument, lines: int, depth: Depth) -> Seen:
    kept = spread(document.lines, lines)
    texts = tuple(line.text for line in kept)
    if depth == "image":  # copies: a crop is a view of its whole document
        return Seen(texts, tuple(torch.tensor(line.image) for line in kept))
    device, found = model.head.weight.device, {}
    for indices, images in by_width([line.image for line in kept]):
        said = model.frozen(images.to(device), depth).cpu()
        found.update({i: one.clone() for i, one in zip(indices, said, strict=True)})
    return Seen(texts, tuple(found[i] for i in range(len(kept))))


def cache(adapter: Adapter, documents: Sequence[Seen]) -> list[Cached]:
    """What the adapter's frozen part says of each line, kept on the CPU: a GPU holds a chunk at a time.

    A line with a character that does not learn, or with fewer frames than its text needs, teaches
    nothing; so does a document without another line. Both are facts of that line alone.
    """
    found = []
    for document in documents:
        kept = []
        for text, frames in zip(document.texts, document.frames, strict=True):
            target = adapter.charset.encode(text)
            if target and frames_needed(target) <= count_frames(frames):
                kept.append((text, _inputs(adapter, frames), tuple(target)))
        texts, inputs, targets = zip(*kept, strict=True) if kept else ((), (), ())
        found.append(Cached(inputs, targets, one_case(texts)))
    return found


class Remembered:
    """What `find` says of each slot, in so many bytes: beyond these it is asked again. None: without a bound.

    Whether it is remembered or found again changes no gradient: it is a function of the document alone.
    """

    def __init__(self, find: Callable[[int], Cached | None], room: int | None = None) -> None:
        self._find, self._room = find, math.inf if room is None else room
        self._kept = dict[int, Cached | None]()

    def get(self, slot: int) -> Cached | None:
        """None where there is no document."""
        if slot in self._kept:
            return self._kept[slot]
        found = self._find(slot)
        size = sum(each.nbytes for each in found.inputs) if found else 0
        if size <= self._room:
            self._room -= size
            self._kept[slot] = found
        return found


def one_case(texts: Sequence[str]) -> bool:
    """Whether all letters that have two cases are written in the same one."""
    together = "".join(texts)
    return together in (together.upper(), together.lower())


def foreign(adapter: Adapter, documents: Sequence[Seen]) -> list[Cached]:
    """The lines that `cache` leaves out for a character that does not learn. Targets only tell their length."""
    found = []
    for document in documents:
        pairs = zip(document.texts, document.frames, strict=True)
        kept = [(text, frames) for text, frames in pairs if adapter.charset.encode(text) is None]
        inputs = tuple(_inputs(adapter, frames) for _, frames in kept)
        found.append(Cached(inputs, tuple((0,) * len(text) for text, _ in kept)))
    return found


def _inputs(adapter: Adapter, frames: Tensor) -> Tensor:
    return adapter.inputs(frames.unsqueeze(0).to(adapter.device))[0].cpu()


def count_frames(said: Tensor) -> int:
    """T, the frames of output, of a line of which the frozen part says this (see `Seen`)."""
    if _is_image(said):
        return recogniser.frames(max(said.shape[1], MIN_WIDTH))
    return len(said) if said.ndim == 2 else said.shape[2]


def collate(documents: Sequence[Cached], dtype: torch.dtype = torch.float32, joint: bool = False) -> Chunk:
    """A chunk of at least one line; documents without one take part with a gradient of zero.

    With `joint` one copy of the parameters serves all documents: for ordinary training, not for private.
    """
    copies: list[list[_Line]] = [
        [_Line(d, i, t) for i, t in zip(cached.inputs, cached.targets, strict=True)]
        for d, cached in enumerate(documents)
    ]
    if joint:
        copies = [[line for lines in copies for line in lines]]
    grouped = [_grouped(lines) for lines in copies]
    flat = [line for groups in grouped for lines in groups for line in lines]
    lengths = torch.tensor([len(line.target) for line in flat])
    counts = torch.tensor([len(documents[line.document].inputs) for line in flat])
    return Chunk(
        len(documents),
        torch.tensor([line.document for line in flat]),
        tuple(tuple(_side_by_side(lines).to(dtype) for lines in groups) for groups in grouped),
        torch.tensor([count_frames(line.input) for line in flat]),
        torch.tensor([c for line in flat for c in line.target]),
        lengths,
        1.0 / (lengths * counts).double(),
        torch.tensor([documents[line.document].one_case for line in flat]),
    )


@dataclass(frozen=True)
class _Line:
    document: int
    input: Tensor
    target: tuple[int, ...]


def _grouped(lines: Sequence[_Line]) -> list[list[_Line]]:
    """Lines that can go side by side: all, where frames are seen one by one, else those of equal width."""
    groups: dict[int, list[_Line]] = defaultdict(list)
    for line in lines:
        groups[0 if line.input.ndim == 2 else count_width(line.input)].append(line)
    return [groups[width] for width in sorted(groups)]


def count_width(said: Tensor) -> int:
    """In pixels of an image, in frames of the backbone's features."""
    return max(said.shape[1], MIN_WIDTH) if _is_image(said) else said.shape[2]


def _side_by_side(lines: Sequence[_Line]) -> Tensor:
    """`(1, all frames, width)`, or a batch of whole lines."""
    inputs = [line.input for line in lines]
    if inputs[0].ndim == 2:
        return torch.cat(inputs).unsqueeze(0)
    return torch.stack([to_tensor(each.numpy()) if _is_image(each) else each for each in inputs])


def _is_image(said: Tensor) -> bool:
    return said.dtype == torch.uint8


def chunks(documents: Iterable[Cached], dtype: torch.dtype = torch.float32) -> Iterator[Chunk]:
    """All documents that have a line: `CHUNK` at a time for a small adapter, one by one for a deep one."""
    gathered: list[Cached] = []
    for cached in documents:
        if cached.inputs:
            gathered.append(cached)
            if len(gathered) == CHUNK or cached.inputs[0].ndim > 2:
                yield collate(gathered, dtype)
                gathered = []
    if gathered:
        yield collate(gathered, dtype)
