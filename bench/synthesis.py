"""Public documents: how fast they are drawn, and how stock PP-OCRv4 mobile reads them.

  python bench/synthesis.py             200 pages a kind, 1,000 lines a domain
  python bench/synthesis.py --quick     20 and 100

Speed is per second of CPU time of one thread, after a first pass that fills the caches of fonts and glyphs.
Exact match and character error rate count case and spaces; ends are stripped. "Labels, as labelled" cuts lines
out of thermal labels by their true quadrilaterals, "labels, as detected" reads the whole label and compares
where the detector found as many lines as there are.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from rapidfuzz.distance import Levenshtein

from learners import synthesis
from models import weights
from models.reader import Reader, crop

Pair = tuple[str, str]


def speed(draw: Callable[[int], object], count: int, seed: int) -> float:
    """Calls a CPU second."""
    for index in range(count // 4):
        draw(seed + count + index)
    start = time.process_time()
    for index in range(count):
        draw(seed + index)
    return count / (time.process_time() - start)


def score(pairs: list[Pair]) -> dict[str, float]:
    """Of pairs of what was read and what is true."""
    bare = [(read.replace(" ", ""), true.replace(" ", "")) for read, true in pairs]
    return {
        "lines": len(pairs),
        "exact": sum(read.strip() == true for read, true in pairs) / len(pairs),
        "exact_without_spaces": sum(read == true for read, true in bare) / len(pairs),
        "cer": _errors([(read.strip(), true) for read, true in pairs]),
        "cer_without_spaces": _errors(bare),
    }


def _errors(pairs: list[Pair]) -> float:
    return sum(Levenshtein.distance(read, true) for read, true in pairs) / sum(len(true) for _, true in pairs)


def read_lines(reader: Reader, domain: str, count: int, seed: int) -> list[Pair]:
    drawn = [synthesis.line(seed + index, domain) for index in range(count)]
    read = reader.read_lines([image for image, _ in drawn])
    return [(text, true) for (text, _, _), (_, true) in zip(read, drawn, strict=True)]


def read_labels(reader: Reader, count: int, seed: int) -> tuple[list[Pair], list[Pair], int]:
    """As labelled, as detected, and how many labels had all of their lines found whole."""
    labelled: list[Pair] = []
    detected: list[Pair] = []
    whole = 0
    for index in range(count):
        label = synthesis.thermal_label(seed + index)
        crops = [crop(label.image, line.quad) for line in label.lines]
        true = [line.text for line in label.lines]
        labelled += zip((text for text, _, _ in reader.read_lines(crops)), true, strict=True)
        found = reader.read(label.image)
        if len(found) == len(true):
            whole += 1
            detected += zip((line.text for line in found), true, strict=True)
        if index % 50 == 49:
            print(f"{index + 1} of {count} labels read", file=sys.stderr)
    return labelled, detected, whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pages", type=int, default=200, help="of each kind")
    parser.add_argument("--lines", type=int, default=1000, help="of each domain")
    parser.add_argument("--weights", type=Path, help="the weights folder (default: the user's cache)")
    parser.add_argument("--quick", action="store_true", help="20 pages, 100 lines")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    given = parser.parse_args()
    pages, lines = (20, 100) if given.quick else (given.pages, given.lines)

    drawn = {kind: speed(lambda s, k=kind: synthesis.generate(k, s), pages, given.seed) for kind in synthesis.KINDS}
    drawn["thermal label"] = speed(synthesis.thermal_label, pages, given.seed)
    for domain in synthesis.DOMAINS:
        drawn[f"line, {domain}"] = speed(lambda s, d=domain: synthesis.line(s, d), lines, given.seed)
    print("drawn a second, one thread:")
    for what, rate in drawn.items():
        print(f"  {what:16} {rate:7.0f}")

    reader = Reader(weights.v4_files(weights.fetch(given.weights)), "v4")
    read = {domain: score(read_lines(reader, domain, lines, given.seed)) for domain in synthesis.DOMAINS}
    labelled, detected, whole = read_labels(reader, pages, given.seed)
    read["labels, as labelled"] = score(labelled)
    if detected:
        read["labels, as detected"] = score(detected)
    print("stock PP-OCRv4 mobile:     lines   exact  without spaces    CER  without spaces")
    for what, found in read.items():
        print(
            f"  {what:20} {found['lines']:9.0f}  {found['exact']:6.1%}  {found['exact_without_spaces']:14.1%}"
            f"  {found['cer']:5.1%}  {found['cer_without_spaces']:14.1%}"
        )
    print(f"  all lines found whole on {whole} of {pages} labels")
    if given.json:
        given.json.write_text(json.dumps({"per_second": drawn, "stock": read, "whole": whole / pages}, indent=2))


if __name__ == "__main__":
    main()
