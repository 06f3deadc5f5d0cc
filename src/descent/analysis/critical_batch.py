"""Steps to a target against batch size: S(B) = S_min (1 + B_crit / B), fitted with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from descent.analysis.targets import Hit
from descent.analysis.trials import (
    BATCH,
    NOISE_SCALE,
    OPTIMIZER,
    Study,
    Trial,
    Value,
    batch_of,
    label,
    learning_rate,
    ordered,
    text,
)
from descent.config.options import is_problem
from descent.records.endings import Reason, Status

LEAST_SIZES = 3  # two sizes fit any curve of two parameters
CONFIDENCE = 0.95
BEYOND = 1e4  # how far outside the tried batch sizes a B_crit is looked for
GRID = 400

CLOSED = 10.0  # factor between the ends of an interval up to which a number is given
MISFIT = 0.15  # share by which a size may be off the curve before a misfit is told
LEVEL = 1 - CONFIDENCE

NAN = math.nan


@dataclass(frozen=True)
class Fit:
    """S_min and B_crit, its 95 % interval, and why they are not given where they are NaN.

    Args:
        least, critical: S_min and B_crit: NaN unless the interval is closed within `CLOSED` and the
            curve fits.
        interval: (0, inf) where nothing is known.
        note: a sentence in place of the numbers; empty with them.
    """

    least: float
    critical: float
    interval: tuple[float, float]
    note: str


@dataclass(frozen=True)
class _Curve:
    """A fit of one set of steps: B_crit [and S_min] at the least squares, and its interval."""

    least: float
    critical: float
    low: float
    high: float
    misfit: float  # p of the sizes' distances to the curve, against their seeds; NaN without seeds
    off: float  # the largest distance of a size, as a share


def fit_critical(
    batch: Sequence[float],
    steps: Sequence[np.ndarray],
    earliest: Sequence[np.ndarray] | None = None,
    latest: Sequence[np.ndarray] | None = None,
) -> Fit:
    """Fit the curve by least squares of log S, each batch size weighted by its seeds.

    The interval is that of `_curve`; where steps are only known to lie between two records, it is
    stretched by the factor by which B_crit moves when the ends are fitted that bend the curve most:
    small batches as late and large ones as early as can be, and the other way round.

    Args:
        batch: rows per step, [n], rising.
        steps: to the target, above 0, of every seed of each batch size.
        earliest, latest: between which each of them lies; None where they are exact.

    Source: McCandlish et al. (2018), *An empirical model of large-batch training*, equation 2.11.
    """
    if len(batch) < LEAST_SIZES:
        need = f"at least {LEAST_SIZES} batch sizes must reach the target, {len(batch)} did"
        return Fit(NAN, NAN, (0.0, math.inf), f"No curve is fitted: {need}.")
    rows = np.array(batch, dtype=float)
    curve = _curve(rows, steps)
    low, high = curve.low, curve.high
    if earliest is not None and latest is not None:
        splits = range(1, len(rows))
        late = [math.exp(_point(rows, [*latest[:i], *earliest[i:]])[0]) for i in splits]
        early = [math.exp(_point(rows, [*earliest[:i], *latest[i:]])[0]) for i in splits]
        high = high * max(1.0, *(value / curve.critical for value in late))
        low = low * min(1.0, *(value / curve.critical for value in early))
        low = 0.0 if min(early) <= 2 * rows.min() / BEYOND else low
        high = math.inf if max(late) >= rows.max() * BEYOND / 2 else high
    if curve.misfit < LEVEL and curve.off > MISFIT:
        return Fit(
            NAN, NAN, (0.0, math.inf),
            "The steps do not follow S = S_min (1 + B_crit / B): a size is off by "
            f"{100 * curve.off:.0f}%, more than its seeds explain (p = {curve.misfit:.2g}), so no "
            "B_crit is given.",
        )  # fmt: skip
    if low > 0 and high <= CLOSED * low:
        return Fit(curve.least, curve.critical, (low, high), "")
    low = low if low >= rows.min() / 2 else 0.0  # farther ends say nothing of these sizes
    high = high if high <= 2 * rows.max() else math.inf
    return Fit(NAN, NAN, (low, high), _bound(low, high))


def _bound(low: float, high: float) -> str:
    """Return what an open or wide interval still says."""
    above, below = low > 0, math.isfinite(high)
    if above and below:
        return f"B_crit lies between {low:,.3g} and {high:,.3g} (95%), too wide for a number."
    if above:
        return f"B_crit is above {low:,.3g} (95%)."
    if below:
        return f"B_crit is below {high:,.3g} (95%)."
    return "Nothing can be told of B_crit: any value fits these steps."


def _curve(rows: np.ndarray, steps: Sequence[np.ndarray]) -> _Curve:
    """Fit steps that are taken as exact.

    For a given B_crit the best S_min is known, so that one number is left to be searched for, and
    the sum of squares R(B_crit) to be compared with its least: the interval holds all B_crit with
    (R - R_least) / s² at or below the 95 % quantile of F(1, d), the profile likelihood of errors
    that are normal in log S with unknown variance s². That is taken from the seeds around the curve
    (d = dots - 2), or from the means of the sizes around it (d = sizes - 2) where these are further
    off than seeds explain: a coarse lr grid moves all seeds of a size alike. One seed is enough.
    """
    from scipy.optimize import brentq
    from scipy.stats import f

    logs = [np.log(own) for own in steps]
    best, at = _point(rows, steps)
    mean = np.array([own.mean() for own in logs])
    seeds = np.array([len(own) for own in logs])

    def least(z: float) -> float:
        """Return log S_min at B_crit = exp(z)."""
        return float(np.average(mean - np.log1p(np.exp(z) / rows), weights=seeds))

    def squares(z: float) -> float:
        away = mean - np.log1p(np.exp(z) / rows) - least(z)
        return float(np.sum(seeds * np.square(away)))

    low, high = math.log(rows.min() / BEYOND), math.log(rows.max() * BEYOND)
    within = float(sum(np.sum(np.square(own - own.mean())) for own in logs))
    dots, sizes = int(seeds.sum()), len(rows)
    variance, freedom = (within + squares(best)) / (dots - 2), dots - 2
    if squares(best) / (sizes - 2) > variance:
        variance, freedom = squares(best) / (sizes - 2), sizes - 2
    most = squares(best) + variance * float(f.ppf(CONFIDENCE, 1, freedom))

    def over(z: float) -> float:
        return squares(z) - most

    start = 0.0 if over(low) <= 0 or at == 0 else math.exp(brentq(over, low, best))
    end = math.inf if over(high) <= 0 or at == GRID - 1 else math.exp(brentq(over, best, high))
    if at == 0:  # what lies beyond the sizes tried is not measured
        end = max(end, float(rows.min()))
    if at == GRID - 1:
        start = min(start, float(rows.max()))
    misfit = NAN
    if dots > sizes and within > 0:
        ratio = squares(best) / (sizes - 2) / (within / (dots - sizes))
        misfit = float(f.sf(ratio, sizes - 2, dots - sizes))
    off = np.abs(mean - np.log1p(np.exp(best) / rows) - least(best)).max()
    return _Curve(math.exp(least(best)), math.exp(best), start, end, misfit, float(math.expm1(off)))


def _point(rows: np.ndarray, steps: Sequence[np.ndarray]) -> tuple[float, int]:
    """Return log B_crit of the least squares, and its place among `GRID` values looked at first."""
    from scipy.optimize import minimize_scalar

    mean = np.array([np.log(own).mean() for own in steps])
    seeds = np.array([len(own) for own in steps])

    def squares(z: np.ndarray) -> np.ndarray:
        away = mean - np.log1p(np.exp(z)[:, None] / rows)
        away = away - np.average(away, weights=seeds, axis=1)[:, None]
        return np.asarray((seeds * np.square(away)).sum(axis=1))

    grid = np.linspace(math.log(rows.min() / BEYOND), math.log(rows.max() * BEYOND), GRID)
    at = int(np.argmin(squares(grid)))
    bounds = grid[max(at - 1, 0)], grid[min(at + 1, GRID - 1)]
    found = minimize_scalar(
        lambda z: float(squares(np.array([z]))[0]), bounds=bounds, method="bounded",
        options={"xatol": 1e-9},
    )  # fmt: skip
    return float(found.x), at


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
