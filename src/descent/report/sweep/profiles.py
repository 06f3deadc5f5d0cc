"""Performance profiles: on how many problems each contender is within how much of the best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from descent.analysis.performance import ALGOPERF, Profile, algoperf
from descent.errors import counted, joined
from descent.report.style import (
    GREY,
    MOST_STYLED,
    Picture,
    Stroke,
    new_figure,
    share,
    stroke,
)
from descent.report.sweep.marks import add_legend, clipped

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LONGEST = 40  # characters of a contender's name
WIDEST, NARROWEST = 3.6, 1.4  # points: the first lines lie under the later ones and stay seen
TWICE = 2.0
MOST_SCORES = 8  # in the caption


def performance(profile: Profile, places: Mapping[str, int] | None = None) -> Picture | None:
    """Draw the share of problems over the factor to the best; None if nobody solved any.

    Source:
        Dolan and Moré, Benchmarking optimization software with performance profiles,
        Mathematical Programming 91 (2002).
    """
    if not np.isfinite(profile.cost).any():
        return None
    figure = new_figure(4.6)
    axes = figure.add_subplot()
    end = max(TWICE, 1.08 * float(profile.tau[-1]))
    tau = np.append(profile.tau, end)
    order = sorted(range(len(profile.labels)), key=lambda i: -profile.share[i].mean())
    styled = sorted(order[:MOST_STYLED])
    for i in order[MOST_STYLED:]:
        label = f"{len(order) - MOST_STYLED} others" if i == order[MOST_STYLED] else None
        _draw(axes, tau, profile.share[i], Stroke(GREY, "-", ""), 0.8, label)
    for k, i in enumerate(styled):
        wide = WIDEST - (WIDEST - NARROWEST) * k / max(1, len(styled) - 1)
        place = (places or {}).get(profile.labels[i], k)
        _draw(axes, tau, profile.share[i], stroke(place), wide, clipped(profile.labels[i], LONGEST))
    axes.set_xscale("log", base=2)
    axes.set_xlim(1, end)
    _tick(axes, end)
    axes.set_ylim(-0.03, 1.03)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}%")
    axes.set_xlabel(f"factor τ: at most τ times the fewest {profile.unit} to the target")
    axes.set_ylabel(f"share of the {counted(len(profile.problems), 'problem')}")
    add_legend(figure)
    title = "Performance profile over problems"
    return Picture("performance", title, figure, _caption(profile))


def _draw(
    axes: Axes, tau: np.ndarray, shares: np.ndarray, style: Stroke, wide: float, label: str | None
) -> None:
    y = np.append(shares, shares[-1])
    axes.step(
        tau, y, where="post", color=style.colour, linestyle=style.dash, linewidth=wide, label=label,
        solid_capstyle="butt", dash_capstyle="butt",
    )  # fmt: skip


def _tick(axes: Axes, end: float) -> None:
    """Write 1, 2, 4 and so on, or halves of them where little is shown."""
    exponents = np.arange(0, np.log2(end) + 1e-9, 0.5 if end < 4 else 1)
    exponents = exponents[:: -(-len(exponents) // 10)]
    axes.set_xticks(2**exponents, [f"{2**e:.2g}" for e in exponents])
    axes.minorticks_off()


def _caption(profile: Profile) -> str:
    at_two = int(np.searchsorted(profile.tau, TWICE, side="right")) - 1
    most = [_most(profile, at) for at in (0, at_two)]
    many = counted(len(profile.problems), "problem")
    told = [
        f"Fewest {profile.unit} to the target most often: {most[0]} of {many}",
        f"within twice the fewest most often: {most[1]}",
    ]
    scores = algoperf(profile)
    order = sorted(range(len(scores)), key=lambda i: -scores[i])[:MOST_SCORES]
    ranked = joined([f"{profile.labels[i]} {scores[i]:.2f}" for i in order])
    told.append(f"AlgoPerf score, the mean share over factors from 1 to {ALGOPERF:.0f}: {ranked}")
    missed = [
        f"{label} on {np.isinf(costs).sum()}"
        for label, costs in zip(profile.labels, profile.cost, strict=True)
        if np.isinf(costs).any()
    ]
    if missed:
        told.append(f"targets missed at every lr: {joined(missed)}")
    return "; ".join(told) + "."


def _most(profile: Profile, at: int) -> str:
    """Return who has the largest share at a factor, and that share."""
    shares = profile.share[:, at]
    leaders = [n for n, s in zip(profile.labels, shares, strict=True) if s == shares.max()]
    return f"{joined(leaders)}, on {share(float(shares.max()))}"
