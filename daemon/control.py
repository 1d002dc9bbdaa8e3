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
import time
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
_ENDED = "the service ended before it answered: what it had begun is finished at its next start"


class Control:
    """Answers requests on `run_dir/control.sock` in a thread of its own."""

    def __init__(self, run_dir: Path, commands: dict[str, Handler]) -> None:
        self._path, self._commands = run_dir / SOCKET_NAME, commands
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._thread = threading.Thread(target=self._serve, daemon=True, name="control")
        self._stopped = False

    def start(self) -> None:
        self._path.unlink(missing_ok=True)
        with _directory(self._path.parent) as short:
            self._sock.bind(f"{short}/{SOCKET_NAME}")
        self._path.chmod(0o600)
        self._sock.listen(8)
        self._thread.start()

    def stop(self, deadline: float = 0.0) -> bool:
        """Takes no further request; False if the one at hand was not answered by `deadline` (monotonic)."""
        self._stopped = True
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()
        self._path.unlink(missing_ok=True)
        if self._thread.is_alive():
            self._thread.join(max(0.0, deadline - time.monotonic()))
        return not self._thread.is_alive()

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
                line = stream.readline(_MAX_REQUEST)
            if len(line) == _MAX_REQUEST and not line.endswith(b"\n"):
                return {
                    "ok": False,
                    "error": f"expected a request of at most {_MAX_REQUEST} bytes: name fewer documents",
                }
            request = json.loads(line)
            handler = self._commands.get(request.pop("command"))
            if handler is None:
                return {"ok": False, "error": f"expected one of the commands {sorted(self._commands)}"}
            return {"ok": True, **handler(**request)}
        except OcrdError as error:
            return {"ok": False, "error": str(error)}
        except Exception as error:
            if self._stopped:  # its files were closed meanwhile
                return {"ok": False, "error": _ENDED}
            if is_trouble(error):
                log.error("a control request failed: %s", explain(error, self._path.parents[1]))
                return {"ok": False, "disk": True, "error": str(refused(error, self._path.parents[1]))}
            log.error("a control request failed: %s", type(error).__name__)
            return {"ok": False, "error": f"the request failed: {type(error).__name__}"}


def ask(run_dir: Path, command: str, *, seconds: float = 60, **values: Any) -> dict[str, Any]:
    """Asks the running service, and waits for its answer for so many seconds.

    Raises:
        NotRunning: nothing answers.
        Refused: the service says no, and why; or it has not answered.
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
        line = b""
        try:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it can have answered before all was sent
                sock.sendall(json.dumps({"command": command, **values}).encode() + b"\n")
            with contextlib.suppress(ConnectionResetError), sock.makefile("rb") as stream:
                line = stream.readline()
        except TimeoutError:
            raise Refused(f"the service has not answered for {seconds:g} s: it is at another command") from None
        answer = json.loads(line) if line else {"ok": False, "error": _ENDED}
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
