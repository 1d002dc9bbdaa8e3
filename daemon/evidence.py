"""What a candidate can do, measured in the round's process: export parity, public anchor, latency, hold-out.

Everything but the hold-out figure comes from generated documents and is public. The anchor's documents
are drawn anew for each try, because candidates depend on earlier verdicts (models/gates.py). Of the
hold-out only one number leaves: the mean over its slots of each document's gain, clipped to [-0.5, 0.5],
plus Gaussian noise that was charged before it was drawn.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch

from learners import batches, evaluate, synthesis
from learners.finetune import Documents, Weights
from learners.lines import to_height
from models import paddle_twin, reader, weights
from models.ctc import Alphabet
from models.errors import PaddleFailed, PaddleMissing
from models.evidence import GAIN_BOUND
from models.recogniser import Recogniser
from privacy.noise import Grid, NoiseSource
from privacy.page import Image

Tell = Callable[[str], None]
Truth = tuple[str, npt.NDArray[np.float32]]
"""What the weights in torch say of a line: its text, and the class probabilities `(T, classes)`."""

PARITY_LINES = 200
TIMED_LINES = 6
TIMED_PAIRS = 60
FIRST_ANCHOR_SEED, FIRST_LINE_SEED, FIRST_PLANNING_SEED = 10_000_000, 20_000_000, 30_000_000
"""Ranges of seeds that no demo, test or bench draws from."""
MOST_DRAWN = 10
"""Documents that are drawn for each that the anchor is to have."""


class Examiner:
    """Reads public lines with the candidate and with the model in service.

    Args:
        stock: the released weights (detector and classifier come from it).
        current: the `rec.onnx` in service.
        scratch: the candidate's folder: `rec.onnx` and `rec_paddle/`.
        candidate: its weights, by the recogniser's names.
        anchor_documents: how many documents the anchor has.
        attempt: which try this is, from 1; the anchor's seeds follow from it.
        characters: those that both models can write; None: all of the dictionary. The anchor has no others.
    """

    def __init__(
        self,
        stock: Path,
        current: Path,
        scratch: Path,
        candidate: Weights,
        anchor_documents: int,
        attempt: int,
        characters: str | None = None,
    ) -> None:
        files = weights.v4_files(stock)
        self._scratch, self._anchor, self._attempt = scratch, anchor_documents, attempt
        self._characters = None if characters is None else frozenset(characters)
        self._current = reader.Reader(weights.ReaderFiles(files.det, files.cls, current), "v4")
        self._candidate = reader.Reader(weights.ReaderFiles(files.det, files.cls, scratch / "rec.onnx"), "v4")
        self._model = Recogniser()
        self._model.load_weights(candidate)
        self._model.eval()
        self._alphabet = Alphabet(weights.characters(scratch / "rec.onnx"))

    def public(self, tell: Tell) -> dict[str, Any]:
        """All evidence from generated documents, as JSON."""
        domains = ("thermal", "plain", "chinese", "plain")
        seed = FIRST_LINE_SEED + self._attempt * PARITY_LINES
        crops = [synthesis.line(seed + n, domains[n % len(domains)])[0] for n in range(PARITY_LINES)]
        tell(f"export parity: {len(crops)} lines in torch")
        truth = [self._torch(crop) for crop in crops]
        return {
            "rapidocr": self.rapidocr(crops, truth, tell),
            "paddle": self.paddle(crops, truth, tell),
            "anchor": self.anchor(tell),
            "latency": self.latency(crops, tell),
        }

    def rapidocr(self, crops: Sequence[Image], truth: Sequence[Truth], tell: Tell) -> dict[str, Any]:
        """The exported file, read through RapidOCR and by onnxruntime, against the weights in torch."""
        tell(f"export parity: RapidOCR on {len(crops)} lines")
        readings = self._candidate.read_lines(crops)
        exported = _session(self._scratch / "rec.onnx")
        largest = 0.0
        for crop, (_, probabilities) in zip(crops, truth, strict=True):
            largest = max(largest, float(np.abs(exported(_tensor(crop).numpy()[None])[0] - probabilities).max()))
        identical = sum(text == reading[0] for (text, _), reading in zip(truth, readings, strict=True))
        return {"lines": len(crops), "identical": identical, "max_difference": largest}

    def paddle(self, crops: Sequence[Image], truth: Sequence[Truth], tell: Tell) -> dict[str, Any] | None:
        """The Paddle twin, read by PaddlePaddle in a process of its own; None where there is no Paddle."""
        tell(f"export parity: Paddle on {len(crops)} lines")
        try:
            readings = paddle_twin.read_twin(self._scratch / "rec_paddle", [_tensor(crop).numpy() for crop in crops])
        except (PaddleMissing, PaddleFailed):
            return None
        texts = [self._torch(crop)[0] for crop in crops]
        return {
            "lines": len(crops),
            "identical": sum(t == r.text for t, r in zip(texts, readings, strict=True)),
        }

    def anchor(self, tell: Tell) -> list[dict[str, int]]:
        """Both models on generated documents of every kind: characters, edits, lines, exact lines of each.

        A document without a line that can be read counts for none: another is drawn in its place, while there is hope.
        """
        rows = list[dict[str, int]]()
        for index in range(MOST_DRAWN * self._anchor):
            if len(rows) == self._anchor:
                break
            tell(f"public anchor: document {len(rows) + 1} of {self._anchor}")
            seed = FIRST_ANCHOR_SEED + self._attempt * 100_000 + index
            made = synthesis.generate(synthesis.KINDS[index % len(synthesis.KINDS)], seed)
            lines = [each for each in made.lines if self._characters is None or self._characters >= set(each.text)]
            if not lines:
                continue
            crops, texts = [reader.crop(made.image, each.quad) for each in lines], [each.text for each in lines]
            now, new = (self._score(r, crops, texts) for r in (self._current, self._candidate))
            if now.characters:
                rows.append(
                    {
                        "characters": now.characters,
                        "edits_current": now.edits,
                        "edits_candidate": new.edits,
                        "lines": now.lines,
                        "exact_current": now.folded,
                        "exact_candidate": new.folded,
                    }
                )
        return rows

    def latency(self, crops: Sequence[Image], tell: Tell) -> dict[str, list[float]]:
        """Processor seconds for the same lines, both models in turn, the order swapped each time.

        The readers run on the calling thread alone, so its own clock does not see what else the machine does.
        """
        tell("latency, in turn with the model in service")
        times: dict[str, list[float]] = {"current": [], "candidate": []}
        both = {"current": self._current, "candidate": self._candidate}
        some = crops[:TIMED_LINES]
        for pair in range(TIMED_PAIRS):
            for name in (("current", "candidate"), ("candidate", "current"))[pair % 2]:
                begun = time.thread_time()
                both[name].read_lines(some)
                times[name].append(time.thread_time() - begun)
        return times

    def holdout(
        self,
        documents: Documents,
        members: int,
        noise_multiplier: float,
        noise: NoiseSource,
        tell: Tell,
    ) -> dict[str, Any]:
        """`noisy_mean_gain` in exact lines (case-folded); a unit without a document gains 0."""
        gains = []
        for held in filter(None, map(documents.get, documents.keys())):
            tell("reading the hold-out")
            crops, texts = [line.image for line in held.lines], [line.text for line in held.lines]
            now, new = (self._score(r, crops, texts) for r in (self._current, self._candidate))
            gains.append((new.folded - now.folded) / max(now.lines, 1))
        return noisy_mean_gain(gains, members, noise_multiplier, noise)

    def _score(self, by: reader.Reader, crops: Sequence[Image], texts: Sequence[str]) -> evaluate.Score:
        readings = [text for text, _, _ in by.read_lines(crops)]
        scores = [evaluate.score_line(truth, read) for truth, read in zip(texts, readings, strict=True)]
        return sum(scores, evaluate.Score())

    @torch.no_grad()
    def _torch(self, crop: Image) -> Truth:
        probabilities = self._model(_tensor(crop)[None]).softmax(2)[0].numpy()
        return self._alphabet.best_path(probabilities)[0], probabilities


def noisy_mean_gain(
    gains: Iterable[float], members: int, noise_multiplier: float, noise: NoiseSource
) -> dict[str, Any]:
    """The mean over `members` units (public) of their gains, each cut to `GAIN_BOUND`, with noise; as JSON.

    One unit, taken out, moves the sum by at most `GAIN_BOUND`, so noise of `noise_multiplier` times that on the sum is
    the Gaussian mechanism under zero-out adjacency.
    """
    grid = Grid(GAIN_BOUND)
    total = sum(int(np.trunc(np.clip(gain, -GAIN_BOUND, GAIN_BOUND) / grid.step)) for gain in gains)
    noisy = noise.add_to(np.array([total], np.int64), grid, noise_multiplier)
    return {
        "gain": float(noisy[0]) * grid.step / members,
        "noise_std": noise_multiplier * GAIN_BOUND / members,
        "slots": members,
        "charged": True,
    }


def _session(path: Path) -> Callable[[Any], Any]:
    """The exported file in onnxruntime, on one thread: `(1, 3, 48, W)` to `(1, T, classes)`."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda lines: session.run(None, {name: lines})[0]


def _tensor(crop: Image) -> torch.Tensor:
    """`(3, 48, W)`, as RapidOCR shows its model a line read alone."""
    return batches.to_tensor(to_height(crop))
