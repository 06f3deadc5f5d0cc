"""What to see in the sensitivity to a learning rate, in a few sentences with numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from descent.report.cells import spoken
from descent.report.options import value_text
from descent.report.style import counted
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


def caption(lines: Lines, drawn: Sequence[Line], beyond: int) -> str:
    """Say which line is lowest and where, which is least sensitive, and what is not in the lines.

    Args:
        lines: all.
        drawn: those with trials.
        beyond: how many scores lie outside the picture.
    """
    told = [_best(lines, drawn), _sensitive(lines, drawn)]
    gone = sum(int(line.lost.sum()) for line in drawn)
    if gone:
        told.append(f"{counted(gone, 'trial')} did not end well: the crosses on the upper edge.")
    if beyond:
        where = "above" if lines.measure.lower else "below"
        many = "score lies" if beyond == 1 else "scores lie"
        told.append(f"{beyond:,} {many} {where} the picture: the triangles on its edge.")
    return " ".join(sentence for sentence in told if sentence)


def _best(lines: Lines, drawn: Sequence[Line]) -> str:
    winner = min(drawn, key=lambda line: best(line, lines.measure)[0])
    badness, x = best(winner, lines.measure)
    if not math.isfinite(badness):
        return f"No trial ended well, at any {short(lines.x)}."
    value = spoken(badness if lines.measure.lower else -badness)
    word = "Lowest" if lines.measure.lower else "Highest"
    who = f"{winner.label} at " if winner.label else ""
    return f"{word} median {lines.measure.name}: {value}, {who}{short(lines.x)}={value_text(x)}."


def _sensitive(lines: Lines, drawn: Sequence[Line]) -> str:
    known = sorted((s for s in drawn if not math.isnan(s.sensitivity)), key=lambda s: s.sensitivity)
    if not known:
        return ""
    x = short(lines.x)
    what = f"mean over {x} of min(loss, loss at start) − best loss"
    if len(known) == 1:
        return f"Its sensitivity to {x}, the {what}, is {known[0].sensitivity:.3g}."
    least, most = known[0], known[-1]
    return (
        f"Sensitivity to {x}, the {what}, is least for {least.label} ({least.sensitivity:.3g}) and "
        f"greatest for {most.label} ({most.sensitivity:.3g})."
    )
