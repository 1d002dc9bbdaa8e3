"""The process of one round: holds no key, asks for its debits, trains, shows what the candidate can do.

The conversation is turned round: the service asks "what next?" and this process answers with what it
needs. It receives the unsealed lines of the snapshot in memory files; what it writes (the candidate,
into its scratch folder) is the output of the private mechanism.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Set
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import torch

from daemon import evidence, start, wire, workers
from learners import device, finetune, public_start
from learners import plan as planning
from learners.adapters import Adapter, Charset
from learners.catalogue import Looks, start_gradients
from learners.errors import NoDevice, TooFewDocuments
from learners.lines import TrainDocument, joined, unpack
from learners.public import public_documents
from learners.settings import Settings
from learners.survey import built
from models import paddle_twin, recogniser, weights
from models.ctc import Alphabet
from models.recogniser import Recogniser
from privacy import accountant, sandbox
from privacy.accountant import RoundEvent
from privacy.chain import Entry
from privacy.noise import Debit, NoiseSource

Ask = dict[str, Any]
Talk = Generator[Ask, dict[str, Any], Any]
TICK_SECONDS = 0.5
TRIED = 16
"""Public documents whose gradients a card must have taken before a round is charged."""


class Units:
    """What each unit of a pool teaches, its documents as one: so it has one gradient, and one gain at the gate.

    They stay in the memory file that the service sent; one is unpacked when it is asked for.
    """

    def __init__(self, message: wire.Message, pool: str, file: int) -> None:
        self._file, self._places = os.dup(message.fds[file]), dict[int, list[tuple[int, int]]]()
        for unit, begin, size in message.header[pool]:
            self._places.setdefault(unit, []).append((begin, size))

    def keys(self) -> Set[int]:
        """The units of which something was sent."""
        return self._places.keys()

    def get(self, unit: int, /) -> TrainDocument | None:
        """None where nothing was sent that can be unpacked: an empty slot, which fails no other document."""
        parts = list(self._unpacked(unit))
        return joined(unit, parts) if parts else None

    def _unpacked(self, unit: int) -> Iterator[TrainDocument]:
        for begin, size in self._places.get(unit, ()):
            with contextlib.suppress(ValueError):
                yield unpack(unit, os.pread(self._file, size, begin))


def converse(message: wire.Message) -> Talk:
    """One round: plan -> debit -> fit -> export -> evidence. Yields what it needs, is sent the answers.

    A round that offers the public start has no plan and no debit but the gate's: the start is the candidate, and no
    document of the training pool is shown.
    """
    header = message.header
    train, holdout = Units(message, "train", 0), Units(message, "holdout", 1)
    stock, current, scratch = Path(header["weights"]), Path(header["model"]), Path(header["scratch"])
    model = recogniser.load(current / "rec.onnx")
    alphabet = Alphabet(weights.characters(current / "rec.onnx"))
    yield {"ask": "progress", "text": "planning on public documents"}
    started = header["start"] is not None or header["beneath"] is not None
    settings = _settings(header["learning"], started, header["memory"])
    charset, both = Charset.of(settings.characters, alphabet, settings.closed), _both_write(settings, model, alphabet)
    public, released, begins = _shown(model, recogniser.load(stock / "rec.onnx"), charset, header["start"], started)
    if header["start"] is not None:
        if begins is None or train.keys():
            raise RuntimeError("Expected the released model to begin from and no document to learn from, got others.")
        yield {"ask": "offer", "plan": _offered(begins, header["learning"])}
        candidate = model.weights()
    else:
        try:
            plan, adapter = yield from _in_thread(
                partial(planning.plan, settings, alphabet, len(header["members"]), public, released)
            )
            public, adapter = _placed(header["learning"]["device"], settings, alphabet, plan, public, adapter)
        except (NoDevice, TooFewDocuments) as error:
            yield {"ask": "refuse", "reason": str(error)}
            return
        candidate = yield from _learn(header, train, model, plan, adapter, public, begins or header["beneath"])
    weights.write_onnx(stock / "rec.onnx", candidate, scratch / "rec.onnx")
    paddle_twin.rewrite_twin(stock / "rec_paddle", candidate, scratch / "rec_paddle")
    yield {"ask": "progress", "text": "gathering evidence"}
    examiner = evidence.Examiner(
        stock,
        current / "rec.onnx",
        scratch,
        candidate,
        header["gates"]["anchor_documents"],
        header["attempt"],
        both,
    )
    found = yield from _in_thread(examiner.public)
    found["holdout"] = yield from _holdout(header, holdout, examiner)
    yield {"ask": "evidence", "evidence": found}


def _both_write(settings: Settings, model: Recogniser, alphabet: Alphabet) -> str | None:
    """The characters that the model in service can write, and its candidate too; None: all of them.

    A candidate that opens others again must not make up with them for what it reads worse.
    """
    shut = public_start.shut(model.weights())
    if not (settings.closed or shut.any()):
        return None
    allowed = set(settings.characters if settings.closed else alphabet.characters)
    return "".join(each for each, gone in zip(alphabet.characters, shut, strict=True) if each in allowed and not gone)


def _placed(
    asked: str, settings: Settings, alphabet: Alphabet, plan: planning.Plan, public: Looks, adapter: Adapter
) -> tuple[Looks, Adapter]:
    """What a round learns with, moved to a card if there is one, and tried there: if it fails, before the debit.

    Only once there is a plan, which is thus the same with a card and without. Raises NoDevice.
    """
    on = device.chosen(asked)
    if on == device.CPU:
        return public, adapter
    try:
        moved = public.to(on)
        there = built(settings, alphabet, plan.adapter, moved)
        list(start_gradients(there, moved.at(there.depth)[:TRIED]))
    except RuntimeError as error:
        if asked == "cuda":
            raise NoDevice(f"the card ends its first gradients with {type(error).__name__}") from error
        public.model.to(device.CPU)
        return public, adapter
    return moved, there


def _offered(start: str, learning: dict[str, Any]) -> dict[str, Any]:
    """The plan of a round that offers the start of this SHA-256."""
    told = "none: the candidate is the public start, which was taught on generated documents alone"
    return {"public_start": start, "charset": learning["charset"], "epsilon_round": 0.0, "considered": [told]}


def _learn(
    header: dict[str, Any],
    train: Units,
    model: Recogniser,
    plan: planning.Plan,
    adapter: Adapter,
    public: Looks,
    beneath: str | None,
) -> Talk:
    """Debit, then the private fit; returns the candidate's weights. `beneath`: the start that they go on from."""
    epsilons = _epsilons(plan.event, plan.delta)
    body = {**plan.to_body(), **epsilons, "charset": header["learning"]["charset"], "public_start": beneath}
    answer = yield {
        "ask": "debit",
        "purpose": "round",
        "event": plan.event.to_body(),
        "epsilons": epsilons,
        "plan": body,
    }
    noise, where = _noise(answer), "" if adapter.device == device.CPU else " on the GPU"

    def fit(tell: Callable[[str], None]) -> finetune.Weights:
        step = 1

        def alive() -> None:
            tell(f"private step {step} of {plan.steps}{where}")

        def progress(done: int, steps: int) -> None:
            nonlocal step
            step = min(done + 1, steps)

        ended = finetune.fit(
            model,
            train,
            header["members"],
            plan,
            adapter,
            noise,
            progress,
            public,
            alive=alive,
            room=planning.room(header["memory"]),
        )
        return public_start.part_way(model.weights(), ended, plan.part)

    return (yield from _in_thread(fit))


