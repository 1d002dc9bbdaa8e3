"""The same step by Opacus, for step_cost.py: every line's gradient of weights as they are in the model.

Both ways clip by line, so they do less than is asked for here, and draw ordinary noise.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from learners.adapters import Rows
from learners.chunks import Cached, Chunk, collate, count_width
from step_variants import CLIP, RATE, SIGMA, Setting, Step


class Lines(nn.Module):
    """For Opacus: lines of one width to log-probabilities `(N, T, classes)`, with the weights as they are."""

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        model = copy.deepcopy(setting.model)
        deep = setting.name == "all"
        self.trunk = nn.Sequential(model.backbone, model.neck) if deep else model.neck
        self.head = model.head if deep else None
        self.rows = [Rows(setting.model, setting.adapter.charset)]  # in a list: no module, no parameter

    def forward(self, inputs: Tensor) -> Tensor:
        features = self.trunk(inputs)
        (rows,) = self.rows
        if self.head is None:
            flat = features.flatten(0, 1)
            scores = torch.cat((nn.functional.linear(flat, rows.weight, rows.bias), rows.rest(flat)), dim=1)
            return scores.view(*features.shape[:2], -1).log_softmax(2)
        return self.head(features).log_softmax(2)


def hooks(setting: Setting) -> Step:
    """`GradSampleModule`: every line's gradient of every weight, clipped by line."""
    from opacus.grad_sample import GradSampleModule

    wrapped = GradSampleModule(_contiguous(Lines(setting)), loss_reduction="sum")
    parameters = [p for p in wrapped.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(parameters, lr=RATE)
    _check(setting, wrapped, parameters)

    def step() -> None:
        total = [torch.zeros_like(p) for p in parameters]
        for group, chunk in _groups(setting):
            _line_losses(setting, wrapped, group, chunk).sum().backward()
            samples = [p.grad_sample for p in parameters]
            norms = torch.stack([sample.flatten(1).norm(dim=1) for sample in samples]).norm(dim=0)
            factors = (CLIP / norms).clamp(max=1.0)
            for into, sample in zip(total, samples, strict=True):
                into += torch.einsum("n,n...->...", factors, sample)
            wrapped.zero_grad()
        _noisy_step(parameters, total, optimiser, setting)

    return step


def _check(setting: Setting, wrapped: nn.Module, parameters: Sequence[Any]) -> None:
    """The lines' gradients add up to the batch's, for every parameter: Opacus has been silently wrong there."""
    group, chunk = next(_groups(setting))
    _line_losses(setting, wrapped, group, chunk).sum().backward()
    for parameter in parameters:
        away = (parameter.grad_sample.sum(0) - parameter.grad).norm() / parameter.grad.norm()
        if not away < 1e-2:
            raise SystemExit(f"Expected per-sample gradients that sum to the gradient, got {away:.3g} off.")
    wrapped.zero_grad()


def ghost(setting: Setting) -> Step:
    """Ghost clipping: norms first, then a second backward pass over the weighted losses."""
    from opacus.grad_sample import GradSampleModuleFastGradientClipping

    wrapped = GradSampleModuleFastGradientClipping(
        _contiguous(Lines(setting)), loss_reduction="sum", max_grad_norm=CLIP, use_ghost_clipping=True
    )
    parameters = [p for p in wrapped.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(parameters, lr=RATE)

    def step() -> None:
        total = [torch.zeros_like(p) for p in parameters]
        for group, chunk in _groups(setting):
            losses = _line_losses(setting, wrapped, group, chunk)
            losses.sum().backward(retain_graph=True)
            factors = wrapped.get_clipping_coef()
            wrapped.zero_grad()
            wrapped.disable_hooks()
            (factors * losses).sum().backward()
            wrapped.enable_hooks()
            for into, parameter in zip(total, parameters, strict=True):
                into += parameter.grad
            wrapped.zero_grad()
        _noisy_step(parameters, total, optimiser, setting)

    return step


def _contiguous(module: nn.Module) -> nn.Module:
    for each in module.modules():
        if isinstance(each, nn.Conv2d):
            each.register_forward_pre_hook(lambda _, given: (given[0].contiguous(),))
    return module.train()


def _groups(setting: Setting) -> Iterator[tuple[Tensor, Chunk]]:
    """Lines of one width, of all documents, and the same as a chunk."""
    by_width: dict[int, list[Cached]] = defaultdict(list)
    for each in setting.documents:
        for given, target in zip(each.inputs, each.targets, strict=True):
            by_width[count_width(given)].append(replace(each, inputs=(given,), targets=(target,)))
    for lines in by_width.values():
        chunk = collate(lines, joint=True).to(setting.device)
        yield chunk.inputs[0][0], chunk


def _line_losses(setting: Setting, module: nn.Module, group: Tensor, chunk: Chunk) -> Tensor:
    log_probabilities = module(group)
    targets = chunk.targets
    if log_probabilities.shape[2] > len(setting.adapter.charset.classes) + 1:
        targets = torch.tensor(setting.adapter.charset.classes, device=targets.device)[targets]
    losses = nn.functional.ctc_loss(
        log_probabilities.double().transpose(0, 1),
        targets,
        chunk.frames,
        chunk.lengths,
        reduction="none",
        zero_infinity=True,
    )
    return (losses * chunk.weights).float()


def _noisy_step(parameters: Sequence[Tensor], total: list[Tensor], optimiser: Any, setting: Setting) -> None:
    for parameter, summed in zip(parameters, total, strict=True):
        parameter.grad = (summed + SIGMA * CLIP * torch.randn_like(summed)) / len(setting.documents)
    optimiser.step()
    optimiser.zero_grad()
