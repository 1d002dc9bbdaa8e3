"""What a candidate must show before it may serve: evidence in, verdicts out. No file, clock or model here.

Every gate answers pass, fail or *inconclusive*: too little evidence, or evidence that decides neither way.
Only "every required gate passed, and none failed" promotes; missing evidence is inconclusive, so it never
does.

A rule that is applied again and again lets a bad candidate through by luck. So alpha is spent over the
system's life: try k is tested at alpha_k = alpha * 6 / (pi^2 k^2). These add up to alpha (Euler: the sum of
1/k^2 is pi^2/6), so by the union bound the chance that *any* candidate, ever, is promoted although it is
worse than a margin allows is at most alpha ("Alpha-Spending" in Tian & Ramdas, arXiv 1910.04900; why tests of
models need it: ease.ml/ci, arXiv 1903.00278). Two conditions are the caller's:
 * every look counts as a try, those that ended "inconclusive" included;
 * each try's anchor documents are drawn afresh. Candidates depend on earlier verdicts; on documents used
   before, the bound would have to cover every path of verdicts.
Several gates that all must pass need no further division of alpha (intersection-union test, Berger 1982).

Nothing private is read here but the hold-out gain, a clipped mean with noise charged to its documents.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TypeVar

import numpy as np

from models.bounds import Bound, binomial_tail, ratio_of_sums
from models.evidence import AnchorDocument, Evidence, Holdout, Latency, Parity, Privacy
from models.verdict import (
    ALWAYS_REQUIRED,
    ANCHOR,
    EXPORT_PADDLE,
    EXPORT_RAPIDOCR,
    GATES,
    HOLDOUT,
    LATENCY,
    PRIVACY,
    GateReport,
    GateResult,
    Verdict,
)

__all__ = [
    "AnchorDocument",
    "Evidence",
    "GateReport",
    "Holdout",
    "Latency",
    "Limits",
    "Parity",
    "Privacy",
    "Verdict",
    "alpha_at",
    "judge",
]

E = TypeVar("E")


@dataclass(frozen=True)
class Limits:
    """What is asked for: public numbers, chosen before the evidence is there.

    Attributes:
        required: gates that must pass. `ALWAYS_REQUIRED` can't be left out.
        alpha: chance of ever promoting a worse candidate, over the system's life, for each gate that tests.
        parity_lines: lines an export must have been read on.
        probability_difference: how far the exported model's class probabilities may be off; rounding to float32
            moves those of a hard line by up to 1e-3 (bench/parity.py), a wrong weight by far more.
        anchor_documents: documents the anchor must have.
        cer_margin, exact_margin: how much worse CER and the share of exact lines may be, absolute.
        latency_ratio: candidate's seconds over the current model's.
        latency_repeats: interleaved pairs that must have been timed.
        holdout_tolerance: how far below nothing the mean gain on the hold-out may be.
    """

    required: frozenset[str] = frozenset(GATES)
    alpha: float = 0.05
    parity_lines: int = 100
    probability_difference: float = 2e-3
    anchor_documents: int = 20
    cer_margin: float = 0.005
    exact_margin: float = 0.02
    latency_ratio: float = 1.1
    latency_repeats: int = 20
    holdout_tolerance: float = 0.02

    def __post_init__(self) -> None:
        if not ALWAYS_REQUIRED <= self.required <= set(GATES):
            raise ValueError(f"Expected required to hold {sorted(ALWAYS_REQUIRED)}, out of {GATES}.")
        if not 0 < self.alpha < 0.5:
            raise ValueError(f"Expected 0 < alpha={self.alpha} < 0.5.")
        for name in ("parity_lines", "latency_repeats"):
            if getattr(self, name) < 1:
                raise ValueError(f"Expected {name}={getattr(self, name)} >= 1.")
        if self.anchor_documents < 2:
            raise ValueError(f"Expected anchor_documents={self.anchor_documents} >= 2.")
        for name in (
            "probability_difference",
            "cer_margin",
            "exact_margin",
            "latency_ratio",
            "holdout_tolerance",
        ):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"Expected {name}={getattr(self, name)} >= 0 and finite.")


def alpha_at(attempt: int, alpha: float) -> float:
    """What try number `attempt` (from 1) may spend of a lifetime's `alpha`: alpha * 6 / (pi^2 k^2)."""
    if attempt < 1:
        raise ValueError(f"Expected attempt={attempt} >= 1.")
    return alpha * 6 / (math.pi * attempt) ** 2


