"""The same stacked training in JAX, which need not be installed: jit of scan over steps of vmap."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
import time
from importlib.metadata import version

import numpy as np
import torch
from contenders import Work
from torch import nn


def why_not() -> str | None:
    """Return why there is nothing to compare with; None if there is.

    jax 0.10 on CPU can return wrong values for a vmapped matrix-vector product.
    """
    if sys.version_info < (3, 12):
        return f"jax 0.12 needs Python 3.12, and this is {platform.python_version()}"
    if importlib.util.find_spec("jax") is None:
        return "jax is not installed"
    found = version("jax")
    if tuple(map(int, found.split(".")[:2])) < (0, 12):
        return f"jax {found} is older than 0.12"
    return None


def run_step_seconds(work: Work, runs: int, rounds: int) -> tuple[list[float], np.ndarray]:
    """Return seconds a run-step of R runs that differ in lr, on one core, compiling left out.

    The losses [K, R] of the first epoch come with them.

    Args:
        work: an MLP trained with momentum on classes.
        runs: R.
        rounds: repeats.
    """
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    import jax
    import jax.numpy as jnp

    x, y, model, _, _, size = work.parts()
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    one = [(w.weight.detach().numpy().T, w.bias.detach().numpy()) for w in layers]
    start = [tuple(jnp.broadcast_to(p, (runs, *p.shape)) for p in pair) for pair in one]
    beta = work.config()["optimizer"]["momentum"]
    lrs = jnp.array([0.01 * (1 + i / runs) for i in range(runs)], dtype=jnp.float32)
    xs, ys = jnp.array(x.numpy()), jnp.array(y.numpy())
    whole = len(x) // size * size  # the short last batch would be a program of its own

    def loss(parameters, x_BF, y_B):
        for weight, bias in parameters[:-1]:
            x_BF = jax.nn.relu(x_BF @ weight + bias)
        logits = x_BF @ parameters[-1][0] + parameters[-1][1]
        picked = jnp.take_along_axis(jax.nn.log_softmax(logits), y_B[:, None], axis=1)
        return -picked.mean()

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
        return jax.lax.scan(lambda s, at: step(s, (xs[at], ys[at])), state, rows)

    first: list[np.ndarray] = []

    def train() -> float:
        state = (start, jax.tree.map(jnp.zeros_like, start))
        began = time.perf_counter()
        for seed in range(work.epochs):
            order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:whole]
            state, losses = epoch(state, jnp.array(order.numpy()))
            losses.block_until_ready()
            if not first:
                first.append(np.asarray(losses))
        return (time.perf_counter() - began) / (work.epochs * (whole // size) * runs)

    train()
    return [train() for _ in range(rounds)], first[0]
