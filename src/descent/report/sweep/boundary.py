"""The predicted limit of stability on the rows of a heat map, and whether it held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from descent.study.grid import Grid
from descent.study.options import number_in


def boundary_rows(grid: Grid) -> np.ndarray:
    """Return where the boundary crosses each column [columns], in rows: 1.5 is between 1 and 2.

    Rows lie evenly on the logarithm of their lr. NaN where the boundary is unknown, or lies more
    than half a row outside the grid, or fewer than two rows have a positive lr.

    Args:
        grid: with lr on the y axis.
    """
    rows = np.full(grid.mean.shape[1], np.nan)
    lr = np.array([np.nan if (n := number_in(y)) is None else n for y in grid.ys])
    known = np.flatnonzero(lr > 0)
    if grid.boundary is None or grid.y is None or len(known) < 2:
        return rows
    at = np.asarray(grid.boundary, dtype=np.float64)
    fine = np.isfinite(at) & (at > 0)
    rows[fine] = _stretched(np.log(at[fine]), np.log(lr[known]), known.astype(np.float64))
    with np.errstate(invalid="ignore"):
        inside = (rows >= known[0] - 0.5) & (rows <= known[-1] + 0.5)
    return np.where(inside, rows, np.nan)


def boundary_column(grid: Grid) -> float:
    """Return where the boundary crosses the only row, in columns, if lr is alone on x; else NaN."""
    if grid.boundary is None or grid.y is not None:
        return np.nan
    lr = np.array([np.nan if (n := number_in(x)) is None else n for x in grid.xs])
    known = np.flatnonzero(lr > 0)
    limit = float(grid.boundary[0])
    if len(known) < 2 or not limit > 0:
        return np.nan
    at = float(_stretched(np.log([limit]), np.log(lr[known]), known.astype(np.float64))[0])
    return at if known[0] - 0.5 <= at <= known[-1] + 0.5 else np.nan


def _stretched(at: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Interpolate y over rising x; beyond its ends go on as between the last two."""
    first, last = ((y[j] - y[i]) / (x[j] - x[i]) for i, j in ((0, 1), (-2, -1)))
    inner = np.interp(at, x, y)
    below, above = y[0] + first * (at - x[0]), y[-1] + last * (at - x[-1])
    result: np.ndarray = np.where(at < x[0], below, np.where(at > x[-1], above, inner))
    return result


@dataclass(frozen=True)
class Verdict:
    """How many tried settings lie above and below the boundary, and how many of them lost runs."""

    above: int
    above_lost: int
    below: int
    below_lost: int


def verdict(grids: Sequence[Grid]) -> Verdict | None:
    """Count settings on either side of the boundary; None where no boundary is known."""
    counts = np.zeros((2, 2), dtype=int)
    for grid in grids:
        for column, row in grid.cells:
            if grid.boundary is None:
                continue
            alone = grid.y is None
            limit = grid.boundary[0 if alone else column]
            lr = number_in(grid.xs[column] if alone else grid.ys[row])
            if np.isfinite(limit) and lr is not None:
                counts[int(lr <= limit)] += (1, grid.diverged[row, column] > 0)
    if not counts.any():
        return None
    return Verdict(*map(int, counts.ravel()))
