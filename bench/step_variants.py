"""A training step on one adapter's documents: ordinary, ours, and what of ours is privacy. For step_cost.py.

Each ends with a step of Adam.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from learners import neck_adapters
from learners.adapters import ASCII, Adapter, Charset, HeadAdapter, TopAdapter
from learners.catalogue import LORA_RANK
from learners.chunks import CHUNK, Cached, Chunk, Seen, cache, collate, look
from learners.gradients import Losses, _logits, _time_first, document_losses, gradient_blocks
from learners.lines import HEIGHT, document
from learners.synthesis import line
from models import recogniser, weights
from models.ctc import Alphabet
from models.recogniser import Recogniser
from privacy.dpsgd import private_gradient
from privacy.noise import Debit, NoiseSource
from privacy.page import Image

CLIP, SIGMA = 0.05, 5.0
RATE = 1e-9
"""Next to nothing: every variant goes on computing at the released weights."""


def _basis() -> Tensor:
    return torch.linalg.qr(torch.randn(120, 64)).Q


ADAPTERS: dict[str, Callable[[Recogniser, Charset], Adapter]] = {
    "head": lambda model, charset: HeadAdapter(model, charset, _basis()),
    "top": TopAdapter,
    "lora": lambda model, charset: neck_adapters.lora(model, charset, LORA_RANK, _basis()),
    "norm": lambda model, charset: neck_adapters.norm(model, charset, basis=_basis()),
    "neck": neck_adapters.neck,
    "all": neck_adapters.everything,
}
"""As a plan has them, but that directions are random, and that `neck` is without the head, as Opacus can take it."""
SIZES = {"head": (96, 8), "top": (48, 8), "lora": (16, 8), "norm": (16, 8), "neck": (16, 8), "all": (8, 4)}
"""Documents a step, and lines of each."""
DISTINCT = 16
"""Documents that are generated; a step takes them over and over."""
Step = Callable[[], None]


@dataclass(frozen=True)
class Setting:
    """One adapter, its documents as the frozen part leaves them, and where all of it runs."""

    name: str
    adapter: Adapter
    model: Recogniser
    documents: list[Cached]

    @property
    def device(self) -> torch.device:
        return self.model.head.weight.device

    def theta(self) -> Tensor:
        return torch.zeros(self.adapter.size, device=self.device)


def prepare(
    name: str, seed: int, documents: int, lines: int, device: str, width: int | None = None
) -> tuple[Setting, list[Seen]]:
    """The documents of a step, looked at once; lines of their own widths, or all of one, in pixels."""
    first = seed * 1_000_000
    made = [
        document(k, [_line(first + lines * k + n, width) for n in range(lines)])
        for k in range(min(documents, DISTINCT))
    ]
    setting = make_setting(name, device)
    distinct = look(setting.model, [each for each in made if each is not None], lines, setting.adapter.depth)
    seen = [distinct[k % len(distinct)] for k in range(documents)]
    setting.documents.extend(cache(setting.adapter, seen))
    return setting, seen


def _line(seed: int, width: int | None) -> tuple[Image, str]:
    image, text = line(seed, "thermal")
    return (np.asarray(cv2.resize(image, (width, HEIGHT)), np.uint8) if width else image), text


def make_setting(name: str, device: str) -> Setting:
    torch.manual_seed(0)
    file = weights.fetch() / "rec.onnx"
    model = recogniser.load(file).to(device)
    return Setting(name, ADAPTERS[name](model, Charset.of(ASCII, Alphabet(weights.characters(file)))), model, [])


def plain(setting: Setting) -> Step:
    return _ordinary(setting, len(setting.documents))


def accumulated(setting: Setting) -> Step:
    return _ordinary(setting, 1 if setting.adapter.depth != "projection" else CHUNK)


def every_case(setting: Setting) -> Setting:
    """The same documents, of which none is taken for one whose labels have one case only."""
    return replace(setting, documents=[replace(each, one_case=False) for each in setting.documents])


def textbook(setting: Setting) -> Step:
    """`accumulated` with the field's loss: CTC in float32, labels by the letter, their case too."""
    return _ordinary(every_case(setting), 1 if setting.adapter.depth != "projection" else CHUNK, _float32)


def _float32(adapter: Adapter, theta: Tensor, chunk: Chunk) -> Tensor:
    log_probabilities = functional.log_softmax(_logits(adapter, theta, chunk), dim=1)
    lines = _time_first(log_probabilities, chunk.frames)
    losses = functional.ctc_loss(
        lines, chunk.targets, chunk.frames, chunk.lengths, reduction="none", zero_infinity=True
    )
    return losses.new_zeros(chunk.documents).index_add(0, chunk.owner, losses * chunk.weights.float())


def _ordinary(setting: Setting, at_a_time: int, losses: Losses = document_losses) -> Step:
    theta = setting.theta().requires_grad_()
    optimiser = torch.optim.Adam([theta], lr=RATE)
    documents, device = setting.documents, setting.device

    def step() -> None:
        optimiser.zero_grad()
        for start in range(0, len(documents), at_a_time):
            chunk = collate(documents[start : start + at_a_time], joint=True).to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                loss = losses(setting.adapter, theta.unsqueeze(0), chunk).sum() / len(documents)
            loss.backward()
        optimiser.step()

    return step


def ours(setting: Setting) -> Step:
    theta = setting.theta().requires_grad_()
    optimiser = torch.optim.Adam([theta], lr=RATE)

    def step() -> None:
        theta.grad = _private(setting, gradient_blocks(setting.adapter, theta.detach(), setting.documents))
        optimiser.step()

    return step


def private_part(setting: Setting) -> Step:
    """Clipping, summing and noise of gradients that are there already."""
    block = torch.randn(1, setting.adapter.size, device=setting.device)
    return lambda: void(_private(setting, (block for _ in setting.documents)))


def void(_: object) -> None: ...


def _private(setting: Setting, gradients: Iterator[Tensor]) -> Tensor:
    return private_gradient(
        gradients,
        size=setting.adapter.size,
        max_grad_norm=CLIP,
        noise_multiplier=SIGMA,
        expected_documents=len(setting.documents),
        noise=NoiseSource(Debit.for_tests(SIGMA, 1)),
        device=setting.device,
    )
