"""The lifetime odometer: every round that held a slot counts, for ever, and a question is answered fast."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy import accountant, filters
from privacy import odometer as odometer_module
from privacy.accountant import RoundEvent
from privacy.errors import BudgetExhausted
from privacy.ledger import Ledger
from privacy.odometer import Odometer, ranges, within
from privacy.signing import SigningKey

DELTA = 1e-6
ROUND = RoundEvent(1.0, accountant.calibrate(1.0, 100, 4, 8.0, DELTA), 100)
TICKET = RoundEvent(0.25, accountant.calibrate(0.25, 100, 4, 8.0, DELTA), 100)


@pytest.mark.parametrize("event", [ROUND, TICKET])
def test_four_tickets_fit_and_a_fifth_is_refused(event: RoundEvent) -> None:
    odometer = Odometer(8.0, DELTA)
    for _ in range(4):
        odometer.refuse_over([event], [[0, 50]])
        odometer.charge([event], [[0, 50]])
    assert 7.9 < odometer.worst() <= 8.0
    assert odometer.would_exceed([event], [[49, 60]])
    assert odometer.over([event], [[40, 60]]) == [[40, 50]]
    assert not odometer.would_exceed([event], [[50, 60]])
    with pytest.raises(BudgetExhausted, match="10 slots would pass the lifetime epsilon of 8"):
        odometer.refuse_over([event], [[40, 60]])
    odometer.charge([event], [[0, 1]])  # what was spent is spent
    assert odometer.worst() > 8.0


def test_a_slot_pays_for_the_rounds_that_held_it() -> None:
    odometer = Odometer(8.0, DELTA)
    query = RoundEvent(1.0, 30.0, 1)
    odometer.charge([ROUND], [[0, 10], [20, 30]])
    odometer.charge([query], [[5, 25]])
    expected = {0: [ROUND], 5: [ROUND, query], 15: [query], 20: [ROUND, query], 25: [ROUND], 40: []}
    for slot, events in expected.items():
        assert odometer.epsilon_of(slot) == accountant.epsilon(events, DELTA)
    assert odometer.worst() == accountant.epsilon([ROUND, query], DELTA)
    assert odometer.worst_history() == accountant.merged([ROUND, query])


events = st.sampled_from([ROUND, RoundEvent(1.0, 40.0, 7), RoundEvent(1.0, 20.0, 1)])
members = st.sets(st.integers(0, 30))


@given(st.lists(st.tuples(events, members), max_size=8), events, members)
@settings(max_examples=100)
def test_it_agrees_with_a_list_a_slot(
    rounds: list[tuple[RoundEvent, set[int]]], next_event: RoundEvent, asked: set[int]
) -> None:
    odometer = Odometer(4.0, DELTA)
    held: dict[int, list[RoundEvent]] = {slot: [] for slot in range(31)}
    for event, slots in rounds:
        odometer.charge([event], ranges(slots))
        for slot in slots:
            held[slot].append(event)
    truth = {slot: accountant.epsilon(history, DELTA) for slot, history in held.items()}
    assert {slot: odometer.epsilon_of(slot) for slot in held} == truth
    assert odometer.worst() == max(truth.values())
    over = {slot for slot in asked if accountant.epsilon([*held[slot], next_event], DELTA) > 4.0}
    assert odometer.over([next_event], ranges(asked)) == ranges(over)


def check_records_that_no_slot_has_any_more_are_dropped_and_nothing_else() -> None:
    """A slot that is charged a thousand times leaves as many records behind; another then has one of them again."""
    odometer = Odometer(8.0, DELTA)
    events = [RoundEvent(1.0, 50.0 + number, 1) for number in range(1100)]
    for event in events:
        odometer.charge([event], [[0, 1]])
    assert len(odometer._histories) < 100
    odometer.charge(events[:1], [[1, 2]])
    assert odometer.epsilon_of(1) == accountant.epsilon(events[:1], DELTA)
    assert odometer.epsilon_of(0) == accountant.epsilon(events, DELTA)


def test_records_that_no_slot_has_any_more_are_dropped_and_nothing_else() -> None:
    check_records_that_no_slot_has_any_more_are_dropped_and_nothing_else()


def test_it_would_be_seen_if_a_record_kept_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    forget = Odometer._forget_unused

    def stale(self: Odometer) -> None:
        numbers = self._number
        forget(self)
        self._number = numbers

    monkeypatch.setattr(Odometer, "_forget_unused", stale)
    with pytest.raises((AssertionError, IndexError)):
        check_records_that_no_slot_has_any_more_are_dropped_and_nothing_else()


@given(st.sets(st.integers(0, 60)))
def test_ranges_are_the_fewest_that_hold_the_slots(slots: set[int]) -> None:
    found = ranges(slots)
    assert [slot for first, after in found for slot in range(first, after)] == sorted(slots)
    assert all(one[1] < other[0] for one, other in pairwise(found))


@given(st.sets(st.integers(0, 40)))
def test_a_slot_is_found_in_ranges_as_in_a_set(slots: set[int]) -> None:
    assert {slot for slot in range(42) if within(slot, ranges(slots))} == slots


@pytest.mark.parametrize("bad", [[[3, 1]], [[-1, 2]], [[0, 5], [4, 6]], [[0, 2], [0, 2]]])
def test_ranges_that_are_none_are_refused(bad: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="ranges"):
        Odometer(8.0, DELTA).charge([ROUND], bad)


def test_it_is_the_sum_of_a_ledger(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.jsonl", SigningKey.create(tmp_path / "key")) as ledger:
        for first in (0, 5):
            ledger.append("debit", {"event": ROUND.to_body(), "slots": [[first, first + 10]]})
        ledger.append("erasure", {"slots": [[0, 1]]})
        odometer = Odometer.replay(ledger.entries, 8.0, DELTA)
    assert odometer.epsilon_of(0) == accountant.epsilon([ROUND], DELTA)
    assert odometer.epsilon_of(7) == accountant.epsilon([ROUND, ROUND], DELTA)
    assert odometer.epsilon_of(15) == 0.0


def _window(number: int, block: int = 100_000) -> list[list[int]]:
    """Round `number` of 1,000: 360 of 100,000 slots, a window that slides by 90, every tenth slot held out.

    None reaches into the next block of slots.
    """
    first = 100 * number
    return ranges(slot for slot in range(first, min(first + 400, first // block * block + block)) if slot % 10)


KINDS = [
    RoundEvent(rate, noise, 50)  # accountant.calibrate(rate, 50, 4, 8.0, DELTA)
    for rate, noise in [
        *[(0.02, 0.617), (0.045, 0.802), (0.07, 0.984), (0.095, 1.174), (0.12, 1.372), (0.145, 1.577)],
        *[(0.17, 1.786), (0.195, 1.999), (0.22, 2.215), (0.245, 2.433)],
    ]
]
"""Of a pool whose capacity changed: four of each make a lifetime."""

SCHEDULES = {
    "full batch, all different": lambda number: RoundEvent(1.0, ROUND.noise_multiplier + number, 100),
    "tickets, all equal": lambda number: TICKET,
    "sampled, all different": lambda number: RoundEvent(0.25, TICKET.noise_multiplier + number / 100, 100),
    "sampled and full batch": lambda number: (TICKET, ROUND)[number % 2],
    "tickets, ten kinds": lambda number: KINDS[number % 1000 // 100],
}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_question_over_a_thousand_rounds_and_100_000_slots_composes_next_to_nothing(
    schedule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What takes time is a composition of loss distributions (a second at most): `bench/noise.py` has the times."""
    composed: list[float] = []
    compose = accountant.loss_distribution_epsilon

    def counted(events: Sequence[RoundEvent], delta: float, interval: float) -> float:
        composed.append(interval)
        return compose(events, delta, interval)

    monkeypatch.setattr(accountant, "loss_distribution_epsilon", counted)
    odometer = Odometer(8.0, DELTA)
    for number in range(1000):
        odometer.charge([SCHEDULES[schedule](number)], _window(number, 10_000 if "kinds" in schedule else 100_000))
    event = SCHEDULES[schedule](999)
    for question in (
        odometer.worst,
        lambda: odometer.epsilon_of(50_001),
        lambda: odometer.would_exceed([event], [[0, 100_000]]),
        lambda: odometer.over([event], [[98_000, 100_000]]),
    ):
        accountant._epsilon.cache_clear()
        composed.clear()
        question()
        assert composed.count(accountant._INTERVAL) <= 2
        assert len(composed) <= 2 + (2 * len(KINDS) if "kinds" in schedule else 2)
    assert len(odometer._histories) < 5000


