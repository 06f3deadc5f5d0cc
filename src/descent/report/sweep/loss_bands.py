"""Loss over training: the best setting of each optimizer, the worst, and what was lost and when."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from descent.analysis.bands import Band, Bands, Lost
from descent.analysis.trials import OPTIMIZER, Value, label, repeat_word
from descent.config.options import is_problem
from descent.errors import counted, joined
from descent.report.record import Axis
from descent.report.style import (
    GREY,
    Picture,
    Stroke,
    drawable,
    new_figure,
    spans_decades,
    stroke,
    thinned,
)
from descent.report.sweep.marks import (
    across_of,
    add_legend,
    clipped,
    draw_crosses,
    row_height,
    spoken,
    tick_logs,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


LONGEST_REASON = 40  # characters of a reason that a legend has room for


def grouped(lost: Sequence[Lost]) -> dict[str, list[Lost]]:
    """Return lost trials by their setting, those lost first first."""
    groups: dict[str, list[Lost]] = {}
    for one in sorted(lost, key=_when):
        groups.setdefault(_named(one), []).append(one)
    return groups


def _named(lost: Lost) -> str:
    return label(lost.trial.values) or "the only setting"


def _when(lost: Lost) -> int:
    return lost.trial.step or 0


def happened(lost: Sequence[Lost]) -> str:
    """Return what became of a setting's lost trials, and when: `step loss is nan at step 12`."""
    steps = [_when(one) for one in lost]
    if len(lost) == 1:
        what = _what(lost[0])
        return what if len(what) <= LONGEST_REASON else f"diverged at step {steps[0]:,}"
    several = min(steps) < max(steps)
    when = f"steps {min(steps):,} to {max(steps):,}" if several else f"step {steps[0]:,}"
    return f"{counted(len(lost), 'trial')} diverged at {when}"


def _what(lost: Lost) -> str:
    """Return the reason without its bracket and its advice."""
    return re.split(r" \(|; ", lost.trial.reason)[0] or f"diverged at step {_when(lost):,}"


def caption(bands: Bands, parts: Sequence[Bands]) -> str:
    """Say whose curves these are, which of them ends lowest, and what was lost first.

    Args:
        bands: with a line at least.
        parts: of it, one for each problem.
    """
    by = f" by {bands.by}" if bands.by else ""
    told = [_lowest(part) for part in parts if any(np.isfinite(_end(band)) for band in part.best)]
    if told:
        several = len(bands.best) > len(parts)
        whose = f"the best setting of each {bands.of}" if several else "the best setting"
        which = f"Of these the lowest {bands.loss}" if several else f"Its {bands.loss}"
        told = [f"Drawn: {whose}{by}", f"{which} at the end: {'; '.join(told)}"]
    if bands.worst is not None and np.isfinite(_end(bands.worst)):
        end = spoken(_end(bands.worst))
        told.append(f"The worst{by} that lost no trial, {bands.worst.label}, ends at {end}")
    if bands.lost:
        first = min(bands.lost, key=_when)
        many = counted(len(bands.lost), "trial")
        where = "at the crosses on the upper edge"
        told.append(f"Drawn {where}: {many} that diverged, first {_named(first)}: {_what(first)}")
    return ". ".join(told) + "." if told else f"No finite {bands.loss} was recorded."


def _lowest(part: Bands) -> str:
    """Return who ends lowest on a problem, and where the others end."""
    known = [(end, band) for band in part.best if np.isfinite(end := _end(band))]
    known.sort(key=lambda pair: pair[0])
    (end, band), others = known[0], known[1:]
    told = f"{spoken(end)}{_quartiles(band)} with {band.label or 'the only setting'}"
    if len(others) == 1:
        return f"{told}, while {others[0][1].label} ends at {spoken(others[0][0])}"
    if others:
        ends = f"{spoken(others[0][0])} and {spoken(others[-1][0])}"
        return f"{told}, while {len(others)} others end between {ends}"
    return told


def _end(band: Band) -> float:
    """Return the median over seeds of the last value of each, wherever it ended; NaN if unknown."""
    known = band.ends[np.isfinite(band.ends)]
    return float(np.median(known)) if len(known) else math.nan


def _quartiles(band: Band) -> str:
    if len(band.ends) < 2:
        return ""
    known = band.ends[np.isfinite(band.ends)]
    low, high = (spoken(float(v)) for v in np.quantile(known, [0.25, 0.75]))
    over = counted(len(known), repeat_word(band.setting.trials))
    return f" (median of {over}; quartiles {low} and {high})"


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


