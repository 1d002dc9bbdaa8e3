"""The short forms of bench/crash_points.py, bench/power_cuts.py and bench/disk_faults.py, and faults they must see."""

import os
import shutil
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "bench"))

import crash_points
import disk_faults
import images
import injecting
import planted
import planted_cuts
import planted_faults
import power_cuts
from journeys import JOURNEYS

PLANTS = {plant.name: plant for plant in (*planted_cuts.CUTS, *planted.KILLS, *planted_faults.FAULTS)}


@pytest.fixture(scope="module")
def traced():
    """Skips where strace is missing, or may not attach."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not here")
    try:
        injecting.killed_at(lambda tell: None, "rename", 1)
    except injecting.Unavailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def bench(traced, weights_dir):
    with crash_points.bench_in_memory() as made:
        yield made


@pytest.fixture(scope="module")
def cuts(tmp_path_factory, weights_dir):
    """Skips where a loop mount is not possible."""
    if os.geteuid() != 0:
        pytest.skip("loop mounts need root")
    folder = tmp_path_factory.mktemp("cuts")
    try:
        images.made(folder / "try.img")
        with images.mounted(folder / "try.img", folder / "try"):
            pass
    except injecting.Unavailable as error:
        pytest.skip(str(error))
    with power_cuts.cuts_in_memory(weights_dir, seed=1) as cuts:
        yield cuts


POINTS = [
    ("ingest", "renameat", 2),
    ("ingest", "pwrite64", 30),
    ("ingest", "unlinkat", 1),
    ("seal", "fsync", 9),
    ("forget", "unlink", 8),
    ("forget", "fdatasync", 3),
    ("rotate", "rename", 3),
    ("ledger", "write", 3),
    ("swap", "rename", 6),
    ("retry", "rename", 3),
    ("retry", "fsync", 20),
    ("backup", "rename", 4),
    ("restore", "rename", 9),
    ("restore", "mkdir", 5),
]


@pytest.mark.parametrize(("journey", "call", "number"), POINTS)
def test_a_kill_loses_doubles_and_tears_nothing(bench, journey, call, number):
    prepared = bench.prepared(JOURNEYS[journey])
    killed, verdict = bench.point(JOURNEYS[journey], prepared, call, number)
    assert killed, "the journey has fewer such calls than there were: choose another number"
    assert verdict.problems == ()


@pytest.mark.parametrize(
    "name",
    ["claim removed before the commit", "head before entry", "pointer in two steps", "a retry's row before its claim"],
)
def test_a_planted_fault_is_seen_at_some_kill(bench, name):
    plant = PLANTS[name]
    assert crash_points.caught(bench, plant, bench.prepared(JOURNEYS[plant.journey]))[1]


def test_power_cuts_lose_nothing_that_was_told(cuts):
    found = list(cuts.run(5))
    assert [problem for _, _, verdict in found for problem in verdict.problems] == []
    assert max(told for _, told, _ in found) > 0


def test_a_commit_that_is_not_synced_is_seen(cuts):
    assert power_cuts.caught(cuts, PLANTS["synchronous=NORMAL"])[1]


FAULTS = [
    ("ingest", "write", 4, "ENOSPC"),
    ("ingest", "renameat", 1, "EBUSY"),
    ("ingest", "pwrite64", 12, "EIO"),
    ("ingest", "pwrite64", 84, "ENOSPC"),
    ("ingest", "fsync", 23, "EACCES"),
    ("forget", "fsync", 2, "EIO"),
    ("rotate", "rename", 2, "ENOSPC"),
    ("ledger", "fsync", 4, "EIO"),
    ("swap", "write", 5, "ENOSPC"),
    ("swap", "rename", 5, "EACCES"),
    ("swap", "fsync", 60, "ENOSPC"),
]


@pytest.mark.parametrize(("journey", "call", "number", "error"), FAULTS)
def test_it_goes_on_when_the_fault_ends(bench, journey, call, number, error):
    prepared = bench.prepared(JOURNEYS[journey])
    injected, verdict = disk_faults.fault(bench, JOURNEYS[journey], prepared, call, number, error)
    assert injected, "the journey has fewer such calls than there were: choose another number"
    assert verdict.problems == ()


LOOKS = [
    ("ingest", "newfstatat"),
    ("ingest", "getdents64"),
    ("swap", "newfstatat"),
    ("forget", "getdents64"),
    ("backup", "newfstatat"),
    ("restore", "newfstatat"),
]


@pytest.mark.parametrize(("journey", "call"), LOOKS)
def test_what_cannot_be_looked_at_is_not_taken_for_gone(bench, journey, call):
    """Half way through the calls of this kind that are about the state folder."""
    prepared = bench.prepared(JOURNEYS[journey])
    found = [task for task in disk_faults.tasks(bench, JOURNEYS[journey], 1, 0, False) if task[0] == call]
    injected, verdict = disk_faults.fault(bench, JOURNEYS[journey], prepared, *found[len(found) // 2])
    assert injected
    assert verdict.problems == ()


COMMANDS = [
    ("forget", "fsync", "ENOSPC"),
    ("forget", "pwrite64", "ENOSPC"),
    ("rotate", "fsync", "ENOSPC"),
    ("rotate", "pwrite64", "ENOSPC"),
    ("retry", "fsync", "EIO"),
    ("backup", "fsync", "ENOSPC"),
    ("restore", "rename", "EIO"),
]


@pytest.mark.parametrize(("journey", "call", "error"), COMMANDS)
def test_a_command_says_where_and_what_to_do(bench, journey, call, error):
    prepared = bench.prepared(JOURNEYS[journey])
    injected, verdict = disk_faults.command(bench, JOURNEYS[journey], prepared, call, 2, error)
    assert injected
    assert verdict.problems == ()


@pytest.mark.parametrize("number", [4, 5])
def test_a_commit_that_the_disk_refused_may_count_at_the_next_opening(bench, number):
    """So the claim that it was to make is not taken back: the document was lost with it."""
    prepared = bench.prepared(JOURNEYS["retry"])
    injected, verdict = disk_faults.command(bench, JOURNEYS["retry"], prepared, "fdatasync", number, "EIO")
    assert injected
    assert verdict.problems == ()


REFUSALS = [
    "no entry after a failed append",
    "a forgetting broken off is not gone on with",
    "a refused commit taken for none",
]


@pytest.mark.parametrize("name", REFUSALS)
def test_a_planted_fault_is_seen_at_some_refusal(bench, name):
    plant = PLANTS[name]
    assert disk_faults.caught(bench, plant, bench.prepared(JOURNEYS[plant.journey]))[1]