def judge(evidence: Evidence, limits: Limits, rng: np.random.Generator) -> GateReport:
    """Every gate's answer. The same evidence and generator state give the same report."""
    alpha = alpha_at(evidence.attempt, limits.alpha)
    results = {
        EXPORT_RAPIDOCR: _answer(evidence.rapidocr, lambda e: judge_parity(e, limits, probabilities=True)),
        EXPORT_PADDLE: _answer(evidence.paddle, lambda e: judge_parity(e, limits, probabilities=False)),
        ANCHOR: _answer(evidence.anchor, lambda e: judge_anchor(e, limits, alpha, rng)),
        LATENCY: _answer(evidence.latency, lambda e: judge_latency(e, limits, alpha)),
        HOLDOUT: _answer(evidence.holdout, lambda e: judge_holdout(e, limits, alpha)),
        PRIVACY: _answer(evidence.privacy, judge_privacy),
    }
    return GateReport(evidence.candidate, evidence.current, evidence.attempt, alpha, limits.required, results)


def _answer(evidence: E | None, gate: Callable[[E], GateResult]) -> GateResult:
    return GateResult(Verdict.INCONCLUSIVE, "no evidence was given") if evidence is None else gate(evidence)


def judge_parity(evidence: Parity, limits: Limits, *, probabilities: bool) -> GateResult:
    """Every line must read the same; where `probabilities` were compared, they must agree."""
    lines, difference = evidence.lines, evidence.max_difference
    numbers = {"lines": float(lines), "identical": float(evidence.identical)}
    reason = f"{evidence.identical} of {lines} lines read the same"
    if difference is not None:
        numbers["max_difference"] = difference
        reason += f", probabilities off by at most {difference:.1e} (allowed {limits.probability_difference:.1e})"
    if evidence.identical < lines or (difference is not None and not difference <= limits.probability_difference):
        return GateResult(Verdict.FAIL, reason, numbers)
    if lines < limits.parity_lines:
        return GateResult(Verdict.INCONCLUSIVE, f"{reason}; {limits.parity_lines} lines are needed", numbers)
    if probabilities and difference is None:
        return GateResult(Verdict.INCONCLUSIVE, f"{reason}; probabilities were not compared", numbers)
    return GateResult(Verdict.PASS, reason, numbers)


def judge_anchor(
    evidence: Sequence[AnchorDocument], limits: Limits, alpha: float, rng: np.random.Generator
) -> GateResult:
    """Non-inferiority on public documents: CER and the share of exact lines, each bounded at alpha."""
    if len(evidence) < limits.anchor_documents:
        reason = f"{len(evidence)} documents, {limits.anchor_documents} are needed"
        return GateResult(Verdict.INCONCLUSIVE, reason, {"documents": float(len(evidence))})
    cer = ratio_of_sums(
        [d.edits_candidate - d.edits_current for d in evidence], [d.characters for d in evidence], alpha, rng
    )
    exact = ratio_of_sums(
        [d.exact_current - d.exact_candidate for d in evidence], [d.lines for d in evidence], alpha, rng
    )
    gained, least = 0.0 - exact.value, 0.0 - exact.high
    verdicts = (_non_inferior(cer, limits.cer_margin), _non_inferior(exact, limits.exact_margin))
    reason = (
        f"on {len(evidence)} public documents, in points, level {1 - alpha:.4f}: CER {100 * cer.value:+.2f}, "
        f"at most {100 * cer.high:+.2f} (allowed {100 * limits.cer_margin:+.2f}); exact lines "
        f"{100 * gained:+.2f}, at least {100 * least:+.2f} "
        f"(allowed {-100 * limits.exact_margin:+.2f})"
    )
    numbers = {"documents": float(len(evidence)), "cer": cer.value, "cer_high": cer.high}
    numbers |= {"exact": gained, "exact_low": least}
    for verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE):
        if verdict in verdicts:
            return GateResult(verdict, reason, numbers)
    return GateResult(Verdict.PASS, reason, numbers)


