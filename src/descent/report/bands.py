"""Loss over training: the best setting of each optimizer, the worst, and what was lost and when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from descent.report.axis import Axis
from descent.report.bands_caption import caption, grouped, happened
from descent.report.crosses import draw_crosses, row_height
from descent.report.legend import add_legend
from descent.report.options import clipped
from descent.report.picture import Picture
from descent.report.style import (
    GREY,
    MOST_STYLED,
    Stroke,
    counted,
    drawable,
    listed,
    new_figure,
    spans_decades,
    stroke,
    thinned,
)
from descent.study.curves import Band, Bands, Lost

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_POINTS = 1000  # of a line
MOST_ROWS = 6  # settings that lost trials and get a row of crosses of their own
MARKED = 10  # points of a line that get a marker
LONGEST = 80  # characters of a line of the legend
RUNAWAY = 100.0  # lines are drawn up to this many times the highest start
LOG_ROOM, ROOM = 10.0, 2.0  # and lost trials up to this many times, on a log and a linear axis
UNEVEN = 20.0  # times longer than the shortest line: from there on steps get a log axis
WORST, REST = Stroke(GREY, "-", ""), Stroke(GREY, ":", ".")


def bands(bands: Bands) -> Picture | None:
    """Draw medians and quartile bands over seeds, and lost trials up to where they were lost.

    Crosses above the picture stand at the steps where trials were lost, a row for each setting.

    Returns:
        None if no loss was recorded.
    """
    every = [band.step for band in bands.best] + [one.step for one in bands.lost]
    if not any(map(len, every)):
        return None
    rows = _rows(bands)
    figure = new_figure(4.8 + row_height(len(rows)) * len(rows) / 72)
    axes = figure.add_subplot()
    for k, band in enumerate(bands.best):
        own = k < MOST_STYLED
        label = band.label if own else f"{len(bands.best) - MOST_STYLED} others"
        style = stroke(k) if own else WORST
        _draw_band(axes, band, style, label if k <= MOST_STYLED else None, k)
    if bands.worst is not None:
        _draw_band(axes, bands.worst, WORST, f"worst: {bands.worst.label}", 0)
    for label, lost, style in rows:
        _draw_lost(axes, lost, style, label)
    _scale(axes, bands)
    for row, (_, lost, style) in enumerate(rows):
        steps = np.array([one.trial.step or 0 for one in lost], dtype=np.float64)
        draw_crosses(
            axes, row_height(len(rows)) * (row + 0.5), steps, np.ones(len(steps), dtype=bool), style
        )
    axes.set_xlabel(Axis.STEP.label)
    axes.set_ylabel(bands.loss)
    add_legend(figure)
    return Picture("bands", "Loss over training of the best settings", figure, caption(bands))


def _rows(bands: Bands) -> list[tuple[str, list[Lost], Stroke]]:
    """Return what the legend says of each row of crosses, whose they are, and how they look."""
    groups = list(grouped(bands.lost).items())
    rows = [
        (f"{name}: {happened(lost)}{_which(bands, lost)}", lost, stroke(len(bands.best) + k))
        for k, (name, lost) in enumerate(groups[:MOST_ROWS])
    ]
    rest = [one for _, lost in groups[MOST_ROWS:] for one in lost]
    if rest:
        others = counted(len(groups) - MOST_ROWS, "other setting")
        rows.append((f"{others}: {happened(rest)}", rest, REST))
    return rows


def _which(bands: Bands, lost: Sequence[Lost]) -> str:
    """Return which loss is drawn of lost trials, where it is not that of the others."""
    names = {one.name for one in lost} - {bands.loss}
    return f" (drawn: {listed(sorted(names))})" if names else ""


def _draw_band(axes: Axes, band: Band, style: Stroke, label: str | None, k: int) -> None:
    keep = thinned(len(band.step), MOST_POINTS)
    x = band.step[keep]
    low, median, high = (drawable(v[keep]) for v in (band.low, band.median, band.high))
    axes.fill_between(x, low, high, color=style.colour, alpha=0.18, linewidth=0)
    every = max(1, len(keep) // MARKED)
    # markers of different lines shifted against each other, so that lines on top of others show
    axes.plot(
        x, median, **style.line, markevery=(k * every // 4 % every, every), markersize=4,
        zorder=1.8 if style is WORST else 2, gid="median",
        label=None if label is None else clipped(label, LONGEST),
    )  # fmt: skip


def _draw_lost(axes: Axes, lost: Sequence[Lost], style: Stroke, label: str) -> None:
    """Draw losses [n] over steps up to where each was lost."""
    for one in lost:
        keep = thinned(len(one.step), MOST_POINTS)
        axes.plot(
            one.step[keep], drawable(one.loss[keep]), color=style.colour, linestyle=style.dash,
            linewidth=1, alpha=0.8, gid="lost curve",
        )  # fmt: skip
    axes.plot(
        [], [], color=style.colour, linestyle=style.dash, linewidth=1, marker=style.marker,
        markersize=5, label=clipped(label, LONGEST),
    )  # fmt: skip


def _scale(axes: Axes, bands: Bands) -> None:
    """Set both scales by the lines that were not lost: one awful curve must flatten nothing."""
    lines = [*bands.best, *([bands.worst] if bands.worst is not None else [])]
    ends = [float(band.step[-1]) for band in lines if len(band.step) and band.step[-1] > 0]
    if ends and max(ends) > UNEVEN * min(ends):
        axes.set_xscale("symlog", linthresh=1)
        axes.set_xlim(left=0)
    drawn = [np.concatenate([drawable(v) for v in (b.low, b.median, b.high)]) for b in lines]
    drawn = drawn or [drawable(one.loss) for one in bands.lost]
    values = np.concatenate(drawn)
    values = values[np.isfinite(values)]
    if not len(values):
        return
    starts = [abs(float(band.median[0])) for band in lines if len(band.step)] or [abs(values.max())]
    lost = np.concatenate([drawable(one.loss) for one in bands.lost] or [values])
    # lost trials get room to be seen to rise, and no more
    log = spans_decades(values)
    room = min(np.nanmax(lost, initial=values.max()), (LOG_ROOM if log else ROOM) * max(starts))
    low, high = values.min(), max(min(values.max(), RUNAWAY * max(starts)), room)
    if log:
        axes.set_yscale("log")
        axes.set_ylim(low / 1.3, high * 1.3)
    else:
        pad = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
        axes.set_ylim(low - pad, high + pad)
