"""How much each option matters: over all that was tried, and among the best tenth."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from descent.analysis.trials import short
from descent.errors import joined
from descent.report.style import BLUE, ORANGE, Picture, new_figure, share
from descent.report.sweep.marks import add_legend, clipped

LONGEST = 40  # characters of an option's name
MOST_BARS = 20


def importance_bars(overall: Mapping[str, float], best: Mapping[str, float]) -> Picture | None:
    """Draw a bar for each option and question; None for less than two options, or without any.

    Args:
        overall: share of the variance of ranks by option, of `influence`.
        best: share of what sets the best tenth apart, of `among_best`; empty if unknown.
    """
    if len(overall) < 2 or not any(overall.values()):
        return None
    keys = sorted(overall, key=lambda key: -overall[key])[:MOST_BARS]
    figure = new_figure(1.4 + 0.5 * len(keys))
    axes = figure.add_subplot()
    places = np.arange(len(keys))
    high = 0.38 if best else 0.6
    axes.barh(
        places - high / 2 * bool(best), [100 * overall[k] for k in keys], high, color=BLUE,
        label="all settings: share of the variance of ranks it has a part in", gid="all",
    )  # fmt: skip
    if best:
        axes.barh(
            places + high / 2, [100 * best.get(k, 0.0) for k in keys], high, color=ORANGE,
            label="best tenth: share of what sets it apart", hatch="//", edgecolor="white",
            gid="best tenth",
        )  # fmt: skip
    axes.set_yticks(places, [clipped(key, LONGEST) for key in keys])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlim(left=0)
    axes.set_xlabel("%")
    add_legend(figure)
    return Picture("importance", "Which options matter", figure, _caption(keys, overall, best))


def _caption(keys: list[str], overall: Mapping[str, float], best: Mapping[str, float]) -> str:
    told = joined([f"{short(key)} {share(round(overall[key], 2))}" for key in keys])
    words = f"Over all settings, the share of the variance of ranks an option has a part in: {told}"
    words += " (interactions count for each, so they may add to more than 100%)."
    if not best:
        return words
    known = [key for key in keys if best.get(key)]
    known.sort(key=lambda key: -best[key])
    told = joined([f"{short(key)} {share(round(best[key], 2))}" for key in known])
    return f"{words} Of what sets the best tenth of the settings apart beyond chance: {told}."
