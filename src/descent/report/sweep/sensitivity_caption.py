"""What to see in the sensitivity to a learning rate, in a few sentences with numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from descent.errors import counted
from descent.report.sweep.cells import spoken
from descent.report.sweep.contenders import Entry
from descent.report.sweep.options import value_text
from descent.study.options import short
from descent.study.sensitivity import Line, Lines
from descent.study.settings import Measure


def best(line: Line, measure: Measure) -> tuple[float, float]:
    """Return how bad a line's best median is (infinite if it has none) and at which x it lies."""
    badness = np.where(np.isfinite(line.median), line.median, np.nan)
    badness = badness if measure.lower else -badness
    if np.isnan(badness).all():
        return math.inf, math.nan
    at = int(np.nanargmin(badness))
    return float(badness[at]), float(line.x[at])


def caption(lines: Lines, problems: Mapping[str, Sequence[Entry]], beyond: int) -> str:
    """Say which line is best and where, which is least sensitive, and what is not in the lines.

    Args:
        lines: all.
        problems: those with trials.
        beyond: how many scores lie outside the picture.
    """
    told = [_best(lines, problems), *(_sensitive(lines, own, n) for n, own in problems.items())]
    gone = sum(int(entry.line.lost.sum()) for own in problems.values() for entry in own)
    if gone:
        told.append(f"{counted(gone, 'trial')} did not end well: the crosses on the upper edge.")
    if beyond:
        many = "score lies" if beyond == 1 else "scores lie"
        told.append(f"{beyond:,} {many} outside the picture: the triangles on its edge.")
    return " ".join(sentence for sentence in told if sentence)


def _best(lines: Lines, problems: Mapping[str, Sequence[Entry]]) -> str:
    told, x = [], short(lines.x)
    for own in problems.values():
        winner = min((e.line for e in own), key=lambda line: best(line, lines.measure)[0])
        badness, at = best(winner, lines.measure)
        if math.isfinite(badness):
            who = f"{winner.label} at " if winner.label else ""
            value = spoken(badness if lines.measure.lower else -badness)
            told.append(f"{value}, {who}{x}={value_text(at)}")
    if not told:
        return f"No trial ended well, at any {x}."
    word = "Lowest" if lines.measure.lower else "Highest"
    return f"{word} median {lines.measure.name}: {'; '.join(told)}."


def _sensitive(lines: Lines, entries: Sequence[Entry], problem: str) -> str:
    known = [entry for entry in entries if not math.isnan(entry.line.sensitivity)]
    if not known:
        return ""
    x, on = short(lines.x), f" on {problem}" if problem else ""
    what = f"mean over {x} of min(loss, loss at start) − best loss"
    least, most = (pick(known, key=lambda e: e.line.sensitivity) for pick in (min, max))
    if len(known) == 1:
        return f"Its sensitivity to {x}{on}, the {what}, is {least.line.sensitivity:.3g}."
    figures = [f"{entry.name} ({entry.line.sensitivity:.3g})" for entry in (least, most)]
    ends = f"is least for {figures[0]} and greatest for {figures[1]}"
    return f"Sensitivity to {x}{on}, the {what}, {ends}."
