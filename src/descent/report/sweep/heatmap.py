"""Settings on two axes as a heat map: the mean over seeds, and what was lost, in every cell."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from descent.report.picture import Picture
from descent.report.style import YELLOW, new_figure
from descent.report.sweep.bestcell import best_of_all, by_problem
from descent.report.sweep.boundary import boundary_column, boundary_rows
from descent.report.sweep.heatmap_caption import caption
from descent.report.sweep.layout import LETTER, TICK, WIDEST, Layout, lay_out, letters_across
from descent.report.sweep.legend import add_legend
from descent.report.sweep.options import axis_title, folded, value_text
from descent.report.sweep.panel import (
    ARROW,
    BOUNDARY,
    FRAME,
    HATCH,
    LARGEST_STAR,
    MARK,
    STAR,
    draw_panel,
)
from descent.report.sweep.shades import PALE, WHITE, Shades
from descent.study.grid import Grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAD, ARROWS = 3.0, 12.0  # points between the cells and labels: without and with arrows between
MOST_LETTERS = 112  # a line over the whole picture


def heatmap(grids: Sequence[Grid]) -> Picture | None:
    """Draw a panel a grid; None if nothing was tried.

    Panels share one scale of colours; those of different data or landscapes, whose scores cannot
    be compared, have their own.
    """
    grids = [grid for grid in grids if grid.cells]
    if not grids:
        return None
    problems = by_problem(grids)
    layout = lay_out(grids, own_scales=len(problems) > 1)
    figure = new_figure(layout.height)
    panels = figure.subplots(layout.down, layout.across, squeeze=False).ravel()
    axes_of = {id(grid): axes for grid, axes in zip(grids, panels, strict=False)}
    for group in problems:
        shades, best = _shades(group), best_of_all(group)
        for grid in group:
            draw_panel(axes_of[id(grid)], grid, shades, layout, grid is best)
        _draw_scale(figure, [axes_of[id(grid)] for grid in group], shades, len(problems) == 1)
    for axes in panels[len(grids) :]:
        axes.set_axis_off()
    _label(panels, grids, layout)
    _name_scale(figure, grids, layout.lines, len(problems) == 1)
    _explain(panels[0], grids, layout.lines)
    add_legend(figure, panels[0])
    _settle(figure)
    return Picture("heatmap", f"Heat map of {grids[0].measure.name}", figure, caption(grids))


def _settle(figure: Figure) -> None:
    """Find the layout now: left to the file, hundreds of texts would be drawn twice."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        engine.execute(figure)  # once more, now that labels have their place
        figure.set_layout_engine("none")


# ---- labels


def _label(panels: Iterable[Axes], grids: Sequence[Grid], layout: Layout) -> None:
    """Name panels, values and axes; what neighbours share is written once."""
    marked = {edge for grid in grids for edge in grid.edges}
    # a star on the uppermost row reaches into the title as an arrow does
    starred = any(grid.best and grid.best[1] == grid.mean.shape[0] - 1 for grid in grids)
    above = ARROWS if "up" in marked or starred else 2 * PAD
    same_x = all(grid.xs == grids[0].xs for grid in grids)
    same_y = all(grid.ys == grids[0].ys for grid in grids)
    for i, (axes, grid) in enumerate(zip(panels, grids, strict=False)):
        letters = letters_across(layout.wide, grid)
        title = folded(grid.title, letters)
        axes.set_title(title, fontsize=10, pad=above)
        axes.tick_params(axis="x", pad=ARROWS if "down" in marked else PAD)
        axes.tick_params(axis="y", pad=ARROWS if "left" in marked else PAD)
        lowest, first = i + layout.across >= len(grids), i % layout.across == 0
        _write_values(axes, grid, layout, lowest or not same_x, first or not same_y)
        if i // layout.across == layout.down - 1:
            axes.set_xlabel(folded(axis_title(grid.x), max(22, letters)))
        if first and grid.y is not None:
            letters = int(72 * layout.high * len(grid.ys) / (10 * LETTER))
            axes.set_ylabel(folded(axis_title(grid.y), max(16, letters)))
        if layout.wide == WIDEST:
            axes.set_box_aspect(grid.mean.shape[0] * layout.high / (grid.mean.shape[1] * WIDEST))


