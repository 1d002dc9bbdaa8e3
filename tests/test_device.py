"""Rounds on a card: nothing is left behind on the processor, and what comes back is what the processor says."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import card
from daemon import round
from learners import catalogue, chunks, device, finetune, public_start
from learners import gradients as chunk_gradients
from learners import plan as planning
from learners.adapters import ASCII, Charset
from learners.catalogue import Looks
from learners.errors import NoDevice
from learners.lines import TrainDocument, document
from learners.settings import Settings
from learners.survey import built, survey
from learners.synthesis import line
from models import recogniser, weights
from models.ctc import Alphabet
from privacy.accountant import RoundEvent
from privacy.noise import Debit, NoiseSource

pytestmark = pytest.mark.filterwarnings("ignore:CUDA is not available")  # autocast, which stays off here
SLOTS = range(6)


class Quiet(NoiseSource):
    """Draws, and adds nothing: two rounds can be compared."""

    def __init__(self, event: RoundEvent) -> None:
        super().__init__(Debit.for_tests(event.noise_multiplier, event.steps, event.sample_rate))

    def add_to(self, total, grid, noise_multiplier):
        super().add_to(total, grid, noise_multiplier)
        return total


def taught(seeds: range, domain: str = "thermal") -> list[TrainDocument]:
    made = [document(s, [line(2 * s + k, domain) for k in range(2)]) for s in seeds]
    return [found for found in made if found is not None]


def slotted() -> dict[int, TrainDocument]:
    return dict(zip(SLOTS, taught(range(len(SLOTS))), strict=True))


@pytest.fixture
def gpu() -> Iterator[torch.device]:
    with card.present() as there:
        yield there


def ended(weights_dir: Path, name: str, on: torch.device) -> finetune.Weights:
    """The candidate of two steps without noise: planned on the processor, learned there or on a card."""
    model = recogniser.load(weights_dir / "rec.onnx")
    alphabet = Alphabet(weights.characters(weights_dir / "rec.onnx"))
    settings = Settings(capacity=len(SLOTS), charset="ascii", adapter=name, rank=8)
    public = Looks(model, [*taught(range(1000, 1006)), *taught(range(2), "chinese")])
    plan = planning.planned(settings, survey(settings, alphabet, public)[0], len(SLOTS))
    plan = replace(plan, steps=2)
    if on != device.CPU:
        public = public.to(on)
    adapter = built(settings, alphabet, name, public)
    assert adapter.device == on
    return finetune.fit(model, slotted(), list(SLOTS), plan, adapter, Quiet(plan.event), public=public)


def apart(there: finetune.Weights, here: finetune.Weights, begun: finetune.Weights) -> float:
    """How far two candidates are from each other, as a share of how far one is from where both began."""
    assert there.keys() == here.keys()
    assert all(type(value) is np.ndarray for value in there.values())
    between, moved = (sum(float(((here[n] - of[n]) ** 2).sum()) for n in here) for of in (there, begun))
    assert moved > 0
    return (between / moved) ** 0.5


@pytest.fixture(scope="module")
def begun(weights_dir: Path) -> finetune.Weights:
    return recogniser.load(weights_dir / "rec.onnx").weights()


@pytest.mark.parametrize("name", ["bias", "head", "top", "lora", "norm", "neck", "all"])
def test_a_round_on_a_card_ends_where_it_ends_on_the_processor(weights_dir, begun, name, gpu):
    assert apart(ended(weights_dir, name, gpu), ended(weights_dir, name, device.CPU), begun) < 1e-3


def test_the_public_start_made_on_a_card_is_the_processors(weights_dir, begun, gpu):
    charset = Charset.of(ASCII, Alphabet(weights.characters(weights_dir / "rec.onnx")))
    sets = [[*taught(range(4)), *taught(range(2), "chinese")]]
    released = recogniser.load(weights_dir / "rec.onnx")
    here = public_start.started(released, charset, sets)
    assert apart(public_start.started(released.to(gpu), charset, sets), here, begun) < 1e-3


@pytest.fixture
def round_of(weights_dir, tmp_path, monkeypatch):
    """The candidate of the service's own round over a few documents, on the device that it is told of."""
    monkeypatch.setattr(round, "Units", lambda _message, pool, _file: slotted() if pool == "train" else {})
    monkeypatch.setattr(round, "public_documents", lambda _seed: taught(range(1000, 1006)))
    monkeypatch.setattr(round.paddle_twin, "rewrite_twin", lambda *_: None)
    # No thread: a card that is not there is there in one thread only.
    said: list[str] = []

    def in_this_thread(work: Callable[[Callable[[str], None]], Any]) -> Generator[Any, Any, Any]:
        heard: list[str] = []
        found = work(heard.append)
        if not isinstance(found, tuple):  # the fit's, not the plan's
            said.extend(heard)
            yield {"ask": "fitted", "candidate": found}
        return found

    monkeypatch.setattr(round, "_in_thread", in_this_thread)
    learning = {"capacity": len(SLOTS), "epsilon": 20.0, "delta": 1e-4, "rounds_per_document": 1, "charset": "ascii"}
    learning |= {"closed": False, "adapter": "bias", "device": "auto"}
    folders = {"weights": str(weights_dir), "model": str(weights_dir), "scratch": str(tmp_path)}
    begun = {"start": None, "beneath": None, "members": list(SLOTS), "memory": 2**34}

    def run(on: torch.device, asked_for: str = "auto") -> tuple[finetune.Weights, list[str]]:
        said.clear()
        learning["device"] = asked_for
        monkeypatch.setattr(round.device, "chosen", lambda _asked: on)
        event: list[RoundEvent] = []
        monkeypatch.setattr(round, "_noise", lambda _answer: Quiet(event[0]))
        talk = round.converse(SimpleNamespace(header={"learning": learning, **folders, **begun}))
        asked = next(talk)
        while asked["ask"] == "progress":
            asked = talk.send({})
        if asked["ask"] == "refuse":
            return {}, [asked["reason"]]
        assert asked["ask"] == "debit", asked
        event.append(RoundEvent.from_body(asked["event"]))
        asked = talk.send({})
        assert asked["ask"] == "fitted"
        return asked["candidate"], list(said)

    return run


