"""Events of the inbox: hints that something came, which wake the loop. What there is, the loop lists by itself."""

from __future__ import annotations

import logging
import threading

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.api import BaseObserver
from watchdog.observers.inotify import InotifyEmitter

from daemon import mounts
from daemon.config import Settings

log = logging.getLogger("ocrd.hints")

_KINDS: list[type[FileSystemEvent]] = [
    FileCreatedEvent,
    FileClosedEvent,
    FileMovedEvent,
    DirCreatedEvent,
    DirMovedEvent,
]
"""That something came; not, say, that a folder was opened, which each look at the inbox does."""


class _Hint(FileSystemEventHandler):
    def __init__(self, wake: threading.Event) -> None:
        self._wake = wake

    def on_any_event(self, event: FileSystemEvent) -> None:
        if "/.claimed" not in str(event.src_path):
            self._wake.set()


class _Emitter(InotifyEmitter):
    """Takes a loss of events for what it is: the next look finds what there is.

    watchdog would take every folder's watch off and put a new one on, and each of these is an event: where folders are
    more than the kernel's queue holds, that loses events again, without an end. A folder that came while events were
    lost is not watched; its files are found at the next rescan.
    """

    def on_thread_start(self) -> None:
        super().on_thread_start()
        if self._inotify is not None:
            self._inotify.on_queue_overflow = lambda: None  # type: ignore[method-assign]


def watch(settings: Settings, wake: threading.Event) -> BaseObserver | None:
    """Events of the inbox, which make the next look come sooner; None where there are none to be had."""
    inbox, seconds = settings.inbox_dir, settings.ingest.rescan_seconds
    if (kind := mounts.network(inbox)) is not None:
        log.info("the inbox lies on %s, which tells of no changes: it is listed every %g s", kind, seconds)
        return None
    logging.getLogger("watchdog").setLevel(logging.ERROR)  # that events were lost is no news, thousands of times
    observer = BaseObserver(_Emitter)
    observer.schedule(_Hint(wake), str(inbox), recursive=True, event_filter=_KINDS)
    try:
        observer.start()
    except OSError as error:  # no more inotify instances or watches for this user
        log.warning("the inbox cannot be watched: %s; it is listed every %g s", error.strerror, seconds)
        return None
    return observer
