"""Power cuts: a writer on a journaled ext4 image is frozen, the image copied, the copy mounted, and looked through.

    python bench/power_cuts.py [--cuts N] [--seed N] [--quick] [--json FILE]        # as root

What is in the copy is what ext4 had handed to the disk: a write that was not synced is not there (the planted faults
prove it). The image is mounted with `noauto_da_alloc`, without ext4's own help for programs that forget an fsync, and
with `commit=300`, so that no timer writes what nobody synced. The writer drops files, takes them in, retries, forgets,
appends to the ledger, rolls models out and back and rotates keys, and tells of each effect once the call has returned.
It is frozen at a random moment, before a random change of the disk, or right after telling; in half of the cases
another program then syncs a file of its own, which makes ext4 write its journal. What was told must be in the copy
after a start, and all else whole or absent. Exits with 1 if it is not, or if a planted fault is not caught.
"""

from __future__ import annotations

import argparse
import json
import os

os.environ["OMP_NUM_THREADS"] = "1"

import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import found
import injecting
import parts
import planted
import planted_cuts
from crash_points import MEMORY, after_a_stop
from daemon.home import open_home
from driving import new_home
from images import call, copied, made, mounted
from models import weights
from parts import Verdict
from privacy import files, syncfs
from writing import Told, Writer

CUTS_A_RUN = 20
"""After so many the disk is made anew, so that a look through it stays short."""
MOST_FOR_A_PLANT = 240
MOMENTS = ("at any time", "before a step", "after telling")


# What must be in the copy.


def looked_through(home: Path, told: Sequence[Told]) -> Verdict:
    """What is wrong after the start, by what the writer had told before the cut."""
    opened_home = open_home(home)
    rows = parts.rows(opened_home)
    verdict = found.rest(home) + _documents(home, rows, told)
    entries = [int(each[1]) for each in told if each[0] == "entry"]
    verdict += found.appended(home, entries, len(entries) + 1)
    serves = [each[1] for each in told if each[0] == "serves"]
    verdict += found.served(home, found.first_version(home), serves)
    generations = [int(each[1]) for each in told if each[0] == "generation"]
    if opened_home.shelf.generation < max(generations, default=0):
        verdict += parts.lost("a rotation was told of, and is not")
    return verdict


def _documents(home: Path, rows: dict[str, Any], told: Sequence[Told]) -> Verdict:
    """Every dropped file has its one receipt, but for those that were forgotten, or were just being forgotten."""
    verdict = Verdict()
    done = {each[1] for each in told if each[0] == "forgotten"}
    gone = {id for id, row in rows.items() if row["state"] == "forgotten"}
    verdict += parts.lost(*("a document was told to be forgotten, and is not" for _ in done - gone))
    ended = [" ".join(each[1:]) for each in told if each[0] == "ended" and each[1] not in gone]
    opened_home = open_home(home)
    known = {bytes(row["name_digest"]) for row in rows.values() if row["name_digest"] is not None}
    expected, missing = {}, 0
    for each in told:
        if each[0] == "dropped":
            if opened_home.name_digest(each[1]) in known:
                expected[each[1]] = (each[2], each[3].encode())
            else:
                missing += 1
    if missing > len(gone):  # names of the forgotten are gone with them
        verdict += parts.lost(f"{missing - len(gone)} files that were dropped are in no row")
    return verdict + found.receipts_of(home, expected, {}, ended)


# Cuts.


