"""When a diagnostic is taken: before training, after every n-th epoch and after the last."""

from __future__ import annotations

from abc import abstractmethod

import torch
from lightning.pytorch import Callback, Trainer

from descent.learner import Learner


class Measurement(Callback):
    """Measures off the clock, with the model in evaluation mode, and leaves no trace in training.

    Comes before the recorder, which gives each of `metrics` a column.

    Args:
        every_n_epochs: measure after each n-th epoch.
    """

    metrics: tuple[str, ...] = ()

    def __init__(self, every_n_epochs: int = 1) -> None:
        self.every_n_epochs = every_n_epochs

    @abstractmethod
    def measure(self, learner: Learner) -> dict[str, float]:
        """Return values by metric name; one that does not exist here is left out."""

    def on_train_start(self, trainer: Trainer, pl_module: Learner) -> None:  # type: ignore[override]
        """Measure the start of a new run."""
        if pl_module.global_step == 0:
            self._take(pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Learner) -> None:  # type: ignore[override]
        """Measure after an epoch."""
        epoch = trainer.current_epoch + 1
        last = trainer.should_stop or epoch == trainer.max_epochs
        if epoch % self.every_n_epochs == 0 or last:
            self._take(pl_module)

    def _take(self, learner: Learner) -> None:
        finite = all(bool(p.isfinite().all()) for p in learner.model.parameters())
        if not finite:  # a run that is lost has no curvature, and the divergence callback says so
            return
        training = learner.model.training
        learner.model.eval()
        with learner.clock.paused(), learner.averaging.judged(), torch.enable_grad():
            learner.measured |= self.measure(learner)
        learner.model.train(training)
