"""Steps to a target against batch size, with the critical batch size beside the noise scale."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from descent.analysis.critical_batch import Scaling
from descent.analysis.trials import BATCH
from descent.errors import counted, joined
from descent.report.style import (
    BLACK,
    BLUE,
    GREY,
    Picture,
    new_figure,
    stroke,
)
from descent.report.sweep.marks import (
    across_of,
    add_legend,
    axis_title,
    folded,
    short,
    spoken,
    tick_logs,
    value_text,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


MOST_TOLD = 4


def figure(value: float) -> str:
    """Return a batch size or a count of steps with three digits; infinity in words."""
    if math.isinf(value):
        return "beyond any size"
    return f"{value:,.0f}" if 100 <= value < 1e6 else short(f"{value:.3g}")


def caption(scalings: Sequence[Scaling]) -> str:
    """Say what was fitted, how it compares with the noise scale, and where the lr grid ended."""
    targets = joined(list(dict.fromkeys(spoken(one.target) for one in scalings)))
    fitted = [one for one in scalings if math.isfinite(one.critical)]
    told = [_fitted(one, len(scalings) > 1) for one in fitted[:MOST_TOLD]]
    if len(fitted) > MOST_TOLD:
        told.append(f"{len(fitted) - MOST_TOLD} more in the picture")
    sentences = [f"Steps to a full loss of {targets}: {'; '.join(told)}." if told else ""]
    if not told:
        sentences = [f"Steps to a full loss of {targets}; no critical batch size can be told."]
    edge = sum(int((one.at_edge & np.isfinite(one.steps)).sum()) for one in scalings)
    if edge:
        hollow = f"At {counted(edge, 'point')}, drawn hollow,"
        sentences.append(
            f"{hollow} the best lr is the least or largest tried: fewer steps may be possible."
        )
    whose: dict[str, list[str]] = {}
    for one in scalings:
        for text in filter(None, (one.budget, one.note)):
            whose.setdefault(text, []).append(one.label)
    for text, labels in whose.items():
        who = f"{joined(labels)}: " if len(labels) < len(scalings) and all(labels) else ""
        sentences.append(f"{who}{text}")
    if any(one.early for one in scalings):
        sentences.append(
            "Targets were crossed between two records that lie far apart: "
            "callbacks.full_loss.every_n_steps=1 would tell the steps."
        )
    return " ".join(sentence for sentence in sentences if sentence)


def _fitted(one: Scaling, named: bool) -> str:
    low, high = one.interval
    words = f"{one.label} " if named and one.label else ""
    words += f"S_min = {figure(one.least)}, B_crit = {figure(one.critical)}"
    if math.isfinite(low):
        words += f" (95%: {figure(low)} to {figure(high)})"
    if math.isfinite(one.noise_scale):
        words += f" beside a noise scale of {figure(one.noise_scale)}"
    return words


MOST_ACROSS = 3
FARTHEST = 16.0  # times beyond the batch sizes tried: what lies farther is told, not drawn
MOST_TICKS = 8  # of a panel as wide as the picture
POINT: dict[str, Any] = {"marker": "o", "markersize": 7, "linestyle": "none"}
FIT: dict[str, Any] = {"linestyle": "-", "linewidth": 1.8}
PERFECT: dict[str, Any] = {"color": BLACK, "linestyle": (0, (1, 1.5)), "linewidth": 1.3}
CRITICAL: dict[str, Any] = {"color": BLACK, "linestyle": "--", "linewidth": 1.8}
NOISE: dict[str, Any] = {"color": GREY, "linestyle": "-.", "linewidth": 1.8}
MISSED: dict[str, Any] = {"color": GREY, "marker": "X", "markersize": 7, "linestyle": "none"}


def scaling(scalings: Sequence[Scaling], places: Mapping[str, int] | None = None) -> Picture | None:
    """Draw a panel for each optimizer on shared axes; None if none reached a target.

    Args:
        scalings: one a panel.
        places: of the optimizers, which say their colours.
    """
    scalings = [one for one in scalings if np.isfinite(one.steps).any()]
    if not scalings:
        return None
    across = across_of(len(scalings), MOST_ACROSS)
    down = math.ceil(len(scalings) / across)
    canvas = new_figure(1.2 + down * (3.8 if across == 1 else 3.2 if across == 2 else 2.7))
    panels = canvas.subplots(down, across, squeeze=False, sharex=True, sharey=True).ravel()
    low, high = _range(scalings)
    for axes, one in zip(panels, scalings, strict=False):
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(low, high)
        _draw(axes, one, (low, high), _colour(one, places or {}))
    for axes in panels[len(scalings) :]:
        axes.set_axis_off()
    _label(panels, scalings, across)
    _explain(panels[0], scalings, (low, high), GREY if places else BLUE)
    add_legend(canvas)
    title = "Steps to the target against batch size"
    return Picture("scaling", title, canvas, caption(scalings))


def _range(scalings: Sequence[Scaling]) -> tuple[float, float]:
    """Return the limits of the x axis: batch sizes, and B_crit and noise scales not far from them.

    Args:
        scalings: all panels.
    """
    sizes = np.concatenate([one.batch for one in scalings])
    low, high = float(sizes.min()), float(sizes.max())
    beside = [v for one in scalings for v in (one.critical, one.noise_scale)]
    near = [v for v in beside if low / FARTHEST <= v <= high * FARTHEST]
    return min([low, *near]) / 1.5, max([high, *near]) * 1.5


def _colour(one: Scaling, places: Mapping[str, int]) -> str:
    """Return the colour of the optimizer that is named first in a panel's label."""
    place = places.get(one.label.partition(", ")[0])
    return BLUE if place is None else stroke(place).colour


