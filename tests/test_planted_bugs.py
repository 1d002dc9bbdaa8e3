"""Mistakes that cost privacy, planted into the code that ships, and what catches each.

A bug replaces a function by a broken one, wherever that is used. Its check passes on the sound code and fails
with the bug planted. Many checks are other files' tests; those that begin with `check_the_audit` are audit runs
of 1,000 canaries. docs/audit.md has the same table, and is held to it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import test_budget
import test_distributed
import test_dpsgd
import test_noise
import test_odometer
import test_replay
from daemon.budget import DEBIT, Budget
from learners import gradients, replay
from learners.adapters import Charset
from learners.chunks import Cached, chunks, collate
from learners.distributed import ALONE
from learners.replay import Pool, SlotState, Snapshot, Unit
from models.trainee import Depth
from privacy import dpsgd
from privacy.chain import Entry
from privacy.errors import BudgetExhausted
from privacy.noise import Debit, Grid, NoiseSource, _Stream
from privacy.odometer import Odometer, ranges
from test_audit import DELTA, audited, planned
from test_budget import opened  # noqa: F401  fixtures
from test_noise import entry, key  # noqa: F401

Check = Callable[[pytest.FixtureRequest], None]


# Checks.


def check_the_audit_of_a_round(_: pytest.FixtureRequest) -> None:
    """One round, epsilon 3; canaries of four lines."""
    assert audited(planned(3.0), lines=4).bound <= 3.0


def check_the_audit_of_resumed_rounds(_: pytest.FixtureRequest) -> None:
    """Four rounds, each a process of its own: noise from the system's generator."""
    assert audited(planned(3.0, rounds=4, steps=2), seed=None).bound <= 3.0


def check_the_audit_of_a_lifetime(_: pytest.FixtureRequest) -> None:
    """Sixteen rounds against what the odometer says of the canaries' slots after them."""
    plan = planned(8.0, rounds=16, steps=2)
    odometer = Odometer(8.0, DELTA)
    for _round in range(16):
        odometer.charge([plan.event], [[0, plan.members]])
    assert audited(plan).bound <= odometer.worst()


def check_every_slot_has_its_own_coin_at_every_step(_: pytest.FixtureRequest) -> None:
    """Of the learner, at rate 1/2: batches are as large as coins make them, two steps agree on half of the slots."""
    found = np.where(test_distributed.masks(ALONE, share_seed=False), 1.0, -1.0)
    deviation = 1.0 / math.sqrt(found.shape[1])
    agreement = found @ found.T / found.shape[1] - np.eye(len(found))
    assert abs(found.mean(axis=1)).max() < 6 * deviation
    assert abs(agreement).max() < 6 * deviation


class Linear:
    """The smallest adapter that reads frames: scores linear in two numbers a frame."""

    name, size, charset = "linear", 6, Charset((0, 1, 2), {"a": 1, "b": 2}, closed=True)
    depth: Depth = "projection"

    def inputs(self, frames: Tensor) -> Tensor:
        return frames

    def logits(self, theta: Tensor, groups: Sequence[Tensor]) -> Tensor:
        return torch.cat([group.flatten(0, 1) for group in groups]) @ theta.view(2, 3)

    def merge(self, theta: Tensor) -> dict[str, Tensor]:
        return {"weight": theta}


def check_a_documents_gradient_is_its_own(_: pytest.FixtureRequest) -> None:
    """Alone and beside others, whose lines are longer, a document has the same gradient."""
    random = torch.Generator().manual_seed(0)
    frames = [torch.randn(4 + 3 * n, 2, generator=random) for n in range(6)]
    documents = [Cached((one, other), ((1, 2), (2,))) for one, other in zip(frames[::2], frames[1::2], strict=True)]
    theta, adapter = torch.randn(6, generator=random), Linear()

    def of(batch: Sequence[Cached]) -> Tensor:
        return torch.cat([gradients.document_gradients(adapter, theta, chunk) for chunk in chunks(batch)])

    together = of(documents)
    for number, document in enumerate(documents):
        assert torch.allclose(of([document])[0], together[number], rtol=1e-5, atol=1e-7)


