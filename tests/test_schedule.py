"""What is due lives in the database: an appointment that was slept through is made up once."""

import sqlite3
from datetime import UTC, datetime, timedelta

import pytest
from apscheduler.triggers.interval import IntervalTrigger

from daemon import config
from daemon.errors import BadSetting
from daemon.schedule import Schedule, calendar, next_run
from daemon.state import Database

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


class Clock:
    """A wall clock that can be set, and a monotonic one that can't."""

    def __init__(self, wall):
        self.wall, self.steady = wall.timestamp(), 0.0

    def __call__(self):
        return self.wall, self.steady

    def pass_(self, seconds):
        self.wall, self.steady = self.wall + seconds, self.steady + seconds


@pytest.fixture
def planned(tmp_path):
    """A schedule that was started on NOW and has run nothing; its clock, and what it destroyed."""
    (tmp_path / "ocrd.toml").write_text("")
    database, clock, shredded = Database(tmp_path / "state.db"), Clock(NOW), []
    schedule = Schedule(
        config.load(tmp_path), database, lambda cause: None, lambda: len(shredded.append(1) or []), clock
    )
    schedule._scheduler.start(paused=True)
    schedule.start = lambda: None
    for name, trigger in (("round", SUNDAYS), ("shred", IntervalTrigger(minutes=10, timezone=UTC))):
        schedule._add(name, trigger, lambda: None)
    yield schedule, clock, shredded
    schedule.stop()
    database.close()


def due(schedule, name):
    return schedule._scheduler.get_job(name).next_run_time


def test_a_clock_that_was_set_back_does_not_silence_the_schedule_until_it_comes_by_again(planned):
    schedule, clock, _ = planned
    clock.wall += 400 * 86400
    schedule.tick()
    schedule._database.set("began round", datetime.fromtimestamp(clock.wall, UTC).isoformat())
    schedule.tick()
    clock.wall -= 400 * 86400
    schedule.tick()
    assert due(schedule, "round") == datetime(2026, 3, 8, 2, 0, tzinfo=UTC)
    assert due(schedule, "shred") <= NOW + timedelta(minutes=10)


def test_a_clock_that_was_set_ahead_makes_up_what_it_jumped_over(planned):
    schedule, clock, _ = planned
    clock.wall += 10 * 86400
    assert due(schedule, "round") == datetime(2026, 3, 8, 2, 0, tzinfo=UTC)
    schedule.tick()
    assert due(schedule, "round") == NOW + timedelta(days=10)


def test_a_clock_that_was_set_back_and_then_jumps_over_an_appointment_makes_it_up(planned):
    """Set right after it was ahead, the machine then sleeps over a Sunday."""
    schedule, clock, _ = planned
    schedule._database.set("began round", (NOW + timedelta(days=400)).isoformat())
    clock.wall += 400 * 86400
    schedule.tick()
    clock.wall -= 400 * 86400
    schedule.tick()
    clock.wall += 10 * 86400
    schedule.tick()
    assert due(schedule, "round") == NOW + timedelta(days=10)


def test_a_jump_that_the_database_refused_to_plan_is_planned_at_the_next_look(planned, monkeypatch):
    schedule, clock, _ = planned
    clock.wall += 10 * 86400

    def refuse(*_):
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as broken:
        broken.setattr(Database, "get", refuse)
        with pytest.raises(sqlite3.OperationalError):
            schedule.tick()
    schedule.tick()
    assert due(schedule, "round") == NOW + timedelta(days=10)


def test_nothing_is_destroyed_for_an_hour_after_a_jump_ahead(planned):
    schedule, clock, shredded = planned
    clock.wall += 400 * 86400
    schedule.tick()
    schedule._shred_unless_held()
    clock.pass_(3599)
    schedule.tick()
    schedule._shred_unless_held()
    assert shredded == []
    clock.pass_(2)
    schedule._shred_unless_held()
    assert shredded == [1]


def test_a_clock_that_runs_as_it_should_changes_nothing(planned):
    schedule, clock, shredded = planned
    before = due(schedule, "round")
    for _ in range(100):
        clock.pass_(3600)
        schedule.tick()
    schedule._shred_unless_held()
    assert (due(schedule, "round"), shredded) == (before, [1])
