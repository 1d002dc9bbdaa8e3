"""Quarantine: what an operator sees, and the ways out; anonymising files without the service."""

import json
import shutil

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from daemon import quarantine
from daemon.cli import main
from daemon.config import Anonymise, Ingest
from daemon.errors import OcrdError
from daemon.home import create, open_home
from daemon.offline import Anonymised, Offline, write_all
from daemon.pipeline import NAME_BLOB, ORIGINAL_BLOB
from daemon.state import Database, Documents, Ending
from learners import synthesis
from privacy.errors import Punctured
from running import png

ID = "0123456789abcdef"


@pytest.fixture
def home(tmp_path, weights_dir):
    create(tmp_path / "state", weights_dir, lambda text: None)
    return open_home(tmp_path / "state")


@pytest.fixture
def database(home):
    database = Database(home.settings.database_path)
    yield database
    database.close()


def wait(home, database, data=b"pixels"):
    Documents(database).arrive(ID, 1.0, b"name", home.pool_of)
    Documents(database).end(ID, Ending("quarantined", reason="page 1 still shows: email", pages=1), 2.0)
    home.quarantine.create(ID, 0)
    home.quarantine.put(ID, NAME_BLOB, b"scan.png")
    home.quarantine.put(ID, ORIGINAL_BLOB, data)


def test_what_waits_is_listed_with_its_reason_until_its_case_is_closed(home, database):
    wait(home, database)
    (line,) = quarantine.listed(home.settings.home)
    assert ID in line
    assert "still shows: email" in line
    quarantine.close(home, database, ID, "discarded")
    assert quarantine.listed(home.settings.home) == []
    assert not home.quarantine.exists(ID)
    assert not home.shelf.holds("quarantine", 0), "a backup would bring the original back"
    receipt = json.loads((home.settings.outbox_dir / f"{ID}.json").read_text())
    assert receipt["state"] == "quarantined"
    assert receipt["reason"].startswith("discarded from quarantine at")


def test_a_case_closed_after_a_backup_stays_closed_when_the_backup_comes_back(home, database, tmp_path):
    wait(home, database)
    shutil.copytree(home.quarantine.root, tmp_path / "copy")
    quarantine.close(home, database, ID, "discarded")
    shutil.copytree(tmp_path / "copy", home.quarantine.root, dirs_exist_ok=True)
    assert home.quarantine.exists(ID)
    with pytest.raises(Punctured):
        home.quarantine.get(ID, ORIGINAL_BLOB)
    assert quarantine.listed(home.settings.home) == []


def test_a_closed_case_keeps_its_slot_empty(home, database):
    wait(home, database)
    quarantine.close(home, database, ID, "released")
    row = database.row("SELECT state, taught FROM documents WHERE id = ?", ID)
    assert row["state"] == "quarantined"
    assert not row["taught"]
    assert not home.vault.exists(ID)


def test_what_is_not_in_quarantine_cannot_be_closed(home, database):
    with pytest.raises(OcrdError, match="not in quarantine"):
        quarantine.close(home, database, ID, "discarded")
    wait(home, database)
    with pytest.raises(OcrdError, match="'burned'"):
        quarantine.close(home, database, ID, "burned")
    assert home.quarantine.exists(ID)


def test_letting_out_needs_the_service_before_anything_is_written(home, database, tmp_path):
    wait(home, database)
    (tmp_path / "out").mkdir()
    done = CliRunner().invoke(
        main, ["--home", str(home.settings.home), "quarantine", "release", ID, "--out", str(tmp_path / "out")]
    )
    assert done.exit_code == 7
    assert list((tmp_path / "out").iterdir()) == []
    assert home.quarantine.exists(ID)


@pytest.mark.parametrize("box", [(2, 0, 0, 9, 9), (0, 0, 0, 9, 9), (1, 9, 9, 2, 2), (1, 40, 0, 50, 9), (1, 0, 3, 9, 3)])
def test_a_box_that_fills_nothing_lets_nothing_out(home, database, tmp_path, monkeypatch, box):
    wait(home, database)
    asked = []
    done = Anonymised("", {}, (cv2.imencode(".png", np.zeros((30, 40, 3), np.uint8))[1].tobytes(),), (), b"{}")
    monkeypatch.setattr(quarantine.control, "ask", lambda folder, what, **more: asked.append(what))
    monkeypatch.setattr(quarantine, "_again", lambda *_: done)
    with pytest.raises(OcrdError, match="nothing was let out"):
        quarantine.let_out(home.settings.home, ID, tmp_path, [(1, 0, 0, 99, 99), box])
    assert asked == ["ping"]
    assert not list(tmp_path.glob(f"{ID}*"))
    quarantine.let_out(home.settings.home, ID, tmp_path, [(1, 0, 0, 99, 99)])
    assert asked[-1] == "quarantine"


def test_a_folder_to_write_to_is_made_for_its_owner_alone(home, tmp_path):
    def show(out):
        return CliRunner().invoke(
            main, ["--home", str(home.settings.home), "quarantine", "show", ID, "--out", str(out)]
        )

    (tmp_path / "file").write_text("")
    assert show(tmp_path / "new").exit_code == 1  # no such document
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    for wrong in (tmp_path / "file", tmp_path / "file" / "sub", tmp_path / "no" / "sub"):
        done = show(wrong)
        assert done.exit_code == 2
        assert "--out" in done.output


def test_a_file_is_anonymised_by_the_daemons_own_workers(weights_dir, tmp_path):
    """Two pages of one container, their preview, the audit without plaintext, and a box of the operator's own."""
    document = synthesis.generate("letter", 1, "en_GB")
    offline = Offline(weights_dir, Anonymise(), Ingest(), "require")
    try:
        done = offline.anonymise(png(document), [(1, 0, 0, 40, 30)])
    finally:
        offline.close()
    assert len(done.pages) == len(done.previews) == 1
    assert done.removed["name"] >= 1
    page = cv2.imdecode(np.frombuffer(done.pages[0], np.uint8), cv2.IMREAD_COLOR)
    assert page.shape == document.image.shape
    assert len(np.unique(page[0:30, 0:40].reshape(-1, 3), axis=0)) == 1
    pair = cv2.imdecode(np.frombuffer(done.previews[0], np.uint8), cv2.IMREAD_COLOR)
    assert pair.shape[1] > 2 * page.shape[1]
    report = json.loads(done.audit)
    assert report["pages"][0]["verdict"] == (done.reason or "passed")
    assert {region["kind"] for region in report["pages"][0]["regions"]} == set(done.removed)
    for line in document.lines:  # the audit holds no line of the page
        assert len(line.text) < 5 or line.text not in done.audit.decode()
    assert [path.name for path in write_all(tmp_path, "x", done.pages)] == ["x-1.png"]
    with pytest.raises(OcrdError, match="in the way|holds a file"):
        write_all(tmp_path, "x", done.pages)