def check_membership_reads_no_content(_: pytest.FixtureRequest) -> None:
    """For every unit: with its documents and without, the round has the same members and else the same documents."""
    units = [Unit(n, (SlotState.FAILED if n % 5 == 0 else SlotState.READY,), Pool.TRAIN) for n in range(20)]
    assert all(test_replay.neighbours_differ_in_one_unit(test_replay.rule, units, number) for number in range(20))


def check_a_hold_out_slot_never_trains(_: pytest.FixtureRequest) -> None:
    pools = [Pool.HOLDOUT if n % 4 == 0 else Pool.TRAIN for n in range(20)]
    taken = test_replay.rule([Unit(n, (SlotState.READY,), pool) for n, pool in enumerate(pools)])
    assert taken.members
    assert all(pools[number] is Pool.TRAIN for number in taken.members)


def of_a_step(check: Callable[[test_dpsgd.Step], None]) -> Check:
    return _named(check, lambda _: check(test_dpsgd.Step()))


def of(test: Callable[..., None], *fixtures: str, **given: Any) -> Check:
    """Another file's test as a check, with its fixtures."""
    return _named(test, lambda request: test(*map(request.getfixturevalue, fixtures), **given))


def _named(check: Callable[..., None], call: Check) -> Check:
    call.__name__, call.__module__ = check.__name__, check.__module__
    return call


# Bugs.

sound_step, sound_clip = dpsgd.private_gradient, dpsgd._add_clipped
sound_gradients, sound_collate = gradients.document_gradients, collate
sound_window, sound_snapshot = replay.window, replay.snapshot
sound_budget, sound_debit = Budget.__init__, Budget.charge
sound_noise, sound_source, sound_charge = NoiseSource.add_to, NoiseSource.__init__, Odometer.charge
sound_coins, sound_words = NoiseSource.poisson, _Stream.words


def rows(blocks: Iterable[Tensor]) -> list[Tensor]:
    return [row for block in blocks for row in block.reshape(-1, block.shape[-1])]


def lines_are_documents(documents: Sequence[Cached], *more: Any, **rest: Any) -> Any:
    """Each line is an example of its own, with a gradient of its own to clip."""
    pairs = [pair for each in documents for pair in zip(each.inputs, each.targets, strict=True)]
    return sound_collate([Cached((line,), (target,)) for line, target in pairs], *more, **rest)


def no_clip(total: Tensor, gradient: Tensor, grid: Grid) -> None:
    total += (gradient.double() / grid.step).long()


def clip_of_the_batch(blocks: Iterable[Tensor], **rest: Any) -> Tensor:
    """The batch's sum is clipped: everybody's share depends on everybody."""
    return sound_step([sum(rows(blocks), torch.zeros(rest["size"]))], **rest)


def infinite_is_large(total: Tensor, gradient: Tensor, grid: Grid) -> None:
    """What is not finite is replaced by something large, and clipped: the document is there after all."""
    sound_clip(total, gradient.nan_to_num(1.0, 1.0, -1.0), grid)


def rounds_up(total: Tensor, gradient: Tensor, grid: Grid) -> None:
    """The norm is bounded before the cut to the grid, and the cut goes away from zero."""
    norm = float(torch.linalg.vector_norm(gradient.double()))
    exact = gradient.double() * min(1.0, grid.bound / norm) / grid.step
    total += (exact.sign() * exact.abs().ceil()).long()


def clip_at_a_quantile(blocks: Iterable[Tensor], *, max_grad_norm: float, **rest: Any) -> Tensor:
    """The clip is the median norm of the documents, which nobody paid for."""
    found = rows(blocks)
    norms = [float(row.norm()) for row in found if row.isfinite().all()]
    return sound_step(found, max_grad_norm=float(np.median(norms)) if norms else max_grad_norm, **rest)


def private_divisor(blocks: Iterable[Tensor], *, expected_documents: float, **rest: Any) -> Tensor:
    found = rows(blocks)
    return sound_step(found, expected_documents=max(len(found), 1), **rest)


