"""Writes what happens: epochs.csv, steps.csv, and the same series to the loggers.

Figures arrive once a window as vectors and are written in blocks, about once a second; the
training step never waits for a file.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, Trainer

from descent.learner import Learner
from descent.recording import axes
from descent.recording.axes import Series
from descent.recording.journal import Journal
from descent.recording.logger import EventFileLogger
from descent.recording.points import StepBlock, thinning

FLUSH_SECONDS = 1.0


class Recorder(Callback):
    """Keeps the run's two tables and feeds the loggers.

    Comes after callbacks that measure and before those that end the run.

    Args:
        run_dir: the run directory.
        grad_norm_every: measure the gradient's norm at every n-th step; 0 for never.
        points: at most about this many points of a series reach the loggers; the tables get all.
    """

    def __init__(self, run_dir: str | Path, grad_norm_every: int = 10, points: int = 10000) -> None:
        self.dir = Path(run_dir)
        self.grad_norm_every, self.points = grad_norm_every, points
        self.last_row: dict[str, float] = {}  # the latest epoch's figures
        self.samples = 0
        self._positions = {"steps": 0, "epochs": 0, "events": 0}
        self._losses: list[np.ndarray] = []  # of the current epoch, by window
        self._rows: list[np.ndarray] = []
        self._grad_norm: float | None = None
        self._lr: float | None = None  # of the last step
        self._full_loss_at = -1  # the last step whose full loss the loggers have
        self._journal: Journal | None = None  # on the one process that writes
        self._loggers: list[Any] = []
        self._flushed_at = 0.0
        self._lap = 0.0

    # ---- Lightning's hooks

    def on_fit_start(self, trainer: Trainer, pl_module: Learner) -> None:  # type: ignore[override]
        """Open the tables and the event file where the run left them."""
        pl_module.grad_norm_every = self.grad_norm_every
        if not trainer.is_global_zero:
            return
        others = [name for c in trainer.callbacks for name in getattr(c, "metrics", ())]  # type: ignore[attr-defined]
        measured = [axes.RUNNING_LOSS, axes.FULL_LOSS, *pl_module.scores.names("val"), *others]
        self._journal = Journal(self.dir, measured, self._log, self._positions)
        self._journal.full_loss_at = self._full_loss_at
        self._loggers = trainer.loggers
        for logger in trainer.loggers:
            if isinstance(logger, EventFileLogger):
                finals = (*measured, *pl_module.scores.names("test"))
                logger.open(self._positions["events"], finals)

    def on_train_start(self, trainer: Trainer, pl_module: Learner) -> None:  # type: ignore[override]
        """Plan how many points to keep, and record the start of a new run."""
        per_epoch = trainer.datamodule.windows.steps_per_epoch  # type: ignore[attr-defined]
        epochs = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else None
        steps = min(pl_module.max_steps, epochs * per_epoch if epochs else np.inf)
        if self._journal is not None:
            per_step = pl_module.schedule.interval == "step"
            self._journal.thin = thinning(
                int(steps), per_epoch, self.points, self.grad_norm_every, per_step
            )
        self._monitored = _monitored(trainer, pl_module)
        self._lap, self._flushed_at = pl_module.clock.seconds, time.monotonic()
        begins = pl_module.global_step == 0 and not self.last_row  # not if it was stopped at once
        if begins and pl_module.measured:
            self._add_epoch_row(0, pl_module, {})

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: Trainer, pl_module: Learner, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take a window's figures."""
        losses = outputs["losses"]
        count = len(losses)
        now, began = pl_module.clock.seconds, self._lap
        self._lap = now
        if not count:
            return
        if losses.dtype not in (torch.float32, torch.float64):
            losses = losses.float()
        rows = np.asarray(outputs["rows"])
        self._losses.append(losses.numpy())
        self._rows.append(rows)
        self._lr = outputs["lrs"][-1]
        norms = outputs["grad_norms"]
        if norms:
            self._grad_norm = norms[max(norms)]
        full = pl_module.measured.pop(axes.FULL_LOSS, None)
        share = np.arange(1, count + 1) / count  # within a window steps are taken as equally long
        block = StepBlock(
            step=outputs["first"] + 1 + np.arange(count),
            epoch=np.full(count, trainer.current_epoch + 1),
            samples=self.samples + np.cumsum(rows),
            seconds=began + (now - began) * share,
            loss=self._losses[-1],
            lr=np.asarray(outputs["lrs"]),
            time=time.time() - (now - began) * (1 - share),
            norms=norms,
            full_loss=full,
        )
        if self._journal is not None:
            self._journal.add_steps(block)
        self.samples += int(rows.sum())
        if time.monotonic() - self._flushed_at >= FLUSH_SECONDS:
            self.flush()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Learner) -> None:  # type: ignore[override]
        """Record the epoch; offer training losses to whoever monitors one."""
        if self._losses:
            losses, rows = np.concatenate(self._losses), np.concatenate(self._rows)
            # summed at once over the whole epoch, so that windows and resumes cannot change it
            running = float(np.dot(losses.astype(np.float64), rows) / rows.sum())
            pl_module.measured[axes.RUNNING_LOSS] = running
        self._losses, self._rows = [], []
        extra = {axes.LR: pl_module.lr if self._lr is None else self._lr}
        if self._grad_norm is not None:
            extra[axes.GRAD_NORM] = self._grad_norm
        self._add_epoch_row(trainer.current_epoch + 1, pl_module, extra)
        for name in self._monitored & pl_module.measured.keys():
            pl_module.log(name, pl_module.measured[name], logger=False)
        if time.monotonic() - self._flushed_at >= FLUSH_SECONDS:
            self.flush()

    def on_train_end(self, trainer: Trainer, pl_module: Learner) -> None:  # type: ignore[override]
        """Write what is left."""
        self.flush(last=True)

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Write what is left: a diverged or interrupted run keeps its figures."""
        self.flush(last=True)

    # ---- writing

    def _add_epoch_row(self, epoch: int, learner: Learner, extra: dict[str, float]) -> None:
        self.last_row = {
            "epoch": epoch,
            "step": learner.global_step,
            "samples": self.samples,
            "seconds": learner.clock.seconds,
            **learner.measured,
            **extra,
        }
        if self._journal is not None:
            self._journal.add_epoch({**self.last_row, "time": time.time()})

    def flush(self, last: bool = False) -> None:
        """Write all blocks to the tables and the loggers.

        Args:
            last: also give the loggers the last epoch's point if thinning has left it out.
        """
        self._flushed_at = time.monotonic()
        if self._journal is None:
            return
        self._journal.flush(last)
        for logger in self._loggers:
            logger.save()

    def _log(self, series: Series) -> None:
        for logger in self._loggers:
            if isinstance(logger, EventFileLogger):
                logger.events.add(series)
            elif "by_step" in series.x:
                for step, value in zip(series.x["by_step"], series.values, strict=True):
                    logger.log_metrics({series.name: float(value)}, step=int(step))

    # ---- checkpoints

    def state_dict(self) -> dict[str, Any]:
        """Put everything on the disk; return where files end and what the epoch holds so far."""
        self.flush()
        positions = dict(self._positions)
        if self._journal is not None:
            self._journal.sync()
            positions |= self._journal.positions
            self._full_loss_at = self._journal.full_loss_at
            for logger in self._loggers:
                if isinstance(logger, EventFileLogger):
                    logger.events.sync()
                    positions["events"] = logger.events.position
        return {
            "positions": positions,
            "samples": self.samples,
            "grad_norm": self._grad_norm,
            "full_loss_at": self._full_loss_at,
            "last_row": self.last_row,
            "losses": [torch.from_numpy(block.copy()) for block in self._losses],
            "rows": [block.tolist() for block in self._rows],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it back; `on_fit_start` then cuts the files to their positions."""
        self._positions = state_dict["positions"]
        self.samples = state_dict["samples"]
        self._grad_norm = state_dict["grad_norm"]
        self._full_loss_at = state_dict["full_loss_at"]
        self.last_row = state_dict["last_row"]
        self._losses = [block.numpy() for block in state_dict["losses"]]
        self._rows = [np.array(block) for block in state_dict["rows"]]


def _monitored(trainer: Trainer, learner: Learner) -> set[str]:
    """Return the metrics that callbacks or the schedule watch, validation's aside."""
    names = {getattr(callback, "monitor", None) for callback in trainer.callbacks}  # type: ignore[attr-defined]
    names |= {learner.schedule.monitor}
    return {name for name in names if name and not name.startswith("val/")}
