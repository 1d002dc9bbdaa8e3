"""Where a round computes: on the processor, or on an NVIDIA card that PyTorch can use."""

from __future__ import annotations

import torch

from learners.errors import NoDevice

CPU = torch.device("cpu")


def chosen(asked: str) -> torch.device:
    """What `learning.device` asks for, tried out; "auto" takes a card where one works.

    Raises:
        NoDevice: "cuda" was asked for and does not work here.
    """
    why = None if asked == "cpu" else trouble()
    if asked == "cuda" and why:
        raise NoDevice(why)
    return CPU if asked == "cpu" or why else torch.device("cuda")


def trouble() -> str | None:
    """Why nothing can be computed on a card here; None if it can."""
    if torch.version.cuda is None:
        return "this PyTorch is built for processors alone"
    if not torch.cuda.is_available():
        return "PyTorch sees no card"
    try:
        torch.ones(1, device="cuda").item()
    except RuntimeError:
        return "the card that PyTorch sees does not compute"
    return None
