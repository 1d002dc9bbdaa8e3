"""A service under strace: every system call of a whole ingest, and what of a document it carried where.

What may carry a document in clear: the inbox, the claim folder, and pipes, socket pairs and memory files between the
service and its workers. Nothing else may: `Seen` reads what strace printed and lists the rest.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from daemon.home import create
from models import weights
from trespassers import Dropped

SETTINGS = "[ingest]\nsettle_seconds = 0.1\nrescan_seconds = 0.5\n"
WRITES = ("write", "pwrite64", "writev", "pwritev", "pwritev2", "sendto", "sendmsg", "sendmmsg")
NAMES = (
    "open",
    "openat",
    "openat2",
    "creat",
    "mkdir",
    "mkdirat",
    "mknod",
    "mknodat",
    "rename",
    "renameat",
    "renameat2",
)
NAMES += ("link", "linkat", "symlink", "symlinkat")
UNSEEN = ("io_uring_setup", "sendfile", "splice", "vmsplice", "tee", "copy_file_range", "process_vm_writev")
OTHERS = ("socket", "bind", "connect", "execve", "prctl", "prlimit64", "setrlimit", "mmap")
MOST = 2**20
"""Bytes of a write that strace shows; a longer one to a regular file is reported as not seen."""
FAULTS = """
import logging, socket, tempfile
from daemon import pipeline
real = pipeline.Pipeline.finish
def finish(self, claims):
    for claim in claims:
        logging.getLogger("ocrd").info("done with %s", claim.name)
        with tempfile.NamedTemporaryFile(delete=True) as file:
            file.write(claim.sidecar.read_bytes() if claim.sidecar else b"")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            out.sendto(b"x", ("127.0.0.1", 9))
    real(self, claims)
pipeline.Pipeline.finish = finish
"""
PATIENCE = 200.0
"""Seconds in which processes that were killed have gone, and their tracer with them."""
OUTSIDE = "a file outside the state folder"
START = "import sys\nfrom daemon.cli import main\nmain(['--home', sys.argv[1], 'start'])\n"

_STRING = re.compile(r'(?:(?:\d+|AT_FDCWD)<((?:\\x[0-9a-f]{2})*)>, )?"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
_TARGET = re.compile(r"\w+\(\d+<(?:((?:\\x[0-9a-f]{2})+)|([A-Za-z0-9-]+))")
"""A descriptor: what it is called, or what sort of socket it is."""
_CALL = re.compile(r"(\w+)\(")


def traced(folder: Path, dropped: Sequence[Dropped], faults: str = "") -> dict[str, Any]:
    """Runs a service until every file has its receipt, aborts its processes, and tells what was seen."""
    home, temporary = folder / "state", folder / "tmp"
    temporary.mkdir(parents=True)
    home.mkdir()
    (home / "ocrd.toml").write_text(SETTINGS)
    create(home, weights.default_folder(), lambda _text: None)
    calls = ",".join([*WRITES, *NAMES, *UNSEEN, *OTHERS])
    strace = ["strace", "-D", "-f", "--seccomp-bpf", "-ff", "-q", "-yy", "-xx", "-s", str(MOST), "-e", f"trace={calls}"]
    command = [*strace, "-o", folder / "call", sys.executable, "-c", faults + START, home]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with (home / "service.log").open("wb") as log:
        service = subprocess.Popen(command, stderr=log, env=environment, cwd=temporary, preexec_fn=_may_dump)
    ours: list[int] = []
    try:
        _wait(service, home, lambda: (home / "run" / "control.sock").exists())
        for each in dropped:
            _drop(home / "inbox" / each.name, each)
        _wait(service, home, lambda: len(list((home / "outbox").glob("*.json"))) >= len(dropped))
        _wait(service, home, lambda: not any((home / "claimed").iterdir()))
        time.sleep(1.0)  # what may come after that
        ours = [service.pid, *_children(service.pid)]
        limits = [_core_limit(pid) for pid in ours]
    finally:
        for pid in ours[1:] or ():
            with suppress(ProcessLookupError):  # the service, which misses one, may end another
                os.kill(pid, signal.SIGABRT)
        service.send_signal(signal.SIGABRT)
        service.wait(PATIENCE)
    _wait_for_the_tracer(folder)
    needles = {name: data for each in dropped for name, data in each.needles.items()}
    seen = Seen(home, needles)
    for path in sorted(folder.glob("call.*")):
        seen.read(path)
    seen.look_at_files(home, temporary)
    return {
        "states": dict(Counter(json.loads(p.read_text())["state"] for p in (home / "outbox").glob("*.json"))),
        "needles": len(needles),
        "core_limit_of_processes": dict(Counter(limits)),
        **seen.told(),
    }


def _drop(path: Path, each: Dropped) -> None:
    """The labels first, then the file under a passing name: nothing half-written is ever ready."""
    path.parent.mkdir(exist_ok=True)
    if each.sidecar is not None:
        path.with_suffix(".json").write_bytes(each.sidecar)
    part = path.with_name(f".{path.name}")
    part.write_bytes(each.data)
    part.rename(path)


def _may_dump() -> None:
    """As far as it may: a process that ran the service's own code before has lowered the bound for good."""
    bound = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (bound, bound))


