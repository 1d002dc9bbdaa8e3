"""One whole round on a device: how fast documents are looked at and learned from, and what bfloat16 does to it.

    python bench/whole_round.py [--documents 20000] [--epsilon 8] [--tests 300] [--device auto] [--peak TFLOPS]
                                [--precisions float32,bfloat16] [--seed 5] [--quick] [--json FILE]

The labels, plan and tests of `curve.py`, adapter `head`. First the documents are generated, by all of the machine's
processors, and looked at, once; then a round learns from them in each precision: seconds, documents a second (as many
gradients were taken), lines read exactly on labels that never train, and with --peak, the tera floating-point
operations a second that the device can do, the share of it that matrix products and convolutions reached. Seconds are
the wall clock's, so on a busy processor they say little. Needs the released weights, no other data.
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch.utils.flop_counter import FlopCounterMode

from curve import Curve
from learners import device, evaluate
from learners.chunks import CHUNK, collate
from learners.gradients import document_gradients
from precision import Precise

Result = TypeVar("Result")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--epsilon", type=float, default=8.0)
    parser.add_argument("--tests", type=int, default=300, help="labels that never train")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--peak", type=float, help="tera floating-point operations a second that the device can do")
    parser.add_argument("--precisions", type=lambda text: text.split(","), default=["float32", "bfloat16"])
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--data", help="not needed: every document is generated")
    parser.add_argument("--quick", action="store_true", help="100 documents, 30 tests")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if unknown := set(given.precisions) - {"float32", "bfloat16"}:
        parser.error(f"expected precisions float32, bfloat16, got {', '.join(sorted(unknown))}")
    if given.quick:
        given.documents, given.tests = 100, 30
    on = device.chosen(given.device)
    named = torch.cuda.get_device_name(on) if on.type == "cuda" else f"processor, {torch.get_num_threads()} threads"
    curve = Curve(given.seed * 1_000_000, given.tests, on)
    with multiprocessing.get_context("spawn").Pool() as processes:
        made, _ = seconds(on, lambda: curve.generate(given.documents, functools.partial(processes.map, chunksize=50)))
    looked, _ = seconds(on, curve.look)
    plan = curve.plan(given.documents, given.epsilon)
    batch = collate(curve.pool[:CHUNK])
    with FlopCounterMode(display=False) as counter:
        document_gradients(curve.adapter, torch.zeros(curve.adapter.size, device=on), batch)
    operations = counter.get_total_flops() / CHUNK
    found: dict[str, object] = {"device": named, "documents": given.documents, "seed": given.seed, "steps": plan.steps}
    found |= {"made": made, "looked": looked, "operations": operations}
    print(f"{named}; {given.documents:,} documents, generated in {made:.0f} s, looked at in {looked:.1f} s")
    print(
        f"{plan.steps} steps at sample rate {plan.sample_rate:g}, {operations / 1e6:.0f} million operations a gradient"
    )
    for name in given.precisions:
        adapter = Precise(curve.adapter, bfloat16=name == "bfloat16")
        taken, theta = seconds(on, functools.partial(curve.learned, plan, adapter))
        rate = plan.steps * plan.expected_documents / taken
        rates = evaluate.total(curve.scores(theta)).rates
        row = {"seconds": taken, "documents_a_second": rate, "exact": rates["exact_folded"], "cer": rates["cer"]}
        share = ""
        if given.peak:
            row["share"] = operations * rate / (given.peak * 1e12)
            share = f", {100 * row['share']:.2g}% of the device's best"
        print(
            f"{name:9} {taken:.1f} s, {rate:,.0f} documents a second{share}; exact {100 * row['exact']:.1f}, "
            f"CER {100 * row['cer']:.2f}",
            flush=True,
        )
        found[name] = row
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))
    return 0


def seconds(on: torch.device, work: Callable[[], Result]) -> tuple[float, Result]:
    """Of the wall clock, until the device has done what it was asked; and what came of it."""
    begun = time.perf_counter()
    result = work()
    if on.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun, result


if __name__ == "__main__":
    raise SystemExit(main())
