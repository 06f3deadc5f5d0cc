"""`last.ckpt` to continue from, `best.ckpt` for the lowest validation loss.

The best weights are kept in memory and written together with `last.ckpt`, because writing two
files after every epoch would cost a small model more than the epoch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Checkpoint as LightningCheckpoint

from descent.endings import Ending, Reason, RunEnded
from descent.learner import Learner
from descent.metrics import AUTO, MIN, settled_mode
from descent.recording.atomic import clear_parts, make_directory, replacing


def save(state: Mapping[str, Any], path: Path) -> None:
    """Write a checkpoint."""
    with replacing(path) as file:
        torch.save(state, file)


class _WholeFiles(TorchCheckpointIO):
    """Lightning's own way to read a checkpoint, and ours to write one."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        make_directory(Path(path).parent)
        save(checkpoint, Path(path))


class Checkpoint(LightningCheckpoint):
    """Saves now and then, at the end, and when a signal asks the run to stop.

    Lightning calls this kind of callback after all others.

    Args:
        run_dir: the run directory; files go to its `checkpoints/`.
        every_seconds: save when this long has passed since the last time; 0 for every epoch.
        monitor: metric that decides which weights are best.
        mode: `min`, `max`, or `auto` for the metric's own direction.
    """

    def __init__(
        self,
        run_dir: str | Path,
        every_seconds: float = 30.0,
        monitor: str = "val/loss",
        mode: str = AUTO,
    ) -> None:
        self.dir = Path(run_dir) / "checkpoints"
        self.every_seconds, self.monitor = every_seconds, monitor
        self._sign = 1 if settled_mode(monitor, mode) == MIN else -1
        self.best: dict[str, Any] | None = None  # weights, step, epoch and metrics
        self._written = {"best": -1, "last": -1}  # steps that the files on disk are from
        self._saved_at = time.monotonic()

    def on_fit_start(self, trainer: Trainer, pl_module: Learner) -> None:  # type: ignore[override]
        """Make the directory."""
        if trainer.is_global_zero:
            make_directory(self.dir)
            clear_parts(self.dir)
        trainer.strategy.checkpoint_io = _WholeFiles()
        self._saved_at = time.monotonic()

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: Trainer, pl_module: Learner, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save within an epoch: when a signal came, when it is time, or when the run stops here.

        A run that stops halfway through an epoch is saved now, before the records get the row of
        that half epoch: continued, it will have the rows of a run that never stopped.
        """
        if pl_module.at_epoch_end:
            return  # its validation and its row come first, then on_train_epoch_end
        stops = trainer.should_stop or pl_module.stop_signal is not None
        if stops or (self.every_seconds > 0 and self._due()):
            self._save_last(trainer, pl_module)
        self._obey_signal(pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Learner) -> None:  # type: ignore[override]
        """Keep the best weights; save when it is time."""
        self._keep_if_best(pl_module)
        ends = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        # a callback that puts its average into the model at the end leaves nothing to go on from
        now = ends and pl_module.averaging.ends_with_average
        if pl_module.steps_in_epoch == 0 and (
            now or self._due() or pl_module.stop_signal is not None
        ):
            self._save_last(trainer, pl_module)
        self._obey_signal(pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: Learner) -> None:  # type: ignore[override]
        """Save the end of the run, unless it is saved already."""
        if self._written["last"] != pl_module.global_step:
            self._save_last(trainer, pl_module)
        self._save_best(trainer)

    def _obey_signal(self, learner: Learner) -> None:
        if learner.stop_signal is not None:
            figures = {"signal": learner.stop_signal, "step": learner.global_step}
            raise RunEnded(Ending(Reason.SIGNAL, figures))

    def _due(self) -> bool:
        return time.monotonic() - self._saved_at >= self.every_seconds

    def _keep_if_best(self, learner: Learner) -> None:
        value = learner.measured.get(self.monitor)
        if value is None or math.isnan(value):
            return
        if self.best is None or self._sign * value < self._sign * self.best["value"]:
            self.best = self._kept(learner, value, learner.current_epoch + 1)

    def _kept(self, learner: Learner, value: float, epoch: int) -> dict[str, Any]:
        with learner.averaging.judged():
            state = {k: v.detach().clone() for k, v in learner.state_dict().items()}
        return {
            "value": value,
            "step": learner.global_step,
            "epoch": epoch,
            "metrics": dict(learner.measured),
            "state_dict": state,
        }

    def keep_last_as_best(self, learner: Learner) -> None:
        """Keep weights that were changed when training had ended: they are what was asked for."""
        value = learner.measured.get(self.monitor)
        if self.best is not None and value is not None:
            self.best = self._kept(learner, value, learner.epochs_done)
        self._written = {"best": -1, "last": -1}

    def _save_last(self, trainer: Trainer, learner: Learner) -> None:
        with learner.clock.paused():
            self._save_best(trainer)
            trainer.save_checkpoint(self.dir / "last.ckpt", weights_only=False)
        self._written["last"], self._saved_at = learner.global_step, time.monotonic()

    def _save_best(self, trainer: Trainer) -> None:
        if self.best is None or self._written["best"] == self.best["step"]:
            return
        if trainer.is_global_zero:
            save(self.best, self.dir / "best.ckpt")
        self._written["best"] = self.best["step"]

    def state_dict(self) -> dict[str, Any]:
        """Return the best weights so far: a resumed run must not lose them."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take them back."""
        self.best = state_dict["best"]
