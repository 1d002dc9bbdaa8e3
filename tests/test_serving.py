"""Which model serves: only a passed report promotes, the ledger hears first, and a crash in between is finished."""

import errno
import shutil

import pytest

from daemon.errors import NotInitialised, Refused
from daemon.home import create, open_home
from daemon.serving import ROLLOUT, Serving
from models.errors import ModelTampered, WrongOrder
from models.gates import GATES, GateReport
from models.manifest import MODEL_FILES
from models.store import ModelStore
from models.verdict import GateResult, Verdict
from privacy import files
from privacy.ledger import Ledger


@pytest.fixture
def home(tmp_path, weights_dir):
    create(tmp_path / "state", weights_dir, lambda text: None)
    return open_home(tmp_path / "state")


@pytest.fixture
def book(home):
    with Ledger(home.settings.ledger_path, home.signing) as book:
        yield book


def candidate(tmp_path, text):
    folder = tmp_path / f"candidate-{text}"
    for name in MODEL_FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def report(version, current, attempt, **verdicts):
    results = {gate: GateResult(verdicts.get(gate, Verdict.PASS), "because") for gate in GATES}
    return GateReport(version, current, attempt, 0.05, frozenset(GATES), results)


def pointed(home):
    return (home.settings.models_dir / "current").readlink().name


def test_the_released_model_serves_first(home, book):
    serving = Serving(home, book)
    assert serving.live == pointed(home)
    assert [e.kind for e in book.entries] == [ROLLOUT]


def test_a_passed_report_promotes_and_a_rollback_returns(home, book, tmp_path):
    serving = Serving(home, book)
    first = serving.live
    version = serving.add(candidate(tmp_path, "a"), {"epsilon": 1.0})
    assert pointed(home) == first
    assert serving.decide(report(version, first, 1))
    assert pointed(home) == serving.live == version
    assert serving.roll_back() == first == pointed(home)
    with pytest.raises(Refused, match="no earlier model"):
        serving.roll_back()


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.INCONCLUSIVE])
@pytest.mark.parametrize("gate", GATES)
def test_one_gate_that_does_not_pass_is_enough(home, book, tmp_path, gate, verdict):
    serving = Serving(home, book)
    first = serving.live
    version = serving.add(candidate(tmp_path, "a"), {})
    assert not serving.decide(report(version, first, 1, **{gate: verdict}))
    assert pointed(home) == serving.live == first
    with pytest.raises(WrongOrder):
        serving.decide(report(version, first, 2))


def test_a_report_against_another_model_promotes_nothing(home, book, tmp_path):
    serving = Serving(home, book)
    version = serving.add(candidate(tmp_path, "a"), {})
    with pytest.raises(WrongOrder):
        serving.decide(report(version, "0" * 16, 1))
    assert pointed(home) != version


def test_a_crash_between_ledger_and_pointer_is_finished_at_the_next_start(home, book, tmp_path, monkeypatch):
    serving = Serving(home, book)
    version = serving.add(candidate(tmp_path, "a"), {})
    monkeypatch.setattr(ModelStore, "swap", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        serving.decide(report(version, serving.live, 1))
    monkeypatch.undo()
    assert pointed(home) != version
    assert Serving(home, book).live == pointed(home) == version


def test_a_candidate_left_by_a_crash_is_given_up(home, book, tmp_path):
    version = Serving(home, book).add(candidate(tmp_path, "a"), {})
    again = Serving(home, book)
    assert again.live != version
    again.decide(report(again.add(candidate(tmp_path, "b"), {}), again.live, 1))


def test_a_model_that_was_tampered_with_does_not_serve(home, book):
    file = home.settings.models_dir / pointed(home) / "rec.onnx"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelTampered, match=r"rec\.onnx"):
        Serving(home, book)


def test_without_a_model_the_start_says_that_init_did_not_come_to_its_end(home, book):
    (home.settings.models_dir / "current").unlink()
    with pytest.raises(NotInitialised, match=r"did not come to its end.* init$"):
        Serving(home, book)


def test_a_pointer_that_is_gone_is_made_again_from_the_ledger(home, book):
    version = Serving(home, book).live
    (home.settings.models_dir / "current").unlink()
    assert Serving(home, book).live == pointed(home) == version


@pytest.mark.parametrize("pointer", [True, False])
def test_without_the_folder_of_the_model_the_start_says_what_to_do_and_init_does_it(home, book, weights_dir, pointer):
    version = Serving(home, book).live
    shutil.rmtree(home.settings.models_dir / version)
    if not pointer:
        (home.settings.models_dir / "current").unlink()
    with pytest.raises(NotInitialised, match=r"not mounted.*backup.* init$"):
        Serving(home, book)
    create(home.settings.home, weights_dir, lambda text: None)
    assert Serving(home, book).live == pointed(home) == version


def test_a_trained_model_that_is_gone_is_not_replaced_by_the_released_one(home, book, tmp_path, weights_dir):
    serving = Serving(home, book)
    version = serving.add(candidate(tmp_path, "a"), {"epsilon": 1.0})
    assert serving.decide(report(version, serving.live, 1))
    shutil.rmtree(home.settings.models_dir)
    create(home.settings.home, weights_dir, lambda text: None)
    with pytest.raises(NotInitialised, match=f"{version}.* backup"):
        Serving(home, book)


@pytest.mark.parametrize("failing", range(3))
def test_a_roll_out_that_the_disk_broke_off_is_tried_again_in_the_same_service(
    home, book, tmp_path, monkeypatch, failing
):
    serving = Serving(home, book)
    first = serving.live
    version = serving.add(candidate(tmp_path, "a"), {})
    calls, append = [], Ledger.append

    def fails_once(real):
        def call(*given, **more):
            calls.append(1)
            if len(calls) == failing + 1:
                raise OSError(28, "No space left on device")
            return real(*given, **more)

        return call

    monkeypatch.setattr(Ledger, "append", fails_once(append))
    monkeypatch.setattr(ModelStore, "swap", fails_once(ModelStore.swap))
    answer = report(version, first, 1)
    with pytest.raises(OSError, match="No space"):
        serving.decide(answer)
    assert serving.decide(answer)
    assert pointed(home) == serving.live == version
    acts = [entry.body["act"] for entry in book.entries if entry.kind == ROLLOUT]
    assert acts == ["install", "offer", "judge", "advance"]


FULL = OSError(errno.ENOSPC, "No space left on device")


def full(*_, **__):
    raise FULL


def unmoved(patch, _):
    patch.setattr(ModelStore, "swap", full)


def moved_and_not_synced(patch, root):
    sync = files.sync_dir
    patch.setattr(files, "sync_dir", lambda path: full() if path == root else sync(path))


def not_told(*_):
    """The disk lets it all be done, and not what the caller keeps of it."""


@pytest.mark.parametrize("broken", [unmoved, moved_and_not_synced, not_told])
def test_a_rollback_that_the_disk_broke_off_goes_back_once(home, book, tmp_path, monkeypatch, broken):
    serving = Serving(home, book)
    versions = [serving.live]
    for attempt, text in enumerate(("a", "b"), 1):
        versions.append(serving.add(candidate(tmp_path, text), {}))
        serving.decide(report(versions[-1], versions[-2], attempt))
    with monkeypatch.context() as patch:
        broken(patch, home.settings.models_dir)
        with pytest.raises(OSError, match="No space"):
            serving.roll_back(full)
    told = []
    assert serving.roll_back(told.append) == versions[1] == pointed(home)
    assert told == [versions[1]]
    assert serving.roll_back() == versions[0] == pointed(home), "and the next one is another step"