def _draw(axes: Axes, one: Scaling, box: tuple[float, float], colour: str) -> None:
    low, high = box
    x = np.geomspace(low, high, 200)
    first = int(np.flatnonzero(np.isfinite(one.steps))[0])
    start = one.batch[first], one.steps[first]
    axes.plot(x, start[0] * start[1] / x, **PERFECT, gid="perfect", zorder=2)
    if math.isfinite(one.critical):
        ends = np.clip(one.interval, low, high)
        axes.axvspan(*ends, color=GREY, alpha=0.25, linewidth=0, gid="interval", zorder=1)
    if low < one.critical < high:
        axes.axvline(one.critical, **CRITICAL, gid="critical", zorder=2)
    if low < one.noise_scale < high:
        axes.axvline(one.noise_scale, **NOISE, gid="noise", zorder=2)
    if math.isfinite(one.least) and math.isfinite(one.critical):
        axes.plot(x, one.least * (1 + one.critical / x), **FIT, color=colour, gid="fit", zorder=3)
    places = np.repeat(one.batch, [len(dots) for dots in one.dots])
    axes.plot(
        places, np.concatenate(one.dots), "o", color=BLACK, markersize=2.2, gid="seeds", zorder=6,
    )  # fmt: skip
    for edge, face in ((False, colour), (True, "white")):
        keep = (one.at_edge == edge) & np.isfinite(one.steps)
        look = {**POINT, "color": colour, "markerfacecolor": face, "markeredgewidth": 1.5}
        axes.plot(one.batch[keep], one.steps[keep], **look, gid=f"edge {edge}", zorder=5)
    missed = one.batch[~np.isfinite(one.steps)]
    axes.plot(
        missed, np.full(len(missed), 0.94), **MISSED, transform=axes.get_xaxis_transform(),
        gid="missed",
    )  # fmt: skip


def _label(panels: np.ndarray, scalings: Sequence[Scaling], across: int) -> None:
    """Name panels and axes, and put ticks at batch sizes that were tried."""
    sizes = np.unique(np.concatenate([one.batch for one in scalings]))
    every = -(-len(sizes) // max(3, MOST_TICKS // across))
    for i, (axes, one) in enumerate(zip(panels, scalings, strict=False)):
        letters = 100 // across - 2
        title = [folded(text, letters) for text in (one.label, _found(one)) if text]
        axes.set_title("\n".join(title), fontsize=9.5)
        axes.set_xticks(sizes[::every], [value_text(size) for size in sizes[::every].tolist()])
        axes.minorticks_off()
        if i + across >= len(scalings):
            axes.tick_params(labelbottom=True)
            axes.set_xlabel(folded(axis_title(BATCH), letters))
        if i % across == 0:
            axes.set_ylabel(f"steps to full loss {short(f'{one.target:.4g}')}")
    values = np.concatenate([np.concatenate([one.steps, *one.dots]) for one in scalings])
    values = values[np.isfinite(values) & (values > 0)]
    ends = [one.least * (1 + one.critical / sizes[-1]) for one in scalings]
    low = min([values.min(), *(end for end in ends if end > 0)])
    panels[0].set_ylim(0.6 * low, 1.8 * values.max())
    tick_logs(panels[0])


def _found(one: Scaling) -> str:
    """Return what was found, for over the panel."""
    told = []
    low, high = one.interval
    if math.isfinite(one.critical):
        told.append(f"B_crit {figure(one.critical)}")
    elif low > 0 and math.isfinite(high):
        told.append(f"B_crit {figure(low)} to {figure(high)}")
    elif low > 0:
        told.append(f"B_crit above {figure(low)}")
    elif math.isfinite(high):
        told.append(f"B_crit below {figure(high)}")
    if math.isfinite(one.noise_scale):
        told.append(f"noise scale {figure(one.noise_scale)}")
    return ", ".join(told) or "no B_crit"


def _explain(
    axes: Axes, scalings: Sequence[Scaling], box: tuple[float, float], colour: str
) -> None:
    """Put into the legend what occurs in any panel."""
    low, high = box

    def inside(value: float) -> bool:
        return low < value < high

    tried = [(s, e) for one in scalings for s, e in zip(one.steps, one.at_edge, strict=True)]
    axes.plot([], [], **POINT, color=colour, label="mean at the best lr; dots: every seed")
    if any(edge and math.isfinite(steps) for steps, edge in tried):
        look = {**POINT, "markerfacecolor": "white", "markeredgewidth": 1.5}
        axes.plot([], [], **look, color=colour, label="best lr is the least or largest tried")
    if any(math.isfinite(one.critical) for one in scalings):
        axes.plot([], [], **FIT, color=colour, label="fit: S = S_min (1 + B_crit / B)")
    axes.plot([], [], **PERFECT, label="perfect scaling: steps ∝ 1 / B")
    if any(inside(one.critical) for one in scalings):
        axes.plot([], [], **CRITICAL, label="critical batch size B_crit")
    known = [one.interval for one in scalings if math.isfinite(one.critical)]
    if any(ends[0] < high and ends[1] > low for ends in known):
        axes.fill([], [], color=GREY, alpha=0.25, label="its 95% interval")
    if any(inside(one.noise_scale) for one in scalings):
        axes.plot([], [], **NOISE, label="measured gradient noise scale")
    if not all(math.isfinite(steps) for steps, _ in tried):
        axes.plot([], [], **MISSED, label="target missed by some seed at every lr")
