"""A state folder with documents in it as the pipeline leaves them, without the minute of reading them."""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from daemon import receipts
from daemon.home import Home, create, open_home
from daemon.pipeline import LINES_BLOB, NAME_BLOB, ORIGINAL_BLOB, SIDECAR_BLOB
from daemon.state import Database, Documents, Ending

_ROOM = 3 * 2**30
"""Bytes: `ocrd` takes nothing where less than one GiB is free, and containers have a /dev/shm of 64 MiB."""


def _memory() -> str | None:
    """A folder on a file system in memory with room for a state folder; None if there is none."""
    shm = "/dev/shm"
    return shm if os.access(shm, os.W_OK) and shutil.disk_usage(shm).free > _ROOM else None


MEMORY = _memory()
SETTINGS = "[learning]\ncapacity = 16\nholdout_share = 0.25\n"


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


@functools.cache
def _template(weights: Path) -> Path:
    """A state folder that `ocrd init` made, once a session."""
    folder = Path(tempfile.mkdtemp(prefix="ocrd-template-", dir=MEMORY))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    create(folder / "home", weights, lambda text: None)
    return folder / "home"


def state_folder(path: Path, weights: Path, settings: str = SETTINGS) -> Home:
    """A fresh one at `path`: a copy, but for weights and models, which nothing here changes."""
    template = _template(weights)
    for name in ("weights", "models"):
        shutil.copytree(template / name, path / name, symlinks=True, copy_function=_link)
    shutil.copytree(template, path, dirs_exist_ok=True, ignore=lambda *_: ("weights", "models"))
    (path / "ocrd.toml").write_text(settings)
    return open_home(path)


@contextmanager
def in_memory() -> Iterator[Path]:
    """A folder on a file system in memory, where there is one: for the tests that sync thousands of times."""
    with tempfile.TemporaryDirectory(prefix="ocrd-", dir=MEMORY) as folder:
        yield Path(folder)


class Kill(BaseException):
    """Not an Exception: nothing on the way handles it, as nothing handles SIGKILL."""


CHANGES = ("fsync", "unlink", "rmdir", "pwrite", "link", "rename", "replace", "truncate")


def every_step(monkeypatch, make, act, check) -> int:
    """Breaks `act` off before its n-th change of the disk, for every n; `check` then starts again and asserts.

    Args:
        make: number of the step -> what `act` and `check` are given.
        check: is given that, and whether `act` came to its end.
    """
    real = {name: getattr(os, name) for name in CHANGES}
    number, ended = 0, False
    while not ended:
        subject, left = make(number), [number]

        def guarded(name, left=left):
            def call(*args, **kwargs):
                if left[0] == 0:
                    raise Kill
                left[0] -= 1
                return real[name](*args, **kwargs)

            return call

        with monkeypatch.context() as planted:
            for name in real:
                planted.setattr(os, name, guarded(name))
            try:
                act(subject)
                ended = True
            except Kill:
                pass
        check(subject, ended)
        number += 1
    return number


def take(home: Home, database: Database, id: str, state: str = "done", path: str = "ward/scan.png", **ending) -> str:
    """A document that came as `path`, sealed, with its receipt. Its content is its path, if `content` is not given."""
    content = ending.pop("content", f"pixels of {path}".encode())
    documents = Documents(database)
    name, source = home.name_digest(path.rpartition("/")[2]), home.source_digest(path)
    slot = documents.arrive(id, 1000.0, name, home.pool_of, source, home.folder_digest(path)).slot
    digest = home.digests.digest("content", content)
    if state == "done":
        home.vault.create(id, slot)
        home.vault.put(id, "text", json.dumps([[f"text of {path}"]]).encode())
        home.vault.put(id, "page-1.png", b"page of " + content)
        home.vault.put(id, LINES_BLOB, ending.pop("lines_blob", b"lines of " + content))
        vault, values = (
            home.originals,
            {"original_until": 9e9, "lines": 1, "taught": 1, "pages": 1, "removed": {"name": 1}},
        )
    else:
        vault = {"quarantined": home.quarantine, "failed": home.failed, "duplicate": home.failed}[state]
        values = {"reason": "a reason"}
    vault.create(id, slot)
    vault.put(id, NAME_BLOB, os.fsencode(path))
    vault.put(id, ORIGINAL_BLOB, content)
    vault.put(id, SIDECAR_BLOB, b"labels of " + content)
    documents.end(id, Ending(state, digest=digest, **{**values, **ending}), 2000.0)
    receipts.write(home, database, id)
    documents.receipt_written(id)
    return id


def needles(home: Home, id: str, path: str, content: bytes | None = None) -> dict[str, bytes]:
    """Bytes that tell of a document: what it held, what it was called, its digests, its keys as they lie there."""
    content = f"pixels of {path}".encode() if content is None else content
    found = {
        "content": content,
        "path": path.encode(),
        "text": f"text of {path}".encode(),
        "content digest": home.digests.digest("content", content),
        "name digest": home.name_digest(path.rpartition("/")[2]),
        "folder digest": home.folder_digest(path) or b"-" * 32,
    }
    for vault in home.vaults:
        if vault.exists(id):
            found[f"wrapped key in {vault.purpose}"] = (vault.root / id / "key").read_bytes()[25:]
            found[f"data key in {vault.purpose}"] = vault.keys.opened(id)
    return found


def where(home: Home, wanted: dict[str, bytes]) -> dict[str, list[str]]:
    """In which files of the state folder, contents and names, each of the needles is; none is left out."""
    found: dict[str, list[str]] = {}
    for folder, _, names in os.walk(home.settings.home):
        for file in (os.path.join(folder, name) for name in names):
            if "/weights/" in file or "/models/" in file or not os.path.isfile(file):
                continue
            data = file.encode() + b"\0" + Path(file).read_bytes()
            for name, needle in wanted.items():
                if needle in data:
                    found.setdefault(name, []).append(os.path.relpath(file, home.settings.home))
    return found
