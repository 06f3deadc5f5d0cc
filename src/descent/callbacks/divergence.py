"""Ends a run whose loss is lost, and says what and when."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from descent.engine.kernel import Figures
from descent.engine.learner import Learner
from descent.engine.observer import Observer, Phase
from descent.records.endings import Ending, Reason
from descent.records.tables import FULL_LOSS
from descent.shapes import Int


class Divergence(Observer):
    """Ends a run at a non-finite step loss, or when the full loss stays far above its start.

    Args:
        factor: full loss above `factor` times its start counts as a strike.
        checks: strikes in a row that end the run.
    """

    phase = Phase.END

    def __init__(self, factor: float = 1000.0, checks: int = 3) -> None:
        self.factor, self.checks = factor, checks
        self._starts = np.empty(0)  # [R]; NaN where it was not measured
        self._strikes = np.empty(0, dtype=np.int64)  # [R]
        self._restored: dict[int, Mapping[str, Any]] = {}

    def begin(self, learner: Learner) -> None:
        """Note the full losses before training."""
        self._starts = np.full(learner.runs, np.nan)
        self._strikes = np.zeros(learner.runs, dtype=np.int64)
        if FULL_LOSS in learner.measured:
            self._starts[learner.live] = learner.measured[FULL_LOSS]
        for run, state in self._restored.items():
            if state["start"] is not None:
                self._starts[run] = state["start"]
            self._strikes[run] = state["strikes"]

    def window(self, learner: Learner, figures: Figures) -> None:
        """End the runs in whose window a loss was not finite."""
        lost = ~np.isfinite(figures.losses)
        if not lost.any():
            return
        for column in np.flatnonzero(lost.any(axis=0)):
            at = int(np.argmax(lost[:, column]))
            found = {
                "value": float(figures.losses[at, column]), "step": figures.first + at + 1,
                "epoch": figures.epoch, "lr": float(figures.lrs[at, column]),
            }  # fmt: skip
            learner.end(learner.live[column], Ending(Reason.NON_FINITE, found))

    def epoch(self, learner: Learner, columns: Int[np.ndarray, " a"]) -> None:
        """Count strikes."""
        if FULL_LOSS not in learner.measured:
            return
        values, runs = learner.measured[FULL_LOSS][columns], learner.live[columns]
        starts = self._starts[runs]
        grown = ~np.isfinite(values) | (values > self.factor * np.abs(starts))
        known = ~np.isnan(starts)
        self._strikes[runs[known]] = np.where(grown, self._strikes[runs] + 1, 0)[known]
        for i in np.flatnonzero(self._strikes[runs] >= self.checks):
            figures = {
                "value": float(values[i]), "start": float(starts[i]), "factor": self.factor,
                "checks": self.checks, "step": learner.step, "epoch": learner.epoch,
                "lr": float(learner.rates.values[columns[i]]),
            }  # fmt: skip
            learner.end(runs[i], Ending(Reason.LOSS_GREW, figures))

    def state_of(self, learner: Learner, run: int) -> dict[str, Any]:
        """Return the start and the strikes."""
        start = float(self._starts[run])
        return {"start": None if np.isnan(start) else start, "strikes": int(self._strikes[run])}

    def load_of(self, run: int, state: Mapping[str, Any]) -> None:
        """Take them back."""
        self._restored[run] = state