def _wait(service: subprocess.Popen[bytes], home: Path, done: Callable[[], bool]) -> None:
    while not done():
        if service.poll() is not None:
            raise RuntimeError(f"the service ended with {service.returncode}; see {home}/service.log")
        time.sleep(0.1)


def _wait_for_the_tracer(folder: Path) -> None:
    """It writes its last lines when the processes are gone."""
    deadline = time.monotonic() + PATIENCE
    while not all(_is_whole(path) for path in folder.glob("call.*")):
        if time.monotonic() > deadline:
            raise TimeoutError(f"the tracer has not ended for {PATIENCE:g} s")
        time.sleep(0.1)


def _is_whole(calls: Path) -> bool:
    """Whether the tracer has written how the thread ended, which is its last line."""
    return calls.read_bytes().rpartition(b"\n+++ ")[2].endswith(b" +++\n")


def _children(pid: int) -> list[int]:
    """Of this moment; a thread or a process that ends meanwhile is left out."""
    found = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):
                for child in (task / "children").read_text().split():
                    if "strace" not in Path(f"/proc/{child}/comm").read_text():
                        found += [int(child), *_children(int(child))]
    return found


def _core_limit(pid: int) -> str:
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    return " ".join(next(line for line in lines if line.startswith("Max core file size")).split()[4:6])


