"""Hostile files: many straight into the confined decoder, a sample through the whole daemon.

    python bench/hostile.py [--data DIR] [--seed N] [--files N] [--through N] [--quick] [--json FILE]

The files are the corpus of `DIR/hostile`, generated documents of every format, and both mutated with the seed
(bench/mutations.py); the generated bombs of tests/bombs.py come on top. Exits with 1 if a decode took more than 2 s
of its own, a file of the corpus got no answer, the daemon died, or a file through it has not exactly one receipt.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

import running
from mutations import mutated

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from PIL import Image as Pillow

import bombs
from daemon import config, decoding
from daemon.decoder import FORMATS
from daemon.errors import BadFile, WorkerDied
from daemon.home import open_home
from daemon.state import Database
from learners import synthesis

HANG_SECONDS = 2.0
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
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--files", type=int, default=12_000, help="straight into the decoder")
    parser.add_argument("--through", type=int, default=300, help="through the daemon")
    parser.add_argument("--quick", action="store_true", help="600 and 20 files")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    straight, through = (600, 20) if arguments.quick else (arguments.files, arguments.through)
    corpus = [p.read_bytes() for p in sorted((arguments.data / "hostile").rglob("*")) if p.is_file()]
    corpus = [data for data in corpus if data] or sys.exit(f"Expected files under {arguments.data}/hostile.")
    known = corpus + honest()
    found = {"corpus": len(corpus), "honest": len(known) - len(corpus), "seed": arguments.seed}
    found["decoder"] = to_decoder(known, straight, arguments.seed)
    found["bombs"] = to_decoder(known, 0, arguments.seed, [make() for make in bombs.BOMBS.values()])
    found["daemon"] = through_daemon(known, through, arguments.seed, arguments.home.absolute())
    print(json.dumps(found, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1))
    unaccounted = found["decoder"]["unaccounted"] + found["daemon"]["unaccounted"]
    return 1 if unaccounted or found["decoder"]["hangs"] or found["daemon"]["deaths"] else 0


def honest() -> list[bytes]:
    """Small whole documents, to be mutated: what is nearly right gets deepest into a decoder."""
    made = []
    for seed in range(3):
        image = Pillow.fromarray(synthesis.generate("letter", seed, "en_GB").image)
        image.thumbnail((400, 400))
        for kind in FORMATS:
            made.append(bombs.encoded(image, kind))
            if kind not in ("JPEG", "BMP"):
                made.append(bombs.encoded(image, kind, save_all=True, append_images=[image]))
        made.append(bombs.encoded(image, "JPEG", progressive=True))
        made.append(bombs.encoded(image.convert("1"), "TIFF", compression="group4"))
        made.append(bombs.encoded(image, "PDF"))
    return made


def to_decoder(known: list[bytes], count: int, seed: int, files: list[bytes] | None = None) -> dict[str, Any]:
    """Each of the known files as it is, then mutated ones, until `count`; or these files."""
    decoder = decoding.Decoder(config.Ingest(), "require")
    decoder.decode(bombs.encoded(Pillow.new("L", (8, 8)), "PNG"), 30).message.close()
    answers, reasons, seconds, hangs = Counter(), Counter(), [], 0
    begun = time.perf_counter()
    total = len(files) if files is not None else count
    for number in range(total):
        if files is not None:
            data = files[number]
        else:
            rng = np.random.default_rng([seed, number])
            data = known[number] if number < len(known) else mutated(known, rng)
        answer, reason, took = decoded(decoder, data)
        if took > HANG_SECONDS and files is None:  # once more: another process may have had the processor
            answer, reason, took = decoded(decoder, data)
            hangs += took > HANG_SECONDS
        answers[answer] += 1
        reasons[reason] += 1
        seconds.append(took)
    decoder.close()
    return {
        "files": total,
        "answers": dict(answers.most_common()),
        "unaccounted": answers["unaccounted"],
        "hangs": hangs,
        "workers_killed_or_died": answers["died"],
        "seconds": round(time.perf_counter() - begun, 1),
        "decode_seconds": {f"p{p}": round(float(np.percentile(seconds, p)), 4) for p in (50, 99, 100)},
        "reasons": dict(reasons.most_common(12)),
    }


def decoded(decoder: decoding.Decoder, data: bytes) -> tuple[str, str, float]:
    begun = time.perf_counter()
    try:
        with decoder.decode(data, 2 * HANG_SECONDS) as pages:
            answer, reason = ("doubtful", pages.doubt) if pages.doubt else ("pages", "-")
    except BadFile as error:
        answer, reason = "refused", str(error)
    except WorkerDied as error:
        answer, reason = "died", str(error)
    except Exception as error:  # an end that the pipeline does not know
        answer, reason = "unaccounted", type(error).__name__
    took = time.perf_counter() - begun
    if answer == "died":  # the next file must not pay for the new process
        decoder.decode(bombs.encoded(Pillow.new("L", (8, 8)), "PNG"), 30).message.close()
    return answer, "".join("#" if c.isdigit() else c for c in reason), took


def through_daemon(known: list[bytes], count: int, seed: int, home: Path) -> dict[str, Any]:
    """Every second file is one of the known as it is, the others are mutated; each under a name of its own."""
    running.prepare(home, SETTINGS.format(workers=os.cpu_count() or 1))
    rng = np.random.default_rng([seed, 1])
    picked = rng.permutation(len(known))
    data = [known[picked[k // 2 % len(known)]] if k % 2 else mutated(known, rng) for k in range(count)]
    names = [f"{number:05d}.scan" for number in range(count)]
    begun = time.perf_counter()
    with running.serving(home) as service:
        for name, content in zip(names, data, strict=True):
            running.drop(home / "inbox", name, content)
        while running.count_receipts(home) < count and service.poll() is None:
            time.sleep(0.2)
        deaths = int(service.poll() is not None)
        seconds = time.perf_counter() - begun
    opened, database = open_home(home), Database(home / "state.db", read_only=True)
    counts = [
        len(database.rows("SELECT 1 FROM documents WHERE name_digest = ? AND receipt_pending = 0", digest))
        for digest in map(opened.name_digest, names)
    ]
    database.close()
    return {
        "files": count,
        "deaths": deaths,
        "unaccounted": sum(found != 1 for found in counts),
        "seconds": round(seconds, 1),
        "states": dict(Counter(str(r["state"]) for r in running.receipts(home))),
        "workers_replaced": (home / "service.log").read_text().count("a worker was replaced"),
    }


if __name__ == "__main__":
    sys.exit(main())
