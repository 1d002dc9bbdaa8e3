"""An adapter whose model runs in one precision, whatever the device's own is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from learners.adapters import Adapter


class Precise:
    """The adapter `whole`, its model in bfloat16 or else in float32; parameters, gradients and loss keep their own."""

    def __init__(self, whole: Adapter, bfloat16: bool) -> None:
        self._whole, self._bfloat16, self.inputs, self.merge = whole, bfloat16, whole.inputs, whole.merge
        self.name, self.size, self.charset = whole.name, whole.size, whole.charset
        self.depth, self.device = whole.depth, whole.device

    def logits(self, theta: Tensor, groups: Sequence[Tensor]) -> Tensor:
        with torch.autocast(theta.device.type, torch.bfloat16, enabled=self._bfloat16):
            return self._whole.logits(theta, groups)
