"""A whole ingest under strace: nothing personal leaves the processes but sealed, and planted leaks are seen."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tracing import FAULTS, Seen, caught, traced, unusable
from trespassers import page, refused

needs_strace = pytest.mark.skipif(bool(unusable()), reason=unusable())


@needs_strace
def test_nothing_leaves_while_a_page_and_a_refused_file_are_taken(tmp_path, weights_dir):
    found = traced(tmp_path / "run", [page(0, "label", "zh_CN", 2, ".png"), refused()])
    assert found["found"] == []
    assert found["states"] == {"done": 1, "failed": 1}
    assert found["processes"] == found["processes_without_core_dumps"] >= 3
    assert set(found["core_limit_of_processes"]) == {"0 0"}
    assert {"vault", "originals", "failed", "outbox", "service.log"} <= set(found["writes_to_regular_files"])
    assert found["writes_between_processes"]["memory files"] > 0


@needs_strace
def test_a_planted_line_file_and_packet_are_seen(tmp_path, weights_dir):
    found = traced(tmp_path / "run", [refused(1)], FAULTS)
    assert found["states"] == {"failed": 1}
    assert caught(found["found"]), found["found"]


def escaped(data: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in data)


HOME = Path("/state")
NAME = b"Winterbottom"


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ('pwrite64(5<{/state/state.db}>, "{.Winterbottom.}", 14, 0) = 14', "name in state.db"),
        ('write(5<{/state/vault/.x}>(deleted), "{.Winterbottom.}", 14) = 14', "name in vault"),
        ('writev(2<{/state/service.log}>, [{iov_base="{Winter}"}, {iov_base="{bottom}"}], 2) = 12', "name in service"),
        ('write(5<{/tmp/x}>, "{x}", 1) = 1', "a file outside the state folder"),
        ('write(5<{/state/vault/x}>, "{x}"..., 99999999) = 99999999', "a write to vault that was not seen whole"),
        ('write(5, "{x}", 1) = 1', "a write to a descriptor that could not be told"),
        ('openat(AT_FDCWD<{/}>, "{/state/run/Winterbottom}", O_RDONLY) = 3', "name in the name of a file"),
        ('renameat(3<{/state/inbox}>, "{a}", 4<{/state/outbox}>, "{Winterbottom}") = 0', "name in the name of a file"),
        ('execve("{/bin/true}", ["{true}", "{Winterbottom}"], 0x7 /* 1 var */) = -1 ENOENT', "name in a program's"),
        ('sendmsg(5<UDP:[1]>, {msg_name=NULL, msg_iov=[{iov_base="{x}"}]}, 0) = 1', "something sent over a network"),
        ("connect(5<TCP:[1]>, {sa_family=AF_INET, sin_port=htons(80)}, 16) = 0", "connect AF_INET"),
        ("mmap(NULL, 9, PROT_READ|PROT_WRITE, MAP_SHARED, 3<{/state/vault/x}>, 0) = 0x7", "a file that is written"),
        ("io_uring_setup(8, 0x7) = 3", "a way of writing that is not seen: io_uring_setup"),
        ("+++ killed by SIGABRT (core dumped) +++", "a core dump"),
        ('execve("{/bin/true}", ["{true}"], 0x7 /* 1 var */) = 0', "1 processes that may dump core"),
    ],
)  # fmt: skip
def test_each_way_out_is_seen_in_what_strace_prints(tmp_path, line, what):
    line = re.sub(r'(["<])\{([^{}]*)\}(?=[">])', lambda m: m[1] + escaped(m[2].encode()), line)
    (tmp_path / "call.1").write_text(line + "\n")
    seen = Seen(HOME, {"name": NAME})
    seen.read(tmp_path / "call.1")
    assert [each for each in seen.told()["found"] if each.startswith(what)], seen.found


def test_what_may_carry_it_does(tmp_path):
    """Memory files, socket pairs and the inbox are no way out."""
    name = escaped(NAME)
    lines = [
        f'write(5<{escaped(b"/memfd:ocrd")}>(deleted), "{name}", 12) = 12',
        f'write(5<{escaped(b"pipe:[7]")}>, "{name}", 12) = 12',
        f'openat(4<{escaped(b"/state/claimed/x")}>, "{name}", O_RDONLY) = 3',
    ]
    (tmp_path / "call.1").write_text("\n".join(lines))
    seen = Seen(HOME, {"name": NAME})
    seen.read(tmp_path / "call.1")
    assert seen.told()["found"] == []