def _shown(
    model: Recogniser, released: Recogniser, charset: Charset, kept: str | None, started: bool
) -> tuple[Looks, Looks | None, str | None]:
    """The public documents of a round: as its model sees them, and as the released one does if that is another.

    The released model itself is moved to the public start, if one is `kept`; its SHA-256 comes third. Where rounds
    begin from one (`started`), all of them rehearse slips too. Characters that the charset allows again are opened.
    """
    there, now, begins = released.weights(), model.weights(), None
    first = all((value == there[name]).all() for name, value in now.items())
    model.load_weights(public_start.reopened(now, there, charset))
    if first and kept is not None:
        start_weights, begins = start.read(Path(kept))
        model.load_weights(start_weights)
    pages = public_documents(evidence.FIRST_PLANNING_SEED)
    public = Looks(model, public_start.rehearsed(evidence.FIRST_PLANNING_SEED) if started else pages)
    return public, None if first and not begins else Looks(released, pages), begins


def _settings(learning: dict[str, Any], started: bool, memory: int) -> Settings:
    """`started`: rounds begin from a public start; `memory`: bytes that this process may take."""
    return Settings(
        capacity=learning["capacity"],
        epsilon_lifetime=learning["epsilon"],
        delta=learning["delta"],
        rounds_per_document=learning["rounds_per_document"],
        charset=learning["charset"],
        closed=learning["closed"],
        adapter=learning["adapter"],
        public_start=started,
        memory=memory,
    )


def _epsilons(event: RoundEvent, delta: float) -> dict[str, float | None]:
    """What the event costs by our accountant, and by one that others wrote."""
    first = accountant.epsilon([event], delta)
    return {"epsilon": first, "second_opinion": accountant.epsilon_second_opinion([event], delta)}


def _noise(answer: dict[str, Any]) -> NoiseSource:
    """Noise against the ledger entry that the service has just made durable."""
    return NoiseSource(Debit.of(Entry(**answer["entry"]), bytes.fromhex(answer["public"])))


def _holdout(header: dict[str, Any], holdout: Units, examiner: evidence.Examiner) -> Talk:
    """The mean gain on hold-out units, noisy and charged to them. Nothing is asked when there is no such unit."""
    members, learning = header["holdout_members"], header["learning"]
    if not members:
        return None
    event = RoundEvent.from_body(header["gate_event"])
    epsilons = _epsilons(event, learning["delta"])
    answer = yield {"ask": "debit", "purpose": "gate", "event": event.to_body(), "epsilons": epsilons}
    noise = _noise(answer)
    return (yield from _in_thread(partial(examiner.holdout, holdout, members, event.noise_multiplier, noise)))


def _in_thread(work: Callable[[Callable[[str], None]], Any]) -> Generator[Ask, dict[str, Any], Any]:
    """Runs `work(tell)` beside the conversation; now and then the service hears what it told last."""
    told: deque[str] = deque(maxlen=1)
    result: list[Any] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            result.append(work(told.append))
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(TICK_SECONDS)
        if told:
            yield {"ask": "progress", "text": told.pop()}
    if failure:
        raise failure[0]
    return result[0]


def _prepare(config: dict[str, Any]) -> Callable[[wire.Message], workers.Reply]:
    os.environ["TMPDIR"] = tempfile.tempdir = config["scratch"]  # torch asks for one; nowhere else may it write
    torch.set_num_threads(max(1, (os.cpu_count() or 1) - 1))
    cv2.setNumThreads(1)
    talk: list[Talk] = []

    def answer(message: wire.Message) -> workers.Reply:
        if not talk:
            talk.append(converse(message))
            return next(talk[0]), ()
        return talk[0].send(message.header), ()

    return answer


def _confinement(config: dict[str, Any]) -> sandbox.Confinement:
    return sandbox.round_process([Path(config["weights"]), Path(config["model"])], Path(config["scratch"]))


def main() -> None:
    workers.serve(_prepare, _confinement)


if __name__ == "__main__":
    main()