def _write_values(axes: Axes, grid: Grid, layout: Layout, below: bool, beside: bool) -> None:
    """Write the values of both axes, upright or fewer of them where they would overlap."""
    xs, ys = ([value_text(value) for value in values] for values in (grid.xs, grid.ys))
    wide, high = 72 * layout.wide, 72 * layout.high
    letters = max(1, int((wide - 4) / (TICK * LETTER)))
    level = max(map(len, xs)) <= letters * (2 if isinstance(grid.xs[0], str) else 1)
    xs = [folded(text, letters) for text in xs] if level else xs
    kept = range(0, len(xs) if below else 0, 1 if level else math.ceil(1.2 * TICK / wide))
    axes.set_xticks(list(kept), [xs[i] for i in kept], fontsize=TICK, rotation=0 if level else 90)
    kept = range(0, len(ys) if beside and grid.y is not None else 0, math.ceil(1.2 * TICK / high))
    axes.set_yticks(list(kept), [ys[i] for i in kept], fontsize=TICK)


# ---- scales and legend


def _shades(grids: Sequence[Grid]) -> Shades:
    return Shades(np.concatenate([grid.mean.ravel() for grid in grids]), grids[0].measure.lower)


def _draw_scale(figure: Figure, panels: Sequence[Axes], shades: Shades, only: bool) -> None:
    """Draw the scale on top of all panels if it is the only one, else beside each of its own."""
    from matplotlib.cm import ScalarMappable

    mappable = ScalarMappable(shades.norm, shades.map)
    if shades.empty:
        return
    if only:
        bars = [
            figure.colorbar(
                mappable, ax=list(panels), extend=shades.extend, location="top", aspect=50,
                shrink=0.8, pad=0.18 / figure.get_figheight(),
            )
        ]  # fmt: skip
    else:
        bars = [
            figure.colorbar(mappable, ax=axes, extend=shades.extend, aspect=20, pad=0.02)
            for axes in panels
        ]
    for bar in bars:
        bar.ax.tick_params(labelsize=8)


def _name_scale(figure: Figure, grids: Sequence[Grid], lines: int, only: bool) -> None:
    """Write over the picture what the colours mean."""
    if not any(np.isfinite(grid.mean).any() for grid in grids):
        return
    spread = lines > 1 and any(np.isfinite(grid.spread).any() for grid in grids)
    plus = " ± standard deviation over seeds" if spread else ""
    own = "" if only else "; each problem has its own scale"
    text = f"mean {grids[0].measure.label}{plus}; lighter is better{own}"
    figure.suptitle(folded(text, MOST_LETTERS), fontsize=9)


def _explain(axes: Axes, grids: Sequence[Grid], lines: int) -> None:
    """Put into the legend what occurs in any panel."""
    from matplotlib.patches import Rectangle

    def square(label: str, **look: Any) -> None:
        axes.add_patch(Rectangle((-0.5, -0.5), 0, 0, label=label, **look))

    def line(label: str, **look: Any) -> None:
        axes.plot([], [], label=label, **look)

    star = {**STAR, "markersize": LARGEST_STAR}
    best, problems = sum(grid.best is not None for grid in grids), len(by_problem(grids))
    if best:
        of = "" if best == 1 else " of all" if problems == 1 else " of its problem"
        line(f"best cell{of}", **star, color=YELLOW)
    if best > problems:
        line("best of its panel", **star, color=WHITE)
    if any(grid.edges for grid in grids):
        line("the best lies on the edge of the grid", **ARROW, marker=">")
    if any(np.isfinite([boundary_column(grid), *boundary_rows(grid)]).any() for grid in grids):
        line("largest stable lr by theory", **BOUNDARY)
    cells = [(float(g.mean[r, c]), float(g.diverged[r, c])) for g in grids for c, r in g.cells]
    if any(share > 0 for _, share in cells):
        what = "div.: share of the trials" if lines > 1 else "grey: all trials, else some"
        square(f"diverged ({what})", facecolor=PALE, edgecolor=MARK, hatch=HATCH)
    if any(share == 0 and math.isnan(mean) for mean, share in cells):
        what = "target missed" if grids[0].measure.target is not None else "no score"
        square(what, facecolor=PALE, edgecolor=WHITE)
    if any(len(grid.cells) < grid.mean.size for grid in grids):
        square("never tried", facecolor=WHITE, edgecolor=FRAME)
