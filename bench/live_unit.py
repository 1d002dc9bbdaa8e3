"""systemd/ocrd.service under a real systemd: starts, kills, hangs, wrong settings, credentials, a stop.

    python bench/live_unit.py [--files N] [--seed N] [--json FILE]        # as root, with systemd 250 or later

A systemd of its own runs as the first process of new namespaces, over copies of /etc, /var and /opt that vanish with
it (`booting.py`). The unit, its users and its folders are installed as `make install` does it; the program comes from
this environment. Each line is one thing that is to hold. Then units in which one setting was changed: each must be
seen. Exits with 1 if something does not hold, or a changed unit is not seen.

Not here: what limits a round's memory (the machine's control groups may belong to another hierarchy), and GPUs.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2

import booting
from booting import HOME, Machine
from learners.synthesis import KINDS, generate

PATIENCE = 240.0
WATCHDOG = 5
"""Seconds, of a unit whose watchdog was shortened; it says 60."""
SECRET = "patient-4711-jane-doe"
"""In the name of every file: it may not be in the journal."""
KEY, CREDENTIAL = HOME / "keys" / "master.key", "/etc/credstore.encrypted/ocrd.master.key"
_STARTS, _NO_NETWORK = "it starts", "it has a network of its own, without a way out"
_STARTED_AGAIN, _ENDED = "killed, it is started again", "hung, it is ended by the watchdog and started again"
_STAYS_DOWN = "with wrong settings it ends with 3 and is not started again"
CHANGED = {
    "killed, and not started again": (_STARTED_AGAIN, "Restart=on-failure", "Restart=no"),
    "no watchdog": (_ENDED, "WatchdogSec=60", "WatchdogSec=0"),
    "started again with wrong settings": (_STAYS_DOWN, "RestartPreventExitStatus=2 3 4 5 6 10 12", ""),
    "a network": (_NO_NETWORK, "PrivateNetwork=yes", "PrivateNetwork=no"),
    "the calls of the walls are missing": (
        _STARTS,
        "SystemCallFilter=seccomp landlock_create_ruleset",
        "SystemCallFilter=~seccomp",
    ),
}
"""By what must be seen: the first look that must fail, the setting, and what is put in its place."""

Seen = Iterator[tuple[str, bool]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="without the changed units")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    figures: dict[str, Any] = {}
    with booting.machine() as here:
        figures["holds"] = dict(_told(Looks(here, given.files, given.seed).all()))
    figures["changed units seen"] = {} if given.quick else {name: _caught(name, *CHANGED[name]) for name in CHANGED}
    for name, seen in figures["changed units seen"].items():
        print(f"{'seen' if seen else 'NOT SEEN':9} {name}")
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1))
    return 0 if all(figures["holds"].values()) and all(figures["changed units seen"].values()) else 1


def _told(seen: Seen) -> Seen:
    for what, holds in seen:
        print(f"{'holds' if holds else 'FAILS':9} {what}", flush=True)
        yield what, holds


def _caught(name: str, look: str, setting: str, instead: str) -> bool:
    """Whether the looks see that the unit was changed: by the look that is there for it, and by none before."""
    with booting.machine(lambda unit: booting.replaced(unit, setting, instead)) as here:
        looks = Looks(here, 1, 2, patience=24 * WATCHDOG)
        return next((what for what, holds in looks.all() if not holds), "") == look


class Looks:
    """Each thing that is to hold of the unit, in turn, and whether it was seen to."""

    def __init__(self, here: Machine, files: int, seed: int, patience: float = PATIENCE) -> None:
        self._here, self._files, self._patience = here, files, patience
        self._pages = (_png(seed * 1000 + n) for n in range(10_000))
        self._dropped: list[bytes] = []

    def all(self) -> Seen:
        """Ends with the first that does not hold: what follows depends on it."""
        for part in (
            self._start,
            self._documents,
            self._kill,
            self._hang,
            self._wrong_settings,
            self._credential,
            self._stop,
        ):
            for what, holds in part():
                yield what, holds
                if not holds:
                    return

    def _start(self) -> Seen:
        here = self._here
        quick = (f"WatchdogSec={WATCHDOG}",) if here.unit("WatchdogUSec") == "1min" else ()
        here.configure(*quick)
        here.run("systemctl", "start", "ocrd", check=False)
        yield _STARTS, here.unit("ActiveState") == "active"
        yield "it says how it does", "serving" in here.unit("StatusText")
        main = here.unit("MainPID")
        yield "it runs as ocrd", here.run("ps", "-o", "user=", "-p", main).strip() == "ocrd"
        doctor = ("runuser", "-u", "ocrd", "--", "/opt/ocrd/bin/ocrd", "--home", str(HOME), "doctor")
        yield "`ocrd doctor` finds nothing to mend beside it", here.succeeds(*doctor)
        nets = {here.run("readlink", f"/proc/{pid}/ns/net") for pid in ("1", main)}
        yield _NO_NETWORK, len(nets) == 2

    def _documents(self) -> Seen:
        for _ in range(self._files):
            self._drop()
        yield f"{self._files} files of a member of ocrd-drop have receipts that ocrd-read reads", self._all_received()
        yield "each of them is done", set(self._here.receipts().values()) == {"done"}

    def _kill(self) -> Seen:
        self._drop()
        before = self._here.unit("MainPID")
        self._here.run("systemctl", "kill", "--signal=KILL", "--kill-whom=main", "ocrd")
        yield _STARTED_AGAIN, self._another_than(before)
        yield "and nothing was lost", self._all_received()

    def _hang(self) -> Seen:
        before = self._here.unit("MainPID")
        self._here.run("kill", "-STOP", before)
        self._drop()
        yield _ENDED, self._another_than(before)
        yield "and the file that came meanwhile is read", self._all_received()

    def _wrong_settings(self) -> Seen:
        here, settings = self._here, HOME / "ocrd.toml"
        good = here.run("cat", str(settings))
        here.write(settings, f"{good}\n[nonsense]\nvalue = 1\n".encode(), "ocrd")
        here.run("systemctl", "restart", "ocrd", check=False)
        found = here.unit("ExecMainStatus"), here.unit("SubState")
        yield _STAYS_DOWN, found == ("3", "failed")
        here.write(settings, good.encode(), "ocrd")
        here.run("systemctl", "start", "ocrd", check=False)
        yield "with right ones it starts", here.unit("ActiveState") == "active"

    def _credential(self) -> Seen:
        here = self._here
        here.run("mkdir", "-p", str(Path(CREDENTIAL).parent))
        here.run("systemd-creds", "encrypt", "--with-key=host", "--name=master.key", str(KEY), CREDENTIAL)
        here.run("rm", str(KEY))
        here.run("systemctl", "restart", "ocrd", check=False)
        yield "without its key file it does not start", here.unit("ActiveState") != "active"
        here.configure(f"LoadCredentialEncrypted=master.key:{CREDENTIAL}")
        here.run("systemctl", "reset-failed", "ocrd")
        here.run("systemctl", "start", "ocrd", check=False)
        yield "with the key as an encrypted credential it does", here.unit("ActiveState") == "active"
        self._drop(self._dropped[0])
        known = self._all_received() and list(here.receipts().values()).count("duplicate") == 1
        yield "and knows a copy of what it read before", known

    def _stop(self) -> Seen:
        here = self._here
        begun = time.monotonic()
        here.run("systemctl", "stop", "ocrd")
        yield (
            "it stops within 20 seconds, by itself",
            time.monotonic() - begun < 20 and here.unit("Result") == "success",
        )
        yield "and leaves no process", not here.run("pgrep", "-u", "ocrd", check=False).strip()
        entries = [json.loads(line) for line in here.run("journalctl", "-u", "ocrd", "-o", "json").splitlines()]
        of_ours = [entry for entry in entries if entry.get("_SYSTEMD_UNIT") == "ocrd.service"]
        yield "the journal has its lines, with more than one priority", len({e["PRIORITY"] for e in of_ours}) > 1
        yield "and no name of a file", bool(of_ours) and SECRET not in json.dumps(entries)

    def _drop(self, page: bytes | None = None) -> None:
        page = page or next(self._pages)
        self._here.write(HOME / "inbox" / f"{SECRET}-{len(self._dropped)}.png", page, "clerk")
        self._dropped.append(page)

    def _all_received(self) -> bool:
        return self._waited_for(lambda: len(self._here.receipts()) == len(self._dropped))

    def _another_than(self, before: str) -> bool:
        """Whether another process serves."""
        here = self._here
        return self._waited_for(
            lambda: here.unit("MainPID") not in ("0", before) and here.unit("ActiveState") == "active"
        )

    def _waited_for(self, look: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + self._patience
        while time.monotonic() < deadline:
            with suppress(ValueError):  # a receipt that is being written is read again
                if look():
                    return True
            time.sleep(0.2)
        return False


def _png(seed: int) -> bytes:
    page = generate(KINDS[seed % len(KINDS)], seed).image
    return cv2.imencode(".png", page[:, :, ::-1])[1].tobytes()


if __name__ == "__main__":
    raise SystemExit(main())
