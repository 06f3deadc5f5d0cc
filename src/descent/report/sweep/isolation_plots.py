"""A panel for each option: the best that each of its values reaches, all others optimized away."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from descent.analysis.isolation import Isolated
from descent.analysis.settings import Measure
from descent.analysis.trials import is_number, short
from descent.errors import joined
from descent.report.style import BLUE, GREY, Picture, new_figure
from descent.report.sweep.lr_lines import FACTOR, GEOMETRIC
from descent.report.sweep.marks import (
    across_of,
    add_legend,
    axis_title,
    clipped,
    fenced,
    folded,
    spoken,
    tick_logs,
    value_text,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ACROSS = 3
HIGH = 2.7  # inches of a panel
LETTERS = 28  # under a panel
ROOM = 54  # letters beside each other under all panels of a row
MOST_TICKS = 8
CAPPED = 1.06  # of the scale, beyond what is no outlier


def isolation(options: Sequence[Isolated], measure: Measure) -> Picture | None:
    """Draw the panels on one scale; None where no setting is complete."""
    options = [option for option in options if option.best]
    if not options:
        return None
    across = across_of(len(options), ACROSS)
    down = math.ceil(len(options) / across)
    figure = new_figure(1.0 + down * HIGH)
    panels = figure.subplots(down, across, squeeze=False, sharey=True).ravel()
    beyond = _scale(panels[0], options, measure)
    for axes, option in zip(panels, options, strict=False):
        _draw(axes, option, across)
        axes.set_xlabel(folded(axis_title(option.key), LETTERS))
    for axes in panels[len(options) :]:
        axes.set_axis_off()
    for axes in panels[::across]:
        axes.set_ylabel(measure.label)
    tick_logs(panels[0])
    add_legend(figure, panels[0])
    return Picture("isolation", "Each option by itself", figure, _caption(options, measure, beyond))


def _scale(axes: Axes, options: Sequence[Isolated], measure: Measure) -> int:
    """Set the shared scale so that awful settings flatten nothing; return how many are beyond."""
    every = np.array([mean for own in options[0].means.values() for mean in own])
    low, high, log = fenced(every, measure.lower)
    log = log or high > FACTOR * low > 0
    shown = [s for option in options for s in ({} if option.drawn else option.best).values()]
    ends = np.array([s.mean + sign * np.nan_to_num(s.spread) for s in shown for sign in (-1, 1)])
    ends = ends[ends > 0] if log else ends  # a log scale has no room for the rest
    low, high = min([low, *ends]), max([high, *ends])
    axes.set_yscale("log" if log else "linear")
    if log:
        axes.set_ylim(low / CAPPED, high * CAPPED)
    else:
        pad = (CAPPED - 1) * (high - low) or 0.1 * abs(high) or 1.0
        axes.set_ylim(low - pad, high + pad)
    return int(((every < axes.get_ylim()[0]) | (every > axes.get_ylim()[1])).sum())


def _draw(axes: Axes, option: Isolated, across: int) -> None:
    numbers = all(map(is_number, option.values))
    x = np.array(option.values if numbers else range(len(option.values)), dtype=float)
    if numbers and x[0] > 0 and x[-1] > GEOMETRIC * x[0]:
        axes.set_xscale("log")
    if not numbers or len(x) <= MOST_TICKS:
        names = [clipped(value_text(value), 12) for value in option.values]
        room = ROOM // across
        axes.set_xticks(x, names, rotation=90 if sum(map(len, names)) > room else 0)
        axes.minorticks_off()
    at = dict(zip(option.values, x, strict=True))
    dots = [(at[value], mean) for value, own in option.means.items() for mean in own]
    axes.plot(*np.array(dots).T, ".", color=GREY, markersize=4, gid="settings", label="a setting")
    if option.drawn:
        return
    known = [value for value in option.values if value in option.best]
    mean = [option.best[value].mean for value in known]
    spread = [np.nan_to_num(option.best[value].spread) for value in known]
    axes.errorbar(
        [at[value] for value in known], mean, spread, color=BLUE, marker="o", capsize=3,
        linestyle="-" if numbers else "none", gid="best", zorder=3,
        label="the best with this value ± standard deviation",
    )  # fmt: skip


def _caption(options: Sequence[Isolated], measure: Measure, beyond: int) -> str:
    told = []
    for option in options:
        best = option.best[option.top] if option.top is not None else None
        if best is None:
            continue
        worst = max(option.best.values(), key=lambda s: s.mean if measure.lower else -s.mean)
        words = f"{short(option.key)} {value_text(best.values[option.key])} ({spoken(best.mean)})"
        if not option.drawn and len(option.best) > 1 and worst.mean == best.mean:
            words = f"{short(option.key)} all alike ({spoken(best.mean)})"
        elif not option.drawn and worst is not best:
            at = value_text(worst.values[option.key])
            words += f", the worst value {at} ({spoken(worst.mean)})"
        told.append(words)
    text = f"The best value of each option, all others at their best: {'; '.join(told)}."
    without = {
        short(option.key): [value_text(v) for v in option.values if v not in option.best]
        for option in options
        if not option.drawn
    }
    lost = [f"{key}={joined(values)}" for key, values in without.items() if values]
    if lost:
        ended = "ended well" if measure.target is None else "reached the target"
        text += f" No setting with {' or with '.join(lost)} {ended} with all its trials."
    if beyond:
        text += f" {beyond:,} {'setting lies' if beyond == 1 else 'settings lie'} beyond the scale."
    return text
