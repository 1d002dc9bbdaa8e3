"""Precision, recall and Hmean of lines that were found, worked out by hand."""

from __future__ import annotations

import pytest

from learners.detection_score import Found, iou, score_page
from privacy.page import Quad


def rectangle(x0: float, y0: float, x1: float, y1: float) -> Quad:
    return (x0, y0), (x1, y0), (x1, y1), (x0, y1)


@pytest.mark.parametrize("at", [0.0, 4000.25])
def test_intersection_over_union(at: float) -> None:
    one = rectangle(at, at, at + 10, at + 10)
    assert iou(one, one) == pytest.approx(1)
    assert iou(one, rectangle(at + 5, at, at + 15, at + 10)) == pytest.approx(50 / 150)
    assert iou(one, rectangle(at + 2, at + 2, at + 8, at + 8)) == pytest.approx(0.36)
    assert iou(one, rectangle(at + 10, at, at + 20, at + 10)) == 0
    turned: Quad = ((at + 5, at), (at + 10, at + 5), (at + 5, at + 10), (at, at + 5))
    assert iou(one, turned) == pytest.approx(0.5)
    assert iou(one, one[::-1]) == pytest.approx(1)  # type: ignore[arg-type]
    assert iou(one, rectangle(at, at, at, at + 10)) == 0


def test_a_line_has_one_partner_and_the_best_one() -> None:
    line = rectangle(0, 0, 100, 10)
    near, nearer = rectangle(0, 2, 100, 12), rectangle(0, 1, 100, 11)
    assert score_page([line], [near, nearer]) == Found(matched=1, found=2, true=1)
    assert score_page([line, nearer], [nearer]) == Found(1, 1, 2)
    halves = [rectangle(0, 0, 45, 10), rectangle(55, 0, 100, 10)]
    assert score_page([line], halves) == Found(0, 2, 1), "a line in two pieces is not found"
    assert score_page(halves, [line]) == Found(0, 1, 2), "nor are two lines run together"


def test_rates_and_empty_pages() -> None:
    found = Found(3, 4, 6)
    assert (found.precision, found.recall) == (0.75, 0.5)
    assert found.hmean == pytest.approx(2 * 0.75 * 0.5 / 1.25)
    assert found + Found(1, 0, 1) == Found(4, 4, 7)
    assert score_page([], []).hmean == 1
    line = rectangle(0, 0, 100, 10)
    assert score_page([line], []).hmean == score_page([], [line]).hmean == 0
    with pytest.raises(ValueError, match="least"):
        score_page([line], [line], least=0)