def test_a_ticket_is_dearer_only_with_rate_steps_and_noise_all_at_once() -> None:
    odometer = Odometer(8.0, DELTA)
    odometer.charge([RoundEvent(0.25, 3.388, 100)], [[0, 1]])
    odometer.charge([RoundEvent(0.2, 3.388, 200)], [[1, 2]])  # a lower rate, and dearer
    assert odometer.worst() == odometer.epsilon_of(1) > odometer.epsilon_of(0)
    odometer = Odometer(3.0, DELTA)
    odometer.charge([RoundEvent(0.25, 3.388, 100)], [[0, 1]])
    odometer.charge([RoundEvent(0.02, 3.388, 200)], [[1, 2]])  # more steps, and cheaper
    assert odometer.over([], [[0, 2]]) == [[0, 1]]


def check_the_dearest_of_many_kinds_is_found() -> None:
    """Against composing all of them, every kind but one having spent all but the same, in whatever order."""
    lifetimes = [replace(kind, steps=200) for kind in KINDS[3:]]
    for dearest in range(len(lifetimes)):
        odometer = Odometer(8.0, DELTA)
        for number, event in enumerate(lifetimes):
            noise = event.noise_multiplier - (0.001 if number == dearest else 0.0)
            odometer.charge([replace(event, noise_multiplier=noise)], [[number, number + 1]])
        truth = [odometer.epsilon_of(slot) for slot in range(len(lifetimes))]
        assert odometer.worst() == max(truth)
        assert odometer.worst_history() == odometer._histories[odometer._of_slot[truth.index(max(truth))]]
        assert odometer.over([], [[0, len(truth)]]) == ranges(n for n, spent in enumerate(truth) if spent > 8.0)


