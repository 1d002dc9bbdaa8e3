"""Claims carry the audit of the code that ships, and of no other."""

from __future__ import annotations

import json
import shutil

import pytest

from daemon import audited


@pytest.fixture
def copy(tmp_path):
    for name in audited.AUDITED:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(audited.PATH.parents[1] / name, tmp_path / name)
    return tmp_path


def test_the_code_that_ships_was_audited():
    found = audited.record()
    assert found is not None, "clipping, noise or sampling changed: run bench/audit.py --record"
    assert found["canaries"] >= 1000
    assert found["bound"] <= found["claim"] < found["control_without_noise"]


def test_the_record_says_nothing_of_other_code(tmp_path):
    other = tmp_path / "audit.json"
    other.write_text(json.dumps({**json.loads(audited.PATH.read_text()), "code": "0" * 64}))
    assert audited.record(other) is None


def test_words_and_layout_are_not_code(copy):
    before = audited.code_digest(copy)
    path = copy / "privacy/dpsgd.py"
    path.write_text('"""Other words."""\n\n\n# and a comment\n' + path.read_text())
    assert audited.code_digest(copy) == before


@pytest.mark.parametrize("name", audited.AUDITED)
def test_a_program_that_differs_in_one_statement_is_other_code(copy, name):
    before = audited.code_digest(copy)
    path = copy / name
    path.write_text(path.read_text() + "\nSTEPS = 1\n")
    assert audited.code_digest(copy) != before
