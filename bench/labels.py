"""The daemon over thousands of labels: the start is offered, "auto" plans a private round, and who reads 300 others.

    python bench/labels.py [--documents 2750] [--held-back 300] [--epsilon 8] [--start FILE] [--seed 5] [--quick]
                           [--home DIR] [--json FILE]

Generated thermal labels with their sidecars go through the real daemon, a fifth of them to the hold-out. Settings are
the default ones but for the pool's capacity, one round a document, and ASCII alone, closed. A first round offers the
public start, a second one is private: with some 2,200 labels to learn from "auto" takes `neck`. Labels that were not
dropped, the ones of `bench/curve.py`, are then read by each version, cut out by their true boxes. Told are also the
processor time of the whole service, and the peak of its largest process, as a rule that of the private round. Takes
some two hours; making the start an hour or two more, unless --start names a file that a service here left in its
weights folder.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import cv2

import corpora
import running
import versions
from daemon.config import load
from learners import sidecars, synthesis

SETTINGS = (
    running.INGEST
    + """\
[learning]
capacity = {capacity}
charset = "ascii"
closed = true
epsilon = {epsilon}
rounds_per_document = 1
"""
)
TESTED = 800_000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=2750)
    parser.add_argument("--held-back", type=int, default=300)
    parser.add_argument("--epsilon", type=float, default=8.0, help="of a document's lifetime, which is one round")
    parser.add_argument("--start", type=Path, help="this public start, instead of making it")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--home", type=Path, default=Path(".bench-labels"))
    parser.add_argument("--data", help="not needed: every document is generated")
    parser.add_argument("--quick", action="store_true", help="60 labels, 20 held back: the round is refused, or `bias`")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    documents, held_back = (60, 20) if given.quick else (given.documents, given.held_back)
    home, first = given.home.absolute(), given.seed * 1_000_000
    settings = {"workers": os.cpu_count() or 1, "capacity": documents * 4 // 5, "epsilon": given.epsilon}
    running.prepare(home, SETTINGS.format(**settings))
    if given.start:
        shutil.copy(given.start, load(home).weights_dir)
    with running.serving(home) as service:
        for index in range(documents):
            label = synthesis.thermal_label(first + index)
            _, image = cv2.imencode(".png", label.image[:, :, ::-1])
            running.drop(home / "inbox", f"{index:06d}.png", image.tobytes(), sidecars.write_sidecar(label))
        running.wait_for_receipts(service, home, documents)
        for _ in ("the start is offered", "a private round"):
            subprocess.run([running.OCRD, "--home", home, "train", "--wait"], check=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = {"largest": 1024 * used.ru_maxrss, "seconds": used.ru_utime + used.ru_stime}
    tested = [corpora.label(first + TESTED + index) for index in range(held_back)]
    crops = {index: [image for image, _ in each.lines] for index, each in enumerate(tested)}
    truths = {index: [text for _, text in each.lines] for index, each in enumerate(tested)}
    found = versions.scores(home, crops, truths, given.seed)
    versions.show(home, found)
    print(f"{took['seconds'] / 60:.0f} processor minutes; the largest process took {took['largest'] / 2**30:.2f} GiB")
    if given.json:
        given.json.write_text(json.dumps({"scores": found, **took, "rounds": running.rounds(home)}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
