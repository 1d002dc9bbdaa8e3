"""A file's bytes to what is read and left of it: one decoder and one reader, workers both, for an ingest thread."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon import decoding, workers
from daemon.errors import BadFile, WorkerDied
from daemon.home import Home

log = logging.getLogger("ocrd.readers")

READER_LIMITS = workers.Limits(memory=12 * 2**30, open_files=1024)


class Stopping(Exception):
    """The service stops: the document keeps its claim and is taken up again at the next start."""


@dataclass(frozen=True)
class Read:
    """What came back from the workers: the row's numbers, and the blobs to seal by name."""

    header: dict[str, Any]
    blobs: dict[str, bytes]


class Readers:
    """Both workers; each is started when it is needed, and replaced when it dies.

    Args:
        stopping: asked after a worker died, to tell a stop from a fault of the document.
    """

    def __init__(self, home: Home, stopping: Callable[[], bool]) -> None:
        self._settings, self._stopping = home.settings, stopping
        self.decoder = decoding.Decoder(home.settings.ingest, home.settings.sandbox)
        self._reader: workers.Worker | None = None
        self._model: Path | None = None

    @property
    def model(self) -> str:
        """The version that read last."""
        return (self._model or Path()).name

    def read(self, data: bytes, sidecar: bytes, name: str) -> Read:
        """Decode and read, each tried twice: a worker that dies twice on a document is the document's fault.

        Raises:
            BadFile: it can't be decoded or read, and why.
            Stopping: the service is going down.
        """
        for attempt in (1, 2):
            try:
                return self._read_once(data, sidecar, name)
            except WorkerDied as error:
                if self._stopping():
                    raise Stopping from error
                log.warning("a worker was replaced: %s", error)
                if attempt == 2:
                    raise BadFile(f"could not be processed: {error}") from error
        raise AssertionError("unreachable")

    def _read_once(self, data: bytes, sidecar: bytes, name: str) -> Read:
        ingest = self._settings.ingest
        with self.decoder.decode(data, ingest.decode_seconds) as decoded:
            if decoded.doubt:
                return Read({"verdict": "quarantined", "reason": decoded.doubt, "pages": len(decoded.shapes)}, {})
            header = {"shapes": decoded.shapes, "sidecar": len(sidecar) > 0, "name": name}
            with self._current_reader().call(header, [sidecar, *decoded.fds], ingest.read_seconds) as reply:
                names = reply.header.pop("blobs")
                return Read(reply.header, {name: reply.blob(index) for index, name in enumerate(names)})

    def _current_reader(self) -> workers.Worker:
        """The reader of the model in service; a roll-out takes effect here, between two documents."""
        settings = self._settings
        model = (settings.models_dir / "current").resolve(strict=True)
        if self._reader is None or model != self._model:
            if self._reader is not None:
                self._reader.stop()
            reader_config = {
                "weights": str(settings.weights_dir),
                "model": str(model),
                "policy": settings.anonymise.model_dump(),
                "label_confidence": settings.learning.label_confidence,
            }
            self._reader = workers.Worker("daemon.reading", reader_config, READER_LIMITS, policy=settings.sandbox)
            self._model = model
        return self._reader

    def close(self) -> None:
        """Kills the workers for good; safe from any thread."""
        self.decoder.close()
        if self._reader is not None:
            self._reader.close()
