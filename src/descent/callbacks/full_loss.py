"""The full loss L(theta) over all training rows at fixed weights, and the target that ends a run.

Costs one forward pass over the training rows each time, off the clock.
"""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, Trainer

from descent.endings import Ending, Reason
from descent.learner import Learner

NAME = "train/full_loss"


class FullLoss(Callback):
    """Measures the full loss before training, after epochs and, if asked, after steps.

    Args:
        every_n_epochs: measure after each n-th epoch (and after the last).
        every_n_steps: also after each n-th step; None for not.
        target: end the run when the full loss is at or below this; None for no target.
    """

    def __init__(
        self,
        every_n_epochs: int = 1,
        every_n_steps: int | None = None,
        target: float | None = None,
    ) -> None:
        self.every_n_epochs, self.every_n_steps, self.target = (
            every_n_epochs,
            every_n_steps,
            target,
        )
        self._last = (-1, 0.0)  # step and value of the last measurement

    def on_train_start(self, trainer: Trainer, pl_module: Learner) -> None:  # type: ignore[override]
        """Measure the start of a new run."""
        if pl_module.global_step == 0:
            self._measure(trainer, pl_module)

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: Trainer, pl_module: Learner, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure within the epoch; windows are cut so that they end where this is due."""
        due = self.every_n_steps and pl_module.global_step % self.every_n_steps == 0
        if due and len(outputs["losses"]) and outputs["losses"][-1].isfinite():
            self._measure(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Learner) -> None:  # type: ignore[override]
        """Measure after an epoch."""
        epoch = trainer.current_epoch + 1
        last = trainer.should_stop or epoch == trainer.max_epochs
        if epoch % self.every_n_epochs == 0 or last:
            self._measure(trainer, pl_module)

    def _measure(self, trainer: Trainer, learner: Learner) -> None:
        step, value = self._last
        if step != learner.global_step:
            with learner.clock.paused():
                value = learner.full_loss()
            self._last = (learner.global_step, value)
        learner.measured[NAME] = value
        if self.target is not None and value <= self.target and learner.ending is None:
            figures = {"value": value, "target": self.target, "step": learner.global_step}
            learner.ending = Ending(Reason.TARGET, figures)
            trainer.should_stop = True
