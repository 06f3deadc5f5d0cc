"""A measure over the learning rate: medians, quartiles, every seed's dot, and what was lost."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from descent.report.crosses import draw_crosses, explain_crosses, row_height
from descent.report.fence import fenced
from descent.report.legend import add_legend
from descent.report.options import axis_title, clipped, value_text
from descent.report.picture import Picture
from descent.report.sensitivity_caption import best, caption
from descent.report.style import GREY, MOST_STYLED, Stroke, new_figure, stroke
from descent.study.sensitivity import Line, Lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GEOMETRIC = 5.0  # a range of x this many times its least value gets a log axis
SHIFT = 0.012  # of the axis, between the dots of neighbouring lines
MOST_TICKS = 12
LONGEST = 60  # characters of a line's name
REACH = 6.0  # quartile ranges beyond the worse quartile: farther scores lie outside the picture
TALL, EMPTY = 4.8, 2.2  # inches, with scores and without
OTHERS = Stroke(GREY, "-", ".")


def sensitivity(lines: Lines) -> Picture | None:
    """Draw a line for each optimizer or batch size; None if no trial was begun.

    Dots of a line's seeds stand a little left or right of their x, so that those of several lines
    do not hide each other. Trials that were lost have no score: crosses above the picture stand
    for them, a row for each line.
    """
    drawn = [line for line in lines.lines if any(map(len, line.scores)) or line.lost.any()]
    if not drawn:
        return None
    order = sorted(range(len(drawn)), key=lambda i: best(drawn[i], lines.measure)[0])
    styled = sorted(order[:MOST_STYLED])
    pairs = [(drawn[i], OTHERS) for i in order[MOST_STYLED:]]  # what is grey lies below
    pairs += [(drawn[i], stroke(k)) for k, i in enumerate(styled)]
    rows = _rows(pairs)
    known = any(map(len, (scores for line in drawn for scores in line.scores)))
    figure = new_figure((TALL if known else EMPTY) + row_height(len(rows)) * len(rows) / 72)
    axes = figure.add_subplot()
    shifted = _scale_x(axes, np.unique(np.concatenate([line.x for line in drawn])), len(pairs))
    for k, (line, style) in enumerate(pairs):
        name = _name(line) if style is not OTHERS else f"{len(drawn) - MOST_STYLED} others"
        label = name if style is not OTHERS or not k else None
        _draw(axes, line, style, label, shifted(line.x, k), len(pairs))
    beyond = _scale_y(axes, pairs, shifted, lines.measure.lower)
    axes.set_xlabel(axis_title(lines.x))
    axes.set_ylabel(lines.measure.label if known else "")
    _draw_lost(axes, rows)
    add_legend(figure)
    title = f"Sensitivity of {lines.measure.name} to {lines.x}"
    return Picture("sensitivity", title, figure, caption(lines, drawn, beyond))


def _name(line: Line) -> str:
    name = clipped(", ".join(filter(None, (line.label, line.fixed))) or "all", LONGEST)
    return name if math.isnan(line.sensitivity) else f"{name} (sensitivity {line.sensitivity:.3g})"


Shift = Callable[[np.ndarray, int], np.ndarray]


def _scale_x(axes: Axes, x: np.ndarray, count: int) -> Shift:
    """Set scale, limits and ticks for the values x [n]; return how a line's dots are shifted."""
    log = bool(x[0] > 0 and x[-1] > GEOMETRIC * x[0])
    to, back = (np.log10, lambda at: 10.0**at) if log else (np.asarray, np.asarray)
    at = to(x)
    if len(x) > 1:
        span, gap = at[-1] - at[0], np.diff(at).min()
    else:
        span = gap = 10 * (abs(at[0]) or 1.0)  # dots of one place stand close to it
    axes.set_xscale("log" if log else "linear")
    axes.set_xlim(*back(np.array([at[0] - 0.06 * span, at[-1] + 0.06 * span])))
    if len(x) <= MOST_TICKS:
        crowded = sum(len(value_text(v)) + 2 for v in x) > 85
        axes.set_xticks(x, map(value_text, x.tolist()), rotation=90 if crowded else 0)
        axes.minorticks_off()
    step = min(SHIFT * span, 0.6 * gap / count)
    return lambda values, k: back(to(values) + (k - (count - 1) / 2) * step)


