"""One parameter: the loss as a curve, and the ball that rolls on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from descent.report.heights import Heights
from descent.report.style import (
    BLACK,
    GREY,
    MOST_STYLED,
    YELLOW,
    Picture,
    Stroke,
    legend_below,
    new_figure,
    stroke,
    thinned,
)
from descent.report.surface import anchors, told
from descent.report.window import Walk, window

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAD = 0.4  # of the window, on each side
POINTS = 401  # of the curve
BALLS = 30  # of one path on the curve, beside the first ones
EARLY = 10  # steps that are looked at more closely than later ones
MOST_LINE = 1500
NUMBERED = 8  # balls with their step written beside them
SHADED = " Balls darken with the steps."
APART = 0.035  # of the picture's width, between two numbered balls


def profile(walks: Sequence[Walk], heights: Heights) -> Picture:
    """Draw the loss with the balls of the runs on it; below, where they are after each step."""
    box = window([w.theta for w in walks], anchors(walks, heights), [False] * len(walks), PAD)[0]
    name = walks[0].record.parameters[0]
    figure = new_figure(7.0)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    _draw_curve(above, walks, heights, box)
    for k, walk in enumerate(walks):
        style = stroke(k) if k < MOST_STYLED else Stroke(GREY, "-", ".")
        label = walk.record.label if len(walks) > 1 else "path"
        _draw_balls(above, walk, heights, style, label)
        _draw_steps(below, walk, style)
        if len(walks) == 1:
            _number(above, walk, heights, box)
    _mark_ends(above, walks, heights)
    _mark_minima(above, heights, box)
    above.set_xlim(*box)
    above.set_ylabel("loss")
    below.set_ylabel("step")
    below.set_xlabel(name)
    last = max(w.steps[-1] for w in walks)
    if last > 10 * EARLY:
        below.set_yscale("asinh", linear_width=EARLY)  # the first steps are the largest
        below.set_yticks(ticks := [0, *(10**k for k in range(1, 9) if 10**k < 2 * last)])
        below.set_yticklabels([f"{tick:,}" for tick in ticks])
        below.minorticks_off()
    else:
        below.yaxis.get_major_locator().set_params(integer=True)
    below.set_ylim(last, 0)
    legend_below(figure, above)
    ground = walks[0].record.landscape
    kind, title = ("surface", f"The loss over {name}")
    if ground is not None:
        kind, title = "landscape", f"The path on the landscape {ground}"
    return Picture(kind, title, figure, told(walks, heights, [name]) + SHADED)


def _draw_curve(axes: Axes, walks: Sequence[Walk], heights: Heights, box: np.ndarray) -> None:
    x = np.linspace(box[0], box[1], POINTS)
    y = heights.loss(x[:, None])
    axes.plot(x, y, color=GREY, linewidth=2, zorder=1)
    # as high as the balls go, whatever the curve does at the window's edges
    reached = np.concatenate([heights.loss(w.theta[_within(w, box)]) for w in walks])
    low, high = np.nanmin(y), np.nanmax(reached)
    high = high if high > low else np.nanmax(y)
    axes.set_ylim(low - 0.12 * (high - low), high + 0.2 * (high - low))


def _within(walk: Walk, box: np.ndarray) -> np.ndarray:
    return (walk.theta[:, 0] >= box[0]) & (walk.theta[:, 0] <= box[1])


def _mark_minima(axes: Axes, heights: Heights, box: np.ndarray) -> None:
    kinds = (
        (heights.minima, YELLOW, heights.lowest),
        (heights.local_minima, "white", "local minimum"),
    )
    for found, colour, label in kinds:
        for place in found:
            if box[0] <= place[0] <= box[1]:
                axes.plot(
                    place[0], heights.loss(place[None])[0], "*", color=colour, zorder=5,
                    markeredgecolor=BLACK, markersize=18, linestyle="none", label=label,
                )  # fmt: skip
                label = "_again"


def _draw_balls(axes: Axes, walk: Walk, heights: Heights, style: Stroke, label: str) -> None:
    from matplotlib.colors import to_rgb

    keep = thinned(len(walk.theta), BALLS)
    keep = np.union1d(keep, np.arange(min(3 * EARLY, len(walk.theta))))
    x, y = walk.theta[keep, 0], heights.loss(walk.theta[keep])
    # light at the start, full colour at the end
    depth = np.linspace(0.25, 1, len(keep))[:, None]
    colours = 1 - depth * (1 - np.array(to_rgb(style.colour)))
    axes.scatter(
        x,
        y,
        c=colours,
        marker=style.marker,
        s=30,
        edgecolors=style.colour,
        linewidths=0.6,
        zorder=3,
    )
    axes.plot([], [], **style.line, label=label)


def _mark_ends(axes: Axes, walks: Sequence[Walk], heights: Heights) -> None:
    start, end = "start", "end"
    for walk in walks:
        ends = walk.theta[[0, -1]]
        (x, last), (y, low) = ends[:, 0], heights.loss(ends)
        axes.plot(
            x, y, "o", color="white", markeredgecolor=BLACK, markeredgewidth=1.4, markersize=9,
            zorder=4, linestyle="none", label=start,
        )  # fmt: skip
        start = "_again"
        if not walk.cut:
            axes.plot(
                last, low, "s", color=BLACK, markeredgecolor="white", markersize=6, zorder=6,
                linestyle="none", label=end,
            )  # fmt: skip
            end = "_again"


def _number(axes: Axes, walk: Walk, heights: Heights, box: np.ndarray) -> None:
    """Write the step beside the first balls that lie far enough apart."""
    width = box[1] - box[0]
    last = np.inf
    numbered = 0
    for step, place in zip(walk.steps, walk.theta[:, 0], strict=True):
        if numbered == NUMBERED or abs(place - last) < APART * width:
            continue
        if box[0] <= place <= box[1]:
            y = float(heights.loss(np.array([[place]]))[0])
            axes.annotate(
                f"{step}", (place, y), xytext=(0, 9), textcoords="offset points", ha="center",
                fontsize=8,
            )  # fmt: skip
            last, numbered = place, numbered + 1


def _draw_steps(axes: Axes, walk: Walk, style: Stroke) -> None:
    keep = thinned(len(walk.theta), MOST_LINE)
    every = max(1, len(keep) // 20)
    axes.plot(
        walk.theta[keep, 0], walk.steps[keep], **style.line, markevery=every, markersize=3.5,
        linewidth=1.2,
    )  # fmt: skip
