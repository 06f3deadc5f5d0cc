"""Rows for a walk on a landscape: nothing but gradient noise."""

from __future__ import annotations

import numpy as np

from descent.config.machine import refuse_too_large
from descent.data.arrays import Arrays, Task, numeric
from descent.models.landscapes import landscape_named


def landscape(name: str, rows: int = 1000, noise: float | int = 0.0, seed: int = 0) -> Arrays:
    """Return N Gaussian vectors z; the loss of a row at theta is f(theta) + z theta.

    They are shifted and stretched to mean 0 and population standard deviation `noise` in each
    coordinate, so the full loss is f itself, and a mini-batch of B rows drawn with replacement has
    gradient noise of variance noise^2 / B (without replacement times (N - B) / (N - 1)).

    Args:
        name: of the landscape.
        rows: N.
        noise: standard deviation of one row's gradient around the landscape's; 0 for none.
        seed: of the noise.

    Raises:
        UserError: no such landscape.
    """
    ground = landscape_named(name)
    # the noise, a temporary and the tensors made of it
    bytes_per_row = 8 * (3 * ground.dimension + 1)
    refuse_too_large(
        rows * bytes_per_row, f"data.source.rows={rows:,}", "give a smaller number of rows"
    )
    z = np.zeros((rows, ground.dimension))
    if noise and rows > 1:
        z = np.random.default_rng(seed).standard_normal(z.shape)
        z -= z.mean(axis=0)
        z *= noise / z.std(axis=0)
    return Arrays(z, np.zeros(rows), Task.LANDSCAPE, numeric(ground.coordinates), "height")
