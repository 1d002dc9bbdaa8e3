"""The head's step by jax-privacy, for step_cost.py --jax: run by a Python that has it, and nothing of this project.

    PYTHON bench/step_jax.py FILE.npz REPETITIONS

The file holds cached frames, targets and weights of documents, filled up to one shape. A document's loss is the
mean over its lines of optax' CTC loss over the line's length, of scores linear in the frames. plain: one gradient of
the mean loss. private: `clipped_grad` by document (its vmap over all, or over microbatches), `gaussian_privatizer`.
Both end with Adam and are compiled as one. JAX draws ordinary noise in float32. One thread; seconds of the processor.
Prints JSON.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

import jax
import jax.numpy as jnp
import jax_privacy
import numpy as np
import optax

AT_A_TIME = 8


def main() -> int:
    held = {name: np.asarray(value) for name, value in np.load(sys.argv[1]).items()}
    rank, classes, clip, sigma = int(held["rank"]), int(held["classes"]), float(held["clip"]), float(held["sigma"])
    batch = {name: jnp.asarray(held[name]) for name in ("inputs", "frames", "targets", "lengths", "weights")}
    documents, size = len(held["inputs"]), classes * (rank + 1)

    def document_loss(theta: jax.Array, document: dict[str, jax.Array]) -> jax.Array:
        inputs = document["inputs"]
        within, stock = inputs[..., :rank], inputs[..., rank:]
        moved = within @ theta[: classes * rank].reshape(classes, rank).T + theta[classes * rank :]
        logits = jnp.concatenate((moved + stock[..., :classes], stock[..., classes:]), axis=-1)
        padded = jnp.arange(inputs.shape[-2]) >= document["frames"][:, None]
        beyond = jnp.arange(document["targets"].shape[-1]) >= document["lengths"][:, None]
        losses = optax.ctc_loss(logits, padded.astype(jnp.float32), document["targets"], beyond.astype(jnp.float32))
        return (losses * document["weights"]).sum()

    def mean_loss(theta: jax.Array, documents: dict[str, jax.Array]) -> jax.Array:
        return jax.vmap(document_loss, in_axes=(None, 0))(theta, documents).mean()

    def clipped(microbatch: int | None) -> Any:
        return jax_privacy.clipped_grad(
            document_loss, l2_clip_norm=clip, normalize_by=documents, keep_batch_dim=False, microbatch_size=microbatch
        )

    adam = optax.adam(float(held["rate"]))
    privatizer = jax_privacy.noise_addition.gaussian_privatizer(stddev=sigma * clip / documents, prng_key=0)
    start = jnp.zeros(size)

    def steps(gradient: Callable[..., Any], private: bool) -> Callable[[], None]:
        @jax.jit
        def update(theta: Any, noise: Any, state: Any, batch: Any) -> Any:
            found = gradient(theta, batch)
            if private:
                found, noise = privatizer.update(found, noise)
            change, state = adam.update(found, state)
            return optax.apply_updates(theta, change), noise, state

        held_state = [start, privatizer.init(start), adam.init(start)]

        def step() -> None:
            held_state[:] = jax.block_until_ready(update(*held_state, batch))

        return step

    variants = {"plain": steps(jax.grad(mean_loss), False)}
    variants["private"] = steps(clipped(None), True)
    variants["private, in parts"] = steps(clipped(math.gcd(AT_A_TIME, documents)), True)
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(int(sys.argv[2]) + 1):
        for name, step in variants.items():
            begun = time.process_time()
            step()
            if turn:  # the first compiles
                seconds[name].append(time.process_time() - begun)
    mean = np.asarray(jax.jit(clipped(None))(start, batch), np.float64)
    apart = np.linalg.norm(mean - held["reference"]) / np.linalg.norm(held["reference"])
    about = f"jax-privacy {version('jax-privacy')}, jax {version('jax')}"
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    print(json.dumps({"about": about, "seconds": medians, "apart": float(apart)}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
