"""Real processes for the tests of `learners.distributed`: each is told its rank as torchrun would tell it."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import torch

from learners.distributed import Team

Work = Callable[..., Any]
"""`work(team, *arguments)`, a function of a module."""
PATIENCE = 200.0
"""Seconds for which a process waits for the others, where none is lost."""


class Processes:
    """Some processes that have started, and wait for work."""

    def __init__(self, count: int) -> None:
        context = multiprocessing.get_context("spawn")
        pairs = [context.Pipe() for _ in range(count)]
        self.started = [context.Process(target=_serve, args=(theirs,), daemon=True) for _, theirs in pairs]
        self._pipes = [ours for ours, _ in pairs]
        for process, (_, theirs) in zip(self.started, pairs, strict=True):
            process.start()
            theirs.close()
        for pipe in self._pipes:
            pipe.recv()

    def run(self, work: Work, *arguments: Any, size: int = 2, timeout: float = PATIENCE) -> list[Any]:
        """What the work of each rank gave: a value, the exception it raised, or `EOFError` if it died."""
        self.send(work, *arguments, size=size, timeout=timeout)
        return [self.result(rank) for rank in range(size)]

    def send(self, work: Work, *arguments: Any, size: int = 2, timeout: float = PATIENCE) -> None:
        port = _free_port()
        for rank, pipe in enumerate(self._pipes[:size]):
            pipe.send((work, rank, size, port, timeout, arguments))

    def result(self, rank: int) -> Any:
        try:
            return self._pipes[rank].recv()
        except (EOFError, ConnectionResetError):
            return EOFError()

    def kill(self) -> None:
        for process in self.started:
            process.kill()
            process.join()


@contextmanager
def processes(count: int) -> Iterator[Processes]:
    started = Processes(count)
    try:
        yield started
    finally:
        started.kill()


def _serve(pipe: Connection) -> None:
    torch.set_num_threads(1)
    pipe.send("ready")
    while True:
        try:
            work, rank, size, port, timeout, arguments = pipe.recv()
        except EOFError:
            return
        pipe.send(_outcome(work, rank, size, port, timeout, arguments))


def _outcome(work: Work, rank: int, size: int, port: int, timeout: float, arguments: tuple[Any, ...]) -> Any:
    given = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in given.items()}, MASTER_ADDR="127.0.0.1")
    try:
        with Team.from_environment(timeout) as team:
            return work(team, *arguments)
    except Exception as error:
        return error


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])
