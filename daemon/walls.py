"""Do the walls around the workers stand? Asked of the kernel before the service starts, and tried by `ocrd doctor`."""

from __future__ import annotations

import ctypes
import logging
import os
import secrets
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from daemon import config, decoding, escapes, workers
from daemon.errors import Unconfined, WorkerDied
from daemon.readers import READER_LIMITS
from privacy import sandbox

log = logging.getLogger("ocrd.walls")

SECONDS = 120.0
"""For a worker to start and answer: a machine that has just been switched on is busy."""
REMEDY = 'Linux 6.12 or newer has all of it. To serve without: sandbox = "warn" in ocrd.toml.'
_NEEDS = {
    "round": {"fork", "run a program", "make memory executable", "outlive the service"},
    "reader": {"make memory executable"},
}
"""What a process may do because its work needs it: the round starts Paddle, and compiled kernels are code."""


PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010800000000"
    "3a7e9b550000000a49444154789c636800000082008177cd72b60000000049454e44ae426082"
)
"""A whole PNG."""


def insist(settings: config.Settings) -> None:
    """Raises Unconfined where the kernel lacks what `sandbox = "require"` asks for; with "warn", says so.

    A decoder then starts behind its walls: where that fails (a container that forbids the calls, say), every
    document would end in `failed/`, and none is at fault.
    """
    if lacking := sandbox.missing():
        told = f"this kernel has no {' and no '.join(lacking)}: a decoder that is taken over could read the keys"
        if settings.sandbox == "require":
            raise Unconfined(f"{told}. {REMEDY}")
        log.warning("%s", told)
    decoder = decoding.Decoder(settings.ingest, settings.sandbox)
    try:
        decoder.decode(PIXEL, SECONDS).message.close()
    except WorkerDied as error:
        raise Unconfined(f"no decoder starts behind its walls: {error}. OCRD_DEBUG=1 shows why.") from error
    finally:
        decoder.close()


def tried(settings: config.Settings) -> Iterator[tuple[str, dict[str, str]]]:
    """For each attempt, what came of it in each real worker: "denied", "open", or an errno that proves nothing."""
    with tempfile.TemporaryDirectory() as scratch:
        outcomes: dict[str, dict[str, str]] = {}
        for name, worker in _each(settings, Path(scratch)).items():
            try:
                outcomes[name] = attempt(worker, _key(settings), settings.home)
            finally:
                worker.stop()
    for what in escapes.ATTEMPTS:
        yield what, {name: found[what] for name, found in outcomes.items() if what not in _NEEDS.get(name, ())}


def attempt(worker: workers.Worker, key: Path, folder: Path) -> dict[str, str]:
    """Has one worker try every escape at targets that are really there.

    Raises:
        WorkerDied: it did not survive the trying, or could not be confined at all.
    """
    secret = ctypes.create_string_buffer(b"readable")
    with ExitStack() as stack:
        hidden = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        tcp = stack.enter_context(_bound(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)))
        udp = stack.enter_context(_bound(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)))
        stack.enter_context(_bound(socket.AF_UNIX, socket.SOCK_STREAM, str(hidden / "socket")))
        name = f"ocrd-doctor-{secrets.token_hex(8)}"
        stack.enter_context(_bound(socket.AF_UNIX, socket.SOCK_STREAM, "\0" + name))
        targets = {
            "key": str(key),
            "folder": str(folder),
            "tcp": tcp.getsockname()[1],
            "udp": udp.getsockname()[1],
            "unix": str(hidden / "socket"),
            "abstract": name,
            "pid": os.getpid(),
            "address": ctypes.addressof(secret),
        }
        with worker.call({escapes.KEY: targets}, [], SECONDS) as reply:
            if set(reply.header) != set(escapes.ATTEMPTS):
                raise WorkerDied("a worker answered the trying of its walls wrongly")
            return dict(reply.header)


def _bound(family: int, kind: int, address: tuple[str, int] | str) -> socket.socket:
    sock = socket.socket(family, kind)
    sock.bind(address)
    if kind == socket.SOCK_STREAM:
        sock.listen()
    return sock


def _key(settings: config.Settings) -> Path:
    """The master key's file, or the signing key's where the master key is a credential."""
    master = settings.keys_dir / "master.key"
    return master if master.exists() else settings.keys_dir / "signing.key"


def _each(settings: config.Settings, scratch: Path) -> dict[str, workers.Worker]:
    """The workers of the service, as it starts them."""
    model = str((settings.models_dir / "current").resolve())
    folders = {"weights": str(settings.weights_dir), "model": model}
    reading = {
        **folders,
        "policy": settings.anonymise.model_dump(),
        "label_confidence": settings.learning.label_confidence,
    }
    training = {**folders, "scratch": str(scratch)}
    return {
        "decoder": decoding.Decoder(settings.ingest, settings.sandbox).worker,
        "reader": workers.Worker("daemon.reading", reading, READER_LIMITS, policy=settings.sandbox),
        "round": workers.Worker("daemon.round", training, workers.Limits(memory=-1), policy=settings.sandbox),
    }
