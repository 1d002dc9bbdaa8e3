"""Units with a knee, held to one side of it: what tells rounding from a gradient that has two values.

A unit that stands within rounding of a knee (a hard-swish at 3, say) may be on one side in float32 and on the other in
float64. Both gradients are right, one from each side, and they differ by far more than rounding does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_FORMS: Mapping[Callable[..., Any], tuple[float, float, Callable[[Tensor], Sequence[Tensor]]]] = {
    functional.hardswish: (-3.0, 3.0, lambda x: (0 * x, x * (x + 3) / 6, x)),
    functional.relu: (0.0, 0.0, lambda x: (0 * x, x, x)),
    Tensor.relu: (0.0, 0.0, lambda x: (0 * x, x, x)),
    Tensor.clamp: (0.0, 1.0, lambda x: (0 * x, x, 0 * x + 1)),
}
"""Its knees, and what it is below, between and above them."""


class _Sides(TorchFunctionMode):
    def __init__(self, given: Iterator[Tensor] | None, taken: list[Tensor]) -> None:
        self._given, self._taken = given, taken

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func not in _FORMS or (func is Tensor.clamp and tuple(args[1:]) != (0, 1)):
            return func(*args, **(kwargs or {}))
        low, high, form = _FORMS[func]
        x = args[0]
        side = (x > low).to(torch.int8) + (x > high).to(torch.int8) if self._given is None else next(self._given)
        self._taken.append(side.detach())
        below, between, above = form(x)
        return torch.where(side == 0, below, torch.where(side == 1, between, above))


@contextmanager
def sides(given: Sequence[Tensor] | None = None) -> Iterator[list[Tensor]]:
    """Within it every such unit is on its own side, which is written down, or on the one that it is given."""
    taken: list[Tensor] = []
    remaining = None if given is None else iter(given)
    with _Sides(remaining, taken):
        yield taken
    assert remaining is None or next(remaining, None) is None
