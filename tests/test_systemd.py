"""The unit's score, what the unit may not do, and the inbox as tmpfiles.d makes it, with real users' files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.errors import EXIT_CODES, AlreadyRunning, BadKeys, BadSetting, NotInitialised, NotOurs, Unconfined
from daemon.home import MASTER_CREDENTIAL
from daemon.service import STOP_SECONDS
from running import Running, drop, ocrd

SYSTEMD = Path(__file__).parent.parent / "systemd"
UNIT = SYSTEMD / "ocrd.service"
GPU = SYSTEMD / "gpu.conf"
MOST_EXPOSURE, MOST_WITH_GPU = 0.5, 0.8

needs_analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")


def directives(unit: str) -> dict[str, list[str]]:
    """The values of each setting, in order, comments left out."""
    found: dict[str, list[str]] = {}
    for line in unit.splitlines():
        if match := re.fullmatch(r"(\w+)=(.*)", line):
            found.setdefault(match[1], []).append(match[2])
    return found


def score(folder: Path, unit: str, drop_in: str = "", most: float = MOST_EXPOSURE) -> tuple[bool, float]:
    """Whether systemd-analyze accepts the unit at the threshold, and the exposure it prints."""
    path = folder / "ocrd.service"
    path.write_text(unit)
    if drop_in:
        (folder / "ocrd.service.d").mkdir(exist_ok=True)
        (folder / "ocrd.service.d" / "gpu.conf").write_text(drop_in)
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={most * 10:.0f}"]
    done = subprocess.run([*command, str(path)], capture_output=True, text=True, check=False)
    if done.returncode and "unrecognized option" in done.stderr:
        pytest.skip("systemd-analyze is older than 250: it scores no unit files")
    match = re.search(r"exposure level for ocrd\.service: (\d+\.\d+)", done.stdout)
    assert match is not None, done.stderr
    return done.returncode == 0, float(match[1])


@needs_analyze
def test_the_unit_is_hardened(tmp_path: Path) -> None:
    accepted, exposure = score(tmp_path, UNIT.read_text())
    assert accepted
    assert exposure <= MOST_EXPOSURE


@needs_analyze
def test_the_drop_in_opens_the_card_and_nothing_else(tmp_path: Path) -> None:
    accepted, exposure = score(tmp_path, UNIT.read_text(), GPU.read_text(), MOST_WITH_GPU)
    assert accepted
    assert MOST_EXPOSURE < exposure <= MOST_WITH_GPU, "the drop-in was not read, or opens more than devices"
    assert directives(GPU.read_text()) == {
        "PrivateDevices": ["no"],
        "DevicePolicy": ["closed"],
        "DeviceAllow": ["char-nvidia* rw"],
    }


@needs_analyze
@pytest.mark.parametrize("line", ["PrivateUsers=yes", "RestrictNamespaces=yes", "SystemCallFilter=@system-service"])
def test_make_check_fails_on_a_softer_unit(tmp_path: Path, line: str) -> None:
    if shutil.which("make") is None:
        pytest.skip("make is not here")

    def gate(unit: str) -> int:
        (tmp_path / "unit").write_text(unit)
        command = ["make", "--silent", "unit-score", f"UNIT={tmp_path / 'unit'}"]
        return subprocess.run(command, cwd=SYSTEMD.parent, capture_output=True, check=False).returncode

    assert gate(UNIT.read_text()) == 0
    softer = UNIT.read_text().replace(f"{line}\n", "").replace("ProtectKernelModules=yes\n", "")
    assert gate(softer.replace("PrivateNetwork=yes\n", "")) != 0


HARDENING = re.compile(
    r"^(CapabilityBoundingSet|Private|Protect|Restrict|SystemCall|NoNewPrivileges|IPAddress|Device|Lock|UMask|User)\w*=.*\n",
    re.MULTILINE,
)


@needs_analyze
def test_a_unit_without_its_hardening_is_seen(tmp_path: Path) -> None:
    bare = HARDENING.sub("", UNIT.read_text())
    accepted, exposure = score(tmp_path, bare)
    assert not accepted
    assert exposure > 8


@needs_analyze
def test_systemd_knows_every_setting(tmp_path: Path) -> None:
    """`verify` warns of unknown settings and values; it needs an executable that exists."""

    def warnings(unit: str) -> str:
        path = tmp_path / "ocrd.service"
        path.write_text(unit.replace("/opt/ocrd/bin/ocrd start", "/bin/true"))
        command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode and "Unknown" not in done.stderr:
            pytest.skip("systemd-analyze verify does not work here")
        return done.stderr

    assert "ocrd.service" not in warnings(UNIT.read_text())
    assert "Unknown" in warnings(UNIT.read_text().replace("ProtectClock=", "ProtectClocks="))


def test_what_the_daemon_relies_on() -> None:
    unit = directives(UNIT.read_text())
    assert unit["Type"] == ["notify"]
    assert int(unit["WatchdogSec"][0]) >= 30
    assert int(unit["TimeoutStopSec"][0]) >= STOP_SECONDS + 10, "it is killed before it has stopped by itself"
    assert unit["ExecStart"] == ["/opt/ocrd/bin/ocrd start"]
    assert unit["StateDirectory"] == ["ocrd"], "inbox and state are one mount: a claim is a rename"
    assert "ReadWritePaths" not in unit
    assert unit["ProcSubset"] == ["all"], "without /proc/cpuinfo torch and onnxruntime are slow"
    assert unit.get("MemoryDenyWriteExecute", ["no"]) == ["no"], "torch and Paddle write code and run it"
    assert unit["LimitCORE"] == ["0"], "a core dump holds the keys"
    assert unit["OOMPolicy"] == ["continue"], "a worker's death is not the daemon's"
    assert {"seccomp", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"} <= {
        call for value in unit["SystemCallFilter"] for call in value.split()
    }, "the workers' walls are calls that Debian 12's @system-service lacks"
    assert set(unit["Delegate"][0].split()) == {"memory", "pids", "cpu"}, "daemon/cgroups.py divides the group"
    assert unit["ProtectControlGroups"] == ["no"]
    assert f"LoadCredentialEncrypted={MASTER_CREDENTIAL}:" in UNIT.read_text()


def test_the_service_has_no_network() -> None:
    unit = directives(UNIT.read_text())
    assert unit["PrivateNetwork"] == ["yes"]
    assert unit["IPAddressDeny"] == ["any"]
    assert unit["RestrictAddressFamilies"] == ["AF_UNIX"]


def test_restarts_are_not_tried_where_they_mend_nothing() -> None:
    useless = (BadSetting, NotInitialised, NotOurs, AlreadyRunning, Unconfined, BadKeys)
    codes = {EXIT_CODES[error] for error in useless} | {2}
    assert set(map(int, directives(UNIT.read_text())["RestartPreventExitStatus"][0].split())) == codes


HEADER = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
UNDER_THE_FILTER = """
import os, sys
from pathlib import Path
from daemon import decoding, escapes, walls
from daemon.config import Ingest
from privacy import sandbox, seccomp
numbers = [int(n) for n in sys.argv[2].split(",")]
program = seccomp._preamble("x86_64")
for number in numbers:
    program += [(seccomp._JUMP_EQUAL, 0, 1, number), (seccomp._RETURN, 0, 0, seccomp._ERRNO | 1)]
