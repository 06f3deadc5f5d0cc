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
from descent.recording.axes import Series, stride
from descent.recording.logger import EventFileLogger
from descent.recording.points import (
    StepBlock,
    Thinning,
    epoch_series,
    full_loss_within,
    step_columns,
    step_series,
)
from descent.recording.tables import CsvTable

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
        self._steps: list[StepBlock] = []  # not yet written
        self._epochs: list[dict[str, Any]] = []
        self._full_loss_at = -1  # the last step whose full loss the loggers have
        self._left_out: dict[str, Any] | None = None  # the latest epoch, if thinning dropped it
        self._flushed_at = 0.0
        self._lap = 0.0

    # ---- Lightning's hooks

    def on_fit_start(self, trainer: Trainer, pl_module: Learner) -> None:  # type: ignore[override]
        """Open the tables and the event file where the run left them."""
        pl_module.grad_norm_every = self.grad_norm_every
        self._writes = trainer.is_global_zero
        if not self._writes:
            return
        others = [name for c in trainer.callbacks for name in getattr(c, "metrics", ())]  # type: ignore[attr-defined]
        measured = [axes.RUNNING_LOSS, axes.FULL_LOSS, *pl_module.scores.names("val"), *others]
        columns = ("epoch", "step", "samples", "seconds", *measured, axes.LR, axes.GRAD_NORM)
        self._step_table = CsvTable(
            self.dir / "steps.csv", axes.STEP_COLUMNS, self._positions["steps"]
        )
        self._epoch_table = CsvTable(self.dir / "epochs.csv", columns, self._positions["epochs"])
        for logger in trainer.loggers:
            if isinstance(logger, EventFileLogger):
                finals = (*measured, *pl_module.scores.names("test"))
                logger.open(self._positions["events"], finals)

    def on_train_start(self, trainer: Trainer, pl_module: Learner) -> None:  # type: ignore[override]
        """Plan how many points to keep, and record the start of a new run."""
        self._loggers = trainer.loggers
        per_epoch = trainer.datamodule.windows.steps_per_epoch  # type: ignore[attr-defined]
        epochs = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else None
        steps = min(pl_module.max_steps, epochs * per_epoch if epochs else np.inf)
        thin, every = stride(int(steps), self.points), max(self.grad_norm_every, 1)
        self._thin = Thinning(
            steps=thin,
            epochs=stride(-(-int(steps) // per_epoch), self.points),
            grad_norms=every * stride(thin, every),
            lr_per_step=pl_module.schedule.interval == "step",
        )
        self._monitored = _monitored(trainer, pl_module)
        self._lap, self._flushed_at = pl_module.clock.seconds, time.monotonic()
        if pl_module.global_step == 0 and pl_module.measured:
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
        self._steps.append(
            StepBlock(
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
        )
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
        if hasattr(self, "_loggers"):
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
        self._epochs.append({**self.last_row, "time": time.time()})

    def flush(self, last: bool = False) -> None:
        """Write all blocks to the tables and the loggers.

        Args:
            last: also give the loggers the last epoch's point if thinning has left it out.
        """
        self._flushed_at = time.monotonic()
        steps, self._steps = self._steps, []
        epochs, self._epochs = self._epochs, []
        if not self._writes:
            return
        within = self._write_steps(steps) if steps else None
        self._write_epochs(epochs, within, last)
        self._step_table.flush()
        self._epoch_table.flush()
        for logger in self._loggers:
            logger.save()

    def _write_steps(self, blocks: list[StepBlock]) -> Series:
        columns = step_columns(blocks)
        blank = {name: _blanks(columns[name]) for name in ("grad_norm", "full_loss")}
        self._step_table.append({**columns, **blank})
        for series in step_series(columns, self._thin):
            self._log(series)
        return full_loss_within(columns, self._thin)

    def _write_epochs(self, rows: list[dict[str, Any]], within: Series | None, last: bool) -> None:
        names = self._epoch_table.columns
        if rows:
            self._epoch_table.append({name: [row.get(name) for row in rows] for name in names})
        kept = [row for row in rows if row["epoch"] % self._thin.epochs == 0]
        if rows:
            self._left_out = None if rows[-1] in kept else rows[-1]
        if last and self._left_out is not None:
            kept.append(self._left_out)
            self._left_out = None
        for series in epoch_series(kept, self._thin, within, self._full_loss_at):
            if series.name == axes.FULL_LOSS and len(series.x.get("by_step", ())):
                self._full_loss_at = int(series.x["by_step"][-1])
            self._log(series)

    def _log(self, series: Series) -> None:
        for logger in self._loggers:
            if isinstance(logger, EventFileLogger):
                logger.log_series(series)
            elif "by_step" in series.x:
                for step, value in zip(series.x["by_step"], series.values, strict=True):
                    logger.log_metrics({series.name: float(value)}, step=int(step))

    # ---- checkpoints

    def state_dict(self) -> dict[str, Any]:
        """Write everything, and return where the files end and what the epoch holds so far."""
        self.flush()
        positions = dict(self._positions)
        if self._writes:
            positions["steps"] = self._step_table.position
            positions["epochs"] = self._epoch_table.position
            for logger in self._loggers:
                if isinstance(logger, EventFileLogger):
                    positions["events"] = logger.file.position
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


def _blanks(values: np.ndarray) -> Any:
    """Return values with NaN, which stands for 'not measured', as None."""
    import polars as pl

    return pl.Series(values).fill_nan(None)


def _monitored(trainer: Trainer, learner: Learner) -> set[str]:
    """Return the metrics that callbacks or the schedule watch, validation's aside."""
    names = {getattr(callback, "monitor", None) for callback in trainer.callbacks}  # type: ignore[attr-defined]
    names |= {learner.schedule.monitor}
    return {name for name in names if name and not name.startswith("val/")}
