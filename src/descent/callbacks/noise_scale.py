"""The gradient noise scale tr(Σ) / |G|², which says how large a batch is worth its rows.

Source: McCandlish et al. (2018), *An empirical model of large-batch training*, appendix A.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import grad, vmap

from descent.callbacks.measurement import Measurement, Parameters, RunView, StackView
from descent.engine.losses import objective_at
from descent.seeds import MEASURE, stream_seed
from descent.shapes import Float

NAME = "diagnostics/noise_scale"
EXACT_UP_TO = 2e7  # parameters times rows: about a second of per-row gradients
CHUNK = 2**22  # numbers of per-row gradients held at once
BATCHES = 16  # mini-batches of one estimate

Gradient = Callable[[Tensor, Tensor], Parameters]
Numbers = float | np.ndarray


def exact_moments(
    gradient: Gradient, chunks: Iterable[tuple[Tensor, Tensor]], lead: tuple[int, ...] = ()
) -> tuple[Float[np.ndarray, "*A"], Float[np.ndarray, "*A"]]:
    """Return (|G|², tr Σ) over all rows, from the gradient of each row.

    Args:
        gradient: of one row's objective: (x [1, F], y [1, ...]) -> gradient by parameter.
        chunks: the rows in pieces, x [n, F] and y [n, ...].
        lead: (A,) for A runs at once, whose gradients are [A, ...].

    |·|² is a sum of squares; Σ is the covariance with N, not N - 1, below.
    """
    per_row = vmap(lambda x, y: gradient(x.unsqueeze(0), y.unsqueeze(0)))
    squares, rows = torch.zeros(lead, dtype=torch.float64), 0
    sums: dict[str, Tensor] = {}
    for x, y in chunks:
        for name, found in per_row(x, y).items():
            g = found.double().reshape(len(x), *lead, -1)
            squares = squares.to(g.device) + g.square().sum(dim=(0, -1))
            sums[name] = sums.get(name, torch.zeros((), device=g.device)) + g.sum(dim=0)
        rows += len(x)
    norm = sum(s.square().sum(dim=-1) for s in sums.values()) / rows**2
    assert isinstance(norm, Tensor)
    return norm.cpu().numpy(), (squares / rows - norm).clamp(min=0).cpu().numpy()


def two_batch_moments(small: float, big: float, b: int, B: int, rows: int) -> tuple[float, float]:
    """Return unbiased estimates of (|G|², tr Σ) from the squared gradients of two batch sizes.

    Args:
        small: |G_b|², a mean over mini-batches of b rows.
        big: |G_B|² of B > b rows; both drawn from `rows` without replacement.
        b: rows of a small batch.
        B: rows of the big one.
        rows: N.

    Without replacement the difference estimates the trace with N - 1 below, and |G_b|² lacks its
    share 1/N: both are put right here, so that the results are those of `exact_moments`.
    """
    trace = (small - big) / (1 / b - 1 / B)
    norm = (B * big - b * small) / (B - b) + trace / rows
    return norm, trace * (rows - 1) / rows


def noise_scale(norm: Numbers, trace: Numbers) -> Float[np.ndarray, "*A"]:
    """Return tr Σ / |G|²; infinity where the mean gradient cannot be told from zero."""
    given = np.asarray(norm, dtype=np.float64)
    return np.divide(trace, given, out=np.full(given.shape, np.inf), where=given > 0)


class NoiseScale(Measurement):
    """Records the noise scale: exactly for small models and data, else as an estimate.

    Exact: the gradient of every row, about the time of N single-row steps in one batch. Estimated:
    `BATCHES` mini-batch gradients at fixed weights, averaged over measurements.

    Args:
        every_n_epochs: measure after each n-th epoch.
        exact: whether from every row's gradient; `auto` up to `EXACT_UP_TO` numbers.
        smoothing: share of the past that each estimate keeps, in |G|² and tr Σ apart.
    """

    metrics = (NAME,)

    def __init__(
        self, every_n_epochs: int = 1, exact: bool | str = "auto", smoothing: float = 0.9
    ) -> None:
        super().__init__(every_n_epochs)
        self.exact, self.smoothing = exact, smoothing
        self._norm = self._trace = 0.0

    def measure_all(self, stack: StackView) -> dict[str, Float[np.ndarray, " a"]]:
        """Return the noise scale of each run at its present weights."""
        size = sum(p[0].numel() for p in stack.parameters.values())
        x, y = stack.rows("train")

        def gradient(x: Tensor, y: Tensor) -> Parameters:
            return grad(lambda p: stack.objective_at(p, x, y).sum())(stack.parameters)

        if self._is_exact(size, len(x)):
            piece = max(1, CHUNK // (size * stack.lead[0]))
            chunks = zip(x.split(piece), y.split(piece), strict=True)
            return {NAME: noise_scale(*exact_moments(gradient, chunks, stack.lead))}
        return super().measure_all(stack)  # estimates have rows of their own

    def measure(self, run: RunView) -> dict[str, float]:
        """Return an estimate at the present weights."""
        norm, trace = self._estimate(run)
        # both averages start at 0, which their ratio does not notice
        self._norm = self.smoothing * self._norm + (1 - self.smoothing) * norm
        self._trace = self.smoothing * self._trace + (1 - self.smoothing) * trace
        return {NAME: float(noise_scale(self._norm, self._trace))}

    def _is_exact(self, size: int, rows: int) -> bool:
        return self.exact is True or (self.exact == "auto" and size * rows <= EXACT_UP_TO)

    def _estimate(self, run: RunView) -> tuple[float, float]:
        (x, y), parameters = run.rows("train"), run.trainable()
        slope = grad(partial(objective_at, run.model, run.loss, run.penalty))
        rows = len(x)
        b = max(1, min(run.batch_size, rows // 4))
        seed = stream_seed(run.seed, MEASURE, run.global_step)
        order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
        batches = order[: min(BATCHES, rows // b) * b].to(x.device).split(b)
        flat = [
            torch.cat([g.reshape(-1).double() for g in slope(parameters, x[i], y[i]).values()])
            for i in batches
        ]
        small = sum(float(g.square().sum()) for g in flat) / len(flat)
        big = float((sum(flat) / len(flat)).square().sum())  # type: ignore[union-attr]
        return two_batch_moments(small, big, b, b * len(flat), rows)

    def state_dict(self) -> dict[str, Any]:
        """Return the averages."""
        return {"norm": self._norm, "trace": self._trace}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take them back."""
        self._norm, self._trace = state_dict["norm"], state_dict["trace"]
