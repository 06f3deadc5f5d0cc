"""The distance to the exact optimum, where one is known: least squares and landscapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from descent.callbacks.measurement import Measurement, RunView
from descent.errors import UserError
from descent.models.landscapes import Landscape
from descent.models.linear import Linear
from descent.models.point import Point
from descent.records.tables import FULL_LOSS
from descent.shapes import Float

DISTANCE, EXCESS = "diagnostics/distance", "diagnostics/excess_loss"


@dataclass(frozen=True)
class Known:
    """A known optimum.

    Args:
        distance: of the parameters, flattened [P], to the nearest optimum.
        loss: the full loss there.
    """

    distance: Callable[[Tensor], float]
    loss: float


def of_landscape(ground: Landscape) -> Known:
    """Return the global minima of a landscape."""
    minima = torch.tensor(ground.minima, dtype=torch.float64)

    def distance(theta: Tensor) -> float:
        return float((minima - theta.double().cpu()).norm(dim=1).min())

    return Known(distance, ground.lowest)


def of_least_squares(
    x: Float[Tensor, "N F"], y: Float[Tensor, "N C"], bias: bool, l2: float = 0.0
) -> Known:
    """Return the optimum of mean((x W' + b - y)²) + l2 / 2 |W|², solved in float64.

    Args:
        x: features.
        y: targets.
        bias: whether there is a b, which the penalty leaves alone.
        l2: weight of the penalty.

    Parameters are W [C, F] and then b [C], flattened. Where features depend on each other and
    nothing is penalized, the optima form a plane; the distance is to that plane.
    """
    rows, outputs = y.shape
    design = torch.cat([x, torch.ones_like(x[:, :1])], dim=1) if bias else x
    design, wanted = design.double().cpu(), y.double().cpu()
    if l2:  # the penalty as further rows: sqrt(N C l2 / 2) w = 0
        further = torch.eye(design.shape[1], dtype=torch.float64)[: x.shape[1]]
        further = further * (rows * outputs * l2 / 2) ** 0.5
        design = torch.cat([design, further])
        wanted = torch.cat([wanted, wanted.new_zeros(len(further), outputs)])
    u, s, vh = torch.linalg.svd(design, full_matrices=False)
    kept = s > s.max() * len(design) * torch.finfo(torch.float64).eps
    u, s, vh = u[:, kept], s[kept], vh[kept]
    best = vh.T @ ((u.T @ wanted) / s[:, None])  # [F (+ 1), C]

    def distance(theta: Tensor) -> float:
        flat = theta.double().cpu()
        w = flat[: x.shape[1] * outputs].reshape(outputs, -1).T
        given = torch.cat([w, flat[x.shape[1] * outputs :][None]]) if bias else w
        return float((vh @ (given - best)).norm())

    loss = float((design @ best - wanted).square().sum()) / (rows * outputs)
    return Known(distance, loss)


class Optimum(Measurement):
    """Records |θ - θ*| and L(θ) - L(θ*).

    Costs one singular value decomposition of the training rows at the start, then next to nothing.

    Args:
        every_n_epochs: measure after each n-th epoch.
    """

    metrics = (DISTANCE, EXCESS)

    def __init__(self, every_n_epochs: int = 1) -> None:
        super().__init__(every_n_epochs)
        self._known: dict[float, Known] = {}  # by the L2 penalty; one table for all runs

    def measure(self, run: RunView) -> dict[str, float]:
        """Return both distances at the present weights.

        Raises:
            UserError: no optimum is known.
        """
        l2 = float(run.penalty.l2)
        if l2 not in self._known or run.penalty.l1:
            self._known[l2] = known_optimum(run)
        known = self._known[l2]
        theta = torch.cat([p.detach().reshape(-1) for p in run.trainable().values()])
        loss = run.measured.get(FULL_LOSS)
        loss = run.full_loss() if loss is None else loss
        return {DISTANCE: known.distance(theta), EXCESS: loss - known.loss}


def known_optimum(run: RunView) -> Known:
    """Return the optimum of a landscape or of least squares.

    Raises:
        UserError: it is neither.
    """
    model = run.model
    if isinstance(model, Point):
        return of_landscape(model.landscape)
    squares = run.loss.is_squared_error and isinstance(model, Linear)
    if not squares or run.penalty.l1:
        raise UserError(
            "diagnostics=[optimum] knows the optimum of least squares (model=linear, regression, "
            "loss=mse, no weights, penalty.l1=0) and of landscapes only; take it out."
        )
    x, y = run.rows("train")
    has_bias = "layer.bias" in dict(model.named_parameters())
    return of_least_squares(x, y, has_bias, float(run.penalty.l2))