def judge_latency(evidence: Latency, limits: Limits, alpha: float) -> GateResult:
    """Sign test on the median ratio of neighbouring times: exact; a slow moment of the machine is one pair.

    If the median ratio were above the limit, each pair would be below it with probability <= 1/2.
    """
    pairs = len(evidence.current)
    ratios = [new / old for new, old in zip(evidence.candidate, evidence.current, strict=True)]
    if pairs < limits.latency_repeats:
        reason = f"{pairs} pairs were timed, {limits.latency_repeats} are needed"
        return GateResult(Verdict.INCONCLUSIVE, reason, {"pairs": float(pairs)})
    within = sum(ratio <= limits.latency_ratio for ratio in ratios)
    median = float(np.median(ratios))
    limit = f"{limits.latency_ratio:g}"
    reason = f"median time {median:.3f} of the current model's; {within} of {pairs} pairs within {limit}"
    verdict = Verdict.INCONCLUSIVE
    if binomial_tail(pairs, within) <= alpha:
        verdict = Verdict.PASS
    elif binomial_tail(pairs, pairs - within) <= alpha:
        verdict = Verdict.FAIL
    numbers = {"ratio": median, "pairs": float(pairs), "within": float(within)}
    return GateResult(verdict, reason, numbers)


def judge_holdout(evidence: Holdout, limits: Limits, alpha: float) -> GateResult:
    """The mean gain on the hold-out, known up to the noise added: its lower bound must reach -tolerance.

    The noise is Gaussian, so the bound is exact for the mean over *these* slots; it says nothing of documents
    to come. A look that was not charged, or not noised, fails: it must not decide anything.
    """
    numbers = {"gain": evidence.gain, "noise_std": evidence.noise_std, "slots": float(evidence.slots)}
    if not evidence.charged or not evidence.noise_std > 0:
        return GateResult(Verdict.FAIL, "the look at the hold-out was not charged, or carries no noise", numbers)
    if not math.isfinite(evidence.gain) or not math.isfinite(evidence.noise_std):
        return GateResult(Verdict.FAIL, "the gain on the hold-out is not a number", numbers)
    if evidence.slots < 1:
        return GateResult(Verdict.INCONCLUSIVE, "there is no hold-out slot", numbers)
    half = _half_width(alpha, evidence.noise_std)
    low, high = evidence.gain - half, evidence.gain + half
    reason = (
        f"mean gain {evidence.gain:+.4f} over {evidence.slots} slots, noise of std {evidence.noise_std:.4f}: "
        f"at least {low:+.4f} at level {1 - alpha:.4f} (allowed {-limits.holdout_tolerance:+.4f})"
    )
    if low >= -limits.holdout_tolerance:
        return GateResult(Verdict.PASS, reason, {**numbers, "low": low})
    if high < -limits.holdout_tolerance:
        return GateResult(Verdict.FAIL, reason, {**numbers, "low": low})
    if (above := evidence.gain + limits.holdout_tolerance) > 0:
        reason += f"; of such a gain {math.ceil(evidence.slots * half / above)} slots would tell"
    return GateResult(Verdict.INCONCLUSIVE, reason, {**numbers, "low": low})


def holdout_slots(gain: float, noise_std: float, attempt: int, limits: Limits) -> int:
    """How many hold-out slots a look must have to pass this mean gain, at the share of alpha of this try.

    `noise_std` is that of the noise on the sum of gains.
    """
    alpha = alpha_at(attempt, limits.alpha)
    return math.ceil(_half_width(alpha, noise_std) / (gain + limits.holdout_tolerance))


def _half_width(alpha: float, noise_std: float) -> float:
    """How far a figure with Gaussian noise may be off, on one side, but with chance alpha."""
    return NormalDist().inv_cdf(1 - alpha) * noise_std


def judge_privacy(evidence: Privacy) -> GateResult:
    """No unit's lifetime epsilon above the cap, and a ledger that checks."""
    worst, cap = evidence.worst_epsilon, evidence.cap
    numbers = {"worst_epsilon": worst, "cap": cap}
    if not evidence.ledger_verified:
        return GateResult(Verdict.FAIL, "the ledger does not verify", numbers)
    reason = f"the unit that spent most is at epsilon {worst:.3f} of {cap:g}"
    return GateResult(Verdict.PASS if 0 <= worst <= cap < math.inf else Verdict.FAIL, reason, numbers)


def _non_inferior(bound: Bound, margin: float) -> Verdict:
    if bound.high <= margin:
        return Verdict.PASS
    return Verdict.FAIL if bound.low > margin else Verdict.INCONCLUSIVE
