"""The picture of losses: its lines are the tables', and a divergence stands at its step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from descent.report.curves import MOST_STYLED, STEP_LABEL, losses
from descent.report.record import Axis, Record, labelled, read_record
from descent.report.style import Picture

LINE = ("data=line", "model=linear", "optimizer=sgd", "stop.epochs=4")


def lines(picture: Picture) -> dict[str, np.ndarray]:
    """Points [n, 2] by label."""
    return {line.get_label(): line.get_xydata() for line in picture.figure.axes[0].lines}


def records(*runs) -> list[Record]:
    return labelled([read_record(run.path) for run in runs])


def table(run, name: str) -> pl.DataFrame:
    return pl.read_csv(Path(run.path) / f"{name}.csv")


@pytest.mark.parametrize(
    ("x", "column"), [("step", "step"), ("samples", "samples"), ("seconds", "seconds")]
)
def test_the_lines_are_the_tables(x, column, train_run):
    run = train_run(*LINE, "optimizer.lr=0.05", "data.val_fraction=0.1")
    drawn = lines(losses(records(run), Axis(x)))
    steps, epochs = table(run, "steps"), table(run, "epochs")
    np.testing.assert_array_equal(drawn[STEP_LABEL], steps[[column, "loss"]].to_numpy())
    full = drawn["full loss (all training rows)"]
    np.testing.assert_allclose(full[:, 1], epochs["train/full_loss"], rtol=0)
    if x != "seconds":  # an epoch's row is written a moment after its last step
        np.testing.assert_array_equal(full[:, 0], epochs[column])
    validated = epochs.filter(pl.col("val/loss").is_not_null())
    np.testing.assert_array_equal(drawn["validation loss"][:, 1], validated["val/loss"])


def test_a_loss_over_decades_is_drawn_on_a_log_axis_and_others_are_not(train_run):
    steep = train_run(*LINE, "optimizer.lr=0.3")
    flat = train_run(*LINE, "optimizer.lr=1e-5")
    scales = [losses(records(r), Axis.STEP).figure.axes[0].get_yscale() for r in (steep, flat)]
    assert scales == ["log", "linear"]


@pytest.mark.parametrize("x", ["step", "epoch"])
def test_a_divergence_is_marked_at_its_step(x, train_run):
    run = train_run(*LINE, "optimizer.lr=1e6")
    step = run.result()["step"]
    picture = losses(records(run), Axis(x))
    at = step if x == "step" else step / (200 / 20)  # 200 training rows in batches of 20
    assert lines(picture)["_diverged"].tolist() == [[at, 1]]
    title = picture.figure.axes[0].get_title().replace("\n", " ")
    assert title == run.result()["reason"]
    assert f"diverged at step {step}, marked by the cross" in picture.caption


def test_the_sentence_is_made_from_the_figures(train_run):
    run = train_run(*LINE, "optimizer.lr=0.05")
    full = table(run, "epochs")["train/full_loss"]
    caption = losses(records(run), Axis.STEP).caption
    assert caption.startswith(f"The full loss fell from {full[0]:.4g} to {full[-1]:.4g} in ")


def test_several_runs_are_one_line_each_without_clouds(train_run):
    runs = [train_run(*LINE, f"optimizer.lr={lr}") for lr in (0.1, 0.01)]
    picture = losses(records(*runs), Axis.STEP)
    drawn = lines(picture)
    assert list(drawn) == ["optimizer.lr=0.1", "optimizer.lr=0.01"]
    for run, points in zip(runs, drawn.values(), strict=True):
        np.testing.assert_array_equal(points[:, 1], table(run, "epochs")["train/full_loss"])
    best = min(run.result()["metrics"]["train/full_loss"] for run in runs)
    assert f"lowest final full loss is {best:.4g} (optimizer.lr=0.1)" in picture.caption


def test_a_run_that_diverged_does_not_squash_the_others(train_run):
    runs = [train_run(*LINE, f"optimizer.lr={lr}") for lr in (0.1, 3)]
    picture = losses(records(*runs), Axis.STEP)
    axes = picture.figure.axes[0]
    start = table(runs[0], "epochs")["train/full_loss"][0]
    assert axes.get_ylim()[1] == pytest.approx(100 * start)
    assert "the picture ends at 100 times the highest start" in picture.caption
    assert "optimizer.lr=3 at step" in picture.caption


def test_runs_with_no_full_loss_are_compared_by_what_they_share(train_run):
    with_full = train_run(*LINE, "optimizer.lr=0.1")
    without = train_run(*LINE, "optimizer.lr=0.2", "callbacks=bare")
    picture = losses(records(with_full, without), Axis.STEP)
    assert "lowest final running loss" in picture.caption


def test_more_runs_than_a_reader_can_tell_apart_are_drawn_in_grey(train_run):
    first = read_record(train_run(*LINE, "optimizer.lr=0.1").path)
    picture = losses([first] * (MOST_STYLED + 3), Axis.STEP)
    labels = [line.get_label() for line in picture.figure.axes[0].lines]
    assert labels.count(first.label) == MOST_STYLED
    assert "3 others" in labels


def test_no_table_gives_no_picture(train_run):
    run = train_run(*LINE, "~callbacks.recorder")
    assert losses(records(run), Axis.STEP) is None
