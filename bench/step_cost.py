"""What privacy adds to a training step: seconds and memory, beside a plain step and beside Opacus.

    python bench/step_cost.py [--adapters head,top,lora,neck,all] [--repetitions 5] [--device cpu] [--seed 0]
                              [--quick] [--json FILE]

- plain: an ordinary step over the same documents: one mean loss, one gradient, the same adapter and cache, Adam.
  In one batch, or the gradient accumulated over small ones (as many documents as ours takes at a time): the faster
  of the two is what the others are multiples of. Memory is compared with the one batch.
- ours: one gradient a document, clipped by document, summed on the grid, noised from the operating system's
  randomness (`privacy.noise`), Adam. "private part" is clipping, summing and noise alone, of a plain step.
- hooks, ghost: Opacus' per-sample gradients (`GradSampleModule`) and ghost clipping, for weights as they are in the
  model (`neck`, `all`). Both clip by *line*, so they do less than is asked for here, and draw ordinary noise.
  Their convolutions get contiguous inputs: otherwise Opacus 1.6.0 takes a wrong gradient without a word.
- jax-privacy has no line: it needs the recogniser written in JAX.

Seconds are of the processor, one thread (on a GPU: wall clock), medians of repetitions taken in turns. Memory is
each variant's own peak in a process of its own, above what that process held before its first step.
Documents are generated: lines of receipts on thermal paper, of their own widths.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import torch
from torch import Tensor, nn

from learners import neck_adapters
from learners.adapters import ASCII, Adapter, Charset, HeadAdapter, Rows, TopAdapter
from learners.chunks import CHUNK, Cached, Chunk, Seen, cache, collate, count_width, look
from learners.gradients import document_losses, gradient_blocks
from learners.lines import document
from learners.synthesis import line
from models import recogniser, weights
from models.ctc import Alphabet
from models.recogniser import Recogniser
from privacy.dpsgd import private_gradient
from privacy.noise import Debit, NoiseSource

CLIP, SIGMA = 0.05, 5.0
RATE = 1e-9
"""Next to nothing: every variant goes on computing at the released weights."""
ADAPTERS: dict[str, Callable[[Recogniser, Charset], Adapter]] = {
    "head": lambda model, charset: HeadAdapter(model, charset, torch.linalg.qr(torch.randn(120, 64)).Q),
    "top": TopAdapter,
    "lora": neck_adapters.lora,
    "neck": neck_adapters.neck,
    "all": neck_adapters.everything,
}
SIZES = {"head": (96, 8), "top": (48, 8), "lora": (16, 8), "neck": (16, 8), "all": (8, 4)}
"""Documents a step, and lines of each."""
DISTINCT = 16
"""Documents that are generated; a step takes them over and over."""
TARGETS = {"head": 1.1, "top": 1.1, "lora": 1.1, "neck": 1.25, "all": 1.25}
"""What ours may cost, as a multiple of plain."""
HOOKS_TARGET = 4.0
"""How many times faster than Opacus' hooks ours must be where all parameters learn."""
Step = Callable[[], None]


@dataclass(frozen=True)
class Setting:
    """One adapter, its documents as the frozen part leaves them, and where all of it runs."""

    name: str
    adapter: Adapter
    model: Recogniser
    documents: list[Cached]

    @property
    def device(self) -> torch.device:
        return self.model.head.weight.device

    def theta(self) -> Tensor:
        return torch.zeros(self.adapter.size, device=self.device)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adapters", default=",".join(ADAPTERS))
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", help="not needed: every document is generated")
    parser.add_argument("--quick", action="store_true", help="an eighth of the documents, two repetitions")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)  # in a process of its own: "FILE VARIANT"
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.peak_of:
        file, variant = given.peak_of.split()
        print(_own_peak(pickle.loads(Path(file).read_bytes()), variant, given.device))
        return 0
    repetitions = 2 if given.quick else given.repetitions
    found = [measure(name, given, repetitions, 8 if given.quick else 1) for name in given.adapters.split(",")]
    table(found, given.device)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))
    return 0


