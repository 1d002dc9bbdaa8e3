"""What exact noise and lifetime accounting cost, on one thread.

    python bench/noise.py [--seed 1] [--quick] [--json FILE]

Noise: the discrete Gaussian of `privacy.noise`, from ChaCha20 to int64 grid steps, against torch.randn (which is
neither exact nor cryptographic) and against sums of four Box-Muller normals from ChaCha20, which it replaced. Best
of several runs, in seconds of processor time. Accounting: one figure each, computed for the first time; how far they
are above the exact ones (exact_epsilon.py); then an odometer over 1,000 rounds and 100,000 slots, its first answer to
each question. Last, what correlating the noise of the steps of a full-batch round could gain (a matrix factorisation,
arXiv 2211.06530). Needs no data.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from exact_epsilon import exact_epsilon
from privacy import accountant, claim
from privacy.accountant import RoundEvent
from privacy.noise import Debit, Grid, NoiseSource, _Stream
from privacy.odometer import Odometer, ranges

DELTA, CAP = 1e-6, 8.0
SIZES = (10_000, 2_600_000)
ROUNDS, SLOTS = 1000, 100_000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", help="not needed")
    parser.add_argument("--quick", action="store_true", help="fewer runs")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = {
        "noise": [noise(size, given.seed, 3 if given.quick else 9) for size in SIZES],
        "accountant": figures(),
        "agreement": agreement(),
        "odometer": [odometer(name) for name in SCHEDULES],
        "correlated": correlated(500 if given.quick else 4000),
    }
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))
    return 0


def noise(size: int, seed: int, runs: int) -> dict[str, Any]:
    """Seconds for `size` numbers, and for as many coins."""
    key = seed.to_bytes(32, "big")
    source, stream = NoiseSource(Debit.for_tests(), seed=key), _Stream(key)
    total, grid = np.zeros(size, np.int64), Grid(0.2)
    generator = torch.Generator().manual_seed(seed)
    ways: dict[str, Callable[[], object]] = {
        "discrete Gaussian": lambda: source.add_to(total, grid, 13.06),
        "four Box-Muller": lambda: four_normals(stream, size),
        "torch.randn": lambda: torch.randn(size, generator=generator),
        "Poisson coins": lambda: source.poisson(size, 0.25),
    }
    seconds = {name: min(_seconds(way) for _ in range(runs)) for name, way in ways.items()}
    print(f"\n{size:,} numbers{'':12} seconds  numbers/s  x torch.randn")
    for name, taken in seconds.items():
        print(f"  {name:25} {taken:9.5f} {size / taken:10.2e} {taken / seconds['torch.randn']:10.1f}")
    return {"size": size, "seconds": seconds}


def four_normals(stream: _Stream, size: int, chunk: int = 1 << 16) -> np.ndarray[Any, Any]:
    """What was drawn before: sums of four normals (Holohan and Braghin, arXiv 2107.10138), rounded to the grid."""
    parts = []
    for start in range(0, size, chunk):
        count = min(chunk, size - start)
        uniform = ((stream.words(4 * count) >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
        radius, angle = uniform.reshape(2, 2, count)
        radius, angle = np.sqrt(-2.0 * np.log(radius)), 2.0 * np.pi * angle
        parts.append((radius * (np.cos(angle) + np.sin(angle))).sum(axis=0) / 2.0)
    return np.rint(np.concatenate(parts) * 13.06 * 2.0**23).astype(np.int64)


FULL, TICKET = RoundEvent(1.0, 13.06, 100), RoundEvent(0.25, 3.388, 100)


def figures() -> dict[str, float]:
    """Seconds for each figure that a round needs, the first time."""
    accountant.epsilon([RoundEvent(0.5, 9.0, 1)], DELTA)  # loads dp-accounting
    accountant.epsilon_second_opinion([RoundEvent(0.5, 9.0, 1)], DELTA)
    questions: dict[str, Callable[[], float | None]] = {
        "epsilon, 4 full-batch rounds": lambda: accountant.epsilon([FULL] * 4, DELTA),
        "epsilon, 4 sampled rounds": lambda: accountant.epsilon([TICKET] * 4, DELTA),
        "second opinion on it": lambda: accountant.epsilon_second_opinion([TICKET] * 4, DELTA),
        "epsilon of 10 documents, full batch": lambda: accountant.group_epsilon([FULL] * 4, DELTA, 10),
        "epsilon of 10 documents, sampled": lambda: accountant.group_epsilon([TICKET] * 4, DELTA, 10),
        "calibration, full batch": lambda: accountant.calibrate(1.0, 100, 4, CAP, DELTA),
        "calibration, sampled": lambda: accountant.calibrate(0.25, 100, 4, CAP, DELTA),
    }
    print(f"\naccountant at delta {DELTA}{'':16} answer  seconds")
    found = {}
    for name, question in questions.items():
        begun = time.process_time()
        answer = question()
        found[name] = time.process_time() - begun
        print(f"  {name:37} {answer or math.nan:8.3f} {found[name]:8.4f}")
    return found


def agreement() -> dict[str, float]:
    """Epsilon less the exact one, over schedules, and Opacus's less the exact one: least and greatest, in nats."""
    events = [
        RoundEvent(rate, sigma, steps)
        for rate in (0.01, 0.1, 0.25, 0.6, 1.0)
        for sigma, steps in ((1.5, 10), (3.4, 100), (13.06, 100), (20.0, 1000))
    ]
    exact = np.array([exact_epsilon([event], DELTA) for event in events])
    ours = np.array([accountant.epsilon([event], DELTA) for event in events]) - exact
    opacus = np.array([accountant.epsilon_second_opinion([event], DELTA) or math.nan for event in events]) - exact
    found = {"schedules": len(events), "least": float(ours.min()), "greatest": float(ours.max())}
    found |= {"share": float((ours / exact).max())}
    found |= {"opacus_least": float(opacus.min()), "opacus_greatest": float(opacus.max())}
    print(f"\nless the exact epsilon, {len(events)} schedules of {exact.min():.2f} to {exact.max():.1f}:")
    print("  ours {least:+.6f} to {greatest:+.6f}, at most {share:.2%} of it".format(**found))
    print("  Opacus's {opacus_least:+.6f} to {opacus_greatest:+.6f}".format(**found))
    return found


