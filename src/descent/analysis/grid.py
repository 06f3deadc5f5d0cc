"""Settings laid out on two axes, one grid a panel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from descent.analysis import neighbours
from descent.analysis.settings import Measure, Setting
from descent.analysis.trials import (
    BATCH,
    OPTIMIZER,
    Study,
    Value,
    label,
    learning_rate,
    number_in,
    ordered,
    short,
)
from descent.config.options import is_problem

MOST_PANELS = 12
MOST_VALUES = 40  # on an axis; more, as in a random search, are put into ranges
RANGES = 20


@dataclass(frozen=True)
class Grid:
    """Settings on two axes: lr and batch size, or the two most influential options.

    Args:
        title: what else the panel has in common, such as `optimizer=adam`; empty if nothing.
        x, y: the options on the axes; y is None where only one was swept.
        xs, ys: their values, rising (numbers) or in order of appearance (words).
        cells: settings by (column, row); absent where nothing was tried.
        mean, spread: of the scores [y, x]: NaN where none; spread is the standard deviation.
        diverged: share of the trials [y, x]; NaN where nothing was tried.
        best: (column, row) of the best cell that lost no trial; None if there is none.
        boundary: for each column (batch size or so), the largest stable lr by theory; NaN where
            unknown; None where it does not apply. lr is on the y axis, or alone on x: [1].
        note: where `boundary` comes from, or why there is none; empty if there is nothing to say.
        edges: `left`, `right`, `down` or `up`: where the best cell lies at an end of what was tried
            beyond which better may lie, as `neighbours.places` has it.
    """

    title: str
    x: str
    y: str | None
    xs: tuple[Value, ...]
    ys: tuple[Value, ...]
    cells: Mapping[tuple[int, int], Setting]
    mean: np.ndarray
    spread: np.ndarray
    diverged: np.ndarray
    best: tuple[int, int] | None
    measure: Measure
    boundary: np.ndarray | None = None
    note: str = ""
    edges: tuple[str, ...] = ()


def grids(study: Study, settings: Sequence[Setting], measure: Measure) -> tuple[Grid, ...]:
    """Return the settings on lr (y) and batch size (x), one grid for each optimizer and problem.

    Where lr and batch size were not both swept, the most influential options take their places: lr
    stays on y if it was swept. One option alone is x, and none makes no grid. Each further option
    gives a grid of its own to each of its values, the most influential first, up to 12 grids; over
    those that are left, a cell holds the best setting, as the title says. So it does where an axis
    has more than 40 numbers, as after a random search: they are put into 20 ranges, each told by
    its middle.

    Args:
        study: the trials.
        settings: of `settings`, best first.
        measure: what they were compared by.
    """
    axes = _axes(study)
    if not axes:
        return ()
    x, y = axes[0], axes[1] if len(axes) > 1 else None
    typed = sorted(settings, key=lambda setting: setting.trials[0].number)  # words stand as typed
    places = {key: _places([s.values[key] for s in typed]) for key in axes}
    split, over = _split(study, settings, axes)
    panels: dict[tuple[Value, ...], list[Setting]] = {}
    for values in _combinations(settings, split):
        panels[values] = []
    for setting in settings:
        panels[tuple(setting.values[key] for key in split)].append(setting)
    ranged = [key for key in axes if len(set(places[key].values())) < len(places[key])]
    made = []
    for values, own in panels.items():
        title = label(dict(zip(split, values, strict=True)))
        best = [short(key) for key in (*over, *ranged)]
        words = [title, f"best over {' and '.join(best)}" if best else ""]
        grid = _grid(", ".join(filter(None, words)), (x, y), places, own, measure)
        made.append(replace(grid, edges=_edges(study, settings, grid)))
    return tuple(made)


def _edges(study: Study, settings: Sequence[Setting], grid: Grid) -> tuple[str, ...]:
    if grid.best is None:
        return ()
    best = grid.cells[grid.best]
    ends = {p.key: p.edge for p in neighbours.places(study, settings, best, grid.measure) if p.edge}
    names = {grid.x: ("left", "right")} | ({grid.y: ("down", "up")} if grid.y else {})
    return tuple(names[key][side > 0] for key, side in ends.items() if key in names)


def _axes(study: Study) -> list[str]:
    """Return x and y."""
    rate = learning_rate(study)
    free = [key for key in study.swept if not is_problem(key)]
    if rate in free and BATCH in free:
        return [BATCH, rate]
    most = sorted(free, key=lambda key: -study.influence.get(key, 0.0))[:2]
    if rate in free and len(free) > 1:
        return [next(key for key in most if key != rate), rate]
    return most


def _split(
    study: Study, settings: Sequence[Setting], axes: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Return the options that make panels, and those over which the best is taken."""
    free = [key for key in study.swept if key not in axes]
    free.sort(key=lambda key: (not is_problem(key), key != OPTIMIZER))
    split: list[str] = []
    for key in free:
        few = len(_combinations(settings, [*split, key])) <= MOST_PANELS
        if is_problem(key) or few:
            split.append(key)
    return split, [key for key in free if key not in split]


def _combinations(settings: Sequence[Setting], keys: Sequence[str]) -> list[tuple[Value, ...]]:
    """Return the values of some options that occur, in the order of their trials."""
    first = sorted(settings, key=lambda setting: setting.trials[0].number)
    return list(dict.fromkeys(tuple(s.values[key] for key in keys) for s in first))


def _places(values: Sequence[Value]) -> dict[Value, Value]:
    """Return the value that stands for each on an axis, in the axis' order."""
    found = ordered(values)
    numbers = np.array([np.nan if (n := number_in(v)) is None else n for v in found])
    if len(found) <= MOST_VALUES or np.isnan(numbers).any():
        return {value: value for value in found}
    low, high = float(numbers[0]), float(numbers[-1])
    even = np.geomspace if low > 0 and high > 10 * low else np.linspace
    edges = even(low, high, RANGES + 1)
    middles = even(low, high, 2 * RANGES + 1)[1::2]
    at = np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, RANGES - 1)
    return {v: float(f"{middles[i]:.3g}") for v, i in zip(found, at, strict=True)}


def _grid(
    title: str,
    axes: tuple[str, str | None],
    places: Mapping[str, Mapping[Value, Value]],
    settings: Sequence[Setting],
    measure: Measure,
) -> Grid:
    x, y = axes
    xs = tuple(dict.fromkeys(places[x].values()))
    ys: tuple[Value, ...] = tuple(dict.fromkeys(places[y].values())) if y else ("",)
    column, row = ({value: i for i, value in enumerate(values)} for values in (xs, ys))
    cells: dict[tuple[int, int], Setting] = {}
    for setting in settings:
        at = column[places[x][setting.values[x]]], row[places[y][setting.values[y]]] if y else 0
        cells.setdefault(at, setting)  # the best comes first
    shape = (len(ys), len(xs))
    mean, spread, diverged = (np.full(shape, np.nan) for _ in range(3))
    for (i, j), setting in cells.items():
        mean[j, i], spread[j, i] = setting.mean, setting.spread
        diverged[j, i] = setting.diverged
    best = next((at for s in settings for at, own in cells.items() if own is s and _whole(s)), None)
    return Grid(title, x, y, xs, ys if y else (), cells, mean, spread, diverged, best, measure)


def _whole(setting: Setting) -> bool:
    return setting.standing == "complete"
