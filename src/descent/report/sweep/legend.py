"""A legend under a picture, which grows by what the legend takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from descent.report.style import legend_below

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHORT = 0.25  # inches of a legend for which pictures have room anyway


def add_legend(figure: Figure, axes: Axes | None = None) -> None:
    """Put the legend under the picture; a tall one takes nothing from the axes.

    Args:
        figure: made by `new_figure`.
        axes: whose legend; None for the first.
    """
    legend_below(figure, axes)
    for legend in figure.legends:
        tall = legend.get_window_extent(figure.canvas.get_renderer()).height / figure.dpi  # type: ignore[attr-defined]
        figure.set_figheight(figure.get_figheight() + max(0.0, tall - SHORT))
