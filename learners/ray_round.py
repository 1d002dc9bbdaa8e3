"""The same round under Ray Train: `ocrd-daemon[ray]`.

Ray starts the processes and gathers them; the work is the function that torchrun would run, on a `Team`. What is
given to it, Ray stores in plain: let each process open its own documents itself, and write what comes out.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # before Ray is imported: it would report to its makers

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from learners.distributed import TIMEOUT_SECONDS, Team

ONCE = FailureConfig(max_failures=0, controller_failure_limit=0, max_preemption_failures=0)
"""Ray starts a run again by default when a machine is taken from it, without end."""


def run(
    work: Callable[[Team], None],
    processes: int,
    storage: Path,
    gpus: bool = False,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> None:
    """`work` on every process of a team, on the cluster that is there, or on this machine.

    Args:
        storage: an absolute folder for Ray's notes of the run.
        gpus: one for each process.

    Raises:
        ray.train.TrainingFailedError: a process failed. It is not tried again: the round's debit is spent.
    """

    def loop() -> None:
        with Team.from_environment() as team:
            work(team)

    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False)
    TorchTrainer(
        loop,
        torch_config=TorchConfig(backend="nccl" if gpus else "gloo", timeout_s=int(timeout_seconds)),
        scaling_config=ScalingConfig(num_workers=processes, use_gpu=gpus),
        run_config=RunConfig(storage_path=str(storage), failure_config=ONCE),
    ).fit()
