"""What privacy adds to a training step: seconds and memory, beside a plain step, beside Opacus and jax-privacy.

    python bench/step_cost.py [--adapters head,top,lora,norm,neck,all]
                              [--variants plain,accumulated,textbook,ours,hooks,ghost] [--width PIXELS] [--no-memory]
                              [--jax PYTHON] [--repetitions 5] [--device cpu] [--seed 0]
                              [--quick] [--json FILE]

- plain: an ordinary step over the same documents: one mean loss, one gradient, the same adapter and cache, Adam.
  In one batch, or the gradient accumulated over small ones (as many documents as ours takes at a time): the faster
  of the two is what the others are multiples of. Memory is compared with the one batch.
- textbook: the accumulated one with the field's loss: CTC in float32, labels by the letter. The others sum CTC in
  float64 and fold the cases of labels that have one alone (`learners.gradients`), plain ones too: what that costs is no
  price of privacy, but is one of this project.
- ours: one gradient a document, clipped by document, summed on the grid, noised from the operating system's
  randomness (`privacy.noise`), Adam. "private part" is clipping, summing and noise alone, of a plain step.
- hooks, ghost: Opacus' per-sample gradients (`GradSampleModule`) and ghost clipping, for weights as they are in the
  model (`neck`, `all`). Both clip by *line*, so they do less than is asked for here, and draw ordinary noise.
  Their convolutions get contiguous inputs: otherwise Opacus 1.6.0 takes a wrong gradient without a word.
- --jax: jax-privacy, run by the Python of an environment that has it, on the same cached frames of `head` (the other
  adapters need the recogniser written in JAX), beside a plain step in JAX; see step_jax.py:

    python3.11 -m venv /tmp/jax
    /tmp/jax/bin/pip install jax-privacy==2.0.0
    python bench/step_cost.py --jax /tmp/jax/bin/python

Seconds are of the processor, one thread (on a GPU: wall clock), medians of repetitions taken in turns. Memory is
each variant's own peak in a process of its own, above what that process held before its first step.
Documents are generated: lines of receipts on thermal paper, of their own widths, or all of --width.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch

import step_opacus
import step_variants
from learners.adapters import HeadAdapter
from learners.chunks import Seen, cache
from learners.gradients import gradient_blocks
from privacy.dpsgd import clip
from privacy.noise import Grid
from step_variants import ADAPTERS, CLIP, SIGMA, SIZES, Setting, Step, every_case, make_setting, prepare

VARIANTS: dict[str, Callable[[Setting], Step]] = {
    "plain": step_variants.plain,
    "accumulated": step_variants.accumulated,
    "textbook": step_variants.textbook,
    "ours": step_variants.ours,
    "private part": step_variants.private_part,
    "hooks": step_opacus.hooks,
    "ghost": step_opacus.ghost,
}
OPACUS = ("hooks", "ghost")
TARGETS = {"head": 1.1, "top": 1.1, "lora": 1.1, "norm": 1.1, "neck": 1.25, "all": 1.25}
"""What ours may cost, as a multiple of plain."""
HOOKS_TARGET = 4.0
"""How many times faster than Opacus' hooks ours must be where all parameters learn."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adapters", default=",".join(ADAPTERS))
    parser.add_argument("--variants", default="plain,accumulated,textbook,ours,private part,hooks,ghost")
    parser.add_argument("--width", type=int, help="of every line, in pixels")
    parser.add_argument("--no-memory", action="store_true", help="seconds only")
    parser.add_argument("--jax", type=Path, help="the Python of an environment with jax-privacy")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", help="not needed: every document is generated")
    parser.add_argument("--quick", action="store_true", help="an eighth of the documents, two repetitions")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)  # in a process of its own: "FILE VARIANT"
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.peak_of:
        file, variant = given.peak_of.split()
        print(_own_peak(pickle.loads(Path(file).read_bytes()), variant, given.device))
        return 0
    repetitions = 2 if given.quick else given.repetitions
    found = [measure(name, given, repetitions, 8 if given.quick else 1) for name in given.adapters.split(",")]
    table(found, given.device)
    if given.jax:
        found.append(beside_jax(given.jax, given.seed, repetitions, 8 if given.quick else 1))
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))
    return 0


