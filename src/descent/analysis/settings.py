"""Settings: the trials that differ by their seed alone, and what they reach."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from descent.analysis.targets import FULL_LOSS, Hit, choose_target
from descent.analysis.trials import ENDED, Study, Trial, Value, problem_keys
from descent.metrics import lower_is_better, mode_of
from descent.records.endings import Status

BEST = "best/"  # begins the names of what was measured at the best epoch
SAME = 3e-7  # of a mean: what rounding in float32 makes of equal scores
UNITS = {"steps": "step", "samples": "samples", "seconds": "seconds"}  # fields of a hit
# Complete: every trial ended and has a score. Fewer: so it is, but with fewer seeds than most have.
# Pending: some have not ended. Lost: some diverged, failed or missed the target. Empty: none has a
# score.
STANDINGS = ("complete", "fewer", "pending", "lost", "empty")


@dataclass(frozen=True)
class Measure:
    """By what settings are compared.

    Args:
        name: as the table or the report calls it: `best/val/loss`, `train/full_loss`,
            `steps to target`, `samples to target`, `seconds to target`.
        label: for an axis, with its unit.
        lower: whether less is better.
        target: the full loss to be reached, for the last three; else None.
    """

    name: str
    label: str
    lower: bool
    target: float | None = None


@dataclass(frozen=True)
class Setting:
    """Trials that differ by their seed alone.

    Args:
        values: what was swept, without seeds.
        trials: all, however they ended.
        scores: by trial number, of those that ended well and have one: never imputed.
        fewer: whether it has fewer trials than most settings of its problem, so that it would win
            by luck more easily.
    """

    values: Mapping[str, Value]
    trials: tuple[Trial, ...]
    scores: Mapping[int, float]
    fewer: bool = False

    @property
    def diverged(self) -> float:
        """The share of trials that diverged."""
        return sum(t.status == Status.DIVERGED for t in self.trials) / len(self.trials)

    @property
    def mean(self) -> float:
        """The mean score of those that have one; NaN if none has."""
        return statistics.fmean(self.scores.values()) if self.scores else math.nan

    @property
    def spread(self) -> float:
        """The standard deviation of the scores; NaN below two."""
        return statistics.stdev(self.scores.values()) if len(self.scores) > 1 else math.nan

    @property
    def standing(self) -> str:
        """One of `STANDINGS`."""
        if len(self.scores) == len(self.trials):
            return "fewer" if self.fewer else "complete"
        unscored = [t for t in self.trials if t.number not in self.scores]
        if any(t.status in ENDED for t in unscored):
            return "lost" if self.scores else "empty"
        return "pending"


def is_one_number(setting: Setting) -> bool:
    """Whether all of several trials gave one score."""
    return len(setting.scores) > 1 and setting.spread <= SAME * abs(setting.mean)


def measures(
    study: Study, target: float | None = None, also: Sequence[str] = ()
) -> tuple[Measure, ...]:
    """Return by what this study's settings can be compared, the optimized metric first.

    Where runs were stopped at a target the steps to it come first: a final loss would only tell who
    overshot it furthest.

    Args:
        study: the trials.
        target: the full loss to be reached; None for that of `choose_target`, if there is one.
        also: further columns to compare by, as far as they are recorded and have a direction.
    """
    target = choose_target(study) if target is None else target
    found = [
        Measure(name, _label(name), lower_is_better(name))
        for name in dict.fromkeys([*_measured(study), *(n for n in also if directed(n))])
        if any(_score(trial, name) is not None for trial in study.trials)
    ]
    if target is not None:
        found += [
            Measure(f"{unit} to target", f"{unit} to full loss {target:.4g}", True, target)
            for unit in UNITS
        ]
    typed = any(word.lstrip("+").startswith("optimized_metric=") for word in study.shared)
    first = "steps to target" if is_stopped(study) and target is not None and not typed else None
    return tuple(sorted(found, key=lambda measure: measure.name != first))


def is_stopped(study: Study) -> bool:
    """Whether its runs end at a target of the full loss."""
    return (study.config.get("stop") or {}).get("loss") is not None


def directed(name: str) -> bool:
    """Whether more or less of a column is known to be better."""
    return mode_of(name) is not None


def _measured(study: Study) -> list[str]:
    best = f"{BEST}{study.metric}"
    recorded = any(best in trial.figures for trial in study.trials)
    return list(dict.fromkeys([best if recorded else study.metric, FULL_LOSS]))


def _label(name: str) -> str:
    words = name.removeprefix(BEST).replace("/", " ").replace("_", " ")
    if name == FULL_LOSS:
        return "final full loss"
    return f"best {words}" if name.startswith(BEST) else f"final {words}"


def settings(
    study: Study, measure: Measure, hits: Mapping[int, Hit | None] | None = None
) -> tuple[Setting, ...]:
    """Return the settings, best first.

    Those whose trials have all ended and have a score come first, by their mean; then those that
    have fewer seeds than most, those with trials still to come, those that lost one (diverged,
    failed, or missed the target), and those without any score. Where a study has several problems
    the best of each come first, since scores across problems cannot be compared.

    Args:
        study: the trials.
        measure: what to compare by.
        hits: of `targets.hits`; needed for times to a target.

    Raises:
        ValueError: a time to a target without hits.
    """
    if measure.target is not None and hits is None:
        raise ValueError(f"{measure.name} needs hits")
    groups: dict[tuple[Value, ...], list[Trial]] = {}
    for trial in study.trials:
        groups.setdefault(tuple(trial.values[key] for key in study.swept), []).append(trial)
    problems: dict[tuple[Value, ...], list[Setting]] = {}
    for own in groups.values():
        scores = {t.number: s for t in own if (s := score(t, measure, hits)) is not None}
        made = Setting(own[0].values, tuple(own), scores)
        problem = tuple(own[0].values[key] for key in problem_keys(study))
        problems.setdefault(problem, []).append(made)
    told = [_with_fewer(own) for own in problems.values()]
    ranked = [sorted(own, key=lambda s: _place(s, measure)) for own in told]
    return tuple(s for row in zip_longest(*ranked) for s in row if s is not None)


def _with_fewer(settings: Sequence[Setting]) -> list[Setting]:
    """Return settings of one problem that know whether they have fewer trials than most."""
    counts = Counter(len(setting.trials) for setting in settings)
    most = max(counts, key=lambda count: (counts[count], count))
    return [replace(s, fewer=True) if len(s.trials) < most else s for s in settings]


def score(
    trial: Trial, measure: Measure, hits: Mapping[int, Hit | None] | None = None
) -> float | None:
    """Return what a trial reached; None if it did not end well, or has no finite value."""
    if measure.target is None:
        return _score(trial, measure.name)
    hit = (hits or {}).get(trial.number)
    if trial.status != Status.OK or hit is None:
        return None
    return float(getattr(hit, UNITS[measure.name.partition(" ")[0]]))


def _score(trial: Trial, name: str) -> float | None:
    value = trial.figures.get(name)
    good = trial.status == Status.OK and value is not None and math.isfinite(value)
    return value if good else None


def _place(setting: Setting, measure: Measure) -> tuple[int, float]:
    sign = 1 if measure.lower else -1
    return STANDINGS.index(setting.standing), sign * setting.mean if setting.scores else 0.0
