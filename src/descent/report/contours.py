"""Contour lines of a loss, and paths over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from descent.report.heights import Heights
from descent.report.style import (
    BLACK,
    DECADES,
    GREY,
    MOST_STYLED,
    YELLOW,
    Stroke,
    shown,
    stroke,
    thinned,
)
from descent.report.window import Walk
from descent.shapes import Float

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEVELS = 14
DEEPEST = 4.0  # decades below the highest level that get levels of their own
MOST_PLACES = 1500  # of a path
DOTTED = 80  # places of a path that get a dot of their own


def draw_contours(
    figure: Figure, axes: Axes, grid: tuple[np.ndarray, np.ndarray], z: np.ndarray, floor: float
) -> None:
    """Draw filled contours from white (low) to grey-blue (high), and their scale.

    Args:
        figure: gets the colour bar.
        axes: to draw in.
        grid: x [n] and y [m].
        z: losses [m, n].
        floor: the lowest loss there is; levels are spaced by how far they lie above it.
    """
    from matplotlib.colors import BoundaryNorm, LinearSegmentedColormap

    z = np.where(np.isfinite(z), z, np.nan)
    levels = levels_for(z, floor)
    if not len(levels):
        return
    colours = LinearSegmentedColormap.from_list("height", ["#FFFFFF", "#E4EDF5", "#AFC4D6"])
    norm = BoundaryNorm(levels, colours.N)
    z = np.ma.masked_invalid(z)
    filled = axes.contourf(*grid, z, levels=levels, cmap=colours, norm=norm, extend="both")
    axes.contour(*grid, z, levels=levels, colors="#6F8CA6", linewidths=0.5, alpha=0.8)
    bar = figure.colorbar(filled, ax=axes, pad=0.015, aspect=30)
    bar.set_label("loss")
    bar.set_ticks(levels[::2].tolist(), labels=[shown(float(f"{v:.3g}")) for v in levels[::2]])
    bar.ax.minorticks_off()
    bar.ax.tick_params(labelsize=8)
    axes.grid(visible=False)


def levels_for(z: np.ndarray, floor: float) -> np.ndarray:
    """Return rising contour levels: even, or by equal factors of the height above the floor.

    Args:
        z: losses, NaN where there is none.
        floor: the lowest loss.
    """
    above = z[np.isfinite(z)] - floor
    above = above[above > 0]
    if not len(above) or above.max() <= 0:
        return np.zeros(0)
    high = above.max()
    low = max(np.quantile(above, 0.002), high * 10**-DEEPEST)
    if high / low > 10**DECADES:
        levels = floor + np.geomspace(low, high, LEVELS + 1)[:-1]
    else:
        levels = floor + np.linspace(above.min(), high, LEVELS + 2)[1:-1]
    # a tiny range on a tall floor may leave levels that float64 cannot tell apart
    return np.unique(levels)


def draw_walks(axes: Axes, walks: Sequence[Walk], places: Sequence[np.ndarray]) -> None:
    """Draw paths from an open circle (start) to a filled square (end).

    Args:
        axes: to draw in.
        walks: the runs.
        places: their paths in the coordinates of the axes, [n, 2] each.
    """
    alone = len(walks) == 1
    for k, (walk, place) in enumerate(zip(walks, places, strict=True)):
        style = stroke(k) if k < MOST_STYLED else Stroke(GREY, "-", ".")
        label = walk.record.label if not alone else f"path, one dot {_every(walk)}"
        _draw_walk(axes, walk, place, style, None if k >= MOST_STYLED else label, alone)
    start, end = "start", "end"
    for walk, place in zip(walks, places, strict=True):
        axes.plot(
            *place[0], "o", color="white", markeredgecolor=BLACK, markeredgewidth=1.4,
            markersize=8, zorder=6, linestyle="none", label=start,
        )  # fmt: skip
        start = "_again"
        if not walk.cut:
            axes.plot(
                *place[-1], "s", color=BLACK, markeredgecolor="white", markersize=6, zorder=6,
                linestyle="none", label=end,
            )  # fmt: skip
            end = "_again"


def _every(walk: Walk) -> str:
    apart = int(np.diff(walk.steps[:2])[0])
    return "a step" if apart == 1 else f"every {apart:,} steps"


def _draw_walk(
    axes: Axes, walk: Walk, place: np.ndarray, style: Stroke, label: str | None, alone: bool
) -> None:
    from matplotlib.patheffects import Normal
    from matplotlib.patheffects import Stroke as Outline

    keep = thinned(len(place), MOST_PLACES)
    dots = len(keep) <= DOTTED
    if alone and not dots:
        label = "path"
    # a number would count places, which crowd at the end; a fraction is a distance in the picture
    marker: dict[str, Any] = {"marker": style.marker, "markevery": 1 if alone else 0.05}
    if not alone:
        marker |= {"markerfacecolor": "white", "markersize": 4}
    elif not dots:
        marker = {}
    axes.plot(
        place[keep, 0], place[keep, 1], color=style.colour, linestyle=style.dash, linewidth=1.4,
        label=label, zorder=4, path_effects=[Outline(linewidth=3, foreground="white"), Normal()],
        **marker,
    )  # fmt: skip


def draw_known_places(
    axes: Axes,
    heights: Heights,
    move: Callable[[np.ndarray], np.ndarray],
    box: Float[np.ndarray, "d 2"],
) -> None:
    """Mark minima and saddles that lie in the window.

    Args:
        axes: to draw in.
        heights: knows them.
        move: from a place [P] to coordinates of the axes.
        box: (low, high) of each coordinate of the parameters.
    """
    kinds = (
        (heights.minima, "*", YELLOW, 18, heights.lowest),
        (heights.local_minima, "*", "white", 16, "local minimum"),
        (heights.saddles, "X", "white", 9, "saddle"),
    )
    for found, marker, colour, size, label in kinds:
        for spot in found:
            if ((spot >= box[:, 0]) & (spot <= box[:, 1])).all():
                axes.plot(
                    *move(spot), marker, color=colour, markeredgecolor=BLACK, markersize=size,
                    zorder=5, linestyle="none", label=label,
                )  # fmt: skip
                label = "_again"
