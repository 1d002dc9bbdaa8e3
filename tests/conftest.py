"""What tests share: one thread a process, the released weights, and lines drawn on the spot."""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch, numpy or OpenCV are imported
os.environ["OCRD_LEARNING__PUBLIC_START"] = "false"  # it takes minutes; tests/test_public_start.py has a small one

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFilter, ImageFont

from models import weights
from models.ctc import Alphabet
from privacy.page import Image

if TYPE_CHECKING:
    from models.recogniser import Recogniser

# The same examples each time, and none is wrong for being slow to make or to try. `OCRD_LONG=1` draws others.
_TIMELESS = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture)
settings.register_profile(
    "ocrd", deadline=None, derandomize=not os.environ.get("OCRD_LONG"), suppress_health_check=_TIMELESS
)
settings.load_profile("ocrd")

_TEXT = """Invoice Number TOTAL AMOUNT due paid on account of the Goods Received Note delivery address
    Street quantity item Price VAT 19% (incl.) net 14 days Cash change CARD visit www.example.org thank you
    for shopping: open Mon-Fri 08:00 - 18:30 & Sat. page 1/2 ref. A-2041 No. 77/B tel 555-0134"""
_WORDS = _TEXT.split()


@pytest.fixture(autouse=True)
def process_as_it_was() -> Iterator[None]:
    """A command that a test runs in this process, as the service does, leaves nothing of itself to the next test."""
    umask = os.umask(0o077)
    os.umask(umask)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    root, hook = logging.getLogger(), threading.excepthook
    level, logs = root.level, list(root.handlers)
    yield
    os.umask(umask)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    threading.excepthook = hook
    root.setLevel(level)
    for each in [each for each in root.handlers if each not in logs]:
        root.removeHandler(each)


@pytest.fixture(scope="session")
def weights_dir() -> Path:
    """The released weights in the default cache: fetched once a machine, verified once a session."""
    return weights.fetch()


@pytest.fixture(scope="module")
def model(weights_dir: Path) -> Recogniser:
    """The released recogniser, a module's own. Torch is loaded for those tests alone that ask for it."""
    from models import recogniser

    return recogniser.load(weights_dir / "rec.onnx")


@pytest.fixture(scope="session")
def alphabet(weights_dir: Path) -> Alphabet:
    return Alphabet(weights.characters(weights_dir / "rec.onnx"))


@pytest.fixture(scope="session")
def draw_lines() -> Callable[[int], list[tuple[Image, str]]]:
    """`draw_lines(n)`: n crops `(H, W, 3) uint8` RGB of words and a number, some faint, tilted, blurred or noisy."""

    def draw(count: int) -> list[tuple[Image, str]]:
        return [_line(np.random.default_rng(seed)) for seed in range(count)]

    return draw


def _line(rng: np.random.Generator) -> tuple[Image, str]:
    words = [*rng.choice(_WORDS, rng.integers(1, 6)), f"{rng.integers(0, 99999) / 100:.2f}"]
    text, size = " ".join(words), int(rng.integers(14, 44))
    font = ImageFont.load_default(size)
    paper, ink = int(rng.integers(170, 256)), int(rng.integers(0, 120))
    left, top, right, bottom = font.getbbox(text)
    canvas = Pillow.new("RGB", (int(right - left) + 12, int(bottom - top) + 10), (paper, paper, paper - 20))
    ImageDraw.Draw(canvas).text((6 - left, 5 - top), text, font=font, fill=(ink, ink, ink))
    canvas = canvas.rotate(rng.uniform(-1, 1), Pillow.Resampling.BICUBIC, fillcolor=(paper, paper, paper - 20))
    canvas = canvas.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.8)))
    noise = rng.normal(0, rng.uniform(0, 9), (canvas.height, canvas.width, 3))
    return np.clip(np.asarray(canvas) + noise, 0, 255).astype(np.uint8), text
