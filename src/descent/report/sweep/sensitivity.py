"""A measure over the learning rate, a panel for each problem: who depends on it, and how much."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from descent.report.picture import Picture
from descent.report.style import MOST_STYLED, Stroke, new_figure, stroke
from descent.report.sweep.contenders import Entry, by_problem
from descent.report.sweep.crosses import explain_crosses, row_height
from descent.report.sweep.legend import add_legend
from descent.report.sweep.options import axis_title, clipped
from descent.report.sweep.sensitivity_caption import best, caption
from descent.report.sweep.sensitivity_panel import HOLLOW, OTHERS, draw_panel, in_rows
from descent.study.sensitivity import Lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LONGEST = 60  # characters of a line's name
TALL, SMALL, EMPTY = 4.8, 3.6, 2.2  # inches: one panel, of several panels, one without scores
MOST_ACROSS = 2


def sensitivity(lines: Lines, places: Mapping[str, int] | None = None) -> Picture | None:
    """Draw a line for each optimizer or batch size; None if no trial was begun.

    Dots of a line's seeds stand a little left or right of their x, so that those of several lines
    do not hide each other. Trials that were lost have no score: crosses above the picture stand
    for them, a row for each line.

    Args:
        lines: what to draw.
        places: of the optimizers among the strokes of all pictures of a page.
    """
    drawn = [line for line in lines.lines if any(map(len, line.scores)) or line.lost.any()]
    if not drawn:
        return None
    problems = by_problem(drawn)
    styles = _styles(problems, lines, places or {})
    across = min(len(problems), MOST_ACROSS)
    down = math.ceil(len(problems) / across)
    rows = [in_rows(entries, styles) for entries in problems.values()]
    tall = TALL if any(map(len, (s for line in drawn for s in line.scores))) else EMPTY
    high = max(row_height(len(r)) * len(r) for r in rows) / 72
    figure = new_figure((tall if len(problems) == 1 else down * SMALL + 1) + down * high)
    panels = figure.subplots(down, across, squeeze=False).ravel()
    beyond = 0
    for i, (axes, (name, entries)) in enumerate(zip(panels, problems.items(), strict=False)):
        beyond += draw_panel(axes, entries, styles, lines.measure.lower)
        axes.set_title(name, fontsize=10, pad=6 + row_height(len(rows[i])) * len(rows[i]))
        axes.set_xlabel(axis_title(lines.x))
        if i % across == 0 and tall != EMPTY:
            axes.set_ylabel(lines.measure.label)
    for axes in panels[len(problems) :]:
        axes.set_axis_off()
    _explain(panels[0], problems, styles)
    add_legend(figure)
    title = f"Sensitivity of {lines.measure.name} to {lines.x}"
    return Picture("sensitivity", title, figure, caption(lines, problems, beyond))


def _styles(
    problems: Mapping[str, Sequence[Entry]], lines: Lines, places: Mapping[str, int]
) -> dict[str, Stroke]:
    """Return how each name is drawn, in every panel alike; of too many, the worst in grey."""
    entries = [entry for own in problems.values() for entry in own]
    ranked = sorted(entries, key=lambda entry: best(entry.line, lines.measure)[0])
    kept = list(dict.fromkeys(entry.name for entry in ranked))[:MOST_STYLED]
    names = list(dict.fromkeys(entry.name for entry in entries))
    free = itertools.count(len(places))
    whose = {entry.name: entry.line.who for entry in entries}
    styles = {
        name: stroke(places[whose[name]] if whose[name] in places else next(free))
        for name in names if name in kept
    }  # fmt: skip
    return styles | {name: OTHERS for name in names if name not in kept}


def _explain(
    axes: Axes, problems: Mapping[str, Sequence[Entry]], styles: Mapping[str, Stroke]
) -> None:
    """Put names with their sensitivities, panel by panel, and the crosses into the legend."""
    every = [entry for entries in problems.values() for entry in entries]
    for name, style in styles.items():
        if style is not OTHERS:
            known = [e.line.sensitivity for e in every if e.name == name]
            figures = ", ".join(f"{v:.3g}" for v in known if not math.isnan(v))
            label = f"{clipped(name, LONGEST)}{f' (sensitivity {figures})' if figures else ''}"
            axes.plot([], [], **style.line, **HOLLOW, label=label)
    others = sum(style is OTHERS for style in styles.values())
    if others:
        axes.plot([], [], **OTHERS.line, label=f"{others} others")
    gone = [(n, len(s)) for e in every for n, s in zip(e.line.lost, e.line.scores, strict=True)]
    whole, some = (any(n and bool(left) == part for n, left in gone) for part in (False, True))
    explain_crosses(axes, whole, some)
