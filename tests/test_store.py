"""The model store: nothing tampered is served, nothing half done is seen, wherever the process dies."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from models import store as store_module
from models.errors import ModelTampered, NoSuchVersion, WeightsCorrupt
from models.manifest import CLAIM, MANIFEST, MODEL_FILES, verify_folder
from models.store import ModelStore, history
from privacy import files
from privacy.signing import SigningKey


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    return SigningKey.create(tmp_path_factory.mktemp("keys") / "signing.key")


def ticking() -> Callable[[], datetime]:
    seconds = count()
    return lambda: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=next(seconds))


@pytest.fixture
def models(tmp_path: Path, key: SigningKey) -> ModelStore:
    return ModelStore(tmp_path / "models", key, ticking())


def content(seed: str) -> dict[str, Path | bytes]:
    return {name: f"{name} of {seed}".encode() for name in MODEL_FILES}


def served(models: ModelStore, seed: str) -> str:
    version = models.add(content(seed), {"epsilon": 1.5})
    models.swap(version)
    return version


def test_add_verify_swap_and_back(models: ModelStore, key: SigningKey) -> None:
    assert models.current() is None
    assert models.previous() is None
    first, second = served(models, "one"), served(models, "two")
    assert (models.current(), models.previous()) == (second, first)
    manifest = models.verify(second)
    assert manifest.parent == first
    assert json.loads((models.root / "current" / CLAIM).read_bytes()) == {"epsilon": 1.5}
    models.swap(first, "rolled back")
    third = served(models, "three")
    assert (models.current(), models.previous()) == (third, first), "what was rolled back is not returned to"
    assert [(e.seq, e.version, e.was) for e in history(models.root)] == [
        (0, first, None),
        (1, second, first),
        (2, first, second),
        (3, third, first),
    ]
    reader = ModelStore(models.root, key.public)
    assert (reader.current(), reader.previous(), reader.versions()) == (third, first, [third, second, first])


def test_the_version_is_what_the_manifest_says_sha256sum_prints(models: ModelStore) -> None:
    version = served(models, "one")
    command = "LC_ALL=C sha256sum claim.json rec.onnx rec_paddle/inference.pd* | sha256sum | cut -c 1-16"
    done = subprocess.run(["sh", "-c", command], cwd=models.root / version, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == version


def test_the_same_content_is_the_same_version(models: ModelStore, tmp_path: Path) -> None:
    version = models.add(content("one"), {"epsilon": 1})
    for name, data in content("one").items():
        (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        assert isinstance(data, bytes)
        (tmp_path / "folder" / name).write_bytes(data)
    assert models.add(tmp_path / "folder", {"epsilon": 1}) == version
    assert models.add(content("one"), {"epsilon": 2}) != version, "another claim is another version"
    assert len(models.versions()) == 2


def test_what_does_not_fit_is_refused_and_leaves_nothing(models: ModelStore, key: SigningKey) -> None:
    with pytest.raises(ValueError, match=r"rec\.onnx"):
        models.add({"rec.onnx": b""}, {})
    with pytest.raises(FileNotFoundError):
        models.add(models.root / "nowhere", {})
    with pytest.raises(ValueError, match="JSON compliant"):
        models.add(content("one"), {"epsilon": float("nan")})
    for name in ("0" * 16, "../models", "current", ""):
        with pytest.raises(NoSuchVersion):
            models.swap(name)
    assert [path.name for path in models.root.iterdir()] == []
    with pytest.raises(TypeError, match="SigningKey"):
        ModelStore(models.root, key.public).add(content("one"), {})


# Tampering

Tamper = Callable[[Path, SigningKey], object]


def _flip(name: str) -> Tamper:
    def flip(folder: Path, _: SigningKey) -> None:
        data = bytearray((folder / name).read_bytes())
        data[-3] ^= 1
        (folder / name).write_bytes(data)

    return flip


def _link(folder: Path, _: SigningKey) -> None:
    (folder / "rec.onnx").rename(folder.parent / "elsewhere")
    (folder / "rec.onnx").symlink_to(folder.parent / "elsewhere")


def _resign(folder: Path, key: SigningKey) -> None:
    """Another key's signature over the same manifest."""
    other = SigningKey.create(folder.parent / "other.key")
    (folder / MANIFEST).write_bytes(verify_folder(folder, key.public).sealed(other))


def _edit(field: str, value: object) -> Tamper:
    def edit(folder: Path, _: SigningKey) -> None:
        fields = json.loads((folder / MANIFEST).read_bytes())
        fields[field] = value
        (folder / MANIFEST).write_text(json.dumps(fields))

    return edit


def _swap_for_another(folder: Path, key: SigningKey) -> None:
    """A well-signed version under another version's name."""
    other = ModelStore(folder.parent, key).add(content("other"), {})
    shutil.rmtree(folder)
    shutil.copytree(folder.parent / other, folder)


