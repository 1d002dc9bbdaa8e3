"""PP-OCRv4's detector in torch is the released graph: the same maps, the same boxes, and back into the file."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from rapidocr.ch_ppocr_det.utils import DBPostProcess, DetPreProcess

from learners.detection_fit import view
from learners.synthesis import generate
from models import det_layout, detector, weights
from models.detector import Detector
from models.errors import WeightsMismatch
from models.looks import first_scale
from models.reader import Reader
from models.weights import ReaderFiles
from privacy.page import Image

KINDS = ("receipt", "form", "letter", "id_card", "screenshot")
Released = list[tuple[Image, np.ndarray]]


@pytest.fixture(scope="module")
def model(weights_dir: Path) -> Detector:
    return detector.load(weights_dir / "det.onnx")


@pytest.fixture(scope="module")
def pages() -> list[Image]:
    return [generate(kind, seed).image for seed, kind in enumerate(KINDS)]


@pytest.fixture(scope="module")
def released(weights_dir: Path, pages: list[Image]) -> Released:
    """The views that RapidOCR's detector is given, and the maps that onnxruntime finds with the released file."""
    return maps(weights_dir / "det.onnx", pages)


def maps(path: Path, pages: list[Image]) -> Released:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    prepare = DetPreProcess(32, "min", None, None)
    views = [view(page, first_scale(page))[0] for page in pages]
    return [(shown, session.run(None, {"x": prepare(shown)})[0]) for shown in views]


@dataclass(frozen=True)
class Parity:
    """By page: the largest difference of any pixel's probability, and whether the boxes are the same."""

    differences: list[float]
    identical: list[bool]

    @property
    def holds(self) -> bool:
        return all(self.identical) and max(self.differences) < 1e-3


def parity(model: Detector, released: Released) -> Parity:
    read = DBPostProcess(0.3, 0.5, 1000, 1.6, "fast", True)  # as models.reader sets RapidOCR up
    differences, identical = [], []
    for shown, expected in released:
        with torch.inference_mode():
            found = model(detector.to_tensor(shown)[None]).numpy()
        differences.append(float(np.abs(found - expected).max()))
        boxes, others = (read(each, shown.shape[:2])[0] for each in (found, expected))
        identical.append(np.array_equal(boxes, others) and len(boxes) > 0)
    return Parity(differences, identical)


def test_maps_and_boxes_are_those_of_onnxruntime(model: Detector, released: Released) -> None:
    found = parity(model, released)
    assert found.holds, f"maximum {max(found.differences):.1e}, boxes {found.identical}"
    assert max(found.differences) < 2e-4


def other_gate(model: Detector) -> None:
    for lateral in model.neck.enter:
        lateral.excite.SLOPE = 1 / 6


def weaker_gate(model: Detector) -> None:
    model.neck.leave[0].excite.reduce.weight.mul_(0.9)


def other_order(model: Detector) -> None:
    model.head.conv.weight.copy_(model.head.conv.weight.roll(det_layout.NARROW, 1))


def transposed_kernel(model: Detector) -> None:
    model.head.up.weight.copy_(model.head.up.weight.transpose(2, 3).clone())


def activated_stride(model: Detector) -> None:
    strided = model.backbone.blocks[1].depthwise
    strided.affine.register_forward_hook(lambda _module, _inputs, out: torch.nn.functional.hardswish(out))


def shuffled_tap(model: Detector) -> None:
    taps = model.backbone.taps
    taps[0].weight.copy_(taps[0].weight.roll(1, 1))


@pytest.mark.parametrize(
    "mutate", [other_gate, weaker_gate, other_order, transposed_kernel, activated_stride, shuffled_tap]
)
def test_parity_catches_a_planted_bug(model: Detector, released: Released, mutate: Callable[[Detector], None]) -> None:
    mutant = deepcopy(model)
    with torch.no_grad():
        mutate(mutant)
    assert not parity(mutant, released[:2]).holds


def test_written_weights_come_back_and_rapidocr_finds_the_same_lines(
    model: Detector, weights_dir: Path, tmp_path: Path, pages: list[Image]
) -> None:
    files = weights.v4_files(weights_dir)
    detector.write_onnx(files.det, model.weights(), tmp_path / "det.onnx")
    again = detector.load(tmp_path / "det.onnx").weights()
    for name, value in model.weights().items():
        np.testing.assert_allclose(again[name], value, rtol=1e-6, err_msg=name)
    assert parity(model, maps(tmp_path / "det.onnx", pages[:2])).holds
    stock = Reader(files, "v4")
    taught = Reader(ReaderFiles(tmp_path / "det.onnx", files.cls, files.rec), "v4")
    assert [line.quad for line in taught.read(pages[2])] == [line.quad for line in stock.read(pages[2])]


def test_a_changed_weight_is_in_the_file_and_the_graph_stays(
    model: Detector, weights_dir: Path, tmp_path: Path
) -> None:
    changed = model.weights()
    changed["head.up.bias"] = changed["head.up.bias"] + 1
    detector.write_onnx(weights_dir / "det.onnx", changed, tmp_path / "one.onnx")
    detector.write_onnx(weights_dir / "det.onnx", changed, tmp_path / "two.onnx")
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()
    np.testing.assert_allclose(
        detector.load(tmp_path / "one.onnx").weights()["head.up.bias"], changed["head.up.bias"], rtol=1e-6
    )
    graphs = [onnx.load(path).graph for path in (weights_dir / "det.onnx", tmp_path / "one.onnx")]
    nodes = [[(n.op_type, list(n.input), list(n.output)) for n in graph.node] for graph in graphs]
    assert nodes[0] == nodes[1]


def test_every_weight_of_the_file_is_mapped_and_nothing_else_is_taken(
    model: Detector, weights_dir: Path, tmp_path: Path
) -> None:
    assert sum(value.size for value in model.weights().values()) == 1_171_505
    assert det_layout.torch_shapes() == {name: value.shape for name, value in model.weights().items()}
    complete = model.weights()
    for broken in (
        {name: value for name, value in complete.items() if name != "head.out.bias"},
        complete | {"head.more": np.zeros(1, np.float32)},
        complete | {"head.out.bias": np.zeros(2, np.float32)},
        complete | {"head.out.bias": np.full(1, np.nan, np.float32)},
    ):
        with pytest.raises(WeightsMismatch, match=r"head\.(out\.bias|more)"):
            detector.write_onnx(weights_dir / "det.onnx", broken, tmp_path / "det.onnx")
    assert not (tmp_path / "det.onnx").exists()
    with pytest.raises(WeightsMismatch, match=r"missing backbone\.stem\.bias"):
        Detector().load_weights({name: value for name, value in complete.items() if name != "backbone.stem.bias"})
    with pytest.raises(WeightsMismatch):
        detector.load(weights_dir / "rec.onnx")


def test_no_module_keeps_a_statistic_and_a_view_must_be_whole_steps(model: Detector) -> None:
    assert not list(model.buffers())
    with pytest.raises(ValueError, match="multiples of 32"):
        detector.to_tensor(np.zeros((64, 65, 3), np.uint8))
