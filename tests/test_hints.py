"""Events of the inbox are hints, and of nothing but what came: the service must not wake itself."""

import os
import threading
import time
from types import SimpleNamespace

import pytest
from watchdog.observers.inotify import InotifyEmitter
from watchdog.observers.inotify_c import InotifyFD

from daemon import hints

FOLDERS = 20


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
    yield tmp_path, wake, told, observer
    observer.stop()
    observer.join()


def woken(inbox, wake):
    for n in range(100):  # the first files may come before the watch does
        (inbox / "3" / f"{n}.png").write_bytes(b"x")
        if wake.wait(0.1):
            return True
    return False


def told_of_a_look(inbox, told):
    for folder in range(FOLDERS):
        os.listdir(inbox / f"{folder}")
    time.sleep(0.2)
    return sum(event.is_directory for event in told)


def test_a_file_wakes_and_a_look_into_the_folders_tells_nothing(watched):
    inbox, wake, told, _ = watched
    assert woken(inbox, wake)
    assert told_of_a_look(inbox, told) == 0


def test_without_the_choice_of_events_each_look_tells_of_every_folder(monkeypatch, request):
    monkeypatch.setattr(hints, "_KINDS", None)
    inbox, wake, told, _ = request.getfixturevalue("watched")
    woken(inbox, wake)
    assert told_of_a_look(inbox, told) >= FOLDERS


def lost(observer):
    """What the kernel tells after it has told of a loss of events."""
    (emitter,) = observer.emitters
    emitter._inotify.on_queue_overflow()
    time.sleep(0.2)


def test_a_loss_of_events_takes_no_watch_off(watched):
    inbox, wake, told, observer = watched
    assert woken(inbox, wake)
    lost(observer)
    assert not any(event.is_ignored for event in told)
    wake.clear()
    assert woken(inbox, wake)


def test_watchdogs_own_recovery_makes_an_event_a_folder(monkeypatch, request):
    monkeypatch.setattr(hints, "_Emitter", InotifyEmitter)
    inbox, wake, told, observer = request.getfixturevalue("watched")
    woken(inbox, wake)
    lost(observer)
    assert sum(event.is_ignored for event in told) >= FOLDERS
