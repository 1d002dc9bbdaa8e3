"""One private round: documents in their slots -> the weights of a candidate.

The round is the Gaussian mechanism, `steps` times, on the sum of the members' clipped gradients. All
else is public (the plan, the adapter and its basis, the rehearsed documents) or post-processing of what
the mechanism released (Adam, the mean of the last iterates, the merge). Nothing else leaves: no loss, no
count, no stopping time. `progress` hears the number of the step. `alive` hears of every few documents that it goes on,
which stays with whoever holds them.

Rehearsal: each step adds the mean clipped gradient of a few public, generated documents, so that the
candidate goes on reading what the private documents do not show. Lines in characters that do not learn
are held where they were. It costs no privacy.

Several processes (`learners.distributed`) share the slots. All take the same steps, whatever their batches; what
is public each computes for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from learners.adapters import Adapter
from learners.catalogue import Looks
from learners.chunks import Cached, Chunk, Remembered, Seen, cache, collate, foreign, look
from learners.distributed import ALONE, Team
from learners.gradients import document_drifts, document_gradients, document_losses, gradient_blocks
from learners.lines import TrainDocument
from learners.plan import Plan
from models.trainee import Trainee
from privacy.coins import Coins
from privacy.dpsgd import private_gradient
from privacy.noise import NoiseSource

Progress = Callable[[int, int], None]
Alive = Callable[[], None]
Weights = dict[str, npt.NDArray[np.float32]]


class Documents(Protocol):
    """Documents by slot: a dict of them, or what finds one when its turn comes."""

    def keys(self) -> Set[int]:
        """Slots that may have a document."""
        ...

    def get(self, slot: int, /) -> TrainDocument | None:
        """That slot's, or None."""
        ...


WARM_UP = 0.1
"""Share of the steps over which the learning rate rises."""
REHEARSED = 16
"""Public documents a step."""
AVERAGED = 0.4
"""Share of the steps, the last ones, whose iterates are averaged."""
BETAS = (0.9, 0.999)


def fit(
    model: Trainee,
    documents: Documents,
    members: Sequence[int],
    plan: Plan,
    adapter: Adapter,
    noise: NoiseSource | Coins,
    progress: Progress | None = None,
    public: Looks | None = None,
    team: Team = ALONE,
    alive: Alive = lambda: None,
    room: int | None = None,
) -> Weights:
    """The candidate's full set of weights, by the recogniser's names; `model` is left as it was.

    Args:
        documents: by slot; a member without a document is a gradient of zero. Each is taken when its turn comes, and
            its images are not kept unless the adapter reads images. Of a team's, only this process's are looked at.
        members: the slots that were charged for `plan.event`.
        noise: made from that debit, by `team.source`.
        public: generated documents to rehearse, of the kinds that must not be forgotten, as `model` sees them.
        team: the processes that share the slots; each calls this with the same plan, members and public documents.
        room: bytes for what is remembered of documents. Those beyond are looked at again at each of their turns.

    Raises:
        ValueError: a document whose slot is no member, other members than planned, another adapter; or processes
            that differ in what is public.
        BudgetExhausted: the debit does not cover the plan.
        ProcessLost: another process died, or did not answer in time.
    """
    slots = sorted(set(members))
    if len(slots) != plan.members or not documents.keys() <= set(slots):
        raise ValueError(f"Expected documents of the {plan.members} planned members only.")
    if public and public.model is not model:
        raise ValueError("Expected public documents as this model sees them.")
    if (adapter.name, adapter.size) != (plan.adapter, plan.parameters):
        raise ValueError(f"Expected the planned adapter {plan.adapter}, got {adapter.name}.")

    def find(slot: int) -> Cached | None:
        alive()
        document = documents.get(slot)
        if document is None:
            return None
        [found] = cache(adapter, look(model, [document], plan.lines, adapter.depth))
        return found

    cached = Remembered(find, room)
    rehearsed = public.at(adapter.depth) if public and plan.rehearsal else []
    device = model.head.weight.device
    probe = adapter.merge(torch.ones(adapter.size, device=device)).values()
    team.check_same("plan, members and public parts", plan, slots, [each.texts for each in rehearsed], *probe)
    theta = learn(plan, adapter, slots, cached, rehearsed, noise, progress, team, device, alive)
    return model.weights() | {name: value.cpu().numpy() for name, value in adapter.merge(theta).items()}


