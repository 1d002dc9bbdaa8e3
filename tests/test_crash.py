"""kill -9 at twenty random moments of a real ingest: every file that was dropped ends with exactly one receipt."""

import json
import random
import sqlite3
import time
from collections import Counter

import pytest

from daemon.home import open_home
from running import SETTINGS, Running, drop_labels, ocrd, receipts

KILLS = 20
FILES = 48


@pytest.mark.timeout(1200)
def test_every_file_has_exactly_one_receipt_after_twenty_kills(tmp_path, weights_dir):
    home = tmp_path / "state"
    home.mkdir()
    (home / "ocrd.toml").write_text(SETTINGS)
    assert ocrd(home, "init", "--weights", str(weights_dir)).returncode == 0
    moments = random.Random(20)
    for n in range(KILLS):
        if n < FILES // 4:
            drop_labels(home, range(4 * n, 4 * n + 4))
        service = Running(home).start()
        time.sleep(moments.uniform(0.0, 5.0))
        service.kill()
        check_nothing_is_doubled(home)
    with Running(home) as service:
        service.wait_for_receipts(FILES, 600)
        assert service.stop() == 0
    check_every_file(home)


def check_nothing_is_doubled(home):
    with sqlite3.connect(home / "state.db") as database:
        names = Counter(
            row[0] for row in database.execute("SELECT name_digest FROM documents WHERE state != 'withdrawn'")
        )
    assert max(names.values(), default=1) == 1


def check_every_file(home):
    opened = open_home(home)
    with sqlite3.connect(home / "state.db") as database:
        rows = database.execute("SELECT id, name_digest, state, receipt_pending FROM documents").fetchall()
    by_name = {name: (id, state, pending) for id, name, state, pending in rows if state != "withdrawn"}
    found = {r["document"]: r for r in receipts(home)}
    assert len(found) == FILES
    for seed in range(FILES):
        id, state, pending = by_name[opened.name_digest(f"label-{seed}.png")]
        assert (found[id]["state"], pending) == (state, 0)
        assert state in ("done", "quarantined")
        if state == "done":
            assert json.loads(opened.vault.get(id, "text")) == found[id]["text"]
            assert opened.originals.get(id, "original").startswith(b"\x89PNG")
    assert list((home / "inbox").iterdir()) == []
    assert list((home / "claimed").iterdir()) == []
    assert {row[0] for row in rows} >= {p.name for p in (home / "vault").iterdir()}
