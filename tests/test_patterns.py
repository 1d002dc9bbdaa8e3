"""No line of a page, whatever its reader made of it, keeps a rule busy for ever."""

import re
import signal

import pytest

from privacy.detectors.registry import RULES

UNITS = (
    "-",
    "_",
    ".",
    "a",
    "A",
    "1",
    "a ",
    "A ",
    "1 ",
    "a-",
    "Aa-",
    "Aa ",
    "A. ",
    "a.",
    "1-",
    "1.",
    "1/",
    "a@",
    "a, ",
    "王",
    "1号",
    "<",
)
"""What lines of dashes, leaders, tables and bad readings are made of."""


def takes_for_ever(search, seconds=20):
    """Whether a pattern of the rule tries every way to part one of these lines before it gives up on it.

    The seconds are the processor's: those of a busy machine would tell of the machine.
    """

    def ring(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGVTALRM, ring)
    try:
        for unit in UNITS:
            for line in (unit * 200, f"x@{unit * 200} @"):
                signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
                search(line)
    except TimeoutError:
        return True
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    return False


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_no_line_keeps_a_rule_busy_for_ever(rule):
    assert not takes_for_ever(rule.search)


def test_a_pattern_that_tries_every_way_is_seen():
    assert takes_for_ever(re.compile(r"[\w\-]+(?:[._\-]?[\w\-]+)*@").findall, 1)
