"""The arithmetic of `bench/utility.py`: what is kept of a gain, what is one table, which documents are tested."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from learners.evaluate import Score

sys.path.append(str(Path(__file__).parents[1] / "bench"))
import corpora
import shares
from corpora import Paper
from shares import ALL, BASELINE, NECK, NOISELESS, START, Scores

ABOUT = {"domain": "receipts", "seed": 0, "start": "of this machine"}
VENDORS = {0: 0, 1: 0, 2: 2}


def row(*exact: int, lines: int = 10) -> Scores:
    """Documents of ten lines of five characters; a line that is not exact has one edit."""
    return {k: Score(lines, n, n, n, lines * 5, lines - n, lines * 5, lines - n) for k, n in enumerate(exact)}


def scores() -> dict[str, Scores]:
    """A gain of half of the lines at best, of which a round keeps three quarters, and one from a start of a half."""
    return {BASELINE: row(2, 2, 2), START: row(4, 5, 6), "epsilon 8": row(6, 6, 6), NECK: row(7, 7, 7)}


def test_kept_is_the_share_of_the_best_gain() -> None:
    kept = shares.kept(scores(), 0)
    assert kept["epsilon 8"]["exact_folded"] == pytest.approx([0.8, 0.8, 0.8])
    assert kept["epsilon 8"]["cer"] == pytest.approx([0.8, 0.8, 0.8])
    assert kept[START]["exact_folded"][0] == pytest.approx(0.6)
    assert kept[START]["exact_folded"][1] < 0.6 < kept[START]["exact_folded"][2]


def test_the_best_of_several_ceilings_counts() -> None:
    found = scores() | {ALL: row(10, 10, 10), NOISELESS: row(3, 3, 3)}
    assert shares.kept(found, 0)["epsilon 8"]["exact_folded"][0] == pytest.approx(0.5)


def test_a_ceiling_of_some_documents_is_no_ceiling_of_all() -> None:
    found = scores() | {ALL: row(10, 10)}
    assert shares.kept(found, 0)["epsilon 8"]["exact_folded"][0] == pytest.approx(0.8)
    assert shares.kept(found, 0)[ALL]["exact_folded"][0] == pytest.approx(1.0)


def test_the_table_tells_the_gain_over_the_start(capsys: pytest.CaptureFixture[str]) -> None:
    shares.tables(scores(), 0)
    [line] = [each for each in capsys.readouterr().out.splitlines() if each.startswith("epsilon 8")]
    assert " 60.0 [+40.00 +40.00]" in line
    assert " | +10.00 [" in line
    assert "80% [ 80  80]" in line


def test_of_the_rest_is_the_share_of_what_the_best_adds_to_the_start(capsys: pytest.CaptureFixture[str]) -> None:
    """The start reads 5 of ten, the round 6 and the best 7. Where the best may add nothing, nothing is said."""
    [found] = {tuple(each["exact_folded"]) for name, each in shares.kept(scores(), 0, START).items() if name != NECK}
    assert found == pytest.approx((0.5, 0.0, 2 / 3))
    flat = scores() | {START: row(7, 6, 7), "epsilon 8": row(7, 7, 7)}
    assert "exact_folded" not in shares.kept(flat, 0, START).get("epsilon 8", {})
    shares.tables(scores() | {"stock PP-OCRv4": row(1, 1, 1)}, 0)
    told = {line.split("  ")[0]: line.split("|")[3:] for line in capsys.readouterr().out.splitlines()[3:]}
    assert [each.strip() for each in told["epsilon 8"]] == ["50% [  0  67]"]
    assert told["stock PP-OCRv4"] == told[START] == []


def test_a_share_is_not_of_fewer_documents_than_its_row() -> None:
    kept = shares.kept({**scores(), NECK: row(7, 7)}, 0)
    assert kept.keys() == {NECK}


def left(path: Path, rows: dict[str, Scores], **about: object) -> Path:
    shares.write(path, rows, {}, ABOUT | about, 0, VENDORS)
    return path


def test_runs_are_joined_and_their_draws_count_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, again = scores(), {name: scores()[name] for name in (BASELINE, START)} | {"epsilon 8": row(4, 4, 4)}
    shares.join([left(tmp_path / "a", first), left(tmp_path / "b", again)], 0)
    out = capsys.readouterr().out
    assert "3 documents, 30 lines" in out
    [line] = [each for each in out.splitlines() if each.startswith("epsilon 8")]
    assert " 50.0 [" in line
    assert "60% [ 60  60]" in line


def test_a_vendors_documents_are_resampled_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nine documents of one vendor gain everything, one of another nothing."""
    rows = {BASELINE: row(*[0] * 10), "epsilon 8": row(*[10] * 9, 0), NECK: row(*[10] * 10)}
    shares.write(tmp_path / "a", rows, {}, ABOUT, 0, dict.fromkeys(range(9), 0) | {9: 9})
    shares.join([tmp_path / "a"], 0, vendors_too=True)
    by_document, by_vendor, alike = capsys.readouterr().out.split("\n\n")
    assert "10 documents, 100 lines" in by_document
    assert "90% [ 70 100]" in by_document
    assert "2 vendors, which weigh like 1 of one size" in by_vendor
    assert "90% [  0 100]" in by_vendor
    assert "2 vendors, each of the same weight" in alike
    assert "50% [  0 100]" in alike


