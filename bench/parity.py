"""Does every form of the recogniser read the same? torch, onnxruntime, RapidOCR and PaddlePaddle.

    python bench/parity.py [--n 1000] [--seed 0] [--paddle 200] [--quick] [--json FILE]

1. The released weights in torch against the released ONNX file in onnxruntime: per line the largest
   difference of any class probability in any frame, and whether the text is the same.
2. A candidate, whose every weight is off by 1% noise so that writing back is seen to matter: torch against
   RapidOCR reading the exported ONNX file, and against PaddlePaddle reading the exported twin.

The lines are drawn by `learners.synthesis`. One thread everywhere.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import onnxruntime
import torch

from learners import batches, lines, synthesis
from models import paddle_twin, weights
from models.ctc import Alphabet
from models.errors import PaddleMissing
from models.reader import Reader
from models.recogniser import Recogniser, load
from privacy.page import Image

BOUND = 5e-4
"""On a probability. onnxruntime's own rounding, against the graph in double precision, comes close to it."""


def draw(n: int, seed: int, domains: list[str]) -> list[Image]:
    """The line crops, the domains in turn, with a note of progress on stderr."""
    crops = []
    for i in range(n):
        crops.append(synthesis.line(seed + i, domains[i % len(domains)])[0])
        if i % 100 == 99:
            print(f"drawn {i + 1} of {n}", file=sys.stderr)
    return crops


def torch_probabilities(model: Recogniser, crop: Image) -> np.ndarray:
    with torch.inference_mode():
        return model(tensor(crop)).softmax(-1)[0].numpy()


def tensor(crop: Image) -> torch.Tensor:
    return batches.to_tensor(lines.to_height(crop))[None]


def released_parity(folder: Path, crops: list[Image], alphabet: Alphabet) -> dict[str, float | int]:
    """torch against onnxruntime, both with the released weights."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(folder / "rec.onnx"), options, providers=["CPUExecutionProvider"])
    model = load(folder / "rec.onnx")
    differences, identical = [], 0
    for i, crop in enumerate(crops):
        here = torch_probabilities(model, crop)
        there = session.run(None, {"x": tensor(crop).numpy()})[0][0]
        differences.append(float(np.abs(here - there).max()))
        identical += alphabet.best_path(here)[0] == alphabet.best_path(there)[0]
        if i % 100 == 99:
            print(f"released weights: {i + 1} of {len(crops)}", file=sys.stderr)
    return {
        "lines": len(crops),
        "median": float(np.median(differences)),
        "p99": float(np.quantile(differences, 0.99)),
        "maximum": max(differences),
        "within_bound": sum(d <= BOUND for d in differences),
        "identical": identical,
    }


def candidate(folder: Path, seed: int) -> Recogniser:
    """The released recogniser with noise of 1% of each array's root mean square."""
    model = load(folder / "rec.onnx")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in model.parameters():
            size = value.square().mean().sqrt()
            value += 0.01 * size * torch.randn(value.shape, generator=generator)
    return model


def exported_parity(folder: Path, crops: list[Image], alphabet: Alphabet, seed: int, paddle: int) -> dict[str, object]:
    """torch against RapidOCR and PaddlePaddle, all with a candidate's weights."""
    model = candidate(folder, seed)
    texts = []
    for i, crop in enumerate(crops):
        texts.append(alphabet.best_path(torch_probabilities(model, crop))[0])
        if i % 100 == 99:
            print(f"candidate: {i + 1} of {len(crops)}", file=sys.stderr)
    files = weights.v4_files(folder)
    stock = [text for text, _, _ in Reader(files, "v4").read_lines(crops)]
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "rec.onnx"
        weights.write_onnx(folder / "rec.onnx", model.weights(), path)
        exported = weights.ReaderFiles(files.det, files.cls, path)
        rapid = [text for text, _, _ in Reader(exported, "v4").read_lines(crops)]
        twin = Path(scratch) / "rec_paddle"
        paddle_twin.rewrite_twin(folder / "rec_paddle", model.weights(), twin)
        try:
            read = paddle_twin.read_twin(twin, [tensor(c)[0].numpy() for c in crops[:paddle]])
        except PaddleMissing as absent:
            print(absent, file=sys.stderr)
            read = None
    return {
        "lines": len(crops),
        "unlike_stock": sum(a != b for a, b in zip(texts, stock, strict=True)),
        "rapidocr_identical": sum(a == b for a, b in zip(texts, rapid, strict=True)),
        "paddle_lines": len(read) if read is not None else None,
        "paddle_identical": (sum(a == b.text for a, b in zip(texts, read, strict=False)) if read is not None else None),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--n", type=int, default=1000, help="lines")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--paddle", type=int, default=200, help="lines that PaddlePaddle reads too")
    parser.add_argument("--domains", nargs="+", default=list(synthesis.DOMAINS), help="of learners.synthesis.line")
    parser.add_argument("--weights", type=Path, help="the weights folder (default: the user's cache)")
    parser.add_argument("--quick", action="store_true", help="100 lines, 20 through PaddlePaddle")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    given = parser.parse_args()
    n, paddle = (100, 20) if given.quick else (given.n, given.paddle)
    torch.set_num_threads(1)
    folder = weights.fetch(given.weights)
    alphabet = Alphabet(weights.characters(folder / "rec.onnx"))
    crops = draw(n, given.seed, given.domains)
    released = released_parity(folder, crops, alphabet)
    export = exported_parity(folder, crops, alphabet, given.seed, paddle)
    print("released weights, torch against onnxruntime:")
    print(
        f"  probability difference: median {released['median']:.1e}, 99th percentile {released['p99']:.1e}, "
        f"maximum {released['maximum']:.1e}\n  within {BOUND:.0e}: {released['within_bound']} of {n}; "
        f"text identical: {released['identical']} of {n}"
    )
    print(f"a candidate, which reads {export['unlike_stock']} of {n} lines unlike the released model:")
    print(f"  torch and RapidOCR: text identical {export['rapidocr_identical']} of {n}")
    print(f"  torch and PaddlePaddle: text identical {export['paddle_identical']} of {export['paddle_lines']}")
    if given.json:
        given.json.write_text(json.dumps({"released": released, "candidate": export}, indent=2))


if __name__ == "__main__":
    main()
