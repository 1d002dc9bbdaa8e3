"""What is due lives in the database: an appointment that was slept through is made up once."""

from datetime import UTC, datetime, timedelta

import pytest
from apscheduler.triggers.interval import IntervalTrigger

from daemon.errors import BadSetting
from daemon.schedule import calendar, next_run

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)  # a Wednesday
SUNDAYS = calendar("0 2 * * sun")


def test_never_run_before_waits_for_the_calendar():
    assert next_run(SUNDAYS, None, NOW) == datetime(2026, 3, 8, 2, 0, tzinfo=UTC)


def test_run_on_time_waits_for_the_next():
    assert next_run(SUNDAYS, "2026-03-01T02:00:01+00:00", NOW) == datetime(2026, 3, 8, 2, 0, tzinfo=UTC)


def test_slept_through_is_made_up_now_and_once():
    assert next_run(SUNDAYS, "2026-02-08T02:00:00+00:00", NOW) == NOW
    assert next_run(SUNDAYS, NOW.isoformat(), NOW) == datetime(2026, 3, 8, 2, 0, tzinfo=UTC)


def test_a_clock_that_was_ahead_does_not_silence_the_schedule():
    ahead = (NOW + timedelta(days=400)).isoformat()
    assert next_run(SUNDAYS, ahead, NOW) == datetime(2026, 3, 8, 2, 0, tzinfo=UTC)


def test_intervals_go_on_from_the_last_beginning():
    every_six = IntervalTrigger(hours=6, timezone=UTC)
    began = (NOW - timedelta(hours=2)).isoformat()
    assert next_run(every_six, began, NOW) == NOW + timedelta(hours=4)
    assert next_run(every_six, (NOW - timedelta(hours=7)).isoformat(), NOW) == NOW


def test_a_calendar_that_is_none_is_named():
    with pytest.raises(BadSetting, match=r"'0 99 \* \* 0'"):
        calendar("0 99 * * 0")
