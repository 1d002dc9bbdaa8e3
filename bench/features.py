"""What a recogniser's frozen backbone says of documents' lines, kept on disk: looking at lines is most of a bench.

Private rounds of these benches learn above the backbone, so one look at a line by the released model, and one by the
start, whose backbone is its own, serve every row, split and draw.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from daemon.start import RECIPE
from learners import public_start
from learners.adapters import Charset
from learners.chunks import Seen, look
from learners.lines import HEIGHT, MAX_WIDTH, TrainDocument, TrainLine, to_height
from learners.replay import spread
from learners.signals import model_digest
from models.layout import Array
from models.trainee import Depth, Trainee
from privacy.page import Image

Frames = tuple[Tensor, ...]
TOGETHER = 48
"""Lines that go through the neck at a time."""


class Shelf:
    """A folder that keeps tensors by name; without one, memory does."""

    def __init__(self, folder: Path | None) -> None:
        self._folder, self._kept = folder, dict[str, Frames]()

    def get(self, name: str, make: Callable[[], Iterable[Tensor]]) -> Frames:
        """The tensors of that name; made, and kept, if there are none."""
        path = None if self._folder is None else self._folder / f"{name}.pt"
        if path is not None and path.exists():
            return tuple(torch.load(path))
        if name not in self._kept:
            made = tuple(make())
            if path is None:
                self._kept[name] = made
                return made
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            torch.save(made, part)
            part.rename(path)
            return made
        return self._kept[name]

    def frames(self, model: Trainee, name: str, images: Sequence[Image]) -> Frames:
        """What this model's backbone says of the lines of that name."""
        return self.get(f"{model_digest(model)[:12]}/{name}", lambda: backbone(model, images))


def backbone(model: Trainee, images: Sequence[Image]) -> Frames:
    """`(channels, 1, T) float16` of each line."""
    lines = [TrainLine(to_height(image)[:, :MAX_WIDTH], "x") for image in images]
    parts = [TrainDocument(0, tuple(lines[k : k + 16])) for k in range(0, len(lines), 16)]
    return tuple(frames.half() for seen in look(model, parts, depth="backbone") for frames in seen.frames)


def taught(lines: Sequence[tuple[Image, str]], cap: int) -> list[int]:
    """Which lines of a document are learned from: those of `learners.lines.document`."""
    fits = [
        0 < HEIGHT * image.shape[1] / image.shape[0] <= MAX_WIDTH if image.shape[0] else False for image, _ in lines
    ]
    return spread([k for k, (_, text) in enumerate(lines) if text and fits[k]], cap)


def public_started(shelf: Shelf, family: str, released: Trainee, charset: Charset) -> Trainee:
    """The public start of a family's released model, trained unless it is on the shelf."""

    def made() -> list[Tensor]:
        print("... the public start: looking at its documents, and training", flush=True)
        return [torch.from_numpy(value) for value in public_start.started(released, charset).values()]

    values = shelf.get(f"start-{family}-{RECIPE}", made)
    model = copy.deepcopy(released)
    model.load_weights({name: v.numpy() for name, v in zip(released.weights(), values, strict=True)})
    return model


@torch.inference_mode()
def features(model: Trainee, frames: Sequence[Tensor]) -> Frames:
    """`(T, C)` of each line, from the backbone's frames; each line by itself, equal widths side by side."""
    layers = model.layers("backbone")
    order = sorted(range(len(frames)), key=lambda k: frames[k].shape[2])
    found: dict[int, Tensor] = {}
    for start in range(0, len(order), TOGETHER):
        part = order[start : start + TOGETHER]
        widths = sorted({frames[k].shape[2] for k in part})
        groups = [[k for k in part if frames[k].shape[2] == width] for width in widths]
        stacked = [torch.stack([frames[k].float() for k in group]) for group in groups]
        said = model.features_at(layers, stacked, "backbone")
        lengths = [frames[k].shape[2] for group in groups for k in group]
        found |= dict(zip([k for group in groups for k in group], said.split(lengths), strict=True))
    return tuple(found[k].clone() for k in range(len(frames)))


def by_document(model: Trainee, frames: Mapping[int, Frames]) -> dict[int, Frames]:
    """`features` of every document's lines."""
    flat = iter(features(model, [each for lines in frames.values() for each in lines]))
    return {k: tuple(next(flat) for _ in lines) for k, lines in frames.items()}


@torch.inference_mode()
def best_paths(model: Trainee, classes: Sequence[int], characters: Sequence[str], lines: Frames) -> list[str]:
    """What the model's head reads in lines' features if it may write these classes only, the blank (0) among them."""
    rows = torch.tensor(classes)
    weight, bias = model.head.weight[rows], model.head.bias[rows]

    def text(line: Tensor) -> str:
        best = torch.unique_consecutive((line @ weight.T + bias).argmax(1))
        return "".join(characters[int(rows[k])] for k in best if k)

    return [text(line) for line in lines]


class Above:
    """A trainee whose features are computed already: `frozen` at "projection" is the features themselves."""

    def __init__(self, model: Trainee) -> None:
        self._model, self.head = model, model.head

    def frozen(self, images: Tensor, depth: Depth) -> Tensor:
        return self._model.frozen(images, depth)

    def features_of(self, frames: Tensor) -> Tensor:
        return frames

    def layers(self, depth: Depth) -> dict[str, Tensor]:
        return self._model.layers(depth)

    def features_at(self, weights: Mapping[str, Tensor], groups: Sequence[Tensor], depth: Depth) -> Tensor:
        return self._model.features_at(weights, groups, depth)

    def weights(self) -> dict[str, Array]:
        return self._model.weights()

    def load_weights(self, state: Mapping[str, Array]) -> None:
        self._model.load_weights(state)


class Remembered:
    """Documents as `learners.catalogue.Looks` shows them, from the backbone's frames."""

    def __init__(self, model: Trainee, texts: Sequence[Sequence[str]], frames: Sequence[Frames]) -> None:
        self.model, self._texts, self._frames = Above(model), texts, frames
        self._features: list[Seen] | None = None

    def at(self, depth: Depth) -> list[Seen]:
        if depth == "backbone":
            parts = zip(self._texts, self._frames, strict=True)
            return [Seen(tuple(texts), tuple(f.float() for f in frames)) for texts, frames in parts]
        if self._features is None:
            flat = iter(features(self.model, [f for frames in self._frames for f in frames]))
            self._features = [
                Seen(tuple(texts), tuple(next(flat) for _ in frames))
                for texts, frames in zip(self._texts, self._frames, strict=True)
            ]
        return self._features
