"""The two tables of R runs, and the same series for whoever else wants them, written in blocks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from descent.records import tables as axes
from descent.records.points import (
    Columns,
    EpochRow,
    StepBlock,
    Thinning,
    epoch_series,
    full_loss_within,
    step_columns,
    step_series,
)
from descent.records.tables import CsvTable, Series, append_all
from descent.shapes import Int

Log = Callable[[Sequence[int], Series], None]  # takes a series [a, n] of some runs


class Journal:
    """steps.csv and epochs.csv of R runs, with what is not yet written.

    Figures come by column; columns go when their runs have ended.

    Args:
        directories: of each run.
        metrics: columns of epochs.csv beside those of every run.
        log: takes each series, thinned.
        positions: of each run, bytes of `steps` and `epochs` to keep.
        thin: what `log` is to get of each run.
    """

    def __init__(
        self,
        directories: Sequence[Path],
        metrics: Sequence[str],
        log: Log,
        positions: Sequence[Mapping[str, int]],
        thin: Sequence[Thinning],
    ) -> None:
        columns = ("epoch", "step", "samples", "seconds", *metrics, axes.LR, axes.GRAD_NORM)
        pairs = list(zip(directories, positions, strict=True))
        self._steps = [
            CsvTable(path / "steps.csv", axes.STEP_COLUMNS, at["steps"]) for path, at in pairs
        ]
        self._epochs = [CsvTable(path / "epochs.csv", columns, at["epochs"]) for path, at in pairs]
        self._log, self._thin = log, list(thin)
        self._live = np.arange(len(pairs))  # the run in each column
        self._done = np.zeros(len(pairs), dtype=bool)  # columns that are written to their end
        self.full_loss_at = np.full(len(pairs), -1)  # the last step whose full loss was logged, [R]
        self._left_out: EpochRow | None = None  # the latest epoch, if thinning dropped it
        self._blocks: list[StepBlock] = []
        self._rows: list[EpochRow] = []

    def positions(self, run: int) -> dict[str, int]:
        """Return the bytes written to each table of a run."""
        return {"steps": self._steps[run].position, "epochs": self._epochs[run].position}

    def sync(self, run: int) -> None:
        """Put both tables of a run on the disk."""
        self._steps[run].sync()
        self._epochs[run].sync()

    @property
    def held(self) -> int:
        """Bytes of figures that are not yet written."""
        return sum(block.loss.nbytes + block.lr.nbytes for block in self._blocks)

    def add_steps(self, block: StepBlock) -> None:
        """Take some steps' figures."""
        self._blocks.append(block)

    def add_epoch(self, row: EpochRow) -> None:
        """Take an epoch's figures."""
        self._rows.append(row)

    def keep(self, columns: Int[np.ndarray, " a"]) -> None:
        """Go on with some columns only."""
        self._live, self._done = self._live[columns], self._done[columns]
        self._blocks = [block.kept(columns) for block in self._blocks]
        self._rows = [row.kept(columns) for row in self._rows]
        self._left_out = None if self._left_out is None else self._left_out.kept(columns)

    def flush(self) -> None:
        """Write what was taken."""
        if not self._blocks and not self._rows:
            return
        try:
            self._left_out = self._write(np.flatnonzero(~self._done), last=False)
        finally:  # once, whatever fails: a table keeps what the disk has not taken
            self._blocks, self._rows = [], []

    def finish(self, columns: Int[np.ndarray, " a"], upto: Sequence[int]) -> None:
        """Write what was taken of runs that have ended; it is not theirs to take any more.

        Args:
            columns: theirs.
            upto: the last step of each that counts.
        """
        groups = defaultdict(list)
        for column, step in zip(columns.tolist(), upto, strict=True):
            if not self._done[column]:
                groups[step].append(column)
        self._done[columns] = True  # before what may fail: nothing is written twice
        for step, some in groups.items():
            self._write(np.array(some), last=True, upto=step)

    def _write(
        self, columns: Int[np.ndarray, " a"], last: bool, upto: int | None = None
    ) -> EpochRow | None:
        """Write some runs; return the epoch that thinning left out.

        Args:
            columns: of the runs.
            last: also log the last epoch's point if thinning has left it out.
            upto: the last step that counts.
        """
        rows = [r for r in self._rows if r.whose is None or r.whose[columns].all()]
        left_out = rows[-1] if rows else self._left_out
        if not len(columns):
            return left_out
        steps = step_columns([b.kept(columns) for b in self._blocks]) if self._blocks else {}
        if steps and upto is not None:
            steps = {name: values[steps["step"] <= upto] for name, values in steps.items()}
        rows = [row.kept(columns) for row in rows]
        runs = self._live[columns]
        append_all([self._steps[run] for run in runs], *_steps_block(steps, len(runs)))
        append_all([self._epochs[run] for run in runs], *_epochs_block(rows, len(runs)))
        for run in runs:
            self._steps[run].flush()
            self._epochs[run].flush()
        by_thin = defaultdict(list)
        for i, run in enumerate(runs):
            by_thin[self._thin[run]].append(i)
        for thin, some in by_thin.items():
            where = np.array(some)
            mine = {n: v[:, where] if v.ndim > 1 else v for n, v in steps.items()}
            left = None if self._left_out is None else self._left_out.kept(columns[where])
            left = self._log_all(runs[where], mine, [r.kept(where) for r in rows], thin, left, last)
            if left is None:
                left_out = None
        return left_out

    def _log_all(
        self, runs: Int[np.ndarray, " a"], steps: Columns, rows: list[EpochRow], thin: Thinning,
        left_out: EpochRow | None, last: bool,
    ) -> EpochRow | None:  # fmt: skip
        within, names = None, runs.tolist()
        if steps and len(steps["step"]):
            for series in step_series(steps, thin):
                self._log(names, series)
            within = full_loss_within(steps, thin)
        kept = [row for row in rows if row.place["epoch"] % thin.epochs == 0]
        if rows:
            left_out = None if rows[-1] in kept else rows[-1]
        if last and left_out is not None:
            kept.append(left_out)
            left_out = None
        for series in epoch_series(kept, thin, within, int(self.full_loss_at[runs[0]])):
            if series.name == axes.FULL_LOSS and len(series.x.get("by_step", ())):
                self.full_loss_at[runs] = series.x["by_step"][-1]
            lacking = [r.absent[series.name] for r in kept if series.name in r.absent]
            if not lacking:
                self._log(names, series)
                continue
            for i, run in enumerate(names):  # some diagnostics do not exist for a lost run
                there = np.array([
                    not (series.name in r.absent and r.absent[series.name][i])
                    for r in kept if series.name in r.values
                ])  # fmt: skip
                self._log([run], series.of(slice(i, i + 1)).kept(there))
        return left_out


