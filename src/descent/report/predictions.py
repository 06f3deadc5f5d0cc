"""Pictures of what a run predicts: how right it is, where it is wrong, and what it looks at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from descent.data.arrays import Column, Task
from descent.errors import UserError, counted, joined
from descent.report.record import Record
from descent.report.style import (
    BLACK,
    BLUE,
    COLOURS,
    GREY,
    MARKERS,
    VERMILION,
    Picture,
    legend_below,
    new_figure,
    share,
    shown,
    stroke,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from descent.report.predicted import Predicted

MOST_TARGETS = 4
MOST_CLASSES = 20  # of a confusion matrix that can still be read
MOST_CURVES = 6
MOST_POINTS = 4000
BINS = 10  # of a reliability diagram
WORST = 8
MOST_SHOWN = 4  # columns beside a wrong row
GRID = 160


def prediction_pictures(
    records: Sequence[Record], trust: Sequence[str], notes: list[str]
) -> list[Picture]:
    """Draw what a run predicts; nothing for several runs, or for a walk on a landscape.

    Args:
        records: the runs of a page.
        trust: packages that a run's config may instantiate from beside ours.
        notes: gets why predictions are not drawn.
    """
    if len(records) != 1 or records[0].data.task is Task.LANDSCAPE:
        return []
    from descent.report.importance import importance
    from descent.report.predicted import predicted

    try:
        found = predicted(records[0], trust)
    except UserError as error:
        notes.append(f"Predictions are not drawn: {str(error).rstrip('.')}.")
        return []
    drawn: list[Picture | None]
    if found.arrays.task is Task.REGRESSION:
        drawn = [against(found), residuals(found)]
    else:
        drawn = [confusion(found), rankings(found), calibration(found)]
    weights, order = importance(found, notes)
    drawn += [boundary(found), worst(found, order), wrong_images(found), weights]
    return [picture for picture in drawn if picture is not None]


# ---- numbers


def against(found: Predicted) -> Picture:
    """Draw predictions over true values, a panel for each target."""
    names, n = found.record.data.target_names[:MOST_TARGETS], len(found.rows)
    figure = new_figure(height=4.8 if len(names) == 1 else 4.2 * ((len(names) + 1) // 2))
    told = []
    for k, name in enumerate(names):
        axes = figure.add_subplot(-(-len(names) // 2), min(len(names), 2), k + 1)
        true, made = found.wanted[:, k], found.outputs[:, k]
        _points(axes, true, made, n)
        ends = [min(true.min(), made.min()), max(true.max(), made.max())]
        axes.plot(ends, ends, "--", color=BLACK, linewidth=1, label="right")
        axes.set(xlabel=f"true {name}", ylabel=f"predicted {name}")
        rmse = np.sqrt(np.square(true - made).mean())
        spread = np.square(true - true.mean()).mean()
        r2 = f", R² {shown(1 - rmse**2 / spread)}" if spread > 0 and n > 1 else ""
        told.append(f"{name}: RMSE {shown(rmse)}{r2}")
    legend_below(figure)
    more = len(found.record.data.target_names) - len(names)
    hidden = f" {counted(more, 'further target')} are not drawn." if more else ""
    caption = f"{found.who}, by the {found.weights} weights; {'; '.join(told)}.{hidden}"
    return Picture("predicted", "Predicted against true", figure, caption)


def _points(axes: Axes, x: np.ndarray, y: np.ndarray, count: int) -> None:
    size, alpha = (10, 0.35) if count > 400 else (18, 0.7)
    keep = slice(None, None, max(1, -(-count // MOST_POINTS)))
    axes.scatter(
        x[keep], y[keep], s=size, alpha=alpha, color=BLUE, edgecolors="none",
        rasterized=count > 1000,
    )  # fmt: skip


def residuals(found: Predicted) -> Picture:
    """Draw the first target's errors over the predictions, and how often each size occurs."""
    name = found.record.data.target_names[0]
    made, error = found.outputs[:, 0], found.wanted[:, 0] - found.outputs[:, 0]
    figure = new_figure(height=3.8)
    left, right = figure.subplots(1, 2, width_ratios=[3, 2], sharey=True)
    _points(left, made, error, len(error))
    left.axhline(0, color=BLACK, linestyle="--", linewidth=1)
    left.set(xlabel=f"predicted {name}", ylabel="true - predicted")
    left.locator_params(axis="x", nbins=5)  # in half the width six digits each run together
    right.hist(
        error, bins=min(40, max(5, int(np.sqrt(len(error))))), orientation="horizontal",
        color=BLUE, alpha=0.8,
    )  # fmt: skip
    right.axhline(0, color=BLACK, linestyle="--", linewidth=1)
    right.set(xlabel="rows")
    low, high = np.quantile(error, [0.05, 0.95])
    caption = (
        f"Errors on {found.who}: mean {shown(error.mean())}, standard deviation "
        f"{shown(error.std())}; nine in ten lie between {shown(low)} and {shown(high)}."
    )
    return Picture("residuals", f"Errors of {name}", figure, caption)


