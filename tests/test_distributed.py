"""A round on several processes is the round on one, and what breaks that is caught.

The processes are real ones, over gloo. Each of `MISTAKES` fails the check that is named with it.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from learners import finetune
from learners.adapters import ASCII, Adapter, Charset, HeadAdapter
from learners.audit import Canaries
from learners.catalogue import Looks
from learners.distributed import ALONE, ProcessLost, Team
from learners.lines import TrainDocument, document
from learners.plan import Plan
from learners.synthesis import line
from models import recogniser, weights
from models.ctc import Alphabet
from privacy.accountant import RoundEvent
from privacy.coins import Coins
from privacy.dpsgd import Mechanism, private_gradient
from privacy.errors import BudgetExhausted
from privacy.noise import Debit, NoiseSource
from processes import PATIENCE, Processes, processes

torch.set_num_threads(1)

SILENT = 2.0**-55
"""A noise multiplier under which all noise is zero: sigma is 2^-15 grid steps or less."""
SIZE, CLIP, EXPECTED = 500, 0.5, 6.0
SLOTS = range(12)
COINS = 400
MILLION = 1_000_000


@pytest.fixture(scope="module")
def several() -> Iterator[Processes]:
    with processes(3) as started:
        yield started


def source(team: Team, event: RoundEvent) -> NoiseSource | Coins:
    """As `team.source`, but that the first process draws the same every time."""
    debit = Debit.for_tests(event.noise_multiplier, event.steps, event.sample_rate)
    return NoiseSource(debit, seed=bytes(32)) if team.rank == 0 else team.source(debit)


def planned(adapter: Adapter, members: int, **changes: float) -> Plan:
    numbers = {
        "capacity": members, "members": members, "sample_rate": 1.0, "steps": 4, "max_grad_norm": CLIP,
        "noise_multiplier": 1.0, "learning_rate": 3e-2, "rehearsal": 1.0, "lines": 16, "delta": 1e-6,
        "epsilon_round": math.inf, "epsilon_lifetime": 8.0, "rounds_per_document": 4, "noise_over_signal": 0.0,
    }  # fmt: skip
    text = {"adapter": adapter.name, "charset": ASCII}
    return Plan(**(numbers | text | changes), parameters=adapter.size, closed=False)  # type: ignore[arg-type]


# One step on given gradients: the one that ships, and mistakes.


def gradients(slots: list[int]) -> list[Tensor]:
    return [torch.randn(SIZE, generator=torch.Generator().manual_seed(slot)) for slot in slots]


def release(team: Team, of: list[Tensor], sigma: float, size: int = SIZE, **changes: Any) -> Tensor:
    given = {"noise": source(team, RoundEvent(1.0, sigma, 1)), "once": team.once, "expected_documents": EXPECTED}
    return private_gradient(of, size=size, max_grad_norm=CLIP, noise_multiplier=sigma, **(given | changes))


def shipped(team: Team, slots: list[int], sigma: float, size: int = SIZE) -> Tensor:
    return release(team, gradients(team.share(slots)), sigma, size)


def noisy_everywhere(team: Team, slots: list[int], sigma: float, size: int = SIZE) -> Tensor:
    """Each process adds noise to its own sum, before they are added up."""
    own = NoiseSource(Debit.for_tests(sigma))

    def after_noise(part: Tensor, mechanism: Mechanism) -> Tensor:
        return team.once(mechanism(part), lambda total: total)

    return release(team, gradients(team.share(slots)), sigma, size, once=after_noise, noise=own)


def without_empty(team: Team, slots: list[int], sigma: float, size: int = SIZE) -> Tensor:
    """A process with an empty batch has nothing to say."""
    return shipped(team, slots, sigma, size) if team.share(slots) else torch.zeros(size)


def by_the_local_count(team: Team, slots: list[int], sigma: float, size: int = SIZE) -> Tensor:
    """Each process's mean, and the mean of these."""
    mine = gradients(team.share(slots))
    found = release(ALONE, mine, sigma, size, expected_documents=max(1, len(mine)), noise=source(ALONE, EVENT))
    total = team.once((found.double() * 2**40).long(), lambda total: total)
    return (total.double() / 2**40 / team.size).float()


def by_half_of_the_processes(team: Team, slots: list[int], sigma: float, size: int = SIZE) -> Tensor:
    """The first process releases its own sum, and the others hear of it."""
    return release(team, gradients(team.share(slots)) if team.rank == 0 else [], sigma, size)


Step = Callable[[Team, list[int], float, int], Tensor]
EVENT = RoundEvent(1.0, SILENT, 1)


def same_as_alone(step: Step, several: Processes) -> bool:
    """Without noise, and with the first process's: any number of processes, any spread of the documents."""
    for slots in (list(SLOTS), [0, 2, 4, 8], []):
        for sigma in (SILENT, 1.5):
            alone = step(ALONE, slots, sigma, SIZE)
            found = [each for size in (2, 3) for each in several.run(step, slots, sigma, SIZE, size=size)]
            if not all(isinstance(each, Tensor) and torch.equal(each, alone) for each in found):
                return False
    return True


