"""The Paddle twin: rewritten byte for byte by its format, read by PaddlePaddle in a process of its own."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from learners import batches, lines
from models import layout, paddle_twin, weights
from models.ctc import Alphabet
from models.errors import PaddleFailed, PaddleMissing, WeightsMismatch
from models.recogniser import Recogniser
from privacy.page import Image

needs_paddle = pytest.mark.skipif(importlib.util.find_spec("paddle") is None, reason="PaddlePaddle is not installed")


def test_the_released_twin_holds_the_released_weights(weights_dir: Path) -> None:
    """Bit for bit, so the order of names is Paddle's."""
    graph = onnx.load(weights_dir / "rec.onnx").graph
    parameters = paddle_twin.read_parameters(weights_dir / "rec_paddle")
    constants = {n.output[0]: n.attribute[0].t for n in graph.node if n.op_type == "Constant"}
    assert parameters.keys() == layout.paddle_shapes().keys()
    assert all(np.array_equal(onnx.numpy_helper.to_array(constants[k]), v) for k, v in parameters.items())


def test_rewriting_keeps_program_dictionary_and_headers(model: Recogniser, weights_dir: Path, tmp_path: Path) -> None:
    state = model.weights()
    state["head.bias"] += 1
    paddle_twin.rewrite_twin(weights_dir / "rec_paddle", state, tmp_path / "a")
    paddle_twin.rewrite_twin(tmp_path / "a", dict(reversed(state.items())), tmp_path / "b")
    for name in ("inference.pdmodel", "keys.txt"):
        assert (tmp_path / "a" / name).read_bytes() == (weights_dir / "rec_paddle" / name).read_bytes()
    name = "inference.pdiparams"
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert (tmp_path / "a" / name).stat().st_size == (weights_dir / "rec_paddle" / name).stat().st_size
    back = layout.to_torch(paddle_twin.read_parameters(tmp_path / "a"))
    assert all(np.array_equal(back[key], value) for key, value in state.items())


def test_weights_that_do_not_fit_write_nothing(model: Recogniser, weights_dir: Path, tmp_path: Path) -> None:
    state = model.weights()
    state["head.bias"] = state["head.bias"][:-1]
    with pytest.raises(WeightsMismatch, match=r"head.bias: expected \(6625,\), found \(6624,\)"):
        paddle_twin.rewrite_twin(weights_dir / "rec_paddle", state, tmp_path / "twin")
    assert not (tmp_path / "twin").exists()


@pytest.mark.parametrize("spoil", [lambda d: d[:-4], lambda d: d[:5000], lambda d: d[7:], lambda d: d + d[:80]])
def test_parameters_of_another_shape_are_refused(
    model: Recogniser, weights_dir: Path, tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    data = (weights_dir / "rec_paddle/inference.pdiparams").read_bytes()
    (tmp_path / "inference.pdiparams").write_bytes(spoil(data))
    with pytest.raises(WeightsMismatch, match="inference.pdiparams"):
        paddle_twin.rewrite_twin(tmp_path, model.weights(), tmp_path / "twin")
    assert not (tmp_path / "twin").exists()


@needs_paddle
def test_paddle_reads_what_torch_reads(
    model: Recogniser,
    weights_dir: Path,
    tmp_path: Path,
    draw_lines: Callable[[int], list[tuple[Image, str]]],
) -> None:
    """With weights that are not the released ones, so a twin that kept them would be seen."""
    alphabet = Alphabet(weights.characters(weights_dir / "rec.onnx"))
    candidate = deepcopy(model)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        for value in candidate.parameters():
            value += 0.02 * value.square().mean().sqrt() * torch.randn(value.shape, generator=generator)
    paddle_twin.rewrite_twin(weights_dir / "rec_paddle", candidate.weights(), tmp_path / "twin")
    tensors = [batches.to_tensor(lines.to_height(crop)) for crop, _ in draw_lines(24)]
    readings = paddle_twin.read_twin(tmp_path / "twin", [x.numpy() for x in tensors])
    with torch.inference_mode():
        here = [alphabet.best_path(candidate(x[None]).softmax(-1)[0].numpy()) for x in tensors]
        stock = [alphabet.best_path(model(x[None]).softmax(-1)[0].numpy())[0] for x in tensors]
    assert [reading.text for reading in readings] == [text for text, _ in here]
    assert [text for text, _ in here] != stock
    for reading, (_, confidences) in zip(readings, here, strict=True):
        assert reading.confidences == pytest.approx(confidences, abs=1e-3)


@needs_paddle
def test_a_twin_that_paddle_cannot_load_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(PaddleFailed, match=r"status(.|\n)*last words(.|\n)*inference"):
        paddle_twin.read_twin(tmp_path / "no such twin", [np.zeros((3, 48, 320), np.float32)])


@needs_paddle
def test_a_process_that_takes_too_long_is_ended(weights_dir: Path) -> None:
    with pytest.raises(PaddleFailed, match=r"1 lines in 0.05 s"):
        paddle_twin.read_twin(weights_dir / "rec_paddle", [np.zeros((3, 48, 320), np.float32)], seconds=0.05)


def test_without_paddle_the_error_says_so(weights_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PaddleMissing, match="pip install paddlepaddle"):
        paddle_twin.read_twin(weights_dir / "rec_paddle", [])


def test_the_process_never_imports_torch() -> None:
    code = "import sys, models.paddle_twin; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
