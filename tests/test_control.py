"""The control socket: answers the owner, names refusals, and is told apart from a dead service."""

import stat

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