class Cuts:
    """Cut after cut; the disk is made anew after every `CUTS_A_RUN`."""

    def __init__(self, folder: Path, weights_dir: Path, seed: int) -> None:
        self._folder, self._chance = folder, random.Random(seed)
        injecting.apart(lambda: new_home(folder / "new", weights_dir))

    def run(self, count: int, plant: Callable[[], None] | None = None) -> Iterator[tuple[str, int, Verdict]]:
        """For each cut its moment, how many effects had been told by then, and what is wrong."""
        while count > 0:
            image, disk = self._folder / "disk.img", self._folder / "disk"
            made(image)
            with mounted(image, disk):
                shutil.copytree(self._folder / "new", disk / "home", symlinks=True)
                syncfs.sync_file_system(disk)
                writer = Writer(disk / "home", self._chance.randrange(2**32), plant)
                try:
                    os.waitpid(writer.pid, os.WUNTRACED)
                    for _ in range(min(count, CUTS_A_RUN)):
                        yield self._cut(image, disk, writer)
                        count -= 1
                finally:
                    writer.kill()

    def _cut(self, image: Path, disk: Path, writer: Writer) -> tuple[str, int, Verdict]:
        moment = self._chance.choice(MOMENTS)
        writer.freeze(moment, self._chance)
        if self._chance.random() < 0.5:
            files.write_bytes(disk / "neighbour", os.urandom(64))
        copy = self._folder / "copy.img"
        copied(image, copy)
        told = tuple(writer.told)
        with mounted(copy, self._folder / "copy") as at:
            verdict = after_a_stop(at / "home", lambda: looked_through(at / "home", told))
        if (checked := call("e2fsck", "-fn", copy)).returncode:
            raise RuntimeError(f"the copy is no sound file system: {checked.stdout}")
        return moment, sum(each[0] not in ("forgets",) for each in told), verdict


@contextmanager
def cuts_in_memory(weights_dir: Path, seed: int) -> Iterator[Cuts]:
    with tempfile.TemporaryDirectory(prefix="ocrd-cuts-", dir=MEMORY, ignore_cleanup_errors=True) as folder:
        yield Cuts(Path(folder), weights_dir, seed)


def caught(cuts: Cuts, plant: planted.Plant) -> tuple[int, str]:
    """At which cut a planted fault showed, and what; ("" if it did not in `MOST_FOR_A_PLANT`)."""
    tried = 0
    running = cuts.run(MOST_FOR_A_PLANT, plant.plant)
    try:
        for _, _, verdict in running:
            tried += 1
            if verdict.problems:
                return tried, verdict.problems[0]
    finally:
        running.close()
    return tried, ""


def main() -> int:
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began, moments, wrong, effects = time.monotonic(), Counter(), [], 0
    kinds: Counter[str] = Counter()
    folder = weights.fetch()

    def shard(number: int) -> list[tuple[str, int, Verdict]]:
        with cuts_in_memory(folder, arguments.seed * 1000 + number) as cuts:
            return list(cuts.run(len(range(number, arguments.cuts, arguments.jobs))))

    def plant_shard(number: int) -> list[tuple[str, tuple[int, str]]]:
        with cuts_in_memory(folder, arguments.seed * 1000 + number) as cuts:
            return [(plant.name, caught(cuts, plant)) for plant in planted_cuts.CUTS[number :: arguments.jobs]]

    for number, (moment, told, verdict) in enumerate(injecting.side_by_side(shard, arguments.jobs), 1):
        moments[moment] += 1
        effects += told
        wrong += [f"cut {number}, {moment}: {problem}" for problem in verdict.problems]
        for kind in ("lost", "doubled", "torn"):
            kinds[kind] += bool(getattr(verdict, kind))
    mutants = dict(injecting.side_by_side(plant_shard, arguments.jobs))
    print(f"cuts     {sum(moments.values())}: " + ", ".join(f"{n} {moment}" for moment, n in sorted(moments.items())))
    print(
        f"looked for {effects} acknowledged effects: "
        + ", ".join(f"{kinds[k]} {k}" for k in ("lost", "doubled", "torn"))
    )
    for text in wrong[:20]:
        print("WRONG", text)
    for name, (tried, shown) in mutants.items():
        print(f"planted: {name}: " + (f"caught at cut {tried}: {shown}" if shown else f"NOT caught in {tried} cuts"))
    if arguments.json:
        figures = {"moments": moments, "effects": effects, "kinds": kinds, "wrong": wrong, "mutants": mutants}
        arguments.json.write_text(json.dumps(figures, indent=1))
    print(f"{time.monotonic() - began:.0f} s")
    return 1 if wrong or not all(shown for _, shown in mutants.values()) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cuts", type=int, default=240)
    parser.add_argument("--data", type=Path, help="not needed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=6, help="disks side by side")
    parser.add_argument("--quick", action="store_true", help="20 cuts")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.cuts = 20
    return arguments


if __name__ == "__main__":
    sys.exit(main())
