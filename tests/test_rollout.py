"""The roll-out's rules, over random sequences of acts and with rules taken out one by one."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import WrongOrder
from models.rollout import ON_ITS_WAY, Act, Event, Policy, Rollout, Stage
from models.verdict import ALWAYS_REQUIRED, GateReport, GateResult, Verdict


def report(candidate: str, current: str, attempt: int, verdict: Verdict = Verdict.PASS) -> GateReport:
    results = {gate: GateResult(verdict, "because", {"n": 1.0}) for gate in ALWAYS_REQUIRED}
    return GateReport(candidate, current, attempt, 0.05, ALWAYS_REQUIRED, results)


def started(policy: Policy = "direct") -> Rollout:
    machine = Rollout(policy)
    machine.install("released")
    return machine


def promoted(machine: Rollout, version: str, attempt: int) -> None:
    machine.offer(version)
    machine.judge(report(version, machine.live or "", attempt))
    machine.advance()


def test_direct() -> None:
    machine = started()
    promoted(machine, "a", 1)
    assert machine.stages == {"released": Stage.SUPERSEDED, "a": Stage.LIVE}


def test_stepped_leaves_shadow_and_canary_only_on_a_verdict() -> None:
    machine = started("stepped")
    promoted(machine, "a", 1)
    assert machine.stages["a"] is Stage.SHADOW
    with pytest.raises(WrongOrder, match="verdict"):
        machine.advance()
    machine.advance(Verdict.INCONCLUSIVE)
    assert machine.stages["a"] is Stage.SHADOW
    machine.advance(Verdict.PASS)
    machine.advance(Verdict.PASS, numbers={"gain": 0.1})
    assert machine.live == "a"


@pytest.mark.parametrize(("passes", "ends"), [(0, Stage.REJECTED), (1, Stage.ROLLED_BACK)])
def test_a_failed_step_ends_the_roll_out(passes: int, ends: Stage) -> None:
    machine = started("stepped")
    promoted(machine, "a", 1)
    for _ in range(passes):
        machine.advance(Verdict.PASS)
    machine.advance(Verdict.FAIL, "worse")
    assert machine.stages["a"] is ends
    assert machine.live == "released"


def test_roll_back_returns_to_the_version_before_and_never_comes_back() -> None:
    machine = started()
    promoted(machine, "a", 1)
    promoted(machine, "b", 2)
    machine.offer("c")
    machine.roll_back("it read badly")
    assert machine.stages == {
        "released": Stage.SUPERSEDED,
        "a": Stage.LIVE,
        "b": Stage.ROLLED_BACK,
        "c": Stage.REJECTED,
    }
    machine.roll_back()
    assert machine.live == "released"
    with pytest.raises(WrongOrder, match="the first"):
        machine.roll_back()
    with pytest.raises(WrongOrder):
        machine.offer("b")


WRONG: dict[str, Callable[[Rollout], object]] = {
    "install twice": lambda m: m.install("other"),
    "offer the live one": lambda m: m.offer("released"),
    "advance nothing": lambda m: m.advance(),
    "withdraw nothing": lambda m: m.withdraw(),
    "judge what was not offered": lambda m: m.judge(report("a", "released", 1)),
    "roll back the first": lambda m: m.roll_back(),
    "two on their way": lambda m: (m.offer("a"), m.offer("b")),
    "advance a candidate": lambda m: (m.offer("a"), m.advance()),
    "a report on another": lambda m: (m.offer("a"), m.judge(report("b", "released", 1))),
    "a report against another": lambda m: (m.offer("a"), m.judge(report("a", "elsewhere", 1))),
    "attempt zero": lambda m: (m.offer("a"), m.judge(report("a", "released", 0))),
    "the same attempt twice": lambda m: (
        m.offer("a"),
        m.judge(report("a", "released", 1, Verdict.INCONCLUSIVE)),
        m.judge(report("a", "released", 1)),
    ),
    "judge again what was rejected": lambda m: (
        m.offer("a"),
        m.judge(report("a", "released", 1, Verdict.FAIL)),
        m.judge(report("a", "released", 2)),
    ),
    "offer again what was rejected": lambda m: (
        m.offer("a"),
        m.judge(report("a", "released", 1, Verdict.FAIL)),
        m.offer("a"),
    ),
    "a verdict to leave staged": lambda m: (
        m.offer("a"),
        m.judge(report("a", "released", 1)),
        m.advance(Verdict.PASS),
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_order_is_refused(wrong: str) -> None:
    with pytest.raises(WrongOrder):
        WRONG[wrong](started())


def test_nothing_goes_before_the_install() -> None:
    for act in (lambda m: m.offer("a"), lambda m: m.roll_back(), lambda m: m.advance()):
        machine = Rollout()
        with pytest.raises(WrongOrder):
            act(machine)
        assert machine.events == ()


# Random sequences

VERSIONS = ("a", "b", "c")
Move = tuple[Any, ...]
moves = st.lists(
    st.one_of(
        st.tuples(st.just("offer"), st.sampled_from(VERSIONS)),
        st.tuples(
            st.just("judge"),
            st.sampled_from((*VERSIONS, None)),
            st.sampled_from((*VERSIONS, None, None, None)),
            st.integers(-1, 1),
            st.sampled_from(tuple(Verdict)),
        ),
        st.tuples(st.just("advance"), st.sampled_from((None, None, *Verdict))),
        st.tuples(st.sampled_from(("withdraw", "roll_back", "install"))),
    ),
    max_size=40,
)


def play(machine: Rollout, sequence: Sequence[Move]) -> None:
    """Plays the moves, ignores refusals, and checks after each what must always hold."""
    attempt = 0
    vouched: set[str] = set()
    served: list[str] = []
    for name, *given_values in [("install",), *sequence]:
        before, live = machine.stages, machine.live
        try:
            if name == "judge":
                candidate, current, step, verdict = given_values
                made = report(candidate or machine.on_its_way or "a", current or live or "", attempt + step, verdict)
                machine.judge(made)
                assert made.current == live
                assert made.attempt > attempt, "a try was tested at an earlier try's alpha"
                attempt = made.attempt
                if verdict is Verdict.PASS:
                    vouched.add(made.candidate)
            else:
                getattr(machine, name)(*(given_values or (["released"] if name == "install" else [])))
        except WrongOrder:
            assert machine.stages == before, "a refusal changed something"
            continue
        stages = machine.stages
        assert [v for v, s in stages.items() if s is Stage.LIVE] == [machine.live]
        assert len([v for v, s in stages.items() if s in ON_ITS_WAY]) <= 1
        assert machine.live == "released" or machine.live in vouched, "live without a passed report"
        ended = {v for v, s in before.items() if s in (Stage.REJECTED, Stage.ROLLED_BACK)}
        assert all(stages[v] is before[v] for v in ended), "a version came back"
        if name == "roll_back":
            served.pop()
            assert machine.live == served[-1], "roll-back led elsewhere than to the previous live version"
            assert machine.on_its_way is None
        elif machine.live != live and machine.live is not None:
            served.append(machine.live)


@given(moves, st.sampled_from(("direct", "stepped")))
@settings(max_examples=150)
def test_the_rules_hold_over_random_sequences(sequence: list[Move], policy: Policy) -> None:
    machine = Rollout(policy)
    play(machine, sequence)
    events = [Event.restore(json.loads(json.dumps(asdict(event)))) for event in machine.events]
    again = Rollout.replay(policy, events)
    assert (again.stages, again.live, again.events) == (machine.stages, machine.live, machine.events)


class StagesAnything(Rollout):
    def _check_judge(self, event: Event) -> None:
        """Mutant: the report is not looked at."""


class ForgetsAttempts(Rollout):
    def _take(self, event: Event) -> None:
        super()._take(event)
        self._attempt = -1


class LosesItsWayBack(Rollout):
    def _take(self, event: Event) -> None:
        super()._take(event)
        if event.act is Act.ROLL_BACK:
            self._stages[self._served[-1]] = Stage.SUPERSEDED
            self._served[-1] = "released"
            self._stages["released"] = Stage.LIVE


class KeepsBothLive(Rollout):
    def _take(self, event: Event) -> None:
        superseded = self.live
        super()._take(event)
        if event.act is Act.ADVANCE and event.after is Stage.LIVE and superseded is not None:
            self._stages[superseded] = Stage.LIVE


class SkipsTheGates(Rollout):
    def _step(self, before: Stage, verdict: Verdict | None) -> Stage:
        return Stage.LIVE


STORY: tuple[Move, ...] = (
    ("offer", "a"),
    ("advance", None),
    ("judge", None, None, 1, Verdict.PASS),
    ("advance", None),
    ("offer", "b"),
    ("judge", "a", None, 1, Verdict.PASS),
    ("judge", None, None, 0, Verdict.PASS),
    ("judge", None, None, 1, Verdict.PASS),
    ("advance", None),
    ("offer", "c"),
    ("roll_back",),
)


@pytest.mark.parametrize("mutant", [StagesAnything, ForgetsAttempts, LosesItsWayBack, KeepsBothLive, SkipsTheGates])
def test_a_missing_rule_is_seen(mutant: type[Rollout]) -> None:
    play(Rollout("direct"), STORY)
    with pytest.raises(AssertionError):
        play(mutant("direct"), STORY)


def test_events_that_were_tampered_with_do_not_replay() -> None:
    machine = started()
    promoted(machine, "a", 1)
    promoted(machine, "b", 2)
    events = list(machine.events)
    for missing in range(len(events)):
        if missing != len(events) - 1:
            with pytest.raises(WrongOrder):
                Rollout.replay("direct", events[:missing] + events[missing + 1 :])
    verdict = next(i for i, event in enumerate(events) if event.act is Act.JUDGE)
    events[verdict] = replace(events[verdict], verdict=Verdict.FAIL)
    with pytest.raises(WrongOrder):
        Rollout.replay("direct", events)
