"""Membership reads public numbers only: neighbours differ in exactly one slot, and mutants are caught."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learners.replay import Pool, Slot, SlotState, Snapshot, pool_of, snapshot, window

CAPACITY, ROUNDS = 8, 4
Rule = Callable[[list[Slot]], Snapshot]


def rule(slots: list[Slot]) -> Snapshot:
    return snapshot(slots, CAPACITY, ROUNDS)


def refills(slots: list[Slot]) -> Snapshot:
    """Mutant: fills the places of empty slots with older documents."""
    ready = [slot for slot in slots if slot.state is SlotState.READY]
    return rule(ready)


def evicts_by_content(slots: list[Slot]) -> Snapshot:
    """Mutant: a full reservoir evicts somebody when a document comes in, and nobody otherwise."""
    held: list[int] = []
    for slot in slots:
        if slot.pool is Pool.TRAIN and slot.state is SlotState.READY and slot.rounds_used < ROUNDS:
            held = [*held[-(CAPACITY - 1) :], slot.number]
    return Snapshot(CAPACITY, tuple(held), tuple(held))


def balances(slots: list[Slot]) -> Snapshot:
    """Mutant: leaves out members until the present ones are even in number."""
    taken = rule(slots)
    return replace(taken, present=taken.present[: len(taken.present) // 2 * 2])


def neighbours_differ_in_one_slot(decide: Rule, slots: list[Slot], unit: int) -> bool:
    """Zero-out of one slot changes the documents of that slot alone, and no membership."""
    neighbour = [replace(s, state=SlotState.QUARANTINED) if s.number == unit else s for s in slots]
    ours, theirs = decide(slots), decide(neighbour)
    return ours.members == theirs.members and set(ours.present) ^ set(theirs.present) <= {unit}


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Slot], int]:
    count = draw(st.integers(1, 30))
    slots = [
        Slot(
            number,
            draw(st.sampled_from(list(SlotState))),
            pool_of(draw(st.sampled_from([0.1, 0.5, 0.9])), 0.2),
            draw(st.integers(0, ROUNDS)),
        )
        for number in range(count)
    ]
    return slots, draw(st.integers(0, count - 1))


@given(histories())
def test_neighbours_differ_in_exactly_one_slot(history: tuple[list[Slot], int]) -> None:
    slots, unit = history
    assert neighbours_differ_in_one_slot(rule, slots, unit)


@pytest.mark.parametrize("mutant", [refills, evicts_by_content, balances])
def test_the_property_catches_rules_that_read_content(mutant: Rule) -> None:
    slots = [Slot(n, SlotState.READY, Pool.TRAIN) for n in range(2 * CAPACITY)]
    assert all(neighbours_differ_in_one_slot(rule, slots, unit) for unit in range(len(slots)))
    assert not all(neighbours_differ_in_one_slot(mutant, slots, unit) for unit in range(len(slots)))


def test_the_window_is_the_last_train_slots_whatever_became_of_them() -> None:
    slots = [Slot(n, SlotState.FAILED if n % 2 else SlotState.READY, Pool.TRAIN) for n in range(20)]
    slots[19] = replace(slots[19], pool=Pool.HOLDOUT)
    assert [slot.number for slot in window(slots[::-1], CAPACITY)] == list(range(11, 19))
    taken = rule(slots)
    assert taken.members == tuple(range(11, 19))
    assert taken.present == (12, 14, 16, 18)


def test_a_slot_without_tickets_is_not_a_member_and_not_replaced() -> None:
    slots = [Slot(n, SlotState.READY, Pool.TRAIN, ROUNDS if n == 15 else 0) for n in range(16)]
    assert rule(slots).members == tuple(range(8, 15))


def test_empty_slots_spend_their_tickets_too() -> None:
    slots = [Slot(0, SlotState.FAILED, Pool.TRAIN), Slot(1, SlotState.READY, Pool.TRAIN)]
    assert rule(slots).members == (0, 1)


def test_pools_follow_the_coin() -> None:
    assert pool_of(0.0999, 0.1) is Pool.HOLDOUT
    assert pool_of(0.1, 0.1) is Pool.TRAIN
    with pytest.raises(ValueError, match="coin"):
        pool_of(1.0, 0.1)


def test_what_cannot_be_is_refused() -> None:
    twice = [Slot(1, SlotState.READY, Pool.TRAIN)] * 2
    with pytest.raises(ValueError, match="once"):
        rule(twice)
    with pytest.raises(ValueError, match="capacity"):
        window([], 0)
    with pytest.raises(ValueError, match="rounds_per_document"):
        snapshot([], 1, 0)
    with pytest.raises(ValueError, match="members"):
        Snapshot(1, (1,), (2,))
    with pytest.raises(ValueError, match="number"):
        Slot(-1, SlotState.READY, Pool.TRAIN)