def _steps_block(steps: Columns, runs: int) -> tuple[dict[str, Any], list[int]]:
    """Return columns of steps.csv run by run, with NaN where it stands for 'not measured' as None.

    The counts of rows come with them.
    """
    import polars as pl

    if not steps:
        return {}, [0] * runs
    count = len(steps["step"])
    block: dict[str, Any] = {
        name: np.tile(steps[name], runs) for name in ("step", "epoch", "samples", "seconds")
    }
    block |= {name: steps[name].T.reshape(-1) for name in ("loss", "lr")}
    for name in ("grad_norm", "full_loss"):
        block[name] = pl.Series(steps[name].T.reshape(-1), nan_to_null=True)
    return block, [count] * runs


def _epochs_block(rows: Sequence[EpochRow], runs: int) -> tuple[dict[str, Any], list[int]]:
    """Return columns of epochs.csv run by run, and the counts of rows."""
    places = ("epoch", "step", "samples", "seconds")
    block: dict[str, Any] = {
        name: np.tile([row.place[name] for row in rows], runs) for name in places
    }
    for name in {name for row in rows for name in row.values}:
        some = next(row.values[name] for row in rows if name in row.values)
        matrix = np.stack([row.values.get(name, some) for row in rows], axis=1)
        lacking = np.stack(
            [
                row.absent.get(name, np.full(runs, name not in row.values))
                for row in rows
            ],
            axis=1,
        )  # fmt: skip
        flat = matrix.reshape(-1)
        if lacking.any():
            pairs = zip(flat.tolist(), lacking.reshape(-1).tolist(), strict=True)
            block[name] = [None if lacks else value for value, lacks in pairs]
        else:
            block[name] = flat
    return block, [len(rows)] * runs