# ---- classes


def confusion(found: Predicted) -> Picture:
    """Draw how often each class was taken for each."""
    classes = found.record.data.classes
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(counts, (found.wanted, found.chosen), 1)
    common = np.argsort(-counts.sum(axis=1), kind="stable")[:MOST_CLASSES]
    kept = np.sort(common)
    part, names = counts[np.ix_(kept, kept)], [_short(classes[i]) for i in kept]
    shares = part / np.maximum(counts.sum(axis=1)[kept], 1)[:, None]
    side = min(8.0, 3.2 + 0.42 * len(kept))
    figure = new_figure(height=side, width=min(8.0, side + 1.4))
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.grid(visible=False)
    if len(kept) <= 12:
        for i, j in np.ndindex(part.shape):
            colour = "white" if shares[i, j] > 0.5 else BLACK
            axes.text(j, i, f"{part[i, j]:,}", ha="center", va="center", color=colour, fontsize=9)
    ticks = range(len(kept))
    slanted = 45 if max(map(len, names)) > 3 else 0
    axes.set_xticks(ticks, names, rotation=slanted, ha="right" if slanted else "center")
    axes.set_yticks(ticks, names)
    axes.set(xlabel="predicted", ylabel="true")
    figure.colorbar(image, ax=axes, label="share of the true class's rows", shrink=0.8)
    right = int((found.wanted == found.chosen).sum())
    caption = (
        f"Of {found.who} {right:,} ({share(right / len(found.wanted))}) are right.{_mixed(found)}"
    )
    threshold = found.record.result.get("threshold")
    if threshold is not None:
        caption += f" '{classes[1]}' is predicted above a probability of {threshold:.4g}."
    if len(classes) > len(kept):
        caption += f" Drawn are the {len(kept)} commonest of {len(classes)} classes."
    return Picture("confusion", "Which classes are taken for which", figure, caption)


def _mixed(found: Predicted) -> str:
    """Return what is mixed up most often; and whether one class only is ever predicted."""
    classes, wrong = found.record.data.classes, found.wanted != found.chosen
    only = np.unique(found.chosen)
    told = f" Every row is taken for '{classes[only[0]]}'." if len(only) == 1 else ""
    if not wrong.any():
        return told
    pairs = np.column_stack([found.wanted[wrong], found.chosen[wrong]])
    unique, counts = np.unique(pairs, axis=0, return_counts=True)
    (true, made), most = unique[counts.argmax()], counts.max()
    times = "once" if most == 1 else f"{most:,} times"
    if (counts == most).sum() > 1:
        return f"{told} No class is taken for another more often than {times}."
    return f"{told} Most often '{classes[true]}' is taken for '{classes[made]}', {times}."