def test_the_services_round_learns_on_the_card(round_of, begun, gpu):
    there, said = round_of(gpu)
    here, quietly = round_of(device.CPU)
    assert apart(there, here, begun) < 1e-3
    assert [text.replace(" on the GPU", "") for text in said] == quietly != said


def test_a_round_is_heard_of_with_every_document_and_remembers_what_fits(round_of, monkeypatch):
    fit, rooms = finetune.fit, []
    monkeypatch.setattr(
        round.finetune, "fit", lambda *given, **named: rooms.append(named["room"]) or fit(*given, **named)
    )
    _, said = round_of(device.CPU)
    assert rooms == [planning.room(2**34)]
    assert said[: len(SLOTS)] == ["private step 1 of 50"] * len(SLOTS)
    assert list(dict.fromkeys(said)) == [f"private step {step} of 50" for step in range(1, 51)]


def test_a_card_that_fails_does_so_before_the_debit(round_of, begun, monkeypatch, gpu):
    """Then the processor takes over, unless the card was asked for."""
    here, quietly = round_of(device.CPU)

    def out_of_memory(*_):
        raise torch.cuda.OutOfMemoryError

    monkeypatch.setattr(round, "start_gradients", out_of_memory)
    taken_over, said = round_of(gpu)
    assert apart(taken_over, here, begun) < 1e-3
    assert said == quietly
    assert round_of(gpu, "cuda") == ({}, [str(NoDevice("the card ends its first gradients with OutOfMemoryError"))])


def test_what_is_remembered_of_documents_does_not_fill_a_card(weights_dir, gpu):
    model = recogniser.load(weights_dir / "rec.onnx")
    alphabet = Alphabet(weights.characters(weights_dir / "rec.onnx"))
    public = Looks(model, taught(range(1000, 1004))).to(gpu)
    adapter = built(Settings(charset="ascii", rank=8), alphabet, "head", public)
    seen = public.at(adapter.depth)
    kept = [*(frames for each in seen for frames in each.frames)]
    kept += [frames for each in chunks.cache(adapter, seen) for frames in each.inputs]
    assert {frames.device for frames in kept} == {device.CPU}


def test_a_card_computes_each_documents_gradient_alone(weights_dir, monkeypatch, gpu):
    """How its kernels round a batch is not known: one document must not move another one's gradient."""
    together, gradients = [], chunk_gradients._gradients

    def watched(adapter, theta, chunk, losses, lower):
        together.append((theta.device.type, chunk.documents))
        return gradients(adapter, theta, chunk, losses, lower)

    monkeypatch.setattr(chunk_gradients, "_gradients", watched)
    for on in (gpu, device.CPU):
        ended(weights_dir, "head", on)
    assert {count for kind, count in together if kind == "cuda"} == {1}
    assert len(SLOTS) in {count for kind, count in together if kind == "cpu"}


@pytest.mark.parametrize("forgotten", ["chunk", "merge"])
def test_what_is_left_behind_is_seen(weights_dir, monkeypatch, forgotten, gpu):
    """Mutants: code as it would be written where there is no card."""
    if forgotten == "chunk":
        monkeypatch.setattr(chunks.Chunk, "to", lambda self, _device: self)
    else:
        monkeypatch.setattr(torch.Tensor, "cpu", lambda self: self)
    with pytest.raises((RuntimeError, TypeError), match=r"same device|on the card"):
        ended(weights_dir, "head", gpu)


def test_gradients_that_begin_on_the_processor_are_seen(weights_dir, monkeypatch, gpu):
    """As they did before rounds learned on a card."""
    model = recogniser.load(weights_dir / "rec.onnx")
    alphabet = Alphabet(weights.characters(weights_dir / "rec.onnx"))
    public = Looks(model, taught(range(1000, 1004))).to(gpu)
    adapter = built(Settings(charset="ascii", rank=8), alphabet, "norm", public)
    assert {part.device for part in catalogue.start_gradients(adapter, public.at(adapter.depth))} == {gpu}
    monkeypatch.setattr(catalogue, "torch", SimpleNamespace(zeros=lambda size, device: torch.zeros(size)))
    with pytest.raises(RuntimeError, match="same device"):
        list(catalogue.start_gradients(adapter, public.at(adapter.depth)))


def test_a_card_that_is_asked_for_and_not_there_is_refused():
    if (why := device.trouble()) is None:
        pytest.skip("there is a card")
    assert device.chosen("cpu") == device.chosen("auto") == device.CPU
    with pytest.raises(NoDevice, match=r'learning.device = "cuda" asks for, but ' + why):
        device.chosen("cuda")


@pytest.mark.parametrize("kind", [ImportError, OSError, ValueError])
def test_the_doctor_says_that_pytorch_does_not_load(tmp_path, kind):
    (tmp_path / "torch.py").write_text(f'raise {kind.__name__}("libcudart.so.12: cannot open shared object file")')
    program = "from daemon import doctor; found = doctor._device('auto'); print(found.severity, found.text)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    ended = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert ended.stdout.startswith("2 PyTorch does not load (libcudart.so.12: cannot open shared object file)")