def noise_then_clip(blocks: Iterable[Tensor], *, size: int, noise: Any, **rest: Any) -> Tensor:
    grid, total = Grid(rest["max_grad_norm"]), torch.zeros(size, dtype=torch.int64)
    for row in rows(blocks):
        draw = noise.add_to(np.zeros(size, np.int64), grid, rest["noise_multiplier"])
        total += dpsgd.clip(row + torch.from_numpy(draw * grid.step).float(), grid)
    return (total.double() * grid.step / rest["expected_documents"]).float()


def skips_an_empty_batch(blocks: Iterable[Tensor], *, size: int, **rest: Any) -> Tensor:
    found = rows(blocks)
    return sound_step(found, size=size, **rest) if found else torch.zeros(size)


def no_noise(self: NoiseSource, total: Any, grid: Grid, noise_multiplier: float) -> Any:
    return total


def two_thirds(self: NoiseSource, total: Any, grid: Grid, noise_multiplier: float) -> Any:
    return total + sound_noise(self, np.zeros_like(total), grid, noise_multiplier) * 2 // 3


def noise_kept(self: Any, total: Any, grid: Grid, noise_multiplier: float) -> Any:
    """Drawn once and kept, as a state that is saved and loaded."""
    if not hasattr(self, "kept"):
        self.kept = sound_noise(self, np.zeros_like(total), grid, noise_multiplier)
    return total + self.kept


def same_key(self: NoiseSource, debit: Debit, *, seed: bytes | None = None, **more: Any) -> None:
    sound_source(self, debit, seed=seed or bytes(32), **more)


def any_debit(self: NoiseSource, debit: Debit, **more: Any) -> None:
    sound_source(self, replace(debit, hash=np.random.default_rng().bytes(32).hex()), **more)


def single_precision(self: NoiseSource, total: Any, grid: Grid, noise_multiplier: float) -> Any:
    with np.errstate(invalid="ignore"):
        return sound_noise(self, total, grid, noise_multiplier).astype(np.float32).astype(np.int64)


def as_many_as_asked(self: Any, total: Any, grid: Grid, noise_multiplier: float) -> Any:
    """Draws on when what was charged is used up."""
    try:
        return sound_noise(self, total, grid, noise_multiplier)
    except BudgetExhausted:
        return sound_noise(NoiseSource(Debit.for_tests()), total, grid, noise_multiplier)


def shuffles(self: Any, size: int, sample_rate: float) -> Any:
    """Batches of one size, without replacement: what most loaders do."""
    mask = np.zeros(size, np.bool_)
    mask[np.random.default_rng().permutation(size)[: round(size * sample_rate)]] = True
    return mask


def one_coin(self: NoiseSource, size: int, sample_rate: float) -> Any:
    """For the whole pool."""
    return np.repeat(sound_coins(self, 1, sample_rate), size)


def coins_kept(self: Any, size: int, sample_rate: float) -> Any:
    """Who is in a round's first batch is in all of them."""
    if not hasattr(self, "coins"):
        self.coins = sound_coins(self, size, sample_rate)
    return self.coins


def few_nonces(self: _Stream, size: int) -> Any:
    """A counter of a byte and a half."""
    self._calls %= 1 << 12
    return sound_words(self, size)


def pads_to_the_widest(documents: Sequence[Cached], *more: Any, **rest: Any) -> Any:
    widest = max(len(line) for document in documents for line in document.inputs)
    padded = [
        replace(d, inputs=tuple(torch.nn.functional.pad(i, (0, 0, 0, widest - len(i))) for i in d.inputs))
        for d in documents
    ]
    return sound_collate(padded, *more, **rest)


def mixes_documents(adapter: Any, theta: Tensor, chunk: Any, *more: Any) -> Tensor:
    """An augmentation that blends neighbours."""
    found = sound_gradients(adapter, theta, chunk, *more)
    return 0.9 * found + 0.1 * found.roll(1, dims=0)


