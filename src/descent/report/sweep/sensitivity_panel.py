"""One panel of a sensitivity: medians, quartile bands, every seed's dot, and what was lost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from descent.report.style import GREY, Stroke
from descent.report.sweep.contenders import Entry
from descent.report.sweep.crosses import draw_crosses, row_height
from descent.report.sweep.fence import fenced
from descent.report.sweep.options import value_text
from descent.report.sweep.ticks import tick_logs
from descent.study.sensitivity import Line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GEOMETRIC = 5.0  # a range of x this many times its least value gets a log axis
SHIFT = 0.012  # of the axis, between the dots of neighbouring lines
MOST_TICKS = 12
REACH, TIMES = 6.0, 100.0  # beyond the worse quartile, in quartile ranges and times: outside
FACTOR = 10.0  # scores that span more than this get a log axis
HOLLOW: dict[str, Any] = {"markerfacecolor": "white", "markeredgewidth": 1.2, "markersize": 5}
OTHERS = Stroke(GREY, "-", ".")

Styles = Mapping[str, Stroke]
Shift = Callable[[np.ndarray, int], np.ndarray]
Row = tuple[list[Line], Stroke]


def draw_panel(axes: Axes, entries: Sequence[Entry], styles: Styles, lower: bool) -> int:
    """Draw lines, dots and crosses, and set the scales.

    Args:
        axes: empty.
        entries: the lines of a problem.
        styles: by name.
        lower: whether less is better.

    Returns:
        How many scores lie outside the picture: triangles on the edge that they lie beyond.
    """
    pairs = sorted(
        ((entry.line, styles[entry.name]) for entry in entries),
        key=lambda pair: pair[1] is not OTHERS,  # what is grey lies below
    )
    x = np.unique(np.concatenate([line.x for line, _ in pairs]))
    shifted = _scale_x(axes, x, len(pairs))
    scores = [np.concatenate([np.ravel(s) for s in line.scores]) for line, _ in pairs]
    known = np.concatenate(scores)
    bottom, top = _scale_y(axes, known[np.isfinite(known)], lower)
    beyond = 0
    for k, (line, style) in enumerate(pairs):
        counts = [len(s) for s in line.scores]
        places = np.repeat(shifted(line.x, k), counts)
        _draw(axes, line, style, len(pairs), bottom)
        if max(counts) > 1:  # else the medians are the seeds' own
            _dots(axes, places, scores[k], style)
        beyond += _draw_beyond(axes, places, scores[k], style, (bottom, top))
    rows = in_rows(entries, styles)
    for row, (lines, style) in enumerate(rows):
        _cross(axes, row_height(len(rows)) * (row + 0.5), lines, style)
    return beyond


def in_rows(entries: Sequence[Entry], styles: Styles) -> list[Row]:
    """Return the lines that lost trials, a row of crosses each; those drawn in grey share one."""
    lost = [(e.line, styles[e.name]) for e in entries if e.line.lost.any()]
    rows = [([line], style) for line, style in lost if style is not OTHERS]
    others = [line for line, style in lost if style is OTHERS]
    return [*rows, (others, OTHERS)] if others else rows


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
        wide = axes.get_position().width * 100  # letters that fit under the axis
        crowded = sum(len(value_text(v)) + 2 for v in x) > wide
        axes.set_xticks(x, map(value_text, x.tolist()), rotation=90 if crowded else 0)
        axes.minorticks_off()
    step = min(SHIFT * span, 0.6 * gap / count)
    return lambda values, k: back(to(values) + (k - (count - 1) / 2) * step)


def _scale_y(axes: Axes, known: np.ndarray, lower: bool) -> tuple[float, float]:
    """Set the scale so that awful scores flatten nothing; return its ends.

    Args:
        axes: to be scaled.
        known: finite scores [n].
        lower: whether less is better.
    """
    if not len(known):
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no trial ended well", ha="center", transform=axes.transAxes)
        return axes.get_ylim()
    low, high, _ = fenced(known, lower, REACH, TIMES)
    positive = known[(known >= low) & (known <= high) & (known > 0)]
    log = low >= 0 and len(positive) > 0 and high > FACTOR * positive.min()
    low = float(positive.min()) if log else low
    axes.set_yscale("log" if log else "linear")
    if log:
        pad = (high / low) ** 0.06
        bottom, top = low / pad, high * pad
    else:
        pad = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
        bottom, top = low - pad, high + pad
    axes.set_ylim(bottom, top)
    tick_logs(axes)
    return bottom, top


def _draw(axes: Axes, line: Line, style: Stroke, count: int, bottom: float) -> None:
    """Draw a line's medians and its quartile band; what has no place on a log axis at its foot."""
    low, median, high = (np.maximum(v, bottom) for v in (line.low, line.median, line.high))
    if style is not OTHERS:
        strength = 0.22 if count <= 3 else 0.13 if count <= 6 else 0.06
        axes.fill_between(line.x, low, high, color=style.colour, alpha=strength, linewidth=0)
    axes.plot(
        line.x, median, **style.line, **HOLLOW, linewidth=0.8 if style is OTHERS else 1.6,
        gid="medians",
    )  # fmt: skip


def _dots(axes: Axes, places: np.ndarray, scores: np.ndarray, style: Stroke) -> None:
    axes.plot(
        places, scores, "o", color=style.colour, markersize=3, alpha=0.6, markeredgewidth=0,
        gid="seeds",
    )  # fmt: skip


def _draw_beyond(
    axes: Axes, places: np.ndarray, scores: np.ndarray, style: Stroke, ends: tuple[float, float]
) -> int:
    """Draw triangles on the edges for scores [n] beyond the ends; return how many there are."""
    below, above = scores < ends[0], scores > ends[1]
    for outside, marker, up in ((below, "v", 0.015), (above, "^", 0.985)):
        if outside.any():
            axes.plot(
                places[outside], np.full(outside.sum(), up), marker, color=style.colour,
                markersize=5, transform=axes.get_xaxis_transform(), gid="beyond",
            )  # fmt: skip
    return int((below | above).sum())


def _cross(axes: Axes, up: float, lines: Sequence[Line], style: Stroke) -> None:
    at = np.concatenate([line.x[line.lost > 0] for line in lines])
    left = [len(s) for line in lines for s, n in zip(line.scores, line.lost, strict=True) if n]
    draw_crosses(axes, up, at, np.array(left) == 0, style)
