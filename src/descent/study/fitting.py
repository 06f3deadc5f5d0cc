"""The fit of S(B) = S_min (1 + B_crit / B), with an interval for B_crit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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
