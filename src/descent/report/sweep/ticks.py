"""Ticks that a reader can use on short log axes, where powers of ten alone are too few."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from descent.report.sweep.options import value_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LONG, MIDDLE = 3.5, 1.0  # decades: from there on powers of ten do; below, every 1, 2 and 5


def tick_logs(axes: Axes) -> None:
    """Label 1, 2 and 5 of each decade of a short log y axis; of a very short one even more.

    Args:
        axes: with its limits set.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if axes.get_yscale() != "log":
        return
    low, high = axes.get_ylim()
    decades = math.log10(high / low)
    if decades < LONG:
        fine = (1, 1.5, 2, 3, 4, 5, 7) if decades < MIDDLE else (1, 2, 5)
        axes.yaxis.set_major_locator(LogLocator(subs=fine))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: value_text(value)))
        axes.yaxis.set_minor_formatter(NullFormatter())
