"""What public documents agree on at the released model, for every adapter, charset and form of it.

    python bench/signals.py [--quick] [--record] [--seed 0] [--json FILE]

A plan compares this with a round's noise (learners/plan.py). It measures the adapters that it may take; of the others
it tells what is recorded here: `--record` leaves it in learners/signals.json. In shares of the clip: 1 if all
documents' clipped gradients were one. Takes half an hour of one processor. Needs the released weights, no other data.
What --quick records, of 20 documents, the tests measure again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from daemon.evidence import FIRST_PLANNING_SEED
from learners import signals
from learners.adapters import CHARSETS
from learners.catalogue import PUBLIC_DOCUMENTS, Looks
from learners.public import public_documents
from learners.recipes import RECIPES
from learners.settings import Settings
from learners.survey import agreement, built
from models import recogniser, weights
from models.ctc import Alphabet


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="20 documents, ASCII")
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--seed", type=int, default=0, help="documents of another seed than a plan's own")
    parser.add_argument("--data", help="not needed: every document is generated")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.record and given.seed:
        parser.error("expected a plan's own documents with --record, got another --seed")
    torch.set_num_threads(1)
    released = weights.fetch() / "rec.onnx"
    alphabet, model = Alphabet(weights.characters(released)), recogniser.load(released)
    count = signals.SAMPLE if given.quick else PUBLIC_DOCUMENTS
    documents = public_documents(FIRST_PLANNING_SEED + given.seed * 1_000_000, count)
    public, found = Looks(model, documents), dict[str, dict[str, float]]()
    print(f"{count} documents\n{'':16}" + "".join(f"{name:>8}" for name in RECIPES))
    for charset in ("ascii",) if given.quick else CHARSETS:
        for closed in (False,) if given.quick else (False, True):
            settings = Settings(charset=charset, closed=closed)
            row = found.setdefault(signals.key(charset, closed, settings.rank), {})
            print(f"{next(reversed(found)):16}", end="", flush=True)
            for name, recipe in RECIPES.items():
                adapter = built(settings, alphabet, name, public)
                row[name] = agreement(adapter, public.at(adapter.depth), recipe.max_grad_norm)
                print(f"{row[name] / recipe.max_grad_norm:8.3f}", end="", flush=True)
            print()
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))
    if given.record:
        signals.record(model, documents, found)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
