"""The full loss L(theta) over all training rows at fixed weights, and the target that ends a run.

Costs one forward pass over the training rows each time, off the clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from descent.engine.kernel import Figures
from descent.engine.learner import Learner
from descent.engine.observer import Observer, Phase
from descent.records.endings import Ending, Reason
from descent.records.tables import FULL_LOSS
from descent.shapes import Float, Int


class FullLoss(Observer):
    """Measures the full loss before training, after epochs and, if asked, after steps.

    Args:
        every_n_epochs: measure after each n-th epoch (and after the last).
        every_n_steps: also after each n-th step; None for not.
        target: end the run when the full loss is at or below this; None for no target.
    """

    phase = Phase.MEASURE

    def __init__(
        self,
        every_n_epochs: int = 1,
        every_n_steps: int | None = None,
        target: float | None = None,
    ) -> None:
        self.every_n_epochs, self.every_n_steps = every_n_epochs, every_n_steps
        self._targets = [target]
        self._last: tuple[int, np.ndarray] = (-1, np.empty(0))  # step and values, [A]
        self._reached: dict[int, float] = {}  # by run: where its target ended it

    def accept(self, nodes: Sequence[Mapping[str, Any]]) -> None:
        """Take the target of each run."""
        self._targets = [node.get("target") for node in nodes]

    def begin(self, learner: Learner) -> None:
        """Measure the start of new runs; end those killed between a checkpoint and their result."""
        if learner.step == 0:
            learner.measured[FULL_LOSS] = self._measure(learner)
            self._end(learner, np.arange(len(learner.live)))
        for run, value in self._reached.items():
            self._judge(learner, run, value)

    def window(self, learner: Learner, figures: Figures) -> None:
        """Measure within the epoch; windows are cut so that they end where this is due."""
        if not self.every_n_steps or learner.step % self.every_n_steps:
            return
        good = np.flatnonzero(np.isfinite(figures.losses).all(axis=0))
        if len(good):
            figures.full_loss = self._measure(learner)
            self._end(learner, good)

    def epoch(self, learner: Learner, columns: Int[np.ndarray, " a"]) -> None:
        """Measure after an epoch."""
        if learner.epoch % self.every_n_epochs == 0 or learner.is_last:
            learner.measured[FULL_LOSS] = self._measure(learner)
            self._end(learner, columns)

    def keep(self, columns: Int[np.ndarray, " a"]) -> None:
        """Go on with some columns only."""
        step, values = self._last
        if len(values):  # none yet where runs go on that had ended
            self._last = (step, values[columns])

    def _measure(self, learner: Learner) -> Float[np.ndarray, " A"]:
        step, values = self._last
        if step != learner.step:
            values = learner.full_losses()
            self._last = (learner.step, values)
        return values

    def _end(self, learner: Learner, columns: Int[np.ndarray, " a"]) -> None:
        """End the runs that have reached their target."""
        values = self._last[1]
        for column in columns:
            self._judge(learner, int(learner.live[column]), float(values[column]))

    def _judge(self, learner: Learner, run: int, value: float) -> None:
        target = self._targets[run]
        if target is not None and value <= target:
            self._reached[run] = value
            figures = {"value": value, "target": target, "step": learner.step}
            learner.end(run, Ending(Reason.TARGET, figures))

    def state_of(self, learner: Learner, run: int) -> dict[str, Any]:
        """Return the loss that reached the target, if one did."""
        return {"reached": self._reached[run]} if run in self._reached else {}

    def load_of(self, run: int, state: Mapping[str, Any]) -> None:
        """Take it back."""
        self._reached[run] = float(state["reached"])
