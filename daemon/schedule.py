"""When a round, a drift check or a shredding is due.

What is due lives in the database (the time each job last began), so that a machine that was off
over the appointed hour makes it up once, and not twice. Rounds follow the public calendar alone:
an alarm of the drift detectors never starts one (docs/adr/0002-unit-of-privacy.md).

A clock that jumps loses no appointment: `tick` sees the jump (the wall clock against a monotonic one) and plans anew
from what is in the database. After a jump ahead nothing is destroyed for an hour, so that a clock that was wrong for
a moment does not age every document at once.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from daemon import drift
from daemon.config import Settings
from daemon.errors import BadSetting, OcrdError
from daemon.state import Database
from daemon.trouble import explain

log = logging.getLogger("ocrd.schedule")

JUMP_SECONDS = 60.0
HOLD_SECONDS = 3600.0


def calendar(expression: str) -> CronTrigger:
    """The public calendar as a trigger, in UTC.

    Raises:
        BadSetting: not a cron expression.
    """
    try:
        return CronTrigger.from_crontab(expression, timezone=UTC)
    except ValueError as error:
        raise BadSetting(f"learning.calendar = {expression!r} is not a cron expression: {error}") from error


class Schedule:
    """APScheduler over the database.

    Args:
        start_round: called with the cause when the calendar says so.
        shred: destroys what is due; called every ten minutes, but not for an hour after the clock jumped ahead.
        clock: the wall clock and a monotonic one, in seconds.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        start_round: Callable[[str], Any],
        shred: Callable[[], Any],
        clock: Callable[[], tuple[float, float]] = lambda: (time.time(), time.monotonic()),
    ) -> None:
        self._settings, self._database = settings, database
        self._start_round, self._shred = start_round, shred
        self._scheduler = BackgroundScheduler(timezone=UTC)
        self._triggers: dict[str, Any] = {}
        self._clock = clock
        wall, steady = clock()
        self._offset, self._held_until = wall - steady, -math.inf

    def start(self) -> None:
        self._add("round", calendar(self._settings.learning.calendar), lambda: self._start_round("calendar"))
        hours = self._settings.drift.every_hours
        self._add("drift", IntervalTrigger(hours=hours, timezone=UTC), lambda: drift.check(self._database))
        self._add("shred", IntervalTrigger(minutes=10, timezone=UTC), self._shred_unless_held)
        self._scheduler.start()

    def tick(self) -> None:
        """Looks whether the clock has jumped since the last look; called every few seconds."""
        wall, steady = self._clock()
        jump = (wall - steady) - self._offset
        if abs(jump) < JUMP_SECONDS:
            return
        log.warning("the clock jumped by %+.0f s; what is due is planned anew", jump)
        if jump > 0:
            self._held_until = steady + HOLD_SECONDS
        for name in self._triggers:
            self._scheduler.modify_job(name, next_run_time=self._next(name))
        self._offset = wall - steady  # last: a database that refuses leaves the jump to the next look

    def _shred_unless_held(self) -> None:
        if self._clock()[1] < self._held_until:
            log.info("nothing is destroyed yet: the clock jumped ahead less than an hour ago")
        else:
            self._shred()

    def stop(self) -> None:
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def _add(self, name: str, trigger: Any, job: Callable[[], Any]) -> None:
        def run() -> None:
            try:
                self._database.set(f"began {name}", self._now().isoformat())
                job()
            except OcrdError as error:
                log.warning("%s: %s", name, error)
            except Exception as error:
                log.error("%s failed: %s", name, explain(error, self._settings.home))

        self._triggers[name] = trigger
        if self._database.get(f"began {name}") is None:  # from its first start on, a job that is slept through is due
            self._database.set(f"began {name}", self._now().isoformat())
        self._scheduler.add_job(
            run,
            trigger,
            id=name,
            next_run_time=self._next(name),
            misfire_grace_time=None,
            coalesce=True,
            max_instances=1,
        )

    def _next(self, name: str) -> datetime:
        began, now = self._database.get(f"began {name}"), self._now()
        if began is not None and datetime.fromisoformat(began) > now:  # the clock was ahead then: it counts from now on
            began = now.isoformat()
            self._database.set(f"began {name}", began)
        return next_run(self._triggers[name], began, now)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock()[0], UTC)


def next_run(trigger: Any, began: str | None, now: datetime) -> datetime:
    """The first time after the last beginning; now, if that has passed. Never run before: the next time from now."""
    if began is None:
        first: datetime = trigger.get_next_fire_time(None, now)
        return first
    last = min(datetime.fromisoformat(began), now)
    following: datetime = trigger.get_next_fire_time(last, last + timedelta(seconds=1))
    return max(following, now)
