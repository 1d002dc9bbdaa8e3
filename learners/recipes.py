"""How each adapter is trained: public, and fixed before a round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """How an adapter is trained; chosen on public documents, most of it on generated ones (docs/tried.md)."""

    max_grad_norm: float
    learning_rate: float
    rehearsal: float
    """Weight of the public documents' gradient beside the private one."""
    noise_bound: float
    """noise / signal up to which a round with this adapter made generated documents read better; 1, noise no larger
    than signal, where no bench has shown more."""
    automatic: bool = False
    """Whether "auto" takes it; else it only says what its noise would be."""
    from_start: float = 0.0
    """noise / signal up to which "auto" takes it too where rounds begin from a public start: only then it was seen to
    read more than `head` (docs/learning.md, "More documents")."""


RECIPES: Mapping[str, Recipe] = {
    "all": Recipe(max_grad_norm=0.05, learning_rate=1e-4, rehearsal=1.0, noise_bound=1.0),
    "neck": Recipe(max_grad_norm=0.05, learning_rate=2e-4, rehearsal=1.0, noise_bound=1.0, from_start=0.6),
    "top": Recipe(max_grad_norm=0.05, learning_rate=4e-3, rehearsal=1.0, noise_bound=1.0),
    "lora": Recipe(max_grad_norm=0.05, learning_rate=2e-3, rehearsal=1.0, noise_bound=1.0),
    "norm": Recipe(max_grad_norm=0.05, learning_rate=2e-3, rehearsal=1.0, noise_bound=1.0),
    "head": Recipe(max_grad_norm=0.05, learning_rate=1e-2, rehearsal=1.0, noise_bound=4.0, automatic=True),
    "bias": Recipe(max_grad_norm=0.05, learning_rate=1e-1, rehearsal=1.0, noise_bound=1.0, automatic=True),
}
"""From the most numbers to the fewest: so "auto" looks at them."""
TAUGHT = 0.3
"""Share of a recipe's rehearsal where rounds begin from a public start. Public documents are there to hold it: all of
their weight pulls it past what they have in common with others."""
PART = 0.5
"""How far from a public start towards where a round's learning ended its candidate stands. What learning adds to a
start goes too far for documents unlike those it saw; half of the way keeps most of what it gains and a quarter of the
noise's variance (docs/tried.md). It is what the start itself does (Wortsman et al. 2022, arXiv 2109.01903), and
free."""
STARTED_BOUND = 2.5
"""noise / signal up to which rounds from a public start made real documents read better, half of the way (forms at
2.54; receipts at .99, and at 2.72 no more; docs/learning.md). The signal is measured at the released model, and a
start leaves a third to a half of it on receipts, more on forms."""