def _draw(
    axes: Axes, line: Line, style: Stroke, label: str | None, x: np.ndarray, count: int
) -> None:
    """Draw a line's band, its seeds' dots at x [n], and its medians."""
    if style is not OTHERS:
        strength = 0.22 if count <= 3 else 0.13 if count <= 6 else 0.06
        axes.fill_between(
            line.x, line.low, line.high, color=style.colour, alpha=strength, linewidth=0
        )
    counts = [len(scores) for scores in line.scores]
    scores = np.concatenate([np.asarray(s, dtype=np.float64) for s in line.scores])
    if max(counts) > 1:  # else the medians are the seeds' own
        axes.plot(
            np.repeat(x, counts), scores, "o", color=style.colour, markersize=3, alpha=0.6,
            markeredgewidth=0, gid="seeds",
        )  # fmt: skip
    axes.plot(
        line.x, line.median, color=style.colour, linestyle=style.dash, marker=style.marker,
        linewidth=0.8 if style is OTHERS else 1.6, label=label, markerfacecolor="white",
        markeredgewidth=1.2, markersize=5, gid="medians",
    )  # fmt: skip


def _scale_y(axes: Axes, pairs: Sequence[tuple[Line, Stroke]], shifted: Shift, lower: bool) -> int:
    """Set the scale so that awful scores flatten nothing; return how many lie beyond it.

    Those are drawn as triangles on the edge that they lie beyond.
    """
    every = [np.concatenate([np.ravel(s) for s in line.scores]) for line, _ in pairs]
    known = np.concatenate(every)
    if not np.isfinite(known).any():
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no trial ended well", ha="center", transform=axes.transAxes)
        return 0
    low, high, log = fenced(known, lower, REACH)
    axes.set_yscale("log" if log else "linear")
    if log:
        pad = (high / low) ** 0.06
        bottom, top = low / pad, high * pad
    else:
        pad = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
        bottom, top = low - pad, high + pad
    axes.set_ylim(bottom, top)
    beyond = 0
    for k, (line, style) in enumerate(pairs):
        places = np.repeat(shifted(line.x, k), [len(scores) for scores in line.scores])
        outside = (every[k] > top) | (every[k] < bottom)
        beyond += int(outside.sum())
        axes.plot(
            places[outside], np.full(outside.sum(), 0.985 if lower else 0.015),
            "^" if lower else "v", color=style.colour, markersize=5, gid="beyond",
            transform=axes.get_xaxis_transform(),
        )  # fmt: skip
    return beyond


Row = tuple[list[Line], Stroke]


def _rows(pairs: Sequence[tuple[Line, Stroke]]) -> list[Row]:
    """Return the lines that lost trials, a row of crosses each; those drawn in grey share one."""
    lost = [(line, style) for line, style in pairs if line.lost.any()]
    others = [line for line, style in lost if style is OTHERS]
    rows = [([line], style) for line, style in lost if style is not OTHERS]
    return [*rows, (others, OTHERS)] if others else rows


def _draw_lost(axes: Axes, rows: Sequence[Row]) -> None:
    every = []
    for row, (lines, style) in enumerate(rows):
        at = np.concatenate([line.x[line.lost > 0] for line in lines])
        left = [len(s) for line in lines for s, n in zip(line.scores, line.lost, strict=True) if n]
        whole = np.array(left) == 0
        draw_crosses(axes, row_height(len(rows)) * (row + 0.5), at, whole, style)
        every.append(whole)
    found = np.concatenate(every) if every else np.zeros(0, dtype=bool)
    explain_crosses(axes, bool(found.any()), bool((~found).any()))
