"""A full loss to be reached, and when each trial first did."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from descent.analysis.loss_records import LossCurve, at_start, full_loss
from descent.analysis.trials import BATCH, OPTIMIZER, number_in, problem_keys
from descent.records.endings import Status
from descent.records.tables import FULL_LOSS

if TYPE_CHECKING:
    from descent.analysis.trials import Study, Trial, Value

TARGETS = ("stop.loss", "callbacks.full_loss.target")
REACHED_BY = 0.75  # share of the contenders that reach a target chosen here, by half their steps
MOST = 0.6  # share of all settings that do so by their end
DIGITS = 4


@dataclass(frozen=True)
class Hit:
    """When a loss crossed the target.

    Args:
        step, samples, seconds: of the crossing, between the first record at or below the target and
            the one before, if the loss' logarithm fell evenly from one to the other (the loss
            itself where one is not above 0).
        earliest, latest: steps between which the crossing lies for sure: the first step after the
            record before, and that of the record. Records come once an epoch, in which a loss
            may fall much faster at first.
    """

    step: float
    samples: float
    seconds: float
    earliest: float
    latest: float


def choose_target(study: Study) -> float | None:
    """Return the full loss by which times are compared; None where there is none to speak of.

    The configured one (`stop.loss`, or the `full_loss` callback's own), if the runs had one; of
    several, the largest, which the runs with lower ones passed on their way. Else it is derived so
    that most settings reach it: it is the larger of the loss that three in four contenders (the
    best setting of each batch size of each optimizer) had by half of their steps, and the loss at
    which three in five of all settings ended with every seed, rounded up to 4 digits. Where that is
    not below the loss at which trials began, the contenders' alone is taken, by half of their steps
    or else by their end; where that is not either there is none. None is derived across several
    problems.
    """
    configured = configured_target(study)
    if configured is not None or problem_keys(study):
        return configured
    groups: dict[tuple[Value, ...], list[Trial]] = {}
    for trial in study.trials:
        groups.setdefault(tuple(trial.values.values()), []).append(trial)
    contenders: dict[tuple[Value | None, ...], list[Trial]] = {}
    for own in groups.values():
        who = (own[0].values.get(OPTIMIZER), own[0].values.get(BATCH))
        if math.isfinite(_worst(own)) and _worst(own) < _worst(contenders.get(who, [])):
            contenders[who] = own
    if not contenders:
        return None
    best = list(contenders.values())
    half = [max(_halfway(trial) for trial in own) for own in best]
    third = math.ceil(REACHED_BY * len(best)) - 1
    at_half, at_end = sorted(half)[third], sorted(map(_worst, best))[third]
    ended = sorted(map(_worst, groups.values()))[math.ceil(MOST * len(groups)) - 1]
    start = min((at_start(trial.directory) for own in best for trial in own), default=math.nan)
    for reached in (max(at_half, ended), at_half, at_end):
        if math.isfinite(reached) and _rounded_up(reached) < start:
            return _rounded_up(reached)
    return None


def target_words(study: Study, target: float) -> str:
    """Return where the target comes from."""
    if configured_target(study) == target:
        return f"The target, a full loss of {target:.4g}, is that of the runs."
    if choose_target(study) == target:
        return (
            f"The target, a full loss of {target:.4g}, was chosen so that most settings reach it: "
            "three in four of the best ones of each optimizer and batch size by half of their "
            "steps, and three in five of all by their end, as far as that is below the start."
        )
    return f"The target, a full loss of {target:.4g}, was asked for."


def _halfway(trial: Trial) -> float:
    """Return the full loss by half of a trial's steps; infinite where none was recorded."""
    track = full_loss(trial.directory)
    by_half = track.loss[(track.step <= (trial.step or 0) / 2) & np.isfinite(track.loss)]
    return float(by_half.min()) if len(by_half) else math.inf


def configured_target(study: Study) -> float | None:
    """Return the full loss that the runs had as their target; None if they had none."""
    swept = [t.values[key] for key in TARGETS if key in study.swept for t in study.trials]
    numbers = [number for value in swept if (number := number_in(value)) is not None]
    if swept:
        return max(numbers, default=None)
    for key in TARGETS:
        node = study.config
        for part in key.split("."):
            node = node.get(part) if isinstance(node, Mapping) else None  # type: ignore[assignment]
        if isinstance(node, (int, float)):
            return float(node)
    return None


def _worst(trials: Sequence[Trial]) -> float:
    """Return the largest final full loss; infinite where a trial did not end well, or none is."""
    losses = [t.figures.get(FULL_LOSS, math.inf) for t in trials if t.status == Status.OK]
    return max(losses) if losses and len(losses) == len(trials) else math.inf


def _rounded_up(value: float) -> float:
    if value == 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(abs(value))) - DIGITS + 1)
    return float(f"{math.ceil(value / unit) * unit:.{DIGITS + 1}g}")


def hits(study: Study, target: float) -> dict[int, Hit | None]:
    """Return when each trial first had a full loss at or below the target; None if it never had.

    Args:
        study: the trials, by whose `epochs.csv` this is told (and `steps.csv`, where the full loss
            was measured within epochs too).
        target: the full loss.
    """
    callback = (study.config.get("callbacks") or {}).get("full_loss") or {}
    within = bool(callback.get("every_n_steps"))
    return {
        trial.number: hit_of(full_loss(trial.directory, within), target) if trial.step else None
        for trial in study.trials
    }


def hit_of(track: LossCurve, target: float) -> Hit | None:
    """Return when a loss crossed the target; None if it never did."""
    below = np.flatnonzero(track.loss <= target)
    if not len(below):
        return None
    at = int(below[0])
    step, samples, seconds = (float(v[at]) for v in (track.step, track.samples, track.seconds))
    if not at:  # nothing is known of before, unless this is the start
        return Hit(step, samples, seconds, min(step, 1.0), step)
    part = _part(float(track.loss[at - 1]), float(track.loss[at]), target)

    def crossed(values: np.ndarray) -> float:
        return float(values[at - 1] + part * (values[at] - values[at - 1]))

    earliest = min(float(track.step[at - 1]) + 1, step)
    return Hit(
        crossed(track.step), crossed(track.samples), crossed(track.seconds), earliest, step
    )  # fmt: skip


def _part(high: float, low: float, target: float) -> float:
    """Return how far between two records the target was crossed, in (0, 1]."""
    if not math.isfinite(high) or high <= low:
        return 1.0
    if low > 0 and target > 0:
        high, low, target = math.log(high), math.log(low), math.log(target)
    return (high - target) / (high - low)
