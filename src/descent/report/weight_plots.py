"""Parameters over training: one line each while a reader can follow them, quantiles beyond."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from descent.errors import counted, joined
from descent.report.record import Axis, Record, show
from descent.report.style import (
    BLACK,
    BLUE,
    GREY,
    MOST_STYLED,
    Picture,
    Stroke,
    drawable,
    fit_to,
    legend_below,
    new_figure,
    shown,
    stroke,
    thinned,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_LINES = 12  # parameters that get a line of their own
MOST_PANELS = 6  # parameters that get a panel with a line a run
MOST_POINTS = 1000
NEAR_ZERO = 0.01  # as the diagnostic of the weights has it
TOLD = 3  # parameters named in the sentence
BANDS = ((0.0, 1.0, 0.15), (0.1, 0.9, 0.3), (0.25, 0.75, 0.5))


def weights(records: Sequence[Record], x: Axis) -> Picture | None:
    """Draw the parameters of one run, or compare those of several; None if no path was recorded."""
    records = [r for r in records if r.path is not None and len(r.path.steps) > 1]
    if not records:
        return None
    if len(records) == 1:
        return _one(records[0], x)
    shapes = {tuple(r.path.shapes.items()) for r in records if r.path is not None}
    if len(shapes) == 1 and len(records[0].parameters) <= MOST_PANELS:
        return _panels(records, x)
    return _distances(records, x)


def last_weights(records: Sequence[Record]) -> Picture | None:
    """Draw where each parameter of several runs ended; None where they are too many, or unknown."""
    records = [r for r in records if r.path is not None and len(r.path.steps)]
    shapes = {tuple(r.path.shapes.items()) for r in records if r.path is not None}
    if len(shapes) != 1 or not 1 < len(records[0].parameters) <= MOST_LINES:
        return None
    figure = new_figure()
    axes = figure.add_subplot()
    at = np.arange(len(records[0].parameters))
    apart = 0.7 / len(records)
    told = []
    axes.axhline(0, color=GREY, linewidth=1)
    for k, record in enumerate(records):
        assert record.path is not None
        theta, how = drawable(record.path.theta[-1]), stroke(k)
        x = at + (k - (len(records) - 1) / 2) * apart
        axes.vlines(x, 0, theta, color=how.colour, linewidth=1.2)
        axes.plot(x, theta, how.marker, color=how.colour, label=record.label, markersize=5)
        named = [(v, n) for v, n in zip(theta, record.parameters, strict=True) if n != "bias"]
        small = sum(abs(v) < NEAR_ZERO for v, _ in named)
        largest, name = max(named, key=lambda one: abs(one[0]))
        told.append(
            f"{record.label}: {small} of {len(named)} are smaller than {NEAR_ZERO:g} in size, the "
            f"largest is {name} = {shown(largest)}"
        )
    axes.set_xticks(at, records[0].parameters, rotation=30, ha="right")
    axes.set_ylabel("parameter at the end")
    legend_below(figure)
    return Picture("last_weights", "The parameters at the end", figure, f"{'; '.join(told)}.")


def _one(record: Record, x: Axis) -> Picture:
    at, theta = _thin(record, x)
    names = record.parameters
    figure = new_figure()
    axes = figure.add_subplot()
    if len(names) <= MOST_LINES:
        caption = _lines(axes, at, theta, names)
    else:
        caption = _bands(axes, at, theta, names)
    show(axes, x)
    axes.set_ylabel("parameter value" if record.landscape is None else "coordinate")
    legend_below(figure)
    return Picture("weights", "The parameters over training", figure, caption)


def _thin(record: Record, x: Axis) -> tuple[np.ndarray, np.ndarray]:
    """Return positions on the axis [n] and the parameters there [n, P]."""
    assert record.path is not None
    keep = thinned(len(record.path.steps), MOST_POINTS)
    return record.at(x, record.path.steps[keep]), drawable(record.path.theta[keep])


def _lines(axes: Axes, at: np.ndarray, theta: np.ndarray, names: Sequence[str]) -> str:
    for i, name in enumerate(names):
        every = max(1, len(at) // 12)
        begin = (i * every) // len(names)
        axes.plot(at, theta[:, i], **stroke(i).line, markevery=(begin, every), label=name)
    moves = np.abs(theta[-1] - theta[0])
    largest = np.argsort(-np.nan_to_num(moves, nan=np.inf))[:TOLD]
    told = [
        f"{names[i]} goes from {shown(theta[0, i])} to {shown(theta[-1, i])}"
        for i in sorted(largest)
    ]
    most = " (the ones that move most)" if len(names) > TOLD else ""
    return f"{joined(told)}{most}."


def _bands(axes: Axes, at: np.ndarray, theta: np.ndarray, names: Sequence[str]) -> str:
    with np.errstate(all="ignore"):
        fine = np.isfinite(theta).all(axis=1)
    at, theta = at[fine], theta[fine]
    if not len(at):
        return f"None of the {len(names):,} parameters was finite at any recorded step."
    for low, high, alpha in BANDS:
        edges = np.quantile(theta, [low, high], axis=1)
        label = "all" if low == 0 else f"the middle {100 * (high - low):.0f}%"
        axes.fill_between(at, *edges, color=BLUE, alpha=alpha, linewidth=0, label=label)
    axes.plot(at, np.median(theta, axis=1), color=BLACK, label="median")
    first, last = (np.quantile(row, [0.25, 0.75]) for row in (theta[0], theta[-1]))
    i = int(np.argmax(np.abs(theta[-1])))
    return (
        f"The middle half of the {len(names):,} parameters lies between {shown(first[0])} and "
        f"{shown(first[1])} at the start and between {shown(last[0])} and {shown(last[1])} at the "
        f"end, where the largest in size is {names[i]} = {shown(theta[-1, i])}."
    )


def _panels(records: Sequence[Record], x: Axis) -> Picture:
    names = records[0].parameters
    figure = new_figure(1.2 + 2.1 * len(names))
    panels = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    lost = [r for r in records if r.diverged_at is not None]
    for k, record in enumerate(records):
        at, theta = _thin(record, x)
        for i, axes in enumerate(panels):
            _line(axes, at, theta[:, i], k, record.label)
    for i, (axes, name) in enumerate(zip(panels, names, strict=True)):
        axes.set_ylabel(name)
        if lost and len(lost) < len(records):
            fine = [_thin(r, x)[1][:, i] for r in records if r.diverged_at is None]
            fit_to(axes, fine)
    show(panels[-1], x)
    legend_below(figure, panels[0])
    ends = [
        f"{r.label} ends at "
        + ", ".join(f"{n} = {shown(v)}" for n, v in zip(names, _thin(r, x)[1][-1], strict=True))
        for r in records[:TOLD]
    ]
    more = f"; {counted(len(records) - TOLD, 'more run')} beside" if len(records) > TOLD else ""
    more += "; runs that diverged leave the picture" if lost and len(lost) < len(records) else ""
    return Picture("weights", "The parameters over training", figure, f"{'; '.join(ends)}{more}.")


def _line(axes: Axes, at: np.ndarray, y: np.ndarray, k: int, label: str) -> None:
    style = stroke(k) if k < MOST_STYLED else Stroke(GREY, "-", "")
    every = max(1, len(at) // 12)
    axes.plot(
        at, y, **style.line, markevery=(k * every // 8 % every, every), markersize=3.5,
        label=label if k < MOST_STYLED else None,
    )  # fmt: skip


def _distances(records: Sequence[Record], x: Axis) -> Picture:
    figure = new_figure()
    axes = figure.add_subplot()
    ends, fine = [], []
    for k, record in enumerate(records):
        at, theta = _thin(record, x)
        away = np.linalg.norm(theta - theta[0], axis=1)
        _line(axes, at, away, k, record.label)
        ends.append(float(away[-1]))
        fine += [away] if record.diverged_at is None else []
    show(axes, x)
    axes.set_ylabel("distance from the start, |θ − θ₀|")
    legend_below(figure)
    if 0 < len(fine) < len(records):
        fit_to(axes, fine)
    order = np.argsort(np.nan_to_num(ends, nan=np.inf))
    near, far = int(order[0]), int(order[-1])
    caption = (
        f"{records[far].label} ends farthest from where it began, {shown(ends[far])}, "
        f"{records[near].label} nearest, {shown(ends[near])}."
    )
    return Picture("weights", "How far the parameters moved", figure, caption)
