"""Sealed originals: given back until their time has come, then gone for good."""

import time

import pytest

from daemon.erasure import shred_originals
from daemon.errors import OcrdError
from daemon.home import create, open_home
from daemon.pipeline import NAME_BLOB, ORIGINAL_BLOB
from daemon.recovery import recover
from daemon.state import Database, Documents, Ending

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


def keep(home, database, until):
    Documents(database).arrive(ID, 1.0, b"name", home.pool_of)
    Documents(database).end(ID, Ending("done", original_until=until), 2.0)
    home.originals.create(ID, 0)
    home.originals.put(ID, NAME_BLOB, b"ward 7/../../scan.png")
    home.originals.put(ID, ORIGINAL_BLOB, b"pixels")


def test_an_original_comes_back_under_its_own_name_and_stays_in_the_folder(home, database, tmp_path):
    keep(home, database, time.time() + 100)
    (tmp_path / "out").mkdir()
    assert shred_originals(home, database) == 0
    assert recover(home.settings.home, ID, tmp_path / "out") == [tmp_path / "out" / "scan.png"]
    assert (tmp_path / "out" / "scan.png").read_bytes() == b"pixels"


def test_an_original_is_shredded_when_its_time_has_come(home, database, tmp_path):
    keep(home, database, time.time() - 1)
    assert shred_originals(home, database) == 1
    assert not home.originals.exists(ID)
    assert shred_originals(home, database) == 0
    with pytest.raises(OcrdError, match="no sealed original"):
        recover(home.settings.home, ID, tmp_path)
