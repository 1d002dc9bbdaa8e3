"""A full disk, a failing one and lost rights at every call that writes: nothing lost, and on it goes when that ends.

    python bench/disk_faults.py [--only JOURNEY] [--planted] [--seed N] [--quick] [--json FILE]

strace lets the N-th write, fsync, rename, open for writing ... and the two after it fail, for every N of nine journeys:
with ENOSPC, EIO, EACCES (and EBUSY where a rename or removal can) in turn, so that seeds 0 to 3 give every call every
error. The process goes on as the service does: it tries again, with pauses that double (from 10 ms here), and must
come to the end in the same process, with nothing lost, doubled or torn. The commands are run to their end: `ocrd
forget` and `ocrd key rotate` must exit with 0 or 11, and with 11 name a path and what to do; the same command without
the fault must then do its work, before any start. Each planted fault, a wrong way to deal with a disk that refuses,
must be seen. Exits with 1 if any of that does not hold. No data is needed. `--quick` takes every fifteenth N.
"""

from __future__ import annotations

import io
import json
import os

os.environ["OMP_NUM_THREADS"] = "1"

import logging
import re
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import driving
import injecting
import parts
import planted
import planted_faults
from crash_points import Bench, after_a_stop, arguments_of, bench_in_memory, figures, print_planted
from daemon import trouble
from daemon.cli import main as ocrd
from daemon.errors import EXIT_CODES, DiskRefused
from injecting import CALLS, Tell
from journeys import JOURNEYS, Journey, check_ingest
from parts import Verdict

ERRORS = ("ENOSPC", "EIO", "EACCES")
BUSY = ("rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir")
LASTS = 3
"""Calls in a row that fail."""
QUICK = 15
OPENED = re.compile(r"O_WRONLY|O_RDWR|O_CREAT")
LOOKS = ("stat", "lstat", "newfstatat", "statx", "fstat", "access", "faccessat", "faccessat2", "getdents64")
"""Looking at a file and listing a folder: here EIO and EACCES alone, and of the state folder alone."""
TAKING = ("renameat", "mkdir", *LOOKS)
"""In the ingest: at these a file may not be let out of the inbox, and later ones then go before it."""
STARTED = ("retry", "restore")
"""What the command begins and the service ends."""
ONCE = ("openat", *LOOKS)
"""Of these one call fails: the next may be Python's, for a module of its own."""


class _Patience(threading.Event):
    """Set after `driving.PATIENCE` seconds: the fault is over by then, and what still goes on is a bug."""

    def __init__(self) -> None:
        super().__init__()
        self._until = time.monotonic() + driving.PATIENCE

    def wait(self, timeout: float | None = None) -> bool:
        super().wait(timeout)
        return time.monotonic() > self._until


def trying(step: Callable[[], Any]) -> Any:
    """As the service does: again and again, with pauses that double."""
    return trouble.patiently(step, Path("/"), _Patience(), logging.getLogger("bench"))


def _lasts(call: str) -> int:
    """How many calls in a row fail."""
    return 1 if call in ONCE else LASTS


def _nothing() -> None: ...


Plant = Callable[[], None]


def fault(
    bench: Bench, journey: Journey, prepared: Any, call: str, number: int, error: str, plant: Plant = _nothing
) -> tuple[int, Verdict]:
    """One try: at how many calls the fault was put in, and what is wrong afterwards."""
    home = bench.fresh(journey)

    def work(tell: Tell) -> None:
        trouble.FIRST_DELAY = 0.01
        plant()
        journey.work(home, tell, trying)

    inject = [f"?{call}:error={error}:when={number}..{number + _lasts(call) - 1}"]
    ended = injecting.run(work, inject, calls=bench.calls)
    if ended.error or ended.killed:
        return ended.injected, parts.torn(f"it gives up: {ended.error.strip().splitlines()[-1]}")
    out_of_order = journey.name == "ingest" and call in TAKING
    check = partial(check_ingest, in_order=False) if out_of_order else journey.check
    verdict = after_a_stop(home, lambda: check(home, prepared, ended.told, True), journey.first)
    return ended.injected, verdict


def command(
    bench: Bench, journey: Journey, prepared: Any, call: str, number: int, error: str, plant: Plant = _nothing
) -> tuple[int, Verdict]:
    """The same for the command: its exit code, its message, and that it does its work when the fault has ended."""
    home = bench.fresh(journey)

    def work(tell: Tell | None = None) -> tuple[int, str]:
        plant()
        return _command(home, journey)

    inject = [f"?{call}:error={error}:when={number}..{number + _lasts(call) - 1}"]
    ended = injecting.run(work, inject, calls=bench.calls)
    if ended.error:
        return ended.injected, parts.torn(f"it breaks off: {ended.error.strip().splitlines()[-1]}")
    code, text = ended.value
    verdict = Verdict()
    if code not in (0, EXIT_CODES[DiskRefused]):
        verdict += parts.torn(f"exit code {code}: {text.strip().splitlines()[-1]}")
    elif code and not (str(home) in text and "; " in text and "Nothing was lost" in text):
        verdict += parts.torn(f"its message says too little: {text.strip()}")
    if code and injecting.apart(work)[0]:
        verdict += parts.torn("the same command fails without the fault")
    check = partial(journey.check, home, prepared, journey.tells, True)
    if journey.name not in STARTED:  # no start needs to finish it
        verdict += injecting.apart(check)
    return ended.injected, verdict + after_a_stop(home, check, journey.first)


