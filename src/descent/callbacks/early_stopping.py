"""Ends a run whose metric has not improved for too long."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from descent.engine.learner import Learner
from descent.engine.observer import Observer, Phase
from descent.metrics import AUTO, MIN, settled_mode
from descent.records.endings import Ending, Reason
from descent.shapes import Int


class EarlyStopping(Observer):
    """Counts the checks without improvement: one after each epoch with the metric.

    Args:
        monitor: the metric.
        mode: `min`, `max`, or `auto` for the metric's own direction.
        patience: checks without improvement that end the run.
        min_delta: an improvement is more than this.
        check_finite: also end at a metric that is not finite.
    """

    phase = Phase.END

    def __init__(
        self,
        monitor: str,
        mode: str = AUTO,
        patience: int = 3,
        min_delta: float = 0.0,
        check_finite: bool = False,
    ) -> None:
        self.monitor, self.patience, self.check_finite = monitor, patience, check_finite
        self._sign = 1.0 if settled_mode(monitor, mode) == MIN else -1.0
        self._least = abs(min_delta)
        self._best = np.empty(0)  # [R], the lowest of sign * metric
        self._waited = np.empty(0, dtype=np.int64)  # [R]
        self._restored: dict[int, Mapping[str, Any]] = {}

    def begin(self, learner: Learner) -> None:
        """Begin, or go on."""
        self._best = np.full(learner.runs, np.inf)
        self._waited = np.zeros(learner.runs, dtype=np.int64)
        for run, state in self._restored.items():
            self._best[run] = self._sign * float(state["best_score"])
            self._waited[run] = state["wait_count"]
            if self._waited[run] >= self.patience:  # killed between that checkpoint and its result
                self._end(learner, np.array([run]))

    def epoch(self, learner: Learner, columns: Int[np.ndarray, " a"]) -> None:
        """Look whether the metric has improved."""
        if self.monitor not in learner.measured:
            return
        runs = learner.live[columns]
        values = self._sign * learner.measured[self.monitor][columns]
        better = values + self._least < self._best[runs]
        self._best[runs] = np.where(better, values, self._best[runs])
        self._waited[runs] = np.where(better, 0, self._waited[runs] + 1)
        stops = self._waited[runs] >= self.patience
        if self.check_finite:
            stops |= ~np.isfinite(values)
        self._end(learner, runs[stops])

    def _end(self, learner: Learner, runs: Int[np.ndarray, " a"]) -> None:
        figures = {"monitor": self.monitor, "patience": self.patience}
        for run in runs:
            learner.end(run, Ending(Reason.EARLY_STOPPING, figures))

    def state_of(self, learner: Learner, run: int) -> dict[str, Any]:
        """Return the best value and the checks since."""
        best = self._sign * float(self._best[run])
        return {"best_score": best, "wait_count": int(self._waited[run])}

    def load_of(self, run: int, state: Mapping[str, Any]) -> None:
        """Take them back."""
        self._restored[run] = state
