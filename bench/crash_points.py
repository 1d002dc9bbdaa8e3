"""SIGKILL at every system call that changes the disk, through nine journeys: what is lost, doubled or torn afterwards.

    python bench/crash_points.py [--only JOURNEY] [--planted] [--seed N] [--quick] [--json FILE]

strace kills a process as it enters its N-th rename, fsync, pwrite64, write, unlink ... (SQLite's included), for every N
until a run ends by itself. Then the state is looked at as others may see it, started again without strace, and looked
at again. Each planted fault must be caught. Exits with 1 if anything is lost, doubled, torn or not caught. No data is
needed; nothing here is drawn at random (`--seed` changes nothing). `--quick` takes every seventh N.
"""

from __future__ import annotations

import argparse
import json
import os

os.environ["OMP_NUM_THREADS"] = "1"

import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import found
import injecting
import parts
import planted
from backups import beside
from driving import new_home, once, restart
from injecting import CALLS, Tell
from journeys import JOURNEYS, Journey
from models import weights
from parts import Verdict
from sealed import MEMORY

QUICK = 7
SHOWN = 20


Point = tuple[str, str, str, Verdict]
"""Journey, row of the table, system call and number, what is wrong."""


class Bench:
    """Fresh copies of a prepared state folder, and one try after the other."""

    def __init__(self, folder: Path, weights_dir: Path) -> None:
        self._folder = folder
        injecting.apart(lambda: new_home(folder / "new", weights_dir))

    def _template(self, journey: Journey) -> Path:
        return self._folder / journey.name

    def prepared(self, journey: Journey) -> Any:
        """Makes the journey ready to be tried; what its `prepare` returned."""
        template = self._template(journey)
        for folder in (template, beside(template)):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self._folder / "new", template, symlinks=True)
        return injecting.apart(lambda: journey.prepare(template))

    @property
    def _home(self) -> Path:
        return self._folder / f"home-{os.getpid()}"

    @property
    def calls(self) -> Path:
        """Where strace writes down the calls of one try."""
        return self._folder / f"calls-{os.getpid()}"

    def is_of_home(self, line: str) -> bool:
        """Whether a line of strace is about the copy of the process that wrote it."""
        return str(self._home) in line

    def fresh(self, journey: Journey) -> Path:
        """A copy of what was prepared."""
        template = self._template(journey)
        for folder, copy in ((template, self._home), (beside(template), beside(self._home))):
            shutil.rmtree(copy, ignore_errors=True)
            if folder.exists():
                shutil.copytree(folder, copy, symlinks=True)
        return self._home

    def point(
        self, journey: Journey, prepared: Any, call: str, number: int, plant: Callable[[], None] | None = None
    ) -> tuple[bool, Verdict]:
        """One try: whether it was killed, and what is wrong afterwards."""
        home = self.fresh(journey)

        def work(tell: Tell) -> None:
            if plant is not None:
                plant()
            journey.work(home, tell, once)

        ended = injecting.killed_at(work, call, number)
        if ended.error:
            raise RuntimeError(f"{journey.name} fails by itself: {ended.error}")
        verdict = after_a_stop(home, lambda: journey.check(home, prepared, ended.told, not ended.killed), journey.first)
        return ended.killed, verdict


def after_a_stop(
    home: Path, check: Callable[[], Verdict], first: Callable[[Path], object] = lambda home: None
) -> Verdict:
    """What is wrong with what a stop left, before and after the start that follows it; `first` is done before both."""

    def looked() -> Verdict:
        first(home)
        verdict = found.at_once(home)
        restart(home)
        return verdict + check()

    try:
        result: Verdict = injecting.apart(looked)
    except RuntimeError as error:
        return parts.torn(f"it does not start again: {str(error).strip().splitlines()[-1]}")
    return result


def points(bench: Bench, journey: Journey, prepared: Any, row: str, stride: int = 1) -> Iterator[Point]:
    """Every point of a journey at the system calls of one row of the table."""
    for call in CALLS[row]:
        number = 1
        while True:
            killed, verdict = bench.point(journey, prepared, call, number)
            if killed or verdict.problems:
                yield journey.name, row, f"{call} {number}", verdict
            if not killed:
                break
            number += stride


