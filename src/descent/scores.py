"""Validation and test metrics of R runs, in float64; regression's in the target's own units."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from descent.data.arrays import Task
from descent.data.prepare import Description
from descent.data.scale import Scaler
from descent.metrics import classes, of_task
from descent.shapes import Float, Shaped


class Scores:
    """The metrics of a split, of every run at once.

    Args:
        data: the task and the target's scale.
        y: targets [n, ...] of the split.
    """

    def __init__(self, data: Description, y: Float[Tensor, "n ..."]) -> None:
        self.data = data
        self._metrics = of_task(data.task, len(y), data.metrics)
        wanted = y.double()
        self._wanted = (
            wanted.reshape(-1).long() if data.task.is_classification else self._unscaled(wanted)
        )

    @property
    def names(self) -> list[str]:
        """The metrics there are, after the loss."""
        return [metric.name for metric in self._metrics]

    def __call__(self, outputs: Float[Tensor, "R n C"]) -> dict[str, Float[Tensor, " R"]]:
        """Return each metric of every run."""
        shown = outputs.double()
        if not self.data.task.is_classification:
            shown = self._unscaled(shown)
        return {m.name: m.formula(shown, self._wanted) for m in self._metrics if m.formula}

    def _unscaled(self, values: Tensor) -> Tensor:
        return unscaled(values, self.data.target_scaler)


class SplitScores:
    """One run's metrics of the splits that have rows, gathered piece by piece on the CPU.

    Args:
        data: the task, the outputs and the target's scale.
        rows: how many each split holds.
    """

    def __init__(self, data: Description, rows: Mapping[str, int]) -> None:
        self.data = data
        self._rows = {split: rows[split] for split in ("val", "test") if rows[split]}
        self._pieces: dict[str, list[tuple[Tensor, Tensor, Tensor]]] = {s: [] for s in self._rows}

    def names(self, split: str) -> list[str]:
        """Return the metrics of `val` or `test`, loss first; none if the split has no rows."""
        if split not in self._rows:
            return []
        metrics = of_task(self.data.task, self._rows[split], self.data.metrics)
        return [f"{split}/{name}" for name in ("loss", *(m.name for m in metrics))]

    def add(self, split: str, outputs: Float[Tensor, "B C"], y: Tensor, loss: Tensor) -> None:
        """Add a piece of a split: its outputs, targets and mean loss."""
        weighted = loss.double().cpu() * len(y)
        self._pieces[split].append((outputs.double().cpu(), y.double().cpu(), weighted))

    def take(self, split: str) -> dict[str, float]:
        """Return a split's metrics by name, and begin anew."""
        outputs, y, losses = zip(*self._pieces[split], strict=True)
        self._pieces[split] = []
        wanted = torch.cat(y)
        values = {"loss": torch.stack(losses).sum() / len(wanted)}
        values |= Scores(self.data, wanted)(torch.cat(outputs).unsqueeze(0))
        return {f"{split}/{name}": float(value) for name, value in values.items()}


def unscaled(values: Shaped[Tensor, ...], scaler: Scaler) -> Shaped[Tensor, ...]:
    """Return targets or outputs [..., C] in the units they had before they were scaled."""
    linear = values * values.new_tensor(scaler.scale) + values.new_tensor(scaler.offset)
    return linear.exp() if scaler.log else linear


def predictions(task: Task, outputs: Float[Tensor, "B C"]) -> Shaped[Tensor, "B ..."]:
    """Turn outputs into class indices [B], or leave a regression's outputs [B, C] as they are."""
    return classes(outputs) if task.is_classification else outputs
