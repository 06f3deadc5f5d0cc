"""What to see in a heat map, in a few sentences with numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from descent.report.style import counted, listed
from descent.report.sweep.bestcell import best_of_all, by_problem, edges
from descent.report.sweep.boundary import verdict
from descent.report.sweep.cells import spoken
from descent.report.sweep.options import value_text
from descent.study.grid import Grid
from descent.study.options import label
from descent.study.settings import Measure


def caption(grids: Sequence[Grid]) -> str:
    """Say which cell is best, what was lost, whether the grid was wide enough, and the boundary.

    Args:
        grids: one a panel, each with a tried cell at least.
    """
    best = [grid for group in by_problem(grids) if (grid := best_of_all(group)) is not None]
    told = [_best(best, grids[0].measure), _edge(best, grids), _lost(grids)]
    notes: dict[str, list[str]] = {}
    for grid in grids:
        notes.setdefault(grid.note.rstrip("."), []).append(grid.title)
    if any(notes):
        alone = len(notes) == 1
        own = [n if alone else f"{n} ({', '.join(t)})" for n, t in notes.items() if n]
        told.append(f"Boundary: {'; '.join(own)}.")
    return " ".join(sentence for sentence in told if sentence)


def _best(best: Sequence[Grid], measure: Measure) -> str:
    if not best:
        return f"No setting kept all its trials, so none is marked as the best by {measure.name}."
    told = []
    for grid in best:
        column, row = grid.best or (0, 0)
        setting = grid.cells[column, row]
        figures = spoken(float(grid.mean[row, column]))
        if len(setting.scores) > 1:
            figures += f" ± {spoken(float(grid.spread[row, column]), 2)}"
            if grid is best[0]:
                figures += f" (mean ± standard deviation over {len(setting.scores)} seeds)"
        told.append(f"{figures}, at {label(setting.values)}")
    word = "Lowest" if measure.lower else "Highest"
    return f"{word} {measure.name}: {'; '.join(told)}."


def _edge(best: Sequence[Grid], grids: Sequence[Grid]) -> str:
    told = dict.fromkeys(text for grid in best for text in _edges(grid))
    others = sum(bool(edges(grid)) for grid in grids if not any(grid is one for one in best))
    panels = counted(others, "other panel")
    if told:
        also = f", as does the best of {panels}" if others else ""
        which = "It" if len(best) == 1 else "One of them"
        where = f"{which} lies on the edge of the grid ({listed(list(told))}){also}"
        return f"{where}: better may lie beyond."
    return f"The best of {panels} lies on the edge of the grid." if others else ""


def _edges(grid: Grid) -> Iterator[str]:
    for edge in edges(grid):
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
    if found is None:
        return f"{told}." if some else ""
    if not found.above:
        return f"{told}; all lie below the predicted boundary."
    above = f"{found.above_lost:,} of {found.above:,} above the predicted boundary"
    return f"{told}: {above}, {found.below_lost:,} of {found.below:,} below it."
