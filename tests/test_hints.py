"""Events of the inbox are hints, and of nothing but what came: the service must not wake itself."""

import os
import secrets
import threading
import time
from types import SimpleNamespace

import pytest
from watchdog.observers.inotify import InotifyEmitter
from watchdog.observers.inotify_c import InotifyFD

from daemon import hints

FOLDERS = 20
PATIENCE = 60.0
"""Seconds, which only a watch that is broken takes."""


@pytest.fixture
def watched(tmp_path, monkeypatch):
    """A watched inbox of some folders, the flag that wakes the loop, and a list of all that the kernel tells."""
    told, handle = [], InotifyFD.handle_event
    monkeypatch.setattr(InotifyFD, "handle_event", lambda self, event: told.append(event) or handle(self, event))
    for n in range(FOLDERS):
        (tmp_path / f"{n}").mkdir()
    wake = threading.Event()
    settings = SimpleNamespace(inbox_dir=tmp_path, ingest=SimpleNamespace(rescan_seconds=5))
    observer = hints.watch(settings, wake)
    try:
        assert woken(tmp_path, wake)
        all_is_told(tmp_path, told)  # watchdog has one inotify for all: of what an earlier test watched, too
        told.clear()
        yield tmp_path, wake, told, observer
    finally:
        observer.stop()
        observer.join()


def wait_for(done):
    deadline = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < deadline, f"waited {PATIENCE:g} s in vain"
        time.sleep(0.01)


def woken(inbox, wake):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:  # the first files may come before the watch does
        (inbox / "3" / "new.png").write_bytes(b"x")
        if wake.wait(0.1):
            return True
    return False


def all_is_told(inbox, told):
    """The kernel tells in order: when it has told of one more file, it has told of all that was before."""
    name = f"last-{secrets.token_hex(4)}.png"  # of an earlier call's file something may still be told
    (inbox / "3" / name).write_bytes(b"x")
    wait_for(lambda: any(event.name == name.encode() for event in tuple(told)))


def told_of_a_look(inbox, told):
    for folder in range(FOLDERS):
        os.listdir(inbox / f"{folder}")
    all_is_told(inbox, told)
    return sum(event.is_directory for event in told)


def test_a_file_wakes_and_a_look_into_the_folders_tells_nothing(watched):
    inbox, _, told, _ = watched
    assert told_of_a_look(inbox, told) == 0


def test_without_the_choice_of_events_each_look_tells_of_every_folder(monkeypatch, request):
    monkeypatch.setattr(hints, "_KINDS", None)
    inbox, _, told, _ = request.getfixturevalue("watched")
    assert told_of_a_look(inbox, told) >= FOLDERS


def lose(observer):
    """What the kernel tells after it has told of a loss of events."""
    (emitter,) = observer.emitters
    emitter._inotify.on_queue_overflow()


def watches_taken_off(told):
    return sum(event.is_ignored for event in tuple(told))


def test_a_loss_of_events_takes_no_watch_off(watched):
    inbox, wake, told, observer = watched
    lose(observer)
    all_is_told(inbox, told)
    assert watches_taken_off(told) == 0
    wake.clear()
    assert woken(inbox, wake)


def test_watchdogs_own_recovery_makes_an_event_a_folder(monkeypatch, request):
    monkeypatch.setattr(hints, "_Emitter", InotifyEmitter)
    _, _, told, observer = request.getfixturevalue("watched")
    lose(observer)
    wait_for(lambda: watches_taken_off(told) >= FOLDERS)
