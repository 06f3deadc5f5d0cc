"""Ends a run whose loss is lost, and says what and when."""

from __future__ import annotations

import math
from typing import Any

from lightning.pytorch import Callback, Trainer

from descent.callbacks.full_loss import NAME as FULL_LOSS
from descent.endings import Ending, Reason, RunEnded
from descent.learner import Learner


class Divergence(Callback):
    """Ends the run at a non-finite step loss, or when the full loss stays far above its start.

    Comes after the recorder, so that the fatal step is on record.

    Args:
        factor: full loss above `factor` times its start counts as a strike.
        checks: strikes in a row that end the run.
    """

    def __init__(self, factor: float = 1000.0, checks: int = 3) -> None:
        self.factor, self.checks = factor, checks
        self._start: float | None = None
        self._strikes = 0

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: Trainer, pl_module: Learner, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """End the run if the window's last reported loss is not finite."""
        if not len(outputs["losses"]):
            return
        value = float(outputs["losses"][-1])
        if not math.isfinite(value):
            step = outputs["first"] + len(outputs["losses"])
            figures = {
                "value": value, "step": step, "epoch": trainer.current_epoch + 1,
                "lr": outputs["lrs"][-1],
            }  # fmt: skip
            raise RunEnded(Ending(Reason.NON_FINITE, figures))

    def on_train_start(self, trainer: Trainer, pl_module: Learner) -> None:  # type: ignore[override]
        """Note the full loss before training."""
        self._start = pl_module.measured.get(FULL_LOSS, self._start)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Learner) -> None:  # type: ignore[override]
        """Count strikes."""
        value = pl_module.measured.get(FULL_LOSS)
        if value is None or self._start is None:
            return
        lost = not math.isfinite(value) or value > self.factor * abs(self._start)
        self._strikes = self._strikes + 1 if lost else 0
        if self._strikes >= self.checks:
            figures = {
                "value": value, "start": self._start, "factor": self.factor,
                "checks": self.checks, "step": pl_module.global_step,
                "epoch": trainer.current_epoch + 1, "lr": pl_module.lr,
            }  # fmt: skip
            raise RunEnded(Ending(Reason.LOSS_GREW, figures))

    def state_dict(self) -> dict[str, Any]:
        """Return the start and the strikes."""
        return {"start": self._start, "strikes": self._strikes}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take them back."""
        self._start, self._strikes = state_dict["start"], state_dict["strikes"]
