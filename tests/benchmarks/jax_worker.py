"""The MLP of a stack trained in JAX, jit(scan(vmap)), on one core: run by a Python that has jax.

    python jax_worker.py WORK.npz     # prints {"version", "seconds", "losses"} as JSON

It needs jax and NumPy only; `jax_stack.py` writes what it trains on.
"""

from __future__ import annotations

import json
import os
import sys
import time

os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp
import numpy as np


def loss(parameters, x_BF, y_B):
    """Return the mean cross-entropy of an MLP with ReLU."""
    for weight, bias in parameters[:-1]:
        x_BF = jax.nn.relu(x_BF @ weight + bias)
    logits = x_BF @ parameters[-1][0] + parameters[-1][1]
    picked = jnp.take_along_axis(jax.nn.log_softmax(logits), y_B[:, None], axis=1)
    return -picked.mean()


def main(path: str) -> None:
    """Train as long as the file says; the first time, which compiles, is not counted."""
    work = np.load(path)
    x, y, orders, lrs = (jnp.array(work[name]) for name in ("x", "y", "orders", "lrs"))
    beta, size, runs = float(work["momentum"]), int(work["size"]), len(lrs)
    layers = sum(name.startswith("weight") for name in work)
    one = [(work[f"weight{i}"].T, work[f"bias{i}"]) for i in range(layers)]
    start = [tuple(jnp.broadcast_to(p, (runs, *p.shape)) for p in pair) for pair in one]

    def step(state, batch):
        parameters, buffers = state
        losses, found = jax.vmap(jax.value_and_grad(loss), (0, None, None))(parameters, *batch)
        buffers = jax.tree.map(lambda b, g: beta * b + g, buffers, found)

        def move(p, b):
            return p - lrs.reshape(-1, *[1] * (p.ndim - 1)) * b

        return (jax.tree.map(move, parameters, buffers), buffers), losses

    @jax.jit
    def epoch(state, order):
        rows = order.reshape(-1, size)
        return jax.lax.scan(lambda s, at: step(s, (x[at], y[at])), state, rows)

    def train():
        state, first = (start, jax.tree.map(jnp.zeros_like, start)), None
        began = time.perf_counter()
        for order in orders:
            state, losses = epoch(state, order)
            losses.block_until_ready()
            first = losses if first is None else first
        return (time.perf_counter() - began) / (orders.size // size * runs), np.asarray(first)

    _, losses = train()
    seconds, _ = train()
    print(json.dumps({"version": jax.__version__, "seconds": seconds, "losses": losses.tolist()}))


if __name__ == "__main__":
    main(sys.argv[1])
