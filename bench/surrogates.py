"""Do surrogates hide what the anonymiser misses, do they hide lengths, and does a model learn from them?

    python bench/surrogates.py [--only parrot,length,learning] [--pages 30] [--names 200] [--texts 320] [--quick]
                               [--data DIR] [--seed 0] [--json FILE]

The three parts are `surrogate_parrot`, `surrogate_lengths` and `surrogate_learning`; each says there what it does.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import torch

import running
from surrogate_learning import Learning
from surrogate_lengths import lengths
from surrogate_parrot import parrot


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="parrot,length,learning")
    parser.add_argument("--data", type=Path, default=running.DATA, help="not used: every page is generated")
    parser.add_argument("--pages", type=int, default=30, help="to learn from")
    parser.add_argument("--names", type=int, default=200, help="of the length leak")
    parser.add_argument("--texts", type=int, default=320, help="pages of the parrot attack")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    found: dict[str, Any] = {}
    if "parrot" in given.only:
        found["parrot"] = parrot(240 if given.quick else given.texts, given.seed, (0.02, 0.05))
    if "length" in given.only:
        found["length"] = lengths(120 if given.quick else given.names, given.seed)
    if "learning" in given.only:
        pages = 11 if given.quick else given.pages
        found["learning"] = Learning(pages, max(6, pages // 2), given.seed).run(given.seed)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
