"""A round's process, but for what it learns: what it takes out of memory files, and when it is heard of."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

from daemon import round, wire
from daemon.evidence import Examiner
from daemon.round import Units
from learners import lines
from learners.evaluate import Score
from learners.lines import document, pack


@pytest.fixture
def packed(draw_lines) -> list[bytes]:
    drawn = draw_lines(6)
    return [pack(made) for k in range(3) if (made := document(k, drawn[2 * k : 2 * k + 2]))]


def sent(parts: list[bytes]) -> wire.Message:
    starts = [sum(map(len, parts[:k])) for k in range(len(parts))]
    index = [(unit, start, len(part)) for unit, (start, part) in enumerate(zip(starts, parts, strict=True))]
    return wire.Message({"train": index}, [wire.memfd_of(iter(parts))])


def test_a_unit_is_unpacked_when_it_is_asked_for(packed, monkeypatch) -> None:
    """And again the next time: none is kept. The message may be closed meanwhile."""
    unpacked: list[int] = []
    monkeypatch.setattr(round, "unpack", lambda unit, part: unpacked.append(unit) or lines.unpack(unit, part))
    with sent(packed) as message:
        units = Units(message, "train", 0)
    assert (list(units.keys()), unpacked) == ([0, 1, 2], [])
    found = [units.get(unit) for unit in (1, 0, 1, 7)]
    assert [each and each.slot for each in found] == [1, 0, 1, None]
    assert unpacked == [1, 0, 1]


def test_a_file_of_parts_holds_one_of_them_at_a_time() -> None:
    """Each is in the file before the next is made."""

    def made() -> Iterator[bytes]:
        for k in range(3):
            assert os.lseek(files[-1], 0, os.SEEK_END) == 5 * k
            yield b"%05d" % k

    files: list[int] = []
    create = os.memfd_create
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "memfd_create", lambda *given: files.append(create(*given)) or files[-1])
        assert wire.read_fd(wire.memfd_of(made()), 15) == b"000000000100002"
    os.close(files[0])


def test_work_is_heard_of_as_long_as_it_tells(monkeypatch) -> None:
    """The last that it told, once; of work that is silent nothing is heard, so that it is taken for hung."""
    monkeypatch.setattr(round, "TICK_SECONDS", 0.01)
    go_on, told = threading.Event(), threading.Event()

    def work(tell: Callable[[str], None]) -> int:
        tell("1 of 3")
        tell("2 of 3")
        told.set()
        go_on.wait(10.0)
        tell("3 of 3")
        return 7

    talk = round._in_thread(work)
    told_first = next(talk)
    assert told.wait(1.0)
    assert told_first["text"] in ("1 of 3", "2 of 3")
    silent = threading.Timer(0.3, go_on.set)
    silent.start()
    later = []
    with pytest.raises(StopIteration) as ended:
        while True:
            later.append(talk.send({})["text"])
            assert "3 of 3" not in later or go_on.is_set()
    assert ended.value.value == 7
    assert later in (["3 of 3"], ["2 of 3", "3 of 3"])


def test_what_work_raises_is_raised(monkeypatch) -> None:
    def work(tell: Callable[[str], None]) -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        list(round._in_thread(work))


def test_reading_the_hold_out_is_heard_of(packed) -> None:
    """Of every unit that has something to read."""
    sure = SimpleNamespace(add_to=lambda total, grid, noise_multiplier: total)
    examiner = SimpleNamespace(_current="now", _candidate="new", _score=lambda by, crops, texts: scored[by])
    scored = {"now": Score(lines=4, folded=1), "new": Score(lines=4, folded=2)}
    heard: list[str] = []
    units = Units(sent([*packed, b"rubbish"]), "train", 0)
    found = Examiner.holdout(examiner, units, 4, 0.0, sure, heard.append)
    assert len(heard) == 3
    assert found["gain"] == pytest.approx(3 * 0.25 / 4)


def test_the_anchor_has_all_its_documents_in_a_closed_charset_too(weights_dir, model) -> None:
    """Some documents have no line in it; a gate that wanted more than are left could never be passed."""
    stock = weights_dir / "rec.onnx"
    examiner = Examiner(weights_dir, stock, weights_dir, model.weights(), 5, 1, "0123456789")
    heard: list[str] = []
    rows = examiner.anchor(heard.append)
    assert len(rows) == 5 < len(heard), "no document without digits alone was drawn: the test shows nothing"
    assert all(row["lines"] for row in rows)
    assert heard[-1] == "public anchor: document 5 of 5"
