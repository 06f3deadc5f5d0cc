"""Writes what happens: epochs.csv, steps.csv, and the same series to the loggers.

Figures arrive once a window, of all runs at once, and are written in blocks; the training step
never waits for a file.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from descent.engine.kernel import Figures
from descent.engine.learner import Learner
from descent.engine.observer import Observer, Phase
from descent.records import tables as axes
from descent.records.eventfile import add_to_all
from descent.records.journal import Journal
from descent.records.logger import EventFileLogger
from descent.records.points import EpochRow, StepBlock, thinning
from descent.records.tables import Series
from descent.shapes import Int

FLUSH_SECONDS = 1.0
FLUSH_SHARE = 0.03  # of the time, at most, unless more would be lost to a crash
FLUSH_BYTES = 32 * 2**20  # of figures, so that memory does not grow with the steps
LONGEST = 30.0  # seconds between two flushes


class Recorder(Observer):
    """Keeps the two tables of each run and feeds its loggers.

    Args:
        run_dirs: the run directories.
        grad_norm_every: measure the gradient's norm at every n-th step; 0 for never.
        points: at most about this many points of a series reach the loggers; the tables get all.
    """

    phase = Phase.RECORD

    def __init__(
        self, run_dirs: Sequence[str | Path], grad_norm_every: int = 10, points: int = 10000
    ) -> None:
        self.dirs = [Path(path) for path in run_dirs]
        self.grad_norm_every, self.points = grad_norm_every, points
        self.longest = LONGEST
        self._restored: dict[int, Mapping[str, Any]] = {}
        self._samples = 0  # of every run that is there
        self._ended: dict[int, int] = {}  # samples of those that are not
        self._losses: list[np.ndarray] = []  # [k, A] of the current epoch, by window
        self._rows: list[np.ndarray] = []
        self._norm: np.ndarray | None = None  # the latest, [A]
        self._lr: np.ndarray | None = None  # of the last step, [A]
        self._last: dict[int, dict[str, float]] = {}  # the last row of runs that have ended
        self._row: EpochRow | None = None
        self._journal: Journal | None = None  # on the one process that writes
        self._block: StepBlock | None = None  # the last window
        self._flushed_at = self._wait = 0.0

    def begin(self, learner: Learner) -> None:
        """Open the tables and the event files where the runs left them; record a new start."""
        learner.grad_norm_every = self.grad_norm_every
        self._learner = learner
        states = [self._restored.get(run) for run in range(learner.runs)]
        first = states[0]
        if first is not None:
            self._take_up([state for state in states if state is not None])
        for keeper in learner.observers:  # no more is lost to a crash than it says
            if keeper.phase is Phase.KEEP:
                self.longest = min(LONGEST, getattr(keeper, "every_seconds", 0.0) or LONGEST)
        if learner.trainer.is_global_zero:
            self._open(learner, states)
        self._flushed_at = time.monotonic()
        stopped_at_once = first is not None and first["last_row"]
        if learner.step == 0 and learner.measured and not stopped_at_once:
            self._add_row(0, learner, {}, None)

    def _take_up(self, states: Sequence[Mapping[str, Any]]) -> None:
        first = states[0]
        self._samples = first["samples"]
        if first["grad_norm"] is not None:
            self._norm = np.array([state["grad_norm"] for state in states])
        self._rows = [np.array(rows, dtype=np.int64) for rows in first["rows"]]
        self._losses = [
            np.stack([state["losses"][i].numpy() for state in states], axis=1)
            for i in range(len(first["losses"]))
        ]

    def _open(self, learner: Learner, states: Sequence[Mapping[str, Any] | None]) -> None:
        windows, steps = learner.windows, learner.longest
        others = [n for c in learner.trainer.callbacks for n in getattr(c, "metrics", ())]  # type: ignore[attr-defined]
        measured = [axes.RUNNING_LOSS, axes.FULL_LOSS, *learner.evaluator.names("val"), *others]
        none = {"steps": 0, "epochs": 0, "events": 0}
        positions = [none if state is None else state["positions"] for state in states]
        thin = [
            thinning(
                int(min(steps, 2**62)), windows.steps_per_epoch, self.points,
                self.grad_norm_every, learner.rates.track(run).interval == "step",
            )
            for run in range(learner.runs)
        ]  # fmt: skip
        self._journal = Journal(self.dirs, measured, self._log, positions, thin)
        for run, state in enumerate(states):
            if state is not None:
                self._journal.full_loss_at[run] = state["full_loss_at"]
        finals = (*measured, *learner.evaluator.names("test"))
        for run, loggers in enumerate(learner.run_loggers):
            for logger in loggers:
                if isinstance(logger, EventFileLogger):
                    logger.open(positions[run]["events"], finals)

    def window(self, learner: Learner, figures: Figures) -> None:
        """Take a window's figures."""
        journal, count = self._journal, len(figures.losses)
        if journal is not None and self._due(journal):
            self.flush()  # what is older: of this window, some steps may turn out not to count
        share = np.arange(1, count + 1) / count  # within a window steps are taken as equally long
        block = StepBlock(
            step=figures.first + 1 + np.arange(count),
            epoch=np.full(count, figures.epoch),
            samples=self._samples + np.cumsum(figures.rows),
            seconds=figures.began + figures.seconds * share,
            time=figures.time - figures.elapsed * (1 - share),
            loss=figures.losses,
            lr=figures.lrs,
            norms=figures.norms,
            full_loss=figures.full_loss,
        )
        if journal is not None:
            journal.add_steps(block)
        self._block = block
        self._losses.append(figures.losses)
        self._rows.append(figures.rows)
        self._lr = figures.lrs[-1]
        if figures.norms:
            self._norm = figures.norms[max(figures.norms)]
        self._samples += int(figures.rows.sum())

    def epoch(self, learner: Learner, columns: Int[np.ndarray, " a"]) -> None:
        """Record an epoch, or a part of one."""
        if self._losses:
            losses, rows = np.concatenate(self._losses), np.concatenate(self._rows)
            # summed at once over the whole epoch, so that windows and resumes cannot change it
            running = rows.astype(np.float64) @ losses.astype(np.float64) / rows.sum()
            learner.measured[axes.RUNNING_LOSS] = running
        extra = {axes.LR: learner.rates.values if self._lr is None else self._lr}
        if self._norm is not None:
            extra[axes.GRAD_NORM] = self._norm
        whose = None
        if len(columns) < len(learner.live):
            whose = np.isin(np.arange(len(learner.live)), columns)
        self._add_row(learner.epoch, learner, extra, whose)
        if learner.at_epoch_end:
            self._losses, self._rows = [], []

    def _add_row(
        self, epoch: int, learner: Learner, extra: Mapping[str, np.ndarray],
        whose: np.ndarray | None,
    ) -> None:  # fmt: skip
        place = {
            "epoch": epoch, "step": learner.step, "samples": self._samples,
            "seconds": learner.seconds, "time": time.time(),
        }  # fmt: skip
        row = EpochRow(place, {**learner.measured, **extra}, dict(learner.absent), whose)
        if whose is None:
            self._row = row
        else:
            for column in np.flatnonzero(whose):
                self._last[int(learner.live[column])] = _figures(row, int(column))
        if self._journal is not None:
            self._journal.add_epoch(row)

    def changed(self, learner: Learner) -> None:
        """Take figures that were measured again for those of the last epoch."""
        if self._row is not None:
            self._row = replace(self._row, values={**self._row.values, **learner.measured})

    def ended(self, learner: Learner, runs: Sequence[int]) -> None:
        """Write what is left of runs that have ended."""
        columns = learner.columns(runs)
        upto = []
        for column in columns:
            run = int(learner.live[column])
            step = int(learner.endings[run].figures.get("step", learner.step))
            upto.append(step)
            self._ended[run] = self._samples_at(step)
            if run not in self._last and self._row is not None:
                self._last[run] = _figures(self._row, int(column))
        if self._journal is not None:
            self._journal.finish(columns, upto)
            self._save(runs)

    def _samples_at(self, step: int) -> int:
        """Return the rows consumed up to a step of the last window."""
        block = self._block
        if block is None or step >= block.step[-1]:
            return self._samples
        return int(block.samples[step - block.step[0]])

    def keep(self, columns: Int[np.ndarray, " a"]) -> None:
        """Go on with some columns only."""
        self._losses = [losses[:, columns] for losses in self._losses]
        self._norm = None if self._norm is None else self._norm[columns]
        self._lr = None if self._lr is None else self._lr[columns]
        self._row = None if self._row is None else self._row.kept(columns)
        if self._journal is not None:
            self._journal.keep(columns)

    # ---- what is known of a run that has ended

    def last_row(self, run: int) -> dict[str, float]:
        """Return the figures of its last epoch, by name."""
        restored = self._restored.get(run, {})
        return self._last.get(run) or dict(restored.get("last_row", {}))

    def samples(self, run: int) -> int:
        """Return the rows it has consumed."""
        return self._ended.get(run, 0)

    # ---- writing

    def _due(self, journal: Journal) -> bool:
        return journal.held > FLUSH_BYTES or time.monotonic() - self._flushed_at >= self._wait

    def flush(self) -> None:
        """Write all figures to the tables and the loggers."""
        began = time.monotonic()
        if self._journal is not None:
            self._journal.flush()
            self._save(self._learner.live.tolist())
        self._flushed_at = time.monotonic()
        took = self._flushed_at - began
        self._wait = min(max(FLUSH_SECONDS, took / FLUSH_SHARE), self.longest)

    def _save(self, runs: Sequence[int]) -> None:
        for run in runs:
            for logger in self._learner.run_loggers[run]:
                logger.save()

    def _log(self, runs: Sequence[int], series: Series) -> None:
        events = []
        for i, run in enumerate(runs):
            for logger in self._learner.run_loggers[run]:
                if isinstance(logger, EventFileLogger):
                    events.append((i, logger.events))
                elif "by_step" in series.x:
                    for step, value in zip(series.x["by_step"], series.values[i], strict=True):
                        logger.log_metrics({series.name: float(value)}, step=int(step))
        if len(events) == len(runs):
            add_to_all([log for _, log in events], series)
        else:
            for i, log in events:
                add_to_all([log], series.of(slice(i, i + 1)))

    # ---- checkpoints

    def state_of(self, learner: Learner, run: int) -> dict[str, Any]:
        """Put everything on the disk; return where files end and what the epoch holds so far."""
        if self._journal is not None:
            self.flush()
        positions, column = {"steps": 0, "epochs": 0, "events": 0}, learner.column(run)
        at = -1
        if self._journal is not None:
            self._journal.sync(run)
            positions |= self._journal.positions(run)
            at = int(self._journal.full_loss_at[run])
            for logger in learner.run_loggers[run]:
                if isinstance(logger, EventFileLogger):
                    logger.events.sync()
                    positions["events"] = logger.events.position
        return {
            "positions": positions,
            "samples": self._samples,
            "grad_norm": None if self._norm is None else float(self._norm[column]),
            "full_loss_at": at,
            "last_row": self.last_row(run) if self._row is None else _figures(self._row, column),
            "losses": [torch.from_numpy(losses[:, column].copy()) for losses in self._losses],
            "rows": [rows.tolist() for rows in self._rows],
        }

    def load_of(self, run: int, state: Mapping[str, Any]) -> None:
        """Take it back; `begin` then cuts the files to their positions."""
        self._restored[run] = state


def _figures(row: EpochRow, column: int) -> dict[str, float]:
    """Return one run's figures of an epoch, by name."""
    there = {
        name: float(values[column]) for name, values in row.values.items()
        if not (name in row.absent and row.absent[name][column])
    }  # fmt: skip
    return {**{k: v for k, v in row.place.items() if k != "time"}, **there}
