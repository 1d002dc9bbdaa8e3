"""The walls around real workers: each escape is tried and denied, and each wall left out is seen."""

from __future__ import annotations

import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from daemon import decoding, doctor, escapes, walls, wire, workers
from daemon.config import Ingest
from daemon.errors import BadFile, Unconfined, WorkerDied
from daemon.home import open_home
from daemon.pipeline import Pipeline
from daemon.state import Database
from daemon.taking import Claim
from learners import synthesis
from privacy import landlock, sandbox, seccomp
from privacy.errors import SandboxFailed
from running import ocrd, png

pytestmark = pytest.mark.skipif(bool(sandbox.missing()), reason=f"this kernel lacks {sandbox.missing()}")

DECODER = {
    "max_pages": 5, "max_pixels": 4_000_000, "max_total_pixels": 6_000_000, "pdf_dpi": 72,
    "confirm": True, "heic": False,
}  # fmt: skip
LIMITS = workers.Limits(memory=2 * 2**30, open_files=64)


class Planted(workers.Worker):
    """A decoder into which a fault was planted, by code that runs before its `main`."""

    def __init__(self, fault: str, policy: sandbox.Policy = "require") -> None:
        super().__init__("daemon.decoder", DECODER, LIMITS, policy=policy)
        self._fault = fault

    def _command(self) -> list[str]:
        start = "from daemon import decoder, workers\nfrom privacy import sandbox, landlock, seccomp\n"
        return [sys.executable, "-I", "-c", f"{start}{self._fault}\ndecoder.main()"]


@pytest.fixture
def target(tmp_path):
    """A key file to open, in a folder to write to."""
    (tmp_path / "keys").mkdir()
    key = tmp_path / "keys" / "master.key"
    key.write_bytes(b"secret")
    key.chmod(0o600)
    return key


def tried(worker, key):
    try:
        return walls.attempt(worker, key, key.parent.parent)
    finally:
        worker.stop()