def refills(units: Iterable[Unit], capacity: int, pool: Pool = Pool.TRAIN) -> tuple[Unit, ...]:
    """The places of empty slots are given to older documents."""
    return sound_window([unit for unit in units if unit.ready], capacity, pool)


def only_the_present(*given: Any, **more: Any) -> Snapshot:
    """Who has no document is not a member, and is not charged."""
    taken = sound_snapshot(*given, **more)
    return replace(taken, members=taken.present)


def every_pool(units: Iterable[Unit], capacity: int, pool: Pool = Pool.TRAIN) -> tuple[Unit, ...]:
    return sound_window([replace(unit, pool=pool) for unit in units], capacity, pool)


def starts_again(self: Odometer, events: Any, slots: Any) -> None:
    """A new accountant each round."""
    fresh = Odometer(self.cap, self.delta)
    sound_charge(fresh, events, slots)
    self.__dict__.update(fresh.__dict__)


def counted_only(self: Budget, number: int, purpose: str, members: Sequence[int], event: Any, **more: Any) -> Entry:
    """The debit is kept in memory, to be written when the round is over."""
    body = {"round": number, "purpose": purpose, "slots": ranges(members), "event": event.to_body(), **more}
    written = Entry(0, "", DEBIT, body, "")
    self._spend(written)
    return written


def looks_are_free(self: Budget, number: int, purpose: str, *given: Any, **more: Any) -> Entry | None:
    """What only judges a candidate is not charged."""
    return sound_debit(self, number, purpose, *given, **more) if purpose == "round" else None


def forgets_at_a_restart(self: Budget, *given: Any) -> None:
    """What was spent is remembered by the process, not read from the ledger."""
    sound_budget(self, *given)
    self._odometers = {pool: Odometer(each.cap, each.delta) for pool, each in self._odometers.items()}


@dataclass(frozen=True)
class Bug:
    name: str
    sound: Callable[..., Any]
    broken: Callable[..., Any]
    check: Check

    def plant(self, patch: pytest.MonkeyPatch) -> None:
        """Replaces the function in its class, or in every module that has imported it."""
        owner = self.sound.__qualname__.rpartition(".")[0]
        module = sys.modules[self.sound.__module__]
        if owner:
            patch.setattr(getattr(module, owner), self.sound.__name__, self.broken)
            return
        for name, each in list(sys.modules.items()):
            ours = name.startswith(("privacy", "learners", "daemon", "test_")) and name != __name__
            if ours and getattr(each, self.sound.__name__, None) is self.sound:
                patch.setattr(each, self.sound.__name__, self.broken)

    @property
    def row(self) -> str:
        """Of the table in docs/audit.md."""
        where = f"{self.sound.__module__}.{self.sound.__qualname__}"
        return f"| {self.name} | `{where}` | `{self.check.__name__}` in {self.check.__module__}.py |"


