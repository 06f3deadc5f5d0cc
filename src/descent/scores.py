"""Validation and test metrics by task, gathered piece by piece."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torchmetrics
from torch import Tensor

from descent.data.arrays import Task
from descent.data.prepare import Description
from descent.shapes import Float, Shaped


class Scores:
    """The metrics of each split that has rows, kept in float64 on the CPU: one answer everywhere.

    Args:
        data: the task, the outputs and the target's scale: regression metrics are in the target's
            own units.
        rows: how many each split holds.
    """

    def __init__(self, data: Description, rows: Mapping[str, int]) -> None:
        self.data = data
        self._by_split: dict[str, dict[str, torchmetrics.Metric]] = {
            split: {
                "loss": torchmetrics.MeanMetric(),
                **metrics_for(data.task, data.outputs, rows[split]),
            }
            for split in ("val", "test")
            if rows[split]
        }
        for metric in (m for split in self._by_split.values() for m in split.values()):
            metric.set_dtype(torch.float64)

    def names(self, split: str) -> list[str]:
        """Return the metrics of `val` or `test`, loss first; none if the split has no rows."""
        return [f"{split}/{name}" for name in self._by_split.get(split, {})]

    def add(self, split: str, outputs: Float[Tensor, "B C"], y: Tensor, loss: Tensor) -> None:
        """Add a piece of a split: its outputs, targets and mean loss."""
        shown = predictions(self.data.task, outputs.double().cpu())
        wanted = y.double().cpu()
        if self.data.task.is_classification:
            wanted = wanted.reshape(-1).long()
        else:
            shown, wanted = self._unscaled(shown), self._unscaled(wanted)
        for name, metric in self._by_split[split].items():
            if name == "loss":
                metric.update(loss.double().cpu(), weight=len(y))
            else:
                metric.update(shown, wanted)

    def take(self, split: str) -> dict[str, float]:
        """Return a split's metrics by name, and begin anew."""
        values = {}
        for name, metric in self._by_split[split].items():
            values[f"{split}/{name}"] = float(metric.compute())
            metric.reset()
        return values

    def _unscaled(self, values: Float[Tensor, "B C"]) -> Float[Tensor, "B C"]:
        scaler = self.data.target_scaler
        return values * values.new_tensor(scaler.scale) + values.new_tensor(scaler.offset)


def predictions(task: Task, outputs: Float[Tensor, "B C"]) -> Shaped[Tensor, "B ..."]:
    """Turn outputs into class indices [B], or leave a regression's outputs [B, C] as they are."""
    if task in (Task.REGRESSION, Task.LANDSCAPE):
        return outputs
    if task is Task.BINARY:
        return (outputs[:, 0] > 0).long()
    return outputs.argmax(dim=1)


def metrics_for(task: Task, outputs: int, rows: int) -> dict[str, torchmetrics.Metric]:
    """Return the metrics of a split by name.

    Args:
        task: what is predicted.
        outputs: classes or targets.
        rows: rows of the split; R^2 needs two.
    """
    if task is Task.LANDSCAPE:
        return {}
    if task is Task.BINARY:
        return {"accuracy": torchmetrics.classification.BinaryAccuracy()}
    if task is Task.MULTICLASS:
        accuracy = torchmetrics.classification.MulticlassAccuracy(outputs, average="micro")
        return {"accuracy": accuracy}
    metrics: dict[str, torchmetrics.Metric] = {
        "rmse": torchmetrics.MeanSquaredError(squared=False),
        "mae": torchmetrics.MeanAbsoluteError(),
    }
    if rows > 1:
        metrics["r2"] = torchmetrics.R2Score()
    return metrics
