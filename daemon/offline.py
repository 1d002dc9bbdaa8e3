"""Anonymising without the service: the same workers, policy and second look, and what they gave back as files.

Files are decoded in the sandbox and read in a worker, as in the service; this process sees pictures that are done.
A preview shows a page before and after side by side: it holds what was personal, and is written only when asked for.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from daemon import unchanged, workers
from daemon.config import Anonymise, Ingest, load
from daemon.decoding import Decoder
from daemon.errors import BadFile, OcrdError
from daemon.readers import READER_LIMITS
from models import weights
from privacy import files
from privacy.sandbox import Policy


@dataclass(frozen=True)
class Anonymised:
    """One document: `reason` says why it may not be kept (empty: it may); PNG files by page; counts by kind."""

    reason: str
    removed: dict[str, int]
    pages: tuple[bytes, ...] = field(repr=False)
    previews: tuple[bytes, ...] = field(repr=False)
    audit: bytes = field(repr=False)


class Offline:
    """A decoder and a reader of one's own."""

    def __init__(self, folder: Path, anonymise: Anonymise, ingest: Ingest, sandbox: Policy) -> None:
        self._ingest, self.max_file_bytes = ingest, ingest.max_file_bytes
        self._decoder = Decoder(ingest, sandbox)
        config = {
            "weights": str(folder),
            "model": str(folder),
            "policy": anonymise.model_dump(),
            "label_confidence": 1.0,
        }
        self._reader = workers.Worker("daemon.reading", config, READER_LIMITS, policy=sandbox)

    def anonymise(self, data: bytes, also: Sequence[tuple[int, int, int, int, int]] = ()) -> Anonymised:
        """The document of a file's bytes; `also` are boxes to fill besides: page from 1, x0, y0, x1, y1 upright.

        Raises:
            BadFile: it cannot be decoded, or two decoders see two things in it.
            WorkerDied: a worker broke off.
        """
        with self._decoder.decode(data, self._ingest.decode_seconds) as decoded:
            if decoded.doubt:
                raise BadFile(decoded.doubt)
            header = {"shapes": decoded.shapes, "sidecar": False, "name": "", "preview": list(also)}
            with self._reader.call(header, [b"", *decoded.fds], self._ingest.read_seconds) as reply:
                count = reply.header["pages"]
                blobs = [reply.blob(i) for i in range(2 * count + 1)]
                return Anonymised(
                    reply.header["reason"],
                    reply.header["removed"],
                    tuple(blobs[1 : count + 1]),
                    tuple(blobs[count + 1 :]),
                    blobs[0],
                )

    def close(self) -> None:
        self._decoder.close()
        self._reader.close()


@contextmanager
def opened(home: Path, surrogates: Sequence[str] | None = ()) -> Iterator[Offline]:
    """With the policy, limits and weights of the state folder, or with the defaults where there is none.

    `surrogates` are the kinds that are replaced rather than filled: none, or with None those of the settings.
    """
    if (home / "ocrd.toml").is_file():
        settings = load(home)
        folder, policy, ingest, sandbox = settings.weights_dir, settings.anonymise, settings.ingest, settings.sandbox
    else:
        folder, policy, ingest, sandbox = weights.default_folder(), Anonymise(), Ingest(), "require"
    if surrogates is not None:
        policy = policy.model_copy(update={"surrogates": tuple(surrogates)})
    offline = Offline(folder, policy, ingest, sandbox)
    try:
        yield offline
    finally:
        offline.close()


def anonymise_files(
    home: Path, paths: Sequence[Path], out: Path, preview: bool, surrogates: Sequence[str] | None = None
) -> Iterator[tuple[Path, str]]:
    """Each file, and how it went: what was removed, or why nothing of it was written.

    Writes `NAME-1.png`, ... and `NAME.json` (the audit, without plaintext) for each file that may be kept, `NAME` with
    the file's ending where two files differ in nothing else; with `preview` the pictures side by side for every file,
    also for one that may not. `surrogates` as in `opened`.

    Raises:
        OcrdError: a file is in the way.
    """
    workers.harden_memory()
    alike = Counter(path.stem for path in paths)
    with opened(home, surrogates) as offline:
        for path in paths:
            name = path.stem if alike[path.stem] == 1 else path.name
            try:
                done = offline.anonymise(unchanged.read(path, offline.max_file_bytes))
            except BadFile as error:
                yield path, f"not written: {error}"
                continue
            if preview:
                write_all(out, f"{name}-preview", done.previews)
            if done.reason:
                yield path, f"not written: {done.reason}"
                continue
            write_all(out, name, done.pages)
            _create(out / f"{name}.json", done.audit)
            yield path, "removed " + (", ".join(f"{n} {kind}" for kind, n in sorted(done.removed.items())) or "nothing")


def write_all(out: Path, stem: str, pictures: Sequence[bytes]) -> list[Path]:
    """`STEM-1.png` and so on.

    Raises:
        OcrdError: a file is in the way.
    """
    paths = [out / f"{stem}-{number}.png" for number in range(1, len(pictures) + 1)]
    for path, data in zip(paths, pictures, strict=True):
        _create(path, data)
    return paths


def _create(path: Path, data: bytes) -> None:
    try:
        files.create(path, data)
    except FileExistsError as error:
        raise OcrdError(f"{path.parent} holds a file that is in the way; choose an empty folder.") from error


def summary(audit: bytes) -> list[str]:
    """A line a page of what an audit says."""
    found: dict[str, Any] = json.loads(audit)
    return [
        f"page {number}: {page['verdict']}; "
        + (", ".join(f"{r['kind']} at {r['box']}" for r in page["regions"]) or "nothing was found")
        for number, page in enumerate(found["pages"], 1)
    ]
