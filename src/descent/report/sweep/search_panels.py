"""A random search's settings: their scores over the values that were drawn of each option."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from descent.analysis.scatter import DrawnOption, Scatter
from descent.analysis.trials import short
from descent.config.options import is_geometric
from descent.errors import counted, joined
from descent.report.style import (
    GREY,
    YELLOW,
    Picture,
    drawable,
    new_figure,
    share,
    shown,
    stroke,
)
from descent.report.sweep.marks import across_of, add_legend, fenced, tick_logs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 3
PANEL = 2.9  # inches
PAD = 0.06


def scatter_picture(found: Scatter) -> Picture:
    """Draw a panel for each option, the most influential first; a star is the best setting."""
    across = across_of(len(found.options), COLUMNS)
    rows = math.ceil(len(found.options) / across)
    figure = new_figure(PANEL * rows + 1.0)
    panels = figure.subplots(rows, across, sharey=True, squeeze=False)
    scores = drawable(found.scores)
    low, high, log = fenced(scores, found.measure.lower)
    if found.measure.lower:
        bottom, top = low, high
    else:
        bottom, top = min(low, high), max(low, high)
    pad = PAD * (math.log(top / bottom) if log else (top - bottom) or abs(top) or 1.0)
    ends = (bottom / math.exp(pad), top * math.exp(pad)) if log else (bottom - pad, top + pad)
    for axes, option in zip(panels.flat, found.options, strict=False):
        _panel(axes, found, option, scores, ends, log)
    for axes in list(panels.flat)[len(found.options) :]:
        axes.set_visible(False)
    for row in panels:
        row[0].set_ylabel(found.measure.label)
    add_legend(figure)
    return Picture("search", "What each drawn option did", figure, _caption(found))


def _panel(
    axes: Axes, found: Scatter, option: DrawnOption, scores: np.ndarray, ends: tuple[float, float],
    log: bool,
) -> None:  # fmt: skip
    worst = ends[1] if found.measure.lower else ends[0]
    inside = (scores >= ends[0]) & (scores <= ends[1])
    drawn = np.clip(scores, *ends)  # a loss of 0 has no place on a log axis but its lower edge
    names, beyond = sorted(set(found.groups)), False
    for k, name in enumerate(names):
        mine = np.array([group == name for group in found.groups])
        style = stroke(k)
        axes.plot(
            option.x[mine & inside], scores[mine & inside], style.marker, color=style.colour,
            alpha=0.75, label=name or None, linestyle="none",
        )  # fmt: skip
        if not (mine & ~inside).any():
            continue
        axes.plot(
            option.x[mine & ~inside], drawn[mine & ~inside], "D", clip_on=False,
            markerfacecolor="none", color=style.colour, linestyle="none",
            label=None if beyond else "beyond the scale",
        )  # fmt: skip
        beyond = True
    gone = found.lost[option.key]
    if len(gone):
        axes.plot(
            gone, np.full(len(gone), worst), "x", color=GREY, clip_on=False, linestyle="none",
            label="no run ended well",
        )  # fmt: skip
    axes.plot(
        option.x[:1], drawn[:1], "*", clip_on=False, color=YELLOW, markeredgecolor="black",
        markersize=14, linestyle="none", label="best setting",
    )  # fmt: skip
    known = np.concatenate([option.x, gone])
    if is_geometric(option.key, float(known.min()), float(known.max())):
        axes.set_xscale("log")
    if log:
        axes.set_yscale("log")
    axes.set_ylim(*ends)
    tick_logs(axes)
    axes.set_xlabel(option.key)


def _caption(found: Scatter) -> str:
    told = [
        f"{counted(len(found.scores), 'setting')} with a score, each a point in every panel; the "
        f"best, {shown(float(found.scores[0]))}, has "
        + joined([f"{short(option.key)}={shown(float(option.x[0]))}" for option in found.options])
    ]
    good = [f"{short(o.key)} {shown(o.good[0])} to {shown(o.good[1])}" for o in found.options]
    told.append(f"the best {found.top} lie at {joined(good)}")
    known = [o for o in found.options if math.isfinite(o.influence)]
    if len(known) > 1:
        told.append(
            "of the ranks' variance "
            + joined([f"{short(o.key)} explains {share(o.influence)}" for o in known])
        )
    lost = len(next(iter(found.lost.values())))
    if lost:
        told.append(f"{counted(lost, 'setting')} had no run that ended well")
    return "; ".join(told) + "."
