"""steps.csv and epochs.csv read back as arrays."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from descent.recording.bounded import DamageError, read_texts
from descent.runs import damaged

if TYPE_CHECKING:
    import polars as pl

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
