"""What a LightningModule of the user's logs: figures of an epoch, or of an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from descent.errors import UserError
from descent.metrics import LOGGED

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule

# `reduce_fx` of Lightning's `self.log`, as what the values so far and the next one make
REDUCED: dict[Any, Callable[[Any, Any], Any]] = {
    "sum": lambda a, b: a + b, torch.sum: lambda a, b: a + b,
    "min": min, torch.min: min, "max": max, torch.max: max,
}  # fmt: skip
MEANS = ("mean", torch.mean)


class Logged:
    """What is logged until it is taken, each name reduced as Lightning does.

    Attributes:
        rows: of the present batch, by which means are weighted.
    """

    def __init__(self) -> None:
        self.rows = 1
        self._sums: dict[str, tuple[Any, float]] = {}  # and the weights; 0 for no mean
        self._metrics: dict[str, Any] = {}

    def log(
        self, name: str, value: Any, *_: Any, reduce_fx: Any = "mean",
        batch_size: int | None = None, **__: Any,
    ) -> None:  # fmt: skip
        """Take a value, in the place of Lightning's `self.log`.

        Args:
            name: of the figure.
            value: a number, a tensor of one, or an object of torchmetrics.
            reduce_fx: `mean` (weighted by rows), `sum`, `min` or `max` of an epoch's values.
            batch_size: the weight; the rows of the batch if None.

        Raises:
            UserError: it is no single number, or is to be reduced otherwise.
        """
        if callable(getattr(value, "compute", None)) and callable(getattr(value, "reset", None)):
            self._metrics[name] = value
            return
        if isinstance(value, Tensor):
            if value.numel() != 1:
                raise UserError(
                    f"learner: what is logged as '{name}' has shape {tuple(value.shape)}; log one "
                    "number."
                )
            value = value.detach().reshape(())
        else:
            value = float(value)
        if reduce_fx in MEANS:
            weight = float(batch_size or self.rows)
            total, before = self._sums.get(name, (0.0, 0.0))
            self._sums[name] = total + weight * value, before + weight
        elif reduce_fx in REDUCED:
            there = self._sums.get(name)
            self._sums[name] = value if there is None else REDUCED[reduce_fx](there[0], value), 0
        else:
            raise UserError(
                f"learner: reduce_fx={reduce_fx!r} of '{name}' is not offered; use mean, sum, min "
                "or max."
            )

    def log_dict(self, values: Mapping[str, Any], *_: Any, **options: Any) -> None:
        """Take several."""
        for name, value in values.items():
            self.log(name, value, **options)

    def take(self) -> dict[str, float]:
        """Return the figures under the names by which they are recorded, and begin anew."""
        sums, self._sums = self._sums, {}
        metrics, self._metrics = self._metrics, {}
        found = {name: float(v) / w if w else float(v) for name, (v, w) in sums.items()}
        for name, metric in metrics.items():
            found[name] = float(metric.compute())
            metric.reset()
        return {f"{LOGGED}{name}": value for name, value in found.items()}

    def attach(self, module: LightningModule) -> None:
        """Answer the module's own `self.log` and `self.log_dict`."""
        module.log = self.log  # type: ignore[method-assign]
        module.log_dict = self.log_dict  # type: ignore[assignment, method-assign]
