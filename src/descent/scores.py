"""Validation and test metrics of R runs, in float64; regression's in the target's own units."""

from __future__ import annotations

from torch import Tensor

from descent.data.prepare import Description
from descent.data.scale import Scaler
from descent.metrics import of_task
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


def unscaled(values: Shaped[Tensor, ...], scaler: Scaler) -> Shaped[Tensor, ...]:
    """Return targets or outputs [..., C] in the units they had before they were scaled."""
    linear = values * values.new_tensor(scaler.scale) + values.new_tensor(scaler.offset)
    return linear.exp() if scaler.log else linear