def pixel():
    buffer = io.BytesIO()
    Image.new("RGB", (3, 2), (255, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("heic", [False, True])
def test_a_decoder_can_do_nothing_but_decode(target, heic):
    """libheif starts a thread: it stands behind the walls as well."""
    worker = workers.Worker("daemon.decoder", DECODER | {"heic": heic}, LIMITS)
    with worker.call({}, [pixel()], 120) as reply:
        assert reply.header["shapes"] == [[2, 3]]
    assert set(tried(worker, target).values()) == {escapes.DENIED}


def test_a_reader_and_a_round_reach_no_key_and_no_network(target, weights_dir, tmp_path):
    folders = {"weights": str(weights_dir), "model": str(weights_dir)}
    reading = {**folders, "policy": {}, "label_confidence": 0.95}
    (tmp_path / "scratch").mkdir()
    found = {
        "reader": tried(workers.Worker("daemon.reading", reading, workers.Limits(memory=12 * 2**30)), target),
        "round": tried(
            workers.Worker("daemon.round", {**folders, "scratch": f"{tmp_path}/scratch"}, workers.Limits(memory=-1)),
            target,
        ),
    }
    for name, outcomes in found.items():
        gaps = {what for what, outcome in outcomes.items() if outcome != escapes.DENIED}
        assert gaps == walls._NEEDS[name], name


def test_without_walls_every_escape_succeeds(target):
    """So none of the attempts merely misses."""
    fault = "sandbox.before_loading = sandbox.after_loading = lambda *_: None"
    outcomes = tried(Planted(fault), target)
    assert {what for what, outcome in outcomes.items() if outcome != escapes.OPEN} <= {"use io_uring"}


@pytest.mark.parametrize(
    ("fault", "gaps"),
    [
        (
            "sandbox.after_loading = lambda *_: None",
            {"send by UDP", "fork", "connect to a socket file", "outlive the service"},
        ),
        (
            "seccomp.install = lambda *_: None",
            {"send by UDP", "fork", "connect to a socket file", "outlive the service"},
        ),
        ("landlock.restrict = lambda *_: None", set()),
    ],
)
def test_a_wall_left_out_is_seen(target, fault, gaps):
    """seccomp alone holds a decoder; Landlock alone leaves UDP, sockets in folders and new processes."""
    outcomes = tried(Planted(fault), target)
    assert {what for what, outcome in outcomes.items() if outcome == escapes.OPEN} >= gaps
    assert bool(gaps) == (set(outcomes.values()) != {escapes.DENIED})


def test_libraries_that_leave_a_thread_running_are_refused(target):
    """Landlock would not hold for it."""
    fault = "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()"
    worker = Planted(fault)
    with pytest.raises(WorkerDied):
        tried(worker, target)


def test_a_kernel_without_landlock_is_refused_or_warned_of(target, monkeypatch, caplog, tmp_path):
    missing = "landlock.abi = lambda: 0"
    with pytest.raises(WorkerDied):
        tried(Planted(missing), target)
    assert set(tried(Planted(missing, policy="warn"), target).values()) == {escapes.DENIED}, "seccomp still holds"
    monkeypatch.setattr(landlock, "abi", lambda: 0)
    settings = _Settings("require")
    with pytest.raises(Unconfined, match="no Landlock.*sandbox = .warn."):
        walls.insist(settings)
    walls.insist(_Settings("warn"))
    assert "no Landlock" in caplog.text


def test_a_service_whose_decoder_cannot_be_confined_does_not_start(monkeypatch):
    """A container may forbid the calls although the kernel has them; no document may pay for that."""
    command = [sys.executable, "-I", "-c", "raise SystemExit(1)"]
    monkeypatch.setattr(workers.Worker, "_command", lambda self: command)
    with pytest.raises(Unconfined, match="no decoder starts behind its walls"):
        walls.insist(_Settings("require"))


def test_a_worker_that_has_ended_before_its_first_word_is_told_of_like_any_other(monkeypatch):
    """On a busy machine it may end before it is told what to do."""

    def dead(pid):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    worker = workers.Worker("daemon.decoder", DECODER, LIMITS, started=dead)
    monkeypatch.setattr(worker, "_command", lambda: [sys.executable, "-I", "-c", "raise SystemExit(7)"])
    with pytest.raises(WorkerDied, match=r"broke off \(exit code 7\)"):
        worker.call({}, [pixel()], 60)
    assert worker.pid is None


class _Settings:
    def __init__(self, policy):
        self.sandbox, self.ingest = policy, Ingest()


def test_another_architectures_calls_kill():
    """int 0x80 makes i386 calls, whose numbers mean something else: 20 is getpid there and writev here."""
    if platform.machine() != "x86_64":
        pytest.skip("i386 calls exist on x86_64 only")
    code = """
import ctypes, mmap
from privacy import sandbox, seccomp
page = mmap.mmap(-1, 4096, prot=7)
page.write(bytes.fromhex("b814000000cd80c3"))  # mov eax, 20; int 0x80; ret
call = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
sandbox.no_new_privileges()
seccomp.install(seccomp.deny(["ptrace"]))
print("installed", flush=True)
call()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.stdout.strip(), done.returncode) == (b"installed", -31)  # SIGSYS


def test_the_numbers_are_the_kernels():
    """Against the headers of the C library, where they are installed."""
    headers = {
        "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
        "aarch64": Path("/usr/include/asm-generic/unistd.h"),
    }
    compared = 0
    for machine, header in headers.items():
        if not header.exists():
            continue
        real = dict(re.findall(r"#define\s+__NR(?:3264)?_(\w+)\s+(\d+)", header.read_text()))
        real |= {"newfstatat": real["fstatat"]} if "fstatat" in real else {}
        for name, number in seccomp.numbers(machine).items():
            if name in real:  # an older header knows fewer
                assert (name, number) == (name, int(real[name]))
                compared += 1
    if not compared:
        pytest.skip("no kernel headers here")
    assert compared > 100


def test_a_filter_names_only_calls_that_exist():
    with pytest.raises(SandboxFailed, match="no_such_call"):
        seccomp.allow_only(seccomp.calls("no_such_call"))
    with pytest.raises(SandboxFailed, match="riscv64"):
        seccomp.numbers("riscv64")


def test_a_decode_opens_no_file_after_its_walls_are_up(tmp_path, monkeypatch):
    """strace of a whole decode, every format: nothing is opened, looked up or started after the filter."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not here")
    if subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, check=False).returncode:
        pytest.skip("strace may not trace here")
    trace = tmp_path / "trace"

    class Traced(workers.Worker):
        def _command(self):
            return ["strace", "-f", "-q", "-o", str(trace), *super()._command()]

    worker = Traced("daemon.decoder", DECODER, LIMITS)
    send = wire.send

    def as_strace(sock, header, blobs=()):
        """strace stands between: it is the decoder's parent."""
        send(sock, {**header, "parent": worker.pid} if "parent" in header else header, blobs)

    monkeypatch.setattr(wire, "send", as_strace)
    try:
        for kind in ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF"):
            buffer = io.BytesIO()
            Image.new("RGB", (40, 30), (9, 99, 199)).save(buffer, kind)
            worker.call({}, [buffer.getvalue()], 200).close()
        for broken in (b"%PDF-1.7 rubbish", pixel()[:40], b"GIF89a rubbish"):
            with pytest.raises(BadFile):
                worker.call({}, [broken], 200)
    finally:
        worker.stop()
    lines = trace.read_text().splitlines()
    filtered = [n for n, line in enumerate(lines) if "seccomp(SECCOMP_SET_MODE_FILTER" in line]
    assert len(filtered) == 1
    late = [line.split(maxsplit=1)[1] for line in lines[filtered[0] + 1 :]]
    assert any(line.startswith("recvmsg(") for line in late), "the decodes are not in the trace"
    forbidden = re.compile(
        r"(open|openat|openat2|creat|stat|lstat|newfstatat|statx|access|readlink|socket|clone|fork|execve)\("
    )
    assert [line for line in late if forbidden.match(line)] == []


