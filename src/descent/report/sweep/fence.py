"""Limits that a few awful values do not stretch."""

from __future__ import annotations

import numpy as np

from descent.report.style import drawable, spans_decades

REACH = 2.0  # quartile ranges beyond the worse quartile; Tukey's fences stand at 1.5 and 3
KEPT = 0.9  # share of the values that the limits hold at least


def fenced(
    values: np.ndarray, lower: bool, reach: float = REACH, times: float = 1.0
) -> tuple[float, float, bool]:
    """Return the best value, the worst one that is no outlier, and whether to use a log scale.

    Outliers are looked for on the worse side only: an exceptionally good value is what the reader
    looks for. Zeros among positive values do not keep them from a log scale; they lie below it.

    Args:
        values: any shape; what is not finite is left out.
        lower: whether less is better.
        reach: quartile ranges beyond the worse quartile at which outliers begin.
        times: values within this many times the worse quartile are no outliers either.

    Returns:
        The lower limit, the upper limit, and whether all is positive (or 0) and spans decades.

    Raises:
        ValueError: there is no finite value.

    Source:
        Tukey, Exploratory Data Analysis (1977): fences a multiple of the quartile range beyond the
        quartiles; here on the logarithms of positive values.
    """
    known = drawable(np.ravel(values))
    known = known[np.isfinite(known)]
    if not len(known):
        raise ValueError("no value is finite")
    sign = 1 if lower else -1
    if known.min() < 0 or known.max() == 0:
        within = known[_inside(sign * known, reach, 0.0)]
        return float(within.min()), float(within.max()), False
    above = known[known > 0]
    within = above[_inside(sign * np.log(above), reach, np.log(times))]
    low, log = float(within.min()), spans_decades(within)
    return low if log or known.min() > 0 else 0.0, float(within.max()), log


def _inside(badness: np.ndarray, reach: float, away: float) -> np.ndarray:
    """Whether each value [n] is no outlier."""
    quartiles = np.quantile(badness, [0.25, 0.75])
    fence = quartiles[1] + max(reach * (quartiles[1] - quartiles[0]), away)
    fence = max(fence, float(np.quantile(badness, KEPT, method="lower")))
    inside: np.ndarray = badness <= fence
    return inside
