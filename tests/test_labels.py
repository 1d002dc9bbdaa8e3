"""Sidecars as people have them, and which read line a label belongs to."""

import json
from types import SimpleNamespace

import pytest

from learners.errors import BadLabel
from learners.labels import attach, pseudo_labels, touches
from learners.sidecars import MAX_BYTES, Label, read_sidecar, write_sidecar
from privacy.page import Line, Quad, Region

ASCII = {chr(c) for c in range(32, 127)}


def box(x0: float, y0: float, x1: float, y1: float) -> Quad:
    return ((x0, y0), (x1, y0), (x1, y1), (x0, y1))


def line(text: str, quad: Quad, low: float = 0.99) -> Line:
    return Line(text, quad, 0.99, low)


POINTS = [[10, 10], [90, 10], [90, 30], [10, 30]]
QUAD = box(10.0, 10.0, 90.0, 30.0)


@pytest.mark.parametrize(
    "sidecar",
    [
        "scan.png\t" + json.dumps([{"transcription": "Total 5", "points": POINTS}]),
        "a/scan.png\t"
        + json.dumps([{"transcription": "Total 5", "points": POINTS, "difficult": False}])
        + "\na/other.png\t"
        + json.dumps([{"transcription": "not this image", "points": POINTS}]),
        json.dumps([{"transcription": "Total 5", "points": POINTS}]),
        json.dumps({"lines": [{"text": " Total  5", "quad": POINTS}], "key": {"total": "5"}}, indent=1),
        "10,10,90,10,90,30,10,30,Total 5\r\n",
        "\ufeff10, 10.0, 90,10,90,30,10,30,Total 5",
    ],
    ids=["paddle", "list of images", "json", "json with lines", "icdar", "icdar with a mark"],
)
def test_every_format_with_places(sidecar: str) -> None:
    assert read_sidecar(sidecar.encode(), "scan.png") == [Label("Total 5", QUAD)]


def test_plain_text_is_one_line_a_row_and_composed() -> None:
    labels = read_sidecar("Cafe\u0301\n\n[Total] 5\n1,2,3\n".encode(), "scan.png")
    assert [label.text for label in labels] == ["Caf\u00e9", "[Total] 5", "1,2,3"]
    assert read_sidecar(b"[Total] 5\nx\n", "s")[0].text == "[Total] 5"


def test_illegible_lines_are_marked() -> None:
    items = [
        {"transcription": "###", "points": POINTS},
        {"transcription": "a", "points": POINTS, "difficult": True},
    ]
    assert [label.legible for label in read_sidecar(json.dumps(items).encode(), "s")] == [False, False]


