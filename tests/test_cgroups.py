"""The service's part of the control groups: on a real cgroup v2 tree where there is one and we are root."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from daemon import cgroups


@pytest.fixture
def group():
    """A fresh group, marked as systemd marks what it delegates."""
    with contextlib.suppress(OSError, StopIteration):
        made = cgroups._mounted() / f"ocrd-test-{secrets.token_hex(4)}"
        made.mkdir()
        try:
            os.setxattr(made, "user.delegate", b"1")
            yield made
        finally:
            for inner in (*made.glob("*/"), made):
                inner.rmdir()
        return
    pytest.skip("no cgroup v2 that we may write")


CHILD = """
import subprocess, sys
from pathlib import Path
from daemon import cgroups
(Path(sys.argv[1]) / "cgroup.procs").write_text("0")
tree = cgroups.divide(cgroups.delegated(), 2**30)
child = subprocess.Popen(["sleep", "60"])
tree.move(child.pid, cgroups.ROUND)
places = [Path(f"/proc/{pid}/cgroup").read_text().splitlines()[-1].rpartition("/")[2] for pid in ("self", child.pid)]
print(places, cgroups.delegated())
child.kill()
child.wait()
"""


def test_the_service_and_a_round_go_to_groups_of_their_own(group):
    done = subprocess.run([sys.executable, "-c", CHILD, str(group)], capture_output=True, text=True, check=False)
    assert done.stdout.split("]")[0] == "['service', 'round'", done.stderr
    assert done.stdout.strip().endswith("None"), "a divided group is not divided again"
    there = (group / "cgroup.controllers").read_text().split()
    if "memory" in there:
        assert (group / "round" / "memory.max").read_text().strip() == str(2**30)
        assert (group / "round" / "memory.oom.group").read_text().strip() == "1"


GREEDY = """
import subprocess, sys, time
from pathlib import Path
from daemon import cgroups
(Path(sys.argv[1]) / "cgroup.procs").write_text("0")
tree = cgroups.divide(cgroups.delegated(), 64 * 2**20)
twin = subprocess.Popen(["sleep", "600"])
tree.move(twin.pid, cgroups.ROUND)
takes = "import sys; sys.stdin.readline(); kept = bytearray(256 * 2**20); print(len(kept))"
greedy = subprocess.Popen([sys.executable, "-c", takes], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
if sys.argv[2] == "moved":
    tree.move(greedy.pid, cgroups.ROUND)
told, _ = greedy.communicate("go\\n")
print(greedy.returncode, told.strip() or "-", twin.poll() if told else twin.wait())
twin.kill()
"""


@pytest.mark.parametrize(
    ("where", "seen"),
    [("moved", "-9 - -9"), pytest.param("left", f"0 {256 * 2**20} None", id="mutant: left in the service's group")],
)
def test_a_round_that_takes_more_than_its_share_is_ended_with_its_twin_and_nothing_else(group, where, seen):
    if "memory" not in (group.parent / "cgroup.subtree_control").read_text().split():
        pytest.skip("memory is not limited by cgroup v2 here (bench/limited_round.py boots a kernel where it is)")
    done = subprocess.run(
        [sys.executable, "-c", GREEDY, str(group), where], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == seen, done.stderr


def test_a_group_that_is_not_delegated_is_left_alone(group):
    os.removexattr(group, "user.delegate")
    code = CHILD.split("tree =")[0] + "print(cgroups.delegated())"
    done = subprocess.run([sys.executable, "-c", code, str(group)], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "None", done.stderr
    assert list(group.glob("*/")) == []


def test_what_is_written(tmp_path):
    """The limits by name; the kernel's side of them needs cgroup v2 with its controllers."""
    names = ("memory.max", "memory.swap.max", "memory.oom.group", "pids.max", "cpu.weight")
    (tmp_path / "round").mkdir()
    for name in names:
        (tmp_path / "round" / name).write_text("max")
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory pids")
    tree = cgroups.divide(tmp_path, 12345)
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"
    assert [(tmp_path / "round" / name).read_text() for name in names] == ["12345", "0", "1", "1024", "50"]
    tree.move(77, cgroups.ROUND)
    assert (tmp_path / "round" / "cgroup.procs").read_text() == "77"
    assert (tmp_path / "service" / "cgroup.procs").read_text() == str(os.getpid())


def test_a_machine_without_cgroup_v2_has_no_limit(tmp_path):
    assert cgroups.delegated(tmp_path) is None
    assert Path("/proc/self/cgroup").exists()


def test_the_tightest_group_around_it_is_what_a_process_has(tmp_path):
    """In a container, or under MemoryHigh=, the machine's memory is not there to be had."""
    row = Path("/proc/self/cgroup").read_text().splitlines()
    place = next((each.removeprefix("0::/") for each in row if each.startswith("0::/")), None)
    if place is None:
        pytest.skip("no cgroup v2")
    whole = cgroups.memory(tmp_path)
    assert whole == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / place / "memory.high").write_text(f"{2**28}\n")
    assert cgroups.memory(tmp_path) == 2**28
    (tmp_path / place / "memory.max").write_text(f"{2**27}\n")
    assert cgroups.memory(tmp_path) == 2**27
