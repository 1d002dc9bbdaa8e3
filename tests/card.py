"""A card that is not there: tensors on it are kept by the processor, but they don't mix with those that are not.

Code that forgets to move a tensor fails behind `present()` as it would on a GPU, and NumPy sees no tensor that is on
the card. Numbers are the processor's, so results can be compared with it. What else a card has of its own, kernels,
bfloat16, memory, is not tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_iter, tree_map

from learners.device import CARD

_EITHER = {Tensor.copy_, nn.functional.ctc_loss, torch.ctc_loss}
"""What takes tensors of both places on a real card too: CTC wants lengths on the processor."""
_INDEXING = {Tensor.__getitem__, Tensor.__setitem__}
"""Of a tensor on the card also by indices that are not; never the other way round."""


class OnCard(Tensor):
    """A tensor whose place is the card."""

    @property  # type: ignore[override]
    def device(self) -> torch.device:
        return CARD

    @property
    def is_cuda(self) -> bool:
        return True


def _there(value: object) -> bool:
    return isinstance(value, OnCard)


def _off(value: Any) -> Any:
    return value.as_subclass(Tensor) if _there(value) else value


def _on(value: Any) -> Any:
    if not isinstance(value, Tensor) or _there(value):
        return value
    if value.is_leaf and value.requires_grad:  # just made, and it stays a leaf
        return value.detach().as_subclass(OnCard).requires_grad_()
    return value.as_subclass(OnCard)


class _Present(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = [each for each in tree_iter((args, kwargs or {})) if isinstance(each, Tensor)]
        aims = [torch.device(each) for each in tree_iter((args, kwargs or {})) if _names_a_place(each)]
        places = {_there(each) for each in given if each.ndim or _there(each)}
        name = getattr(func, "__name__", "")
        if name in ("_parse_to", "_has_compatible_shallow_copy_type"):  # what `Module.to` asks beforehand
            return func(*args, **(kwargs or {}))
        if name in ("numpy", "__array__") and True in places:
            raise TypeError("can't convert cuda tensor to numpy: it is on the card")
        moves = name in ("to", "cpu", "cuda")
        if func in _INDEXING and _there(given[0]):
            places = {_there(each) for each in given[2 if func is Tensor.__setitem__ else len(given) :]} | {True}
        if len(places) > 1 and not moves and func not in _EITHER:
            raise RuntimeError(f"Expected all tensors to be on the same device, got both in {name}.")
        stays = True in places
        if moves or (aims and not given):
            other = [each for each in given[1:] if name == "to"]
            stays = aims[0].type == "cuda" if aims else _there(other[0]) if other else stays and name != "cpu"
        elif aims:
            stays = aims[0].type == "cuda"
        args, kwargs = tree_map(_plain, (args, dict(kwargs or {})))
        with torch._C.DisableTorchFunctionSubclass():
            found = func(*args, **kwargs)
        return tree_map(_on if stays else _off, found)


def _names_a_place(value: object) -> bool:
    return isinstance(value, torch.device) or (isinstance(value, str) and value in ("cpu", "cuda", str(CARD)))


def _plain(value: Any) -> Any:
    return torch.device("cpu") if _names_a_place(value) and torch.device(value).type == "cuda" else value


@contextmanager
def present() -> Iterator[torch.device]:
    """While it lasts there is a card."""
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # or moved parameters are tensors as they were
    try:
        with _Present():
            yield CARD
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(before)
