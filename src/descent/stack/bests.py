"""The best epoch of each run of a stack, with its weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from descent.metrics import AUTO, MIN, settled_mode
from descent.stack.finished import Best
from descent.stack.stacking import StackedModel


@dataclass
class _Figures:
    value: float
    step: int
    epoch: int
    metrics: dict[str, float]


class Bests:
    """Keeps what a checkpoint callback would.

    Args:
        options: of the callback, with its `monitor`; None to keep nothing.
        runs: R.
        model: whose weights are kept.
    """

    def __init__(self, options: Mapping[str, Any] | None, runs: int, model: StackedModel) -> None:
        self._options, self._model = options, model
        self._sign = 1
        if options:
            mode = settled_mode(options["monitor"], options.get("mode", AUTO))
            self._sign = 1 if mode == MIN else -1
        self._figures: list[_Figures | None] = [None] * runs
        self._weights = {
            name: torch.empty((runs, *t.shape[1:]), dtype=t.dtype, device=t.device)
            for name, t in model.tensors().items()
        } if options else {}  # fmt: skip

    def offer(
        self, slots: Mapping[int, int], measured: Mapping[int, dict[str, float]], step: int,
        epoch: int,
    ) -> None:  # fmt: skip
        """Keep the runs whose metric is better than ever.

        Args:
            slots: where each run's weights are in the model.
            measured: of the runs that an epoch is over for.
            step, epoch: how far they are.
        """
        better = [run for run, values in measured.items() if self._improves(run, values)]
        if not better:
            return
        for run in better:
            metrics = dict(measured[run])
            value = metrics[self._options["monitor"]]  # type: ignore[index]
            self._figures[run] = _Figures(value, step, epoch, metrics)
        rows = torch.tensor([slots[run] for run in better])
        places = torch.tensor(better)
        for name, t in self._model.tensors().items():
            at, kept = rows.to(t.device), self._weights[name]
            kept[places.to(t.device)] = t.detach()[at]

    def _improves(self, run: int, measured: Mapping[str, float]) -> bool:
        value = measured.get(self._options["monitor"]) if self._options else None
        if self._options is None or value is None or math.isnan(value):
            return False
        best = self._figures[run]
        return best is None or self._sign * value < self._sign * best.value

    def has(self, run: int) -> bool:
        """Whether a run has had a best epoch."""
        return self._figures[run] is not None

    def of(self, run: int) -> Best | None:
        """Return a run's best epoch."""
        found = self._figures[run]
        if found is None:
            return None
        weights = {name: self._weights[name][run].cpu().clone() for name in self._model.names}
        return Best(**vars(found), weights=weights)

    def weights(self, runs: Sequence[int]) -> dict[str, Tensor]:
        """Return the best weights of some runs, [r, ...]."""
        rows = torch.tensor(list(runs))
        return {name: t[rows.to(t.device)] for name, t in self._weights.items()}