@pytest.mark.parametrize(
    ("sidecar", "row"),
    [
        (b"ok\n\xff\xfe", 2),
        (b"x" * (MAX_BYTES + 1), 0),
        (b"secret\n" * 2001, 2001),
        (b"s" * 1001, 1),
        (b'a.png\t[{"transcription": "secret"', 1),
        (b'[{"transcription": "secret"', 1),
        (b'{"rows": []}', 1),
        (b"[1, 2]", 1),
        (b'[{"points": []}]', 1),
        (b'[{"text": "secret", "points": [[1, 2], [3, 4]]}]', 1),
        (b'[{"text": "secret", "points": [[1, 2], [3, 4], [5, 6], [NaN, 1]]}]', 1),
        (b'[{"text": "secret", "points": [[1, 2], [3, 4], [5, 6], [1e400, 1]]}]', 1),
        (b'[{"text": "secret", "points": [[1, 2], [3, 4], [5, 6], ["secret", 1]]}]', 1),
        (b"1,2,3,4,5,6,7,8,fine\n1,2,3,secret", 2),
        (b'[{"text":' * 5000, 1),
        (b'{"lines": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 1),
    ],
)
def test_a_bad_sidecar_is_refused_without_its_text(sidecar: bytes, row: int) -> None:
    with pytest.raises(BadLabel, match=f"Row {row}: expected") as caught:
        read_sidecar(sidecar, "scan.png")
    assert "secret" not in str(caught.value) + repr(caught.value.__cause__)


def test_what_is_written_reads_back() -> None:
    document = SimpleNamespace(lines=(line('say "hi"\t你好', QUAD), line("b", box(0, 40, 9, 60))))
    labels = read_sidecar(write_sidecar(document), "any.png")
    assert [(label.text, label.quad) for label in labels] == [
        ('say "hi" 你好', QUAD),
        ("b", box(0.0, 40.0, 9.0, 60.0)),
    ]


def test_labels_with_places_go_to_the_best_overlap() -> None:
    lines = [line("x", box(0, 0, 100, 20)), line("y", box(0, 18, 100, 40)), line("z", box(0, 80, 100, 100))]
    labels = [
        Label("second", box(2, 21, 98, 39)),
        Label("first", box(1, 1, 99, 19)),
        Label("nowhere", box(0, 50, 100, 70)),
    ]
    found = attach(labels, lines, [], ASCII)
    assert [(match.line, match.text) for match in found.matches] == [(0, "first"), (1, "second")]
    assert found.dropped == {"unmatched": 1}


def test_a_line_is_cut_out_as_read_unless_the_detector_saw_more_or_less_of_it() -> None:
    label = [Label("a b", box(10, 10, 90, 20))]
    for read, expected in [
        (box(8, 8, 92, 22), box(8, 8, 92, 22)),
        (box(10, 10, 50, 20), box(10, 10, 90, 20)),
        (box(8, 8, 192, 22), box(10, 10, 90, 20)),
    ]:
        found = attach(label, [line("ab", read)], [], ASCII)
        assert [match.quad for match in found.matches] == [expected] or read[1][0] > 100


def test_rows_of_text_are_aligned_in_order_without_spaces_and_case() -> None:
    lines = [
        line(text, box(0, 20 * k, 90, 20 * k + 15))
        for k, text in enumerate(["smudge~~", "CashReceipt", "tota15.00", "5.00", "thank you"])
    ]
    labels = [Label("Cash Receipt"), Label("Total 5.00"), Label("never read"), Label("Thank you")]
    found = attach(labels, lines, [], ASCII)
    assert [(match.line, match.text) for match in found.matches] == [
        (1, "Cash Receipt"),
        (2, "Total 5.00"),
        (4, "Thank you"),
    ]
    assert found.matches[0].quad == lines[1].quad
    assert found.dropped == {"unmatched": 1}


def test_a_character_outside_the_dictionary_drops_the_label_and_is_not_replaced() -> None:
    lines = [line("Koln", box(0, 0, 90, 20)), line("Bonn", box(0, 30, 90, 50))]
    found = attach([Label("Köln"), Label("Bonn")], lines, [], ASCII)
    assert [match.text for match in found.matches] == ["Bonn"]
    assert found.dropped == {"outside the dictionary": 1}


def test_a_line_that_touches_a_masked_region_teaches_nothing() -> None:
    lines = [line("a b c", box(0, 0, 90, 20)), line("d e f", box(0, 30, 90, 50))]
    masked = [Region("email", box(80, 10, 200, 29), 1.0, "rule")]
    found = attach([Label("a b c"), Label("d e f")], lines, masked, ASCII)
    assert [match.line for match in found.matches] == [1]
    assert found.dropped == {"masked": 1}
    assert [match.line for match in pseudo_labels(lines, masked).matches] == [1]
    slanted = ((0.0, 0.0), (100.0, 50.0), (95.0, 60.0), (-5.0, 10.0))
    assert touches(slanted, [Region("x", box(40, 20, 45, 40), 1.0, "rule")])
    assert not touches(slanted, [Region("x", box(60, 0, 90, 20), 1.0, "rule")])


def test_pseudo_labels_go_by_the_least_certain_character_and_a_public_bound() -> None:
    lines = [line("sure", box(0, 0, 9, 9), 0.95), line("unsure", box(0, 20, 9, 29), 0.949)]
    found = pseudo_labels(lines, [])
    assert [match.text for match in found.matches] == ["sure"]
    assert found.dropped == {"unsure": 1}
    with pytest.raises(ValueError, match="bound"):
        pseudo_labels(lines, [], bound=95)


def test_labels_keep_their_case_whatever_the_reading_says() -> None:
    lines = [line("total", box(0, 0, 90, 20)), line("Thanks", box(0, 30, 90, 50))]
    found = attach([Label("TOTAL"), Label("THANKS")], lines, [], ASCII)
    assert [match.text for match in found.matches] == ["TOTAL", "THANKS"]


def test_nothing_prints_a_label() -> None:
    lines = [line("secret", box(0, 0, 90, 20))]
    labels = [Label("secret")]
    assert "secret" not in repr((labels, lines, attach(labels, lines, [], ASCII)))
