"""Sentences on the trials that did not end well: how many, where, and whether it was predicted."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from descent.endings import Status
from descent.errors import counted
from descent.recording.axes import FULL_LOSS
from descent.study.grid import Grid
from descent.study.options import LEARNING_RATES, learning_rate, number_in, ordered, short, text
from descent.study.records import at_start
from descent.study.trials import ENDED, Study, Trial

FEW = 3  # values that are told one by one


def failures(study: Study, grids: Sequence[Grid] = ()) -> list[str]:
    """Return a sentence for each kind of trial that did not end well.

    Args:
        study: the trials.
        grids: whose boundaries are held against where trials diverged.
    """
    total, told = len(study.trials), []
    diverged = [trial for trial in study.trials if trial.status == Status.DIVERGED]
    failed = [trial for trial in study.trials if trial.status == Status.FAILED]
    pending = sum(trial.status not in ENDED for trial in study.trials)
    if diverged:
        share = f"{100 * len(diverged) / total:.3g}%"
        where = _where(study, diverged)
        told.append(f"{len(diverged):,} of {total:,} trials diverged ({share}){where}.")
    told += [sentence for grid in grids if (sentence := _predicted(grid))]
    told += _risen(study)
    if failed:
        why, count = Counter(trial.reason for trial in failed).most_common(1)[0]
        most = "" if count == len(failed) else f", {count:,} of them"
        told.append(f"{counted(len(failed), 'trial')} failed{most}: {why.rstrip('.')}.")
    if pending:
        verb = "has" if pending == 1 else "have"
        told.append(f"{pending:,} of {total:,} trials {verb} not ended; all this may change.")
    return told


def _where(study: Study, lost: Sequence[Trial]) -> str:
    """Return what the lost trials have in common: a least lr, few values of other options."""
    words = []
    for key in study.swept:
        own, every = (ordered(t.values[key] for t in part) for part in (lost, study.trials))
        if len(own) == len(every):
            continue
        if key == learning_rate(study) and len(own) > 1 and own == every[-len(own) :]:
            words.append(f"{short(key)} of {text(own[0])} or more")
        elif len(own) <= FEW:
            words.append(f"{short(key)}={' or '.join(map(text, own))}")
    return f", all with {' and '.join(words)}" if words else ""


def _risen(study: Study) -> list[str]:
    """Return how many trials ended well by their status, but above the loss that they began at."""
    ok = [t for t in study.trials if t.status == Status.OK and FULL_LOSS in t.figures]
    risen = []
    for trial in ok:
        start = at_start(trial.directory)
        if start < trial.figures[FULL_LOSS]:
            risen.append((trial.figures[FULL_LOSS] / start if start > 0 else math.inf, trial))
    if not risen:
        return []
    worst = max(ratio for ratio, _ in risen)
    many = f"{len(risen):,} trial that is" if len(risen) == 1 else f"{len(risen):,} trials that are"
    up_to = f", at up to {worst:.3g} times it" if math.isfinite(worst) else ""
    where = _where(study, [trial for _, trial in risen])
    return [f"{many} not counted as diverged ended above the full loss at the start{up_to}{where}."]


def _predicted(grid: Grid) -> str:
    """Return how a grid's boundary compares with what diverged; empty without either."""
    if grid.boundary is None or (grid.y is None and grid.x not in LEARNING_RATES):
        return ""
    above, below = [0, 0], [0, 0]  # diverged, all
    for (column, row), setting in grid.cells.items():
        at = column if grid.y is None else row
        limit = float(grid.boundary[0 if grid.y is None else column])
        lr = number_in((grid.xs if grid.y is None else grid.ys)[at])
        if lr is not None and not math.isnan(limit):
            side = above if lr > limit else below
            side[0] += sum(trial.status == Status.DIVERGED for trial in setting.trials)
            side[1] += len(setting.trials)
    if not above[1] and not below[0]:
        return ""
    limits = sorted({f"{limit:.3g}": limit for limit in grid.boundary if limit == limit}.items())
    names = [name for name, _ in sorted(limits, key=lambda item: item[1])]
    span = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
    who = f"{grid.title}: " if grid.title else ""
    over = f"{above[0]:,} of {above[1]:,} trials above it" if above[1] else "no trial was above it"
    return (
        f"{who}full-batch steps on a quadratic as curved as the loss at the start are stable up to "
        f"{short(grid.y or grid.x)} {span}; here {over} and {below[0]:,} of {below[1]:,} below it "
        "diverged."
    )
