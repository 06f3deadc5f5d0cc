"""What to see in a heat map, in a few sentences with numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from descent.errors import counted
from descent.report.style import listed
from descent.report.sweep.bestcell import best_of_all, by_problem
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
        if grid.note:
            notes.setdefault(grid.note, []).append(grid.title)
    for note, titles in notes.items():
        told.append(note if len(notes) == 1 else f"{', '.join(titles)}: {note}")
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
    told = list(dict.fromkeys(text for grid in best for text in _edges(grid)))
    beyond = sum(bool(grid.edges) for grid in best)
    others = sum(bool(grid.edges) for grid in grids if not any(grid is one for one in best))
    panels = counted(others, "other panel")
    if not told:
        return f"The best of {panels} lies on the edge of the grid." if others else ""
    which = "It lies" if len(best) == 1 else f"{beyond} of them {'lies' if beyond == 1 else 'lie'}"
    also = f", as does the best of {panels}" if others else ""
    return f"{which} on the edge of the grid ({listed(told)}){also}: better may lie beyond."


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
    if found is None:
        return f"{told}." if some else ""
    if not found.above:
        return f"{told}; all lie below the predicted boundary."
    above = f"{found.above_lost:,} of {found.above:,} above the predicted boundary"
    return f"{told}: {above}, {found.below_lost:,} of {found.below:,} below it."
