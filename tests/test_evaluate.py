"""Scores against hand-made cases and an independent implementation; intervals against the theory."""

import jiwer
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learners.evaluate import Score, cer, compare, paired_bootstrap, score_documents, score_line, total


def test_the_three_kinds_of_exact() -> None:
    assert score_line("Total 5", "Total 5").exact == 1
    folded = score_line("TOTAL 5", "Total 5")
    assert (folded.exact, folded.folded, folded.spaceless) == (0, 1, 1)
    bare = score_line("Total 5", "total5")
    assert (bare.exact, bare.folded, bare.spaceless, bare.edits, bare.spaceless_edits) == (0, 0, 1, 1, 0)


@given(st.text("abC ", min_size=1, max_size=12).filter(str.strip), st.text("abC ", max_size=12))
def test_cer_agrees_with_jiwer(truth: str, reading: str) -> None:
    keep = jiwer.Compose([jiwer.ReduceToListOfListOfChars()])
    theirs = jiwer.cer(truth, reading, reference_transform=keep, hypothesis_transform=keep)
    assert cer(truth, reading) == pytest.approx(theirs)


def test_documents_are_scored_one_by_one_and_together() -> None:
    truths = {1: ["ab", "cd"], 2: ["ef gh"]}
    scores = score_documents(truths, {1: ["ab", "cx"], 2: ["efgh"]})
    assert scores[1].rates["exact"] == 0.5
    assert total(scores) == Score(3, 1, 1, 2, 9, 2, 8, 1)
    assert total(scores).rates["cer"] == pytest.approx(2 / 9)


@pytest.mark.parametrize("readings", [{1: ["a"]}, {1: ["a"], 2: []}])
def test_missing_readings_never_pass(readings: dict[int, list[str]]) -> None:
    with pytest.raises(ValueError, match=r"Expected readings|zip"):
        score_documents({1: ["a"], 2: ["b"]}, readings)


def test_the_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        a = rng.normal(0.6, 0.2, 40)
        b = a + rng.normal(0.05, 0.1, 40)
        found = paired_bootstrap(list(a), list(b), seed=trial, resamples=500)
        covered += found.low <= 0.05 <= found.high
    assert 0.88 <= covered / 200 <= 0.99


def test_pairing_separates_what_unpaired_scores_do_not() -> None:
    rng = np.random.default_rng(1)
    a = rng.uniform(0.2, 1, 50)
    found = paired_bootstrap(list(a), list(a + 0.02), seed=0)
    assert found.low > 0.019
    assert found.mean == pytest.approx(0.02)
    assert a.std() / np.sqrt(50) > 0.02


def test_comparison_weighs_documents_by_their_lines() -> None:
    truths = {1: ["a"] * 9, 2: ["b"], 3: ["c"]}
    before = score_documents(truths, {1: ["a"] * 9, 2: ["x"], 3: ["c"]})
    after = score_documents(truths, {1: ["x"] * 9, 2: ["b"], 3: ["c"]})
    found = compare(before, after, "exact", seed=0)
    assert found.mean == pytest.approx(-8 / 11)
    assert found.documents == 3
    assert compare(before, after, "cer", seed=0).mean == pytest.approx(8 / 11)
    with pytest.raises(ValueError, match="same"):
        compare(before, {1: Score()}, "exact", seed=0)


@pytest.mark.parametrize("scores", [[1.0], [1.0, float("nan")]])
def test_too_little_or_broken_evidence_is_refused(scores: list[float]) -> None:
    with pytest.raises(ValueError, match="Expected"):
        paired_bootstrap(scores, scores, seed=0)
