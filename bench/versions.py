"""Who reads held-back lines how well: the released model, what a service here put forward, stock PP-OCRv6 small."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import running
from daemon.config import load
from learners import evaluate
from learners.adapters import CHARSETS, Charset, HeadAdapter
from models import recogniser, weights
from models.ctc import Alphabet
from models.reader import Reader
from privacy.page import Image

STOCK = "stock PP-OCRv4"


def scores(
    home: Path, crops: Mapping[int, Sequence[Image]], truths: Mapping[int, Sequence[str]], seed: int
) -> dict[str, Any]:
    """By reader: rates over all lines, how many those are, and the gain over the released model by document.

    Args:
        home: the service's state folder; one that is closed is compared with the released model shut likewise too.
        crops: `(H, W, 3) uint8` RGB of each document's lines.
        truths: what they say.
    """
    v4, learning = weights.v4_files(weights.default_folder()), load(home).learning
    recognisers = {
        f"candidate of round {row['id']}": home / "models" / row["version"] / "rec.onnx"
        for row in running.rounds(home)
        if row["version"]
    }
    with tempfile.TemporaryDirectory() as folder:
        if learning.closed:
            recognisers = {
                f"stock, shut to {learning.charset}": _shut(v4.rec, learning.charset, Path(folder))
            } | recognisers
        readers = {STOCK: Reader(v4, "v4")}
        for name, path in recognisers.items():
            readers[name] = Reader(weights.ReaderFiles(v4.det, v4.cls, path), "v4")
        readers["stock PP-OCRv6 small"] = Reader(weights.v6_files(), "v6")
        found = {
            name: evaluate.score_documents(
                truths, {key: [text for text, _, _ in each.read_lines(lines)] for key, lines in crops.items()}
            )
            for name, each in readers.items()
        }
    return {
        name: evaluate.total(score).rates
        | {
            "gain": evaluate.compare(found[STOCK], score, "exact_folded", seed).__dict__,
            "lines": evaluate.total(score).lines,
        }
        for name, score in found.items()
    }


def _shut(released: Path, charset: str, folder: Path) -> Path:
    """The released recogniser without all other characters."""
    model = recogniser.load(released)
    adapter = HeadAdapter(model, Charset.of(CHARSETS[charset], Alphabet(weights.characters(released)), True), None)
    merged = {name: value.numpy() for name, value in adapter.merge(torch.zeros(adapter.size)).items()}
    weights.write_onnx(released, model.weights() | merged, folder / "rec.onnx")
    return folder / "rec.onnx"


def show(home: Path, found: Mapping[str, Any]) -> None:
    """Prints the service's rounds and `scores`."""
    for row in running.rounds(home):
        print(f"round {row['id']}: {row['state']}; {row['reason'] or ''}")
        print("  plan: " + ", ".join(f"{k} {v}" for k, v in row["plan"].items() if k != "charset"))
        for name, gate in row["gates"].items():
            print(f"  {name}: {gate}")
    columns = ("exact", "exact_folded", "exact_spaceless", "cer", "cer_spaceless")
    print(f"{'held back':24}" + "".join(f"{c:>16}" for c in columns) + "   gain in exact_folded, 95%")
    for name, rates in found.items():
        gain = rates["gain"]
        figures = "".join(f"{100 * rates[c]:16.2f}" for c in columns)
        print(f"{name:24}{figures}   {100 * gain['mean']:+.1f} [{100 * gain['low']:+.1f}, {100 * gain['high']:+.1f}]")
