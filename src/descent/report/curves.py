"""Step, running, full and validation loss in one picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes

# Okabe and Ito's colours, told apart by colour-blind readers; markers and dashes by everybody.
CLOUD, RUNNING, FULL, VALIDATION = "#999999", "#0072B2", "#000000", "#D55E00"
MOST_POINTS = 4000  # of the step cloud; more would only overlap
DECADES = 1.5  # a loss that spans more than this gets a log axis


def draw_curves(run_dir: Path, title: str, note: str | None = None) -> Path:
    """Draw a run's losses from its tables.

    Args:
        run_dir: holds steps.csv and epochs.csv.
        title: what was trained.
        note: shown in the picture, such as why the run diverged.

    Returns:
        The path of curves.png.
    """
    import polars as pl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    steps = pl.read_csv(run_dir / "steps.csv", infer_schema_length=None)
    epochs = pl.read_csv(run_dir / "epochs.csv", infer_schema_length=None)
    figure = Figure(figsize=(8, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _draw_steps(axes, steps)
    for column, label, colour, style in (
        ("train/loss", "running loss (mean over the epoch's steps)", RUNNING, "o-"),
        ("train/full_loss", "full loss (all training rows)", FULL, "s--"),
        ("val/loss", "validation loss", VALIDATION, "^-"),
    ):
        _draw_epochs(axes, epochs, column, label, colour, style)
    _finish(axes, title, note)
    path = run_dir / "curves.png"
    figure.savefig(path.with_suffix(".part"), dpi=120, format="png")
    path.with_suffix(".part").replace(path)
    return path


def _draw_steps(axes: Axes, steps: pl.DataFrame) -> None:
    thin = steps[:: max(1, -(-steps.height // MOST_POINTS))]
    x, y = thin["step"].to_numpy(), _floats(thin, "loss")
    size = 3 if thin.height > 200 else 6
    axes.plot(
        x, y, ".", color=CLOUD, markersize=size, alpha=0.6, label="step loss (one mini-batch)"
    )


def _draw_epochs(
    axes: Axes, epochs: pl.DataFrame, column: str, label: str, colour: str, style: str
) -> None:
    if column not in epochs.columns:
        return
    x, y = epochs["step"].to_numpy(), _floats(epochs, column)
    known = np.isfinite(y)
    if known.any():
        every = max(1, int(known.sum()) // 20)
        axes.plot(
            x[known], y[known], style, color=colour, markersize=4, linewidth=1.4,
            markevery=every, label=label,
        )  # fmt: skip


def _finish(axes: Axes, title: str, note: str | None) -> None:
    drawn = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in axes.lines])
    drawn = drawn[np.isfinite(drawn)]
    if len(drawn) and drawn.min() > 0 and np.log10(drawn.max() / drawn.min()) > DECADES:
        axes.set_yscale("log")
    axes.set_xlabel("step (optimizer updates)")
    axes.set_ylabel("loss")
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8)
    if note:
        axes.text(
            0.5, 0.02, note, transform=axes.transAxes, ha="center", va="bottom", fontsize=8,
            wrap=True, bbox={"facecolor": "white", "edgecolor": VALIDATION, "linewidth": 1.5},
        )  # fmt: skip


def _floats(frame: pl.DataFrame, column: str) -> np.ndarray:
    """Return a column as floats, empty cells as NaN."""
    import polars as pl

    return frame[column].cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()
