"""Made data with a known answer: a noisy line of any size, and three points on one."""

from __future__ import annotations

import numpy as np

from descent.config.machine import refuse_too_large
from descent.data.arrays import Arrays, Task, numeric
from descent.errors import UserError

# x and y, what they are drawn and computed in, and the tensors made of them.
BYTES_PER_ROW = 32


def line(
    rows: int = 200,
    slope: float = 10.0,
    intercept: float = 5.0,
    noise: float = 1.0,
    start: float = 100.0,
    end: float = 300.0,
    seed: int = 1024,
) -> Arrays:
    """Return y = slope * z + intercept + noise * N(0, 1), with z the standardized x.

    The line is laid through standardized x (mean 0, unbiased std 1), so that with
    `scale: standardize` a linear model's weight and bias are estimates of `slope` and `intercept`.

    Args:
        rows: N, at least 2.
        slope: of y over standardized x.
        intercept: y at the mean of x.
        noise: standard deviation of the noise.
        start: first x.
        end: last x.
        seed: of the noise.

    Raises:
        UserError: start and end are the same.
    """
    if start == end:
        raise UserError(
            f"data.source.start and data.source.end are both {start:g}; a line needs two ends."
        )
    refuse_too_large(
        rows * BYTES_PER_ROW, f"data.source.rows={rows:,}", "give a smaller number of rows"
    )
    x = np.linspace(start, end, rows, dtype=np.float32)
    mean, std = x.mean(dtype=np.float64), x.std(ddof=1, dtype=np.float64)
    y = (x - mean) * (slope / std) + intercept
    if noise:
        import torch  # whose seeded stream the line-fit tutorials use

        drawn = torch.randn(rows, generator=torch.Generator().manual_seed(seed))
        y += noise * drawn.numpy()
    return Arrays(
        x.reshape(-1, 1), y.astype(np.float32), Task.REGRESSION, numeric(["x"]), "y",
        disposable=True,
    )  # fmt: skip


def three_points() -> Arrays:
    """Return x = 1, 2, 3 and y = 2x."""
    x = np.array([[1.0], [2.0], [3.0]])
    return Arrays(x, 2.0 * x[:, 0], Task.REGRESSION, numeric(["x"]), "y")