TAMPERED: dict[str, tuple[str, Tamper]] = {
    **{f"a bit of {name}": (name, _flip(name)) for name in (*MODEL_FILES, CLAIM)},
    "a shorter file": ("rec.onnx", lambda f, _: os.truncate(f / "rec.onnx", 3)),
    "a missing file": ("rec.onnx", lambda f, _: (f / "rec.onnx").unlink()),
    "a missing claim": (CLAIM, lambda f, _: (f / CLAIM).unlink()),
    "a link": ("rec.onnx", _link),
    "a folder for a file": ("rec.onnx", lambda f, _: ((f / "rec.onnx").unlink(), (f / "rec.onnx").mkdir())),
    "one file more": ("rec_paddle/x", lambda f, _: (f / "rec_paddle" / "x").write_bytes(b"")),
    "one folder more": ("y", lambda f, _: (f / "y").mkdir()),
    "no manifest": (MANIFEST, lambda f, _: (f / MANIFEST).unlink()),
    "half a manifest": (MANIFEST, lambda f, _: os.truncate(f / MANIFEST, 40)),
    "a manifest of nothing": (MANIFEST, lambda f, _: (f / MANIFEST).write_bytes(b"[]")),
    "another parent": (MANIFEST, _edit("parent", "0" * 16)),
    "another field": (MANIFEST, _edit("note", "x")),
    "no signature": (MANIFEST, _edit("signature", "")),
    "another key": (MANIFEST, _resign),
    "another version": (MANIFEST, _swap_for_another),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_tampering_is_named(models: ModelStore, key: SigningKey, how: str) -> None:
    version = models.add(content("one"), {"epsilon": 1})
    models.verify(version)
    name, tamper = TAMPERED[how]
    tamper(models.root / version, key)
    with pytest.raises(ModelTampered) as refused:
        models.verify(version)
    assert (refused.value.version, refused.value.file) == (version, name)


def serves_what_was_tampered(models: ModelStore) -> bool:
    served(models, "one")
    version = models.add(content("two"), {})
    (models.root / version / "rec.onnx").write_bytes(b"something else")
    try:
        models.swap(version)
    except ModelTampered:
        return models.current() == version or len(history(models.root)) != 1
    return True


def test_nothing_tampered_is_put_into_service(models: ModelStore) -> None:
    assert not serves_what_was_tampered(models)


def test_a_swap_without_verification_is_seen(models: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ModelStore, "verify", lambda *_: None)
    assert serves_what_was_tampered(models)


def test_adding_over_a_tampered_version_is_refused(models: ModelStore) -> None:
    version = models.add(content("one"), {})
    (models.root / version / CLAIM).write_bytes(b"{}")
    with pytest.raises(ModelTampered):
        models.add(content("one"), {})


# Durability


def order_of_a_swap(models: ModelStore, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What reached the medium in which order: names of synced files, and the pointer's move."""
    version = models.add(content("two"), {})
    seen: list[str] = []
    real_sync, real_replace = os.fsync, Path.replace

    def fsync(fd: int) -> None:
        seen.append(Path(os.readlink(f"/proc/self/fd/{fd}")).name)
        real_sync(fd)

    def replace(self: Path, target: Path) -> Path:
        seen.append(f"rename to {Path(target).name}")
        return real_replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        patch.setattr(Path, "replace", replace)
        models.swap(version)
    return seen


def is_durable(order: list[str]) -> bool:
    """The history is synced before the pointer moves, the folder after it."""
    moved = order.index("rename to current")
    return "history.jsonl" in order[:moved] and "models" in order[moved:]


def test_the_history_is_on_the_medium_before_the_pointer_moves(
    models: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    served(models, "one")
    assert is_durable(order_of_a_swap(models, monkeypatch))


def _append_unsynced(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


class LateHistory(ModelStore):
    """Mutant: the pointer moves first."""

    def swap(self, version: str, reason: str = "promoted") -> None:
        self.verify(version)
        files.point(self.root / "current", version)
        self._record(version, reason)


def test_an_unsynced_or_late_history_is_seen(
    models: ModelStore, key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = served(models, "one")
    assert not is_durable(order_of_a_swap(LateHistory(models.root, key), monkeypatch))
    models.swap(first)
    monkeypatch.setattr(files, "append_synced", _append_unsynced)
    monkeypatch.setattr(files, "truncate_synced", lambda path, size: None)
    assert not is_durable(order_of_a_swap(models, monkeypatch))


@contextmanager
def dying_at(step: int) -> Iterator[None]:
    """The process exits, without any clean-up, at the n-th call that changes the disk."""
    left = count(step, -1)

    def dying(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if next(left) == 0:
                os._exit(17)
            return call(*args, **kwargs)

        return wrapped

    for owner, name in (
        (os, "fsync"),
        (os, "rmdir"),
        (os, "unlink"),
        (Path, "replace"),
        (Path, "symlink_to"),
    ):
        setattr(owner, name, dying(getattr(owner, name)))
    yield


def dies(step: int, work: Callable[[], object]) -> bool:
    """Whether `work`, in a process of its own, died at this step."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            with dying_at(step):
                work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 17), "the work failed by itself"
    return code == 17


def test_wherever_the_process_dies_the_store_is_whole(tmp_path: Path, key: SigningKey) -> None:
    origin = tmp_path / "origin"
    models = ModelStore(origin, key, ticking())
    spare, first = models.add(content("spare"), {}), served(models, "one")

    def work(root: Path) -> None:
        models = ModelStore(root, key)
        models.prune(1)
        served(models, "two")

    deaths = 0
    for step in count():
        root = tmp_path / f"models{step}"
        shutil.copytree(origin, root, symlinks=True)
        died = dies(step, partial(work, root))
        models = ModelStore(root, key)
        current = models.current()
        assert current is not None
        assert not [path for path in root.iterdir() if path.name.endswith(".part")]
        for version in models.versions():
            models.verify(version)
        done = history(root)
        assert current in (done[-1].version, done[-1].was)
        assert [entry.seq for entry in done] == list(range(len(done)))
        assert (current == first) == (models.previous() is None)
        assert died or spare not in models.versions()
        second = served(models, "two")
        assert (models.current(), models.previous()) == (second, first)
        if not died:
            break
        deaths += 1
    assert deaths > 30


def test_a_torn_history_line_is_dropped_and_a_damaged_one_is_told(models: ModelStore) -> None:
    first, second = served(models, "one"), served(models, "two")
    path = models.root / "history.jsonl"
    path.write_bytes(path.read_bytes() + b'{"seq": 2, "ver')
    assert (models.current(), models.previous()) == (second, first)
    models.swap(first)
    assert len(history(models.root)) == 3
    path.write_bytes(b"x\n" + path.read_bytes())
    with pytest.raises(ModelTampered, match=r"history\.jsonl"):
        models.previous()


def test_leftovers_go_when_the_store_is_opened_but_not_those_of_another_writer(tmp_path: Path, key: SigningKey) -> None:
    root = tmp_path / "models"
    working = ModelStore(root, key)
    (root / ".abc.part").mkdir()
    (root / ".abc.part" / "rec.onnx").write_bytes(b"half")
    (root / ".current.0.part").symlink_to("nowhere")
    ModelStore(root, key)
    assert len(list(root.iterdir())) == 2
    del working
    ModelStore(root, key)
    assert list(root.iterdir()) == []


def test_a_swap_that_did_not_happen_is_settled_by_the_next(models: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    first = served(models, "one")
    second, third = (models.add(content(seed), {}) for seed in ("two", "three"))
    with monkeypatch.context() as patch:
        patch.setattr(files, "point", lambda *_: None)
        models.swap(second)
    assert (models.current(), models.previous()) == (first, None)
    models.swap(third)
    assert (models.current(), models.previous()) == (third, first)
    assert [entry.version for entry in history(models.root)] == [first, second, first, third]


# Pruning and the released weights


def test_prune_keeps_the_newest_the_current_the_previous_and_what_is_broken(models: ModelStore) -> None:
    versions = [models.add(content(str(n)), {}) for n in range(7)]
    models.swap(versions[0])
    models.swap(versions[1])
    (models.root / versions[2] / MANIFEST).write_bytes(b"{}")
    assert models.prune(2, protect=[versions[3]]) == [versions[4]]
    assert set(models.versions()) == set(versions) - {versions[4]}
    assert (models.current(), models.previous()) == (versions[1], versions[0])
    with pytest.raises(ValueError, match="keep"):
        models.prune(0)


def test_the_released_weights_are_the_first_version(models: ModelStore, weights_dir: Path) -> None:
    version = models.install_released(weights_dir)
    assert models.current() == version
    assert (models.root / "current" / "rec.onnx").read_bytes() == (weights_dir / "rec.onnx").read_bytes()
    assert json.loads((models.root / version / CLAIM).read_bytes())["epsilon"] == 0
    later = served(models, "two")
    assert models.install_released(weights_dir) == version
    assert models.current() == later, "installing again takes nothing out of service"


def test_other_weights_are_not_installed(models: ModelStore, weights_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(weights_dir, tmp_path / "weights")
    with (tmp_path / "weights" / "rec.onnx").open("r+b") as file:
        file.write(b"\0")
    with pytest.raises(WeightsCorrupt):
        models.install_released(tmp_path / "weights")
    assert models.versions() == []


def test_reading_the_store_brings_no_learning_library() -> None:
    code = (
        "import sys, models.store, models.rollout; print([m for m in ('torch', 'onnx', 'numpy') if m in sys.modules])"
    )
    root = Path(store_module.__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES])
def test_a_disk_that_gives_nothing_out_is_not_taken_for_tampering(
    models: ModelStore, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """`ModelTampered` ends the service; what the disk refuses it waits for."""
    version = served(models, "one")
    opened = os.open

    def refused(path: Any, *given: Any, **more: Any) -> int:
        if str(path).endswith("rec.onnx"):
            raise OSError(number, os.strerror(number), str(path))
        return opened(path, *given, **more)

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(OSError, match="rec.onnx"):
        models.verify(version)
