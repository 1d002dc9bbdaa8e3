"""Every malformed, truncated and bomb image of the corpus into the inbox: is the daemon alive, each file accounted for?

    python bench/hostile.py [--data DIR] [--quick] [--json FILE]

Exits with 1 if a file has no receipt or more than one, or if the service died.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path

import running
from daemon.home import open_home
from daemon.state import Database

SETTINGS = """\
[ingest]
workers = {workers}
settle_seconds = 0.3
rescan_seconds = 1.0
decode_seconds = 20.0
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=running.DATA)
    parser.add_argument("--home", type=Path, default=Path(".bench-hostile"))
    parser.add_argument("--seed", type=int, default=0, help="unused: nothing here is drawn")
    parser.add_argument("--quick", action="store_true", help="every tenth file")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    home = arguments.home.absolute()
    files = sorted(p for p in (arguments.data / "hostile").rglob("*") if p.is_file())[:: 10 if arguments.quick else 1]
    running.prepare(home, SETTINGS.format(workers=os.cpu_count() or 1))
    with running.serving(home) as service:
        begun = time.perf_counter()
        names = [f"{number:04d}-{path.name}" for number, path in enumerate(files)]
        for name, path in zip(names, files, strict=True):
            running.drop(home / "inbox", name, path.read_bytes())
        while running.count_receipts(home) < len(files):
            running.check_alive(service, home)
            time.sleep(0.2)
        seconds = time.perf_counter() - begun
    opened, database = open_home(home), Database(home / "state.db", read_only=True)
    counts = [
        len(database.rows("SELECT 1 FROM documents WHERE name_digest = ? AND receipt_pending = 0", digest))
        for digest in map(opened.name_digest, names)
    ]
    found = {
        "files": len(files),
        "exactly_one_receipt": sum(count == 1 for count in counts),
        "seconds": round(seconds, 1),
        "states": Counter(str(r["state"]) for r in running.receipts(home)),
        "reasons": Counter(str(r.get("reason", "-")) for r in running.receipts(home)),
        "workers_replaced": (home / "service.log").read_text().count("a worker was replaced"),
    }
    for key, value in found.items():
        print(f"{key}: {dict(value) if isinstance(value, Counter) else value}")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1))
    return 0 if found["exactly_one_receipt"] == len(files) else 1


if __name__ == "__main__":
    sys.exit(main())
