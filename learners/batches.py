"""From line crops to tensors, each line by itself.

The recogniser's squeeze-excite and attention see padding, so a line's width is a function of that line
alone, in training, in caches and in parity tests alike: what RapidOCR shows its model when it reads the
line on its own (height 48, natural width, zeros on the right up to 320). Nothing is padded to a batch's
widest line: then one document's gradient would depend on the others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from learners.lines import HEIGHT, MIN_WIDTH
from privacy.page import Image


def to_tensor(image: Image) -> torch.Tensor:
    """`(48, W, 3) uint8 RGB` -> `(3, 48, max(W, 320)) float32`: BGR in [-1, 1], zeros on the right."""
    out = np.zeros((3, HEIGHT, max(image.shape[1], MIN_WIDTH)), np.float32)
    # The order of operations is RapidOCR's, so that the last bit agrees.
    values = image[:, :, ::-1].astype(np.float32).transpose(2, 0, 1) / 255
    values -= 0.5
    values /= 0.5
    out[:, :, : image.shape[1]] = values
    return torch.from_numpy(out)


def by_width(images: Sequence[Image], size: int = 8) -> Iterator[tuple[list[int], torch.Tensor]]:
    """Batches of lines whose own widths are equal: their indices, and `(N, 3, 48, W)`."""
    groups: dict[int, list[int]] = defaultdict(list)
    for index, image in enumerate(images):
        groups[max(image.shape[1], MIN_WIDTH)].append(index)
    for width in sorted(groups):
        indices = groups[width]
        for start in range(0, len(indices), size):
            part = indices[start : start + size]
            yield part, torch.stack([to_tensor(images[i]) for i in part])