# A decoder that was taken over, in the pipeline: it costs its document, which is kept, and nothing else.

TAKEN = {
    "spins": ("while True: pass", "took more than 1.5 s and was killed"),
    "eats memory": ("hoard = []\n    while True: hoard.append(numpy.empty(2**28, numpy.uint8))", "needs more memory"),
    "forks": ("import os\n    while True: os.fork()", "PermissionError"),
    "aborts": ("import os\n    os.abort()", "was killed by SIGABRT"),
    "fills memory files": (
        "import os\n    while True: os.write(os.memfd_create('x'), bytes(2**24))",
        "could not be|OSError",
    ),
    "lies about its pages": (
        "send = decoder.wire.send\n"
        "    decoder.wire.send = lambda sock, header, blobs=(): send(sock, {'shapes': [[5, 5]] * 9}, blobs)\n"
        "    yield numpy.zeros((1, 1, 3), numpy.uint8)",
        "cannot have found",
    ),
    "speaks": (
        "raise BadFile('Jane Doe, born 1970-01-01: \\u00a7 ' + 'secret ' * 60)",
        "gave a reason that is not repeated",
    ),
}


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory, weights_dir):
    home = tmp_path_factory.mktemp("state") / "home"
    home.mkdir()
    (home / "ocrd.toml").write_text("[ingest]\ndecode_seconds = 120\n")
    assert ocrd(home, "init", "--weights", str(weights_dir)).returncode == 0
    opened, database = open_home(home), Database(home / "state.db")
    made = Pipeline(opened, database, lambda: False)
    yield made, opened
    made.close()
    database.close()


def processed(made, home, id, data):
    folder = home.settings.claimed_dir / id
    folder.mkdir(mode=0o700)
    (folder / "scan.png").write_bytes(data)
    return made.process(Claim(id, folder, folder / "scan.png", None))


@pytest.mark.parametrize("how", TAKEN)
def test_a_decoder_that_is_taken_over_costs_its_document_only(pipeline, how, monkeypatch):
    made, home = pipeline
    if how == "spins":
        decode = made._readers.decoder.decode
        monkeypatch.setattr(made._readers.decoder, "decode", lambda data, seconds: decode(data, 1.5))
    body, reason = TAKEN[how]
    fault = f"import numpy\nfrom daemon.errors import BadFile\ndef pages(*_):\n    {body}\n"
    fault += "rehearse, decoder._rehearse = decoder._rehearse, lambda *_: None\ndecoder.pages = pages"
    real = made._readers.decoder.worker
    made._readers.decoder.worker = Planted(fault)
    id = f"{sorted(TAKEN).index(how):016x}"
    try:
        arrival = processed(made, home, id, pixel() + how.encode())
    finally:
        made._readers.decoder.worker.close()
        made._readers.decoder.worker = real
    assert arrival.state == "failed"
    told = json.loads((home.settings.outbox_dir / f"{id}.json").read_text())["reason"]
    assert re.search(reason, told), told
    assert "Jane" not in told
    assert home.failed.get(id, "original") == pixel() + how.encode(), "the document is not lost"
    assert not (home.settings.claimed_dir / id).exists()


