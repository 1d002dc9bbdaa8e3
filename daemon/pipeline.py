"""One document from claim to receipt, so that a crash at any moment leaves exactly one effect.

The order is the guarantee:

1. the arrival is recorded under the claim's id and gets its slot;
2. the file is read into memory, decoded in one worker and read and anonymised in another;
3. what is left is sealed and synced under the id (again after a crash: the same id, replaced);
4. the ending is committed;
5. the receipt is written, and only then is the claimed file removed.

A crash before 4 repeats the work; one after 4 only writes the receipt again, with the same content
and name. Trouble of the machine (no space, no permission, I/O errors) leaves the claim for a later
try; only trouble of the document goes to `failed/`, sealed.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon import decoding, receipts, taking, workers
from daemon.errors import BadFile, WorkerDied
from daemon.home import Home
from daemon.state import Arrival, Database, Documents, Ending
from privacy.vault import Vault

log = logging.getLogger("ocrd.pipeline")

READER_LIMITS = workers.Limits(memory=12 * 2**30, open_files=1024)
LINES_BLOB = "lines"
ORIGINAL_BLOB, NAME_BLOB, SIDECAR_BLOB = "original", "name", "sidecar"


class Stopping(Exception):
    """The service stops: the document keeps its claim and is taken up again at the next start."""


@dataclass(frozen=True)
class Read:
    """What came back from the workers: the row's numbers, and the blobs to seal by name."""

    header: dict[str, Any]
    blobs: dict[str, bytes]


