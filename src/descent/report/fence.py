"""Limits that a few awful values do not stretch."""

from __future__ import annotations

import numpy as np

from descent.report.style import drawable, spans_decades

REACH = 2.0  # quartile ranges beyond the worse quartile; Tukey's fences stand at 1.5 and 3
KEPT = 0.9  # share of the values that the limits hold at least


def fenced(values: np.ndarray, lower: bool, reach: float = REACH) -> tuple[float, float, bool]:
    """Return the best value, the worst one that is no outlier, and whether to use a log scale.

    Outliers are looked for on the worse side only: an exceptionally good value is what the reader
    looks for.

    Args:
        values: any shape; what is not finite is left out.
        lower: whether less is better.
        reach: quartile ranges beyond the worse quartile at which outliers begin.

    Returns:
        The lower limit, the upper limit, and whether all is positive and spans decades.

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
    positive = bool(known.min() > 0)
    badness = np.log(known) if positive else known
    badness = badness if lower else -badness
    quartiles = np.quantile(badness, [0.25, 0.75])
    fence = quartiles[1] + reach * (quartiles[1] - quartiles[0])
    fence = max(fence, float(np.quantile(badness, KEPT, method="lower")))
    within = known[badness <= fence]
    return float(within.min()), float(within.max()), positive and spans_decades(within)
