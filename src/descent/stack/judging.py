"""When the runs of a stack end, and why: targets, divergence, early stopping, limits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from descent.endings import Ending, Reason
from descent.recording.axes import FULL_LOSS
from descent.stack.stopping import Stopper


class Judge:
    """Says of each run whether it ends.

    Args:
        configs: of each run; limits of steps and epochs are those of all.
    """

    def __init__(self, configs: Sequence[Mapping[str, Any]]) -> None:
        callbacks, stop = configs[0]["callbacks"], configs[0]["stop"]
        self.max_epochs = math.inf if stop["epochs"] is None else stop["epochs"]
        self.max_steps = math.inf if stop["steps"] is None else stop["steps"]
        self._targets = [config["stop"]["loss"] for config in configs]
        self._factor = callbacks["divergence"]["factor"]
        self._checks = callbacks["divergence"]["checks"]
        self._starts: list[float | None] = [None] * len(configs)
        self._strikes = [0] * len(configs)
        options = callbacks.get("early_stopping")
        self._stoppers = [Stopper(options) if options else None for _ in configs]

    def begin(self, run: int, full_loss: float) -> None:
        """Note the full loss before training."""
        self._starts[run] = full_loss

    def target(self, run: int, full_loss: float, step: int) -> Ending | None:
        """Return the ending of a run that has reached its target."""
        target = self._targets[run]
        if target is None or not full_loss <= target:
            return None
        return Ending(Reason.TARGET, {"value": full_loss, "target": target, "step": step})

    def grown(
        self, run: int, measured: Mapping[str, float], step: int, epoch: int, lr: float
    ) -> Ending | None:
        """Count strikes against a full loss far above its start; see `callbacks.divergence`."""
        value, start = measured.get(FULL_LOSS), self._starts[run]
        if value is None or start is None:
            return None
        lost = not math.isfinite(value) or value > self._factor * abs(start)
        self._strikes[run] = self._strikes[run] + 1 if lost else 0
        if self._strikes[run] < self._checks:
            return None
        figures = {
            "value": value, "start": start, "factor": self._factor, "checks": self._checks,
            "step": step, "epoch": epoch, "lr": lr,
        }  # fmt: skip
        return Ending(Reason.LOSS_GREW, figures)

    def early(self, run: int, measured: Mapping[str, float], epoch: int) -> Ending | None:
        """Return the ending of a run that has not improved for too long; `epoch` is from 0."""
        stopper = self._stoppers[run]
        if stopper is None or stopper.monitor not in measured:
            return None
        if not stopper.stops(measured[stopper.monitor], epoch):
            return None
        figures = {"monitor": stopper.monitor, "patience": stopper.patience}
        return Ending(Reason.EARLY_STOPPING, figures)

    def out_of_time(self, step: int, epoch: int) -> Ending | None:
        """Return the ending of runs that have taken all steps or epochs they may."""
        if step >= self.max_steps:
            return Ending(Reason.STEPS, {"steps": step})
        if epoch >= self.max_epochs:
            return Ending(Reason.EPOCHS, {"epochs": self.max_epochs})
        return None

    def divergence_state(self, run: int) -> dict[str, Any]:
        """Return the state of the divergence callback."""
        return {"start": self._starts[run], "strikes": self._strikes[run]}

    def stopper_state(self, run: int) -> tuple[str, dict[str, Any]] | None:
        """Return the key and the state of early stopping, if there is any."""
        stopper = self._stoppers[run]
        return stopper.state() if stopper else None