def measure(name: str, given: argparse.Namespace, repetitions: int, less: int) -> dict[str, Any]:
    """Seconds of every variant in turns, then each one's peak in a process of its own."""
    documents, lines = SIZES[name]
    _say(f"{name}: {documents // less} documents of {lines} lines")
    setting, seen = prepare(name, given.seed, documents // less, lines, given.device, given.width)
    wanted = [each for each in given.variants.split(",") if each not in OPACUS or name in ("neck", "all")]
    steps = {variant: VARIANTS[variant](setting) for variant in wanted}
    found: dict[str, Any] = {"adapter": name, "parameters": setting.adapter.size}
    found |= {"documents": documents // less, "lines": sum(len(each.inputs) for each in setting.documents)}
    found |= {"width": given.width, "seconds": in_turns(steps, setting.device, repetitions), "peak_mb": {}}
    if given.no_memory:
        return found
    with tempfile.NamedTemporaryFile() as file:
        file.write(pickle.dumps((name, seen)))
        file.flush()
        shown = [variant for variant in steps if variant not in ("private part", "textbook")]
        found["peak_mb"] = {variant: _peak(file.name, variant, given.device) for variant in shown}
    return found


def in_turns(steps: dict[str, Step], device: torch.device, repetitions: int) -> dict[str, float]:
    """The median of each step's seconds."""
    seconds: dict[str, list[float]] = {variant: [] for variant in steps}
    for turn in range(repetitions + 1):
        for variant, step in steps.items():
            taken = _timed(step, device)
            if turn:  # the first warms up
                seconds[variant].append(taken)
    return {variant: statistics.median(each) for variant, each in seconds.items()}


def beside_jax(python: Path, seed: int, repetitions: int, less: int) -> dict[str, Any]:
    """The head's step here and there: the same frames, targets, weights and loss, and the same clipped mean."""
    documents, lines = SIZES["head"]
    _say(f"head, beside jax-privacy: {documents // less} documents of {lines} lines")
    setting = every_case(prepare("head", seed, documents // less, lines, "cpu")[0])
    names = ("plain", "accumulated", "ours")
    ours = in_turns({name: VARIANTS[name](setting) for name in names}, setting.device, repetitions)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "step.npz")
        np.savez(file, **_padded(setting))
        command = [str(python), str(Path(__file__).with_name("step_jax.py")), str(file), str(repetitions)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found = {"adapter": "head", "here": ours, "jax": json.loads(done.stdout.splitlines()[-1])}
    theirs, fastest = found["jax"]["seconds"], min(ours["plain"], ours["accumulated"])
    print(f"\nhead, {found['jax']['about']}; its clipped mean is ours but for {found['jax']['apart']:.1e}")
    print(f"  here: plain {fastest:.3f} s, ours {ours['ours'] / fastest:.2f} times that")
    for name, taken in theirs.items():
        print(
            f"  there: {name} {taken:.3f} s, {taken / theirs['plain']:.2f} times its plain, {taken / fastest:.2f} ours"
        )
    return found


def _padded(setting: Setting) -> dict[str, Any]:
    """Documents of lines of frames, `(documents, lines, T, width)` and what goes with it, filled up with zeros.

    `reference` is the mean of our clipped gradients at the start, without noise.
    """
    assert isinstance(setting.adapter, HeadAdapter)
    documents = setting.documents
    most = max(len(each.inputs) for each in documents)
    frames = max(len(given) for each in documents for given in each.inputs)
    length = max(len(target) for each in documents for target in each.targets)
    shape = (len(documents), most)
    inputs = np.zeros((*shape, frames, documents[0].inputs[0].shape[1]), np.float32)
    found = {"frames": np.zeros(shape, np.int32), "targets": np.zeros((*shape, length), np.int32)}
    found |= {"lengths": np.zeros(shape, np.int32), "weights": np.zeros(shape, np.float32)}
    for d, each in enumerate(documents):
        for n, (given, target) in enumerate(zip(each.inputs, each.targets, strict=True)):
            inputs[d, n, : len(given)], found["targets"][d, n, : len(target)] = given.numpy(), target
            found["frames"][d, n], found["lengths"][d, n] = len(given), len(target)
            found["weights"][d, n] = 1 / (len(target) * len(each.inputs))
    blocks, grid = list(gradient_blocks(setting.adapter, setting.theta(), documents)), Grid(CLIP)
    mean = clip(torch.cat(blocks), grid).double().mean(0) * grid.step
    numbers = {"rank": setting.adapter.rank, "classes": len(setting.adapter.charset.classes)}
    numbers |= {"clip": CLIP, "sigma": SIGMA, "rate": step_variants.RATE}
    return found | {"inputs": inputs, "reference": mean.numpy()} | numbers


# Seconds and megabytes.


def _timed(step: Step, device: torch.device) -> float:
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    begun = clock()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - begun


def _peak(file: str, variant: str, device: str) -> float:
    command = [sys.executable, __file__, "--device", device, "--peak-of", f"{file} {variant}"]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def _own_peak(given: tuple[str, list[Seen]], variant: str, device: str) -> float:
    """Megabytes that two steps add at their peak to what is held before them."""
    name, seen = given
    setting = make_setting(name, device)
    setting.documents.extend(cache(setting.adapter, seen))
    step = VARIANTS[variant](setting)
    if device.startswith("cuda"):
        before = torch.cuda.memory_allocated()
    else:
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew (proc(5))
        before = _memory("VmRSS")
    step()
    step()
    peak = torch.cuda.max_memory_allocated() if device.startswith("cuda") else _memory("VmHWM")
    return (peak - before) / 2**20


def _memory(field: str) -> int:
    """A field of /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(each.split()[1]) * 1024 for each in lines if each.startswith(field))


def table(found: Sequence[dict[str, Any]], device: str) -> None:
    where = torch.cuda.get_device_name(device) if device.startswith("cuda") else "one CPU thread"
    print(f"\n{where}; seconds a step, as a multiple of plain; peak memory a step, MB")
    names = ("parameters", "docs", "lines", "plain s", "textbook", "ours", "private part", "hooks", "ghost")
    head = " ".join(f"{name:>{width}}" for name, width in zip(names, (10, 5, 5, 8, 8, 5, 12, 6, 6), strict=True))
    print(f"{'':6} {head} | " + " ".join(f"{name:>6}" for name in ("plain", "parts", "ours", *OPACUS)))
    for each in found:
        seconds, peak = each["seconds"], each["peak_mb"]
        fastest = min(seconds[name] for name in ("plain", "accumulated") if name in seconds)
        times = {variant: value / fastest for variant, value in seconds.items()}
        forms = {"textbook": "8.2f", "ours": "5.2f", "private part": "12.1%", "hooks": "6.2f", "ghost": "6.2f"}
        shown = " ".join(_cell(times, name, form) for name, form in forms.items())
        memory = " ".join(_cell(peak, name, "6.0f") for name in ("plain", "accumulated", "ours", *OPACUS))
        print(
            f"{each['adapter']:6} {each['parameters']:10,} {each['documents']:5} {each['lines']:5} {fastest:8.3f} "
            f"{shown} | {memory}"
        )
        for target, holds in targets(each["adapter"], times, peak).items():
            print(f"       {'holds' if holds else 'FAILS'}: {target}")


def targets(name: str, times: dict[str, float], peak: dict[str, float]) -> dict[str, bool]:
    found = {f"ours <= {TARGETS[name]} plain": times["ours"] <= TARGETS[name]}
    if "plain" in peak and "ours" in peak:
        found["peak memory <= plain, all documents at once"] = peak["ours"] <= peak["plain"]
    if "private part" in times:
        found["clipping, summing and noise <= 10% of plain"] = times["private part"] <= 0.1
    if "hooks" in times and name == "all":
        found[f">= {HOOKS_TARGET:g} times faster than hooks"] = times["hooks"] >= HOOKS_TARGET * times["ours"]
    return found


def _cell(values: dict[str, float], key: str, form: str) -> str:
    return f"{values[key]:{form}}" if key in values else "-".rjust(int(form.partition(".")[0]))


def _say(text: str) -> None:
    print(f"... {text}", flush=True)


if __name__ == "__main__":
    warnings.filterwarnings("ignore", "Full backward hook is firing")  # Opacus' hooks
    raise SystemExit(main())