def caught(bench: Bench, plant: planted.Plant, prepared: Any) -> tuple[int, str]:
    """At how many points a planted fault was tried until one showed it, and what that showed; ("" if none did)."""
    journey = JOURNEYS[plant.journey]
    tried = 0
    for call in plant.calls:
        number, killed = 1, True
        while killed:
            killed, verdict = bench.point(journey, prepared, call, number, plant.plant)
            tried += 1
            if verdict.problems:
                return tried, verdict.problems[0]
            number += 1
    return tried, ""


@contextmanager
def bench_in_memory() -> Iterator[Bench]:
    """kill -9 takes nothing from the page cache, so that the folders may lie in memory."""
    with tempfile.TemporaryDirectory(prefix="ocrd-points-", dir=MEMORY) as folder:
        yield Bench(Path(folder), weights.fetch())


def main() -> int:
    arguments = arguments_of(__doc__, "nothing is drawn")
    began = time.monotonic()
    stride = QUICK if arguments.quick else 1
    with bench_in_memory() as bench:
        names = [] if arguments.planted else arguments.only or list(JOURNEYS)
        plants = () if arguments.only else planted.KILLS
        prepared = {name: bench.prepared(JOURNEYS[name]) for name in {*names, *(plant.journey for plant in plants)}}
        tasks = [(name, row) for row in CALLS for name in names]

        def shard(number: int) -> list[Point]:
            mine = tasks[number :: arguments.jobs]
            return [each for name, row in mine for each in points(bench, JOURNEYS[name], prepared[name], row, stride)]

        tries = injecting.side_by_side(shard, arguments.jobs)

        def plant_shard(number: int) -> list[tuple[str, tuple[int, str]]]:
            mine = plants[number :: arguments.jobs]
            return [(plant.name, caught(bench, plant, prepared[plant.journey])) for plant in mine]

        mutants = dict(injecting.side_by_side(plant_shard, arguments.jobs))
    table: dict[tuple[str, str], Counter[str]] = {(name, row): Counter() for name in names for row in CALLS}
    for name, row, _, verdict in tries:
        table[name, row]["points"] += 1
        for kind in ("lost", "doubled", "torn"):
            table[name, row][kind] += bool(getattr(verdict, kind))
    wrong = [f"{name}, {where}: {problem}" for name, _, where, verdict in tries for problem in verdict.problems]
    _print(table, wrong, mutants)
    if arguments.json:
        rows = [{"journey": journey, "call": row, **count} for (journey, row), count in table.items()]
        arguments.json.write_text(json.dumps({"rows": rows, "wrong": wrong, "mutants": mutants}, indent=1))
    print(f"{time.monotonic() - began:.0f} s")
    return 1 if wrong or not all(shown for _, shown in mutants.values()) else 0


def _print(table: dict[tuple[str, str], Counter[str]], wrong: list[str], mutants: dict[str, tuple[int, str]]) -> None:
    print(f"{'journey':10} {'system call':12} {'points':>7} {'lost':>6} {'doubled':>8} {'torn':>6}")
    total: Counter[str] = Counter()
    for (journey, row), count in table.items():
        total.update(count)
        if count["points"]:
            print(f"{journey:10} {row:12} " + figures(count))
    print(f"{'all':10} {'':12} " + figures(total))
    for text in wrong[:SHOWN]:
        print("WRONG", text)
    print_planted(mutants)


def print_planted(mutants: dict[str, tuple[int, str]]) -> None:
    for name, (tried, shown) in mutants.items():
        print(
            f"planted: {name}: " + (f"caught at point {tried}: {shown}" if shown else f"NOT caught at {tried} points")
        )


def figures(count: Counter[str], tries: str = "points") -> str:
    return f"{count[tries]:7} {count['lost']:6} {count['doubled']:8} {count['torn']:6}"


def arguments_of(description: str | None, seed: str) -> argparse.Namespace:
    """What both benches of journeys are told; `seed` says what the number means."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=JOURNEYS, help="this journey only, and no planted faults")
    parser.add_argument("--planted", action="store_true", help="the planted faults only")
    parser.add_argument("--data", type=Path, help="not needed")
    parser.add_argument("--seed", type=int, default=0, help=seed)
    parser.add_argument("--jobs", type=int, default=6, help="processes side by side")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
