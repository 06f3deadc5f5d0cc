"""Losses and metrics of R runs at once; the same figures as `losses.py` and `scores.py`."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from descent.data.arrays import Task
from descent.data.prepare import Description
from descent.shapes import Float
from descent.stack.stacking import repeated

NEAR_ZERO = 1e-4


def stacked_loss(
    task: Task, outputs: Float[Tensor, "R B C"], y: Float[Tensor, "S B ..."]
) -> Float[Tensor, " R"]:
    """Return each run's mean loss of a batch.

    Args:
        task: which loss.
        outputs: of each run.
        y: targets of each of S equally many neighbouring runs.
    """
    if task is Task.LANDSCAPE:
        return outputs.mean(dim=(1, 2))
    wanted = repeated(y, len(outputs))
    if task is Task.MULTICLASS:
        losses = functional.cross_entropy(outputs.transpose(1, 2), wanted, reduction="none")
        return losses.mean(dim=1)
    if task is Task.BINARY:
        losses = functional.binary_cross_entropy_with_logits(outputs, wanted, reduction="none")
    else:
        losses = (outputs - wanted).square()
    return losses.mean(dim=(1, 2))


def stacked_penalty(
    weights: list[Float[Tensor, "R H F"]], l1: Float[Tensor, " R"], l2: Float[Tensor, " R"]
) -> Float[Tensor, " R"]:
    """Return each run's l1 * sum |w| + l2 / 2 * sum w^2."""
    total = torch.zeros_like(l1)
    for w in weights:
        flat = w.flatten(1)
        total = total + l1 * flat.abs().sum(dim=1) + 0.5 * l2 * flat.square().sum(dim=1)
    return total


class StackedScores:
    """Metrics over a split for every run, in float64; regression's in the target's own units.

    Args:
        data: the task and the target's scale.
        y: targets [n, ...] of the split.
    """

    def __init__(self, data: Description, y: Float[Tensor, "n ..."]) -> None:
        self.data = data
        wanted = y.double()
        if data.task is Task.REGRESSION:
            wanted = self._unscaled(wanted)
        self._wanted = wanted

    @property
    def names(self) -> list[str]:
        """The metrics there are, after the loss."""
        task = self.data.task
        if task is Task.LANDSCAPE:
            return []
        if task.is_classification:
            return ["accuracy"]
        return ["rmse", "mae", *(["r2"] if len(self._wanted) > 1 else [])]

    def __call__(self, outputs: Float[Tensor, "R n C"]) -> dict[str, Float[Tensor, " R"]]:
        """Return each metric of every run."""
        task, wanted = self.data.task, self._wanted
        if task is Task.LANDSCAPE:
            return {}
        if task is Task.BINARY:
            hits = (outputs[:, :, 0] > 0) == (wanted.reshape(1, -1) > 0.5)
            return {"accuracy": hits.double().mean(dim=1)}
        if task is Task.MULTICLASS:
            hits = outputs.argmax(dim=2) == wanted.reshape(1, -1).long()
            return {"accuracy": hits.double().mean(dim=1)}
        away = self._unscaled(outputs.double()) - wanted
        square = away.square().mean(dim=1)  # [R, C]
        found = {
            "rmse": square.mean(dim=1).sqrt(),
            "mae": away.abs().mean(dim=(1, 2)),
        }
        if len(wanted) > 1:
            spread = (wanted - wanted.mean(dim=0)).square().mean(dim=0)
            found["r2"] = _r2(square * len(wanted), spread * len(wanted)).mean(dim=1)
        return found

    def _unscaled(self, values: Tensor) -> Tensor:
        scaler = self.data.target_scaler
        return values * values.new_tensor(scaler.scale) + values.new_tensor(scaler.offset)


def _r2(residual: Float[Tensor, "R C"], total: Float[Tensor, " C"]) -> Float[Tensor, "R C"]:
    """Return R^2 from sums of squares; torchmetrics takes those below 1e-4 for zero."""
    exact, constant = residual.abs() <= NEAR_ZERO, total.abs() <= NEAR_ZERO
    found = torch.where(constant, 0.0, 1 - residual / torch.where(constant, 1.0, total))
    return torch.where(exact, 1.0, found)
