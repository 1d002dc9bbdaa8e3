"""What a model learns from pages with surrogates, beside originals and beside black fill. (`bench/surrogates.py`)

Tuning pages, filled where something was planted (a perfect reader and detector, so that surrogates alone are judged),
and drawn by the real thing. The head of PP-OCRv4 is fine-tuned, without privacy, on lines of the originals, of the
pages with surrogates, and of the pages as filled, where lines with a fill are dropped. CER on untouched pages of other
people, case-folded, and on the lines with personal data alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from daemon.substituting import Substituter
from learners import evaluate, finetune, retelling, yardstick
from learners import plan as planning
from learners.catalogue import Looks
from learners.chunks import cache, look
from learners.lines import TrainDocument, document
from learners.public import public_documents
from learners.settings import Settings
from learners.survey import survey
from models import recogniser, weights
from models.ctc import Alphabet
from models.reader import Reader, crop
from privacy.anonymise import EDGE, _shrunk, anonymise
from privacy.fictions import KINDS
from privacy.noise import Debit, NoiseSource
from privacy.page import Image, Quad
from surrogate_lengths import Fixed
from surrogate_parrot import span_of


class Learning:
    """Pages of people, anonymised and not, and the head of PP-OCRv4 taught by each."""

    def __init__(self, pages: int, tests: int, seed: int) -> None:
        folder = weights.fetch()
        self.alphabet = Alphabet(weights.characters(folder / "rec.onnx"))
        self.model = recogniser.load(folder / "rec.onnx")
        self._known = set(self.alphabet.characters[1:])
        self._substituter = Substituter(KINDS, Reader(weights.v6_files(), "v6"))
        self.rows: dict[str, list[TrainDocument]] = {"originals": [], "surrogates": [], "filled, lines dropped": []}
        for index in range(pages):
            self._page(index, yardstick.page("tuning", index, seed=seed + 1))
        print(f"... {pages} pages are drawn", flush=True)
        self.tests, self.personal = self._tests(tests, seed + 2)

    def _page(self, index: int, page: yardstick.Page) -> None:
        """One page three ways."""
        found = [replace(item, quad=_shrunk(item.quad, -EDGE)) for item in page.items]  # as high as readers make them
        redaction = anonymise(page.image, [page.lines], [Fixed(*found)])
        clear = [line for line in page.lines if not redaction.touches(line)]
        drawn = self._substituter.page(redaction, page.lines, clear)
        wide = replace(redaction, mask=drawn.plots)
        told = retelling.from_readings(drawn.told, 1.0, self._known, lambda text: (text, []))
        told += [(line.quad, line.text) for line in clear if not wide.touches(line)]
        told.sort(key=lambda each: each[0][0][1])
        self._add("originals", index, page.image, [(line.quad, line.text) for line in page.lines])
        self._add("surrogates", index, drawn.image, told)
        self._add("filled, lines dropped", index, redaction.image, [(line.quad, line.text) for line in clear])

    def _add(self, row: str, index: int, image: Image, lines: Sequence[tuple[Quad, str]]) -> None:
        crops = [(crop(image, quad), text) for quad, text in lines if self._known.issuperset(text)]
        if (taught := document(index, crops)) is not None:
            self.rows[row].append(taught)

    def _tests(self, count: int, seed: int) -> tuple[list[TrainDocument], list[list[bool]]]:
        """Lines of untouched pages in the dictionary's characters, and whether each holds personal data."""
        documents, personal = [], []
        for index in range(count):
            page = yardstick.page("tuning", index, seed=seed)
            crops, marks = [], []
            for line in page.lines:
                if self._known.issuperset(line.text):
                    crops.append((crop(page.image, line.quad), line.text))
                    marks.append(any(span_of(line, item) for item in page.items))
            kept = list(zip(crops, marks, strict=True))[:16]
            if (made := document(index, [c for c, _ in kept])) is not None and len(made.lines) == len(kept):
                documents.append(made)
                personal.append([m for _, m in kept])
        return documents, personal

    def run(self, seed: int) -> dict[str, Any]:
        public, settings = (
            Looks(self.model, public_documents(seed * 1_000_000 + 700_000)),
            Settings(charset="latin", adapter="head"),
        )
        tests = look(self.model, self.tests)
        stock = self._scores(self.model, tests)
        scores = {"stock PP-OCRv4": stock}
        for name, taught in self.rows.items():
            print(
                f"... learning from {name}: {sum(len(t.lines) for t in taught)} lines of {len(taught)} pages",
                flush=True,
            )
            sized = replace(settings, capacity=len(taught))
            [surveyed] = survey(sized, self.alphabet, public)
            plan = replace(planning.planned(sized, surveyed, len(taught)), noise_multiplier=1e-6)
            seen = look(self.model, taught)
            cached = dict(zip(range(len(taught)), cache(surveyed.adapter, seen), strict=True))
            source = NoiseSource(Debit.for_tests(plan.noise_multiplier, plan.steps, plan.sample_rate), seed=bytes(32))
            theta = finetune.learn(
                plan, surveyed.adapter, range(len(taught)), cached, public.at(surveyed.adapter.depth), source
            )
            candidate = recogniser.Recogniser()
            merged = {k: v.numpy() for k, v in surveyed.adapter.merge(theta).items()}
            candidate.load_weights(self.model.weights() | merged)
            scores[name] = self._scores(candidate.eval(), tests)
        return self._table(scores, seed)

    def _table(self, scores: dict[str, Any], seed: int) -> dict[str, Any]:
        lines = sum(len(t.lines) for t in self.tests)
        print(f"\nlearning: CER in percent, case-folded, on {lines} lines of {len(self.tests)} pages of other people,")
        print(
            "against the model taught by originals (95%, resampled by page); and on the lines with personal data alone"
        )
        found: dict[str, Any] = {}
        for name, (every, personal) in scores.items():
            cells = []
            for kind, mine in (("all", every), ("personal", personal)):
                total = evaluate.total(mine).rates["cer"]
                against = scores["originals"][0 if kind == "all" else 1]
                apart = evaluate.compare(against, mine, "cer", seed)
                cells.append(
                    f"{100 * total:6.2f} ({100 * apart.mean:+.2f}, {100 * apart.low:+.2f} to {100 * apart.high:+.2f})"
                )
                found[f"{name}, {kind}"] = {"cer": total, "apart": apart.mean, "low": apart.low, "high": apart.high}
            taught = sum(len(t.lines) for t in self.rows.get(name, []))
            print(f"   {name:24} {taught:5} lines  all {cells[0]}   personal {cells[1]}")
        return found

    @torch.inference_mode()
    def _scores(self, model: Any, tests: Sequence[Any]) -> tuple[dict[int, Any], dict[int, Any]]:
        truths: list[dict[int, list[str]]] = [{}, {}]
        read: list[dict[int, list[str]]] = [{}, {}]
        for k, (seen, marks) in enumerate(zip(tests, self.personal, strict=True)):
            texts = [self._read(model, frames) for frames in seen.frames]
            truths[0][k], read[0][k] = list(seen.texts), texts
            mine = [i for i, mark in enumerate(marks) if mark]
            if mine:
                truths[1][k], read[1][k] = [seen.texts[i] for i in mine], [texts[i] for i in mine]
        return evaluate.score_documents(truths[0], read[0]), evaluate.score_documents(truths[1], read[1])

    def _read(self, model: Any, frames: torch.Tensor) -> str:
        project = model.neck.project
        hidden = torch.nn.functional.linear(frames, project.weight.flatten(1), project.bias)
        scores: npt.NDArray[np.float32] = model.head(torch.nn.functional.silu(hidden)).softmax(1).numpy()
        return self.alphabet.best_path(scores)[0]