def rankings(found: Predicted) -> Picture | None:
    """Draw ROC and precision-recall curves: of the second of two classes, or one against all."""
    from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_curve

    classes = found.record.data.classes
    counts = np.bincount(found.wanted, minlength=len(classes))
    both = [k for k in range(len(classes)) if 0 < counts[k] < len(found.wanted)]
    ranked = [k for k in both if len(classes) > 2 or k == 1]
    if not ranked:
        return None
    ranked = sorted(ranked, key=lambda k: -counts[k])[:MOST_CURVES]
    figure = new_figure(height=4.2)
    left, right = figure.subplots(1, 2)
    areas, told = [], []
    for i, k in enumerate(ranked):
        score, it = found.outputs[:, k], found.wanted == k
        wrong, caught, _ = roc_curve(it, score)
        precision, recall, _ = precision_recall_curve(it, score)
        line = {"color": stroke(i).colour, "linestyle": stroke(i).dash}
        left.plot(wrong, caught, label=_short(classes[k]), **line)
        right.plot(recall, precision, drawstyle="steps-post", **line)
        areas.append(auc(wrong, caught))
        told.append(f"{classes[k]} {shown(average_precision_score(it, score))}")
    left.plot([0, 1], [0, 1], ":", color=GREY, label="chance")
    if len(ranked) == 1:
        right.axhline(counts[ranked[0]] / len(found.wanted), linestyle=":", color=GREY)
    edges = {"xlim": (-0.02, 1.02), "ylim": (-0.02, 1.02)}
    left.set(xlabel="false positive rate", ylabel="true positive rate", title="ROC", **edges)
    right.set(xlabel="recall", ylabel="precision", title="precision and recall", **edges)
    legend_below(figure, left)
    under = f"{classes[ranked[0]]}" if len(ranked) == 1 else "each class against the rest"
    each = joined([f"{classes[k]} {shown(a)}" for k, a in zip(ranked, areas, strict=True)])
    hidden = f" Drawn are {len(ranked)} of {len(both)} classes." if len(both) > len(ranked) else ""
    if len(classes) == 2:
        hidden = ""
    caption = (
        f"{found.who}, {under}. Area under the ROC curve: {each}. Average precision: "
        f"{joined(told)}.{hidden}"
    )
    return Picture("rankings", "ROC, precision and recall", figure, caption)


