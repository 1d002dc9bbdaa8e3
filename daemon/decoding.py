"""The service's side of the decoder: what it is told, what it may take, and what of its answer is believed.

The decoder parses what strangers send, so its answer is as suspect as the file: it must have the shape that the
limits allow, and its pages are never opened here but handed on to the reader as they came.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from daemon import config, wire, workers
from daemon.errors import WorkerDied
from privacy.sandbox import Policy

MEMORY = 3 * 2**30
DOUBTS = (
    "a second decoder cannot read it",
    "two decoders disagree about its size",
    "two decoders disagree about its pixels",
)


@dataclass
class Decoded:
    """The pages' shapes (height, width) and descriptors; or a doubt, and no page. Closes them when done with."""

    message: wire.Message
    shapes: list[tuple[int, int]]
    doubt: str = ""

    @property
    def fds(self) -> list[int]:
        return self.message.fds

    def __enter__(self) -> Decoded:
        return self

    def __exit__(self, *_: object) -> None:
        self.message.close()


class Decoder:
    """A decoder that lasts: its process is replaced when it dies, and after 200 files."""

    def __init__(self, ingest: config.Ingest, policy: Policy) -> None:
        self._limits = ingest
        told = {
            "max_pages": ingest.max_pages,
            "max_pixels": ingest.max_pixels,
            "max_total_pixels": ingest.max_total_pixels,
            "pdf_dpi": ingest.pdf_dpi,
            "confirm": ingest.confirm,
            "heic": ingest.heic,
        }
        limits = workers.Limits(
            memory=MEMORY,
            file_size=max(
                3 * ingest.max_pixels, 2**20
            ),  # a memory file counts as a file: a page, or an answer's header
            open_files=ingest.max_pages + 40,
        )
        self.worker = workers.Worker("daemon.decoder", told, limits, policy=policy)

    def decode(self, data: bytes, seconds: float) -> Decoded:
        """The pages of a file. Raises BadFile and WorkerDied, as `Worker.call` does."""
        message = self.worker.call({}, [data], seconds)
        try:
            return self._believed(message)
        except ValueError as error:
            message.close()
            self.worker.stop()
            raise WorkerDied(f"the decoder answered what it cannot have found: {error}") from error

    def _believed(self, message: wire.Message) -> Decoded:
        if "doubt" in message.header:
            doubt = message.header["doubt"]
            if doubt not in DOUBTS:
                raise ValueError("an unknown doubt")
            return Decoded(message, [], doubt)
        shapes = [_shape(entry) for entry in _list(message.header.get("shapes"))]
        if len(shapes) != len(message.fds) or len(shapes) > self._limits.max_pages:
            raise ValueError(f"{len(shapes)} pages in {len(message.fds)} files")
        if sum(height * width for height, width in shapes) > self._limits.max_total_pixels:
            raise ValueError("more pixels than it may give")
        return Decoded(message, shapes)

    def close(self) -> None:
        self.worker.close()


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError("no list of pages")
    return value


def _shape(entry: Any) -> tuple[int, int]:
    if not isinstance(entry, list) or len(entry) != 2 or not all(type(side) is int and side > 0 for side in entry):
        raise ValueError("a page without a shape")
    return entry[0], entry[1]