MOST_ROWS = 6  # settings of a panel that lost trials and get a row of crosses of their own
MOST_ACROSS = 2
TALL, SMALL = 4.8, 3.6  # inches: one panel, of several panels
LONGEST = 80  # characters of a line of the legend


def bands(bands: Bands, places: Mapping[str, int] | None = None) -> Picture | None:
    """Draw medians and quartile bands over seeds, and lost trials up to where they were lost.

    Crosses above the picture stand at the steps where trials were lost, a row for each setting.
    Each problem, such as a dataset, has a panel.

    Args:
        bands: what to draw.
        places: of the optimizers among the strokes of all pictures of a page.

    Returns:
        None if no loss was recorded.
    """
    every = [band.step for band in bands.best] + [one.step for one in bands.lost]
    if not any(map(len, every)):
        return None
    parts = by_problem(bands)
    places = places or {}
    strokes = map(stroke, itertools.count(len(places)))
    contenders = dict.fromkeys(_contender(band) for band in bands.best)
    style_of = {  # the same in every panel
        name: stroke(places[name]) if name in places else next(strokes) for name in contenders
    }
    styles = {id(band): style_of[_contender(band)] for band in bands.best}
    rows = {name: _rows(part, strokes) for name, part in parts.items()}
    across = across_of(len(parts), MOST_ACROSS)
    down = math.ceil(len(parts) / across)
    high = max(row_height(len(own)) * len(own) for own in rows.values()) / 72
    figure = new_figure((TALL if len(parts) == 1 else down * SMALL + 1) + down * high)
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for i, (axes, (name, part)) in enumerate(zip(panels, parts.items(), strict=False)):
        draw_panel(axes, part, [styles[id(band)] for band in part.best], rows[name])
        axes.set_title(name, fontsize=10, pad=6 + row_height(len(rows[name])) * len(rows[name]))
        axes.set_xlabel(Axis(bands.x).label)
        if i % across == 0:
            axes.set_ylabel(bands.loss)
    for axes in panels[len(parts) :]:
        axes.set_axis_off()
    legend = [(band.label or "the setting", styles[id(band)], 1.6) for band in bands.best]
    if bands.worst is not None:
        legend.append((f"worst: {bands.worst.label}", WORST, 1.6))
    legend += [(row.label, row.style, 1.0) for own in rows.values() for row in own]
    for text, style, wide in legend:
        panels[0].plot([], [], **style.line, linewidth=wide, label=clipped(text, LONGEST))
    add_legend(figure)
    title = "Loss over training of the best settings"
    if bands.of == "sweep":
        title = "Loss over training of the best of each sweep"
    return Picture("bands", title, figure, caption(bands, list(parts.values())))


def by_problem(bands: Bands) -> dict[str, Bands]:
    """Return what belongs to each problem, such as `data=digits`; without a name if there is one.

    Args:
        bands: with a line at least.
    """
    best = [(_problem(band.setting.values), band) for band in bands.best]
    lost = [(_problem(one.trial.values), one) for one in bands.lost]
    worst = None if bands.worst is None else _problem(bands.worst.setting.values)
    names = dict.fromkeys([name for name, _ in best] + [name for name, _ in lost])
    return {
        name: replace(
            bands,
            best=tuple(band for own, band in best if own == name),
            worst=bands.worst if worst == name else None,
            lost=tuple(one for own, one in lost if own == name),
        )
        for name in names
    }


def _contender(band: Band) -> str:
    return str(band.setting.values.get(OPTIMIZER, band.label))


def _problem(values: Mapping[str, Value]) -> str:
    return label({key: value for key, value in values.items() if is_problem(key)})


def _rows(part: Bands, strokes: Iterator[Stroke]) -> list[Row]:
    """Return the rows of crosses of a panel; settings beyond the first few share the last."""
    groups = list(grouped(part.lost).items())
    rows = [
        Row(f"{name}: {happened(lost)}{_which(part, lost)}", lost, next(strokes))
        for name, lost in groups[:MOST_ROWS]
    ]
    rest = [one for _, lost in groups[MOST_ROWS:] for one in lost]
    if rest:
        others = counted(len(groups) - MOST_ROWS, "other setting")
        rows.append(Row(f"{others}: {happened(rest)}", rest, REST))
    return rows


def _which(part: Bands, lost: Sequence[Lost]) -> str:
    """Return which loss is drawn of lost trials, where it is not that of the others."""
    names = {one.name for one in lost} - {part.loss}
    return f" (drawn: {joined(sorted(names))})" if names else ""
