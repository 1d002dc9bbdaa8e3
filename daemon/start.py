"""The public start of rounds: made once, from generated documents, by a process that is never shown a document.

`learners.public_start` says what it is. It takes an hour or two of a processor, so it is kept in the weights folder
under a name that holds what it depends on: the released recogniser, the charset and the recipe. So is each of its
trainings that has ended, until all have: what is broken off goes on from there. Where the released model serves, the
next round offers the start itself (`daemon.offering`); later rounds begin from the model in service. The ledger and the
claims of all models that go on from it bear its SHA-256.
"""

from __future__ import annotations

import filecmp
import hashlib
import io
import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from daemon import wire, workers
from daemon.errors import Refused
from models.pins import RELEASED
from privacy import files, sandbox

MADE = "start.npz"
RECIPE = 3
"""Counts the changes of `learners.public_start` and of the documents it trains on."""
SECONDS = 4 * 3600.0
"""For one training."""
LIMITS = workers.Limits(memory=-1, open_files=1024)

Weights = dict[str, npt.NDArray[np.float32]]


def path(weights_dir: Path, charset: str, closed: bool) -> Path:
    """Where the start of the pinned release is kept, for a named charset."""
    pins = {pin.name: pin.sha256 for wheel in RELEASED for pin in wheel.pins}
    return weights_dir / f"start-{pins['rec.onnx'][:16]}-{charset}-{'closed' if closed else 'open'}-{RECIPE}.npz"


def worker(
    weights_dir: Path,
    scratch: Path,
    policy: sandbox.Policy,
    began: Callable[[int], None] = lambda _pid: None,
    device: str = "auto",
) -> workers.Worker:
    """The process that makes it, on the device of `learning.device`; `close` breaks it off."""
    config = {"weights": str(weights_dir), "scratch": str(scratch), "device": device}
    return workers.Worker("daemon.start", config, LIMITS, recycle_after=None, policy=policy, started=began)


def make(
    by: workers.Worker,
    charset: str,
    closed: bool,
    scratch: Path,
    kept: Path,
    sizes: Sequence[int] | None = None,
    tell: Callable[[int], None] = lambda _done: None,
) -> None:
    """Has the start made, and keeps it.

    Args:
        sizes: trainings, pages and slips, the recipe's unless given.
        tell: is told how many trainings have ended, whenever another begins.

    Raises:
        WorkerDied: it was broken off, or a training took more than `SECONDS`.
        Refused: the device that it was to be made on can't be used.
    """
    asked, ends, more = {"charset": charset, "closed": closed, "sizes": sizes}, list[bytes](), True
    while sound(_end(kept, len(ends))):
        ends.append(_end(kept, len(ends)).read_bytes())
    try:
        while more:
            tell(len(ends))
            with by.call(asked, ends, SECONDS) as reply:
                if reason := reply.header.get("refuse"):
                    raise Refused(reason)
                more = reply.header["more"]
            made = (scratch / MADE).read_bytes()
            files.write_bytes(_end(kept, len(ends)) if more else kept, made, mode=0o600)
            ends.append(made)
    finally:
        by.close()
    for training in range(len(ends)):
        _end(kept, training).unlink(missing_ok=True)


def _end(kept: Path, training: int) -> Path:
    return kept.with_name(f"{kept.stem}.{training}.npz")


def sound(kept: Path) -> bool:
    """Whether a start is kept there, every checksum in it right: one that is not is made anew."""
    try:
        with zipfile.ZipFile(kept) as saved:
            return saved.testzip() is None
    except (FileNotFoundError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error):
        return False


def replaces(weights_dir: Path, model: Path) -> bool:
    """Whether the model in this folder is the released one, whose place a start may take."""
    return filecmp.cmp(weights_dir / "rec.onnx", model / "rec.onnx", shallow=False)


def read(kept: Path) -> tuple[Weights, str]:
    """The weights of a kept start, and the file's SHA-256 (hex)."""
    data = kept.read_bytes()
    with np.load(io.BytesIO(data), allow_pickle=False) as saved:
        return {name: saved[name] for name in saved.files}, hashlib.sha256(data).hexdigest()


def _prepare(config: dict[str, Any]) -> Callable[[wire.Message], workers.Reply]:
    import torch

    from learners import device, public_start
    from learners.adapters import CHARSETS, Charset
    from learners.errors import NoDevice
    from models import recogniser, weights
    from models.ctc import Alphabet

    os.environ["TMPDIR"] = tempfile.tempdir = config["scratch"]
    torch.set_num_threads(max(1, (os.cpu_count() or 1) - 1))
    released = Path(config["weights"]) / "rec.onnx"

    def answer(message: wire.Message) -> workers.Reply:
        try:
            on = device.chosen(config["device"])
        except NoDevice as error:
            return {"refuse": str(error)}, ()
        alphabet = Alphabet(weights.characters(released))
        charset = Charset.of(CHARSETS[message.header["charset"]], alphabet, message.header["closed"])
        model, ends = recogniser.load(released).to(on), [_end_of(message.blob(k)) for k in range(len(message.fds))]
        trainings, *sizes = message.header["sizes"] or (public_start.TRAININGS,)
        more = len(ends) < trainings
        if more:
            made = {"end": public_start.end(model, charset, public_start.documents(len(ends), *sizes)).numpy()}
        else:
            made = public_start.between(model, charset, [torch.from_numpy(end) for end in ends])
        np.savez(Path(config["scratch"]) / MADE, allow_pickle=False, **made)
        return {"more": more}, ()

    return answer


def _end_of(saved: bytes) -> npt.NDArray[np.float32]:
    with np.load(io.BytesIO(saved), allow_pickle=False) as arrays:
        end: npt.NDArray[np.float32] = arrays["end"]
        return end


def _confinement(config: dict[str, Any]) -> sandbox.Confinement:
    return sandbox.round_process([Path(config["weights"])], Path(config["scratch"]))


def main() -> None:
    workers.serve(_prepare, _confinement)


if __name__ == "__main__":
    main()
