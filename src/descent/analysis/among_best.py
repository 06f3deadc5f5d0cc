"""Which options matter among the best settings, rather than for avoiding the worst."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from descent.analysis.settings import Setting
from descent.analysis.trials import Study, Value, is_number, problem_keys
from descent.config.options import is_problem

TOP = 0.1  # the best tenth
LEAST_TOP = 2  # settings in it
MOST_GROUPS = 8  # of a number with many values, such as a searched lr


def among_best(study: Study, settings: Sequence[Setting]) -> dict[str, float]:
    """Return each option's share of what sets the best tenth of the settings apart from all.

    Of an option with values v, shares p(v) of all settings and q(v) of the best tenth, that is the
    Pearson divergence sum_v (q(v) - p(v))^2 / p(v), less what a tenth drawn at random would have,
    (k - 1) / n (N - n) / (N - 1) for k values and n of N settings; the shares of all options make
    1. Numbers with more than 8 values are put into ranges with as many settings each. Settings
    that lost a trial are not among the best. Empty where a tenth is less than two settings, for
    several problems, and where nothing is set apart beyond chance.

    Args:
        study: the trials.
        settings: of `settings`, best first.

    Source: Watanabe, Bansal and Hutter (2023), *PED-ANOVA: efficiently quantifying hyperparameter
    importance in arbitrary subspaces*, equation 12; the part of chance is taken off here.
    """
    count = math.ceil(TOP * len(settings))
    if problem_keys(study) or math.floor(TOP * len(settings)) < LEAST_TOP:
        return {}
    best = [s for s in settings if s.standing == "complete"][:count]
    if len(best) < LEAST_TOP:
        return {}
    found = {}
    for key in (k for k in study.swept if not is_problem(k)):
        groups = _groups([s.values[key] for s in settings])
        found[key] = _apart(
            Counter(groups[s.values[key]] for s in settings),
            Counter(groups[s.values[key]] for s in best),
        )
    whole = math.fsum(found.values())
    return {key: value / whole for key, value in found.items()} if whole > 0 else {}


def _apart(every: Mapping[int, int], best: Mapping[int, int]) -> float:
    """Return the divergence of the best from all, less that of chance; 0 at least."""
    total, count = sum(every.values()), sum(best.values())
    shares = {group: number / total for group, number in every.items()}
    apart = math.fsum((best.get(g, 0) / count - p) ** 2 / p for g, p in shares.items())
    chance = (len(every) - 1) / count * (total - count) / (total - 1)
    return max(0.0, apart - chance)


def _groups(values: Sequence[Value]) -> dict[Value, int]:
    """Return the group of each value: its own, or a range of numbers with as many settings."""
    distinct = list(dict.fromkeys(values))
    if len(distinct) <= MOST_GROUPS or not all(map(is_number, values)):
        return {value: i for i, value in enumerate(distinct)}
    ranked = sorted(values, key=float)
    return {v: MOST_GROUPS * ranked.index(v) // len(ranked) for v in distinct}
