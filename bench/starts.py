"""What the public start owes to one thing: two starts that are alike but for it read every line of a domain.

    python bench/starts.py [--instead readings|words] [--domain receipts|forms] [--data DIR] [--cache DIR]
                           [--seed 0] [--quick] [--json FILE]

`readings`: labels as PP-OCRv6 small reads them instead of the truth. It is the public teacher that is at hand (what
it says costs nothing private), and a better reader than PP-OCRv4. `words`: till slips (`learners.slips`) in which every
word of a till, a country or a currency is another English word instead; their printers, scans, numbers, units, months
and punctuation stay. The difference is resampled by document. `--cache` is that of `utility.py`. `--quick` takes a
tenth of the public documents and 40 to test on.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

import corpora
import running
from daemon.start import RECIPE
from features import Shelf, best_paths, by_document
from learners import evaluate, public_start, slips
from learners.adapters import ASCII, Charset
from learners.draws import Draws
from learners.lines import TrainDocument, TrainLine
from learners.personas import persona
from learners.settings import Settings
from lessons import load
from models import weights
from models.reader import Reader
from models.trainee import Trainee
from privacy.page import Image

NAMES = {None: f"start-v4-{RECIPE}", "readings": f"start-v4-by-v6-{RECIPE}", "words": f"start-v4-other-words-{RECIPE}"}
METRICS = ("exact_folded", "exact_spaceless", "cer")


class Teacher:
    """PP-OCRv6 small, as a source of labels; counts how often it is right."""

    def __init__(self) -> None:
        self._reader, self._may = Reader(weights.v6_files(), "v6"), set(ASCII)
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


class OtherWords:
    """While it is entered, slips say other words where a till's stood: always the same one for the same."""

    INLINE = (
        "GST", "VAT", "TAX", "REG", "NO", "ID", "TEL", "FAX", "CO", "DATE", "TIME", "SR", "ZR", "EA", "QTY", "AMT",
    )  # fmt: skip

    def __init__(self) -> None:
        lists = (slips.GOODS, slips.HEADS, slips.FIELDS, slips.SUMS, slips.COURTESIES, slips.TRADERS, slips.CURRENCIES)
        said = " ".join(phrase for phrases in lists for phrase in phrases) + " " + " ".join(self.INLINE)
        till = sorted(set(re.findall("[A-Z]{2,}", said)), key=len, reverse=True)
        self._till = re.compile(rf"(?<![A-Z])(?:{'|'.join(till)})(?![A-Z])")
        people = [persona(Draws(k, "other words"), "en_US", sentences=4) for k in range(200)]
        words = {word for who in people for text in who.sentences for word in re.findall(r"\b[a-z]{2,}\b", text)}
        self._words = sorted({word.upper() for word in words} - set(till))
        self._wording = slips.wording

    def __enter__(self) -> None:
        slips.wording = lambda draws: self._till.sub(self._other, self._wording(draws))

    def __exit__(self, *_: object) -> None:
        slips.wording = self._wording

    def _other(self, found: re.Match[str]) -> str:
        return self._words[zlib.crc32(found.group().encode()) % len(self._words)]


def _shown(instead: str | None, part: int) -> Iterator[list[TrainDocument]]:
    """What each training of a start sees; a `part`-th of it."""
    teacher = Teacher() if instead == "readings" else None
    with OtherWords() if instead == "words" else contextlib.nullcontext():
        for training in range(public_start.TRAININGS):
            documents = public_start.documents(training, public_start.PAGES // part, public_start.SLIPS // part)
            yield list(teacher.retold(documents)) if teacher else documents
    if teacher:
        print(f"PP-OCRv6 small reads {100 * teacher.right / teacher.lines:.1f}% of {teacher.lines} lines as they are")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instead", choices=("readings", "words"), default="readings")
    parser.add_argument("--domain", choices=("receipts", "forms"), default="receipts")
    parser.add_argument("--data", type=Path, default=running.DATA)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.seed < 0:
        parser.error(f"expected --seed of 0 at least, got {given.seed}")
    if given.json and not given.json.parent.is_dir():
        parser.error(f"expected --json in a folder that is there, got {given.json}")
    torch.set_num_threads(1)
    released, alphabet = load("v4")
    papers = corpora.load(given.domain, given.data, 0, given.seed)[: 40 if given.quick else None]
    shelf, part, truths = Shelf(given.cache), 10 if given.quick else 1, _truths(papers)
    charset = Charset.of(Settings(charset="ascii").characters, alphabet, closed=True)
    scores = []
    for instead in (None, given.instead):
        model = _start(instead, released, charset, shelf, part)
        name = f"{given.domain}-v4-{given.seed}"
        seen = by_document(model, {k: shelf.frames(model, f"{name}/{k}", _images(papers[k])) for k in truths})
        read = {k: best_paths(model, charset.classes, alphabet.characters, seen[k]) for k in seen}
        scores.append(evaluate.score_documents(truths, read))
        rates = evaluate.total(scores[-1]).rates
        told = ", ".join(f"{metric} {100 * rates[metric]:.2f}" for metric in METRICS)
        print(f"{f'other {instead}' if instead else 'as it ships'}: {told}", flush=True)
    found = {metric: evaluate.compare(*scores, metric, given.seed) for metric in METRICS}
    for metric, each in found.items():
        print(f"other {given.instead}, {metric}: {100 * each.low:+.2f} to {100 * each.high:+.2f} points")
    if given.json:
        given.json.write_text(json.dumps({metric: asdict(each) for metric, each in found.items()}, indent=1))
    return 0


def _start(instead: str | None, released: Trainee, charset: Charset, shelf: Shelf, part: int) -> Trainee:
    """A public start, trained unless it is on the shelf."""

    def made() -> list[torch.Tensor]:
        return [
            torch.from_numpy(value) for value in public_start.started(released, charset, _shown(instead, part)).values()
        ]

    name = NAMES[instead] + (f"-{part}" if part > 1 else "")
    model = copy.deepcopy(released)
    values = shelf.get(name, made)
    model.load_weights({key: v.numpy() for key, v in zip(released.weights(), values, strict=True)})
    return model


def _truths(papers: Sequence[corpora.Paper]) -> dict[int, list[str]]:
    return {k: [text for _, text in paper.lines] for k, paper in enumerate(papers)}


def _images(paper: corpora.Paper) -> list[Image]:
    return [image for image, _ in paper.lines]


if __name__ == "__main__":
    raise SystemExit(main())
