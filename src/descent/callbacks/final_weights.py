"""Measures again where weights were changed after the last measurement: one model in all files.

A callback may put an average into the model when training has ended, or prune it. What the last
epoch measured is then of weights that nobody keeps.
"""

from __future__ import annotations

import logging

from lightning.pytorch import Callback, Trainer

from descent.callbacks.checkpoint import Checkpoint
from descent.callbacks.path import Path
from descent.callbacks.recorder import Recorder
from descent.foreign import may_change_weights
from descent.learner import Learner

log = logging.getLogger(__name__)


class FinalWeights(Callback):
    """Comes after all other callbacks but those that save."""

    def on_train_end(self, trainer: Trainer, pl_module: Learner) -> None:  # type: ignore[override]
        """Measure once more, for the result and for both checkpoints."""
        changed = pl_module.averaging.end()
        if not changed:
            return
        with pl_module.clock.paused():
            pl_module.measure_again()
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        names = ", ".join(type(c).__name__ for c in callbacks if may_change_weights(c))
        pl_module.weights_from = names
        log.info("weights   changed by %s after the last epoch: measured again and kept", names)
        for callback in callbacks:
            if isinstance(callback, Recorder):
                callback.last_row |= pl_module.measured
            elif isinstance(callback, Checkpoint):
                callback.keep_last_as_best(pl_module)
            elif isinstance(callback, Path):
                callback.end_again(pl_module.global_step)
