"""How much of the scores' variance each swept option explains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from descent.analysis.trials import BATCH, LEARNING_RATES, is_number, problem_keys
from descent.config.options import is_problem
from descent.metrics import lower_is_better
from descent.records.endings import Status

if TYPE_CHECKING:
    from descent.analysis.trials import Study, Trial, Value

MOST_GROUPS = 8  # of a number with many values, such as a searched lr


def influence(study: Study) -> dict[str, float]:
    """Return the share of the variance of the scores' ranks that each option has a part in.

    That is the variance which is left when all other options are held fixed, over the whole
    (Sobol' total effect; Homma and Saltelli 1996), less what the seeds alone would give. Where
    hardly any trials have all other options in common, as in a random search, it is the variance
    between the option's own values (the main effect). Ranks are taken within each problem, with
    diverged trials last, so that neither a hard problem nor a huge loss counts for more.
    """
    problems = problem_keys(study)
    parts: dict[tuple[Value, ...], list[Trial]] = {}
    for trial in study.trials:
        parts.setdefault(tuple(trial.values[key] for key in problems), []).append(trial)
    trials: list[Trial] = []
    ranks: list[float] = []
    for part in parts.values():
        scored = [(t, s) for t in part if (s := _score(t, study.metric)) is not None]
        trials += [trial for trial, _ in scored]
        ranks += list(_ranks(np.array([score for _, score in scored])))
    if not trials:
        return dict.fromkeys(study.swept, 0.0)
    groups = {key: _groups([trial.values[key] for trial in trials]) for key in study.swept}
    return {key: _share(key, groups, np.array(ranks)) for key in study.swept}


def sorted_by(shares: Mapping[str, float], keys: Sequence[str]) -> tuple[str, ...]:
    """Return lr, batch size, then the options by their share; what makes problems comes last."""
    firsts = [*LEARNING_RATES, BATCH]

    def place(key: str) -> tuple[int, bool, float]:
        first = firsts.index(key) if key in firsts else len(firsts)
        return first, is_problem(key), -shares[key]

    return tuple(sorted(keys, key=place))


def _score(trial: Trial, metric: str) -> float | None:
    """Return a score of which less is better; infinite if diverged, None if there is none."""
    if trial.status == Status.DIVERGED:
        return np.inf
    known = (trial.figures.get(name) for name in (f"best/{metric}", metric, "train/full_loss"))
    value = next((v for v in known if v is not None and np.isfinite(v)), None)
    if trial.status != Status.OK or value is None:
        return None
    return value if lower_is_better(metric) else -value


def _ranks(scores: np.ndarray) -> np.ndarray:
    """Return ranks from 0 to 1 [n]; equal scores share theirs."""
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((last - (counts - 1) / 2) / max(len(scores), 1))[place]


def _share(key: str, groups: Mapping[str, np.ndarray], ranks: np.ndarray) -> float:
    count, total = len(ranks), float(np.sum(np.square(ranks - ranks.mean())))
    if total == 0:
        return 0.0
    others = _cells([own for name, own in groups.items() if name != key], count)
    settings = _cells(list(groups.values()), count)
    # of settings, since the seeds of one have all options in common
    factorial = 2 * len(np.unique(others)) <= len(np.unique(settings))
    cells, base = (settings, others) if factorial else (groups[key], np.zeros(count, dtype=int))
    explained = _between(cells, ranks) - _between(base, ranks)
    levels, left = len(np.unique(cells)), total - _between(cells, ranks)
    noise = left / (count - levels) if count > levels else 0.0
    return max(0.0, explained - noise * (levels - len(np.unique(base)))) / total


def _cells(groups: Sequence[np.ndarray], count: int) -> np.ndarray:
    """Return which combination of values each trial has [n]."""
    if not groups:
        return np.zeros(count, dtype=int)
    return np.unique(np.stack(groups), axis=1, return_inverse=True)[1].reshape(-1)


def _between(cells: np.ndarray, ranks: np.ndarray) -> float:
    """Return the sum of squares between the means of cells."""
    sums, counts = np.bincount(cells, ranks), np.bincount(cells)
    return float(np.sum(counts * np.square(sums / counts - ranks.mean())))


def _groups(values: Sequence[Value]) -> np.ndarray:
    """Return the group of each value [n]: itself, or a range of numbers with as many trials."""
    distinct, place = np.unique(np.array(values, dtype=object).astype(str), return_inverse=True)
    if len(distinct) <= MOST_GROUPS or not all(map(is_number, values)):
        return place
    numbers = np.array(values, dtype=float)
    edges = np.quantile(numbers, np.linspace(0, 1, MOST_GROUPS + 1)[1:-1])
    return np.searchsorted(edges, numbers, side="right")
