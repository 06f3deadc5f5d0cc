"""One panel of losses over training: medians and bands, lost trials, and both scales."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from descent.report.style import GREY, Stroke, drawable, spans_decades, thinned
from descent.report.sweep.crosses import draw_crosses, row_height
from descent.report.sweep.ticks import tick_logs
from descent.study.curves import Band, Bands, Lost

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_POINTS = 1000  # of a line
MARKED = 10  # points of a line that get a marker
RUNAWAY = 100.0  # lines are drawn up to this many times the highest start
LOG_ROOM, ROOM = 10.0, 2.0  # and lost trials up to this many times, on a log and a linear axis
UNEVEN = 20.0  # times longer than the shortest line: from there on steps get a log axis
WORST, REST = Stroke(GREY, "-", ""), Stroke(GREY, ":", ".")


@dataclass(frozen=True)
class Row:
    """Lost trials that share a row of crosses.

    Args:
        label: whose they are, what became of them and when.
        lost: the trials.
        style: of curves and crosses.
    """

    label: str
    lost: Sequence[Lost]
    style: Stroke


def draw_panel(axes: Axes, part: Bands, styles: Sequence[Stroke], rows: Sequence[Row]) -> None:
    """Draw the lines of a problem, its lost trials and the crosses where they were lost.

    Args:
        axes: empty.
        part: what belongs to the problem.
        styles: of its best settings.
        rows: its lost trials.
    """
    for k, (band, style) in enumerate(zip(part.best, styles, strict=True)):
        _draw_band(axes, band, style, k)
    if part.worst is not None:
        _draw_band(axes, part.worst, WORST, 0)
    for row in rows:
        _draw_lost(axes, row)
    _scale(axes, part)
    for k, row in enumerate(rows):
        steps = np.array([one.trial.step or 0 for one in row.lost], dtype=np.float64)
        up = row_height(len(rows)) * (k + 0.5)
        draw_crosses(axes, up, steps, np.ones(len(steps), dtype=bool), row.style)


def _draw_band(axes: Axes, band: Band, style: Stroke, k: int) -> None:
    keep = thinned(len(band.step), MOST_POINTS)
    x = band.step[keep]
    low, median, high = (drawable(v[keep]) for v in (band.low, band.median, band.high))
    axes.fill_between(x, low, high, color=style.colour, alpha=0.18, linewidth=0)
    every = max(1, len(keep) // MARKED)
    # markers of different lines shifted against each other, so that lines on top of others show
    axes.plot(
        x, median, **style.line, markevery=(k * every // 4 % every, every), markersize=4,
        zorder=1.8 if style is WORST else 2, gid="median",
    )  # fmt: skip


def _draw_lost(axes: Axes, row: Row) -> None:
    """Draw losses [n] over steps up to where each was lost."""
    for one in row.lost:
        keep = thinned(len(one.step), MOST_POINTS)
        axes.plot(
            one.step[keep], drawable(one.loss[keep]), color=row.style.colour,
            linestyle=row.style.dash, linewidth=1, alpha=0.8, gid="lost curve",
        )  # fmt: skip


def _scale(axes: Axes, part: Bands) -> None:
    """Set both scales by the lines that were not lost: one awful curve must flatten nothing."""
    lines = [*part.best, *([part.worst] if part.worst is not None else [])]
    ends = [float(band.step[-1]) for band in lines if len(band.step) and band.step[-1] > 0]
    if ends and max(ends) > UNEVEN * min(ends):
        axes.set_xscale("symlog", linthresh=1)
        axes.set_xlim(left=0)
    drawn = [v for band in lines for v in (band.low, band.median, band.high)]
    values = _known(drawn or [one.loss for one in part.lost])
    if not len(values):
        return
    log = bool(values.min() >= 0 and spans_decades(values[values > 0]))
    low = values[values > 0].min() if log else values.min()  # a loss of 0 lies below a log axis
    starts = _known([band.median[:1] for band in lines])
    start = float(np.abs(starts).max()) if len(starts) else float(np.abs(values).max())
    # lost trials get room to be seen to rise, and no more
    highest = _known([one.loss for one in part.lost]).max(initial=values.max())
    room = min(highest, (LOG_ROOM if log else ROOM) * start)
    high = max(min(values.max(), RUNAWAY * start), room)
    if log:
        axes.set_yscale("log")
        axes.set_ylim(low / 1.3, high * 1.3)
        tick_logs(axes)
    else:
        pad = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
        axes.set_ylim(low - pad, high + pad)


def _known(series: Sequence[np.ndarray]) -> np.ndarray:
    """Return the values of some series that an axis can hold, in one array [n]."""
    values = np.concatenate([np.zeros(0), *map(drawable, series)])
    return values[np.isfinite(values)]
