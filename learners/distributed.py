"""A private round on several processes: gloo on CPUs, nccl on GPUs.

    torchrun --nproc-per-node 2 ...     (see bench/distributed.py; for Ray, `learners.ray_round`)

Every slot belongs to one process, by its number. A step is one collective act of all processes: each clips its
documents into a sum of integers, the first alone gets the sum of these sums, adds the noise, and tells all what
came out. From there on all compute the same.

Guarantees:

* Noise is added once, by the process that holds the debit. Every other has no more than coins.
* Integer sums have no order: any number of processes gives the same sum, to the last bit, where a document's
  gradient is the same on each (on CPUs of one kind).
* A process whose batch is empty takes part like any other: how many steps and collectives there are depends on
  the plan alone.
* A process that is lost ends the round on all, with `ProcessLost`, within a public number of seconds. A round is
  never taken up again: its debit is spent, and noise drawn anew against the same debit would be paid for once.

The machines and the wire between them are trusted: sums travel to the first process without noise, in plain.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from privacy.coins import Coins
from privacy.dpsgd import Mechanism
from privacy.noise import Debit, NoiseSource

TIMEOUT_SECONDS = 600.0
"""How long a process waits for the others: longer than any step, noise on all parameters included."""


class ProcessLost(RuntimeError):
    """Another process of the round has died, or not been heard of in time."""


@dataclass(frozen=True)
class Team:
    """The processes of a round, as one of them sees them: its rank, their number, and its device."""

    rank: int = 0
    size: int = 1
    device: str = "cpu"

    @classmethod
    @contextmanager
    def from_environment(cls, timeout_seconds: float = TIMEOUT_SECONDS) -> Iterator[Team]:
        """The team that torchrun's variables describe, or Ray Train has gathered already; one process without.

        Raises:
            ValueError: a launcher that would start the round again.
            ProcessLost: the others did not come in time.
        """
        if os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0":
            raise ValueError("Expected --max-restarts 0: a round that starts again needs a new debit.")
        ours = not dist.is_initialized() and int(os.environ.get("WORLD_SIZE", "1")) > 1
        device = _device()
        if ours:
            with _waiting():
                backend = "nccl" if device.startswith("cuda") else "gloo"
                dist.init_process_group(backend, timeout=timedelta(seconds=timeout_seconds))
        try:
            yield cls(dist.get_rank(), dist.get_world_size(), device) if dist.is_initialized() else cls(device=device)
        finally:
            if ours:
                dist.destroy_process_group()

    def source(self, debit: Debit) -> NoiseSource | Coins:
        """What this process draws from: the first against the debit, the others coins for their own slots."""
        return NoiseSource(debit) if self.rank == 0 else Coins(debit.event)

    def share(self, slots: Iterable[int]) -> list[int]:
        """The slots of this process: public, and each slot is one process's."""
        return [slot for slot in slots if slot % self.size == self.rank]

    def once(self, part: Tensor, mechanism: Mechanism) -> Tensor:
        """`mechanism` of the sum of all processes' parts (int64): asked by the first process, told to all.

        Raises:
            ProcessLost: another process did not take part.
        """
        if self.size == 1:
            return mechanism(part)
        total = part.to(self.device, copy=True)
        with _waiting():
            dist.reduce(total, dst=0)
        told = mechanism(total).to(self.device) if self.rank == 0 else total
        with _waiting():
            dist.broadcast(told, src=0)
        return told

    def check_same(self, what: str, *parts: object) -> None:
        """Raises `ValueError` where the processes differ in something public, given as tensors or by its `repr`."""
        digest = hashlib.sha256()
        for part in parts:
            digest.update(part.cpu().numpy().tobytes() if isinstance(part, Tensor) else repr(part).encode())
        ours = torch.from_numpy(np.frombuffer(digest.digest(), dtype=np.uint32).astype(np.int64))
        if not torch.equal(self.once(ours, lambda total: total).cpu(), ours * self.size):
            raise ValueError(f"Expected the same {what} on all {self.size} processes, got another on one.")


ALONE = Team()


def _device() -> str:
    """This process's own GPU, if there is one for every process of this machine."""
    rank, processes = int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if torch.cuda.device_count() < processes:
        return "cpu"
    torch.cuda.set_device(rank)
    return f"cuda:{rank}"


@contextmanager
def _waiting() -> Iterator[None]:
    """A collective fails with whatever its backend says; here that has one name."""
    try:
        yield
    except RuntimeError as error:
        raise ProcessLost(
            "Another process of this round has died or not answered in time. The round is over on all of them, "
            f"and its debit is spent: start a new one. ({error})"
        ) from error
