"""The control socket: answers the owner, names refusals, and is told apart from a dead service."""

import stat
import threading
import time
from queue import Queue

import pytest

from daemon.control import Control, ask
from daemon.errors import NotRunning, Refused


@pytest.fixture
def control(tmp_path):
    deep = tmp_path / ("d" * 100) / "run"  # longer than a socket's address may be
    deep.mkdir(parents=True)

    def refuse():
        raise Refused("not now")

    def fail():
        raise KeyError("private text")

    control = Control(deep, {"add": lambda a, b: {"sum": a + b}, "refuse": refuse, "fail": fail})
    control.start()
    yield deep
    control.stop()


def test_an_answer_comes_back(control):
    assert ask(control, "add", a=1, b=2) == {"sum": 3}
    assert stat.S_IMODE((control / "control.sock").stat().st_mode) == 0o600


def test_a_refusal_says_why(control):
    with pytest.raises(Refused, match="^not now$"):
        ask(control, "refuse")


def test_a_failure_is_named_by_type_alone(control):
    with pytest.raises(Refused, match="^the request failed: KeyError$"):
        ask(control, "fail")


def test_an_unknown_command_is_refused_with_the_known_ones(control):
    with pytest.raises(Refused, match="'add', 'fail', 'refuse'"):
        ask(control, "format")


def test_a_dead_service_is_not_running(tmp_path):
    with pytest.raises(NotRunning, match="ocrd start"):
        ask(tmp_path, "ping")


def test_a_request_that_is_too_long_is_refused_in_words(control):
    with pytest.raises(Refused, match="at most 1048576 bytes: name fewer"):
        ask(control, "add", a="x" * (3 << 20), b=2)


@pytest.fixture
def busy(tmp_path):
    """A service that is at a command until the events are set: that it began, that it may end."""
    began, go = threading.Event(), threading.Event()

    def work():
        began.set()
        go.wait()
        return {}

    def fail():
        work()
        raise ValueError("a closed database")

    control = Control(tmp_path, {"work": work, "fail": fail})
    control.start()
    yield control, tmp_path, began, go
    go.set()
    control.stop()


def asked(folder, command, **values):
    """What a client will have been told."""
    told = Queue()

    def client():
        try:
            told.put(ask(folder, command, **values))
        except Exception as error:
            told.put(error)

    threading.Thread(target=client, daemon=True).start()
    return told


def test_a_stop_waits_for_the_request_at_hand(busy):
    control, folder, began, go = busy
    told = asked(folder, "work")
    began.wait()
    threading.Timer(0.2, go.set).start()
    assert control.stop(time.monotonic() + 600)
    assert told.get() == {}


def test_a_client_of_a_service_that_stops_under_its_request_is_told_what_comes_of_it(busy):
    control, folder, began, go = busy
    told = asked(folder, "fail")
    began.wait()
    assert not control.stop()
    go.set()
    assert "finished at its next start" in str(told.get())


def test_a_busy_service_is_not_a_traceback(busy):
    _, folder, began, _ = busy
    asked(folder, "work")
    began.wait()
    told = asked(folder, "work", seconds=0.1).get()
    assert isinstance(told, Refused)
    assert "not answered for 0.1 s" in str(told)
