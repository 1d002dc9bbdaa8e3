"""Messages between the service and its workers: whole, in memory, and honest about a dead peer."""

import fcntl
import gc
import os
import socket

import pytest

from daemon import wire


def descriptors():
    """How many are open, without those that wait for the garbage collection, of earlier tests too."""
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def test_header_and_blobs_arrive_whole():
    ours, theirs = wire.pair()
    with ours, theirs:
        big = os.urandom(5_000_000)
        wire.send(ours, {"n": 1, "long": "x" * 1_000_000}, [b"", big])
        with wire.receive(theirs) as message:
            assert message.header == {"n": 1, "long": "x" * 1_000_000}
            assert message.blob(0) == b""
            assert message.blob(1) == big


def test_a_blob_cannot_be_changed_after_it_was_sent():
    fd = wire.memfd(b"page")
    try:
        with pytest.raises(PermissionError):
            os.pwrite(fd, b"x", 0)
        assert fcntl.fcntl(fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_WRITE
    finally:
        os.close(fd)


def test_descriptors_are_closed_on_both_sides():
    ours, theirs = wire.pair()
    with ours, theirs:
        before = descriptors()
        for _ in range(50):
            wire.send(ours, {}, [b"a", b"b"])
            wire.receive(theirs).close()
        assert descriptors() == before


def test_a_dead_peer_is_closed_not_hung():
    ours, theirs = wire.pair()
    theirs.close()
    with ours:
        with pytest.raises(wire.Closed):
            wire.receive(ours)
        with pytest.raises(wire.Closed):
            wire.send(ours, {}, [])


def test_a_message_over_its_limit_is_refused():
    fd = wire.memfd(b"12345")
    try:
        with pytest.raises(ValueError, match="at most 4 bytes in a message, got 5"):
            wire.read_fd(fd, 4)
    finally:
        os.close(fd)


@pytest.mark.parametrize("header", [b"[" * 100_000, b"[1]", b"3", b"\xff", b""])
def test_a_header_that_is_no_object_is_refused_and_nothing_stays_open(header):
    ours, theirs = wire.pair()
    with ours, theirs:
        before = descriptors()
        fd = wire.memfd(header)
        socket.send_fds(theirs, [b"m"], [fd])
        os.close(fd)
        with pytest.raises(ValueError, match=r"."):
            wire.receive(ours)
        assert descriptors() == before


def test_a_pipe_in_place_of_a_header_is_refused():
    """It has no end to seek to, and reading it could wait for ever."""
    ours, theirs = wire.pair()
    reading, writing = os.pipe()
    with ours, theirs:
        socket.send_fds(theirs, [b"m"], [reading])
        with pytest.raises(OSError, match="seek"):
            wire.receive(ours)
    os.close(reading)
    os.close(writing)
