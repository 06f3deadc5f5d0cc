"""Performance profiles: who is how often within how much of the best, over several problems."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from descent.analysis.study import part_of
from descent.analysis.targets import choose_target, hits
from descent.analysis.trials import (
    OPTIMIZER,
    Study,
    Trial,
    Value,
    label,
    numeric,
    ordered,
    problem_keys,
    text,
)
from descent.config.options import is_problem
from descent.records.endings import Status


def problems_of(study: Study) -> tuple[tuple[str, Study], ...]:
    """Return each problem's name and trials, as a study of its own; the study itself if it has one.

    Of a part, the option that makes the problem is a shared override and no longer swept.
    """
    keys = problem_keys(study)
    if not keys:
        return (("", study),)
    groups: dict[tuple[Value, ...], list[Trial]] = {}
    for trial in study.trials:
        groups.setdefault(tuple(trial.values[key] for key in keys), []).append(trial)
    return tuple(
        (_name(dict(zip(keys, values, strict=True))), part_of(study, own, drop=keys))
        for values, own in groups.items()
    )


def _name(values: dict[str, Value]) -> str:
    """Return `digits` for data=digits; options beside it are told in full."""
    only = len(values) == 1 and next(iter(values)) in ("data", "landscape", "experiment")
    return str(next(iter(values.values()))) if only else label(values)


@dataclass(frozen=True)
class Profile:
    """Over several problems (datasets, landscapes).

    Args:
        labels: the contenders (optimizers).
        problems: their names.
        cost: [contenders, problems] steps to the target at the best lr; infinite where missed.
        tau: [n] factors, rising from 1.
        share: [contenders, n] share of problems on which the cost is within tau times the least.
        unit: of the cost, such as `steps`.
        targets: full loss by problem; NaN where there is none.
    """

    labels: tuple[str, ...]
    problems: tuple[str, ...]
    cost: np.ndarray
    tau: np.ndarray
    share: np.ndarray
    unit: str
    targets: tuple[float, ...] = ()


def profile(study: Study) -> Profile | None:
    """Return how often each optimizer is within how much of the best; None for a single problem.

    The cost of an optimizer on a problem is the least mean number of steps to that problem's target
    (see `choose_target`) over its settings that reached it with every seed: each optimizer has its
    own best lr, and all else that was swept. Without several optimizers, the most influential
    option whose values are words makes the contenders. A problem without a target counts as one
    that everybody missed.

    Source: Dolan and Moré (2002), *Benchmarking optimization software with performance profiles*.
    """
    problems = problems_of(study)
    who = _contenders(study)
    if len(problems) < 2 or who is None:
        return None
    names = ordered(trial.values[who] for trial in study.trials)
    targets = [choose_target(part) for _, part in problems]
    cost = np.array(
        [
            _costs(part, who, names, target)
            for (_, part), target in zip(problems, targets, strict=True)
        ]
    ).T
    tau, share = profile_of(cost)
    known = tuple(math.nan if target is None else target for target in targets)
    labels = tuple(label({who: name}) if who == OPTIMIZER else text(name) for name in names)
    return Profile(labels, tuple(n for n, _ in problems), cost, tau, share, "steps", known)


def _contenders(study: Study) -> str | None:
    if OPTIMIZER in study.swept:
        return OPTIMIZER
    free = [key for key in study.swept if not is_problem(key) and not numeric(study, key)]
    return free[0] if free else None


def _costs(part: Study, who: str, names: Sequence[Value], target: float | None) -> list[float]:
    """Return the steps to the target of each contender on one problem; infinite where missed."""
    if target is None:
        return [math.inf] * len(names)
    found = hits(part, target)
    settings: dict[tuple[Value, ...], list[float]] = {}
    contender: dict[tuple[Value, ...], Value] = {}
    for trial in part.trials:
        key = tuple(trial.values.values())
        hit = found[trial.number] if trial.status == Status.OK else None
        settings.setdefault(key, []).append(math.inf if hit is None else float(hit.step))
        contender[key] = trial.values[who]
    means: dict[Value, list[float]] = {}
    for key, steps in settings.items():
        means.setdefault(contender[key], []).append(math.fsum(steps) / len(steps))
    return [min(means.get(name, [math.inf])) for name in names]


ALGOPERF = 4.0  # the largest factor that counts


def algoperf(profile: Profile, most: float = ALGOPERF) -> np.ndarray:
    """Return each contender's mean share of problems over factors from 1 to `most`, in [0, 1].

    That is 1 / (r - 1) times the integral of its profile from 1 to r.

    Source: Dahl et al. (2023), *Benchmarking neural network training algorithms*, section 4.6.
    """
    edges = np.append(np.minimum(profile.tau, most), most)
    found: np.ndarray = profile.share @ np.diff(edges) / (most - 1)
    return found


def profile_of(cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return factors τ [n] from 1, and each contender's share of problems within them.

    Args:
        cost: [contenders, problems], infinite where missed.

    Returns:
        τ, at which some share changes, and a little beyond the last; shares [contenders, n].
    """
    least = cost.min(axis=0)
    ratio = np.full(cost.shape, np.inf)
    np.divide(cost, least, out=ratio, where=np.isfinite(cost) & (least > 0))
    ratio[np.isfinite(cost) & (cost == least)] = 1.0  # also where the least is 0 steps
    jumps = np.unique(np.concatenate([[1.0], ratio[np.isfinite(ratio)]]))
    tau = np.append(jumps, 1.1 * jumps[-1])
    return tau, (ratio[:, :, None] <= tau).mean(axis=1)
