"""R runs looked at from outside: full losses, validation and test metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from descent.data.prepare import Description
from descent.scores import Scores
from descent.shapes import Float
from descent.stack.objective import Objective
from descent.stack.stacking import StackedModel

# Numbers in the widest layer at a time: measured, twice as fast as with rows in one piece, because
# the outputs of a layer are still in the cache when the next one wants them.
PIECE = 2**18
LEAST_ROWS = 64


class Evaluator:
    """Evaluates the runs of a stack.

    Args:
        model: of the stack.
        objective: of the stack.
        data: the task and the target's scale.
        tensors: features [n, F] and targets [n, ...] of each split.
    """

    def __init__(
        self,
        model: StackedModel,
        objective: Objective,
        data: Description,
        tensors: Mapping[str, tuple[Tensor, Tensor]],
    ) -> None:
        self._model, self._objective, self._tensors = model, objective, tensors
        self._scores = {
            name: Scores(data, tensors[name][1])
            for name in ("val", "test") if data.rows[name]
        }  # fmt: skip

    def names(self, split: str) -> list[str]:
        """Return the metrics of `val` or `test`, loss first; none if the split has no rows."""
        scores = self._scores.get(split)
        return [f"{split}/{name}" for name in ("loss", *scores.names)] if scores else []

    @torch.no_grad()
    def full_losses(self) -> list[float]:
        """Return L(theta) of every run, penalties included."""
        total, _ = self._over("train", None)
        found: list[float] = (total + self._objective.penalty().double().cpu()).tolist()
        return found

    @torch.no_grad()
    def metrics(
        self, split: str, weights: Mapping[str, Tensor] | None = None
    ) -> list[dict[str, float]]:
        """Return the metrics of every run.

        Args:
            split: `val` or `test`.
            weights: [r, ...] instead of the model's own.
        """
        loss, outputs = self._over(split, weights)
        found = {"loss": loss, **self._scores[split](outputs)}
        columns = {f"{split}/{name}": values.tolist() for name, values in found.items()}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def _over(
        self, split: str, weights: Mapping[str, Tensor] | None
    ) -> tuple[Float[Tensor, " A"], Float[Tensor, "A n C"]]:
        """Return the mean loss of each run over a split, and all outputs."""
        x, y = self._tensors[split]
        self._model.train(False)
        own: Sequence[Tensor] = list(self._model.parameters.values())
        runs = len(next(iter(weights.values()))) if weights else self._model.runs
        widest = max(x.shape[1], *(p.shape[1] for p in own if p.ndim > 1))
        rows = max(LEAST_ROWS, PIECE // (runs * widest))
        total, outputs = torch.zeros((), dtype=torch.float64), []
        for at in range(0, len(x), rows):
            xb, yb = x[at : at + rows], y[at : at + rows]
            outputs.append(self._model(xb.unsqueeze(0), weights=weights))
            loss = self._objective.loss(outputs[-1], yb.unsqueeze(0))
            total = total + loss.double().cpu() * len(xb)
        return total / len(x), torch.cat(outputs, dim=1)
