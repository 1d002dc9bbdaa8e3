"""The gates' answers: pass, fail or inconclusive, with reasons; and all of them about one candidate."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

EXPORT_RAPIDOCR = "export-rapidocr"
EXPORT_PADDLE = "export-paddle"
ANCHOR = "anchor"
LATENCY = "latency"
HOLDOUT = "holdout"
PRIVACY = "privacy"
GATES = (EXPORT_RAPIDOCR, EXPORT_PADDLE, ANCHOR, LATENCY, HOLDOUT, PRIVACY)
ALWAYS_REQUIRED = frozenset({EXPORT_RAPIDOCR, ANCHOR, PRIVACY})


class Verdict(StrEnum):
    """The answer of a gate, and of all of them together."""

    PASS = "pass"  # noqa: S105 (not a password)
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class GateResult:
    """One gate's answer, why in plain words, and the numbers behind it."""

    verdict: Verdict
    reason: str
    numbers: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class GateReport:
    """All answers about one candidate, compared with the model that was in service then."""

    candidate: str
    current: str
    attempt: int
    alpha: float
    required: frozenset[str]
    results: dict[str, GateResult]

    def __post_init__(self) -> None:
        if not ALWAYS_REQUIRED <= self.required <= self.results.keys():
            raise ValueError(f"Expected results of {sorted(self.required)}, got {sorted(self.results)}.")

    @property
    def verdict(self) -> Verdict:
        """Fail if any gate failed, pass if every required one passed, else inconclusive."""
        if any(result.verdict is Verdict.FAIL for result in self.results.values()):
            return Verdict.FAIL
        passed = all(self.results[gate].verdict is Verdict.PASS for gate in self.required)
        return Verdict.PASS if passed else Verdict.INCONCLUSIVE

    @property
    def promote(self) -> bool:
        return self.verdict is Verdict.PASS

    @property
    def reason(self) -> str:
        """What stands in the way, or that nothing does."""
        if self.promote:
            return "every required gate passed"
        blocking = {
            name: result
            for name, result in self.results.items()
            if result.verdict is Verdict.FAIL or (name in self.required and result.verdict is not Verdict.PASS)
        }
        return "; ".join(f"{name} {result.verdict}: {result.reason}" for name, result in blocking.items())

    def outcomes(self) -> dict[str, str]:
        """The verdict of each gate."""
        return {name: str(result.verdict) for name, result in self.results.items()}

    def as_dict(self) -> dict[str, object]:
        """For JSON. A gate's line is its verdict, a colon, and the reason."""
        return {
            "candidate": self.candidate,
            "current": self.current,
            "attempt": self.attempt,
            "alpha": self.alpha,
            "verdict": str(self.verdict),
            "required": sorted(self.required),
            "gates": {name: f"{result.verdict}: {result.reason}" for name, result in self.results.items()},
            "numbers": {name: result.numbers for name, result in self.results.items()},
        }
