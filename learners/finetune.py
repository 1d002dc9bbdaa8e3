"""One private round: documents in their slots -> the weights of a candidate.

The round is the Gaussian mechanism, `steps` times, on the sum of the members' clipped gradients. All
else is public (the plan, the adapter and its basis) or post-processing of what the mechanism released
(Adam, the mean of the last iterates, the merge). Nothing else leaves: no loss, no count, no stopping
time. `progress` hears the number of the step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from learners.adapters import Adapter
from learners.gradients import Cached, cache, chunks, document_gradients
from learners.lines import TrainDocument
from learners.plan import Plan
from models.recogniser import Recogniser
from privacy.dpsgd import private_gradient
from privacy.noise import NoiseSource

Progress = Callable[[int, int], None]
Weights = dict[str, npt.NDArray[np.float32]]

WARM_UP = 0.1
"""Share of the steps over which the learning rate rises."""
AVERAGED = 0.4
"""Share of the steps, the last ones, whose iterates are averaged."""
BETAS = (0.9, 0.999)


def fit(
    model: Recogniser,
    documents: Mapping[int, TrainDocument],
    members: Sequence[int],
    plan: Plan,
    adapter: Adapter,
    noise: NoiseSource,
    progress: Progress | None = None,
) -> Weights:
    """The candidate's full set of weights, by the recogniser's names; `model` is left as it was.

    Args:
        documents: by slot; a member without a document is a gradient of zero.
        members: the slots that were charged for `plan.event`.
        noise: made from that debit.

    Raises:
        ValueError: a document whose slot is no member, other members than planned, another adapter.
        BudgetExhausted: the debit does not cover the plan.
    """
    if len(members) != plan.members or not documents.keys() <= set(members):
        raise ValueError(f"Expected documents of the {plan.members} planned members only.")
    if (adapter.name, adapter.size) != (plan.adapter, plan.parameters):
        raise ValueError(f"Expected the planned adapter {plan.adapter}, got {adapter.name}.")
    slots = sorted(members)
    capped = [documents[slot] for slot in slots if slot in documents]
    capped = [TrainDocument(document.slot, document.lines[: plan.lines]) for document in capped]
    cached = {document.slot: found for document, found in zip(capped, cache(adapter, capped), strict=True)}
    theta = _descend(plan, adapter, lambda at: _step(plan, adapter, slots, cached, noise, at), progress)
    weights = model.weights()
    weights |= {name: value.numpy() for name, value in adapter.merge(theta).items()}
    return weights


def _step(
    plan: Plan,
    adapter: Adapter,
    slots: Sequence[int],
    cached: Mapping[int, Cached],
    noise: NoiseSource,
    theta: Tensor,
) -> Tensor:
    """The noisy mean gradient at `theta`. Every member has its coin, whether or not it has a document."""
    if plan.sample_rate < 1.0:
        coins = noise.poisson(len(slots), plan.sample_rate)
        slots = [slot for slot, coin in zip(slots, coins, strict=True) if coin]
    batch = [cached[slot] for slot in slots if slot in cached]
    return private_gradient(
        _gradients(adapter, theta, batch),
        size=adapter.size,
        max_grad_norm=plan.max_grad_norm,
        noise_multiplier=plan.noise_multiplier,
        expected_documents=plan.expected_documents,
        noise=noise,
    )


def _gradients(adapter: Adapter, theta: Tensor, batch: Sequence[Cached]) -> Iterator[Tensor]:
    for chunk in chunks(batch):
        yield from document_gradients(adapter, theta, chunk)


def _descend(
    plan: Plan, adapter: Adapter, gradient: Callable[[Tensor], Tensor], progress: Progress | None
) -> Tensor:
    """Adam (Kingma and Ba 2015) on the noisy gradients from zero; the mean of the last iterates."""
    theta = torch.zeros(adapter.size, requires_grad=True)
    optimiser = torch.optim.Adam([theta], lr=plan.learning_rate, betas=BETAS)
    warm = max(1, round(WARM_UP * plan.steps))
    averaged = max(1, round(AVERAGED * plan.steps))
    mean = torch.zeros(adapter.size)
    for step in range(plan.steps):
        optimiser.param_groups[0]["lr"] = plan.learning_rate * min(1.0, (step + 1) / warm)
        theta.grad = gradient(theta.detach())
        optimiser.step()
        if step >= plan.steps - averaged:
            mean += theta.detach() / averaged
        if progress:
            progress(step + 1, plan.steps)
    return mean
