"""Step, running, full and validation loss over training; of several runs, one loss of each."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from descent.data.arrays import Task
from descent.errors import counted
from descent.files.atomic import replacing
from descent.records.endings import Reason, Status, ended_by
from descent.records.tables import FULL_LOSS, RUNNING_LOSS, VAL_LOSS, column, read_table
from descent.report.record import Axis, Curve, Record, show
from descent.report.style import (
    BLACK,
    BLUE,
    GREY,
    MOST_STYLED,
    VERMILION,
    Picture,
    drawable,
    legend_below,
    look,
    new_figure,
    shown,
    spans_decades,
    stroke,
    thinned,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CLOUD, RUNNING, FULL, VALIDATION = GREY, BLUE, BLACK, VERMILION
MOST_POINTS = 4000  # of the step cloud; more would only overlap
MOST_LINE = 2000  # of a line
MARKED = 20  # points of a line that get a marker
RUNAWAY = 100.0  # beside others, a run is drawn up to this many times the highest start
DEEPEST = 1e-12  # a loss is drawn down to this share of the highest start: below it is rounding

TITLE_WIDTH, NOTE_WIDTH = 100, 105  # characters a line

VALIDATION_LOSS = "validation loss"
STEP_LABEL = "step loss (one mini-batch)"
LINES = (
    ("running", "running loss (mean over the epoch's steps)", RUNNING, "-", "o"),
    ("full", "full loss (all training rows)", FULL, "--", "s"),
    ("val", "validation loss", VALIDATION, "-.", "^"),
)


def draw_run(run_dir: Path, result: Mapping[str, Any]) -> Path:
    """Draw the losses of a run that has just ended, under what was typed; return the picture."""
    title = f"{result['name']}: {' '.join(result['overrides']) or 'default config'}"
    if result["status"] != Status.DIVERGED:
        return draw_curves(run_dir, title)
    return draw_curves(run_dir, title, result["reason"], result["step"])


def draw_curves(
    run_dir: Path, title: str, note: str | None = None, diverged_at: int | None = None
) -> Path:
    """Draw a run's losses from its tables, at the end of training.

    Args:
        run_dir: holds steps.csv and epochs.csv.
        title: what was trained.
        note: shown in the picture, such as why the run diverged.
        diverged_at: the step to mark as the one that lost the loss.

    Returns:
        The path of curves.png.
    """
    steps, epochs = (read_table(run_dir / f"{name}.csv") for name in ("steps", "epochs"))
    curves = {
        name: Curve(column(epochs, "step"), column(epochs, key))
        for name, key in (("running", RUNNING_LOSS), ("full", FULL_LOSS), ("val", VAL_LOSS))
    }
    with look():
        figure = new_figure()
        axes = figure.add_subplot()
        _draw_one(axes, Curve(column(steps, "step"), column(steps, "loss")), curves)
        if diverged_at is not None:
            _mark(axes, diverged_at)
        _finish(axes, Axis.STEP, "loss", title, note)
        legend_below(figure)
        path = run_dir / "curves.png"
        with replacing(path) as file:
            figure.savefig(file, dpi=120, format="png")
    return path


def losses(records: Sequence[Record], x: Axis) -> Picture | None:
    """Draw the losses of one run, or one loss of each of several; None if none was recorded.

    An exact zero, or what lies below `DEEPEST`, is drawn on the lower edge; the caption says so.
    """
    if not any(len(t.get("step", ())) for r in records for t in (r.steps, r.epochs)):
        return None
    figure = new_figure()
    axes = figure.add_subplot()
    alone = len(records) == 1
    caption = (
        _one(axes, records[0], x) if alone else _several(axes, records, x, shared_loss(records))
    )
    legend_below(figure)
    title = "Losses over training" if alone else "The runs' losses over training"
    return Picture("curves", title, figure, caption)


def validation(records: Sequence[Record], x: Axis) -> Picture | None:
    """Draw the validation loss of several runs, each with its lowest; None if none was recorded."""
    records = [record for record in records if len(record.val_loss.known().step)]
    if not records:
        return None
    figure = new_figure()
    axes = figure.add_subplot()
    caption = _several(axes, records, x, VALIDATION_LOSS)
    lows = []
    for k, record in enumerate(records):
        curve = record.val_loss.known()
        low = int(np.argmin(curve.value))
        at = record.at(x, curve.step[low : low + 1])
        axes.plot(
            at, curve.value[low : low + 1], "*", color=stroke(k).colour, label="_lowest",
            markersize=16 - 3 * (k % 3), markeredgecolor="white", zorder=6 + k,
        )  # fmt: skip
        lows.append(f"{shown(curve.value[low])} at step {curve.step[low]:,.0f} ({record.label})")
    legend_below(figure)
    told = f"{caption} The stars mark the lowest of each: {', '.join(lows)}."
    return Picture("validation", "The validation loss over training", figure, told)


USUAL = "Usual"
# By the class that conf/loss names.
LOSSES = {
    "MSE": "mean squared error", "HalfMSE": "half the mean squared error",
    "MAE": "mean absolute error", "Huber": "Huber loss", "Quantile": "pinball loss",
    "CrossEntropy": "cross-entropy, nats", "Focal": "focal loss",
    "Height": "height of the landscape",
}  # fmt: skip


def unit(record: Record) -> str:
    """Return what a run's training loss is, for the axis."""
    usual = {
        Task.REGRESSION: "MSE",
        Task.BINARY: "CrossEntropy",
        Task.MULTICLASS: "CrossEntropy",
        Task.LANDSCAPE: "Height",
    }
    target = str((record.config.get("loss") or {}).get("_target_", USUAL)).rsplit(".", 1)[-1]
    name = usual[record.data.task] if target == USUAL else target
    word = LOSSES.get(name, name)
    weighted = "weighted " if record.data.weighted else ""
    return f"loss ({weighted}{word}{' + penalty' if any(record.penalties) else ''})"