def test_vendors_alike_keep_their_rates() -> None:
    many, few = Score(90, 30, 45, 60, 450, 45, 360, 30), Score(10, 0, 1, 2, 50, 5, 40, 3)
    found = shares.alike({0: many, 1: few})
    assert [found[k].rates["exact_folded"] for k in (0, 1)] == pytest.approx([0.5, 0.1])
    assert [found[k].rates["cer"] for k in (0, 1)] == pytest.approx([0.1, 0.1])
    assert found[0].lines == found[1].lines
    assert shares.effective(found) == pytest.approx(2.0)
    assert shares.effective({0: many, 1: few}) == pytest.approx(100**2 / (90**2 + 10**2))


def test_documents_count_alike_however_often_they_were_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    all_of_them = {BASELINE: row(2, 2, 2), "epsilon 8": row(6, 6, 6)}
    shares.join([left(tmp_path / "a", all_of_them), left(tmp_path / "b", {BASELINE: row(2), "epsilon 8": row(0)})], 0)
    [line] = [each for each in capsys.readouterr().out.splitlines() if each.startswith("epsilon 8")]
    assert " 50.0 [" in line  # 3, 6 and 6 of ten


def test_a_run_counts_once(tmp_path: Path) -> None:
    path = left(tmp_path / "a", scores())
    with pytest.raises(SystemExit, match=f"Expected each file once, got {path} twice"):
        shares.join([path, path], 0)


@pytest.mark.parametrize(("name", "value"), [("domain", "forms"), ("seed", 1), ("start", "of another machine")])
def test_runs_of_other_things_are_not_joined(tmp_path: Path, name: str, value: object) -> None:
    paths = [left(tmp_path / "a", scores()), left(tmp_path / "b", scores(), **{name: value})]
    with pytest.raises(SystemExit, match=f"Expected runs of .* got {paths[1]} of .*{value}"):
        shares.join(paths, 0)


def test_a_ceiling_of_another_start_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It alone: not what the other run's start and rounds read, nor where the runs have such a row themselves."""
    own = {name: found for name, found in scores().items() if name != NECK}
    fewer = {name: {k: found[k] for k in (0, 1)} for name, found in own.items()}
    other = {
        BASELINE: row(2, 2, 2),
        START: row(9, 9, 9),
        "epsilon 8": row(9, 9, 9),
        ALL: row(10, 10, 10),
        NECK: row(1, 1, 1),
    }
    paths = [left(tmp_path / "a", own), left(tmp_path / "b", other, start="of another machine")]
    shares.join(paths[:1], 0, elsewhere=paths[1:])
    lines = {line[:28].strip(): line for line in capsys.readouterr().out.splitlines()}
    assert " 60.0 [" in lines["epsilon 8"]
    assert "50% [ 50  50]" in lines["epsilon 8"]
    assert " 50.0 [" in lines[START]
    paths = [left(tmp_path / "c", scores() | {ALL: row(9, 9, 9)}), paths[1]]
    shares.join(paths[:1], 0, elsewhere=paths[1:])
    assert "57% [ 57  57]" in capsys.readouterr().out
    shares.join([left(tmp_path / "e", fewer)], 0, elsewhere=paths[1:])
    assert "2 documents, 20 lines" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="Expected runs of .*forms"):
        shares.join(paths[:1], 0, elsewhere=[left(tmp_path / "d", other, domain="forms")])


