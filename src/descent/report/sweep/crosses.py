"""Crosses on the upper edge of a picture for what was lost, a row for each line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from descent.report.style import GREY, Stroke

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOOSE, TIGHT = 9.0, 6.5  # points between rows: few and many
MANY_ROWS = 8
DENSE = 6  # crosses of a row: without rims, which would hide their neighbours
WHOLE, SOME = "X", "x"  # all trials were lost, or some


def row_height(rows: int) -> float:
    """Return how far rows of crosses lie apart, in points."""
    return LOOSE if rows <= MANY_ROWS else TIGHT


def draw_crosses(axes: Axes, up: float, x: np.ndarray, whole: np.ndarray, style: Stroke) -> None:
    """Draw a row of crosses above the axes, with the line's own marker before it.

    Args:
        axes: with its scale and limits set.
        up: points above the upper edge.
        x: places [n] on the axis.
        whole: [n] whether everything was lost there: a filled cross, else a thin one.
        style: of the line.
    """
    from matplotlib.transforms import offset_copy

    figure = axes.get_figure(root=True)
    moved = offset_copy(axes.get_xaxis_transform(), figure, y=up, units="points")
    rim = 0.4 if len(x) < DENSE else 0.0
    guide = offset_copy(axes.transAxes, figure, y=up, units="points")
    axes.plot(
        [0, 1], [1, 1], color=style.colour, alpha=0.2, linewidth=0.6, transform=guide,
        clip_on=False, gid="guide",
    )  # fmt: skip
    looks: tuple[tuple[str, np.ndarray, dict[str, Any]], ...] = (
        (WHOLE, whole, {"markersize": 7, "markeredgecolor": "white", "markeredgewidth": rim}),
        (SOME, ~whole, {"markersize": 5.5, "markeredgewidth": 1.4}),
    )
    for marker, keep, look in looks:
        if keep.any():
            axes.plot(
                x[keep], np.ones(keep.sum()), marker, color=style.colour, transform=moved,
                clip_on=False, gid="lost", **look,
            )  # fmt: skip
    beside = offset_copy(axes.transAxes, figure, x=-8, y=up, units="points")
    axes.plot(
        [0], [1], style.marker, color=style.colour, markersize=4.5, transform=beside, clip_on=False,
        gid="whose",
    )  # fmt: skip


def explain_crosses(axes: Axes, whole: bool, some: bool) -> None:
    """Put the crosses that occur into the legend."""
    look: dict[str, Any] = {"color": GREY, "linestyle": "none", "markersize": 7}
    if whole:
        axes.plot([], [], marker=WHOLE, label="all trials lost", **look)
    if some:
        axes.plot([], [], marker=SOME, markeredgewidth=1.4, label="some trials lost", **look)