def calibration(found: Predicted) -> Picture:
    """Draw the share that came true over the probability that was told, in bins."""
    classes = found.record.data.classes
    if len(classes) == 2:
        told, hits = found.outputs[:, 1], found.wanted == 1
        what, ylabel = f"probability of {classes[1]}", f"share that is {classes[1]}"
    else:
        told, hits = found.outputs.max(axis=1), found.outputs.argmax(axis=1) == found.wanted
        what, ylabel = "probability of the likeliest class", "share that is right"
    bins = np.clip((told * BINS).astype(int), 0, BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    there = counts > 0
    x = np.bincount(bins, told, BINS)[there] / counts[there]
    y = np.bincount(bins, hits, BINS)[there] / counts[there]
    spread = np.sqrt(x * (1 - x) / counts[there])  # of a calibrated model's share
    figure = new_figure(height=4.8)
    upper, lower = figure.subplots(2, 1, height_ratios=[3, 1], sharex=True)
    upper.plot([0, 1], [0, 1], ":", color=GREY, label="calibrated")
    upper.errorbar(
        x, y, yerr=2 * spread, fmt="o-", color=BLUE, capsize=2, label=f"{BINS} bins, ± 2 SE"
    )
    upper.set(ylabel=ylabel, ylim=(-0.05, 1.05))
    lower.bar((np.arange(BINS) + 0.5) / BINS, counts, width=0.9 / BINS, color=BLUE, alpha=0.6)
    lower.set(xlabel=what, ylabel="rows")
    legend_below(figure, upper)
    gap = float((np.abs(x - y) * counts[there]).sum() / counts.sum())
    caption = (
        f"{found.who}: the told probability is {shown(told.mean())} on the mean, the share "
        f"{shown(hits.mean())}; bin by bin they are {shown(gap)} apart, weighed by rows."
    )
    return Picture("calibration", "Whether probabilities come true", figure, caption)


# ---- two features


def boundary(found: Predicted) -> Picture | None:
    """Draw the prediction over the plane of a model's two features; None for other numbers."""
    columns = found.record.data.columns
    features = found.features
    names = [name for column in columns for name in column.features]
    if len(names) != 2 or any(len(c.features) != 1 for c in columns):
        return None
    if any(np.ptp(features[:, i]) == 0 for i in range(2)):
        return None
    low, high = features.min(axis=0), features.max(axis=0)
    pad = 0.08 * (high - low)
    grid = [np.linspace(low[i] - pad[i], high[i] + pad[i], GRID) for i in range(2)]
    xx, yy = np.meshgrid(*grid)
    made = found.predict(np.column_stack([xx.ravel(), yy.ravel()]))
    figure = new_figure()
    axes = figure.add_subplot()
    axes.grid(visible=False)
    axes.set(xlabel=names[0], ylabel=names[1])
    if found.arrays.task is Task.REGRESSION:
        caption = _surface(found, axes, xx, yy, made[:, 0])
    else:
        caption = _regions(found, axes, xx, yy, made)
        legend_below(figure)
    return Picture("boundary", "The prediction over its two features", figure, caption)


def _surface(found: Predicted, axes: Axes, xx: np.ndarray, yy: np.ndarray, made: np.ndarray) -> str:
    name = found.record.data.target_names[0]
    wanted, features = found.wanted[:, 0], found.features
    ends = {"vmin": min(made.min(), wanted.min()), "vmax": max(made.max(), wanted.max())}
    filled = axes.pcolormesh(
        xx, yy, made.reshape(xx.shape), cmap="cividis", rasterized=True, **ends
    )
    axes.scatter(
        features[:, 0], features[:, 1], c=wanted, cmap="cividis", edgecolors="white", s=28,
        linewidths=0.6, **ends,
    )  # fmt: skip
    axes.figure.colorbar(filled, ax=axes, label=name)
    return f"The ground is the predicted {name}, the points are the true values of {found.who}."


def _regions(found: Predicted, axes: Axes, xx: np.ndarray, yy: np.ndarray, made: np.ndarray) -> str:
    from matplotlib.colors import ListedColormap

    classes, features = found.record.data.classes, found.features
    chosen = found.record.data.choose(made, found.record.result.get("threshold"))
    colours = [COLOURS[k % len(COLOURS)] for k in range(len(classes))]
    axes.pcolormesh(
        xx, yy, chosen.reshape(xx.shape), cmap=ListedColormap(colours), alpha=0.25, vmin=-0.5,
        vmax=len(classes) - 0.5, rasterized=True,
    )  # fmt: skip
    for k, name in enumerate(classes):
        its = found.wanted == k
        if its.any():
            axes.scatter(
                features[its, 0], features[its, 1], s=22, color=colours[k], label=_short(name),
                marker=MARKERS[k % len(MARKERS)], edgecolors="white", linewidths=0.5,
            )  # fmt: skip
    wrong = int((found.chosen != found.wanted).sum())
    return (
        f"The ground is the class predicted there, the points are {found.who} in the colours of "
        f"their true classes; {wrong:,} lie on another's ground."
    )


# ---- what went wrong


def worst(found: Predicted, order: Sequence[Column]) -> Picture | None:
    """Draw a table of the rows whose predictions are farthest from the truth.

    Args:
        found: the predictions.
        order: columns, the most important first.
    """
    if found.arrays.image is not None:
        return None
    picked = np.argsort(-found.losses, kind="stable")[:WORST]
    columns = list(order[:MOST_SHOWN])
    classes, heads = found.record.data.classes, ["row", "true", "predicted"]
    heads.append("its probability" if classes else "error")
    starts = _starts(found)
    cells = []
    for i in picked:
        if classes:
            made = found.chosen[i]
            own = [classes[found.wanted[i]], classes[made], f"{found.outputs[i, made]:.3f}"]
        else:
            true, made = found.wanted[i, 0], found.outputs[i, 0]
            own = [_number(true), _number(made), _number(true - made)]
        values = found.arrays.features[found.rows[i]]
        told = [_value(c, values[starts[c.name] :]) for c in columns]
        cells.append([f"{found.rows[i] + 1:,}", *map(_short, [*own, *told])])
    figure = new_figure(height=0.6 + 0.32 * len(picked))
    axes = figure.add_subplot()
    axes.axis("off")
    made_table = axes.table(
        cells, colLabels=[*heads, *(_short(c.name, 14) for c in columns)], loc="center",
        cellLoc="right",
    )  # fmt: skip
    made_table.auto_set_font_size(False)
    made_table.set_fontsize(9)
    made_table.scale(1, 1.35)
    for (row, _), cell in made_table.get_celld().items():
        cell.set_edgecolor("#dddddd")
        if row == 0:
            cell.set_facecolor("#f0f0f0")
    by = "the true class is least probable" if classes else "the error is largest"
    first = "" if classes or len(found.record.data.target_names) == 1 else (
        f"; shown is {found.record.data.target_names[0]}, the order is that of all targets"
    )  # fmt: skip
    caption = (
        f"The {len(picked)} of {found.who} where {by}{first}. Rows are counted from 1 among those "
        "that have a target."
    )
    return Picture("worst", "The worst predictions", figure, caption)


def _starts(found: Predicted) -> dict[str, int]:
    """Return where each column's features begin."""
    at, starts = 0, {}
    for column in found.record.data.columns:
        starts[column.name] = at
        at += len(column.features)
    return starts


def _value(column: Column, values: np.ndarray) -> str:
    """Return what a row holds in a column, from the column's features on."""
    if column.gap and values[len(column.features) - 1] > 0.5:
        return "missing"
    if column.categories is not None and column.shares is None and not column.buckets:
        hit = np.flatnonzero(values[: len(column.categories)] > 0.5)
        return column.categories[hit[0]] if len(hit) else "other"
    if column.buckets:
        return "a text"
    if column.parts:
        parts = [f"{int(v):02d}" for v in values[: len(column.parts)]]
        return "-".join(parts[:3])
    return _number(float(values[0]))


def _number(value: float) -> str:
    """Return a number to be read beside others of its size: 195,100 and no power of ten."""
    return f"{value:,.0f}" if 1e3 <= abs(value) < 1e9 else shown(value)


def wrong_images(found: Predicted) -> Picture | None:
    """Draw the images whose labels are wrong, the surest mistakes first."""
    if found.arrays.image is None or not found.record.data.classes:
        return None
    wrong = np.flatnonzero(found.chosen != found.wanted)
    if not len(wrong):
        return None
    sure = found.outputs[wrong, found.chosen[wrong]]
    picked = wrong[np.argsort(-sure, kind="stable")][:24]
    across = min(8, len(picked))
    down = -(-len(picked) // across)
    figure = new_figure(height=1.45 * down + 0.2)
    classes = found.record.data.classes
    for k, i in enumerate(picked):
        axes = figure.add_subplot(down, across, k + 1)
        pixels = found.arrays.features[found.rows[i]].reshape(found.arrays.image)
        axes.imshow(pixels, cmap="gray_r")
        axes.axis("off")
        made, true = classes[found.chosen[i]], classes[found.wanted[i]]
        axes.set_title(f"{made}, not {true}", fontsize=9, color=VERMILION)
    caption = (
        f"{len(wrong):,} of {found.who} are labelled wrongly; drawn are the {len(picked)} of which "
        "the model is surest, with its label and the true one."
    )
    return Picture("wrong_images", "Images with wrong labels", figure, caption)


def _short(text: str, most: int = 18) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
