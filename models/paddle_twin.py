"""The Paddle twin: the released Paddle inference model with the weights of a candidate.

Every version that is rolled out carries one, so that PaddleOCR reads what RapidOCR reads. The folder holds
`inference.pdmodel` (the released program, unchanged), `inference.pdiparams` (the weights) and `keys.txt`
(the dictionary).

Writing needs no Paddle. A `.pdiparams` is the program's parameters one after the other, sorted by name,
each with a header that states type and shape (`SerializeToStream` in Paddle's `lod_tensor.cc`):

    uint32 version = 0 | uint64 levels = 0 | uint32 version = 0
    | int32 n | n bytes of TensorDesc {1: data type, 2: dims...} | the values, little-endian

The headers are kept, the values replaced, so the same weights give the same bytes.

Reading is the proof, and is done by PaddlePaddle itself in a process of its own, since torch and Paddle
do not share one: `python -m models.paddle_twin FOLDER < lines.npz > readings.json`. Lines and readings go
through pipes and touch no disk.
"""

from __future__ import annotations

import importlib.util
import io
import json
import math
import os
import struct
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models import layout
from models.ctc import Alphabet
from models.errors import PaddleFailed, PaddleMissing, WeightsMismatch
from privacy import sandbox
from privacy.files import make_dir, write_bytes

MODEL, PARAMETERS, KEYS = "inference.pdmodel", "inference.pdiparams", "keys.txt"
READ_SECONDS = 300.0
_STDERR_TAIL = 2000
_FLOAT32 = 5  # VarType.FP32 in framework.proto


class Reading(NamedTuple):
    """What PaddlePaddle read in one line: the text and each character's probability."""

    text: str
    confidences: tuple[float, ...]


class _Record(NamedTuple):
    """One parameter in a `.pdiparams`: its header's bytes, its shape and its values' bytes."""

    header: bytes
    shape: layout.Shape
    values: bytes


def rewrite_twin(released: Path, state: Mapping[str, npt.ArrayLike], dest: Path) -> None:
    """Writes the twin of `state` (the recogniser's weights by torch name) into the folder `dest`.

    `released` is the folder of the released twin, whose program and dictionary are copied unchanged.

    Raises:
        WeightsMismatch: `state` or the released parameters are not exactly PP-OCRv4's recogniser, or a
            value is not finite. Nothing is written.
    """
    constants = layout.to_paddle(state)
    original = (released / PARAMETERS).read_bytes()
    parts: list[bytes] = []
    for name, record in _named(original).items():
        parts += [record.header, constants[name].astype("<f4").tobytes()]
    make_dir(dest, mode=0o755)
    for name in (MODEL, KEYS):
        write_bytes(dest / name, (released / name).read_bytes(), mode=0o644)
    write_bytes(dest / PARAMETERS, b"".join(parts), mode=0o644)


def read_parameters(folder: Path) -> dict[str, layout.Array]:
    """A twin's parameters by Paddle's names.

    Raises:
        WeightsMismatch: the file is not a PP-OCRv4 recogniser's.
    """
    named = _named((folder / PARAMETERS).read_bytes())
    return {name: np.frombuffer(record.values, "<f4").reshape(record.shape) for name, record in named.items()}


def _named(data: bytes) -> dict[str, _Record]:
    """The records of a `.pdiparams` under their names, which the file itself does not hold."""
    shapes = layout.paddle_shapes()
    records = list(_records(data))
    found = dict(zip(sorted(shapes), (record.shape for record in records), strict=False))
    layout.require_shapes(shapes, found, f"{len(records)} parameters of {PARAMETERS}, in order of name,")
    if len(records) != len(shapes):
        raise WeightsMismatch(f"{PARAMETERS}: expected {len(shapes)} parameters, found {len(records)}.")
    return dict(zip(sorted(shapes), records, strict=True))


def _records(data: bytes) -> Iterator[_Record]:
    at = 0
    while at < len(data):
        try:
            version, levels, tensor_version, size = struct.unpack_from("<IQIi", data, at)
            start = at + struct.calcsize("<IQIi") + size
            kind, shape = _tensor_desc(data[start - size : start])
        except (struct.error, ValueError, IndexError) as problem:
            raise WeightsMismatch(f"{PARAMETERS}: no parameter can be read at byte {at}.") from problem
        end = start + 4 * math.prod(shape)
        if (version, levels, tensor_version, kind) != (0, 0, 0, _FLOAT32) or not at < end <= len(data):
            raise WeightsMismatch(f"{PARAMETERS}: expected a whole float32 parameter at byte {at}.")
        yield _Record(data[at:start], shape, data[start:end])
        at = end


