"""The gradient's norm and whatever diagnostics the run measured, one small panel each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from descent.records.tables import column
from descent.report.record import Axis, Record, show
from descent.report.style import (
    BLACK,
    GREY,
    MOST_STYLED,
    WIDTH,
    Picture,
    Stroke,
    drawable,
    fit_to,
    legend_below,
    new_figure,
    shown,
    spans_decades,
    stroke,
    thinned,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PREFIX = "diagnostics/"
GRADIENT = "grad_norm"
TITLES = {
    GRADIENT: "gradient norm |g|",
    "noise_scale": "gradient noise scale (rows)",
    "sharpness": "sharpness (largest curvature)",
    "stability": "sharpness / largest stable at the lr",
    "preconditioned_sharpness": "largest curvature of P⁻¹H",
    "distance": "distance to the optimum",
    "excess_loss": "full loss above the optimum's",
    "step_noise": "noise of the step loss (std)",
    "weights_l1": "sum of |w|",
    "weights_l2": "2-norm of the weights",
    "near_zero": "share of weights near zero",
}
TOLD = 4  # diagnostics in the sentence
MOST_POINTS = 1000


def diagnostics(records: Sequence[Record], x: Axis) -> Picture | None:
    """Draw a panel for each measured quantity; None if nothing was measured."""
    names = [n for n in _names(records) if any(_known(record, n) for record in records)]
    if not names:
        return None
    columns = 1 if len(names) == 1 else 2
    rows = -(-len(names) // columns)
    figure = new_figure(1.0 + 2.4 * rows, WIDTH)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    for axes, name in zip(panels, names, strict=False):
        for k, record in enumerate(records):
            _line(axes, record, name, x, k, len(records) == 1)
        _limits(axes, records, name)
        title = TITLES.get(name.removeprefix(PREFIX), name.removeprefix(PREFIX).replace("_", " "))
        axes.set_title(title, fontsize=10)
        if spans_decades(np.concatenate([np.ravel(line.get_ydata()) for line in axes.lines])):
            axes.set_yscale("log")
        fine = [column(_table(r, name), name) for r in records if r.diverged_at is None]
        if 0 < len(fine) < len(records):
            fit_to(axes, fine)
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    for axes in panels[max(0, len(names) - columns) : len(names)]:
        show(axes, x)
        axes.tick_params(labelbottom=True)
    if len(records) > 1:
        legend_below(figure)
    return Picture("diagnostics", "Diagnostics", figure, _told(records, names))


def _names(records: Sequence[Record]) -> list[str]:
    found = dict.fromkeys(name for r in records for name in r.epochs if name.startswith(PREFIX))
    return [GRADIENT, *found]


def _known(record: Record, name: str) -> bool:
    values = drawable(column(_table(record, name), name))
    return int(np.isfinite(values).sum()) > 1


def _table(record: Record, name: str) -> dict[str, np.ndarray]:
    return record.steps if name == GRADIENT else record.epochs


def _line(axes: Axes, record: Record, name: str, x: Axis, k: int, alone: bool) -> None:
    table = _table(record, name)
    values = drawable(column(table, name))
    known = np.flatnonzero(np.isfinite(values))
    keep = known[thinned(len(known), MOST_POINTS)] if len(known) else known
    style = stroke(k) if k < MOST_STYLED else Stroke(GREY, "-", "")
    every = max(1, len(keep) // 10)
    label = record.label if k < MOST_STYLED and not alone else None
    at = record.at(x, column(table, "step")[keep])
    axes.plot(at, values[keep], **style.line, markevery=every, markersize=3.5, label=label)


def _limits(axes: Axes, records: Sequence[Record], name: str) -> None:
    """Draw where theory sees the end of stable descent."""
    if name == PREFIX + "stability":
        axes.axhline(1, color=BLACK, linestyle=":", linewidth=1.2)
        axes.annotate("unstable above 1", (0.98, 1), **_BESIDE)
        axes.margins(y=0.15)
    limits = {limit for r in records if (limit := stable_below(r)) is not None}
    if name == PREFIX + "sharpness" and len(limits) == 1:
        limit = limits.pop()
        axes.axhline(limit, color=BLACK, linestyle=":", linewidth=1.2)
        axes.annotate(f"2/lr = {shown(limit)}", (0.98, limit), **_BESIDE)
        axes.margins(y=0.15)


_BESIDE: dict[str, Any] = {
    "xycoords": ("axes fraction", "data"), "xytext": (0, 3), "textcoords": "offset points",
    "ha": "right", "fontsize": 8,
}  # fmt: skip


def stable_below(record: Record) -> float | None:
    """Return 2/lr, the curvature up to which plain descent is stable; None for anything else."""
    options = record.config["optimizer"]
    plain = str(options.get("_target_", "")).endswith(".SGD") and not options.get("momentum")
    rates = column(record.steps, "lr")
    rates = rates[np.isfinite(rates)]
    if not plain or not len(rates) or rates.min() != rates.max() or rates[0] <= 0:
        return None
    return 2 / float(rates[0])


def _told(records: Sequence[Record], names: Sequence[str]) -> str:
    if len(records) > 1:
        name = names[-1] if names[0] == GRADIENT and len(names) > 1 else names[0]
        ends = [(_end(r, name), r.label) for r in records if _known(r, name)]
        low, high = min(ends), max(ends)
        what = TITLES.get(name.removeprefix(PREFIX), name.removeprefix(PREFIX).replace("_", " "))
        text = f"At the end {what} is lowest for {low[1]}, {shown(low[0])}"
        return text + (f", and highest for {high[1]}, {shown(high[0])}." if high != low else ".")
    told = []
    for name in names[:TOLD]:
        values = drawable(column(_table(records[0], name), name))
        values = values[np.isfinite(values)]
        what = TITLES.get(name.removeprefix(PREFIX), name.removeprefix(PREFIX).replace("_", " "))
        verb = "falls" if values[-1] < values[0] else "rises"
        span = f"{verb} from {shown(values[0])} to {shown(values[-1])}"
        if shown(values[0]) == shown(values[-1]):
            span = f"ends where it began, at {shown(values[-1])}"
        told.append(f"{what} {span}")
    text = "; ".join(told) + "."
    return text[0].upper() + text[1:]


def _end(record: Record, name: str) -> float:
    values = drawable(column(_table(record, name), name))
    return float(values[np.isfinite(values)][-1])
