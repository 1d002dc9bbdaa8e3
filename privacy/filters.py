"""What a unit of privacy has spent when later rounds may depend on what earlier ones released.

`privacy.accountant` says what a schedule costs that was fixed in advance. Here the parameters of a round, and
whether there is another, may depend on all outputs so far; what may not is which units are in it. The cap
holds for life if every round is refused that would carry `spent` past it (a privacy filter). There are three:

* *Full batch*, whatever the noise: `mu^2` adds up (Koskela, Tobaben and Honkela, arXiv 2210.17520).
* *Tickets*: events that differ in their number of steps alone. Loss distributions; a life that ends sooner is
  a full one of which less was looked at.
* *Any other*: the Renyi divergence of one order adds up (Feldman and Zrnic, arXiv 2008.11193). Here loss
  distributions would claim too much (arXiv 2602.06756). The order is chosen from the cap and delta alone. A
  history far below the cap looks much dearer than it is.

A unit's first event says whether it lives by the first or the second; until then no output depended on it. It
may turn to the third later, again depending on outputs. The outcomes in which it does and those in which it
does not are two sets, each as likely as under a filter that holds everywhere, so their deltas add: 0.999 of
delta for the first two, a thousandth for the third.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import lru_cache

from privacy import accountant
from privacy.accountant import Events, RoundEvent

_ORDERS = range(2, 257)  # at whole orders a sampled Gaussian's divergence is a finite sum, which is exact
_COARSE = (3e-3, 7e-4)  # grids of the loss, in nats, multiples of the fine one: 200 steps spend .001 and .00005 more


def spent(events: Iterable[RoundEvent], cap: float, delta: float) -> float:
    """The epsilon at `delta`, to be compared with `cap`, that a unit with these events has spent."""
    events = accountant.merged(events)
    if is_of_one_rule(events):
        return accountant.epsilon(events, delta)
    return renyi_epsilon(events, cap, (1.0 - accountant.KEPT) * delta)


def passes(events: Iterable[RoundEvent], cap: float, delta: float) -> bool:
    """Whether `spent` is above `cap`; the fine loss distribution is composed only where every bound is, too."""
    return all(bound > cap for bound in bounds(events, cap, delta))


def bounds(events: Iterable[RoundEvent], cap: float, delta: float) -> Iterator[float]:
    """Upper bounds of `spent`, ever tighter and ever dearer to compute; the last is `spent` itself.

    Of tickets a Renyi divergence comes at once, a loss distribution on a coarse grid takes hundredths of a
    second, and on the fine one tenths.
    """
    events = accountant.merged(events)
    if is_tickets(events):
        yield renyi_epsilon(events, cap, accountant.KEPT * delta)
        for interval in _COARSE:
            yield accountant.epsilon(events, delta, interval)
    yield spent(events, cap, delta)


def is_of_one_rule(events: Iterable[RoundEvent]) -> bool:
    """Whether a unit lived by the first rule or the second throughout."""
    events = accountant.merged(events)
    return is_full_batch(events) or is_tickets(events)


def is_full_batch(events: Events) -> bool:
    return all(event.sample_rate == 1.0 for event in events)


def is_tickets(events: Events) -> bool:
    """Whether the (merged) events are sampled, and all of one kind."""
    return len(events) == 1 and events[0].sample_rate < 1.0


def renyi_epsilon(events: Events, cap: float, delta: float) -> float:
    """The epsilon at exactly `delta` that follows from the (merged) events' divergence of one order."""
    from dp_accounting.rdp import compute_epsilon

    at = order(cap, delta)
    divergence = math.fsum(_divergence(e.sample_rate, e.noise_multiplier, at) * e.steps for e in events)
    return accountant.discrete(events, delta, lambda delta: float(compute_epsilon([at], [divergence], delta)[0]))


@lru_cache(maxsize=64)
def order(cap: float, delta: float) -> int:
    """The order at which the most Gaussian releases fit under the cap: a function of public numbers.

    A divergence r of order a is an epsilon of r + ln(1 - 1 / a) - ln(delta a) / (a - 1) (Canonne et al., arXiv
    2004.00010, proposition 12), and that of a Gaussian is a mu^2 / 2.
    """

    def squared_mu(a: int) -> float:
        return 2.0 * (cap - math.log1p(-1.0 / a) + math.log(delta * a) / (a - 1.0)) / a

    return max(_ORDERS, key=squared_mu)


@lru_cache(maxsize=65536)
def _divergence(sample_rate: float, noise_multiplier: float, order: int) -> float:
    """Of one step, by dp-accounting (Mironov, Talwar and Zhang, arXiv 1908.10530)."""
    from dp_accounting import dp_event
    from dp_accounting.privacy_accountant import NeighboringRelation
    from dp_accounting.rdp import RdpAccountant

    one = RdpAccountant([order], NeighboringRelation.REPLACE_SPECIAL)
    one.compose(dp_event.PoissonSampledDpEvent(sample_rate, dp_event.GaussianDpEvent(noise_multiplier)))
    return float(one.rdp[0])
