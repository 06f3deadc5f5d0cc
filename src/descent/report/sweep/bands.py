"""Loss over training: the best setting of each optimizer, the worst, and what was lost and when."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

from descent.errors import counted
from descent.report.axis import Axis
from descent.report.picture import Picture
from descent.report.style import Stroke, listed, new_figure, stroke
from descent.report.sweep.bands_caption import caption, grouped, happened
from descent.report.sweep.bands_panel import REST, WORST, Row, draw_panel
from descent.report.sweep.crosses import row_height
from descent.report.sweep.legend import add_legend
from descent.report.sweep.options import clipped
from descent.study.curves import Band, Bands, Lost
from descent.study.options import OPTIMIZER, label
from descent.study.trials import Value
from descent.summary import is_problem

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
    across = min(len(parts), MOST_ACROSS)
    down = math.ceil(len(parts) / across)
    high = max(row_height(len(own)) * len(own) for own in rows.values()) / 72
    figure = new_figure((TALL if len(parts) == 1 else down * SMALL + 1) + down * high)
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for i, (axes, (name, part)) in enumerate(zip(panels, parts.items(), strict=False)):
        draw_panel(axes, part, [styles[id(band)] for band in part.best], rows[name])
        axes.set_title(name, fontsize=10, pad=6 + row_height(len(rows[name])) * len(rows[name]))
        axes.set_xlabel(Axis.STEP.label)
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
        name: Bands(
            bands.loss,
            tuple(band for own, band in best if own == name),
            bands.worst if worst == name else None,
            tuple(one for own, one in lost if own == name),
            bands.by,
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
    return f" (drawn: {listed(sorted(names))})" if names else ""
