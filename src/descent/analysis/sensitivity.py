"""How much a result depends on the learning rate, or on another number."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from descent.analysis.loss_records import at_start
from descent.analysis.settings import Measure, Setting, settings
from descent.analysis.targets import Hit
from descent.analysis.trials import (
    BATCH,
    OPTIMIZER,
    Study,
    Trial,
    Value,
    label,
    learning_rate,
    numeric,
    ordered,
    short,
)
from descent.config.options import is_problem
from descent.records.endings import Status

MOST_LINES = 12
LEAST_POINTS = 3  # with the other options fixed; fewer, as in a random search, are no line


@dataclass(frozen=True)
class Line:
    """A measure over the values of one option, for one optimizer or batch size.

    Args:
        label: whose line it is, such as `adam`.
        x: [n] values, rising.
        scores: the score of each seed at each value; diverged and failed trials are not in it.
        lost: [n] how many trials at each value did not end well.
        median, low, high: [n] quartiles over the seeds (NaN where none is left).
        sensitivity: mean over x of min(loss(x), loss at start) - best loss; NaN where it is not
            known. Source: see `sensitivity`.
        fixed: the other options along the line, such as `batch_size=64`; empty if there are none,
            and `best over batch_size` where each point has the best ones.
        who: the optimizer, if optimizers were swept.
    """

    label: str
    x: np.ndarray
    scores: Sequence[np.ndarray]
    lost: np.ndarray
    median: np.ndarray
    low: np.ndarray
    high: np.ndarray
    sensitivity: float
    fixed: str = ""
    who: str = ""


@dataclass(frozen=True)
class Lines:
    """All lines of one picture, over the option `x`."""

    x: str
    measure: Measure
    lines: tuple[Line, ...]


def lines(
    study: Study, measure: Measure, hits: Mapping[int, Hit | None] | None = None
) -> Lines | None:
    """Return the measure over lr, else over the most influential number; None without one.

    One line for each optimizer, else for each batch size, and in each problem; up to 12. Along a
    line all other options stay as they are in its best setting. Where that leaves fewer than three
    points though there are more, as in a random search, each point has the best other options.

    Args:
        study: the trials.
        measure: what is on y.
        hits: of `targets.hits`; needed for times to a target.
    """
    x = learning_rate(study) or next((k for k in study.swept if _free_number(study, k)), None)
    if x is None:
        return None
    keys = [key for key in study.swept if is_problem(key)]
    by = next((key for key in (OPTIMIZER, BATCH) if key in study.swept and key != x), None)
    keys += [by] if by else []
    groups: dict[tuple[Value, ...], list[Setting]] = {}
    for setting in settings(study, measure, hits):  # the best comes first
        groups.setdefault(tuple(setting.values[key] for key in keys), []).append(setting)
    if by and by != OPTIMIZER:  # numbers, which rise
        order = {value: i for i, value in enumerate(ordered(k[-1] for k in groups))}
        groups = dict(sorted(groups.items(), key=lambda item: order[item[0][-1]]))
    else:
        groups = dict(sorted(groups.items(), key=lambda item: item[1][0].trials[0].number))
    made = [
        _line(label(dict(zip(keys, values, strict=True))), own, x, keys, measure)
        for values, own in groups.items()
    ]
    return Lines(x, measure, tuple(made[:MOST_LINES]))


def _free_number(study: Study, key: str) -> bool:
    return numeric(study, key) and not is_problem(key)


def _line(name: str, own: Sequence[Setting], x: str, keys: Sequence[str], measure: Measure) -> Line:
    others = [key for key in own[0].values if key not in (x, *keys)]
    fixed = {key: own[0].values[key] for key in others}
    along = [s for s in own if all(s.values[key] == fixed[key] for key in others)]
    words = label(fixed)
    if len(along) < LEAST_POINTS <= len({setting.values[x] for setting in own}):
        along = list({s.values[x]: s for s in reversed(own)}.values())
        words = f"best over {', '.join(map(short, others))}"
    along = sorted(along, key=lambda setting: float(setting.values[x]))
    scores = [np.array(list(setting.scores.values())) for setting in along]
    lost = [sum(_ended_badly(t, s) for t in s.trials) for s in along]
    low, median, high = np.array([_quartiles(own) for own in scores]).T
    return Line(
        name, np.array([float(s.values[x]) for s in along]), scores, np.array(lost), median, low,
        high, sensitivity(along, measure), words, str(own[0].values.get(OPTIMIZER, "")),
    )  # fmt: skip


def _ended_badly(trial: Trial, setting: Setting) -> bool:
    ended = trial.status in (Status.OK, Status.DIVERGED, Status.FAILED)
    return ended and trial.number not in setting.scores


def _quartiles(scores: np.ndarray) -> np.ndarray:
    return np.quantile(scores, [0.25, 0.5, 0.75]) if len(scores) else np.full(3, np.nan)


def sensitivity(along: Sequence[Setting], measure: Measure) -> float:
    """Return the mean over x of min(loss(x), loss at start) - the least loss.

    Each x counts as much as any other, so that a log grid gives the definition; loss(x) is the mean
    over its trials, each cut at the loss at which it began, so that a diverged trial counts as one
    that learnt nothing. NaN where no trial ended, or the measure is no loss known at the start: the
    full loss is measured before training, validation losses are not.

    Source: Wortsman et al. (2023), *Small-scale proxies for large-scale Transformer training
    instabilities*, section 2.2.
    """
    if measure.target is not None or not measure.lower:
        return math.nan
    means = []
    for setting in along:
        cut = [loss for t in setting.trials if (loss := _cut(t, setting, measure)) is not None]
        if cut:
            means.append(math.fsum(cut) / len(cut))
    return float(np.mean(means) - min(means)) if means else math.nan


def _cut(trial: Trial, setting: Setting, measure: Measure) -> float | None:
    """Return min(loss, loss at start); None for a trial that has not ended, or failed."""
    if trial.number not in setting.scores and trial.status != Status.DIVERGED:
        return None
    start = at_start(trial.directory, measure.name.removeprefix("best/"))
    return min(setting.scores.get(trial.number, math.inf), start) if start == start else math.nan
