"""Where a round computes: on the processor, or on an NVIDIA card that PyTorch can use."""

from __future__ import annotations

import warnings

import torch
from torch.nn import functional

from learners.errors import NoDevice

CPU, CARD = torch.device("cpu"), torch.device("cuda", 0)


def chosen(asked: str) -> torch.device:
    """What `learning.device` asks for, tried out; "auto" takes a card where one works.

    What is not in bfloat16 is then in float32, and no less: TF32, which convolutions may use by default, is off.

    Raises:
        NoDevice: "cuda" was asked for and does not work here.
    """
    why = None if asked == "cpu" else trouble()
    if asked == "cuda" and why:
        raise NoDevice(why)
    if asked == "cpu" or why:
        return CPU
    torch.backends.cudnn.allow_tf32 = False
    return CARD


def trouble() -> str | None:
    """Why nothing can be computed on a card here; None if it can."""
    if torch.version.cuda is None:
        return "this PyTorch is not built for NVIDIA cards"
    with warnings.catch_warnings():  # of a driver that is too old, say
        warnings.simplefilter("ignore")
        if not torch.cuda.is_available():
            return "PyTorch sees no card"
    try:
        _compute()
    except (RuntimeError, torch.cuda.DeferredCudaCallError):
        return "the card that PyTorch sees does not compute"
    return None


def _compute() -> None:
    """A little of all that rounds ask of a card: its libraries are loaded when they are first needed."""
    weight = torch.ones(1, 1, 1, 3, device=CARD, requires_grad=True)
    with torch.autocast(CARD.type, torch.bfloat16):
        said = functional.conv2d(torch.ones(1, 1, 4, 8, device=CARD), weight).flatten(0, 2) @ weight.new_ones(6, 2)
    scores = functional.log_softmax(said, dim=1, dtype=torch.float64)[:, None]
    target, one = torch.ones(1, dtype=torch.int64, device=CARD), torch.ones(1, dtype=torch.int64)
    loss = functional.ctc_loss(scores, target, len(said) * one, one)
    torch.autograd.grad(loss, weight)
    torch.linalg.eigh(torch.eye(2, dtype=torch.float64, device=CARD)).eigenvalues.sum().item()