# ---- one run


def _one(axes: Axes, record: Record, x: Axis) -> str:
    kinds = (record.step_loss, record.running_loss, record.full_loss, record.val_loss)
    floor = _floor([curve.known().value for curve in kinds])

    def moved(curve: Curve) -> Curve:
        return Curve(record.at(x, curve.step), _raised(curve.value, floor))

    curves = {
        "running": moved(record.running_loss),
        "full": moved(record.full_loss),
        "val": moved(record.val_loss),
    }
    _draw_one(axes, moved(record.step_loss), curves)
    note = None
    if record.diverged_at is not None:
        _mark(axes, float(record.at(x, np.array([record.diverged_at]))[0]))
        note = record.result["reason"]
    _finish(axes, x, unit(record), "", note)
    return "; ".join([*_told(record), *_floor_told(floor)]) + "."


def _draw_one(axes: Axes, cloud: Curve, curves: dict[str, Curve]) -> None:
    thin = slice(None, None, max(1, -(-len(cloud.step) // MOST_POINTS)))
    x, y = cloud.step[thin], drawable(cloud.value[thin])
    size = 3 if len(x) > 1000 else 5 if len(x) > 100 else 9
    axes.plot(
        x, y, ".", color=CLOUD, markersize=size, alpha=0.7, markeredgewidth=0, label=STEP_LABEL,
        rasterized=len(x) > 1000,
    )  # fmt: skip
    for name, label, colour, dash, marker in LINES:
        curve = Curve(curves[name].step, drawable(curves[name].value)).known()
        if len(curve.step):
            keep = thinned(len(curve.step), MOST_LINE)
            every = max(1, len(keep) // MARKED)
            axes.plot(
                curve.step[keep], curve.value[keep], color=colour, linestyle=dash, marker=marker,
                markersize=4, linewidth=1.4, markevery=every, label=label,
            )  # fmt: skip


def _told(record: Record) -> list[str]:
    name, curve = record.main_loss
    step = int(record.result.get("step") or 0)
    if not len(curve.step):
        told = [f"No finite loss was recorded in {counted(step, 'step')}"]
    elif len(curve.step) == 1:
        told = [f"The {name} was {shown(curve.value[0])} at step {curve.step[0]:,.0f}"]
    else:
        start, end = curve.value[0], curve.value[-1]
        verb = "fell" if end < start else "rose" if end > start else "stayed"
        span = f"from {shown(start)} to {shown(end)}" if end != start else f"at {shown(end)}"
        taken = counted(int(curve.step[-1] - curve.step[0]), "step")
        told = [f"The {name} {verb} {span} in {taken}"]
    val = record.val_loss.known()
    if len(val.step):
        low = int(np.argmin(val.value))
        where = "at the end" if low == len(val.step) - 1 else f"at step {val.step[low]:,.0f}"
        told.append(f"the validation loss was lowest, {shown(val.value[low])}, {where}")
        if low < len(val.step) - 1:
            told[-1] += f", and {shown(val.value[-1])} at the end"
    if record.diverged_at is not None:
        told.append(f"the run diverged at step {record.diverged_at:,}, marked by the cross")
    return told


# ---- several runs


def _several(axes: Axes, records: Sequence[Record], x: Axis, name: str) -> str:
    kinds = [{**record.losses, VALIDATION_LOSS: record.val_loss} for record in records]
    curves = [kind[name].known() for kind in kinds]
    floor = _floor([curve.value for curve in curves])
    ends = [_end(record, curve) for record, curve in zip(records, curves, strict=True)]
    order = sorted(range(len(records)), key=lambda i: ends[i])
    styled = order[:MOST_STYLED]
    ceiling = RUNAWAY * max((c.value[0] for c in curves if len(c.value)), default=np.inf)
    grey, drawn = [i for i in order if i not in styled], sorted(styled)
    for i in grey:
        where = records[i].at(x, curves[i].step)
        label = f"{len(grey)} others" if i == grey[0] else None
        axes.plot(where, _raised(curves[i].value, floor), color=GREY, linewidth=0.8, label=label)
    for k, i in enumerate(drawn):
        at = records[i].at(x, curves[i].step)
        _line(axes, records[i], Curve(at, _raised(curves[i].value, floor)), x, k)
    tall = [records[i].label for i in order if (curves[i].value > ceiling).any()]
    _finish(axes, x, unit(records[0]).replace("loss", name, 1), "", None)
    if tall and ceiling > 0:
        low = axes.get_ylim()[0]
        axes.set_ylim(low if low < ceiling else None, ceiling)
    told = [_compared(records, name, ends, order, tall), *_floor_told(floor)]
    return "; ".join(told) + "."


def shared_loss(records: Sequence[Record]) -> str:
    """Return the loss by which runs are compared: the first of full, running, step they share."""
    for name in ("full loss", "running loss"):
        if all(np.isfinite(record.losses[name].value).any() for record in records):
            return name
    return "step loss" if any(len(r.step_loss.step) for r in records) else "full loss"


def _end(record: Record, curve: Curve) -> float:
    """Return the last loss; a diverged run's is infinite, whatever it reached before."""
    lost = record.diverged_at is not None or not len(curve.value)
    return np.inf if lost else float(curve.value[-1])


def _line(axes: Axes, record: Record, curve: Curve, x: Axis, k: int) -> None:
    keep = thinned(len(curve.step), MOST_LINE)
    # markers of different runs shifted against each other, so that lines on top of each other show
    every = max(1, len(keep) // 12)
    at, y = curve.step[keep], drawable(curve.value[keep])
    axes.plot(
        at, y, **stroke(k).line, markevery=(k * every // 8 % every, every), label=record.label,
        markerfacecolor="white", markeredgewidth=1.2,
        zorder=2 + 1 / (1 + len(curve.step)),  # a shorter run lies on a longer one
    )  # fmt: skip
    if record.diverged_at is not None:
        _mark(axes, float(record.at(x, np.array([record.diverged_at]))[0]), stroke(k).colour)


def _compared(
    records: Sequence[Record], name: str, ends: list[float], order: list[int], tall: list[str]
) -> str:
    fine = [i for i in order if np.isfinite(ends[i])]
    told = []
    quickest = _quickest(records, fine)
    if quickest:  # of those that stop at a target the lowest is who overshot it furthest
        told += quickest
    elif fine:
        best, worst = fine[0], fine[-1]
        steps = [counted(int(records[i].result.get("step") or 0), "step") for i in (best, worst)]
        told.append(
            f"The lowest final {name} is {shown(ends[best])} ({records[best].label}) after "
            f"{steps[0]}"
        )
        if worst != best:
            told.append(
                f"the highest is {shown(ends[worst])} ({records[worst].label}) after {steps[1]}"
            )
    else:
        told.append("No run ended with a finite loss")
    lost = [r for r in records if r.diverged_at is not None]
    if lost:
        words = [f"{r.label} at step {r.diverged_at:,}" for r in lost[:3]]
        more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
        told.append(f"diverged, at the crosses on the upper edge: {', '.join(words)}{more}")
    if tall:
        told.append(f"the picture ends at {RUNAWAY:g} times the highest start")
    return "; ".join(told)


def _quickest(records: Sequence[Record], fine: list[int]) -> list[str]:
    """Return who reached a target first, where all that ended well were ended by one."""
    hit = [records[i] for i in fine if ended_by(records[i].result, Reason.TARGET)]
    if len(hit) < max(2, len(fine)):
        return []
    hit.sort(key=lambda record: int(record.result["step"]))
    quick, slow = hit[0], hit[-1]
    return [
        f"To its target {quick.label} took the fewest steps, {quick.result['step']:,}, and "
        f"{slow.label} the most, {slow.result['step']:,}"
    ]


# ---- both


def _floor(values: Sequence[np.ndarray]) -> float | None:
    """Return the least loss that is drawn where it lies; None where all are.

    On a linear axis a zero beside huge losses hides all others, and a log axis has no zero.
    """
    known = np.concatenate([np.zeros(0), *(v[np.isfinite(v)] for v in values)])
    starts = [float(v[0]) for v in values if len(v) and np.isfinite(v[0])]
    positive = known[known > 0]
    if not len(positive) or known.min() < 0:
        return None
    floor = max(float(positive.min()), DEEPEST * max(starts))
    few = known.min() >= floor or not spans_decades(np.maximum(known, floor))
    return None if few else floor


def _raised(values: np.ndarray, floor: float | None) -> np.ndarray:
    """Return losses as they are drawn: those below the floor on it."""
    fine = drawable(values)
    return fine if floor is None else np.where(fine < floor, floor, fine)


def _floor_told(floor: float | None) -> list[str]:
    if floor is None:
        return []
    return [f"a loss below {shown(floor)}, such as exactly 0, is drawn on the lower edge"]


def _mark(axes: Axes, at: float, colour: str = VERMILION) -> None:
    """Mark a divergence: a line through the step, a cross on the upper edge."""
    axes.axvline(at, color=colour, linestyle=(0, (2, 2)), linewidth=1, zorder=1.5)
    axes.plot(
        [at], [1], "X", color=colour, markersize=9, clip_on=False, zorder=5,
        transform=axes.get_xaxis_transform(),
        markeredgecolor="white", label="_diverged",
    )  # fmt: skip


def _finish(axes: Axes, x: Axis, y: str, title: str, note: str | None) -> None:
    data = [line for line in axes.lines if line.get_transform() == axes.transData]
    drawn = [np.asarray(line.get_ydata(), dtype=float) for line in data]
    if drawn and spans_decades(np.concatenate(drawn)):
        axes.set_yscale("log")
    show(axes, x)
    axes.set_ylabel(y)
    if title:
        axes.figure.suptitle(textwrap.fill(title, TITLE_WIDTH), fontsize=10)
    if note:
        # the layout knows the text, not the frame around it: so more room at the edges
        figure = axes.get_figure(root=True)
        assert figure is not None
        figure.set_layout_engine("constrained", h_pad=0.12)
        frame = {"facecolor": "white", "edgecolor": VERMILION, "linewidth": 1.5}
        axes.set_title(textwrap.fill(note, NOTE_WIDTH), fontsize=8, pad=12, bbox=frame)