def _tensor_desc(data: bytes) -> tuple[int, layout.Shape]:
    """Data type and dims of a serialised `VarType.TensorDesc`: varints only, field 1 and repeated field 2."""
    values = _varints(data)
    kind, shape = -1, []
    for key, value in zip(values[::2], values[1::2], strict=True):
        if key == 1 << 3:
            kind = value
        elif key == 2 << 3:
            shape.append(value)
        else:
            raise ValueError(f"Unexpected field {key >> 3}.")
    return kind, tuple(shape)


def _varints(data: bytes) -> list[int]:
    """Protocol Buffers' variable-length integers: seven bits a byte, low ones first."""
    values, value, shift = [], 0, 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            values.append(value)
            value, shift = 0, 0
    return values


_WANTED = ".cache/paddle/dataset"
"""A folder that Paddle makes in the home folder when it is imported, and ends if it can't: the walls forbid it."""


def read_twin(folder: Path, lines: Sequence[npt.NDArray[np.float32]], seconds: float = READ_SECONDS) -> list[Reading]:
    """Reads line tensors `(3, 48, W) float32 in [-1, 1]` with the twin in `folder`, each line alone.

    Raises:
        PaddleMissing: PaddlePaddle is not installed.
        PaddleFailed: the process failed or took more than `seconds`.
    """
    if importlib.util.find_spec("paddle") is None:
        raise PaddleMissing("PaddlePaddle is not installed, so the twin was not read: pip install paddlepaddle==3.3.1.")
    archive = io.BytesIO()
    np.savez(archive, **{f"{i:06d}": line for i, line in enumerate(lines)})  # type: ignore[arg-type]
    command = [sys.executable, "-m", "models.paddle_twin", str(folder)]
    with tempfile.TemporaryDirectory() as home:
        Path(home, _WANTED).mkdir(parents=True)
        told = {**os.environ, "HOME": home}
        try:
            done = subprocess.run(
                command, input=archive.getvalue(), capture_output=True, timeout=seconds, check=False, env=told
            )
        except subprocess.TimeoutExpired as late:
            tail = _tail(late.stderr)
            raise PaddleFailed(f"Paddle did not read {len(lines)} lines in {seconds:g} s. {tail}") from late
    if done.returncode != 0:
        raise PaddleFailed(f"The Paddle process ended with status {done.returncode}. {_tail(done.stderr)}")
    return [Reading(text, tuple(confidences)) for text, confidences in json.loads(done.stdout)]


def _tail(stderr: bytes | None) -> str:
    return "Its last words: " + (stderr or b"")[-_STDERR_TAIL:].decode(errors="replace").strip()


def _read_here(folder: Path, lines: Mapping[str, npt.NDArray[np.float32]]) -> list[Reading]:
    """In the process of its own: PaddlePaddle's inference engine, one CPU thread, one line at a time."""
    warnings.filterwarnings("ignore", "No ccache found")  # Paddle would like to compile, we would not
    import paddle.inference as engine

    config = engine.Config(str(folder / MODEL), str(folder / PARAMETERS))
    config.disable_gpu()
    config.set_cpu_math_library_num_threads(1)
    config.disable_glog_info()
    predictor = engine.create_predictor(config)
    into = predictor.get_input_handle(predictor.get_input_names()[0])
    out = predictor.get_output_handle(predictor.get_output_names()[0])
    keys = (folder / KEYS).read_text("utf-8").splitlines()
    alphabet = Alphabet(["blank", *keys, " "])
    readings = []
    for name in sorted(lines):
        into.copy_from_cpu(np.ascontiguousarray(lines[name][None], dtype=np.float32))
        predictor.run()
        readings.append(Reading(*alphabet.best_path(out.copy_to_cpu()[0])))
    return readings


def main(arguments: list[str]) -> int:
    """`FOLDER`; lines as .npz on stdin, `[[text, [confidence, ...]], ...]` as JSON on stdout."""
    walls = sandbox.twin(Path(arguments[0]))
    sandbox.no_new_privileges()
    sandbox.before_loading(walls, policy="warn")  # the round's process, which starts this one, has required it
    sandbox.after_loading(walls)
    answer = os.dup(1)
    os.dup2(2, 1)  # Paddle prints to stdout: that goes to stderr, the answer alone to the pipe
    lines = np.load(io.BytesIO(sys.stdin.buffer.read()))
    readings = _read_here(Path(arguments[0]), lines)
    with os.fdopen(answer, "w", encoding="utf-8") as pipe:
        json.dump(readings, pipe)
    return 0


if __name__ == "__main__":
    os.environ.update(OMP_NUM_THREADS="1", FLAGS_use_mkldnn="0", GLOG_minloglevel="2")
    sys.exit(main(sys.argv[1:]))
