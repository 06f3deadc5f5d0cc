"""What to see in the losses of a sweep, in a few sentences with numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from descent.errors import counted
from descent.report.sweep.cells import spoken
from descent.study.curves import Band, Bands, Lost
from descent.study.options import label

LONGEST = 40  # characters of a reason that a legend has room for


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
        return what if len(what) <= LONGEST else f"diverged at step {steps[0]:,}"
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
        whose = "the best setting of each optimizer" if several else "the best setting"
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
    return f" (median of {len(known)} seeds; quartiles {low} and {high})"
