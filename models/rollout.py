"""Where each version of the model stands: the state machine of a roll-out. No file, clock or model here.

    candidate -> staged -> shadow -> canary -> live -> superseded | rolled_back
    and from each stage before live -> rejected; from canary, which has served somebody, -> rolled_back

The rules that Rollout keeps; breaking one raises WrongOrder and changes nothing:
 * The released model goes live by `install`, once, before anything else, and needs no report.
 * A version is offered once. What was rejected or rolled back never comes back.
 * One version at a time is on its way (candidate, staged, shadow or canary).
 * From candidate, only a GateReport leads on. It names the candidate, compares it with the version that is live
   now, and has a higher attempt number than every report before it, so that no try is tested at more than its
   share of alpha (models/gates.py). Pass leads to staged, fail to rejected; inconclusive changes nothing: the
   candidate waits for a report with more evidence, or is withdrawn.
 * Under the policy "direct", staged goes live at once. Under "stepped" it goes through shadow, where it reads
   along and serves nobody, and canary, where it serves some; each is left only on a verdict: pass leads on, fail
   ends it, inconclusive pauses.
 * At most one version is live. Going live supersedes the version that was.
 * Roll-back ends the live version and returns to the one it superseded. Whatever is on its way ends with it,
   since it was compared with a model that is no longer live.

What happened is a list of events, and the events alone restore the machine: `Rollout.replay`. Their numbers are
public: gate figures from public documents, or noisy figures that were charged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from models.errors import WrongOrder
from models.verdict import GateReport, Verdict

Policy = Literal["direct", "stepped"]


class Stage(StrEnum):
    """Where a version stands."""

    CANDIDATE = "candidate"
    STAGED = "staged"
    SHADOW = "shadow"
    CANARY = "canary"
    LIVE = "live"
    SUPERSEDED = "superseded"
    ROLLED_BACK = "rolled_back"
    REJECTED = "rejected"


class Act(StrEnum):
    """What was done."""

    INSTALL = "install"
    OFFER = "offer"
    JUDGE = "judge"
    ADVANCE = "advance"
    WITHDRAW = "withdraw"
    ROLL_BACK = "roll_back"


ON_ITS_WAY = frozenset({Stage.CANDIDATE, Stage.STAGED, Stage.SHADOW, Stage.CANARY})
_NEXT: Mapping[Policy, Mapping[Stage, Stage]] = {
    "direct": {Stage.STAGED: Stage.LIVE},
    "stepped": {Stage.STAGED: Stage.SHADOW, Stage.SHADOW: Stage.CANARY, Stage.CANARY: Stage.LIVE},
}
_JUDGED = {
    Verdict.PASS: Stage.STAGED,
    Verdict.FAIL: Stage.REJECTED,
    Verdict.INCONCLUSIVE: Stage.CANDIDATE,
}


@dataclass(frozen=True)
class Event:
    """One act upon one version: where it stood before, where it stands now, and why."""

    act: Act
    version: str
    before: Stage | None
    after: Stage
    verdict: Verdict | None = None
    attempt: int | None = None
    reason: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)
    failed: tuple[str, ...] = ()
    """Of a judgement, the gates that said no."""

    @classmethod
    def restore(cls, fields: Mapping[str, Any]) -> Event:
        """The event of `asdict(event)`, after a way through JSON."""
        return cls(
            **{
                **fields,
                "act": Act(fields["act"]),
                "before": None if fields["before"] is None else Stage(fields["before"]),
                "after": Stage(fields["after"]),
                "failed": tuple(fields.get("failed", ())),
                "verdict": None if fields["verdict"] is None else Verdict(fields["verdict"]),
            }
        )


class Rollout:
    """The stages of all versions, under one policy."""

    def __init__(self, policy: Policy = "direct") -> None:
        self._policy: Policy = policy
        self._stages: dict[str, Stage] = {}
        self._served: list[str] = []
        """The live version last, each before it superseded by the next; what was rolled back is gone."""
        self._attempt = 0
        self._events: list[Event] = []

    @classmethod
    def replay(cls, policy: Policy, events: Iterable[Event]) -> Rollout:
        """The machine after these events.

        Raises:
            WrongOrder: they did not come from a machine that keeps the rules.
        """
        machine = cls(policy)
        for event in events:
            machine._apply(event)
        return machine

    @property
    def live(self) -> str | None:
        """The version in service."""
        return self._served[-1] if self._served else None

    @property
    def on_its_way(self) -> str | None:
        """The version between candidate and canary, if there is one."""
        return next((version for version, stage in self._stages.items() if stage in ON_ITS_WAY), None)

    @property
    def stages(self) -> dict[str, Stage]:
        """Where each version stands."""
        return dict(self._stages)

    @property
    def events(self) -> tuple[Event, ...]:
        """Everything that happened, oldest first."""
        return tuple(self._events)

    def install(self, version: str) -> Event:
        """Puts the released model into service."""
        return self._apply(Event(Act.INSTALL, version, None, Stage.LIVE))

    def offer(self, version: str) -> Event:
        """A new candidate."""
        return self._apply(Event(Act.OFFER, version, None, Stage.CANDIDATE))

    def judge(self, report: GateReport) -> Event:
        """Takes the gates' answer to the candidate."""
        if report.current != self.live:
            raise WrongOrder(f"Expected a report against the live version {self.live}, got {report.current}.")
        numbers = {f"{gate}.{k}": v for gate, r in report.results.items() for k, v in r.numbers.items()}
        return self._apply(
            Event(
                Act.JUDGE,
                report.candidate,
                self._stages.get(report.candidate),
                _JUDGED[report.verdict],
                verdict=report.verdict,
                attempt=report.attempt,
                reason=report.reason,
                numbers=numbers,
                failed=tuple(gate for gate, result in report.results.items() if result.verdict is Verdict.FAIL),
            )
        )

    def advance(
        self, verdict: Verdict | None = None, reason: str = "", numbers: Mapping[str, float] | None = None
    ) -> Event:
        """The version on its way takes its next step; out of shadow and canary only on a verdict."""
        version, before = self._moving()
        after = self._step(before, verdict)
        return self._apply(Event(Act.ADVANCE, version, before, after, verdict, None, reason, numbers or {}))

    def withdraw(self, reason: str = "") -> Event:
        """Gives up the version on its way: the operator's word, or a newer candidate's turn."""
        version, before = self._moving()
        return self._apply(Event(Act.WITHDRAW, version, before, _given_up(before), reason=reason))

    def roll_back(self, reason: str = "") -> Event:
        """Ends the live version; the one it superseded is live again."""
        if self.live is None:
            raise WrongOrder("Expected a live version to roll back, there is none.")
        event = Event(Act.ROLL_BACK, self.live, Stage.LIVE, Stage.ROLLED_BACK, reason=reason)
        return self._apply(event)

    def _moving(self) -> tuple[str, Stage]:
        version = self.on_its_way
        if version is None:
            raise WrongOrder("Expected a version on its way, there is none.")
        return version, self._stages[version]

    def _step(self, before: Stage, verdict: Verdict | None) -> Stage:
        """Where a step from `before` leads."""
        steps = _NEXT[self._policy]
        if before not in steps:
            raise WrongOrder(f"Expected a staged version to advance, this one is {before} ({self._policy}).")
        needs_verdict = before is not Stage.STAGED
        if needs_verdict != (verdict is not None):
            wanted = "a verdict" if needs_verdict else "no verdict"
            raise WrongOrder(f"Expected {wanted} to leave {before}, got {verdict}.")
        if verdict is Verdict.INCONCLUSIVE:
            return before
        if verdict is Verdict.FAIL:
            return _given_up(before)
        return steps[before]

    def _apply(self, event: Event) -> Event:
        """Checks the event against every rule, then takes it. Nothing changes if a rule is broken."""
        if event.before is not self._stages.get(event.version):
            stands = self._stages.get(event.version)
            raise WrongOrder(f"Expected {event.version} to be {event.before}, it is {stands}.")
        check = {
            Act.INSTALL: self._check_install,
            Act.OFFER: self._check_offer,
            Act.JUDGE: self._check_judge,
            Act.ADVANCE: self._check_advance,
            Act.WITHDRAW: self._check_withdraw,
            Act.ROLL_BACK: self._check_roll_back,
        }[event.act]
        check(event)
        self._take(event)
        return event

    def _check_install(self, event: Event) -> None:
        if self._stages or event.after is not Stage.LIVE:
            raise WrongOrder(f"Expected nothing before an install, there are {len(self._stages)} versions.")

    def _check_offer(self, event: Event) -> None:
        if self.live is None or event.before is not None or event.after is not Stage.CANDIDATE:
            raise WrongOrder(f"Expected a live version and a new one to offer, {event.version} is {event.before}.")
        if self.on_its_way is not None:
            raise WrongOrder(f"Expected nothing on its way, {self.on_its_way} is.")

    def _check_judge(self, event: Event) -> None:
        if event.before is not Stage.CANDIDATE:
            raise WrongOrder(f"Expected a report on a candidate, {event.version} is {event.before}.")
        if event.attempt is None or event.attempt <= self._attempt:
            raise WrongOrder(f"Expected attempt={event.attempt} > {self._attempt}: each look is a try.")
        if event.verdict is None or event.after is not _JUDGED[event.verdict]:
            raise WrongOrder(f"Expected a verdict that leads to {event.after}, got {event.verdict}.")

    def _check_advance(self, event: Event) -> None:
        if event.before is None or event.after is not self._step(event.before, event.verdict):
            raise WrongOrder(f"Expected another step from {event.before}, got {event.after}.")

    def _check_withdraw(self, event: Event) -> None:
        if event.before not in ON_ITS_WAY or event.after is not _given_up(event.before):
            raise WrongOrder(f"Expected a version on its way to withdraw, {event.version} is {event.before}.")

    def _check_roll_back(self, event: Event) -> None:
        if event.version != self.live or event.after is not Stage.ROLLED_BACK:
            raise WrongOrder(f"Expected to roll back the live version {self.live}, got {event.version}.")
        if len(self._served) < 2:
            raise WrongOrder(f"Expected a version before {event.version}, it is the first.")

    def _take(self, event: Event) -> None:
        self._stages[event.version] = event.after
        if event.act is Act.JUDGE:
            self._attempt = event.attempt or self._attempt
        if event.after is Stage.LIVE:
            if self.live is not None:
                self._stages[self.live] = Stage.SUPERSEDED
            self._served.append(event.version)
        if event.act is Act.ROLL_BACK:
            self._served.pop()
            self._stages[self._served[-1]] = Stage.LIVE
            if self.on_its_way is not None:
                self._stages[self.on_its_way] = _given_up(self._stages[self.on_its_way])
        self._events.append(event)


def _given_up(before: Stage) -> Stage:
    """Where a version ends that does not get further: only a canary has served anybody."""
    return Stage.ROLLED_BACK if before is Stage.CANARY else Stage.REJECTED
