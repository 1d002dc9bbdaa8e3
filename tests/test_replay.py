"""Membership reads public numbers only: neighbours differ in exactly one unit, and mutants are caught."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learners.replay import Pool, SlotState, Snapshot, Unit, pool_of, snapshot, spread, window

CAPACITY, ROUNDS = 8, 4
Rule = Callable[[list[Unit]], Snapshot]


def rule(units: list[Unit]) -> Snapshot:
    return snapshot(units, CAPACITY, ROUNDS)


def refills(units: list[Unit]) -> Snapshot:
    """Mutant: fills the places of empty units with older ones."""
    return rule([unit for unit in units if unit.ready])


def evicts_by_content(units: list[Unit]) -> Snapshot:
    """Mutant: a full reservoir evicts somebody when a document comes in, and nobody otherwise."""
    held: list[int] = []
    for unit in units:
        if unit.pool is Pool.TRAIN and unit.ready and unit.rounds_used < ROUNDS:
            held = [*held[-(CAPACITY - 1) :], unit.number]
    return Snapshot(CAPACITY, tuple(held), tuple(held))


def balances(units: list[Unit]) -> Snapshot:
    """Mutant: leaves out members until the present ones are even in number."""
    taken = rule(units)
    return replace(taken, present=taken.present[: len(taken.present) // 2 * 2])


def neighbours_differ_in_one_unit(decide: Rule, units: list[Unit], number: int) -> bool:
    """Zero-out of all slots of one unit changes the documents of that unit alone, and no membership."""
    neighbour = [replace(u, states=(SlotState.FAILED,) * len(u.states)) if u.number == number else u for u in units]
    ours, theirs = decide(units), decide(neighbour)
    return ours.members == theirs.members and set(ours.present) ^ set(theirs.present) <= {number}


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Unit], int]:
    numbers = draw(st.lists(st.integers(0, 60), min_size=1, max_size=30, unique=True))
    units = [
        Unit(
            number,
            tuple(draw(st.lists(st.sampled_from(list(SlotState)), min_size=1, max_size=4))),
            pool_of(draw(st.sampled_from([0.1, 0.5, 0.9])), 0.2),
            draw(st.integers(0, ROUNDS)),
        )
        for number in numbers
    ]
    return units, draw(st.sampled_from(numbers))


@given(histories())
def test_neighbours_differ_in_exactly_one_unit(history: tuple[list[Unit], int]) -> None:
    units, number = history
    assert neighbours_differ_in_one_unit(rule, units, number)


@pytest.mark.parametrize("mutant", [refills, evicts_by_content, balances])
def test_the_property_catches_rules_that_read_content(mutant: Rule) -> None:
    units = [Unit(n, (SlotState.FAILED, SlotState.READY), Pool.TRAIN) for n in range(2 * CAPACITY)]
    assert all(neighbours_differ_in_one_unit(rule, units, n) for n in range(len(units)))
    assert not all(neighbours_differ_in_one_unit(mutant, units, n) for n in range(len(units)))


def test_the_window_is_the_last_train_units_whatever_became_of_them() -> None:
    units = [Unit(n, (SlotState.FAILED if n % 2 else SlotState.READY,), Pool.TRAIN) for n in range(20)]
    units[19] = replace(units[19], pool=Pool.HOLDOUT)
    assert [unit.number for unit in window(units[::-1], CAPACITY)] == list(range(11, 19))
    taken = rule(units)
    assert taken.members == tuple(range(11, 19))
    assert taken.present == (12, 14, 16, 18)


def test_a_unit_without_tickets_is_not_a_member_and_not_replaced() -> None:
    units = [Unit(n, (SlotState.READY,), Pool.TRAIN, ROUNDS if n == 15 else 0) for n in range(16)]
    assert rule(units).members == tuple(range(8, 15))


def test_empty_units_spend_their_tickets_too() -> None:
    units = [Unit(0, (SlotState.FAILED,), Pool.TRAIN), Unit(1, (SlotState.READY,), Pool.TRAIN)]
    assert rule(units).members == (0, 1)


@given(st.lists(st.integers(), max_size=40), st.integers(1, 20))
def test_what_is_spread_is_in_order_from_the_first_and_no_more_than_asked(items: list[int], most: int) -> None:
    places = spread(range(len(items)), most)
    assert places == sorted(set(places))
    assert len(places) == min(most, len(items))
    assert places[:1] == [0][: len(items)]
    gaps = {after - before for before, after in pairwise([*places, len(items)])}
    assert max(gaps, default=0) - min(gaps, default=0) <= 1


def test_pools_follow_the_coin() -> None:
    assert pool_of(0.0999, 0.1) is Pool.HOLDOUT
    assert pool_of(0.1, 0.1) is Pool.TRAIN
    with pytest.raises(ValueError, match="coin"):
        pool_of(1.0, 0.1)


def test_what_cannot_be_is_refused() -> None:
    twice = [Unit(1, (SlotState.READY,), Pool.TRAIN)] * 2
    with pytest.raises(ValueError, match="once"):
        rule(twice)
    with pytest.raises(ValueError, match="capacity"):
        window([], 0)
    with pytest.raises(ValueError, match="rounds_per_document"):
        snapshot([], 1, 0)
    with pytest.raises(ValueError, match="members"):
        Snapshot(1, (1,), (2,))
    with pytest.raises(ValueError, match="number"):
        Unit(-1, (SlotState.READY,), Pool.TRAIN)