def right_noise(step: Step, several: Processes) -> bool:
    """Within 1% over a million parameters."""
    first, second = several.run(step, [], 1.5, MILLION)
    return torch.equal(first, second) and 0.99 < float(first.std()) / (1.5 * CLIP / EXPECTED) < 1.01


MISTAKES: dict[str, tuple[Step, Callable[[Step, Processes], bool]]] = {
    "noise on every process": (noisy_everywhere, right_noise),
    "empty batches are skipped": (without_empty, same_as_alone),
    "divided by the local count": (by_the_local_count, same_as_alone),
    "some documents left out": (by_half_of_the_processes, same_as_alone),
}


def test_any_number_of_processes_gives_the_same_step(several: Processes) -> None:
    assert same_as_alone(shipped, several)


def test_two_processes_add_the_noise_of_one(several: Processes) -> None:
    assert right_noise(shipped, several)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_mistake_is_caught(mistake: str, several: Processes) -> None:
    step, check = MISTAKES[mistake]
    assert not check(step, several)


# Masks.


def masks(team: Team, share_seed: bool) -> npt.NDArray[np.bool_]:
    """Who was in each of 20 steps of the learner at rate 1/2: slot k has direction k to itself."""
    canaries = Canaries(512, COINS)
    plan = planned(canaries, COINS, sample_rate=0.5, noise_multiplier=SILENT, steps=20, rehearsal=0.0)
    slots = team.share(range(COINS))
    cached = {slot: canaries.document(slot, 1) for slot in slots}
    noise = source(team, plan.event)
    if share_seed:
        noise = NoiseSource(Debit.for_tests(SILENT, 20, 0.5), seed=bytes(32))
    steps = [finetune._step(plan, canaries, slots, cached, noise, torch.zeros(512), team) for _ in range(20)]
    return (torch.stack(steps) @ canaries._directions.T).abs().numpy() > 0.5 * CLIP / plan.expected_documents


def independent(found: npt.NDArray[np.bool_]) -> bool:
    """Steps of one process agree with steps of the other on half of the slots, also between one step and another.

    The first process draws noise from the stream too: under one seed its coins come at the other's later steps.
    """
    signs = np.where(found, 1.0, -1.0)
    agreement = signs[:, 0::2] @ signs[:, 1::2].T / (COINS / 2)  # (steps, steps), deviation 1 / sqrt(200)
    rates = signs.mean(axis=0)
    return bool(abs(agreement).max() < 6 / math.sqrt(COINS / 2) and abs(rates.mean()) < 5 / math.sqrt(found.size))


def test_the_processes_masks_are_independent(several: Processes) -> None:
    found = several.run(masks, False)
    assert np.array_equal(*found)
    assert independent(found[0])


def test_a_seed_that_is_shared_is_caught(several: Processes) -> None:
    assert not independent(several.run(masks, True)[0])


def test_rounds_of_small_samples_finish_and_end_at_the_same_place(several: Processes) -> None:
    """At 24 slots and rate 1/20 nearly every step has a process with an empty batch."""
    found = several.run(small_samples, size=3)
    assert all(torch.equal(found[0], each) for each in found[1:])
    assert float(found[0].norm()) > 0


def small_samples(team: Team) -> Tensor:
    canaries = Canaries(64, 24)
    plan = planned(canaries, 24, sample_rate=0.05, steps=30, rehearsal=0.0)
    cached = {slot: canaries.document(slot, 1) for slot in team.share(range(24))}
    return finetune.learn(plan, canaries, range(24), cached, (), source(team, plan.event), team=team)


# A whole round.


def taught(seeds: range) -> dict[int, TrainDocument]:
    made = [document(s, [line(s, "thermal")]) for s in seeds]
    return {found.slot: found for found in made if found is not None}


def fit(team: Team, folder: Path, documents: dict[int, TrainDocument], sigma: float) -> finetune.Weights:
    """Each process holds its own documents, and has no others."""
    model = recogniser.load(folder / "rec.onnx")
    alphabet = Alphabet(weights.characters(folder / "rec.onnx"))
    adapter = HeadAdapter(model, Charset.of(ASCII, alphabet), torch.eye(120)[:, :8].contiguous())
    plan = planned(adapter, 40, noise_multiplier=sigma, steps=3)
    own = {slot: documents[slot] for slot in team.share(documents)}
    noise, public = source(team, plan.event), Looks(model, list(taught(range(900, 904)).values()))
    return finetune.fit(model, own, range(40), plan, adapter, noise, public=public, team=team)


@pytest.mark.parametrize("sigma", [SILENT, 0.5])
def test_a_round_on_two_processes_is_the_round_on_one(several: Processes, weights_dir: Path, sigma: float) -> None:
    """To the last bit, on every process: more documents than a chunk, and slots without any."""
    documents = taught(range(26))
    alone = fit(ALONE, weights_dir, documents, sigma)
    for found in several.run(fit, weights_dir, documents, sigma):
        assert found.keys() == alone.keys()
        assert all(np.array_equal(found[name], alone[name]) for name in alone)


