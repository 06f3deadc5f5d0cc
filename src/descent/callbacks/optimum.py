"""The distance to the exact optimum, where one is known.

Of least squares, of logistic regression with an L2 penalty, and of landscapes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import grad_and_value, hessian

from descent.callbacks.measurement import Measurement, RunView
from descent.engine.losses import CrossEntropy, objective_at
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


NEWTON, HALVINGS, FLAT = 50, 40, 1e-11  # steps, halvings of one, and slope at the end
MOST_PARAMETERS = 1000  # whose Hessian is held


def of_logistic_regression(objective: Callable[[Tensor], Tensor], size: int) -> Known:
    """Return the minimum of a convex objective of P parameters, by Newton's method in float64.

    Args:
        objective: twice differentiable, maps [P] to a scalar.
        size: P.

    Where the objective does not change along some directions (all biases of softmax together), the
    optima form a plane; the distance is to that plane.
    """
    theta = torch.zeros(size, dtype=torch.float64)
    for _ in range(NEWTON):
        slope, lowest = grad_and_value(objective)(theta)
        values, vectors = torch.linalg.eigh(hessian(objective)(theta))
        kept = vectors[:, values > values.max() * size * torch.finfo(torch.float64).eps]
        if slope.abs().max() < FLAT:
            break
        curved = values[-kept.shape[1] :]
        step = kept @ ((kept.T @ slope) / curved)
        share = 1.0
        for _ in range(HALVINGS):
            if objective(theta - share * step) <= lowest:
                break
            share /= 2
        theta = theta - share * step
    best = theta

    def distance(given: Tensor) -> float:
        return float((kept.T @ (given.double().cpu() - best)).norm())

    return Known(distance, float(objective(best)))


class Optimum(Measurement):
    """Records |θ - θ*| and L(θ) - L(θ*).

    Costs one singular value decomposition of the training rows at the start, or some Hessians of a
    logistic regression, then next to nothing.

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
    """Return the optimum of a landscape, of least squares or of logistic regression.

    Raises:
        UserError: it is none of them.
    """
    model = run.model
    if isinstance(model, Point):
        return of_landscape(model.landscape)
    x, y = run.rows("train")
    parameters = run.trainable()
    sizes = [p.numel() for p in parameters.values()]
    linear = isinstance(model, Linear) and not run.penalty.l1
    logistic = linear and run.penalty.l2 and type(run.loss.loss) is CrossEntropy
    if logistic and sum(sizes) <= MOST_PARAMETERS:
        rows = x.double().cpu(), y.cpu() if y.dtype == torch.long else y.double().cpu()

        def objective(flat: Tensor) -> Tensor:
            parts = zip(parameters.items(), flat.split(sizes), strict=True)
            at = {name: part.view(p.shape) for (name, p), part in parts}
            with torch.autocast("cpu", enabled=False):  # of a run in mixed precision
                return objective_at(model, run.loss, run.penalty, at, *rows)

        return of_logistic_regression(objective, sum(sizes))
    if not (linear and run.loss.is_squared_error):
        raise UserError(
            "diagnostics=[optimum] knows the optimum of least squares (model=linear, regression, "
            "loss=mse, no weights, penalty.l1=0), of logistic regression (model=linear, classes, "
            f"penalty.l2 above 0, penalty.l1=0, at most {MOST_PARAMETERS:,} parameters) and of "
            "landscapes only; take it out."
        )
    has_bias = "layer.bias" in dict(model.named_parameters())
    return of_least_squares(x, y, has_bias, float(run.penalty.l2))
