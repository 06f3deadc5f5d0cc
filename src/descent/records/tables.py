"""The recorded series with their axes and charts, and the CSV tables that hold them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from descent.files.atomic import Growing
from descent.files.bounded import DamageError, read_texts
from descent.records.run import damaged

if TYPE_CHECKING:
    import polars as pl


# Step losses come per step; everything else per epoch (and at chosen steps).
STEP_LOSS, GRAD_NORM, LR = "train/step_loss", "grad_norm", "lr"
RUNNING_LOSS, FULL_LOSS, VAL_LOSS = "train/loss", "train/full_loss", "val/loss"

STEP_COLUMNS = ("step", "epoch", "samples", "seconds", "loss", "lr", "grad_norm", "full_loss")

LOSS_WORDS = {
    STEP_LOSS: "step",
    RUNNING_LOSS: "running",
    FULL_LOSS: "full",
    VAL_LOSS: "validation loss",
}


def series_tag(axis: str, name: str) -> str:
    """Return what TensorBoard calls a series on an axis.

    It groups series by the first word and sorts each group: losses and scores of training and
    validation rows make the first groups, and all else, such as lr, comes in groups behind.
    """
    return f"{axis}/{name}" if name.startswith(("train/", "val/")) else f"other_{axis}/{name}"


# Step and epoch losses over each other, in the Custom Scalars tab.
LAYOUT = {
    "loss": {
        f"step and epoch loss, {axis.replace('_', ' ')}": [
            "Multiline",
            [series_tag(axis, name) for name in LOSS_WORDS],
        ]
        for axis in ("by_step", "by_samples")
    }
}


@dataclass(frozen=True)
class Series:
    """Points of one metric with their place on every axis it has.

    Args:
        name: such as `val/loss`.
        times: wall times [n].
        values: [n], or [a, n] of several runs.
        x: by axis, whole numbers [n].
    """

    name: str
    times: np.ndarray
    values: np.ndarray
    x: dict[str, np.ndarray]

    def kept(self, keep: np.ndarray) -> Series:
        """Return the points where `keep` holds."""
        x = {axis: values[keep] for axis, values in self.x.items()}
        return Series(self.name, self.times[keep], self.values[..., keep], x)

    def of(self, runs: slice) -> Series:
        """Return the points of some of the runs."""
        return Series(self.name, self.times, self.values[runs], self.x)


def stride(total: int, points: int) -> int:
    """Return n such that every n-th of `total` points gives at most `points`."""
    return max(1, -(-total // points))


class CsvTable:
    """A CSV file with fixed columns.

    Floats are written in the fewest digits that read back as the same float32 or float64.

    Args:
        path: the file; made anew with a header if `position` is 0.
        columns: in order.
        position: bytes to keep of the file; what lies behind is cut off.
    """

    def __init__(self, path: Path, columns: Sequence[str], position: int = 0) -> None:
        import polars  # noqa: F401 - now, rather than on the clock at the first append

        self.columns = tuple(columns)
        self._file = Growing(path, position)
        if position == 0:
            self._file.write((",".join(self.columns) + "\n").encode())

    @property
    def position(self) -> int:
        """Bytes written."""
        return self._file.position

    def append(self, block: Mapping[str, Any]) -> None:
        """Append rows, given column by column; None, or a column that lacks, leaves empty cells."""
        append_all([self], block, [len(next(iter(block.values())))])

    def write(self, rows: bytes | memoryview) -> None:
        """Append rows that are encoded already."""
        self._file.write(rows)

    def flush(self) -> None:
        """Hand everything to the operating system."""
        self._file.flush()

    def sync(self) -> None:
        """Put everything on the disk."""
        self._file.sync()


def append_all(tables: Sequence[CsvTable], block: Mapping[str, Any], counts: Sequence[int]) -> None:
    """Append to several tables of the same columns: in one go, since each go has its price.

    Args:
        tables: to append to.
        block: the rows of the first table, then those of the second, and so on, by column.
        counts: of the rows of each.
    """
    import polars as pl

    rows = sum(counts)
    if not rows:
        return
    columns = tables[0].columns
    frame = pl.DataFrame({c: block[c] if c in block else [None] * rows for c in columns})
    text = io.BytesIO()
    frame.write_csv(text, include_header=False)
    data = text.getbuffer()
    ends = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == ord("\n")) + 1
    at = [0, *(int(ends[n - 1]) if n else 0 for n in np.cumsum(counts))]
    for table, (start, stop) in zip(tables, pairwise(at), strict=True):
        if stop > start:
            table.write(data[start:stop])


Table = dict[str, np.ndarray]
"""Columns by name, float64 [n] each, NaN where a cell is empty."""


def read_table(path: Path) -> Table:
    """Read one of a run's tables; no columns where there is no file.

    Raises:
        UserError: it is damaged.
    """
    try:
        frame = read_texts(path)
        columns = {name: _numbers(frame[name]) for name in frame.columns}
        if "step" not in columns:
            raise DamageError("it has no column 'step'")
        if not (np.diff(columns["step"]) >= 0).all() or np.isnan(columns["step"]).any():
            raise DamageError("its steps do not rise")
    except FileNotFoundError:
        return {}
    except DamageError as error:
        raise damaged(path, error) from None
    return columns


def _numbers(column: pl.Series) -> np.ndarray:
    import polars as pl

    numbers = column.cast(pl.Float64, strict=False)
    bad = (numbers.is_null() & column.is_not_null()).arg_true()
    if len(bad):
        raise DamageError(f"row {bad[0] + 1} of column '{column.name}' is no number")
    return numbers.fill_null(np.nan).to_numpy()


def column(table: Table, name: str) -> np.ndarray:
    """Return a column, or NaN in every row where there is none."""
    return table.get(name, np.full(len(table.get("step", ())), np.nan))