class Pipeline:
    """The steps above, for one ingest thread with its own decoder and reader.

    Args:
        stopping: asked after a worker died, to tell a stop from a fault of the document.
    """

    def __init__(self, home: Home, database: Database, stopping: Callable[[], bool]) -> None:
        self._home, self._database, self._documents = home, database, Documents(database)
        self._stopping = stopping
        ingest = home.settings.ingest
        self._decoder = decoding.Decoder(ingest, home.settings.sandbox)
        self._reader: workers.Worker | None = None
        self._model: Path | None = None

    def process(self, claim: taking.Claim) -> Arrival:
        """Takes a claim to its receipt; harmless to repeat at any point.

        Raises:
            OSError: trouble of the machine; the claim is as it was.
            Stopping: the service is going down.
        """
        arrival = self.arrive(claim)
        if arrival.state == "claimed":
            ending = self._documents.end(claim.id, self._end_of(claim), time.time())
            log.info("document %s: %s%s", claim.id, ending.state, f" ({ending.reason})" if ending.reason else "")
        self.finish(claim)
        return self._documents.find(claim.id) or arrival

    def arrive(self, claim: taking.Claim) -> Arrival:
        """Records the claim and gives it the next slot; once only, however often it is called."""
        home = self._home
        name, source = home.name_digest(claim.name.rpartition("/")[2]), home.source_digest(claim.name)
        folder = home.folder_digest(claim.name)
        return self._documents.arrive(claim.id, time.time(), name, home.pool_of, source, folder)

    def give_up(self, claim: taking.Claim, fault: str) -> None:
        """Ends a document that fails again and again for no reason we know: sealed, with a receipt."""
        self._keep_large(claim)
        self._documents.end(claim.id, Ending("failed", reason=f"could not be processed: {fault}"), time.time())
        self.finish(claim)

    def finish(self, claim: taking.Claim) -> None:
        """Steps after the commit; also all that is left to do after a crash between commit and receipt.

        What an earlier try had sealed under another ending is destroyed: a document lies where its row says.
        """
        row = self._database.row("SELECT state FROM documents WHERE id = ?", claim.id)
        home, state = self._home, "" if row is None else row["state"]
        kept = {
            "done": (home.vault, home.originals),
            "quarantined": (home.quarantine,),
            "failed": (home.failed,),
            "duplicate": (home.failed,),  # labels that came with a copy
        }
        for vault in (home.vault, home.originals, home.quarantine, home.failed):
            if vault not in kept.get(state, ()) and vault.exists(claim.id):
                vault.shred(claim.id)
        if state == "duplicate" and claim.sidecar is not None and not home.failed.exists(claim.id):
            self._keep(home.failed, claim, b"", taking.read(claim.sidecar, home.settings.ingest.max_file_bytes))
        receipts.write(home, self._database, claim.id)
        taking.discard(claim)
        self._documents.receipt_written(claim.id)

    def _end_of(self, claim: taking.Claim) -> Ending:
        sidecar = b""
        try:
            if claim.sidecar is not None:
                sidecar = taking.read(claim.sidecar, self._home.settings.ingest.max_file_bytes)
            if claim.file is None:
                self._keep(self._home.failed, claim, b"", sidecar)
                return Ending("failed", reason="is a label file, and no image of its name came")
            data = taking.read(claim.file, self._home.settings.ingest.max_file_bytes)
        except BadFile as error:
            self._keep_large(claim)
            return Ending("failed", reason=str(error))
        digest = self._home.digests.digest("content", data)
        twin = self._documents.original_of(claim.id, digest)
        if twin is not None:
            reason = None
            if sidecar:
                self._keep(self._home.failed, claim, b"", sidecar)
                reason = "its labels came too late to be learned from; `ocrd recover` gives them back"
            return Ending("duplicate", digest=digest, original_of=twin, reason=reason)
        try:
            read = self._read(claim, data, sidecar)
        except BadFile as error:
            self._keep(self._home.failed, claim, data, sidecar)
            return Ending("failed", digest=digest, reason=str(error))
        if taking.read(claim.file, self._home.settings.ingest.max_file_bytes) != data:
            raise BlockingIOError(errno.EAGAIN, "the file changed after it was read")
        return self._seal(claim, data, sidecar, digest, read)

    def _read(self, claim: taking.Claim, data: bytes, sidecar: bytes) -> Read:
        """Decode and read, each tried twice: a worker that dies twice on a document is the document's fault."""
        for attempt in (1, 2):
            try:
                return self._read_once(claim, data, sidecar)
            except WorkerDied as error:
                if self._stopping():
                    raise Stopping from error
                log.warning("a worker was replaced: %s", error)
                if attempt == 2:
                    raise BadFile(f"could not be processed: {error}") from error
        raise AssertionError("unreachable")

    def _read_once(self, claim: taking.Claim, data: bytes, sidecar: bytes) -> Read:
        ingest = self._home.settings.ingest
        with self._decoder.decode(data, ingest.decode_seconds) as decoded:
            if decoded.doubt:
                return Read({"verdict": "quarantined", "reason": decoded.doubt, "pages": len(decoded.shapes)}, {})
            shapes = decoded.shapes
            header = {"shapes": shapes, "sidecar": len(sidecar) > 0, "name": claim.name.rpartition("/")[2]}
            with self._current_reader().call(header, [sidecar, *decoded.fds], ingest.read_seconds) as reply:
                names = reply.header.pop("blobs")
                return Read(reply.header, {name: reply.blob(index) for index, name in enumerate(names)})

    def _current_reader(self) -> workers.Worker:
        """The reader of the model in service; a roll-out takes effect here, between two documents."""
        settings = self._home.settings
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

    def _seal(self, claim: taking.Claim, data: bytes, sidecar: bytes, digest: bytes, read: Read) -> Ending:
        header, settings = read.header, self._home.settings.ingest
        if header["verdict"] == "quarantined":
            self._keep(self._home.quarantine, claim, data, sidecar)
            return Ending("quarantined", digest=digest, reason=header["reason"], pages=header["pages"])
        self._home.vault.create(claim.id, self._slot(claim))
        for name, blob in read.blobs.items():
            self._home.vault.put(claim.id, name, blob)
        until = None
        if settings.originals == "seal" and settings.originals_days > 0:
            self._keep(self._home.originals, claim, data, sidecar)
            until = time.time() + settings.originals_days * 86400
        elif self._home.originals.exists(claim.id):  # from a try before the setting was changed
            self._home.originals.shred(claim.id)
        return Ending(
            "done",
            digest=digest,
            pages=header["pages"],
            lines=header["lines"],
            taught=header["taught"],
            labelled=header["labelled"],
            removed=header["removed"],
            confidence=header["confidence"],
            brightness=header["brightness"],
            contrast=header["contrast"],
            model=(self._model or Path()).name,
            original_until=until,
        )

    def _slot(self, claim: taking.Claim) -> int:
        return (self._documents.find(claim.id) or self.arrive(claim)).slot

    def _keep(self, vault: Vault, claim: taking.Claim, data: bytes, sidecar: bytes) -> None:
        vault.create(claim.id, self._slot(claim))
        vault.put(claim.id, NAME_BLOB, os.fsencode(claim.name))
        vault.put(claim.id, ORIGINAL_BLOB, data)
        if sidecar:
            vault.put(claim.id, SIDECAR_BLOB, sidecar)

    def _keep_large(self, claim: taking.Claim) -> None:
        """A file that is refused before it is read into memory is sealed as a stream."""
        vault = self._home.failed
        vault.create(claim.id, self._slot(claim))
        vault.put(claim.id, NAME_BLOB, os.fsencode(claim.name))
        for path, name in ((claim.file, ORIGINAL_BLOB), (claim.sidecar, SIDECAR_BLOB)):
            if path is not None and path.is_file() and not path.is_symlink():
                with path.open("rb") as file:
                    vault.put(claim.id, name, iter(lambda: file.read(2**20), b""))

    def close(self) -> None:
        """Kills the workers for good; safe from any thread."""
        self._decoder.close()
        if self._reader is not None:
            self._reader.close()