def _command(home: Path, journey: Journey) -> tuple[int, str]:
    """The exit code of the command, and all that it says."""
    said = io.StringIO()
    with redirect_stderr(said), redirect_stdout(said):
        try:
            code = ocrd(["--home", str(home), *journey.command(home)], standalone_mode=False)
        except SystemExit as error:
            code = error.code
    return code or 0, said.getvalue()


def written(bench: Bench, work: Callable[[Tell], Any]) -> dict[str, list[int]]:
    """The numbers of the calls to fail, by system call, in a run without faults; of openat those for writing."""
    names = [*(call for calls in CALLS.values() for call in calls), *ONCE]
    injecting.run(work, [f"?{name}" for name in names], calls=bench.calls)
    seen: Counter[str] = Counter()
    numbers: dict[str, list[int]] = defaultdict(list)
    for line in bench.calls.read_text().splitlines():
        name = line.partition("(")[0].split()[-1]
        seen[name] += 1
        if OPENED.search(line) if name == "openat" else name not in LOOKS or bench.is_of_home(line):
            numbers[name].append(seen[name])
    return {name: numbers[name] for name in names}


def tasks(bench: Bench, journey: Journey, stride: int, seed: int, commands: bool) -> Iterator[tuple[str, int, str]]:
    """Every fault of a journey, or of its command: system call, number, error."""
    home = bench.fresh(journey)

    def whole(tell: Tell) -> Any:
        return _command(home, journey) if commands else journey.work(home, tell, trying)

    for call, numbers in written(bench, whole).items():
        errors = ERRORS[1:] if call in LOOKS else (*ERRORS, *(("EBUSY",) if call in BUSY else ()))
        for number in numbers[::stride]:
            yield call, number, errors[(number // stride + seed) % len(errors)]


def caught(bench: Bench, plant: planted.Plant, prepared: Any) -> tuple[int, str]:
    """At how many calls a planted fault was tried until one showed it, and what that showed; ("" if none did)."""
    journey, one, tried = JOURNEYS[plant.journey], command if plant.command else fault, 0
    for call, number, error in tasks(bench, journey, 1, 0, plant.command):
        if call in plant.calls:
            tried += 1
            problems = one(bench, journey, prepared, call, number, error, plant.plant)[1].problems
            if problems:
                return tried, problems[0]
    return tried, ""


def main() -> int:
    arguments = arguments_of(__doc__, "which error comes first")
    logging.disable(logging.CRITICAL)
    began, table, wrong = time.monotonic(), defaultdict(Counter), []
    stride = QUICK if arguments.quick else 1
    with bench_in_memory() as bench:
        names = [] if arguments.planted else arguments.only or list(JOURNEYS)
        plants = () if arguments.only else planted_faults.FAULTS
        prepared = {name: bench.prepared(JOURNEYS[name]) for name in {*names, *(plant.journey for plant in plants)}}
        every = [
            (name, commands, *task)
            for commands in (False, True)
            for name in names
            if not commands or JOURNEYS[name].command is not None
            for task in tasks(bench, JOURNEYS[name], stride, arguments.seed, commands)
        ]

        def shard(number: int) -> list[tuple[str, str, str, Verdict]]:
            done = []
            for name, commands, call, nth, error in every[number :: arguments.jobs]:
                one = command if commands else fault
                label = f"ocrd {name}" if commands else name
                verdict = one(bench, JOURNEYS[name], prepared[name], call, nth, error)[1]
                done.append((label, error, f"{call} {nth}", verdict))
            return done

        for label, error, where, verdict in injecting.side_by_side(shard, arguments.jobs):
            table[label, error]["faults"] += 1
            for kind in ("lost", "doubled", "torn"):
                table[label, error][kind] += bool(getattr(verdict, kind))
            wrong += [f"{label}, {where}, {error}: {problem}" for problem in verdict.problems]

        def plant_shard(number: int) -> list[tuple[str, tuple[int, str]]]:
            mine = plants[number :: arguments.jobs]
            return [(plant.name, caught(bench, plant, prepared[plant.journey])) for plant in mine]

        mutants = dict(injecting.side_by_side(plant_shard, arguments.jobs))
    print(f"{'journey':12} {'error':7} {'faults':>7} {'lost':>6} {'doubled':>8} {'torn':>6}")
    total: Counter[str] = Counter()
    for (label, error), count in sorted(table.items()):
        total.update(count)
        print(f"{label:12} {error:7} " + figures(count, "faults"))
    print(f"{'all':12} {'':7} " + figures(total, "faults"))
    for text, times in Counter(wrong).most_common(30):
        print(f"WRONG {times} times: {text}")
    print_planted(mutants)
    if arguments.json:
        rows = [{"journey": label, "error": error, **count} for (label, error), count in table.items()]
        arguments.json.write_text(json.dumps({"rows": rows, "wrong": wrong, "mutants": mutants}, indent=1))
    print(f"{time.monotonic() - began:.0f} s")
    return 1 if wrong or not all(shown for _, shown in mutants.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