@dataclass
class Seen:
    """Collects, thread by thread, what went where; `found` lists what must not be."""

    home: Path
    needles: dict[str, bytes] = field(repr=False)
    found: set[str] = field(default_factory=set)
    calls: Counter[str] = field(default_factory=Counter)
    written: Counter[str] = field(default_factory=Counter)
    carried: Counter[str] = field(default_factory=Counter)
    sockets: Counter[str] = field(default_factory=Counter)
    processes: int = 0
    hardened: int = 0

    def read(self, path: Path) -> None:
        """One thread's calls."""
        streams: dict[str, bytearray] = {}
        program = dumpable = core = False
        with path.open() as lines:
            for line in lines:
                if "(core dumped)" in line:
                    self.found.add("a core dump")
                if (match := _CALL.match(line)) is None:
                    continue
                name = match[1]
                self.calls[name] += 1
                program |= name == "execve" and line.rstrip().endswith("= 0")
                dumpable |= "PR_SET_DUMPABLE, SUID_DUMP_DISABLE" in line
                core |= "RLIMIT_CORE, {rlim_cur=0, rlim_max=0}" in line
                if name in WRITES:
                    self._write(line, streams)
                else:
                    self._other(name, line)
        for target, data in streams.items():
            for needle in self._in(bytes(data)):
                self.found.add(f"{needle} in {self._kind(target)}")
        self.processes += program
        self.hardened += program and dumpable and core

    def _write(self, line: str, streams: dict[str, bytearray]) -> None:
        match = _TARGET.match(line)
        if match is None:
            self.found.add(f"a write to a descriptor that could not be told: {line[:60]}")
        elif "AF_INET" in line or match[2] in ("TCP", "TCPv6", "UDP", "UDPv6", "RAW", "NETLINK"):
            self.found.add("something sent over a network")
        elif match[2] or not (target := _plain(match[1])).startswith("/") or target.startswith("/dev/"):
            self.carried["pipes, devices, local sockets"] += 1
        elif target.startswith("/memfd:"):
            self.carried["memory files"] += 1
        else:
            if '"...' in line:
                self.found.add(f"a write to {self._kind(target)} that was not seen whole")
            if self._kind(target) == OUTSIDE:
                self.found.add(self._kind(target))
            strings = (_bytes(s) for _, s, _ in _STRING.findall(line[match.end() :]))
            streams.setdefault(target, bytearray()).extend(b"".join(strings))
            self.written[self._kind(target)] += 1

    def _other(self, name: str, line: str) -> None:
        if name in UNSEEN:
            self.found.add(f"a way of writing that is not seen: {name}")
        elif name == "mmap":
            self._map(line)
        elif name in ("socket", "bind", "connect"):
            family = re.search(r"AF_\w+", line)
            call = f"{name} {family[0] if family else 'unknown'}"
            self.sockets[call] += 1
            if not call.endswith("AF_UNIX"):
                self.found.add(call)
        elif name == "execve":
            for needle in self._in(b"\0".join(_bytes(s) for _, s, _ in _STRING.findall(line))):
                self.found.add(f"{needle} in a program's arguments")
        elif name in NAMES:
            self._name(line)

    def _map(self, line: str) -> None:
        shared = re.search(r"PROT_WRITE.*MAP_SHARED.*, \d+<((?:\\x[0-9a-f]{2})+)", line)
        if shared is None or (target := _plain(shared[1])).startswith(("/memfd:", "/dev/")):
            return
        if not target.endswith("state.db-shm"):  # of which page of the log holds what; searched at the end
            self.found.add(f"a file that is written through memory: {self._kind(target)}")

    def _name(self, line: str) -> None:
        for base, path, _ in _STRING.findall(line):
            whole = Path(_plain(base)) / _plain(path)
            if not any(whole.is_relative_to(self.home / part) for part in ("inbox", "claimed")):
                for needle in self._in(os.fsencode(whole)):
                    self.found.add(f"{needle} in the name of a file")

    def look_at_files(self, *folders: Path) -> None:
        """What lies there at the end: the state folder but inbox, weights and models, and other folders."""
        for folder in folders:
            for path in folder.rglob("*"):
                inner = path.relative_to(folder).parts
                if path.is_file() and inner[0] not in ("inbox", "weights", "models"):
                    for needle in self._in(os.fsencode(path) + path.read_bytes()):
                        self.found.add(f"{needle} in {inner[0]} at the end")
                    if path.name.startswith("core"):
                        self.found.add("a core dump")

    def told(self) -> dict[str, Any]:
        if self.hardened < self.processes:
            self.found.add(f"{self.processes - self.hardened} processes that may dump core")
        return {
            "processes": self.processes,
            "processes_without_core_dumps": self.hardened,
            "calls": sum(self.calls.values()),
            "writes_to_regular_files": dict(sorted(self.written.items())),
            "writes_between_processes": dict(self.carried),
            "sockets": dict(self.sockets),
            "found": sorted(self.found),
        }

    def _in(self, data: bytes) -> Iterator[str]:
        return (name for name, needle in self.needles.items() if needle in data)

    def _at_home(self, target: str) -> bool:
        return Path(target).is_relative_to(self.home)

    def _kind(self, target: str) -> str:
        """The part of the state folder, never a name."""
        if not self._at_home(target):
            compiled = "/__pycache__/" in target  # of a module that is imported for the first time
            return "/proc" if target.startswith("/proc/") else "compiled modules" if compiled else OUTSIDE
        return Path(target).relative_to(self.home).parts[0]


def _bytes(escaped: str) -> bytes:
    return bytes.fromhex(escaped.replace("\\x", ""))


def _plain(escaped: str) -> str:
    return os.fsdecode(_bytes(escaped))


def unusable() -> str:
    """Why a service cannot be traced here; "" if it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    if os.geteuid() != 0:
        return "only root may see what a descriptor of a process without core dumps is"
    hidden = "import ctypes, os; ctypes.CDLL(None).prctl(4, 0, 0, 0, 0); os.write(1, b'seen')"  # PR_SET_DUMPABLE
    command = ["strace", "-f", "--seccomp-bpf", "-e", "trace=write", sys.executable, "-c", hidden]
    tried = subprocess.run(command, capture_output=True, check=False)
    return "" if tried.returncode == 0 and b'"seen"' in tried.stderr else "strace may not trace such a process here"


def dumps_here(folder: Path) -> bool:
    """Whether a process that is aborted leaves a core dump on this machine: else the absence of one shows little."""
    command = [sys.executable, "-c", "import os; os.abort()"]
    dead = subprocess.Popen(command, cwd=folder, preexec_fn=_may_dump)
    return os.WCOREDUMP(os.waitpid(dead.pid, 0)[1])


def caught(found: Sequence[str]) -> bool:
    """Whether all three planted faults were."""
    wanted = ("file name.* in service.log", "label.* in a file outside", "something sent over a network")
    return all(any(re.match(want, each) for each in found) for want in wanted)