NO_RUNS = [
    None,
    "",
    "[]",
    *map(
        json.dumps,
        [
            {"documents": {}},
            {"about": {}, "documents": {}},
            {"about": {}, "documents": []},
            {"about": {}, "documents": {BASELINE: {"0": [1, 2]}}},
            {"about": {}, "documents": {BASELINE: {}, "epsilon 8": {"0": [1] * 8}}},
        ],
    ),
]


@pytest.mark.parametrize("text", NO_RUNS)
def test_what_no_run_left_is_named(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "a").write_text(text)
    with pytest.raises(SystemExit, match=f"Expected a file that `--json` left, got {tmp_path / 'a'}"):
        shares.join([tmp_path / "a"], 0)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--draws", "0"], "expected --draws of 1 at least, got 0"),
        (["--only", "9"], "expected --only from 0 to 4, got 9"),
        (["--epsilons", "8,-1"], "expected finite epsilons above 0, got 8,-1"),
        (["--epsilons", "nan"], "expected finite epsilons above 0, got nan"),
        (["--epsilons", "a"], "expected finite epsilons above 0, got a"),
        (["--only", "a"], "expected numbers of folds, got a"),
        (["--join", "a", "--seed", "-1"], "expected --seed of 0 at least, got -1"),
        (["--ceilings", "a"], "expected --join with --ceilings"),
        (["--json", "/nowhere/a"], "expected --json in a folder that is there, got /nowhere/a"),
        (["--all", "--lines", "64"], "expected at most 16 lines with --all, got 64"),
    ],
)
def test_arguments_are_looked_at_before_anything_is_trained(given: list[str], expected: str) -> None:
    done = subprocess.run(
        [sys.executable, shares.__file__.replace("shares", "utility"), *given], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert expected in done.stderr


def paper(name: str, *lines: str) -> Paper:
    image = np.zeros((48, 48, 3), np.uint8)
    return Paper(name, tuple((image, text) for text in lines))


ADDRESS = ("LOT 7, JALAN OF NOBODY", "12345 NOWHERE AT ALL", "TEL 1")


def test_vendors_are_told_by_their_numbers_and_names() -> None:
    papers = [
        paper("a", "ALPHA TRADING", "(123456-X)"),
        paper("b", "ALPHA  TRADING.", "9"),
        paper("c", "BETA", "123456 - X"),
        paper("d", "GAMMA STORE"),
    ]
    assert sorted(map(sorted, corpora.vendors(papers))) == [[0, 1, 2], [3]]


def test_a_sister_company_is_not_tested_on() -> None:
    papers = [
        paper("a", "ONE TRADING", *ADDRESS),
        paper("b", "TWO TRADING", ADDRESS[0].lower(), ADDRESS[1] + "."),
        paper("c", "SIX TRADING", ADDRESS[0], "ANOTHER TOWN ALTOGETHER"),
        paper("d", "FOUR STORE", *["-"] * 8, *ADDRESS),
    ]
    assert len(corpora.vendors(papers)) == 4
    assert corpora.apart(papers, [1, 2, 3]) == [2, 3]
    assert corpora.apart(papers, [0, 1]) == [0, 1]
    assert corpora.apart([papers[0], papers[3]], [0]) == [0]


def test_folds_hold_every_document_once_and_split_no_vendor() -> None:
    papers = [paper(str(k), f"VENDOR {'ABCDEFG'[k % 7]} TRADING") for k in range(21)]
    folds = corpora.folds(papers, 3, 0)
    assert sorted(k for fold in folds for k in fold) == list(range(21))
    assert all(len({j for j, fold in enumerate(folds) for k in fold if k % 7 == v}) == 1 for v in range(7))
