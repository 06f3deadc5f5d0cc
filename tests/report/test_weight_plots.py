"""Parameters and diagnostics over training: what is drawn is what was recorded."""

from __future__ import annotations

import numpy as np
import polars as pl

from descent.records.pathfile import Trajectory, write_path
from descent.report.diagnostics import diagnostics, stable_below
from descent.report.record import Axis, labelled, read_record
from descent.report.weight_plots import weights

LINE = ("data=line", "model=linear", "optimizer=sgd", "optimizer.lr=0.1", "stop.epochs=3")


def records(*runs):
    return labelled([read_record(run.path) for run in runs])


def test_few_parameters_are_lines_with_the_features_names(train_run):
    (record,) = records(train_run("data=diabetes", "model=linear", "stop.epochs=2"))
    picture = weights([record], Axis.SAMPLES)
    drawn = {li.get_label(): li.get_xydata() for li in picture.figure.axes[0].lines}
    features = [column.name for column in record.data.columns]
    assert len(features) == 10
    assert list(drawn) == [*(f"weight of {name}" for name in features), "bias"]
    samples = pl.read_csv(record.run.path / "steps.csv")["samples"]
    np.testing.assert_array_equal(drawn["bias"][:, 0], [0, *samples])
    np.testing.assert_allclose(drawn["bias"][:, 1], record.path.theta[:, -1])


def test_names_say_the_class_and_the_coordinate(train_run):
    (wine,) = records(train_run("data=wine", "model=linear", "stop.epochs=1"))
    labels = wine.parameters
    assert labels[0] == f"weight of {wine.data.columns[0].name} → {wine.data.classes[0]}"
    assert labels[-1] == f"bias → {wine.data.classes[-1]}"
    (point,) = records(
        train_run("model=point", "data=landscape", "landscape=bowl", "stop.epochs=1")
    )
    assert point.parameters == ["x", "y"]


def test_many_parameters_are_bands_of_quantiles(train_run):
    (record,) = records(train_run("data=wine", "model.hidden=[5]", "stop.epochs=2"))
    picture = weights([record], Axis.STEP)
    axes = picture.figure.axes[0]
    median = next(li for li in axes.lines if li.get_label() == "median").get_ydata()
    np.testing.assert_allclose(median, np.median(record.path.theta, axis=1))
    low, high = np.quantile(record.path.theta[-1], [0.25, 0.75])
    assert f"between {low:.4g} and {high:.4g} at the end" in picture.caption


def test_several_small_runs_get_a_panel_a_parameter(train_run):
    both = records(train_run(*LINE), train_run(*LINE, "seed=1"))
    picture = weights(both, Axis.STEP)
    assert [axes.get_ylabel() for axes in picture.figure.axes] == ["weight of x", "bias"]
    for record, line in zip(both, picture.figure.axes[1].lines, strict=True):
        np.testing.assert_allclose(line.get_ydata(), record.path.theta[:, 1])


def test_several_large_runs_are_compared_by_how_far_they_went(train_run):
    both = records(
        *[train_run("data=wine", "model.hidden=[5]", "stop.epochs=2", f"seed={s}") for s in (0, 1)]
    )
    picture = weights(both, Axis.STEP)
    theta = both[0].path.theta.astype(float)
    away = np.sqrt(np.square(theta - theta[0]).sum(axis=1))
    np.testing.assert_allclose(picture.figure.axes[0].lines[0].get_ydata(), away)


def test_no_path_gives_no_picture_of_parameters(train_run):
    assert weights(records(train_run(*LINE, "callbacks=bare")), Axis.STEP) is None


def test_parameters_that_are_not_finite_are_survived(train_run):
    run = train_run("data=wine", "model.hidden=[5]", "stop.epochs=2")
    path = read_record(run.path).path
    write_path(run.path, Trajectory(path.steps, np.full_like(path.theta, np.nan), path.shapes))
    assert "was finite at any recorded step" in weights(records(run), Axis.STEP).caption


# ---- diagnostics


def with_column(run, name: str, values: list[float]) -> None:
    path = run.path / "epochs.csv"
    frame = pl.read_csv(path)
    filled = (values + [None] * frame.height)[: frame.height]
    frame.with_columns(pl.Series(name, filled, dtype=pl.Float64)).write_csv(path)


def test_each_diagnostic_is_a_panel_of_its_column(train_run):
    run = train_run(*LINE, "callbacks.recorder.grad_norm_every=0")
    with_column(run, "diagnostics/sharpness", [2.0, 3.0, 2.5, 2.25])
    with_column(run, "diagnostics/stability", [0.1, 0.15, 0.125, 0.1125])
    picture = diagnostics(records(run), Axis.EPOCH)
    sharpness, stability = picture.figure.axes
    assert sharpness.lines[0].get_xydata().tolist() == [[0, 2], [1, 3], [2, 2.5], [3, 2.25]]
    assert list(sharpness.lines[1].get_ydata()) == [20, 20]  # 2/lr
    assert list(stability.lines[1].get_ydata()) == [1, 1]
    assert "Sharpness (largest curvature) rises from 2 to 2.25" in picture.caption


def test_the_limit_of_stability_is_that_of_plain_descent_only(train_run):
    given = ("data=line", "model=linear", "stop.epochs=2", "optimizer.lr=0.1")
    plain, momentum = (
        read_record(train_run(*given, f"optimizer={o}").path) for o in ("sgd", "momentum")
    )
    changing = read_record(train_run(*given, "optimizer=sgd", "scheduler=exponential").path)
    assert [stable_below(r) for r in (plain, momentum, changing)] == [20, None, None]


def test_nothing_measured_gives_no_picture(train_run):
    run = train_run(*LINE, "callbacks.recorder.grad_norm_every=0")
    assert diagnostics(records(run), Axis.STEP) is None
    with_column(run, "diagnostics/noise_scale", [])
    assert diagnostics(records(run), Axis.STEP) is None
