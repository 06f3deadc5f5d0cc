"""Sharpness over training against the largest that is stable at the lr: the edge of stability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from descent.analysis.stability import StabilityLine
from descent.errors import counted, joined
from descent.report.record import Axis
from descent.report.style import BLACK, Picture, new_figure, spans_decades, stroke
from descent.report.sweep.marks import add_legend, spoken, tick_logs

NEAR = 0.1  # of the edge


def edge_of_stability(
    lines: Sequence[StabilityLine], places: Mapping[str, int] | None = None
) -> Picture | None:
    """Draw the course of each setting, with the edge at 1; None without any.

    Args:
        lines: of `stability_lines`.
        places: of the optimizers among the colours of all pictures of a page.
    """
    if not lines:
        return None
    figure = new_figure(4.6)
    axes = figure.add_subplot()
    every = np.concatenate([line.ratio for line in lines])
    axes.set_yscale("log" if spans_decades(every) else "linear")
    places = places or {}
    for i, line in enumerate(lines):
        colour = stroke(places.get(line.optimizer, i)).colour
        apart = max(8, len(line.step) // 8)
        axes.plot(
            line.step, line.ratio, color=colour, linestyle=stroke(i).dash, label=line.label,
            marker=stroke(i).marker, markevery=(i % apart, apart), gid="course",
        )  # fmt: skip
    axes.axhline(1, color=BLACK, linewidth=1.2, label="edge of stability", gid="edge")
    axes.set_xlabel(Axis.STEP.label)
    tick_logs(axes)
    axes.set_ylabel("sharpness / largest stable sharpness at the lr")
    add_legend(figure)
    return Picture("stability", "Edge of stability", figure, _caption(lines))


def _caption(lines: Sequence[StabilityLine]) -> str:
    ends = [float(line.ratio[-1]) for line in lines]
    at = [line.label for line, end in zip(lines, ends, strict=True) if abs(end - 1) <= NEAR]
    above = sum(end > 1 + NEAR for end in ends)
    below = len(ends) - len(at) - above
    most = max(range(len(ends)), key=lambda i: ends[i])
    told = [
        f"Of {counted(len(lines), 'setting')} with a recorded sharpness, the best of them, {below} "
        f"end below the edge, {len(at)} within {100 * NEAR:.0f}% of it and {above} above"
    ]
    if at:
        told.append(f"at the edge: {joined(at)}")
    told.append(f"the highest end has {lines[most].label}, at {spoken(ends[most])} times the edge")
    adaptive = [line.label for line in lines if line.preconditioned]
    if adaptive:
        who = "all of them" if len(adaptive) == len(lines) else joined(adaptive)
        told.append(
            f"for {who} it is the curvature of the loss divided by what a step divides gradients by"
        )
    return "; ".join(told) + "."
