"""The best cell of each panel and of all."""

from __future__ import annotations

from collections.abc import Sequence

from descent.study.grid import Grid
from descent.study.trials import Value
from descent.summary import is_problem


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
