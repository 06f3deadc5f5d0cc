"""What to see in a heat map, in a few sentences with numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from descent.analysis.grid import Grid
from descent.analysis.settings import is_one_number
from descent.analysis.trials import Value, label, number_in, repeat_word
from descent.config.options import is_problem
from descent.errors import counted, joined
from descent.report.sweep.marks import spoken, value_text


def by_problem(grids: Sequence[Grid]) -> list[list[Grid]]:
    """Return the panels that share data and loss together; scores can be compared within each."""
    groups: dict[tuple[Value, ...], list[Grid]] = {}
    for grid in grids:
        values = next(iter(grid.cells.values())).values
        problem = tuple(value for key, value in values.items() if is_problem(key))
        groups.setdefault(problem, []).append(grid)
    return list(groups.values())


def best_of_all(grids: Sequence[Grid]) -> Grid | None:
    """Return the panel that holds the best cell of all; None if every cell lost a trial.

    Args:
        grids: of one problem.
    """
    found = [grid for grid in grids if grid.best is not None]
    if not found:
        return None
    sign = 1 if found[0].measure.lower else -1
    return min(found, key=lambda grid: sign * best_mean(grid))


def best_mean(grid: Grid) -> float:
    """Return the mean in the best cell of a panel that has one."""
    assert grid.best is not None
    column, row = grid.best
    return float(grid.mean[row, column])


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


def caption(grids: Sequence[Grid]) -> str:
    """Say which cell is best, what was lost, whether the grid was wide enough, and the boundary.

    Args:
        grids: one a panel, each with a tried cell at least.
    """
    best = [grid for group in by_problem(grids) if (grid := best_of_all(group)) is not None]
    told = [_best(best, grids), _edge(best, grids), _lost(grids)]
    notes: dict[str, list[str]] = {}
    for grid in grids:
        if grid.note:
            notes.setdefault(grid.note, []).append(grid.title)
    for note, titles in notes.items():
        told.append(note if len(notes) == 1 else f"{'; '.join(titles)}: {note}")
    return " ".join(sentence for sentence in told if sentence)


def _best(best: Sequence[Grid], grids: Sequence[Grid]) -> str:
    measure = grids[0].measure
    if not best:
        return f"No setting kept all its trials, so none is marked as the best by {measure.label}."
    told: list[str] = []
    for grid in best:
        column, row = grid.best or (0, 0)
        setting = grid.cells[column, row]
        figures = spoken(float(grid.mean[row, column]))
        over = counted(len(setting.scores), repeat_word(setting.trials))
        if is_one_number(setting):
            figures += f" with each of {over}"
        elif len(setting.scores) > 1:
            figures += f" ± {spoken(float(grid.spread[row, column]), 2)}"
            if not any("±" in one for one in told):
                figures += f" (mean ± standard deviation over {over})"
        same = _as_good(grid, grids)
        also = f", as at {counted(same, 'other setting')}" if same else ""
        told.append(f"{figures}, at {label(setting.values)}{also}")
    word = "Lowest" if measure.lower else "Highest"
    return f"{word} {measure.label}: {'; '.join(told)}."


def _as_good(grid: Grid, grids: Sequence[Grid]) -> int:
    """Return how many other settings of a problem have the very mean of its best cell."""
    own = next(group for group in by_problem(grids) if any(one is grid for one in group))
    whole = [one.mean[row, column] for one in own for column, row in one.cells
             if one.cells[column, row].standing == "complete"]  # fmt: skip
    return sum(float(mean) == best_mean(grid) for mean in whole) - 1


def _edge(best: Sequence[Grid], grids: Sequence[Grid]) -> str:
    told = list(dict.fromkeys(text for grid in best for text in _edges(grid)))
    beyond = sum(bool(grid.edges) for grid in best)
    others = sum(bool(grid.edges) for grid in grids if not any(grid is one for one in best))
    panels = counted(others, "other panel")
    if not told:
        return f"The best of {panels} lies on the edge of the grid." if others else ""
    which = "It lies" if len(best) == 1 else f"{beyond} of them {'lies' if beyond == 1 else 'lie'}"
    also = f", as does the best of {panels}" if others else ""
    return f"{which} on the edge of the grid ({joined(told)}){also}: better may lie beyond."


def _edges(grid: Grid) -> Iterator[str]:
    for edge in grid.edges:
        assert grid.best is not None
        across = edge in ("left", "right")
        option = grid.x if across or grid.y is None else grid.y
        # that of the setting: a cell may stand for a range of values
        value = grid.cells[grid.best].values[option]
        word = "smallest" if edge in ("left", "down") else "largest"
        yield f"{option}={value_text(value)} is the {word} tried"


def _lost(grids: Sequence[Grid]) -> str:
    shares = [float(grid.diverged[row, column]) for grid in grids for column, row in grid.cells]
    some, whole = sum(share > 0 for share in shares), sum(share == 1 for share in shares)
    every = ", every trial of each" if some == whole else f", {whole:,} of them every trial"
    told = f"{some:,} of {counted(len(shares), 'setting')} lost trials to divergence"
    told += every if whole else ""
    found = verdict(grids)
    if not some:  # a boundary that nothing crossed needs no count of what did not
        beyond = found.above if found is not None else 0
        many = counted(beyond, "setting")
        told = f"No trial diverged, in {many} above the predicted boundary either."
        return told if beyond else ""
    if found is None:
        return f"{told}."
    if not found.above:
        return f"{told}; all lie below the predicted boundary."
    above = f"{found.above_lost:,} of {found.above:,} above the predicted boundary"
    return f"{told}: {above}, {found.below_lost:,} of {found.below:,} below it."
