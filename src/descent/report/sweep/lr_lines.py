"""A measure over the learning rate, a panel for each problem: who depends on it, and how much."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from descent.analysis.sensitivity import Line, Lines
from descent.analysis.settings import Measure
from descent.analysis.trials import BATCH, short
from descent.errors import counted
from descent.report.style import GREY, MOST_STYLED, Picture, Stroke, new_figure, stroke
from descent.report.sweep.marks import (
    across_of,
    add_legend,
    axis_title,
    clipped,
    draw_crosses,
    explain_crosses,
    fenced,
    row_height,
    spoken,
    tick_logs,
    value_text,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class LabelledLine:
    """A line and whose it is: the same name in every panel.

    Args:
        name: such as `adam`; with what was fixed along the line, where there is one panel.
        line: of this problem.
    """

    name: str
    line: Line


def by_problem(lines: Sequence[Line]) -> dict[str, list[LabelledLine]]:
    """Return the lines of each problem, such as `data=digits`; one without a name if there is one.

    A label holds the problem, then the optimizer (without its option's name) or the batch size.
    """
    groups: dict[str, list[LabelledLine]] = {}
    for line in lines:
        parts = line.label.split(", ")
        own = [part for part in parts if "=" not in part or part.startswith(f"{short(BATCH)}=")]
        problem = ", ".join(part for part in parts if part not in own)
        groups.setdefault(problem, []).append(LabelledLine(", ".join(own), line))
    if len(groups) > 1:
        return groups
    return {
        "": [LabelledLine(", ".join(filter(None, (s.label, s.fixed))) or "all", s) for s in lines]
    }


def best(line: Line, measure: Measure) -> tuple[float, float]:
    """Return how bad a line's best median is (infinite if it has none) and at which x it lies."""
    badness = np.where(np.isfinite(line.median), line.median, np.nan)
    badness = badness if measure.lower else -badness
    if np.isnan(badness).all():
        return math.inf, math.nan
    at = int(np.nanargmin(badness))
    return float(badness[at]), float(line.x[at])


def caption(lines: Lines, problems: Mapping[str, Sequence[LabelledLine]], beyond: int) -> str:
    """Say which line is best and where, which is least sensitive, and what is not in the lines.

    Args:
        lines: all.
        problems: those with trials.
        beyond: how many scores lie outside the picture.
    """
    sensitive = [s for n, own in problems.items() if (s := _sensitive(lines, own, n))]
    told = [_best(lines, problems), *sensitive]
    if sensitive:
        x = short(lines.x)
        told.append(f"Sensitivity is the mean over {x} of min(loss, loss at start) − best loss.")
    gone = sum(int(entry.line.lost.sum()) for own in problems.values() for entry in own)
    if gone:
        crosses = "cross" if gone == 1 else "crosses"
        what = "end well" if lines.measure.target is None else "reach the target"
        told.append(f"{counted(gone, 'trial')} did not {what}: the {crosses} on the upper edge.")
    if beyond:
        many = "score lies" if beyond == 1 else "scores lie"
        told.append(f"{beyond:,} {many} outside the picture: the triangles on its edge.")
    return " ".join(sentence for sentence in told if sentence)


def _best(lines: Lines, problems: Mapping[str, Sequence[LabelledLine]]) -> str:
    told, x = [], short(lines.x)
    for own in problems.values():
        winner = min((e.line for e in own), key=lambda line: best(line, lines.measure)[0])
        badness, at = best(winner, lines.measure)
        if math.isfinite(badness):
            value = spoken(badness if lines.measure.lower else -badness)
            where = f"{f'{winner.label} at ' if winner.label else ''}{x}={value_text(at)}"
            told.append(f"{value}, {where}{_by_means(own, lines, where)}")
    if not told:
        return f"No trial ended well, at any {x}."
    word = "Lowest" if lines.measure.lower else "Highest"
    return f"{word} median {lines.measure.label}: {'; '.join(told)}."


def _by_means(own: Sequence[LabelledLine], lines: Lines, median_at: str) -> str:
    """Return where the best mean lies, by which settings are ranked; empty if no mean is better."""
    sign, x = (1 if lines.measure.lower else -1), short(lines.x)
    badness: dict[str, float] = {}
    for entry in own:
        line, who = entry.line, f"{entry.line.label} at " if entry.line.label else ""
        for at, scores, lost in zip(line.x, line.scores, line.lost, strict=True):
            if len(scores) and not lost:
                badness[f"{who}{x}={value_text(float(at))}"] = sign * float(np.mean(scores))
    if not badness or badness.get(median_at, math.inf) == min(badness.values()):
        return ""
    where = min(badness, key=badness.__getitem__)
    word = "lowest" if lines.measure.lower else "highest"
    return f" (the {word} mean: {spoken(sign * badness[where])}, {where})"


def _sensitive(lines: Lines, entries: Sequence[LabelledLine], problem: str) -> str:
    known = [entry for entry in entries if not math.isnan(entry.line.sensitivity)]
    if not known:
        return ""
    x, on = short(lines.x), f" on {problem}" if problem else ""
    least, most = (pick(known, key=lambda e: e.line.sensitivity) for pick in (min, max))
    if len(known) == 1:
        return f"Its sensitivity to {x}{on} is {least.line.sensitivity:.3g}."
    figures = [f"{entry.name} ({entry.line.sensitivity:.3g})" for entry in (least, most)]
    ends = f"is least for {figures[0]} and greatest for {figures[1]}"
    return f"Sensitivity to {x}{on} {ends}."


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


def draw_panel(axes: Axes, entries: Sequence[LabelledLine], styles: Styles, lower: bool) -> int:
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


def in_rows(entries: Sequence[LabelledLine], styles: Styles) -> list[Row]:
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
    across = across_of(len(problems), MOST_ACROSS)
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
    title = f"Sensitivity of {lines.measure.label} to {lines.x}"
    return Picture("sensitivity", title, figure, caption(lines, problems, beyond))


def _styles(
    problems: Mapping[str, Sequence[LabelledLine]], lines: Lines, places: Mapping[str, int]
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
    axes: Axes, problems: Mapping[str, Sequence[LabelledLine]], styles: Mapping[str, Stroke]
) -> None:
    """Put names with their sensitivities, panel by panel, and the crosses into the legend."""
    every = [entry for entries in problems.values() for entry in entries]
    for name, style in styles.items():
        if style is not OTHERS:
            known = [e.line.sensitivity for e in every if e.name == name]
            figures = ", ".join(f"{v:.3g}" for v in known if not math.isnan(v))
            told = f" (sensitivity {figures})" if figures and len(problems) == 1 else ""
            label = f"{clipped(name, LONGEST)}{told}"
            axes.plot([], [], **style.line, **HOLLOW, label=label)
    others = sum(style is OTHERS for style in styles.values())
    if others:
        axes.plot([], [], **OTHERS.line, label=f"{others} others")
    gone = [(n, len(s)) for e in every for n, s in zip(e.line.lost, e.line.scores, strict=True)]
    whole, some = (any(n and bool(left) == part for n, left in gone) for part in (False, True))
    explain_crosses(axes, whole, some)