def test_processes_that_differ_in_public_do_not_start(several: Processes) -> None:
    for error in several.run(differently):
        assert isinstance(error, ValueError)
        assert "Expected the same plan on all 2 processes" in str(error)


def differently(team: Team) -> None:
    team.check_same("plan", {"steps": 50 + team.rank})


def test_torchrun_starts_it(tmp_path: Path) -> None:
    """The launcher itself: its variables, and two processes that end at the same place."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", __file__]
    subprocess.run([*command, str(tmp_path)], check=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert torch.equal(first, second)
    assert torch.equal(first, shipped(ALONE, list(SLOTS), 1.0))


def under_torchrun(folder: Path) -> None:
    with Team.from_environment() as team:
        torch.save(shipped(team, list(SLOTS), 1.0), folder / f"{team.rank}.pt")


@pytest.mark.filterwarnings("default")
def test_ray_runs_the_same_function(tmp_path: Path, weights_dir: Path) -> None:
    ray = pytest.importorskip("ray", reason="needs the extra ocrd-daemon[ray]")
    from learners import ray_round

    def work(team: Team) -> None:
        found = fit(team, weights_dir, documents, 0.5)
        np.savez(tmp_path / f"{team.rank}.npz", **found)

    documents = taught(range(6))
    here = {"env_vars": {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}}
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False, runtime_env=here)
    try:
        ray_round.run(work, 2, tmp_path)
    finally:
        ray.shutdown()
    alone = fit(ALONE, weights_dir, documents, 0.5)
    for rank in range(2):
        found = np.load(tmp_path / f"{rank}.npz")
        assert all(np.array_equal(found[name], alone[name]) for name in alone)


# What goes wrong.


def lost(team: Team, how: int) -> float:
    """The second process sends itself a signal in the third of its steps; how long the first then waits."""
    canaries = Canaries(64, 24)
    plan = planned(canaries, 24, steps=1000, rehearsal=0.0)
    cached = {slot: canaries.document(slot, 1) for slot in team.share(range(24))}
    begun = time.monotonic()

    def progress(step: int, steps: int) -> None:
        nonlocal begun
        if step == 3:
            begun = time.monotonic()
            if team.rank == 1:
                os.kill(os.getpid(), how)

    with pytest.raises(ProcessLost, match=r"its debit is spent: start a new one"):
        finetune.learn(plan, canaries, range(24), cached, (), source(team, plan.event), progress, team)
    return time.monotonic() - begun


def test_a_process_that_is_killed_ends_the_round() -> None:
    with processes(2) as started:
        waited, dead = started.run(lost, signal.SIGKILL)
    assert waited < PATIENCE / 2, "it is the end of the connection that tells, and not the clock"
    assert isinstance(dead, EOFError)


def test_a_process_that_hangs_ends_the_round_in_time(several: Processes) -> None:
    """When it comes round again, it finds the round over."""
    several.send(lost, signal.SIGSTOP, timeout=10.0)
    assert 5.0 < several.result(0) < 100.0
    os.kill(several.started[1].pid or 0, signal.SIGCONT)
    assert isinstance(several.result(1), float)


def test_only_the_holder_of_the_debit_adds_noise(several: Processes) -> None:
    """A first process without one refuses, and the others hear of it."""
    refused, over = several.run(without_debit)
    assert isinstance(refused, BudgetExhausted)
    assert isinstance(over, ProcessLost)
    with pytest.raises(BudgetExhausted, match="as charged"):
        Coins(RoundEvent(0.25, 1.0, 1)).poisson(10, 0.3)
    assert isinstance(Team(0, 2).source(Debit.for_tests()), NoiseSource)
    assert isinstance(Team(1, 2).source(Debit.for_tests()), Coins)


def without_debit(team: Team) -> Tensor:
    return release(team, gradients([1]), 1.0, noise=Coins(RoundEvent(1.0, 1.0, 1)))


def test_a_launcher_that_would_start_again_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    with pytest.raises(ValueError, match="--max-restarts 0"), Team.from_environment():
        pass


def test_every_slot_belongs_to_one_process() -> None:
    shares = [Team(rank, 3).share(range(5, 50)) for rank in range(3)]
    assert sorted(slot for share in shares for slot in share) == list(range(5, 50))
    assert ALONE.share(range(5)) == [0, 1, 2, 3, 4]


def test_what_a_round_costs_does_not_depend_on_the_processes() -> None:
    """The event has no field for their number, and is what every process holds to."""
    event = planned(Canaries(64, 24), 24, sample_rate=0.25).event
    assert event == RoundEvent(0.25, 1.0, 4)
    assert set(event.to_body()) == {"sample_rate", "noise_multiplier", "steps"}
    for rank in range(3):
        coins = Team(rank, 3).source(Debit(-1, "test", event))
        assert coins.poisson(100_000, 0.25).mean() == pytest.approx(0.25, abs=0.007)


if __name__ == "__main__":
    under_torchrun(Path(sys.argv[1]))