KINDS = 20
"""Capacities of a pool that changes: 50 rounds of each, the same lifetime epsilon for the slots of each."""


@cache
def kind(number: int) -> RoundEvent:
    rate = 0.02 + 0.025 * number
    return RoundEvent(rate, accountant.calibrate(rate, 50, 4, CAP, DELTA), 50)


SCHEDULES: dict[str, Callable[[int], RoundEvent]] = {
    "full batch, all different": lambda number: RoundEvent(1.0, 13.06 + number, 100),
    "tickets, all equal": lambda number: TICKET,
    "sampled, all different": lambda number: RoundEvent(0.25, 3.388 + number / 100, 100),
    "sampled and full batch": lambda number: (TICKET, FULL)[number % 2],
    f"tickets, {KINDS} kinds": lambda number: kind(number * KINDS // ROUNDS % KINDS),
}


def odometer(schedule: str) -> dict[str, Any]:
    """Seconds for the first answer to each question; every slot but each tenth was in about four rounds."""
    event, asked = SCHEDULES[schedule], Odometer(CAP, DELTA)
    events = [event(number) for number in range(ROUNDS)]
    block = SLOTS // KINDS if schedule.endswith("kinds") else SLOTS  # no slot is in two kinds of tickets
    begun = time.process_time()
    for number in range(ROUNDS):
        first = SLOTS // ROUNDS * number
        after = min(first + 400, first // block * block + block)
        asked.charge([events[number]], ranges(slot for slot in range(first, after) if slot % 10))
    charged = time.process_time() - begun
    questions: dict[str, Callable[[], object]] = {
        "worst": asked.worst,
        "worst ten together": lambda: claim.group_figure(asked.extremes(), DELTA),
        "one slot": lambda: asked.epsilon_of(SLOTS // 2 + 1),
        "another round for all": lambda: asked.would_exceed([event(ROUNDS)], [[0, SLOTS]]),
        "who is past the cap": lambda: asked.over([], [[0, SLOTS]]),
        "who of the last 2,000": lambda: asked.over([event(ROUNDS)], [[SLOTS - 2000, SLOTS]]),
    }
    seconds = {}
    for name, question in questions.items():
        accountant._epsilon.cache_clear()
        accountant._group_epsilon.cache_clear()
        seconds[name] = _seconds(question)
    print(f"\nodometer, {ROUNDS:,} rounds, {SLOTS:,} slots: {schedule}; worst {asked.worst():.3f}")
    print("  " + ", ".join(f"{name} {taken:.3f} s" for name, taken in seconds.items()) + f"; charging {charged:.1f} s")
    return {"schedule": schedule, "seconds": seconds, "charging": charged}


def correlated(rounds: int, steps: int = 50) -> dict[str, float]:
    """The least error of a release at a given mu, as a share of independent, equal noise's: correlated, and not.

    Every unit takes part in every step, so noise C^-1 z costs the root of the sum of |C^T C|. Two releases: all
    iterates of plain gradient descent (prefix sums of the gradients), and the mean of the last two fifths.
    """
    sums = torch.tril(torch.ones(steps, steps, dtype=torch.float64))
    found = {}
    print(f"\nerror at equal mu, {steps} full-batch steps{'':9} correlated  independent, best step by step")
    for name, release in {
        "all iterates": sums,
        "mean of the last": sums[3 * steps // 5 :].mean(0, keepdim=True),
    }.items():
        equal = release.square().sum() * steps
        alone = release.square().sum(0).sqrt().sum().square()
        found[name] = math.sqrt(float(_factorised(release, rounds) / equal))
        found[f"{name}, independent"] = math.sqrt(float(alone / equal))
        print(f"  {name:40} {found[name]:8.3f} {found[f'{name}, independent']:12.3f}")
    return found


def _factorised(release: torch.Tensor, rounds: int) -> torch.Tensor:
    """Squared error times squared sensitivity of the best lower triangular C that Adam finds."""
    steps = release.shape[1]
    factor = torch.eye(steps, dtype=torch.float64).requires_grad_()
    optimiser = torch.optim.Adam([factor], lr=0.02)
    for _ in range(rounds):
        lower = factor.tril()
        error = torch.linalg.solve(lower.T, release.T).square().sum() * (lower.T @ lower).abs().sum()
        optimiser.zero_grad()
        error.log().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return error.detach()


def _seconds(what: Callable[[], object]) -> float:
    begun = time.process_time()
    what()
    return time.process_time() - begun


if __name__ == "__main__":
    raise SystemExit(main())