def test_the_dearest_of_many_kinds_is_found() -> None:
    check_the_dearest_of_many_kinds_is_found()


def test_it_would_be_seen_if_a_kind_was_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = odometer_module._undominated
    for kept in (slice(1, None), slice(None, -1), slice(None, None, 2)):
        monkeypatch.setattr(odometer_module, "_undominated", lambda tickets, kept=kept: whole(tickets)[kept])
        with pytest.raises(AssertionError):
            check_the_dearest_of_many_kinds_is_found()


def test_it_would_be_seen_if_a_bound_was_taken_for_the_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    bounds = filters.bounds
    for used in (1, 2):  # the Renyi bound alone ranks the kinds wrongly, and so may the coarsest grid
        monkeypatch.setattr(filters, "bounds", lambda *asked, used=used: islice(bounds(*asked), used))
        with pytest.raises(AssertionError):
            check_the_dearest_of_many_kinds_is_found()


def test_of_tickets_past_the_cap_the_dearer_ones_are_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    odometer = Odometer(6.0, DELTA)  # it was 8
    for number in range(30):
        odometer.charge([TICKET], [[0, number + 1]])
    computed: list[tuple[RoundEvent, ...]] = []
    passes = filters.passes
    monkeypatch.setattr(filters, "passes", lambda events, *rest: computed.append(events) or passes(events, *rest))
    over = odometer.over([TICKET], [[0, 40]])
    assert over == [[0, 29]], "two tickets fit under 6"
    assert [history[0].steps for history in computed] == [100, 200, 300]


def test_what_has_spent_most_is_found_among_all_rules() -> None:
    """Against computing every slot's figure."""
    draw = random.Random(1)
    kinds = [ROUND, RoundEvent(1.0, 70.0, 30), TICKET, RoundEvent(0.3, 6.0, 40), RoundEvent(0.1, 1.5, 10)]
    for _ in range(12):
        odometer = Odometer(8.0, DELTA)
        for _ in range(6):
            first = draw.randrange(8)
            odometer.charge([draw.choice(kinds)], [[first, first + draw.randint(1, 4)]])
        truth = max(range(12), key=odometer.epsilon_of)
        assert odometer.worst() == odometer.epsilon_of(truth)
        assert filters.spent(odometer.worst_history(), 8.0, DELTA) == odometer.worst()
        asked = draw.choice(kinds)
        slots = range(len(odometer._of_slot))
        after = {slot: [*odometer._histories[odometer._of_slot[slot]], asked] for slot in slots}
        over = ranges(slot for slot in slots if filters.spent(after[slot], 8.0, DELTA) > 8.0)
        assert odometer.over([asked], [[0, len(slots)]]) == over