def test_the_next_document_is_read(pipeline):
    made, home = pipeline
    arrival = processed(made, home, f"{99:016x}", png(synthesis.thermal_label(4)))
    assert arrival.state == "done"


def test_doctor_tries_every_escape_and_sees_a_worker_without_walls(pipeline, monkeypatch):
    _made, home = pipeline
    settings = home.settings
    decoder_only = walls._each

    def each(settings, scratch):
        return {"decoder": decoder_only(settings, scratch)["decoder"]}

    monkeypatch.setattr(walls, "_each", each)
    healthy = list(doctor._walls(settings))
    assert {finding.severity for finding in healthy} == {doctor.OK}
    assert len(healthy) == 1 + len(escapes.ATTEMPTS)
    fault = "sandbox.before_loading = sandbox.after_loading = lambda *_: None"
    monkeypatch.setattr(walls, "_each", lambda *_: {"decoder": Planted(fault)})
    broken = [finding for finding in doctor._walls(settings) if finding.severity == doctor.BROKEN]
    assert len(broken) >= len(escapes.ATTEMPTS) - 1
    assert any("open the key file: not denied to decoder (open)" in finding.text for finding in broken)


@pytest.mark.parametrize(
    ("asked", "trouble", "severity", "says"),
    [
        ("cpu", None, doctor.OK, "on the processor, as"),
        ("auto", None, doctor.OK, "on the GPU"),
        ("auto", "there is no card", doctor.OK, "on the processor: there is no card"),
        ("cuda", None, doctor.OK, "on the GPU"),
        ("cuda", "there is no card", doctor.BROKEN, "but there is no card: every round will be refused"),
    ],
)
def test_doctor_says_where_rounds_train(monkeypatch, asked, trouble, severity, says):
    monkeypatch.setattr("learners.device.trouble", lambda: trouble)
    told = doctor._device(asked)
    assert (told.severity, says in told.text) == (severity, True)


def test_an_answer_that_no_decode_gives_is_not_believed():
    decoder = decoding.Decoder(Ingest(), "require")
    for header in ({}, {"shapes": 3}, {"shapes": [[1]]}, {"shapes": [[True, 2]]}, {"shapes": [[0, 5]]}, {"doubt": "§"}):
        with pytest.raises(ValueError, match=r"."):
            decoder._believed(_Message(header))
    with pytest.raises(ValueError, match="pages in"):
        decoder._believed(_Message({"shapes": [[1, 1]]}))
    assert decoder._believed(_Message({"shapes": [[1, 1]]}, [7])).shapes == [(1, 1)]


class _Message:
    def __init__(self, header, fds=()):
        self.header, self.fds = header, list(fds)


def test_the_kernel_takes_a_worker_before_the_service(target):
    worker = workers.Worker("daemon.decoder", DECODER, LIMITS)
    worker.call({}, [pixel()], 120).close()
    try:
        assert Path(f"/proc/{worker.pid}/oom_score_adj").read_text().strip() == "1000"
        assert Path(f"/proc/{os.getpid()}/oom_score_adj").read_text().strip() != "1000"
        status = Path(f"/proc/{worker.pid}/status").read_text()
        assert re.search(r"^NoNewPrivs:\s*1$", status, re.M)
        assert re.search(r"^Seccomp:\s*2$", status, re.M)
    finally:
        worker.stop()


def test_a_decoded_page_reaches_the_reader_as_it_was():
    rng = np.random.default_rng(0)
    source = rng.integers(0, 256, (30, 50, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(source).save(buffer, "PNG")
    decoder = decoding.Decoder(Ingest(), "require")
    try:
        with decoder.decode(buffer.getvalue(), 120) as decoded:
            assert decoded.shapes == [(30, 50)]
            assert (np.frombuffer(decoded.message.blob(0), np.uint8).reshape(30, 50, 3) == source).all()
    finally:
        decoder.close()
