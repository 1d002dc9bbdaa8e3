"""A systemd of its own, as the first process of new namespaces, with ocrd installed: for `live_unit.py`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import running
from models import weights

HOME = Path("/var/lib/ocrd")
ROOT = Path(__file__).parent.parent
NAMESPACES = ("--mount", "--pid", "--uts", "--ipc", "--cgroup", "--net")
BOOT_SECONDS = 60.0

_PYTHON = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
"""Outside of all home folders, which the unit hides."""
_SYSTEMD = "/lib/systemd/systemd"
_BOOT = r"""
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$WORK"
for each in opt etc var; do
  mkdir -p "$WORK/$each/up" "$WORK/$each/work"
  mount -t overlay overlay -o "lowerdir=/$each,upperdir=$WORK/$each/up,workdir=$WORK/$each/work" "/$each"
done
for wanted in /lib/systemd/system/*.target.wants /etc/systemd/system/*.target.wants; do
  [ ! -d "$wanted" ] || mount -t tmpfs tmpfs "$wanted"
done
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
umount -l /sys/fs/cgroup || true
mount -t sysfs -o ro sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t proc proc /proc
mount --make-rshared /
: > /etc/fstab
rm -rf /var/lib/ocrd /opt/ocrd
"$PYTHON" -m venv --without-pip /opt/ocrd
cd /opt/ocrd/lib/python3*/site-packages
echo "import site; site.addsitedir('$PACKAGES')" > ocrd.pth
cd /
sed '1s,.*,#!/opt/ocrd/bin/python,' "$PROGRAM" > /opt/ocrd/bin/ocrd
chmod 755 /opt/ocrd/bin/ocrd
cp -r "$WEIGHTS" /opt/ocrd/weights
chmod -R a+rX /opt/ocrd
install -m 644 "$UNIT" /etc/systemd/system/ocrd.service
install -D -m 644 "$ROOT/systemd/ocrd.sysusers.conf" /etc/sysusers.d/ocrd.conf
install -D -m 644 "$ROOT/systemd/ocrd.tmpfiles.conf" /etc/tmpfiles.d/ocrd.conf
printf '[Unit]\nDefaultDependencies=no\nRequires=systemd-journald.service\n' > /etc/systemd/system/live.target
export container=ocrd
exec /lib/systemd/systemd --system --unit=live.target --log-target=console
"""
"""What targets ask for is hidden, so the journal alone starts; what systemd clears at a start is its own."""


class Machine:
    """What runs under that systemd, and its files; `init` is the first process, as it is numbered outside."""

    def __init__(self, init: int) -> None:
        self._init = init

    def run(self, *command: str, data: bytes | None = None, check: bool = True) -> str:
        """The output of a command inside. Raises `CalledProcessError`."""
        enter = ["nsenter", f"--target={self._init}", *NAMESPACES, "--", *command]
        return subprocess.run(enter, input=data, capture_output=True, check=check).stdout.decode()

    def succeeds(self, *command: str) -> bool:
        """Whether a command inside ends with 0."""
        enter = ["nsenter", f"--target={self._init}", *NAMESPACES, "--", *command]
        return subprocess.run(enter, capture_output=True, check=False).returncode == 0

    def set_up(self) -> None:
        """What `make install` does when the program is in place, and a user who may drop and read."""
        self.run("systemd-sysusers", "/etc/sysusers.d/ocrd.conf")
        self.run("systemd-tmpfiles", "--create", "/etc/tmpfiles.d/ocrd.conf")
        self.run("useradd", "--groups", "ocrd-drop,ocrd-read", "clerk")
        init = ("/opt/ocrd/bin/ocrd", "--home", str(HOME), "init", "--weights", "/opt/ocrd/weights")
        self.run("runuser", "-u", "ocrd", "--", *init)

    def unit(self, name: str) -> str:
        """A property of the service, as systemd has it."""
        return self.run("systemctl", "show", "ocrd", f"--property={name}", "--value").strip()

    def configure(self, *settings: str) -> None:
        """Replaces the service's drop-in."""
        self.run("mkdir", "-p", "/etc/systemd/system/ocrd.service.d")
        self.write(
            Path("/etc/systemd/system/ocrd.service.d/live.conf"), "\n".join(("[Service]", *settings, "")).encode()
        )
        self.run("systemctl", "daemon-reload")

    def write(self, path: Path, data: bytes, user: str = "root") -> None:
        """A file, from a user."""
        self.run("runuser", "-u", user, "--", "bash", "-c", f"cat > {path}", data=data)

    def receipts(self) -> dict[str, str]:
        """How each document ended, as that user reads it. Raises `ValueError` if one is being written."""
        read = f"for each in {HOME}/outbox/*.json; do [ ! -f $each ] || tr -d '\\n' < $each; echo; done"
        lines = self.run("runuser", "-u", "clerk", "--", "bash", "-c", read).split("\n")
        return {receipt["document"]: receipt["state"] for receipt in map(json.loads, filter(None, lines))}


@contextmanager
def machine(changed: Callable[[str], str] = lambda unit: unit) -> Iterator[Machine]:
    """Boots it, and ends it with all that runs in it; `changed` makes the unit that is installed."""
    if os.geteuid() != 0 or not all(Path(each).exists() for each in (_SYSTEMD, _PYTHON)):
        sys.exit(f"expected to be root on a machine with {_SYSTEMD} and {_PYTHON}")
    with tempfile.TemporaryDirectory(prefix=".bench-live-unit-", dir="/var/lib") as folder:
        work, unit, said = (Path(folder, name) for name in ("work", "unit", "said"))
        work.mkdir()
        unit.write_text(changed((ROOT / "systemd" / "ocrd.service").read_text()))
        given = {
            "WORK": str(work),
            "UNIT": str(unit),
            "ROOT": str(ROOT),
            "PYTHON": _PYTHON,
            "PACKAGES": sysconfig.get_path("purelib"),
            "PROGRAM": str(running.OCRD),
            "WEIGHTS": str(weights.default_folder()),
            "PATH": os.environ["PATH"],
        }
        unshare = ["unshare", *NAMESPACES, "--fork", "--kill-child", "bash", "-c", _BOOT]
        with said.open("wb") as log:
            outer = subprocess.Popen(unshare, env=given, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            here = _booted(outer, said)
            here.set_up()
            yield here
        finally:
            outer.kill()
            outer.wait()


def _booted(outer: subprocess.Popen[bytes], said: Path) -> Machine:
    deadline = time.monotonic() + BOOT_SECONDS
    while outer.poll() is None and time.monotonic() < deadline:
        first = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
        found = Machine(int(first[0])) if first else None
        if found and found.run("systemctl", "is-active", "live.target", check=False).strip() == "active":
            return found
        time.sleep(0.2)
    sys.exit(f"systemd did not come up:\n{said.read_text()}")


def replaced(unit: str, setting: str, instead: str) -> str:
    """The unit with one of its lines (or the beginning of one) changed."""
    if setting not in unit:
        sys.exit(f"expected {setting!r} in the unit")
    return unit.replace(setting, instead)
