"""Documents from claim to receipt, so that a crash at any moment leaves exactly one effect.

The order is the guarantee:

1. the arrival is recorded under the claim's id and gets its slot;
2. the file is read into memory, decoded in one worker and read and anonymised in another;
3. what is left is sealed under the id: written aside, synced, renamed (again after a crash: replaced), synced;
4. the ending is committed;
5. the receipt is written and synced, and only then is the claimed file removed.

Steps 1 and 2, and the writing aside, are `prepare`; the rest is `commit`, for one document or for several with one
round of syncs and one transaction a step: each step is done for all of them before the next begins (docs/adr/0013).

A crash before 4 repeats the work; one after 4 only writes the receipt again, with the same content
and name. Trouble of the machine (no space, no permission, I/O errors) leaves the claim for a later
try; only trouble of the document goes to `failed/`, sealed.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from daemon import receipts, taking, unchanged
from daemon.errors import BadFile
from daemon.home import Home
from daemon.readers import Read, Readers
from daemon.state import Arrival, Database, Documents, Ending
from privacy import sealing
from privacy.sealing import Sealing
from privacy.vault import Vault

log = logging.getLogger("ocrd.pipeline")

LINES_BLOB = "lines"
ORIGINAL_BLOB, NAME_BLOB, SIDECAR_BLOB = "original", "name", "sidecar"


@dataclass(frozen=True)
class Prepared:
    """A document of which it is known how it ends; what is sealed of it lies aside."""

    claim: taking.Claim
    ending: Ending | None
    """None: it ended before a crash, and what is left to do is its receipt."""
    sealed: Sealing


class Pipeline:
    """The steps above, for one ingest thread with its own decoder and reader.

    Args:
        stopping: asked after a worker died, to tell a stop from a fault of the document.
    """

    def __init__(self, home: Home, database: Database, stopping: Callable[[], bool]) -> None:
        self._home, self._database, self._documents = home, database, Documents(database)
        self._readers = Readers(home, stopping)
        self._kept = {
            "done": (home.vault, home.originals),
            "quarantined": (home.quarantine,),
            "failed": (home.failed,),
            "duplicate": (home.failed,),  # labels that came with a copy
        }

    def process(self, claim: taking.Claim) -> Arrival:
        """Takes a claim to its receipt; harmless to repeat at any point.

        Raises:
            OSError: trouble of the machine; the claim is as it was.
            Stopping: the service is going down.
        """
        self.commit([self.prepare(claim)])
        return self._documents.find(claim.id) or self.arrive(claim)

    def prepare(self, claim: taking.Claim) -> Prepared:
        """Steps 1 and 2; nothing rests on it yet. Raises as `process` does."""
        arrival = self._documents.find(claim.id) or self.arrive(claim)
        sealed = Sealing(self._home.shelf)
        try:
            return Prepared(claim, self._end_of(claim, sealed) if arrival.state == "claimed" else None, sealed)
        except BaseException:
            sealed.abandon()
            raise

    def commit(self, batch: Sequence[Prepared]) -> int:
        """Steps 3 to 5, each for all of them before the next; returns how many documents they are.

        Raises:
            OSError: trouble of the machine; each is to be prepared anew.
        """
        try:
            sealing.commit(self._home.shelf, [prepared.sealed for prepared in batch])
        except BaseException:
            for prepared in batch:
                prepared.sealed.abandon()
            raise
        ended = []
        with self._database.transaction():
            for prepared in batch:
                if prepared.ending is not None:
                    ended.append((prepared.claim.id, self._end(prepared.claim.id, prepared.ending)))
        for id, ending in ended:
            log.info("document %s: %s%s", id, ending.state, f" ({ending.reason})" if ending.reason else "")
        self.finish([prepared.claim for prepared in batch])
        return len(batch)

    def _end(self, id: str, ending: Ending) -> Ending:
        if ending.state == "duplicate" and self._documents.original_of(id, ending.digest or b"") is None:
            raise BlockingIOError(errno.EAGAIN, "the document of which it is a copy was forgotten meanwhile")
        return self._documents.end(id, ending, time.time())

    def arrive(self, claim: taking.Claim) -> Arrival:
        """Records the claim and gives it the next slot; once only, however often it is called."""
        home = self._home
        name, source = home.name_digest(claim.name.rpartition("/")[2]), home.source_digest(claim.name)
        folder = home.folder_digest(claim.name)
        return self._documents.arrive(claim.id, time.time(), name, home.pool_of, source, folder)

    def give_up(self, claim: taking.Claim, fault: str) -> None:
        """Ends a document that fails again and again for no reason we know: sealed, with a receipt."""
        sealed = Sealing(self._home.shelf)
        try:
            self._keep_large(claim, sealed)
        except BaseException:
            sealed.abandon()
            raise
        self.commit([Prepared(claim, Ending("failed", reason=f"could not be processed: {fault}"), sealed)])

    def finish(self, claims: Sequence[taking.Claim]) -> None:
        """Steps after the commit; also all that is left to do after a crash between commit and receipt."""
        home, late = self._home, Sealing(self._home.shelf)
        try:
            self._tidy(claims, late)
            sealing.commit(home.shelf, [late])
        finally:
            late.abandon()
        receipts.write(home, self._database, *(claim.id for claim in claims))
        taking.discard(claims)
        self._documents.receipt_written(*(claim.id for claim in claims))

    def _tidy(self, claims: Sequence[taking.Claim], late: Sealing) -> None:
        """Seals copies' labels; destroys what an earlier try had sealed: a document lies where its row says."""
        home = self._home
        for claim in claims:
            arrival = self._documents.find(claim.id)
            state = "" if arrival is None else arrival.state
            for vault in home.vaults:
                if vault.begun(claim.id) and not (vault.exists(claim.id) and self._keeps(vault, claim, state)):
                    vault.shred(claim.id)
            labels = claim.sidecar if state == "duplicate" else None
            if labels is not None and labels.exists():  # sealed anew: a stop can halve it; gone only after it was
                self._keep(home.failed, claim, b"", unchanged.read(labels, home.settings.ingest.max_file_bytes), late)

    def _keeps(self, vault: Vault, claim: taking.Claim, state: str) -> bool:
        return vault in self._kept.get(state, ()) and not self._outdated(claim, state)

    def _outdated(self, claim: taking.Claim, state: str) -> bool:
        """Whether `failed/` still has the original of a document that turned out to be a copy when it was tried again.

        The late labels of a copy lie there too, beside an original without bytes.
        """
        if state != "duplicate" or claim.sidecar is not None:  # `finish` seals that anew
            return False
        return next(self._home.failed.stream(claim.id, ORIGINAL_BLOB), b"") != b""

    def _end_of(self, claim: taking.Claim, sealed: Sealing) -> Ending:
        sidecar = b""
        try:
            if claim.sidecar is not None:
                sidecar = unchanged.read(claim.sidecar, self._home.settings.ingest.max_file_bytes)
            if not claim.name:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(claim.folder))
            if claim.file is None:
                self._keep(self._home.failed, claim, b"", sidecar, sealed)
                return Ending("failed", reason="is a label file, and no image of its name came")
            data = unchanged.read(claim.file, self._home.settings.ingest.max_file_bytes)
        except BadFile as error:
            self._keep_large(claim, sealed)
            return Ending("failed", reason=str(error))
        digest = self._home.digests.digest("content", data)
        twin = self._documents.original_of(claim.id, digest)
        if twin is not None:
            late = "its labels came too late to be learned from; `ocrd recover` gives them back"
            reason = late if sidecar else None  # `finish` keeps them
            return Ending("duplicate", digest=digest, original_of=twin, reason=reason)
        try:
            read = self._read(claim, data, sidecar)
        except BadFile as error:
            self._keep(self._home.failed, claim, data, sidecar, sealed)
            return Ending("failed", digest=digest, reason=str(error))
        if unchanged.read(claim.file, self._home.settings.ingest.max_file_bytes) != data:
            raise BlockingIOError(errno.EAGAIN, "the file changed after it was read")
        return self._seal(claim, data, sidecar, digest, read, sealed)

    def _read(self, claim: taking.Claim, data: bytes, sidecar: bytes) -> Read:
        return self._readers.read(data, sidecar, claim.name.rpartition("/")[2])

    def _seal(
        self, claim: taking.Claim, data: bytes, sidecar: bytes, digest: bytes, read: Read, sealed: Sealing
    ) -> Ending:
        header, settings = read.header, self._home.settings.ingest
        if header["verdict"] == "quarantined":
            self._keep(self._home.quarantine, claim, data, sidecar, sealed)
            return Ending("quarantined", digest=digest, reason=header["reason"], pages=header["pages"])
        self._home.vault.seal(claim.id, self._slot(claim), read.blobs, sealed)
        until = None
        if settings.originals == "seal" and settings.originals_days > 0:
            self._keep(self._home.originals, claim, data, sidecar, sealed)
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
            model=self._readers.model,
            original_until=until,
        )

    def _slot(self, claim: taking.Claim) -> int:
        return (self._documents.find(claim.id) or self.arrive(claim)).slot

    def _keep(self, vault: Vault, claim: taking.Claim, data: bytes, sidecar: bytes, sealed: Sealing) -> None:
        blobs = {NAME_BLOB: os.fsencode(claim.name), ORIGINAL_BLOB: data}
        if sidecar:
            blobs[SIDECAR_BLOB] = sidecar
        vault.seal(claim.id, self._slot(claim), blobs, sealed)

    def _keep_large(self, claim: taking.Claim, sealed: Sealing) -> None:
        """A file that is refused before it is read into memory is sealed as a stream."""
        blobs: dict[str, bytes | Iterable[bytes]] = {NAME_BLOB: os.fsencode(claim.name)}
        with contextlib.ExitStack() as opened:
            for path, name in ((claim.file, ORIGINAL_BLOB), (claim.sidecar, SIDECAR_BLOB)):
                if path is not None and path.is_file() and not path.is_symlink():
                    file = opened.enter_context(path.open("rb"))
                    blobs[name] = iter(partial(file.read, 2**20), b"")
            self._home.failed.seal(claim.id, self._slot(claim), blobs, sealed)

    def close(self) -> None:
        """Kills the workers for good; safe from any thread."""
        self._readers.close()
