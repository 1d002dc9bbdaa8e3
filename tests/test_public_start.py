"""The public start: what it learns from, what it leaves alone, how the daemon makes it and keeps it."""

import copy
import os
import signal

import numpy as np
import pytest
import torch

from daemon import claims, evidence, round, start
from daemon.errors import Refused, WorkerDied
from learners import device, public_start
from learners import plan as planning
from learners.adapters import ASCII, CHARSETS, Charset, HeadAdapter
from learners.catalogue import PUBLIC_DOCUMENTS, PUBLIC_LINES, Looks
from learners.chunks import cache, collate, foreign, look
from learners.gradients import document_drifts, document_losses
from learners.lines import document
from learners.neck_adapters import everything, neck
from learners.recipes import PART, TAUGHT
from learners.settings import Settings
from learners.slips import slip
from learners.survey import Surveyed, survey
from learners.synthesis import line
from models import recogniser, weights
from models.ctc import Alphabet

SIZES = (1, 2, 3)
SLIP_SEEDS = range(evidence.FIRST_PLANNING_SEED, evidence.FIRST_PLANNING_SEED + PUBLIC_DOCUMENTS // 2)


@pytest.fixture(scope="module")
def released(weights_dir):
    return recogniser.load(weights_dir / "rec.onnx")


@pytest.fixture(scope="module")
def alphabet(weights_dir):
    return Alphabet(weights.characters(weights_dir / "rec.onnx"))


@pytest.fixture(scope="module")
def kept(weights_dir, tmp_path_factory):
    """A small start, made as the service makes it: by the real process, inside its walls."""
    folder = tmp_path_factory.mktemp("start")
    worker = start.worker(weights_dir, folder, "warn")
    start.make(worker, "ascii", True, folder, folder / "kept.npz", SIZES)
    assert worker.pid is None
    return folder / "kept.npz"


def test_a_start_that_is_broken_off_goes_on_from_its_last_training(weights_dir, tmp_path):
    sizes, kept, told = (2, 1, 1), tmp_path / "kept.npz", []

    def killed(done):
        told.append(done)
        if done == 1:
            os.kill(worker.pid, signal.SIGKILL)

    worker = start.worker(weights_dir, tmp_path, "warn")
    with pytest.raises(WorkerDied):
        start.make(worker, "ascii", True, tmp_path, kept, sizes, killed)
    assert not kept.exists()
    start.make(start.worker(weights_dir, tmp_path, "warn"), "ascii", True, tmp_path, kept, sizes, told.append)
    assert told == [0, 1, 1, 2]
    assert sorted(path.name for path in tmp_path.glob("kept*")) == ["kept.npz"], "nothing is left of the trainings"
    begun, _ = start.read(kept)
    at_once, _ = _made(weights_dir, tmp_path / "at once", sizes)
    assert all(np.allclose(begun[name], at_once[name], atol=1e-6) for name in at_once)
    one, _ = _made(weights_dir, tmp_path / "one", (1, 1, 1))
    assert any(not np.allclose(begun[name], one[name], atol=1e-6) for name in one), "both trainings are in it"


def test_a_training_that_the_disk_spoilt_is_done_again(weights_dir, tmp_path):
    (tmp_path / "kept.0.npz").write_bytes(b"PK")
    told = []
    start.make(
        start.worker(weights_dir, tmp_path, "warn"), "ascii", True, tmp_path, tmp_path / "kept.npz", SIZES, told.append
    )
    assert told == [0, 1]


def _made(weights_dir, folder, sizes):
    folder.mkdir()
    start.make(start.worker(weights_dir, folder, "warn"), "ascii", True, folder, folder / "kept.npz", sizes)
    return start.read(folder / "kept.npz")


@pytest.mark.skipif(device.trouble() is None, reason="there is a card")
def test_a_start_that_must_be_made_on_a_card_is_refused_without_one(weights_dir, tmp_path):
    worker = start.worker(weights_dir, tmp_path, "warn", device="cuda")
    with pytest.raises(Refused, match="Expected an NVIDIA card"):
        start.make(worker, "ascii", True, tmp_path, tmp_path / "kept.npz", SIZES)
    assert not (tmp_path / "kept.npz").exists()


def _loss(model, charset, documents):
    adapter = neck(model, charset)
    parts = [each for each in cache(adapter, look(model, documents, depth="backbone")) if each.inputs]
    return float(document_losses(adapter, torch.zeros(1, adapter.size), collate(parts, joint=True)).mean())


def test_slips_are_the_same_each_time_and_say_what_tills_say():
    one, again, other = slip(11, 6), slip(11, 6), slip(12, 6)
    assert [text for _, text in one] == [text for _, text in again] != [text for _, text in other]
    assert all((a == b).all() for (a, _), (b, _) in zip(one, again, strict=True))
    texts = [text for seed in range(40) for _, text in slip(seed, 4)]
    assert all(text.isascii() and text == " ".join(text.split()) for text in texts)
    assert any(text.isupper() for text in texts)
    assert any(text != text.upper() for text in texts)
    assert any("&" in text for text in texts)
    letters = {letter for text in texts for letter in text}
    assert letters >= {chr(code) for code in range(ord("A"), ord("Z") + 1)} | set(
        "0123456789abcdefghijklmnopqrstuvwxyz"
    )


def test_the_start_reads_public_documents_better_and_leaves_the_rest_of_the_head_alone(released, alphabet, kept):
    made, _ = start.read(kept)
    model = copy.deepcopy(released)
    model.load_weights(made)
    charset = Charset.of(ASCII, alphabet, closed=True)
    shown = public_start.documents(0, *SIZES[1:])
    assert _loss(model, charset, shown) < 0.95 * _loss(released, charset, shown)
    before = released.weights()
    changed = {name for name in before if (before[name] != made[name]).any()}
    assert changed == set(before), "every layer learns"
    rows = np.nonzero((before["head.weight"] != made["head.weight"]).any(1))[0]
    assert set(rows) <= set(charset.classes)


def test_what_does_not_learn_is_held(released, alphabet, monkeypatch):
    """Chinese lines, under a charset without Chinese: their drift is smaller where they are held."""
    charset = Charset.of(ASCII, alphabet)
    adapter = everything(released, charset, basis=torch.eye(120))
    made = [document(k, [line(10 * k, "chinese")]) for k in range(2)]
    seen = look(released, [document(9, [line(n, "thermal") for n in range(4)]), *made], depth="image")
    learned = [each for each in cache(adapter, seen) if each.inputs]
    held = [each for each in foreign(adapter, seen[1:]) if each.inputs]
    assert learned
    assert held

    monkeypatch.setattr(public_start, "EPOCHS", 8)

    def drift(theta):
        return float(document_drifts(adapter, theta.unsqueeze(0), collate(held, joint=True)).mean())

    assert drift(public_start.train(adapter, learned, held)) < 0.3 * drift(public_start.train(adapter, learned, []))


def test_lines_are_taken_one_by_one_and_add_up_to_their_documents_gradient(released, alphabet):
    """A document of one line weighs as much as one of four; no more than a line's activations are held at a time."""
    charset = Charset.of(ASCII, alphabet, closed=True)
    adapter = everything(released, charset, basis=torch.eye(120))
    made = [document(k, [line(10 * k + n, "thermal") for n in range(count)]) for k, count in enumerate((1, 4))]
    documents = cache(adapter, look(released, made, depth="image"))
    taken = []

    def losses(adapter, theta, chunk):
        taken.append(len(chunk.owner))
        return document_losses(adapter, theta, chunk)

    def gradient(weighed):
        theta = torch.zeros(adapter.size, requires_grad=True)
        found = [document_losses(adapter, theta.unsqueeze(0), collate([each])).sum() for each in documents]
        return torch.autograd.grad(sum(w * loss for w, loss in zip(weighed, found, strict=True)), theta)[0]

    theta = torch.zeros(adapter.size, requires_grad=True)
    public_start.backward(losses, adapter, theta, documents)
    assert taken == [1] * 5
    assert (theta.grad - gradient((0.5, 0.5))).norm() < 1e-5 * theta.grad.norm()
    by_line = gradient((0.2, 0.8))  # what every line weighing the same would be
    assert (theta.grad - by_line).norm() > 1e-2 * theta.grad.norm()


def test_the_start_is_half_of_the_way_to_the_mean_of_its_trainings(released, alphabet):
    charset = Charset.of(ASCII, alphabet, closed=True)
    sets = [public_start.documents(training, 1, 2) for training in range(2)]
    one, other, both = (public_start.started(released, charset, some) for some in (sets[:1], sets[1:], sets))
    for name in one.keys() - {"head.bias"}:
        assert np.allclose(both[name], (one[name] + other[name]) / 2, atol=1e-6)
    apart = {name.partition(".")[0] for name in one if not np.allclose(one[name], other[name], atol=1e-7)}
    assert apart == {"backbone", "neck", "head"}
    adapter = everything(released, charset, basis=torch.eye(120))
    parts = [each for each in cache(adapter, look(released, sets[0], depth="image")) if each.inputs]
    end = {name: value.numpy() for name, value in adapter.merge(public_start.train(adapter, parts, [])).items()}
    for name in end.keys() - {"head.bias", "head.weight"}:
        assert np.allclose(one[name], (released.weights()[name] + end[name]) / 2, atol=1e-6)


def test_a_start_without_anything_to_learn_is_refused(released, alphabet):
    with pytest.raises(ValueError, match="learn"):
        public_start.started(released, Charset.of(ASCII, alphabet), [[]])


def test_rounds_rehearse_what_the_start_has_not_seen():
    texts = {line.text for each in public_start.documents(0, 4, 4) for line in each.lines}
    fresh = [line.text for each in public_start.rehearsed(30_000_000, 8) for line in each.lines]
    assert len(fresh) >= 20
    assert sum(text in texts for text in fresh) <= len(fresh) // 4


def test_only_the_released_model_is_moved_to_the_start(released, alphabet, kept):
    charset = Charset.of(ASCII, alphabet)
    model = copy.deepcopy(released)
    _, untaught, digest = round._shown(model, released, charset, str(kept), started=True)
    made, told = start.read(kept)
    assert digest == told
    assert untaught.model is released
    assert (model.weights()["neck.project.weight"] == made["neck.project.weight"]).all()
    served, _, digest = round._shown(model, released, charset, str(kept), started=True)
    assert digest is None, "a model in service was thrown away"
    plain, *others = round._shown(copy.deepcopy(released), released, charset, None, started=False)
    assert others == [None, None]
    assert _share_of_slips(served) == 0.5, "later rounds must rehearse what the first one did"
    assert _share_of_slips(plain) == 0


def _share_of_slips(public):
    texts = {text for seed in SLIP_SEEDS for _, text in slip(seed, PUBLIC_LINES)}
    return sum({line.text for line in each.lines} <= texts for each in public._documents) / len(public._documents)


def test_a_model_that_has_rehearsed_is_planned_for_by_the_released_one(released, alphabet, kept):
    charset = Charset.of(ASCII, alphabet)
    served = copy.deepcopy(released)
    served.load_weights(start.read(kept)[0])
    public, untaught, begins = round._shown(served, released, charset, None, started=False)
    assert (public.model, untaught.model, begins) == (served, released, None)


@pytest.mark.parametrize("part", [1.0, PART])
def test_what_settings_no_longer_shut_out_is_open_again(released, alphabet, part):
    """Else the next model would go on without it, whatever the settings say, and nobody would be told."""
    closed = {name: Charset.of(CHARSETS[name], alphabet, closed=True) for name in ("ascii", "latin")}
    adapter, begun = HeadAdapter(released, closed["ascii"], None), released.weights()
    merged = {name: value.numpy() for name, value in adapter.merge(torch.zeros(adapter.size)).items()}
    shut = public_start.part_way(begun, begun | merged, part)
    for charset, allowed in (
        (Charset.of(ASCII, alphabet), set(range(len(begun["head.bias"])))),
        (closed["latin"], set(closed["latin"].classes)),
        (closed["ascii"], set(closed["ascii"].classes)),
    ):
        model = copy.deepcopy(released)
        model.load_weights(shut)
        round._shown(model, released, charset, None, started=False)
        now = model.weights()
        assert set(np.flatnonzero(now["head.bias"] == begun["head.bias"]).tolist()) == allowed
        assert all((now[name] == shut[name]).all() for name in now.keys() - {"head.bias"})


def test_a_candidate_is_compared_on_what_both_models_write(released, alphabet):
    """One that opens characters again would make up with them for what it reads worse."""
    adapter = HeadAdapter(released, Charset.of(ASCII, alphabet, closed=True), None)
    merged = {name: value.numpy() for name, value in adapter.merge(torch.zeros(adapter.size)).items()}
    ascii_alone = copy.deepcopy(released)
    ascii_alone.load_weights(released.weights() | merged)
    opened, latin = Settings(charset="ascii"), Settings(charset="latin", closed=True)
    assert round._both_write(opened, released, alphabet) is None
    known = set(alphabet.characters[1:])
    for settings, model, expected in (
        (opened, ascii_alone, set(ASCII) & known),
        (latin, ascii_alone, set(ASCII) & known),
        (latin, released, set(CHARSETS["latin"]) & known),
    ):
        assert set(round._both_write(settings, model, alphabet)) - {alphabet.characters[0]} == expected


def test_a_plan_from_the_start_forecasts_from_the_released_model(released, alphabet, kept):
    """The start has learned public documents: by its own view of them there is nothing left to teach."""
    model = copy.deepcopy(released)
    round._shown(model, released, Charset.of(ASCII, alphabet, closed=True), str(kept), started=True)
    shown = public_start.documents(0, *SIZES[1:])
    settings = Settings(adapter="bias", charset="ascii", closed=True)
    (by_itself,) = survey(settings, alphabet, Looks(model, shown))
    (started,) = survey(settings, alphabet, Looks(model, shown), Looks(released, shown))
    (before,) = survey(settings, alphabet, Looks(released, shown))
    assert started.agreement == before.agreement > by_itself.agreement
    assert started.adapter._model is model


def test_rounds_from_a_start_rehearse_less(released, alphabet):
    charset = Charset.of(ASCII, alphabet)
    surveyed = Surveyed.of(HeadAdapter(released, charset, None), 1.0)
    plans = [planning.planned(Settings(public_start=begins), surveyed, 100) for begins in (False, True)]
    assert [plan.rehearsal for plan in plans] == [1.0, TAUGHT]


def test_a_round_from_a_start_goes_half_of_the_way_it_learned(released, alphabet, kept):
    """As planned, and in the daemon: between the weights that it begins from and those that learning ended with."""
    surveyed = Surveyed.of(HeadAdapter(released, Charset.of(ASCII, alphabet), None), 1.0)
    plans = [planning.planned(Settings(public_start=begins), surveyed, 100) for begins in (False, True)]
    assert [plan.part for plan in plans] == [1.0, PART]
    begun, ended = released.weights(), start.read(kept)[0]
    name = "neck.project.weight"
    for part, expected in ((0.0, begun[name]), (0.5, (begun[name] + ended[name]) / 2), (1.0, ended[name])):
        found = public_start.part_way(begun, ended, part)
        assert found.keys() == begun.keys()
        assert np.allclose(found[name], expected, atol=1e-7)
        assert {value.dtype for value in found.values()} == {np.dtype(np.float32)}


def test_the_claim_names_the_start_and_what_settings_were_fixed_on():
    without = claims._public({})
    assert claims._public({"public_start": None}) == without
    assert all("start" not in said for said in without)
    assert any("SROIE 2019, FUNSD" in said for said in without)
    [start_said] = set(claims._public({"public_start": "ab12"})) - set(without)
    assert "ab12" in start_said


def test_another_charset_or_recipe_has_another_start(weights_dir, monkeypatch):
    paths = {start.path(weights_dir, charset, closed) for charset in ("latin", "ascii") for closed in (True, False)}
    assert len(paths) == 4
    assert paths.isdisjoint({start.path(weights_dir / "other", "latin", False)})
    monkeypatch.setattr(start, "RECIPE", start.RECIPE + 1)
    assert start.path(weights_dir, "latin", False) not in paths
    assert "latin" in CHARSETS
