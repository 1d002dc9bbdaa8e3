"""Every system call of a whole ingest: does anything personal leave the processes, other than sealed?

    python bench/ingest_trace.py [--data DIR] [--seed N] [--quick] [--json FILE]

Runs the real service under strace over generated documents that end in every way (done, failed, a duplicate), with
personal data in the page, the file's name, its folder's name, its labels. What is looked for: these values, as UTF-8,
JSON, UTF-16, base64 and hexadecimal, with and without spaces; 64 bytes of each file; the pixels of a row of each
personal value. Where: in whatever is written to a regular file (the log among them), in the names of files outside
inbox and claim folder, in the arguments of programs that are run, in the state folder and the temporary folder at the
end. Pipes, socket pairs and memory files between the service and its workers may carry them. Besides: no socket but
local ones, no file outside the state folder, no way of writing that strace does not show, no core dump: all processes
are aborted at the end under an unlimited core size.

The control plants three faults in the service: a log line with a name, a temporary file with labels, a UDP packet.
Exits with 1 if something was found, or if a planted fault was not. Needs strace, and root: only root may see what a
descriptor of a process without core dumps is.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.append(str(Path(__file__).parents[1] / "tests"))

import running
from tracing import FAULTS, caught, dumps_here, traced, unusable
from trespassers import Dropped, page, refused

KINDS = (
    ("letter", "en_GB", ".png"),
    ("form", "de_DE", ".jpg"),
    ("label", "zh_CN", ".png"),
    ("id_card", "fr_FR", ".webp"),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=running.DATA, help="not used: every file is made here")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="one page instead of four")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if why := unusable():
        sys.exit(f"Nothing was traced: {why}.")
    pages = [page(n, *kind[:2], given.seed + n, kind[2]) for n, kind in enumerate(KINDS[: 1 if given.quick else 4])]
    copy = Dropped("copy.png", pages[0].data, None, {})
    with tempfile.TemporaryDirectory() as folder:
        found: dict[str, Any] = {"seed": given.seed, "an_abort_dumps_core_here": dumps_here(Path(folder))}
        found["ingest"] = traced(Path(folder) / "clean", [*pages, copy, refused()])
        found["planted"] = traced(Path(folder) / "planted", [refused(1)], FAULTS)["found"]
    print(json.dumps(found, indent=1))
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))
    return 1 if found["ingest"]["found"] or not caught(found["planted"]) else 0


if __name__ == "__main__":
    sys.exit(main())