def measure(name: str, given: argparse.Namespace, repetitions: int, less: int) -> dict[str, Any]:
    """Seconds of every variant in turns, then each one's peak in a process of its own."""
    documents, lines = SIZES[name]
    _say(f"{name}: {documents // less} documents of {lines} lines")
    setting, seen = prepare(name, given.seed, documents // less, lines, given.device)
    steps = {variant: make(setting) for variant, make in variants(name).items()}
    seconds: dict[str, list[float]] = {variant: [] for variant in steps}
    for turn in range(repetitions + 1):
        for variant, step in steps.items():
            taken = _timed(step, setting.device)
            if turn:  # the first warms up
                seconds[variant].append(taken)
    found: dict[str, Any] = {"adapter": name, "parameters": setting.adapter.size}
    found |= {"documents": documents // less, "lines": sum(len(each.inputs) for each in setting.documents)}
    found["seconds"] = {variant: statistics.median(each) for variant, each in seconds.items()}
    del found["seconds"]["private part"], steps["private part"], steps["accumulated"]
    found["private_seconds"] = statistics.median(seconds["private part"])
    with tempfile.NamedTemporaryFile() as file:
        file.write(pickle.dumps((name, seen)))
        file.flush()
        found["peak_mb"] = {variant: _peak(file.name, variant, given.device) for variant in steps}
    return found


def prepare(name: str, seed: int, documents: int, lines: int, device: str) -> tuple[Setting, list[Seen]]:
    """The documents of a step, looked at once."""
    first = seed * 1_000_000
    made = [
        document(k, [line(first + lines * k + n, "thermal") for n in range(lines)])
        for k in range(min(documents, DISTINCT))
    ]
    setting = _setting(name, device)
    distinct = look(setting.model, [each for each in made if each is not None], lines, setting.adapter.depth)
    seen = [distinct[k % len(distinct)] for k in range(documents)]
    setting.documents.extend(cache(setting.adapter, seen))
    return setting, seen


def _setting(name: str, device: str) -> Setting:
    torch.manual_seed(0)
    file = weights.fetch() / "rec.onnx"
    model = recogniser.load(file).to(device)
    return Setting(name, ADAPTERS[name](model, Charset.of(ASCII, Alphabet(weights.characters(file)))), model, [])


# The variants. Each ends with a step of Adam.


def variants(name: str) -> dict[str, Callable[[Setting], Step]]:
    found = {"plain": plain, "accumulated": accumulated, "ours": ours, "private part": private_part}
    return found | ({"hooks": hooks, "ghost": ghost} if name in ("neck", "all") else {})


def plain(setting: Setting) -> Step:
    return _ordinary(setting, len(setting.documents))


def accumulated(setting: Setting) -> Step:
    return _ordinary(setting, 1 if setting.adapter.depth != "projection" else CHUNK)


def _ordinary(setting: Setting, at_a_time: int) -> Step:
    theta = setting.theta().requires_grad_()
    optimiser = torch.optim.Adam([theta], lr=RATE)
    documents, device = setting.documents, setting.device

    def step() -> None:
        optimiser.zero_grad()
        for start in range(0, len(documents), at_a_time):
            chunk = collate(documents[start : start + at_a_time], joint=True).to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                loss = document_losses(setting.adapter, theta.unsqueeze(0), chunk).sum() / len(documents)
            loss.backward()
        optimiser.step()

    return step


def ours(setting: Setting) -> Step:
    theta = setting.theta().requires_grad_()
    optimiser = torch.optim.Adam([theta], lr=RATE)

    def step() -> None:
        theta.grad = _private(setting, gradient_blocks(setting.adapter, theta.detach(), setting.documents))
        optimiser.step()

    return step


def private_part(setting: Setting) -> Step:
    """Clipping, summing and noise of gradients that are there already."""
    block = torch.randn(1, setting.adapter.size, device=setting.device)
    return lambda: void(_private(setting, (block for _ in setting.documents)))


def void(_: object) -> None: ...


def _private(setting: Setting, gradients: Iterator[Tensor]) -> Tensor:
    return private_gradient(
        gradients,
        size=setting.adapter.size,
        max_grad_norm=CLIP,
        noise_multiplier=SIGMA,
        expected_documents=len(setting.documents),
        noise=NoiseSource(Debit.for_tests(SIGMA, 1)),
        device=setting.device,
    )


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


# Seconds and megabytes.


def _timed(step: Step, device: torch.device) -> float:
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    begun = clock()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - begun


def _peak(file: str, variant: str, device: str) -> float:
    command = [sys.executable, __file__, "--device", device, "--peak-of", f"{file} {variant}"]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def _own_peak(given: tuple[str, list[Seen]], variant: str, device: str) -> float:
    """Megabytes that two steps add at their peak to what is held before them."""
    name, seen = given
    setting = _setting(name, device)
    setting.documents.extend(cache(setting.adapter, seen))
    step = variants(name)[variant](setting)
    if device.startswith("cuda"):
        before = torch.cuda.memory_allocated()
    else:
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew (proc(5))
        before = _memory("VmRSS")
    step()
    step()
    peak = torch.cuda.max_memory_allocated() if device.startswith("cuda") else _memory("VmHWM")
    return (peak - before) / 2**20


def _memory(field: str) -> int:
    """A field of /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(each.split()[1]) * 1024 for each in lines if each.startswith(field))


def table(found: Sequence[dict[str, Any]], device: str) -> None:
    where = torch.cuda.get_device_name(device) if device.startswith("cuda") else "one CPU thread"
    print(f"\n{where}; seconds a step, as a multiple of plain; peak memory a step, MB")
    print(f"{'':6} {'parameters':>10} {'docs':>5} {'lines':>5} {'plain s':>8} {'ours':>5} {'private part':>12} "
          f"{'hooks':>6} {'ghost':>6} | {'plain':>6} {'ours':>6} {'hooks':>6} {'ghost':>6}")  # fmt: skip
    for each in found:
        seconds, peak = each["seconds"], each["peak_mb"]
        fastest = min(seconds["plain"], seconds["accumulated"])
        times = {variant: value / fastest for variant, value in seconds.items()}
        share = each["private_seconds"] / fastest
        print(
            f"{each['adapter']:6} {each['parameters']:10,} {each['documents']:5} {each['lines']:5} "
            f"{fastest:8.3f} {times['ours']:5.2f} {share:12.1%} {_cell(times, 'hooks', '.2f')} "
            f"{_cell(times, 'ghost', '.2f')} | {peak['plain']:6.0f} {peak['ours']:6.0f} "
            f"{_cell(peak, 'hooks', '.0f')} {_cell(peak, 'ghost', '.0f')}"
        )
        for target, holds in targets(each["adapter"], times, share, peak).items():
            print(f"       {'holds' if holds else 'FAILS'}: {target}")


def targets(name: str, times: dict[str, float], share: float, peak: dict[str, float]) -> dict[str, bool]:
    found = {f"ours <= {TARGETS[name]} plain": times["ours"] <= TARGETS[name]}
    found["peak memory <= plain"] = peak["ours"] <= peak["plain"]
    if TARGETS[name] < 1.2:
        found["clipping, summing and noise <= 10% of plain"] = share <= 0.1
    if name == "all":
        found[f">= {HOOKS_TARGET:g} times faster than hooks"] = times["hooks"] >= HOOKS_TARGET * times["ours"]
    return found


def _cell(values: dict[str, float], key: str, form: str) -> str:
    return f"{values[key]:6{form}}" if key in values else f"{'-':>6}"


def _say(text: str) -> None:
    print(f"... {text}", flush=True)


if __name__ == "__main__":
    warnings.filterwarnings("ignore", "Full backward hook is firing")  # Opacus' hooks
    raise SystemExit(main())
