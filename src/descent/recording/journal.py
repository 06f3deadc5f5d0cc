"""A run's two tables, and the same series for whoever else wants them, written in blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from descent.recording import axes
from descent.recording.axes import Series
from descent.recording.points import (
    StepBlock,
    Thinning,
    epoch_series,
    full_loss_within,
    step_columns,
    step_series,
)
from descent.recording.tables import CsvTable, append_all


class Journal:
    """steps.csv and epochs.csv, open, with what is not yet written.

    Args:
        directory: of the run.
        metrics: columns of epochs.csv beside those of every run.
        log: takes each series, thinned.
        positions: bytes of `steps` and `epochs` to keep.
    """

    def __init__(
        self,
        directory: Path,
        metrics: Sequence[str],
        log: Callable[[Series], None],
        positions: Mapping[str, int],
    ) -> None:
        columns = ("epoch", "step", "samples", "seconds", *metrics, axes.LR, axes.GRAD_NORM)
        self._steps = CsvTable(directory / "steps.csv", axes.STEP_COLUMNS, positions["steps"])
        self._epochs = CsvTable(directory / "epochs.csv", columns, positions["epochs"])
        self._log = log
        self.thin = Thinning()
        self.full_loss_at = -1  # the last step whose full loss was logged
        self._left_out: dict[str, Any] | None = None  # the latest epoch, if thinning dropped it
        self._blocks: list[StepBlock] = []
        self._rows: list[dict[str, Any]] = []

    @property
    def positions(self) -> dict[str, int]:
        """Bytes written to each table."""
        return {"steps": self._steps.position, "epochs": self._epochs.position}

    def add_steps(self, block: StepBlock) -> None:
        """Take some steps' figures."""
        self._blocks.append(block)

    def add_epoch(self, row: dict[str, Any]) -> None:
        """Take an epoch's figures, with its `time`."""
        self._rows.append(row)

    def flush(self, last: bool = False) -> None:
        """Write what was taken.

        Args:
                last: also log the last epoch's point if thinning has left it out.
        """
        flush_all([self], [last])

    def _drain(self) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
        """Return the columns of steps, none if there are none, and the rows of epochs."""
        blocks, self._blocks = self._blocks, []
        rows, self._rows = self._rows, []
        return step_columns(blocks) if blocks else {}, rows

    def _log_all(
        self, columns: dict[str, np.ndarray], rows: list[dict[str, Any]], last: bool
    ) -> None:
        within = None
        if columns:
            for series in step_series(columns, self.thin):
                self._log(series)
            within = full_loss_within(columns, self.thin)
        kept = [row for row in rows if row["epoch"] % self.thin.epochs == 0]
        if rows:
            self._left_out = None if rows[-1] in kept else rows[-1]
        if last and self._left_out is not None:
            kept.append(self._left_out)
            self._left_out = None
        for series in epoch_series(kept, self.thin, within, self.full_loss_at):
            if series.name == axes.FULL_LOSS and len(series.x.get("by_step", ())):
                self.full_loss_at = int(series.x["by_step"][-1])
            self._log(series)

    def sync(self) -> None:
        """Put both tables on the disk."""
        self._steps.sync()
        self._epochs.sync()

    def close(self) -> None:
        """Sync and close both tables."""
        self._steps.close()
        self._epochs.close()


def flush_all(journals: Sequence[Journal], last: Sequence[bool]) -> None:
    """Write what several journals took, all tables in one go.

    Args:
        journals: of runs with the same columns.
        last: of each: also log the last epoch's point if thinning has left it out.
    """
    taken = [journal._drain() for journal in journals]
    append_all([j._steps for j in journals], [_steps_block(columns) for columns, _ in taken])
    append_all(
        [j._epochs for j in journals],
        [
            {name: [row.get(name) for row in rows] for name in j._epochs.columns}
            for j, (_, rows) in zip(journals, taken, strict=True)
        ],
    )
    for journal, (columns, rows), end in zip(journals, taken, last, strict=True):
        journal._log_all(columns, rows, end)
        journal._steps.flush()
        journal._epochs.flush()


def _steps_block(columns: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return columns of steps.csv, with NaN where it stands for 'not measured' as None."""
    import polars as pl

    if not columns:
        return {"step": []}
    blank = {n: pl.Series(columns[n], nan_to_null=True) for n in ("grad_norm", "full_loss")}
    return {**columns, **blank}
