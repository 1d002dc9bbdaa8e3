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
