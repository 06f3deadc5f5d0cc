"""A full loss to be reached, and when each trial first did."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from descent.endings import Status
from descent.recording.axes import FULL_LOSS
from descent.study.options import BATCH, OPTIMIZER, number_in, problem_keys
from descent.study.records import Track, at_start, full_loss

if TYPE_CHECKING:
    from descent.study.trials import Study, Trial, Value

TARGETS = ("stop.loss", "callbacks.full_loss.target")
REACHED_BY = 0.75  # share of the contenders that reach a target chosen here
DIGITS = 4


@dataclass(frozen=True)
class Hit:
    """The first record at or below the target.

    Args:
        step, samples, seconds: where it was taken.
        crossed: the step at which the loss crossed the target, between this record and the one
            before, if its logarithm fell evenly from one to the other (the loss itself where one
            is not above 0). Records come once an epoch, so `step` alone is late by half an epoch
            on average, which for large epochs is most of the time to a target.
    """

    step: int
    samples: int
    seconds: float
    crossed: float


def choose_target(study: Study) -> float | None:
    """Return the full loss by which times are compared; None where there is none to speak of.

    The configured one (`stop.loss`, or the `full_loss` callback's own), if the runs had one; of
    several, the largest, which the runs with lower ones passed on their way. Else it is derived:
    each batch size of each optimizer is a contender, whose loss is the least that one of its
    settings reached with every seed; the target is the least loss that three in four contenders
    reached, rounded up to 4 digits. Where that is not below the loss at which these trials began
    there is none, and none is derived across several problems.
    """
    configured = _configured(study)
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
    reached = sorted(map(_worst, best))[math.ceil(REACHED_BY * len(best)) - 1]
    target = _rounded_up(reached)
    starts = [at_start(trial.directory) for own in best for trial in own]
    return target if starts and target < min(starts) else None


def _configured(study: Study) -> float | None:
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


def hit_of(track: Track, target: float) -> Hit | None:
    """Return the first record at or below the target; None if there is none."""
    below = np.flatnonzero(track.loss <= target)
    if not len(below):
        return None
    at = int(below[0])
    step, samples, seconds = (float(v[at]) for v in (track.step, track.samples, track.seconds))
    before = (float(track.step[at - 1]), float(track.loss[at - 1])) if at else (step, target)
    crossed = _crossed(before, (step, float(track.loss[at])), target)
    return Hit(int(step), int(samples), seconds, crossed)


def _crossed(before: tuple[float, float], after: tuple[float, float], target: float) -> float:
    (start, high), (end, low) = before, after
    if not math.isfinite(high) or high <= low:
        return end
    if low > 0 and target > 0:
        high, low, target = math.log(high), math.log(low), math.log(target)
    return start + (end - start) * (high - target) / (high - low)
