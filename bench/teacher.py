"""Does a better reader teach more than the truth? The public start from what PP-OCRv6 small reads on generated lines.

    python bench/teacher.py [--domain receipts|forms] [--data DIR] [--cache DIR] [--seed 0] [--quick] [--json FILE]

PP-OCRv6 small is the public teacher that is at hand (its readings cost nothing private), but on generated lines the
truth is known. Two public starts of PP-OCRv4 (`learners.public_start`), alike but for the labels: the truth, and what
PP-OCRv6 reads, where its characters may learn. Both read every line of a domain; the difference is resampled by
document. `--cache` is that of `utility.py`. `--quick` takes a tenth of the public documents and 40 to test on.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

import corpora
import running
from features import Shelf, backbone, best_paths, by_document
from learners import evaluate, public_start
from learners.adapters import Charset
from learners.lines import TrainDocument, TrainLine
from learners.plan import Settings
from lessons import load
from models import weights
from models.reader import Reader
from models.trainee import Trainee
from privacy.page import Image

METRICS = ("exact_folded", "exact_spaceless", "cer")


class Teacher:
    """PP-OCRv6 small, as a source of labels; counts how often it is right."""

    def __init__(self, charset: Charset) -> None:
        self._reader, self._may = Reader(weights.v6_files(), "v6"), set(charset.local)
        self.lines = self.right = 0

    def retold(self, documents: Sequence[TrainDocument]) -> Iterator[TrainDocument]:
        """The documents as it reads them, without lines of which a character may not learn."""
        for each in documents:
            lines = [line for line in each.lines if set(line.text) <= self._may]
            read = [text for text, _, _ in self._reader.read_lines([line.image for line in lines])]
            self.lines += len(lines)
            self.right += sum(line.text == text for line, text in zip(lines, read, strict=True))
            told = [TrainLine(line.image, text) for line, text in zip(lines, read, strict=True) if text]
            if kept := tuple(line for line in told if set(line.text) <= self._may):
                yield replace(each, lines=kept)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--domain", choices=("receipts", "forms"), default="receipts")
    parser.add_argument("--data", type=Path, default=running.DATA)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    released, alphabet = load("v4")
    charset = Charset.of(Settings(charset="ascii", closed=True).characters, alphabet, closed=True)
    papers = corpora.load(given.domain, given.data, 0, given.seed)[: 40 if given.quick else None]
    shelf, teacher, part = Shelf(given.cache), Teacher(charset), 10 if given.quick else 1

    def shown(by_teacher: bool) -> Iterator[list[TrainDocument]]:
        for training in range(public_start.TRAININGS):
            documents = public_start.documents(training, public_start.PAGES // part, public_start.SLIPS // part)
            yield list(teacher.retold(documents)) if by_teacher else documents

    def start(name: str, by_teacher: bool) -> Trainee:
        def made() -> list[torch.Tensor]:
            found = public_start.started(released, charset, shown(by_teacher))
            return [torch.from_numpy(value) for value in found.values()]

        values = shelf.get(name + (f"-{part}" if given.quick else ""), made)
        model = copy.deepcopy(released)
        model.load_weights({key: v.numpy() for key, v in zip(released.weights(), values, strict=True)})
        return model

    starts = {"the truth": start("start-v4", False), "PP-OCRv6 small": start("start-v4-by-v6", True)}
    if teacher.lines:
        print(f"PP-OCRv6 small reads {100 * teacher.right / teacher.lines:.1f}% of {teacher.lines} lines as they are")
    frames = {
        k: shelf.get(f"{given.domain}-v4-{given.seed}/{k}", lambda k=k: backbone(released, _images(papers[k])))
        for k in range(len(papers))
    }
    truths = {k: [text for _, text in paper.lines] for k, paper in enumerate(papers)}
    scores = {}
    for name, model in starts.items():
        seen = by_document(model, frames)
        read = {k: best_paths(model, charset.classes, alphabet.characters, seen[k]) for k in seen}
        scores[name] = evaluate.score_documents(truths, read)
        rates = evaluate.total(scores[name]).rates
        print(f"taught by {name}: " + ", ".join(f"{metric} {100 * rates[metric]:.2f}" for metric in METRICS))
    found = {metric: evaluate.compare(*scores.values(), metric, given.seed) for metric in METRICS}
    for metric, each in found.items():
        print(f"PP-OCRv6 instead of the truth, {metric}: {100 * each.low:+.2f} to {100 * each.high:+.2f} points")
    if given.json:
        given.json.write_text(json.dumps({metric: asdict(each) for metric, each in found.items()}, indent=1))
    return 0


def _images(paper: corpora.Paper) -> list[Image]:
    return [image for image, _ in paper.lines]


if __name__ == "__main__":
    raise SystemExit(main())
