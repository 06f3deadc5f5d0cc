"""What each value of an option can reach, with all other options at their best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from descent.analysis.settings import Setting
from descent.analysis.trials import Study, Value, is_number, ordered, problem_keys
from descent.config.options import is_problem

MOST_VALUES = 16  # of a number; with more, as in a random search, a value is a setting
MOST_OPTIONS = 12


@dataclass(frozen=True)
class Isolated:
    """One option.

    Args:
        key: its name.
        values: rising numbers, or words as typed.
        best: by value, the best setting that lost no trial; without those that have none.
        means: by value, the mean score of every setting that has one.
        drawn: whether its values were drawn at random, so that few settings share one.
    """

    key: str
    values: tuple[Value, ...]
    best: Mapping[Value, Setting]
    means: Mapping[Value, tuple[float, ...]]
    drawn: bool

    @property
    def top(self) -> Value | None:
        """The value of the best setting."""
        return next(iter(self.best), None)


def isolated(study: Study, settings: Sequence[Setting]) -> tuple[Isolated, ...]:
    """Return each option's values with the best that they allow, the most influential option first.

    Nothing for several problems, whose scores cannot be compared, and for a single option, where
    nothing is to be optimized away.

    Args:
        study: the trials.
        settings: of `settings`, best first.

    Source: Godbole et al. (2023), *Deep learning tuning playbook*, "isolation plots".
    """
    keys = [key for key in study.swept if not is_problem(key)]
    if problem_keys(study) or len(keys) < 2:
        return ()
    keys.sort(key=lambda key: -study.influence.get(key, 0.0))
    typed = sorted(settings, key=lambda setting: setting.trials[0].number)
    made = []
    for key in keys[:MOST_OPTIONS]:
        values = ordered(setting.values[key] for setting in typed)
        best: dict[Value, Setting] = {}
        means: dict[Value, list[float]] = {value: [] for value in values}
        for setting in settings:
            if setting.standing == "complete":
                best.setdefault(setting.values[key], setting)
            if math.isfinite(setting.mean):
                means[setting.values[key]].append(setting.mean)
        drawn = len(values) > MOST_VALUES and all(map(is_number, values))
        known = {value: tuple(own) for value, own in means.items()}
        made.append(Isolated(key, values, best, known, drawn))
    return tuple(made)
