"""The real service over real files: every drop gets one receipt, nothing private is left in clear, and it stops."""

import json
import os
import sqlite3
import stat
import time
from pathlib import Path

import pytest

from learners import synthesis
from running import SETTINGS, Running, drop, drop_labels, ocrd, png, receipts


@pytest.fixture
def home(tmp_path, weights_dir):
    home = tmp_path / "state"
    home.mkdir()
    (home / "ocrd.toml").write_text(SETTINGS)
    done = ocrd(home, "init", "--weights", str(weights_dir))
    assert done.returncode == 0, done.stderr
    return home


def test_init_makes_private_keys_and_an_inbox_for_others(home):
    for name in ("master.key", "signing.key"):
        assert stat.S_IMODE((home / "keys" / name).stat().st_mode) == 0o600
    assert stat.S_IMODE((home / "inbox").stat().st_mode) == 0o3770
    assert stat.S_IMODE((home / "vault").stat().st_mode) == 0o700


def test_init_again_keeps_everything(home, weights_dir):
    before = (home / "keys" / "master.key").read_bytes()
    assert ocrd(home, "init", "--weights", str(weights_dir)).returncode == 0
    assert (home / "keys" / "master.key").read_bytes() == before
    assert (home / "ocrd.toml").read_text() == SETTINGS


def test_a_day_in_the_life(home):
    """One service, many kinds of drops; one start is slow enough that the checks share it."""
    secret = b"canary.person@example.org"
    with Running(home) as service:
        assert "Umask:\t0077" in Path(f"/proc/{service.process.pid}/status").read_text()
        drop_labels(home, range(100, 103))
        drop(home, "copy of label.png", png(synthesis.thermal_label(100)))
        drop(home, "broken.png", b"\x89PNG\r\n\x1a\nrubbish")
        drop(home, "empty.jpg", b"")
        (home / "inbox" / "ward 7").mkdir()
        drop(home, "ward 7/letter.png", png(synthesis.generate("letter", 5)), None)
        found = service.wait_for_receipts(7)
        states = sorted(r["state"] for r in found)
        assert states.count("done") + states.count("quarantined") == 4
        assert states.count("duplicate") == 1
        assert states.count("failed") == 2
        _check_receipts(found)
        _check_only_one(home)
        assert service.stop() == 0
    assert "nothing is half done" in service.log.read_text()
    _check_nothing_in_clear(home, secret)
    _check_status(home)
    _check_recovery(home, found)


def _check_receipts(found):
    for receipt in found:
        assert receipt["version"] == 1
        assert {"document", "state", "received", "ended"} <= set(receipt)
        if receipt["state"] == "failed":
            assert receipt["reason"]
        if receipt["state"] == "done":
            assert receipt["text"]
            assert receipt["pages"] == 1
    assert len({r["document"] for r in found}) == len(found)


def _check_only_one(home):
    second = ocrd(home, "start")
    assert (second.returncode, "Another ocrd serves" in second.stderr) == (6, True)


def _check_nothing_in_clear(home, secret):
    assert list((home / "claimed").iterdir()) == []
    private = [b"letter.png", b"label-100", b"ward 7", b"copy of label"]
    for folder, _folders, names in os.walk(home):
        if os.path.basename(folder) in ("weights",) or "/models" in folder:
            continue
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                data = file.read()
            assert not any(p in data for p in private), f"{folder}/{name}"
            assert not any(p.decode() in name for p in private)
            assert not data.startswith(b"\x89PNG"), f"{folder}/{name}"
    log = (home.parent / "state.log").read_bytes()
    assert not any(p in log for p in private)


def _check_status(home):
    done = ocrd(home, "status", "--json")
    status = json.loads(done.stdout)
    assert (status["version"], status["serving"], status["ledger"]["verified"]) == (1, False, True)
    assert sum(status["documents"].values()) == 7
    assert status["inbox_waiting"] == 0
    assert ocrd(home, "status", "--check").returncode == 9
    assert "the service does not run" in ocrd(home, "status").stdout


def _check_recovery(home, found):
    out = home.parent / "out"
    out.mkdir()
    (failed,) = (r["document"] for r in found if r["state"] == "failed" and "empty" not in r["reason"])
    done = ocrd(home, "recover", failed, "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert (out / "broken.png").read_bytes() == b"\x89PNG\r\n\x1a\nrubbish"
    assert ocrd(home, "recover", failed, "--out", str(out)).returncode == 1
    assert failed in ocrd(home, "find", "broken.png").stdout
    assert ocrd(home, "find", "never.png").returncode == 1


def test_the_database_is_whole_after_a_kill(home):
    service = Running(home).start()
    drop_labels(home, range(3))
    time.sleep(1.0)
    service.kill()
    assert sqlite3.connect(home / "state.db").execute("PRAGMA integrity_check").fetchone() == ("ok",)
    with Running(home) as service:
        service.wait_for_receipts(3)
    assert len(receipts(home)) == 3


def test_commands_that_need_the_service_say_so(home):
    done = ocrd(home, "train")
    assert (done.returncode, "does not run" in done.stderr) == (7, True)
    assert ocrd(home.parent / "nowhere", "status").returncode == 4
