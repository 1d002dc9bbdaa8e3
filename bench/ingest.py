"""Ingest at scale: who is lost when 60,000 files come at once, how fast claims are sealed, what a backlog costs.

    python bench/ingest.py [--only crowd|throughput|listing|million] [--seed N] [--quick] [--json FILE] [--home DIR]

The service's own modules on real files: inbox, claims, SQLite at `synchronous=FULL`, vaults, receipts, every fsync.
The OCR reader and the decoder are left out, because they are not what is measured: each file is "read" as one page
that is the file's own bytes. Each rate stands beside a bare loop of the same calls in the same run, because a disk
that others use too is not the same from one minute to the next; of `--tries` tries the best counts. Exits with 1 if a
file has not exactly one receipt. The parts are in rates.py, crowd.py and million.py.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import crowd
import million
import rates
from daemon.home import Home, create, open_home
from daemon.inbox import Inbox
from daemon.pipeline import Pipeline
from daemon.readers import Read
from daemon.state import Database
from daemon.taking import Claim
from models import weights

SETTINGS = """\
[ingest]
settle_seconds = 0.5
rescan_seconds = 5.0
min_free_bytes = 0
min_free_files = 0
[learning]
capacity = 16
"""
HEADER = {
    "verdict": "done",
    "pages": 1,
    "lines": 1,
    "taught": 1,
    "labelled": False,
    "removed": {"name": 1},
    "confidence": 0.9,
    "brightness": 0.8,
    "contrast": 0.5,
}


def _read(self: Pipeline, claim: Claim, data: bytes, sidecar: bytes) -> Read:
    """The no-op reader: what a page of one line comes to."""
    return Read(HEADER, {"text": json.dumps([["a line"]]).encode(), "lines": data[:200], "page-1.png": data})


def main() -> int:
    arguments = _arguments()
    Pipeline._read = _read  # type: ignore[method-assign]
    figures: dict[str, Any] = {}
    parts: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
        "throughput": throughput,
        "crowd": crowd_of_files,
        "listing": listing,
        "million": million_documents,
    }
    for name in [arguments.only] if arguments.only else parts:
        figures[name] = _apart(parts[name], arguments)
        print(f"{name}:")
        for key, value in figures[name].items():
            print(f"  {key:34} {value:.3f}" if isinstance(value, float) else f"  {key:34} {value}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))
    return 1 if figures.get("crowd", {}).get("wrong") else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("crowd", "throughput", "listing", "million"))
    parser.add_argument("--files", type=int, default=60_000, help="of the crowd")
    parser.add_argument("--claims", type=int, default=1500, help="ended in groups; a fifth alone")
    parser.add_argument("--tries", type=int, default=3, help="of each rate; the best counts")
    parser.add_argument("--backlog", type=int, default=100_000, help="that is listed")
    parser.add_argument("--documents", type=int, default=1_000_000, help="in the large database")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a hundredth of each")
    parser.add_argument("--data", type=Path, default=None, help="not used: the files are made up")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--home", type=Path, default=Path(".bench-ingest"))
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.files, arguments.claims, arguments.backlog, arguments.documents = 600, 60, 1000, 10_000
    return arguments


def _apart(part: Callable[..., dict[str, Any]], arguments: argparse.Namespace) -> dict[str, Any]:
    """Runs a part in a process of its own, so that its peak of memory is its own."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()

    def work() -> None:
        theirs.send({**part(arguments), "peak_MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024})

    process = context.Process(target=work)
    process.start()
    theirs.close()
    try:
        found: dict[str, Any] = ours.recv()
    except EOFError:
        sys.exit("a part of the bench failed")
    process.join()
    return found


@contextmanager
def state(folder: Path) -> Iterator[tuple[Home, Database]]:
    """A fresh state folder; nothing in it is read by a model."""
    folder = folder.absolute()
    if folder.exists() and not (folder / "ocrd.toml").exists():
        sys.exit(f"{folder} exists and is no state folder of ocrd; name another with --home")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "ocrd.toml").write_text(SETTINGS)
    create(folder, weights.default_folder(), lambda text: None)
    home = open_home(folder)
    database = Database(home.settings.database_path)
    try:
        yield home, database
    finally:
        database.close()
        shutil.rmtree(folder)


def throughput(arguments: argparse.Namespace) -> dict[str, Any]:
    """Rates of documents that are ended alone and in groups, each in a fresh state folder; of some tries the best."""
    found: dict[str, Any] = {}
    few, many = arguments.claims // 5, arguments.claims
    for name, count, most, threads in (("alone", few, 1, 1), ("alone, 8 threads", few, 1, 8), ("group", many, 256, 1)):
        tries = []
        for _ in range(arguments.tries):
            with state(arguments.home) as (home, database):
                bare = rates.bare(home.settings.home, min(count, 200))
                tries.append((*rates.service(home, database, count, threads, most), bare))
        rate, _, bare = max(tries)
        found |= {f"{name}: files/s": rate, f"{name}: bare loop/s": bare, f"{name}: ratio": rate / bare}
        found[f"{name}: processor ms a file"] = min(used for _, used, _ in tries)
    with state(arguments.home) as (home, _):
        tries = [rates.floor(home.settings.home, many, 256) for _ in range(arguments.tries)]
    found |= {"floor of a group: files/s": max(tries)[0], "floor of a group: processor ms": min(u for _, u in tries)}
    return found


def crowd_of_files(arguments: argparse.Namespace) -> dict[str, Any]:
    with state(arguments.home) as (home, database):
        return crowd.crowd(home, database, arguments.files, arguments.seed)


def million_documents(arguments: argparse.Namespace) -> dict[str, Any]:
    return million.measure(arguments.documents, arguments.seed, arguments.home.absolute().parent)


def listing(arguments: argparse.Namespace) -> dict[str, Any]:
    """A look at a full inbox: the first, and the one that finds everything ready; beside a bare walk with stat."""
    place = Path(tempfile.mkdtemp(dir=arguments.home.absolute().parent))
    try:
        for n in range(100):
            (place / f"source {n}").mkdir()
        for n in range(arguments.backlog):
            (place / (f"source {n % 100}" if n % 2 else "") / f"scan {n}.png").write_bytes(b"x")
        box = Inbox(place, settle_seconds=1.0, sidecar_wait_seconds=60.0)
        bare, bare_used = _timed(lambda: _walk(place))
        first, first_used = _timed(lambda: box.scan(0.0))
        second, second_used = _timed(lambda: box.scan(1.0))
        if len(box.scan(2.0)) != arguments.backlog:
            sys.exit("the listing lost files")
        return {
            "files": arguments.backlog,
            "bare walk with stat (s)": bare,
            "bare walk, processor s": bare_used,
            "first look (s)": first,
            "first look, processor s": first_used,
            "look that finds all ready (s)": second,
            "that look, processor s": second_used,
            "that look, times the bare walk": second_used / bare_used,
        }
    finally:
        shutil.rmtree(place)


def _walk(root: Path) -> int:
    count, folders = 0, [str(root)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    entry.stat(follow_symlinks=False)
                    count += 1
    return count


def _timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Seconds, and processor seconds."""
    begun, used = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - begun, time.process_time() - used


if __name__ == "__main__":
    sys.exit(main())
