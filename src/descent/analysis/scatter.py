"""What a random search tells of each option: its settings' scores over the values drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from descent.analysis.settings import Measure, Setting
from descent.analysis.trials import Study, Value, numeric, problem_keys, short, text

LEAST_VALUES = 8  # of an option that is drawn rather than listed
SCATTERED = 0.6  # share of the settings that have a value of their own
MOST_GROUPS = 6  # colours that a reader tells apart
BEST_SHARE = 0.1  # of the settings, among which the good values are looked for
LEAST_BEST = 4  # settings, at least


@dataclass(frozen=True)
class DrawnOption:
    """An option whose values were drawn.

    Args:
        key: its dotted name.
        x: [n] value of each setting that has a score.
        good: the least and the largest value among the best settings.
        influence: the share of the scores' variance, on ranks, that it explains; NaN if not known.
    """

    key: str
    x: np.ndarray
    good: tuple[float, float]
    influence: float


@dataclass(frozen=True)
class Scatter:
    """A search's settings.

    Args:
        measure: what was compared.
        options: the drawn ones, the most influential first.
        scores: [n] mean score of each setting, best first.
        groups: [n] whose colour a setting has; empty texts where nothing else was swept.
        grouped_by: the option that tells; empty if there is none.
        lost: by option, the values of settings of which no run ended well.
        top: how many settings the good values are of.
    """

    measure: Measure
    options: tuple[DrawnOption, ...]
    scores: np.ndarray
    groups: tuple[str, ...]
    grouped_by: str
    lost: dict[str, np.ndarray]
    top: int = LEAST_BEST


def scatter(study: Study, settings: Sequence[Setting], measure: Measure) -> Scatter | None:
    """Return what there is to draw of a random search; None of a grid, or of several problems.

    Args:
        study: the trials.
        settings: of `settings`, best first.
        measure: by what they are compared.
    """
    keys = [key for key in study.swept if is_drawn(study, settings, key)]
    scored = [setting for setting in settings if setting.scores]
    if not keys or problem_keys(study) or len(scored) < 2:
        return None
    ranked = sorted(scored, key=lambda s: s.mean if measure.lower else -s.mean)
    best = ranked[: max(LEAST_BEST, math.ceil(BEST_SHARE * len(ranked)))]
    options = []
    for key in keys:
        values = [float(setting.values[key]) for setting in best]
        x = np.array([float(setting.values[key]) for setting in ranked])
        share = study.influence.get(key, math.nan)
        options.append(DrawnOption(key, x, (min(values), max(values)), share))
    other = _grouping(study, ranked, keys)
    gone = [setting for setting in settings if not setting.scores]
    return Scatter(
        measure,
        tuple(options),
        np.array([setting.mean for setting in ranked]),
        tuple(f"{short(other)}={text(s.values[other])}" if other else "" for s in ranked),
        other,
        {key: np.array([float(s.values[key]) for s in gone]) for key in keys},
        len(best),
    )


def is_drawn(study: Study, settings: Sequence[Setting], key: str) -> bool:
    """Whether most settings have a number of their own for an option, and the others differ too."""
    if not numeric(study, key) or len(settings) < LEAST_VALUES:
        return False
    values = {setting.values[key] for setting in settings}
    return len(values) >= max(LEAST_VALUES, SCATTERED * len(settings))


def _grouping(study: Study, settings: Sequence[Setting], drawn: Sequence[str]) -> str:
    """Return the option of few values that explains most; empty if there is none."""

    def values(key: str) -> set[Value]:
        return {setting.values[key] for setting in settings}

    few = [k for k in study.swept if k not in drawn and 1 < len(values(k)) <= MOST_GROUPS]
    return max(few, key=lambda key: study.influence.get(key, 0.0), default="")
