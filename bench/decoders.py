"""How far two decoders are apart: Pillow and OpenCV on generated files of every kind, and on real pages.

    python bench/decoders.py [--data DIR] [--seed N] [--quick] [--json FILE]

Prints the largest difference in levels of 255 for each format, and what the daemon would doubt: of the generated
files, of the real receipts and identity papers under DIR, and of the hostile corpus. `TOLERANCE` of
daemon/second_opinion.py is chosen from the first.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image as Pillow

import running
from daemon import second_opinion
from daemon.decoder import FORMATS
from learners import synthesis

OPTIONS: dict[str, list[dict[str, Any]]] = {
    "PNG": [{}, {"optimize": True}, {"transparency": 3}],
    "JPEG": [
        {"quality": q, "subsampling": s, "progressive": p} for q in (20, 75, 95) for s in (0, 1, 2) for p in (0, 1)
    ],
    "TIFF": [
        {"compression": c} for c in (None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "group3", "group4")
    ],
    "WEBP": [{"quality": 30}, {"quality": 80}, {"lossless": True}],
    "BMP": [{}],
    "GIF": [{}, {"interlace": 0}, {"transparency": 3}],
}
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=running.DATA)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="two pictures instead of six, and every tenth real file")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found: dict[str, Any] = {"tolerance": second_opinion.TOLERANCE, "generated": {}}
    worst: dict[str, list[float]] = defaultdict(list)
    doubts: Counter[str] = Counter()
    for kind, mode, data in generated(arguments.seed, 1 if arguments.quick else 3):
        levels, doubt = apart(data)
        doubts[f"{kind} {mode}: {doubt}"] += bool(doubt)
        if not doubt:
            worst[kind].append(levels)
    found["generated"] = {kind: {"files": len(v), "most_levels_apart": max(v)} for kind, v in worst.items()}
    found["generated_doubted"] = {name: count for name, count in doubts.items() if count}
    for folder in ("receipts/pages", "pii", "hostile"):
        found[folder] = real(arguments.data / folder, 10 if arguments.quick else 1)
    print(json.dumps(found, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1))
    return 0


def generated(seed: int, count: int) -> Iterator[tuple[str, str, bytes]]:
    """Pages of text, and noise, in every mode and kind of compression that a format takes."""
    rng = np.random.default_rng(seed)
    pages = [synthesis.generate("letter", seed + k, "en_GB").image for k in range(count)]
    pages += [rng.integers(0, 256, (211, 307 + k, 3), np.uint8) for k in range(count)]
    for page in pages:
        image = Pillow.fromarray(page)
        for mode in MODES:
            if mode == "I;16":
                changed = Pillow.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
            else:
                changed = image.convert(mode)
            if mode in ("LA", "RGBA"):
                changed.putalpha(image.convert("L"))
            for kind, variants in OPTIONS.items():
                for options in variants:
                    if data := encoded(changed, kind, options):
                        yield kind, mode, data


def encoded(image: Pillow.Image, kind: str, options: dict[str, Any]) -> bytes:
    """Empty where the format does not take this mode."""
    if "transparency" in options and image.mode not in ("L", "P"):
        return b""
    buffer = io.BytesIO()
    try:
        image.save(buffer, kind, **options)
    except (OSError, ValueError, KeyError):
        return b""
    return buffer.getvalue()


def apart(data: bytes) -> tuple[float, str]:
    """Levels, and what the daemon would say."""
    with Pillow.open(io.BytesIO(data), formats=FORMATS) as frame:
        frame.load()
        kind = frame.format or ""
        doubt = second_opinion.disagreement(data, frame, kind)
        if doubt:
            return float("nan"), doubt
        other = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        mine, theirs = second_opinion._levels(frame, kind), second_opinion._levels_opencv(other, kind)
        return float(np.abs(mine - theirs).max()), ""


def real(folder: Path, every: int) -> dict[str, Any]:
    decoded, refused, doubts = 0, 0, Counter[str]()
    for path in sorted(p for p in folder.rglob("*") if p.is_file())[::every]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                _levels, doubt = apart(path.read_bytes())
        except Exception:  # broken files raise nearly every type there is
            refused += 1
            continue
        decoded += 1
        doubts[doubt] += bool(doubt)
    return {"decoded": decoded, "refused": refused, "doubted": {name: count for name, count in doubts.items() if count}}


if __name__ == "__main__":
    sys.exit(main())
