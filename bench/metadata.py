"""Secrets planted beside the pixels of every format: what is stored, told or emitted of them afterwards?

    python bench/metadata.py [--data DIR] [--seed N] [--quick] [--json FILE]

Each file of tests/canaries.py holds a secret in one place. It goes through the confined decoder, through the whole
daemon and through `ocrd anonymise --preview`. The secret is looked for as it is, in UTF-16, in hexadecimal, in base64
and in every zlib stream: in each file of the state folder as it lies there, in each sealed blob but the original after
it was unsealed, in the receipts, in the service's log, in what the command wrote and said. The sealed original is left
out: it is the file itself, until it is shredded. Stronger than any search: a file with another secret in the place must
give the very same pages. The control: the same search finds each secret in its own file.

Exits with 1 if a secret is left, a page is missing, pages depend on a secret, or the control fails.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.append(str(Path(__file__).parents[1] / "tests"))

import running
from canaries import Place, places, secret
from daemon import config, decoding
from daemon.home import Home, open_home
from daemon.pipeline import ORIGINAL_BLOB
from daemon.state import Database
from seeking import held, holds

SETTINGS = "[ingest]\nsettle_seconds = 0.3\nrescan_seconds = 1.0\n"
SUFFIX = {"JPEG": "jpg", "TIFF": "tif"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=running.DATA, help="not used: every file is made here")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="two places of each format")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    chosen = places()
    if given.quick:
        seen: Counter[str] = Counter()
        chosen = [place for place in chosen if (seen.update([place.format]) or seen[place.format]) <= 2]
    found = measured(chosen, given.seed)
    print(json.dumps(found, indent=1))
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))
    bad = ("left_in_state_folder", "left_by_command", "pages_missing", "pages_depend_on_secret", "control_failed")
    return 1 if any(found[key] for key in bad) else 0


def measured(chosen: list[Place], seed: int) -> dict[str, Any]:
    made = {place.name: place.build(secret(place.name, seed)) for place in chosen}
    found: dict[str, Any] = {
        "seed": seed,
        "places": len(chosen),
        "by_format": dict(Counter(place.format for place in chosen)),
        "control_failed": [p.name for p in chosen if not holds(made[p.name], secret(p.name, seed))],
    }
    found |= through_decoder(chosen, made, seed)
    with tempfile.TemporaryDirectory() as folder:
        found |= through_daemon(chosen, made, seed, Path(folder) / "state")
        found |= through_command(chosen, made, seed, Path(folder))
    return found


def through_decoder(chosen: list[Place], made: dict[str, bytes], seed: int) -> dict[str, Any]:
    decoder = decoding.Decoder(config.Ingest(), "require")
    missing, depend = [], []
    try:
        for place in chosen:
            mine = decoded(decoder, made[place.name])
            other = decoded(decoder, place.build(secret(place.name, seed + 1)))
            if len(mine) != place.pages:
                missing.append(place.name)
            if mine != other:
                depend.append(place.name)
    finally:
        decoder.close()
    return {
        "pages_expected": sum(place.pages for place in chosen),
        "pages_missing": missing,
        "pages_depend_on_secret": depend,
    }


def decoded(decoder: decoding.Decoder, data: bytes) -> list[bytes]:
    with decoder.decode(data, 30) as found:
        return [found.message.blob(number) for number in range(len(found.shapes))]


def file_name(number: int, place: Place) -> str:
    return f"{number:03d}.{SUFFIX.get(place.format, place.format.lower())}"


def through_daemon(chosen: list[Place], made: dict[str, bytes], seed: int, home: Path) -> dict[str, Any]:
    begun = time.perf_counter()
    running.prepare(home, SETTINGS)
    with running.serving(home) as service:
        for number, place in enumerate(chosen):
            running.drop(home / "inbox", file_name(number, place), made[place.name])
        while running.count_receipts(home) < len(chosen):
            running.check_alive(service, home)
            time.sleep(0.2)
    opened, left, pages, states = open_home(home), [], 0, Counter[str]()
    told = list(everything(opened))
    secrets = {place.name: secret(place.name, seed) for place in chosen}
    for where, data in told:
        left += [f"{name}: {where}" for name in held(data, secrets)]
    database = Database(home / "state.db", read_only=True)
    for row in database.rows("SELECT state, pages, reason FROM documents"):
        states[row["state"] if row["state"] == "done" else f"{row['state']}: {row['reason']}"] += 1
        pages += row["pages"] or 0
    database.close()
    return {
        "states": dict(states),
        "pages_stored": pages,
        "searched_in_state_folder": len(told),
        "searched_after_unsealing": sum(where.startswith("unsealed ") for where, _ in told),
        "left_in_state_folder": left,
        "daemon_seconds": round(time.perf_counter() - begun, 1),
    }


def everything(home: Home) -> Iterator[tuple[str, bytes]]:
    """Each blob but the originals, unsealed; each file as it lies there, but weights and models."""
    for vault in home.vaults:
        for id in vault.ids():
            for name in vault.names(id):
                if name != ORIGINAL_BLOB:
                    yield f"unsealed {vault.purpose}/{name}", vault.get(id, name)
    for folder, _, names in os.walk(home.settings.home):
        for path in (Path(folder) / name for name in names):
            if path.is_file() and not {"weights", "models"} & set(path.relative_to(home.settings.home).parts):
                yield str(path.relative_to(home.settings.home).parts[0]), str(path).encode() + path.read_bytes()


def through_command(chosen: list[Place], made: dict[str, bytes], seed: int, folder: Path) -> dict[str, Any]:
    (folder / "in").mkdir()
    (folder / "out").mkdir()
    paths = []
    for number, place in enumerate(chosen):
        paths.append(folder / "in" / file_name(number, place))
        paths[-1].write_bytes(made[place.name])
    command = [running.OCRD, "--home", folder / "state", "anonymise", *paths, "--out", folder / "out", "--preview"]
    done = subprocess.run(command, capture_output=True, check=True)
    told = [("said", done.stdout + done.stderr)]
    told += [(path.name, path.name.encode() + path.read_bytes()) for path in sorted((folder / "out").iterdir())]
    secrets = {place.name: secret(place.name, seed) for place in chosen}
    left = [f"{name}: {where}" for where, data in told for name in held(data, secrets)]
    return {"written_by_command": len(told) - 1, "left_by_command": left}


if __name__ == "__main__":
    sys.exit(main())
