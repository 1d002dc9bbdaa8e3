"""What a round's process holds of each of its documents, and what it takes besides.

    python bench/round_memory.py [--documents 192] [--lines 16] [--width 400] [--quick] [--json FILE]

One step over documents of lines of one width, all noise, out of a memory file, in a process of its own: what it takes
at the most from its first document on, less that with half of them, is what the others took. Beside it rounds over
the same documents unpacked beforehand, and what the lines' pixels and the adapter's frames are by calculation. The file
itself is beside all of these (it is the kernel's). "At the most" is the whole process's peak with the half: what
`learners.plan.BESIDES` must cover. Needs the released weights, no other data.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from daemon import opening, wire
from daemon.round import Units
from learners import catalogue, finetune
from learners import plan as planning
from learners.adapters import Charset
from learners.catalogue import PUBLIC_DOCUMENTS, Looks
from learners.lines import HEIGHT, MAX_WIDTH, TrainDocument, TrainLine, pack
from learners.public import public_documents
from learners.settings import Settings
from learners.survey import Surveyed, built
from models import recogniser, weights
from models.ctc import Alphabet
from privacy.noise import Debit, NoiseSource

MB = 2**20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=192)
    parser.add_argument("--lines", type=int, default=16, help="of each document")
    parser.add_argument("--width", type=int, default=400, help="of each line, in pixels")
    parser.add_argument("--quick", action="store_true", help="16 documents, 30 public ones: too few for a figure")
    parser.add_argument("--data", help="not needed: every document is noise")
    parser.add_argument("--seed", type=int, default=0, help="not needed")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    given = parser.parse_args()
    public = 30 if given.quick else PUBLIC_DOCUMENTS
    if given.peak_of:
        adapter, at_once = given.peak_of.split("-")
        print(*taken(adapter, bool(at_once), given.documents, given.lines, given.width, public))
        return 0
    documents = 16 if given.quick else given.documents
    few = documents // 2  # beyond those that share a pass: with fewer a pass itself takes less
    pixels = given.lines * given.width * HEIGHT * 3 / MB
    print(f"{documents} documents of {given.lines} lines of {given.width} pixels: {pixels:.2f} MB a document of pixels")
    print(f"{'adapter':8} {'documents':>22} {'MB a document':>14} {'of it frames':>13} {'at the most, MB':>16}")
    rows = []
    for adapter in ("head", "neck"):
        for at_once in ("", "at once"):
            what = f"{adapter}-{at_once}"
            few_took, most = child(what, few, given.lines, given.width, given.quick)
            took, _ = child(what, documents, given.lines, given.width, given.quick)
            each = (took - few_took) / (documents - few) / MB
            frames = given.lines * frames_of(adapter) * given.width / MAX_WIDTH / MB
            rows.append({"adapter": adapter, "at_once": bool(at_once), "each": each, "frames": frames, "most": most})
            how = "unpacked beforehand" if at_once else "as they are needed"
            print(f"{adapter:8} {how:>22} {each:14.2f} {frames:13.2f} {most / MB:16.0f}", flush=True)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))
    return 0


def frames_of(adapter: str) -> int:
    """Bytes that the adapter remembers of the widest line."""
    model, alphabet = released()
    made = catalogue.outline(adapter, Charset.of(Settings().characters, alphabet), 64, model)
    wide = model.frozen(torch.zeros(1, 3, HEIGHT, MAX_WIDTH), made.depth)
    said = made.inputs(wide)
    return said.numel() * said.element_size()


def released() -> tuple[recogniser.Recogniser, Alphabet]:
    folder = weights.fetch()
    return recogniser.load(folder / "rec.onnx"), Alphabet(weights.characters(folder / "rec.onnx"))


def child(what: str, documents: int, lines: int, width: int, quick: bool) -> tuple[int, int]:
    numbers = ["--documents", str(documents), "--lines", str(lines), "--width", str(width)]
    command = [sys.executable, __file__, "--peak-of", what, *numbers, *(["--quick"] if quick else [])]
    took, most = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    return int(took), int(most)


def taken(name: str, at_once: bool, documents: int, lines: int, width: int, public: int) -> tuple[int, int]:
    """Bytes at the most while documents are looked at and a step is taken, above what was there; and ever."""
    torch.set_num_threads(1)
    model, alphabet = released()
    settings = Settings(capacity=documents, adapter=name)
    looks = Looks(model, public_documents(1, public))
    adapter = built(settings, alphabet, name, looks)
    looks.at(adapter.depth)
    plan = replace(planning.planned(settings, Surveyed.of(adapter, 1.0), documents), steps=1)
    noise = NoiseSource(Debit.for_tests(plan.noise_multiplier, plan.steps, plan.sample_rate))
    units = Units(sent(documents, lines, width), "train", 0)
    ctypes.CDLL(None).malloc_trim(0)  # what is free in the process would hide what is taken next
    before, now = resident(), list[int]()
    taught = {each.slot: each for each in filter(None, map(units.get, units.keys()))} if at_once else units
    finetune.fit(
        model, taught, range(documents), plan, adapter, noise, public=looks, alive=lambda: now.append(resident())
    )
    return max(now) - before, 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def resident() -> int:
    return resource.getpagesize() * int(Path("/proc/self/statm").read_text().split()[1])


def sent(documents: int, lines: int, width: int) -> wire.Message:
    """As the service sends a pool."""
    draws, index = np.random.default_rng(0), list[tuple[int, int, int]]()

    def packed() -> Iterator[tuple[int, bytes]]:
        for unit in range(documents):
            images = draws.integers(0, 256, (lines, HEIGHT, width, 3), np.uint8)
            yield unit, pack(TrainDocument(unit, tuple(TrainLine(image, "a line") for image in images)))

    file = wire.memfd_of(opening.indexed(packed(), index))
    return wire.Message({"train": index}, [file])


if __name__ == "__main__":
    raise SystemExit(main())
