"""The unit's score, what the unit may not do, and the inbox as tmpfiles.d makes it, with real users' files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.errors import EXIT_CODES, AlreadyRunning, BadSetting, NotInitialised, NotOurs
from daemon.home import MASTER_CREDENTIAL

SYSTEMD = Path(__file__).parent.parent / "systemd"
UNIT = SYSTEMD / "ocrd.service"
MOST_EXPOSURE = 1.5

needs_analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")


def directives(unit: str) -> dict[str, list[str]]:
    """The values of each setting, in order, comments left out."""
    found: dict[str, list[str]] = {}
    for line in unit.splitlines():
        if match := re.fullmatch(r"(\w+)=(.*)", line):
            found.setdefault(match[1], []).append(match[2])
    return found


def score(folder: Path, unit: str) -> tuple[bool, float]:
    """Whether systemd-analyze accepts the unit at the threshold, and the exposure it prints."""
    path = folder / "ocrd.service"
    path.write_text(unit)
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={MOST_EXPOSURE * 10:.0f}"]
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
    assert exposure <= 0.6, "the README and docs/operating.md promise less than they did"


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
    assert unit["ExecStart"] == ["/opt/ocrd/bin/ocrd start"]
    assert unit["StateDirectory"] == ["ocrd"], "inbox and state are one mount: a claim is a rename"
    assert "ReadWritePaths" not in unit
    assert unit["ProcSubset"] == ["all"], "without /proc/cpuinfo torch and onnxruntime are slow"
    assert unit.get("MemoryDenyWriteExecute", ["no"]) == ["no"], "torch and Paddle write code and run it"
    assert unit["LimitCORE"] == ["0"], "a core dump holds the keys"
    assert unit["OOMPolicy"] == ["continue"], "a worker's death is not the daemon's"
    assert f"LoadCredentialEncrypted={MASTER_CREDENTIAL}:" in UNIT.read_text()


def test_the_service_has_no_network() -> None:
    unit = directives(UNIT.read_text())
    assert unit["PrivateNetwork"] == ["yes"]
    assert unit["IPAddressDeny"] == ["any"]
    assert unit["RestrictAddressFamilies"] == ["AF_UNIX"]


def test_restarts_are_not_tried_where_they_mend_nothing() -> None:
    codes = {EXIT_CODES[error] for error in (BadSetting, NotInitialised, NotOurs, AlreadyRunning)} | {2}
    assert set(map(int, directives(UNIT.read_text())["RestartPreventExitStatus"][0].split())) == codes


# The inbox, with files of other users. Root can play them all.

SERVICE, ALICE, BOB = 61001, 61002, 61003
DROP, READ, ALICES, BOBS = 62001, 62002, 62003, 62004
IDS = {"ocrd-drop": DROP, "ocrd-read": READ, "ocrd": SERVICE}

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("systemd-tmpfiles") is None or shutil.which("setpriv") is None,
    reason="only root can act as several users, and systemd-tmpfiles makes the folders",
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
