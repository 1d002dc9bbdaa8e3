"""Filters: the right rule for a history, no rule cheaper than what it bounds, and none fooled by a change of rule."""

from __future__ import annotations

import inspect
import math
import random
from typing import Any

import pytest
from scipy import integrate, stats

from privacy import accountant, filters
from privacy.accountant import RoundEvent

CAP, DELTA = 8.0, 1e-6
FULL = [RoundEvent(1.0, 26.0, 100), RoundEvent(1.0, 40.0, 7)]
TICKET = RoundEvent(0.25, 3.4, 100)
OTHER = RoundEvent(0.25, 3.6, 100)


def spent(*events: RoundEvent) -> float:
    return filters.spent(events, CAP, DELTA)


def test_each_history_has_its_rule() -> None:
    assert spent() == 0.0
    assert spent(*FULL) == accountant.epsilon(FULL, DELTA)
    assert spent(TICKET, TICKET) == accountant.epsilon([TICKET] * 2, DELTA)
    for mixed in ([TICKET, OTHER], [TICKET, FULL[0]], [TICKET, OTHER, *FULL]):
        assert spent(*mixed) == filters.renyi_epsilon(accountant.merged(mixed), CAP, (1 - accountant.KEPT) * DELTA)


@pytest.mark.parametrize("events", [[TICKET, OTHER], [TICKET] * 3 + [OTHER], [TICKET, *FULL], [OTHER, TICKET] * 2])
def test_a_mixed_history_is_not_composed_by_loss_distributions(events: list[RoundEvent]) -> None:
    """They give less, which holds only for a schedule fixed in advance: that figure is the mutant."""
    assert spent(*events) > accountant.epsilon(events, DELTA) + 0.5


@pytest.mark.parametrize("order", [2, 5, 30])
@pytest.mark.parametrize(("rate", "noise"), [(1.0, 3.0), (0.25, 3.4), (0.05, 0.9), (0.6, 1.3)])
def test_the_divergence_is_its_definition(order: int, rate: float, noise: float) -> None:
    """ln(E_Q (P / Q)^a) / (a - 1), the larger both ways round; Q = N(0, s^2), P = (1 - q) Q + q N(1, s^2)."""

    def integrand(x: float, sign: int) -> float:
        log_ratio = math.log1p(rate * math.expm1((x - 0.5) / noise**2)) if rate < 1 else (x - 0.5) / noise**2
        power = order * log_ratio if sign > 0 else (1 - order) * log_ratio
        return math.exp(stats.norm.logpdf(x, 0, noise) + power)

    edges = [-60.0 - noise, -5.0, 0.0, 5.0, order, 2 * order, 60.0 + 3 * order]
    log_moments = [
        math.log(sum(integrate.quad(integrand, *edges[k : k + 2], (sign,), limit=400)[0] for k in range(6)))
        for sign in (1, -1)
    ]
    assert filters._divergence(rate, noise, order) == pytest.approx(max(log_moments) / (order - 1), rel=1e-6)


def test_the_order_is_chosen_from_the_cap_and_delta_alone() -> None:
    assert list(inspect.signature(filters.order).parameters) == ["cap", "delta"]
    for cap, delta, least in ((0.5, 1e-9, 50), (1.0, 1e-9, 20), (8.0, 1e-9, 4), (20.0, 1e-9, 2)):
        assert least <= filters.order(cap, delta) < 2 * least


def check_every_history_is_held_to_the_same_order() -> None:
    """A life far below the cap would be cheaper by an order of its own, which then depends on outputs."""
    at = filters.order(CAP, DELTA)
    for steps in (1, 10, 100):
        events = (RoundEvent(0.25, 9.0, steps), RoundEvent(1.0, 200.0, steps))
        divergence = steps * sum(filters._divergence(e.sample_rate, e.noise_multiplier, at) for e in events)
        expected = divergence + math.log1p(-1 / at) - math.log(DELTA * at) / (at - 1)
        assert filters.renyi_epsilon(events, CAP, DELTA) == pytest.approx(expected, abs=1e-6)


def test_every_history_is_held_to_the_same_order() -> None:
    check_every_history_is_held_to_the_same_order()


def test_it_would_be_seen_if_a_history_chose_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    at_one = filters.renyi_epsilon

    def cheapest(*asked: Any) -> float:
        found = []
        for order in (5, 10, 30, 100):
            monkeypatch.setattr(filters, "order", lambda cap, delta, order=order: order)
            found.append(at_one(*asked))
        return min(found)

    monkeypatch.setattr(filters, "renyi_epsilon", cheapest)
    with pytest.raises(AssertionError):
        check_every_history_is_held_to_the_same_order()


@pytest.mark.parametrize("cap", [1.0, 3.0, 8.0, 20.0])
@pytest.mark.parametrize("rate", [1.0, 0.1])
def test_what_the_renyi_filter_costs_at_the_cap(cap: float, rate: float) -> None:
    """5 to 18% more noise at the same delta, 21 to 37% with a thousandth of it."""
    noise = accountant.calibrate(rate, 100, 1, cap, DELTA)

    def fits(factor: float, share: float) -> bool:
        return filters.renyi_epsilon((RoundEvent(rate, factor * noise, 100),), cap, share * DELTA) <= cap

    assert fits(1.18, 1.0)
    assert not fits(1.04, 1.0)
    assert fits(1.38, 1e-3)
    assert not fits(1.21, 1e-3)


def test_deltas_of_the_rules_add_up() -> None:
    """A life that stays with its rule and one that leaves it have their shares of delta."""
    share = (1 - accountant.KEPT) * DELTA
    assert accountant.KEPT * DELTA * (1 - 1e-9) + share * (1 - 1e-9) < DELTA * (1 - 5e-10)
    order = filters.order(CAP, share)
    divergence = 100 * sum(filters._divergence(e.sample_rate, e.noise_multiplier, order) for e in (TICKET, OTHER))
    expected = divergence + math.log1p(-1 / order) - math.log(share * order) / (order - 1)
    assert spent(TICKET, OTHER) == pytest.approx(expected, abs=1e-8)


def test_a_history_never_gets_cheaper_by_an_event() -> None:
    draw = random.Random(3)
    kinds = [TICKET, OTHER, *FULL, RoundEvent(1.0, 80.0, 1)]
    for _ in range(30):
        history: list[RoundEvent] = []
        figures = [0.0]
        for _ in range(5):
            history.append(draw.choice(kinds))
            figures.append(spent(*history))
        assert figures == sorted(figures), history


def test_passing_the_cap_is_to_have_spent_more(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(4)
    for _ in range(40):
        history = [draw.choice([TICKET, TICKET, OTHER, FULL[0]]) for _ in range(draw.randint(1, 6))]
        assert filters.passes(history, CAP, DELTA) == (spent(*history) > CAP), history
    for history in ([TICKET] * 4, [OTHER] * 4, [TICKET, OTHER], FULL):
        bounds = list(filters.bounds(history, CAP, DELTA))
        assert min(bounds) == bounds[-1] == spent(*history)
    monkeypatch.setattr(accountant, "epsilon", lambda *_: pytest.fail("loss distributions were composed"))
    assert not filters.passes([TICKET], CAP, DELTA), "the bound is enough"
    assert filters.passes([TICKET, OTHER] * 9, CAP, DELTA)
