"""Has the stream of documents changed? One class a detector; `update(x)` is the whole interface.

A detector's alarm is private: it is shown inside the operator's boundary and triggers nothing outside.
State goes to a dictionary of plain numbers and back, so that a restart forgets nothing.

>>> import random
>>> rng = random.Random(1)
>>> detector = PageHinkley()
>>> alarms = [n for n in range(600) if detector.update(rng.gauss(0.1 if n < 300 else 0.35, 0.1))]
>>> 300 <= alarms[0] < 330
True
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any, Protocol, Self


class Detector(Protocol):
    """Takes one number a document and says whether an alarm starts now."""

    def update(self, x: float) -> bool: ...

    def forget(self, x: float) -> None:
        """Leaves nothing of a document's number by which it could be known."""

    def to_dict(self) -> dict[str, Any]: ...


class PageHinkley:
    """A rise of the mean, by the cumulated excess over the running mean.

    Feed it `1 - min_confidence` of a document, in [0, 1]: an alarm says the reader became less sure.
    The excess is `m_t = sum(x_i - mean_i - delta)`; the alarm comes when `m_t - min(m) > threshold`.
    It starts afresh after an alarm.

    Page, "Continuous inspection schemes", Biometrika 41 (1954), with Hinkley's centring (1971), as in
    Gama et al., "A survey on concept drift adaptation", ACM Computing Surveys 46 (2014), 3.2.2.

    Args:
        threshold: excess that counts as drift; larger is slower and surer.
        delta: tolerated rise of the mean.
        minimum: documents before the first alarm.
    """

    def __init__(self, threshold: float = 3.0, delta: float = 0.02, minimum: int = 30) -> None:
        if threshold <= 0 or delta < 0 or minimum < 1:
            raise ValueError(f"Expected threshold > 0, delta >= 0, minimum >= 1, got {threshold=}, {delta=}.")
        self.threshold, self.delta, self.minimum = threshold, delta, minimum
        self._restart()

    def _restart(self) -> None:
        self._seen, self._mean, self._sum, self._lowest = 0, 0.0, 0.0, 0.0

    def update(self, x: float) -> bool:
        """True when drift is found at this document. A value that is not finite is passed over."""
        if not math.isfinite(x):
            return False
        self._seen += 1
        self._mean += (x - self._mean) / self._seen
        self._sum += x - self._mean - self.delta
        self._lowest = min(self._lowest, self._sum)
        if self._seen < self.minimum or self._sum - self._lowest <= self.threshold:
            return False
        self._restart()
        return True

    def forget(self, x: float) -> None:
        """Starts afresh while it has seen few documents; the sums of `minimum` and more tell of none of them."""
        if self._seen < self.minimum:
            self._restart()

    def to_dict(self) -> dict[str, Any]:
        return {
            "settings": [self.threshold, self.delta, self.minimum],
            "state": [self._seen, self._mean, self._sum, self._lowest],
        }

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Self:
        detector = cls(*saved["settings"])
        detector._seen, detector._mean, detector._sum, detector._lowest = saved["state"]
        return detector


class Kswin:
    """Any change of a distribution: recent values against a sample of earlier ones.

    Feed it one statistic of a page (ink share, line height, brightness). The last `recent` of `window`
    values are compared with all the others in the window by the two-sample Kolmogorov-Smirnov test at
    level `alpha`; after an alarm only the recent ones are kept.

    After Raab, Heusinger, Schleif, "Reactive soft prototype computing for concept drift streams",
    Neurocomputing 416 (2020), arXiv 2007.05432, which draws a sample of the others; using all of them
    finds a drift sooner and needs no randomness. `alpha` is per look, and looks overlap.

    >>> import random
    >>> rng = random.Random(2)
    >>> detector = Kswin()
    >>> stream = [rng.gauss(0, 1) for _ in range(400)] + [rng.gauss(1.5, 1) for _ in range(200)]
    >>> alarms = [n for n, x in enumerate(stream) if detector.update(x)]
    >>> 400 <= alarms[0] < 440
    True
    """

    def __init__(self, window: int = 200, recent: int = 40, alpha: float = 1e-4) -> None:
        if not 0 < alpha < 1 or recent < 5 or window < 2 * recent:
            raise ValueError(f"Expected 0 < alpha < 1, window >= 2 recent >= 10, got {window=}, {recent=}.")
        self.window, self.recent, self.alpha = window, recent, alpha
        self._values: deque[float] = deque(maxlen=window)

    def update(self, x: float) -> bool:
        """True when drift is found at this document. A value that is not finite is passed over."""
        if not math.isfinite(x):
            return False
        self._values.append(x)
        if len(self._values) < self.window:
            return False
        values = list(self._values)
        earlier, recent = values[: -self.recent], values[-self.recent :]
        if kolmogorov_smirnov(earlier, recent) > self.alpha:
            return False
        self._values = deque(recent, maxlen=self.window)
        return True

    def forget(self, x: float) -> None:
        """Takes one value out of the window, if it is there."""
        if x in self._values:
            self._values.remove(x)

    def to_dict(self) -> dict[str, Any]:
        return {"settings": [self.window, self.recent, self.alpha], "state": list(self._values)}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Self:
        detector = cls(*saved["settings"])
        detector._values.extend(saved["state"])
        return detector


def kolmogorov_smirnov(a: list[float], b: list[float]) -> float:
    """The p-value that two samples have one distribution (asymptotic, Stephens 1970)."""
    xs, ys, i, j, gap = sorted(a), sorted(b), 0, 0, 0.0
    while i < len(xs) and j < len(ys):
        x = min(xs[i], ys[j])
        while i < len(xs) and xs[i] == x:
            i += 1
        while j < len(ys) and ys[j] == x:
            j += 1
        gap = max(gap, abs(i / len(xs) - j / len(ys)))
    root = math.sqrt(len(xs) * len(ys) / (len(xs) + len(ys)))
    z = (root + 0.12 + 0.11 / root) * gap
    if z < 0.2:
        return 1.0
    series = sum((1 if k % 2 else -1) * math.exp(-2 * (k * z) ** 2) for k in range(1, 101))
    return min(max(2 * series, 0.0), 1.0)
