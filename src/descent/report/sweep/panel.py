"""One panel of a heat map: its cells, what was lost in them, the best one and the boundary."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from descent.report.style import BLACK, VERMILION, YELLOW
from descent.report.sweep.boundary import boundary_column, boundary_rows
from descent.report.sweep.cells import cell_text
from descent.report.sweep.layout import Layout
from descent.report.sweep.shades import PALE, WHITE, Shades, ink
from descent.study.grid import Grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HATCH = "////"
MARK = "#8C8C8C"  # of hatches on pale cells
FRAME = "#C8C8C8"  # of cells that were never tried
# at each edge: a marker, and how far outside it stands, in points
ARROWS = {
    "up": ("^", 0, 6.5),
    "down": ("v", 0, -6.5),
    "left": ("<", -6.5, 0),
    "right": (">", 6.5, 0),
}
BOUNDARY: dict[str, Any] = {"color": VERMILION, "linewidth": 2.2, "linestyle": "-"}
ARROW: dict[str, Any] = {"color": VERMILION, "markersize": 7, "linestyle": "none"}
STAR: dict[str, Any] = {
    "marker": "*", "markeredgecolor": BLACK, "markeredgewidth": 0.9, "linestyle": "none",
}  # fmt: skip
LARGEST_STAR, SMALLEST_STAR = 13.0, 8.0


def draw_panel(axes: Axes, grid: Grid, shades: Shades, layout: Layout, winner: bool) -> None:
    """Draw the cells of a grid and their marks; the axes get no labels.

    Args:
        axes: empty.
        grid: rows go up, columns to the right.
        shades: of the means.
        layout: what fits in a cell.
        winner: whether the best cell of this panel is the best of all.
    """
    rows, columns = grid.mean.shape
    axes.grid(visible=False)
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(-0.5, rows - 0.5)
    axes.tick_params(length=0)
    means = np.ma.masked_invalid(shades.within(grid.mean))
    axes.pcolormesh(
        np.arange(columns + 1) - 0.5, np.arange(rows + 1) - 0.5, means,
        cmap=shades.map, norm=shades.norm, edgecolors=WHITE,
        linewidth=0.8 if layout.lines else 0.2,
    ).set_gid("means")  # fmt: skip
    faces = shades.colours(grid.mean)
    _draw_lost(axes, grid, faces)
    at = boundary_rows(grid)
    if layout.lines:
        _write(axes, grid, faces, layout, at)
    _draw_boundary(axes, grid, at)
    _draw_best(axes, grid, layout, winner)


def _draw_lost(axes: Axes, grid: Grid, faces: np.ndarray) -> None:
    """Leave cells never tried white, fill those without a score, hatch where trials diverged."""
    rows, columns = grid.mean.shape
    every = {(c, r) for c in range(columns) for r in range(rows)}
    _squares(axes, every - set(grid.cells), "never tried", facecolor=WHITE, edgecolor=FRAME)
    blank = {(c, r) for c, r in grid.cells if not np.isfinite(grid.mean[r, c])}
    _squares(axes, blank, "no score", facecolor=PALE, edgecolor=WHITE)
    hatched = {(c, r) for c, r in grid.cells if grid.diverged[r, c] > 0}
    groups: dict[str, set[tuple[int, int]]] = {}
    for c, r in hatched:
        mark = MARK if (c, r) in blank else ink(faces[r, c])
        groups.setdefault(mark, set()).add((c, r))
    for mark, cells in groups.items():
        _squares(
            axes, cells, "diverged", facecolor="none", edgecolor=mark, hatch=HATCH, linewidth=0,
            alpha=1 if mark == MARK else 0.45,
        )  # fmt: skip


def _squares(axes: Axes, cells: Iterable[tuple[int, int]], name: str, **look: Any) -> None:
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    squares = [Rectangle((c - 0.5, r - 0.5), 1, 1) for c, r in sorted(cells)]
    if squares:
        axes.add_collection(PatchCollection(squares, gid=name, **{"linewidth": 0.6, **look}))


def _write(axes: Axes, grid: Grid, faces: np.ndarray, layout: Layout, at: np.ndarray) -> None:
    for c, r in grid.cells:
        lines = cell_text(grid, c, r, layout.lines)
        if not lines:
            continue
        blank = not np.isfinite(grid.mean[r, c])
        face, colour = (PALE, BLACK) if blank else (faces[r, c], ink(faces[r, c]))
        text = axes.text(
            c, r, "\n".join(lines), ha="center", va="center", fontsize=layout.size, color=colour,
            linespacing=1.1, zorder=4,
        )  # fmt: skip
        if abs(at[c] - r) < 0.5:  # the boundary lies under it
            text.set_bbox({"facecolor": face, "edgecolor": "none", "pad": 0.5})
        elif grid.diverged[r, c] > 0:
            text.set_path_effects(outlined(3.5, face))
        text.set_in_layout(False)  # it fits its cell, and hundreds take long to measure


def _draw_boundary(axes: Axes, grid: Grid, at: np.ndarray) -> None:
    alone = boundary_column(grid)
    if np.isfinite(alone):
        axes.plot(
            [alone, alone], [-0.5, 0.5], **BOUNDARY, zorder=3, gid="boundary", clip_on=False,
            path_effects=outlined(4, WHITE),
        )  # fmt: skip
    if np.isfinite(at).any():
        x = np.repeat(np.arange(len(at) + 1) - 0.5, 2)[1:-1]
        axes.plot(
            x, np.repeat(at, 2), **BOUNDARY, zorder=3, gid="boundary", solid_capstyle="butt",
            clip_on=False, path_effects=outlined(4, WHITE),
        )  # fmt: skip


def _draw_best(axes: Axes, grid: Grid, layout: Layout, winner: bool) -> None:
    """Frame the best cell, put a star on its corner, and an arrow on each edge it lies on."""
    from matplotlib.patches import Rectangle
    from matplotlib.transforms import offset_copy

    if grid.best is None:
        return
    c, r = grid.best
    rows, columns = grid.mean.shape
    frame = Rectangle((c - 0.5, r - 0.5), 1, 1, fill=False, edgecolor=BLACK, linewidth=2)
    frame.set(clip_on=False, zorder=5, gid="best", path_effects=outlined(3.6, WHITE))
    axes.add_patch(frame)
    place = (c + 0.5, r + 0.5) if layout.lines else (c, r)  # beside the text where there is one
    size = min(LARGEST_STAR, max(SMALLEST_STAR, 72 * 0.7 * layout.high))
    face = YELLOW if winner else WHITE
    axes.plot(*place, **STAR, markersize=size, color=face, clip_on=False, zorder=6, gid="star")
    figure = axes.get_figure(root=True)
    for edge in grid.edges:
        x = {"left": -0.5, "right": columns - 0.5}.get(edge, c)
        y = {"down": -0.5, "up": rows - 0.5}.get(edge, r)
        marker, across, up = ARROWS[edge]
        axes.plot(
            [x], [y], **ARROW, marker=marker, clip_on=False, zorder=6, gid="edge",
            transform=offset_copy(axes.transData, figure, across, up, units="points"),
        )  # fmt: skip


def outlined(width: float, colour: Any) -> list[Any]:
    """Return the path effects that draw a rim around a line or a text, `width` points in all."""
    from matplotlib.patheffects import Normal, Stroke

    return [Stroke(linewidth=width, foreground=colour), Normal()]
