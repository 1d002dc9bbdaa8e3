"""The service's local control socket: one JSON line in, one JSON line out, for the owner of the state alone.

`{"command": "train"}` -> `{"ok": true, ...}` or `{"ok": false, "error": "..."}`. The socket lies in
`run/` (0700); a peer that is neither the owner nor root is refused by its credentials as well.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from daemon.errors import DiskRefused, NotRunning, OcrdError, Refused
from daemon.trouble import explain, is_trouble, refused

log = logging.getLogger("ocrd.control")

Handler = Callable[..., dict[str, Any]]
SOCKET_NAME = "control.sock"
_MAX_REQUEST = 1 << 20
"""Bytes; some 50,000 ids of documents."""


class Control:
    """Answers requests on `run_dir/control.sock` in a thread of its own."""

    def __init__(self, run_dir: Path, commands: dict[str, Handler]) -> None:
        self._path, self._commands = run_dir / SOCKET_NAME, commands
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._thread = threading.Thread(target=self._serve, daemon=True, name="control")

    def start(self) -> None:
        self._path.unlink(missing_ok=True)
        with _directory(self._path.parent) as short:
            self._sock.bind(f"{short}/{SOCKET_NAME}")
        self._path.chmod(0o600)
        self._sock.listen(8)
        self._thread.start()

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()
        self._path.unlink(missing_ok=True)

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._sock.accept()
            except OSError:
                return
            with peer, contextlib.suppress(OSError):
                peer.settimeout(30)
                peer.sendall(json.dumps(self._answer(peer)).encode() + b"\n")

    def _answer(self, peer: socket.socket) -> dict[str, Any]:
        uid = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
        if uid not in (0, os.geteuid()):
            return {"ok": False, "error": f"user {uid} may not control this service"}
        try:
            with peer.makefile("rb") as stream:
                request = json.loads(stream.readline(_MAX_REQUEST))
            handler = self._commands.get(request.pop("command"))
            if handler is None:
                return {"ok": False, "error": f"expected one of the commands {sorted(self._commands)}"}
            return {"ok": True, **handler(**request)}
        except OcrdError as error:
            return {"ok": False, "error": str(error)}
        except Exception as error:
            if is_trouble(error):
                log.error("a control request failed: %s", explain(error, self._path.parents[1]))
                return {"ok": False, "disk": True, "error": str(refused(error, self._path.parents[1]))}
            log.error("a control request failed: %s", type(error).__name__)
            return {"ok": False, "error": f"the request failed: {type(error).__name__}"}


def ask(run_dir: Path, command: str, *, seconds: float = 60, **values: Any) -> dict[str, Any]:
    """Asks the running service, and waits for its answer for so many seconds.

    Raises:
        NotRunning: nothing answers.
        Refused: the service says no, and why.
        DiskRefused: the machine refuses.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(seconds)
        try:
            with _directory(run_dir) as short:
                sock.connect(f"{short}/{SOCKET_NAME}")
        except OSError as error:
            raise NotRunning(
                "The service does not run. Start it with `ocrd start` or `systemctl start ocrd`."
            ) from error
        sock.sendall(json.dumps({"command": command, **values}).encode() + b"\n")
        with sock.makefile("rb") as stream:
            answer = json.loads(stream.readline() or b'{"ok": false, "error": "the service closed the connection"}')
    if not answer.pop("ok"):
        raise (DiskRefused if answer.get("disk") else Refused)(answer["error"])
    return dict(answer)


@contextlib.contextmanager
def _directory(path: Path) -> Any:
    """A short name of a directory: a socket's address holds 107 bytes, and state folders lie deeper than that."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)
