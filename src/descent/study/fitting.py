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

NAN = math.nan
FLAT = "Larger batches save no steps: the critical batch size is below what was tried,"
STEEP = "Steps fall as 1/B or faster: the critical batch size is above what was tried,"


@dataclass(frozen=True)
class Fit:
    """S_min, B_crit and its 95 % interval; NaN where unknown, and why."""

    least: float
    critical: float
    interval: tuple[float, float]
    note: str


def fit_critical(batch: Sequence[float], steps: Sequence[np.ndarray]) -> Fit:
    """Fit the curve by least squares of log S, each batch size weighted by its seeds.

    For a given B_crit the best S_min is known, so that one number is left to be searched for, and
    the sum of squares R(B_crit) to be compared with its least: the interval holds all B_crit with
    (R - R_least) / s² at or below the 95 % quantile of F(1, d), the profile likelihood of errors
    that are normal in log S with unknown variance s². That is taken from the seeds around the curve
    (d = dots - 2), or from the means of the sizes around it (d = sizes - 2) where these are further
    off than seeds explain: a coarse lr grid moves all seeds of a size alike. One seed is enough.

    Args:
        batch: rows per step, [n].
        steps: to the target, above 0, of every seed of each batch size.

    Source: McCandlish et al. (2018), *An empirical model of large-batch training*, equation 2.11.
    """
    if len(batch) < LEAST_SIZES:
        need = f"at least {LEAST_SIZES} batch sizes must reach the target, {len(batch)} did"
        return Fit(NAN, NAN, (NAN, NAN), f"No curve is fitted: {need}.")
    from scipy.optimize import brentq, minimize_scalar
    from scipy.stats import f

    rows = np.array(batch, dtype=float)
    logs = [np.log(own) for own in steps]
    mean = np.array([own.mean() for own in logs])
    seeds = np.array([len(own) for own in logs])

    def least(z: float) -> float:
        """Return log S_min at B_crit = exp(z)."""
        return float(np.average(mean - np.log1p(np.exp(z) / rows), weights=seeds))

    def squares(z: float) -> float:
        away = mean - np.log1p(np.exp(z) / rows) - least(z)
        return float(np.sum(seeds * np.square(away)))

    low, high = math.log(rows.min() / BEYOND), math.log(rows.max() * BEYOND)
    grid = np.linspace(low, high, GRID)
    at = int(np.argmin([squares(z) for z in grid]))
    bounds = grid[max(at - 1, 0)], grid[min(at + 1, GRID - 1)]
    best = minimize_scalar(squares, bounds=bounds, method="bounded", options={"xatol": 1e-9}).x
    within = float(sum(np.sum(np.square(own - own.mean())) for own in logs))
    dots, sizes = int(seeds.sum()) - 2, len(rows) - 2
    variance, freedom = (within + squares(best)) / dots, dots
    if squares(best) / sizes > variance:
        variance, freedom = squares(best) / sizes, sizes
    most = squares(best) + variance * float(f.ppf(CONFIDENCE, 1, freedom))

    def over(z: float) -> float:
        return squares(z) - most

    start = 0.0 if over(low) <= 0 else math.exp(brentq(over, low, best))
    end = math.inf if over(high) <= 0 else math.exp(brentq(over, best, high))
    if at == 0:
        end = max(end, min(batch))
        return Fit(NAN, NAN, (0.0, end), f"{FLAT} at most {end:.4g}.")
    if at == GRID - 1:
        start = min(start, max(batch))
        return Fit(NAN, NAN, (start, math.inf), f"{STEEP} at least {start:.4g}.")
    return Fit(math.exp(least(best)), math.exp(best), (start, end), "")