sandbox.no_new_privileges()
seccomp.install(seccomp._assembled([*program, (seccomp._RETURN, 0, 0, seccomp._ALLOW)]))
worker = decoding.Decoder(Ingest(), "require").worker
print(sorted(set(walls.attempt(worker, Path(sys.argv[1]), Path(sys.argv[1]).parent).values())))
worker.stop()
"""


def filtered(unit: str) -> set[str]:
    """The calls that the unit's SystemCallFilter= lines leave, as systemd adds and takes them."""

    def names(word: str) -> set[str]:
        if not word.startswith("@"):
            return {word}
        command = ["systemd-analyze", "syscall-filter", word]
        rows = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[1:]
        inside = [row.strip() for row in rows if row.strip() and not row.strip().startswith("#")]
        return set().union(*(names(row) for row in inside))

    left = names("@default")
    for value in directives(unit)["SystemCallFilter"]:
        words = set().union(*(names(word) for word in value.removeprefix("~").split()))
        left = left - words if value.startswith("~") else left | words
    return left


@needs_analyze
@pytest.mark.skipif(not HEADER.exists(), reason="no kernel headers to translate the unit's filter with")
def test_the_walls_go_up_under_the_units_filter(tmp_path: Path) -> None:
    """The service and a real decoder under the calls that the unit leaves, and no other."""
    (tmp_path / "master.key").write_bytes(b"secret")
    known = dict(re.findall(r"#define __NR_(\w+) (\d+)", HEADER.read_text()))
    left = filtered(UNIT.read_text())
    assert "ptrace" not in left
    denied = ",".join(number for name, number in known.items() if name not in left)
    command = [sys.executable, "-c", UNDER_THE_FILTER, str(tmp_path / "master.key"), denied]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "['denied']", done.stderr[-2000:]


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("systemd-creds") is None, reason="only root can encrypt to this machine's key"
)
def test_the_master_key_as_an_encrypted_credential(
    tmp_path: Path, weights_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As docs/operating.md says: encrypted, the file removed, decrypted as systemd would, and the service serves."""
    home = tmp_path / "state"
    assert ocrd(home, "init", "--weights", str(weights_dir)).returncode == 0
    key, sealed, given = home / "keys" / "master.key", tmp_path / "sealed", tmp_path / "credentials"
    crypt = ["systemd-creds", "--name=master.key"]
    done = subprocess.run([*crypt, "--with-key=host", "encrypt", key, sealed], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("systemd-creds has no key of this machine")
    assert key.read_bytes() not in sealed.read_bytes()
    key.unlink()
    assert ocrd(home, "start").returncode != 0, "without its key it must not serve"
    given.mkdir(mode=0o700)
    subprocess.run([*crypt, "decrypt", sealed, given / "master.key"], check=True, capture_output=True)
    (given / "master.key").chmod(0o400)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(given))
    with Running(home) as service:
        drop(home, "broken.png", b"rubbish")
        assert service.wait_for_receipts(1)[0]["state"] == "failed"


# The inbox, with files of other users. Root can play them all.

SERVICE, ALICE, BOB = 61001, 61002, 61003
DROP, READ, ALICES, BOBS = 62001, 62002, 62003, 62004
IDS = {"ocrd-drop": DROP, "ocrd-read": READ, "ocrd": SERVICE}


def acts_as_others() -> bool:
    if os.geteuid() != 0 or shutil.which("systemd-tmpfiles") is None or shutil.which("setpriv") is None:
        return False
    command = ["setpriv", f"--reuid={ALICE}", f"--regid={ALICES}", f"--groups={DROP}", "true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


needs_root = pytest.mark.skipif(
    not acts_as_others(),
    reason="only root with all its rights can act as several users, and systemd-tmpfiles makes the folders",
)


@pytest.fixture
def state() -> Iterator[Path]:
    """A state folder made from ocrd.tmpfiles.conf, under other paths and ids."""
    base = Path(tempfile.mkdtemp(prefix="ocrd-tmpfiles-"))
    base.chmod(0o755)
    text = (SYSTEMD / "ocrd.tmpfiles.conf").read_text().replace("/var/lib/ocrd", str(base / "var"))
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    conf = base / "ocrd.conf"
    for name, number in IDS.items():
        lines = [re.sub(rf"(?<=[\s:]){name}(?=[\s:]|$)", str(number), line) for line in lines]
    conf.write_text("\n".join(lines) + "\n")
    done = subprocess.run(["systemd-tmpfiles", "--create", str(conf)], capture_output=True, text=True, check=False)
    if done.returncode or "ACL" in done.stderr:
        shutil.rmtree(base)
        pytest.skip("no ACLs on this file system")
    yield base / "var"
    shutil.rmtree(base)


def acting(user: int, group: int, groups: list[int], script: str, where: Path) -> subprocess.CompletedProcess[str]:
    who = [f"--reuid={user}", f"--regid={group}", f"--groups={','.join(map(str, [group, *groups]))}"]
    return subprocess.run(["setpriv", *who, "sh", "-c", script], cwd=where, capture_output=True, text=True, check=False)


def alice(script: str, where: Path) -> None:
    done = acting(ALICE, ALICES, [DROP], f"umask 077; {script}", where)
    assert done.returncode == 0, done.stderr


def claims_and_reads(inbox: Path, name: str) -> tuple[bool, bool, bool]:
    """Whether the service can claim a dropped file, read it, and remove it."""
    taken = f"../claimed/{Path(name).name}"
    steps = (f"mv -n {name} {taken}", f"cat {taken} >/dev/null", f"rm -f {taken} && test ! -e {taken}")
    claimed, read, removed = (acting(SERVICE, SERVICE, [DROP, READ], step, inbox).returncode == 0 for step in steps)
    return claimed, read, removed


DROPS: dict[str, tuple[str, bool]] = {
    "written": ("echo x > new", True),
    "copied from a readable file": ("cp ../open new", True),
    "copied from a private file": ("cp ../private new", False),
    "copied as a stream": ("cat ../private > new", True),
    "installed for the group": ("install -m 640 ../private new", True),
    "moved from a private file": ("mv ../private new", False),
    "copied from a private file, then opened": ("cp ../private new && chmod a+r new", True),
    "moved from a private file, then opened": ("mv ../private new && chmod a+r new", True),
}


@needs_root
@pytest.mark.parametrize("how", DROPS)
def test_what_another_user_drops(state: Path, how: str) -> None:
    """As docs/operating.md says: everything can be claimed and removed; what carries mode 0600 can't be read."""
    script, readable = DROPS[how]
    for name, mode in (("open", 0o644), ("private", 0o600)):
        (state / name).write_text("x")
        (state / name).chmod(mode)
        os.chown(state / name, ALICE, ALICES)
    os.chown(state, ALICE, ALICES)  # so that `mv` may take the file out of here; ours again below
    alice(script, state / "inbox")
    os.chown(state, SERVICE, SERVICE)
    assert claims_and_reads(state / "inbox", "new") == (True, readable, True)


@needs_root
def test_a_folder_of_another_user(state: Path) -> None:
    alice("mkdir client && echo x > client/new", state / "inbox")
    assert claims_and_reads(state / "inbox", "client/new") == (True, True, True)
    assert acting(SERVICE, SERVICE, [DROP], "rmdir client", state / "inbox").returncode == 0


@needs_root
@pytest.mark.parametrize(
    ("who", "script", "allowed"),
    [
        ([DROP], "cat inbox/new", False),
        ([DROP], "ls .", False),
        ([DROP], "ls claimed", False),
        ([DROP], "ls outbox", False),
        ([], "ls inbox", False),
        ([], "echo x > inbox/mine", False),
        ([READ], "ls outbox", True),
        ([READ], "echo x > outbox/mine", False),
        ([DROP], "echo x > inbox/mine", True),
    ],
)
def test_what_others_may_not(state: Path, who: list[int], script: str, allowed: bool) -> None:
    alice("echo x > new", state / "inbox")
    assert (acting(BOB, BOBS, who, script, state).returncode == 0) == allowed


@needs_root
def test_an_inbox_without_its_acl_is_seen(state: Path) -> None:
    """Without the default ACL a private umask keeps the service from reading."""
    os.removexattr(state / "inbox", "system.posix_acl_default")
    alice("echo x > new", state / "inbox")
    assert claims_and_reads(state / "inbox", "new") == (True, False, True)


@needs_root
def test_the_users_and_groups(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    command = ["systemd-sysusers", f"--root={tmp_path}", str(SYSTEMD / "ocrd.sysusers.conf")]
    subprocess.run(command, check=True, capture_output=True)
    assert ":/var/lib/ocrd:" in (tmp_path / "etc" / "passwd").read_text()
    groups = dict(line.rsplit(":", 1) for line in (tmp_path / "etc" / "group").read_text().splitlines())
    members = {name.split(":")[0]: who for name, who in groups.items()}
    assert (members["ocrd-drop"], members["ocrd-read"]) == ("ocrd", "ocrd")
