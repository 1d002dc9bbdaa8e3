"""What an attacker learns from audit runs, against what is claimed: the learner's own rounds, full of canaries.

    python bench/audit.py [--canaries 1000] [--seed 1] [--quick] [--json FILE] [--record]

Every row is a run of its own, of the parameters, clip and steps of the real head adapter: canaries in or out by
fair coins, the claimed noise from the system's generator, and the attacker sees each noisy gradient. Two lower
bounds on epsilon at 95% confidence: of any mechanism (Steinke et al. 2023), and of one that claims to be Gaussian
(Mahloujifar et al. 2024), as full batches do. "Expected" is the middle nine tenths of the second bound over simulated
scores of a mechanism that is exactly as noisy as it was told to be. The controls were told to be less noisy than
they claim, and must be flagged; the last one shows the most that so many canaries can prove. `--record` leaves the
lifetime's row for the privacy claims (daemon/audit.json). Needs the released weights (for the adapter's size), no
other data.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from daemon import audited
from learners import plan as planning
from learners.adapters import Charset, HeadAdapter
from learners.audit import audit_plan, canary_scores
from learners.plan import Plan
from learners.settings import Settings
from learners.survey import Surveyed
from models import recogniser, weights
from models.ctc import Alphabet
from privacy import accountant
from privacy.audit import audit
from privacy.discrete_gaussian import Integers
from privacy.noise import Debit, Grid, NoiseSource

SIMULATED = 100


@dataclass(frozen=True)
class Row:
    name: str
    epsilon: float
    rounds: int = 1
    capacity: int = 256
    noise: float = 1.0
    """Share of the claimed noise that is drawn: below 1, the claim is wrong and must be found so."""


ROWS = (
    Row("one round", 1.0),
    Row("one round", 3.0),
    Row("one round", 8.0),
    Row("a lifetime of four rounds", 8.0, rounds=4),
    Row("one round, sampled at 1/4", 8.0, capacity=4000),
    Row("control: a quarter of the noise", 8.0, noise=0.25),
    Row("control: no noise", 8.0, noise=0.0),
)


class Silent(NoiseSource):
    """Everything is as it is, and no noise is added."""

    def add_to(self, total: Integers, grid: Grid, noise_multiplier: float) -> Integers:
        return total


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--canaries", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1, help="of the coins; noise is never seeded")
    parser.add_argument("--data", help="not needed: canaries are no documents")
    parser.add_argument("--quick", action="store_true", help="five steps a round")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--record", action="store_true", help="for the claims of the code as it is")
    given = parser.parse_args()
    if given.record and given.quick:
        parser.error("expected a whole audit to record, got --quick")
    torch.set_num_threads(1)
    adapter = _head(weights.fetch())
    print(f"{given.canaries} canaries, {adapter.size} parameters, confidence 95%")
    print(" " * 33 + "claim    any  Gaussian       expected  right / guessed  steps     s")
    found = []
    for row in ROWS:
        found.append(_run(row, adapter, given.canaries, given.seed, 5 if given.quick else None))
        _print(found[-1])
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))
    sound = all((each["bound"] <= each["claim"]) == (each["noise"] == 1.0) for each in found)
    if given.record and sound:
        audited.PATH.write_text(json.dumps(_recorded(found, given.canaries), indent=1) + "\n")
    print("every claim stands and every control is flagged" if sound else "NOT as it must be: see above")
    return 0 if sound else 1


def _recorded(found: list[dict[str, Any]], canaries: int) -> dict[str, Any]:
    lifetime = next(each for each in found if each["name"] == ROWS[3].name)
    kept = ("claim", "bound", "epsilon", "gaussian_epsilon", "confidence", "delta", "guessed", "right")
    return {
        "run": "an audit run of this release, of a lifetime of four rounds; not this round",
        "canaries": canaries,
        **{name: lifetime[name] for name in kept},
        "control_without_noise": found[-1]["bound"],
        "code": audited.code_digest(),
    }


def _head(folder: Path) -> HeadAdapter:
    alphabet = Alphabet(weights.characters(folder / "rec.onnx"))
    settings = Settings()
    charset = Charset.of(settings.characters, alphabet)
    return HeadAdapter(recogniser.load(folder / "rec.onnx"), charset, torch.eye(120)[:, : settings.rank])


def _run(row: Row, adapter: HeadAdapter, canaries: int, seed: int, steps: int | None) -> dict[str, Any]:
    begun = time.perf_counter()
    plan = _planned(row, adapter, canaries, steps)
    inside = np.random.default_rng(seed).random(canaries) < 0.5
    debit = Debit.for_tests(plan.noise_multiplier, plan.steps, plan.sample_rate)
    sources = [(NoiseSource if row.noise else Silent)(debit) for _ in range(row.rounds)]
    full = plan.sample_rate == 1.0
    mu = math.sqrt(plan.steps * row.rounds) / plan.noise_multiplier
    result = audit(canary_scores(plan, inside, sources), inside, plan.delta, gaussian=full)
    return {
        "name": row.name,
        "claim": row.epsilon,
        "noise": row.noise,
        "bound": result.bound,
        "steps": plan.steps * row.rounds,
        "noise_multiplier": plan.noise_multiplier,
        "expected": _expected(mu, canaries) if full and row.noise else None,
        "seconds": time.perf_counter() - begun,
        **result.to_body(),
    }


def _expected(mu: float, canaries: int) -> tuple[float, float]:
    found = []
    for seed in range(SIMULATED):
        random = np.random.default_rng(seed)
        inside = random.random(canaries) < 0.5
        scores = mu * (inside - 0.5) + random.standard_normal(canaries)
        found.append(audit(scores, inside, Settings().delta, gaussian=True).gaussian_epsilon or 0.0)
    low, high = np.quantile(found, [0.05, 0.95])
    return float(low), float(high)


def _planned(row: Row, adapter: HeadAdapter, canaries: int, steps: int | None) -> Plan:
    """As the daemon plans it; the row's epsilon is the whole lifetime's."""
    settings = Settings(capacity=row.capacity, epsilon_lifetime=row.epsilon, rounds_per_document=row.rounds)
    plan = planning.planned(settings, Surveyed.of(adapter, 1.0), row.capacity)
    steps = steps or plan.steps
    sigma = accountant.calibrate(plan.sample_rate, steps, row.rounds, row.epsilon, plan.delta)
    return audit_plan(replace(plan, steps=steps, noise_multiplier=sigma * (row.noise or 1.0)), canaries)


def _print(row: dict[str, Any]) -> None:
    gaussian = f"{row['gaussian_epsilon']:.2f}" if "gaussian_epsilon" in row else "-"
    expected = "{:.2f} .. {:.2f}".format(*row["expected"]) if row["expected"] else "-"
    print(
        f"{row['name']:31} {row['claim']:6.1f} {row['epsilon']:6.2f} {gaussian:>9} {expected:>14} "
        f"{row['right']:>8} / {row['guessed']:<5} {row['steps']:6} {row['seconds']:5.0f}",
        flush=True,
    )


if __name__ == "__main__":
    raise SystemExit(main())