ONE_MOVES = of_a_step(test_dpsgd.check_one_document_moves_the_sum_by_at_most_the_clip)
SIGMA = of_a_step(test_dpsgd.check_the_noise_on_a_batch_has_its_sigma)
BUGS = [
    Bug("lines are clipped, not documents", sound_collate, lines_are_documents, check_the_audit_of_a_round),
    Bug("no clip", sound_clip, no_clip, check_the_audit_of_a_round),
    Bug("the batch is clipped, not each document", sound_step, clip_of_the_batch, ONE_MOVES),
    Bug("the clip is a quantile of private norms", sound_step, clip_at_a_quantile, SIGMA),
    Bug(
        "a gradient that is not finite counts",
        sound_clip,
        infinite_is_large,
        of_a_step(test_dpsgd.check_a_non_finite_gradient_is_a_zero),
    ),
    Bug(
        "the cut to the grid rounds up",
        sound_clip,
        rounds_up,
        of(test_dpsgd.test_clipping_keeps_direction_and_never_passes_the_bound, bound=0.2),
    ),
    Bug(
        "the divisor is the number of documents present",
        sound_step,
        private_divisor,
        of_a_step(test_dpsgd.check_the_divisor_is_public),
    ),
    Bug("noise before the clip", sound_step, noise_then_clip, SIGMA),
    Bug(
        "an empty batch is skipped",
        sound_step,
        skips_an_empty_batch,
        of_a_step(test_dpsgd.check_an_empty_batch_is_noise),
    ),
    Bug("no noise", sound_noise, no_noise, check_the_audit_of_a_round),
    Bug("two thirds of the noise", sound_noise, two_thirds, SIGMA),
    Bug("one draw of noise for all steps", sound_noise, noise_kept, check_the_audit_of_a_round),
    Bug("the same key after a resume", sound_source, same_key, check_the_audit_of_resumed_rounds),
    Bug(
        "one debit for two rounds",
        sound_source,
        any_debit,
        of(test_noise.test_a_debit_serves_one_source, "entry", "key"),
    ),
    Bug(
        "more steps, or less noise, than were charged",
        sound_noise,
        as_many_as_asked,
        of(test_noise.test_a_source_draws_what_was_charged_and_no_more, "entry", "key"),
    ),
    Bug(
        "noise in single precision",
        sound_noise,
        single_precision,
        of(test_noise.test_what_is_added_to_shifts_the_release_exactly),
    ),
    Bug(
        "shuffled batches of one size",
        sound_coins,
        shuffles,
        of(test_noise.test_batches_are_independent_and_of_varying_size),
    ),
    Bug("one coin for the whole pool", sound_coins, one_coin, check_every_slot_has_its_own_coin_at_every_step),
    Bug("the same coins at every step", sound_coins, coins_kept, check_every_slot_has_its_own_coin_at_every_step),
    Bug("noise repeats in a long round", sound_words, few_nonces, of(test_noise.test_no_call_takes_a_nonce_again)),
    Bug("padding to the widest line", sound_collate, pads_to_the_widest, check_a_documents_gradient_is_its_own),
    Bug("lines of several documents mixed", sound_gradients, mixes_documents, check_a_documents_gradient_is_its_own),
    Bug("gaps are refilled with older documents", sound_window, refills, check_membership_reads_no_content),
    Bug("only slots with a document are members", sound_snapshot, only_the_present, check_membership_reads_no_content),
    Bug("a hold-out slot trains", sound_window, every_pool, check_a_hold_out_slot_never_trains),
    Bug(
        "rejected rounds are forgotten",
        Budget._spend,
        lambda self, debit: None,
        of(test_budget.test_tickets_run_out_and_the_cap_is_kept, "opened"),
    ),
    Bug(
        "a debit is written after the noise",
        sound_debit,
        counted_only,
        of(test_budget.test_the_debit_is_in_the_ledger_when_charge_returns, "opened"),
    ),
    Bug(
        "a look at the hold-out is free",
        sound_debit,
        looks_are_free,
        of(test_budget.test_a_hold_out_slot_that_cannot_pay_for_a_look_is_left_out, "opened"),
    ),
    Bug(
        "a restart forgets what was spent",
        sound_budget,
        forgets_at_a_restart,
        of(test_budget.test_a_restart_remembers_from_the_ledger_alone, "opened"),
    ),
    Bug("a new accountant each round", sound_charge, starts_again, check_the_audit_of_a_lifetime),
    Bug(
        "the cap is not kept",
        Odometer.refuse_over,
        lambda self, events, slots: None,
        of(test_odometer.test_four_tickets_fit_and_a_fifth_is_refused, event=test_odometer.ROUND),
    ),
]
CHECKS = {bug.check.__name__: bug.check for bug in BUGS}


@pytest.mark.parametrize("name", CHECKS)
def test_the_sound_code_passes(name: str, request: pytest.FixtureRequest) -> None:
    CHECKS[name](request)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name.replace(" ", "-"))
def test_the_bug_is_caught(bug: Bug, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    bug.plant(monkeypatch)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        bug.check(request)


def test_the_docs_list_every_bug() -> None:
    text = (Path(__file__).parents[1] / "docs" / "audit.md").read_text()
    assert [line for line in text.splitlines() if "` in test_" in line] == [bug.row for bug in BUGS]
