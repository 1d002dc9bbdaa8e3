"""The real service for the benches: start one on a fresh state folder, drop files, wait for their receipts."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from daemon.state import Database
from models import weights

OCRD = Path(sys.executable).with_name("ocrd")
INGEST = """\
[ingest]
workers = {workers}
settle_seconds = 0.3
rescan_seconds = 1.0
"""
"""Settings to begin with: what is dropped is taken at once."""
DATA = Path(os.environ.get("OCRD_BENCH_DATA", Path(__file__).parents[2] / "shared" / "bench"))


def prepare(home: Path, settings: str) -> None:
    """A fresh state folder with these settings; one that was there is removed if it was ours."""
    if home.exists():
        if not (home / "ocrd.toml").exists():
            sys.exit(f"{home} exists and is no state folder of ocrd; name another with --home")
        shutil.rmtree(home)
    home.mkdir(parents=True)
    (home / "ocrd.toml").write_text(settings)
    subprocess.run([OCRD, "--home", home, "init", "--weights", weights.default_folder()], check=True)


@contextmanager
def serving(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The service, from its first answer until it has stopped by itself; its log is `service.log`."""
    with (home / "service.log").open("ab") as log:
        service = subprocess.Popen([OCRD, "--home", home, "start"], stderr=log)
        try:
            while not (home / "run" / "control.sock").exists():
                check_alive(service, home)
                time.sleep(0.05)
            yield service
        finally:
            service.send_signal(signal.SIGTERM)
            if service.wait(15) != 0:
                print(f"the service ended with exit code {service.returncode}", file=sys.stderr)


def check_alive(service: subprocess.Popen[bytes], home: Path) -> None:
    if service.poll() is not None:
        sys.exit(f"the service ended with exit code {service.returncode}; see {home}/service.log")


def drop(inbox: Path, name: str, data: bytes, sidecar: bytes | None = None) -> None:
    """The labels first, then the file under a passing name: nothing half-written is ever ready."""
    if sidecar is not None:
        (inbox / Path(name).with_suffix(".json")).write_bytes(sidecar)
    part = inbox / f"{name}.part"
    part.write_bytes(data)
    part.rename(inbox / name)


def wait_for_receipts(service: subprocess.Popen[bytes], home: Path, expected: int) -> None:
    columns = (TextColumn("   receipts"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as progress:
        task = progress.add_task("receipts", total=expected)
        while (done := count_receipts(home)) < expected:
            check_alive(service, home)
            progress.update(task, completed=done)
            time.sleep(0.3)
        progress.update(task, completed=done)


def rounds(home: Path) -> list[dict[str, Any]]:
    """What became of each, its plan and its gates."""
    database = Database(home / "state.db", read_only=True)
    rows = database.rows("SELECT id, state, reason, plan, report, version FROM rounds ORDER BY id")
    database.close()
    return [
        dict(row)
        | {"plan": json.loads(row["plan"] or "{}"), "gates": json.loads(row["report"] or "{}").get("gates", {})}
        for row in rows
    ]


def receipts(home: Path) -> list[dict[str, object]]:
    return [json.loads(path.read_text()) for path in sorted((home / "outbox").glob("*.json"))]


def count_receipts(home: Path) -> int:
    return sum(1 for _ in (home / "outbox").glob("*.json"))
