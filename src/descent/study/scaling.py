"""Steps to a target against batch size, and the critical batch size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from descent.endings import Reason, Status
from descent.study.fitting import LEAST_SIZES, fit_critical
from descent.study.options import (
    BATCH,
    NOISE_SCALE,
    OPTIMIZER,
    batch_of,
    label,
    learning_rate,
    ordered,
    text,
)
from descent.study.targets import Hit
from descent.study.trials import Study, Trial, Value
from descent.summary import is_problem

# How the sentences of runs begin that ended because their epochs or steps were used up.
WIDE = 1.5  # factor between the ends of a crossing from which finer records would tell more
BUDGETS = tuple(reason.template.partition("{")[0] for reason in (Reason.EPOCHS, Reason.STEPS))


@dataclass(frozen=True)
class Scaling:
    """Of one optimizer.

    Args:
        label: the optimizer or what else the points have in common.
        batch: [n] sizes, rising.
        steps: [n] steps to the target with the lr (and all else that was swept) tuned for each
            size, mean over seeds; NaN where no lr reached it with every seed. The crossing is
            interpolated between records, see `targets.Hit`.
        lr: [n] the tuned lr; NaN where it was not swept.
        dots: for each size, every seed's steps at that lr.
        at_edge: [n] whether that lr lies on the edge of what was tried.
        least: S_min of S(B) = S_min (1 + B_crit / B); NaN if it cannot be fitted.
        critical: B_crit; NaN if it cannot be fitted.
        interval: of B_crit, 95 %; from 0 or to infinity where it is open.
        noise_scale: measured gradient noise scale, median of the runs that measured it; or NaN.
        target: the full loss to be reached.
        budget: a sentence, where sizes missed the target because their epochs were used up.
        note: a sentence in place of B_crit, where its interval is open or wide, or the law misfits.
        early: whether targets were crossed so early that records within epochs would tell more.
    """

    label: str
    batch: np.ndarray
    steps: np.ndarray
    lr: np.ndarray
    dots: tuple[np.ndarray, ...]
    at_edge: np.ndarray
    least: float
    critical: float
    interval: tuple[float, float]
    noise_scale: float
    target: float
    budget: str
    note: str = ""
    early: bool = False


def scalings(study: Study, target: float, hits: Mapping[int, Hit | None]) -> tuple[Scaling, ...]:
    """Return steps to a target against batch size, for each optimizer of each problem.

    Nothing where fewer than two batch sizes were tried.

    Args:
        study: the trials.
        target: the full loss to be reached.
        hits: of `targets.hits`, for that target.
    """
    if BATCH not in study.swept:
        return ()
    keys = [key for key in study.swept if is_problem(key) or key == OPTIMIZER]
    groups: dict[tuple[Value, ...], list[Trial]] = {}
    for trial in study.trials:
        groups.setdefault(tuple(trial.values[key] for key in keys), []).append(trial)
    return tuple(
        _scaling(label(dict(zip(keys, values, strict=True))), own, study, target, hits)
        for values, own in groups.items()
    )


@dataclass(frozen=True)
class _Size:
    """A batch size: rows, every seed's steps at the best setting, its lr, and who missed.

    Steps are those of the crossing, and the earliest and latest that it can have had.
    """

    name: str
    rows: float
    dots: np.ndarray
    earliest: np.ndarray
    latest: np.ndarray
    lr: float
    at_edge: bool
    trials: tuple[Trial, ...]


def _scaling(
    name: str, own: Sequence[Trial], study: Study, target: float, hits: Mapping[int, Hit | None]
) -> Scaling:
    values = ordered(trial.values[BATCH] for trial in own)
    found = (_size([t for t in own if t.values[BATCH] == v], study, hits) for v in values)
    sizes = sorted((size for size in found if size is not None), key=lambda size: size.rows)
    reached = [size for size in sizes if len(size.dots)]
    noise = [t.figures[NOISE_SCALE] for t in own if _ok(t) and NOISE_SCALE in t.figures]
    fit = fit_critical(
        [size.rows for size in reached], [size.dots for size in reached],
        [size.earliest for size in reached], [size.latest for size in reached],
    )  # fmt: skip
    budget = _budget([size for size in sizes if not len(size.dots)], len(reached), target)
    note = fit.note if len(reached) >= LEAST_SIZES or not budget else ""
    return Scaling(
        label=name,
        batch=np.array([size.rows for size in sizes]),
        steps=np.array([size.dots.mean() if len(size.dots) else math.nan for size in sizes]),
        lr=np.array([size.lr for size in sizes]),
        dots=tuple(size.dots for size in sizes),
        at_edge=np.array([size.at_edge for size in sizes]),
        least=fit.least,
        critical=fit.critical,
        interval=fit.interval,
        noise_scale=float(np.median(noise)) if noise else math.nan,
        target=target,
        budget=budget,
        note=note,
        early=math.isnan(fit.critical)
        and any((size.latest > WIDE * size.earliest).any() for size in reached),
    )


def _size(trials: Sequence[Trial], study: Study, hits: Mapping[int, Hit | None]) -> _Size | None:
    """Return a batch size at the setting that took it to the target in the fewest steps."""
    rows = next((b for t in trials if (b := batch_of(t, study.config)) is not None), None)
    if rows is None:
        return None
    rate = learning_rate(study)
    groups: dict[tuple[Value, ...], list[Trial]] = {}
    for trial in trials:
        groups.setdefault(tuple(trial.values.values()), []).append(trial)
    best, earliest, latest, lr = np.zeros(0), np.zeros(0), np.zeros(0), math.nan
    for own in groups.values():
        reached = [hit for t in own if _ok(t) and (hit := hits.get(t.number)) is not None]
        steps = np.array([hit.step for hit in reached])
        whole = len(steps) == len(own) and steps.min() > 0
        if whole and (not len(best) or steps.mean() < best.mean()):
            best, lr = steps, float(own[0].values[rate]) if rate else math.nan
            earliest = np.array([max(hit.earliest, 1) for hit in reached])
            latest = np.array([hit.latest for hit in reached])
    tried = {float(trial.values[rate]) for trial in trials} if rate else set()
    edge = not rate or (len(best) > 0 and lr in (min(tried), max(tried)))
    name = text(trials[0].values[BATCH])
    return _Size(name, rows, best, earliest, latest, lr, edge, tuple(trials))


def _ok(trial: Trial) -> bool:
    return trial.status == Status.OK


def _budget(missed: Sequence[_Size], reached: int, target: float) -> str:
    """Return what is to be said of batch sizes whose epochs were used up before the target."""
    short = [size for size in missed if any(map(_used_up, size.trials))]
    if not short:
        return ""
    names = [size.name for size in short]
    who = ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else names[0]
    why = next(t.reason for size in short for t in size.trials if _used_up(t))
    text = f"Batches of {who} {why} before the full loss fell to {target:.4g} with every seed"
    if reached >= LEAST_SIZES:
        return f"{text}; the curve rests on the other sizes."
    return (
        f"{text}: an epoch budget alone only probes perfect scaling. Train them longer, or set "
        "a higher target with stop.loss."
    )


def _used_up(trial: Trial) -> bool:
    return _ok(trial) and trial.reason.startswith(BUDGETS)