def learn(
    plan: Plan,
    adapter: Adapter,
    slots: Sequence[int],
    cached: Mapping[int, Cached] | Remembered,
    rehearsed: Sequence[Seen],
    noise: NoiseSource | Coins,
    progress: Progress | None = None,
    team: Team = ALONE,
    device: torch.device | str = "cpu",
    alive: Alive = lambda: None,
) -> Tensor:
    """The adapter's parameters after the round: Adam (Kingma and Ba 2015) from zero on the noisy gradients.

    What comes back is the mean of the last iterates, on `device`, where the adapter's own tensors are.
    """
    rehearsal, slots = Rehearsal(adapter, plan, rehearsed), team.share(slots)
    theta = torch.zeros(adapter.size, device=device, requires_grad=True)
    optimiser = torch.optim.Adam([theta], lr=plan.learning_rate, betas=BETAS)
    warm = max(1, round(WARM_UP * plan.steps))
    averaged = max(1, round(AVERAGED * plan.steps))
    mean = torch.zeros(adapter.size, device=device)
    for step in range(plan.steps):
        at = theta.detach()
        optimiser.param_groups[0]["lr"] = plan.learning_rate * min(1.0, (step + 1) / warm)
        theta.grad = _step(plan, adapter, slots, cached, noise, at, team, alive) + rehearsal.gradient(at)
        optimiser.step()
        if step >= plan.steps - averaged:
            mean += theta.detach() / averaged
        if progress:
            progress(step + 1, plan.steps)
    return mean


class Rehearsal:
    """The public part of a step: mean clipped gradients of the next few public documents, in turn.

    Lines of the charset are learned as they read. In others (Chinese, to a Latin charset) the scores of
    the characters that learn are held where they were.
    """

    def __init__(self, adapter: Adapter, plan: Plan, documents: Sequence[Seen]) -> None:
        self._adapter, self._plan, self._turn = adapter, plan, 0
        held = [] if adapter.charset.closed else foreign(adapter, documents)
        self._parts = [(_chunked(cache(adapter, documents)), document_losses), (_chunked(held), document_drifts)]

    def gradient(self, theta: Tensor) -> Tensor:
        total, bound = torch.zeros_like(theta), self._plan.max_grad_norm
        for parts, losses in self._parts:
            if parts:
                found = document_gradients(self._adapter, theta, parts[self._turn % len(parts)], losses)
                clipped = found * (bound / found.norm(dim=1, keepdim=True).clamp_min(bound))
                total += clipped.mean(0)
        self._turn += 1
        return total * (self._plan.rehearsal * self._plan.members / self._plan.capacity)


def _chunked(documents: Sequence[Cached]) -> list[Chunk]:
    usable = [document for document in documents if document.inputs]
    return [collate(usable[k : k + REHEARSED]) for k in range(0, len(usable), REHEARSED)]


def _step(
    plan: Plan,
    adapter: Adapter,
    slots: Sequence[int],
    cached: Mapping[int, Cached] | Remembered,
    noise: NoiseSource | Coins,
    theta: Tensor,
    team: Team = ALONE,
    alive: Alive = lambda: None,
) -> Tensor:
    """The noisy mean gradient at `theta`. Every member has its coin, whether or not it has a document.

    `slots` and `noise` are this process's. `alive` is called between blocks of documents.
    """
    if plan.sample_rate < 1.0:
        coins = noise.poisson(len(slots), plan.sample_rate)
        slots = [slot for slot, coin in zip(slots, coins, strict=True) if coin]
    batch = (found for slot in slots if (found := cached.get(slot)) is not None)
    return private_gradient(
        _heard(gradient_blocks(adapter, theta, batch), alive),
        size=adapter.size,
        max_grad_norm=plan.max_grad_norm,
        noise_multiplier=plan.noise_multiplier,
        expected_documents=plan.expected_documents,
        noise=noise,
        device=theta.device,
        once=team.once,
    )


def _heard(blocks: Iterable[Tensor], alive: Alive) -> Iterator[Tensor]:
    for block in blocks:
        alive()
        yield block
