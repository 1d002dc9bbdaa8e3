"""The same private round on one process and on several: the same weights, the same noise, and how long a step takes.

    python bench/distributed.py [--processes 2] [--documents 120] [--seed 1] [--quick] [--json FILE]
    torchrun --nproc-per-node 2 bench/distributed.py --json FILE

The first form starts the second, for one process and for several. Every process makes and holds the documents of its
own slots only. Noise is seeded here, so that rounds can be compared: their weights must agree to the last bit on all
processes. The noise alone is measured over a million numbers. Needs the released weights, no other data.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from learners import finetune
from learners import plan as planning
from learners.catalogue import Looks
from learners.distributed import Team
from learners.lines import TrainDocument, document
from learners.plan import Plan
from learners.public import public_documents
from learners.settings import Settings
from learners.survey import survey
from learners.synthesis import line
from models import recogniser, weights
from models.ctc import Alphabet
from privacy.coins import Coins
from privacy.dpsgd import private_gradient
from privacy.noise import Debit, NoiseSource

NUMBERS, SIGMA, LINES = 1_000_000, 3.0, 4
PUBLIC = 10_000_000
"""The first seed of the public documents."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--documents", type=int, default=120)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", help="not needed: every document is generated")
    parser.add_argument("--quick", action="store_true", help="24 documents")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    documents = 24 if given.quick else given.documents
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return one_of_several(given.seed, documents, given.json)
    found = {size: started(size, given.seed, documents) for size in (1, given.processes)}
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))
    return table(found)


def one_of_several(seed: int, documents: int, folder: Path | None) -> int:
    """What torchrun starts: the round, the noise, and a line of JSON for each process."""
    torch.set_num_threads(1)
    with Team.from_environment() as team:
        row = {"rank": team.rank, "device": team.device, **fitted(team, seed, documents), **noise_alone(team)}
    text = json.dumps(row)
    print(text, flush=True)
    if folder:
        (folder / f"{team.rank}.json").write_text(text)
    return 0


def fitted(team: Team, seed: int, documents: int) -> dict[str, Any]:
    model = recogniser.load(weights.fetch() / "rec.onnx").to(team.device)
    alphabet = Alphabet(weights.characters(weights.fetch() / "rec.onnx"))
    public, settings = Looks(model, public_documents(PUBLIC)), Settings(capacity=documents, adapter="head")
    [surveyed] = survey(settings, alphabet, public)
    plan = planning.planned(settings, surveyed, documents)
    moments: list[float] = []
    candidate = finetune.fit(
        model,
        {slot: taught(seed, slot) for slot in team.share(range(documents))},
        range(documents),
        plan,
        surveyed.adapter,
        source(team, plan),
        lambda step, steps: moments.append(time.perf_counter()),
        public,
        team,
    )
    digest = hashlib.sha256(b"".join(candidate[name].tobytes() for name in sorted(candidate)))
    seconds = (moments[-1] - moments[0]) / (len(moments) - 1)
    return {"weights": digest.hexdigest(), "seconds_a_step": seconds, "epsilon": plan.epsilon_round}


def taught(seed: int, slot: int) -> TrainDocument:
    first = LINES * (seed * 100_000 + slot)
    made = document(slot, [line(first + k, "thermal") for k in range(LINES)])
    if made is None:
        raise ValueError(f"Expected lines to learn from, got none for slot {slot}.")
    return made


def source(team: Team, plan: Plan) -> NoiseSource | Coins:
    """Seeded on the first process; the others never have a seed."""
    debit = Debit.for_tests(plan.noise_multiplier, plan.steps, plan.sample_rate)
    return NoiseSource(debit, seed=bytes(32)) if team.rank == 0 else team.source(debit)


def noise_alone(team: Team) -> dict[str, float]:
    """The noise of an empty step over that of the theory, and its seconds: drawn, and told to all."""
    begun = time.perf_counter()
    found = private_gradient(
        (),
        size=NUMBERS,
        max_grad_norm=1.0,
        noise_multiplier=SIGMA,
        expected_documents=1.0,
        noise=team.source(Debit.for_tests(SIGMA)),
        once=team.once,
    )
    return {"noise_ratio": float(found.std()) / SIGMA, "noise_seconds": time.perf_counter() - begun}


def started(size: int, seed: int, documents: int) -> list[dict[str, Any]]:
    print(f"... {size} process{'es' if size > 1 else ''}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={size}"]
        work = [__file__, f"--seed={seed}", f"--documents={documents}", f"--json={folder}"]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        subprocess.run([*launcher, *work], check=True, stdout=subprocess.DEVNULL, env=environment)
        return [json.loads((Path(folder) / f"{rank}.json").read_text()) for rank in range(size)]


def table(found: dict[int, list[dict[str, Any]]]) -> int:
    """Fails where any process of any round ended with other weights."""
    print(f"\n{'processes':>9} {'weights':>10} {'epsilon':>8} {'s a step':>9} {'noise / theory':>15} {'s for 1e6':>10}")
    for size, rows in found.items():
        first = rows[0]
        print(
            f"{size:9} {first['weights'][:10]} {first['epsilon']:8.4f} {first['seconds_a_step']:9.3f} "
            f"{first['noise_ratio']:15.4f} {first['noise_seconds']:10.2f}"
        )
    same = len({row["weights"] for rows in found.values() for row in rows}) == 1
    print(f"all processes of all rounds have {'the same weights, bit for bit' if same else 'NOT the same weights'}")
    return 0 if same else 1


if __name__ == "__main__":
    raise SystemExit(main())
