"""The loss that paths are drawn over, held against NumPy, torch and the run's own records."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from descent.data.prepare import prepare
from descent.errors import UserError
from descent.models.landscapes import LANDSCAPES
from descent.records.run import CONFIG, Run, config_text
from descent.report.heights import heights_of
from descent.report.record import read_record

LINEAR = ("model=linear", "optimizer=sgd", "optimizer.lr=0.05", "stop.epochs=4")
MLP = ("data=wine", "model.hidden=[5]", "stop.epochs=4")


def recorded(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """The places of a path at which the full loss was recorded, and those losses."""
    record = read_record(run.path)
    at = np.isin(record.path.steps, record.full_loss.step)
    losses = dict(zip(record.full_loss.step, record.full_loss.value, strict=True))
    return record.path.theta[at], np.array([losses[s] for s in record.path.steps[at]])


@pytest.mark.parametrize(
    "given",
    [
        ("data=line", *LINEAR),
        ("data=diabetes", *LINEAR, "penalty.l1=0.01", "penalty.l2=0.1"),
        ("data=three_points", *LINEAR, "model.bias=false"),
        MLP,
        (*MLP, "penalty.l1=0.01", "penalty.l2=0.1"),
        ("data=breast_cancer", "model=linear", "stop.epochs=2"),
        ("model=point", "data=landscape", "landscape=beale", "optimizer.lr=0.001", "stop.epochs=4"),
    ],
    ids=lambda given: " ".join(given),
)  # fmt: skip
def test_heights_along_the_path_are_the_recorded_full_losses(given, train_run):
    run = train_run(*given)
    theta, losses = recorded(run)
    assert len(losses) >= 3
    # training computes in float32: relative error of a few 2^-24, and as much of the whole sum
    np.testing.assert_allclose(
        heights_of([read_record(run.path)]).loss(theta), losses, rtol=1e-5, atol=1e-6
    )


def test_the_lowest_place_of_a_regression_is_its_least_squares_solution(train_run):
    run = train_run("data=line", *LINEAR)
    heights = heights_of([read_record(run.path)])
    prepared = prepare(run.config()["data"])
    rows = prepared.rows["train"]
    fit = LinearRegression().fit(
        prepared.scaler.apply(prepared.arrays.features[rows]), prepared.arrays.targets[rows]
    )
    np.testing.assert_allclose(heights.minima[0], [*fit.coef_, fit.intercept_], rtol=1e-5)
    around = heights.minima[0] + np.random.default_rng(0).normal(size=(100, 2))
    assert (heights.loss(around) > heights.loss(heights.minima[0][None])).all()


def test_a_landscape_knows_its_minima_and_saddles(train_run):
    run = train_run("model=point", "data=landscape", "landscape=himmelblau", "optimizer.lr=0.001",
                    "stop.epochs=1")  # fmt: skip
    heights = heights_of([read_record(run.path)])
    assert np.array_equal(heights.minima, LANDSCAPES["himmelblau"].minima)
    assert np.array_equal(heights.saddles, LANDSCAPES["himmelblau"].saddles)
    np.testing.assert_allclose(heights.loss(np.array(heights.minima)), 0, atol=1e-20)


def test_many_rows_are_thinned_and_the_note_says_so(train_run, monkeypatch):
    from descent.report import rebuilt

    run = train_run(*MLP)
    monkeypatch.setattr(rebuilt, "MOST_ROWS", 50)
    heights = heights_of([read_record(run.path)])  # 178 rows, of which 142 train
    assert heights.note == "heights are over one in 3 of the 142 training rows"
    theta, losses = recorded(run)
    assert np.abs(heights.loss(theta) / losses - 1).max() < 0.5  # a third of the rows, no more


def test_runs_of_different_losses_have_no_common_surface(train_run):
    runs = [train_run("data=line", *LINEAR, f"penalty.l2={l2}") for l2 in (0.0, 0.5)]
    with pytest.raises(
        UserError, match=r"descend different losses \(penalty.l2 is 0.0 in one, 0.5"
    ):
        heights_of([read_record(run.path) for run in runs])


def test_what_does_not_change_the_loss_leaves_the_surface_common(train_run):
    runs = [
        train_run("data=line", *LINEAR, *more)
        for more in (("seed=1",), ("data.batch_size=full",), ("model.init=ones",))
    ]
    heights_of([read_record(run.path) for run in runs])


def test_data_that_have_changed_have_no_surface(train_run):
    run = train_run("data=line", *LINEAR)
    config = run.config()
    config["data"]["source"]["noise"] = 2.0
    (run.path / CONFIG).write_text(config_text(config))
    with pytest.raises(UserError, match="the data have changed since"):
        heights_of([read_record(run.path)])


@pytest.mark.parametrize("node", ["data.source", "model"])
def test_a_config_from_disk_runs_no_code_that_is_not_trusted(node, train_run, tmp_path):
    run = train_run(*MLP)
    config = run.config()
    place = config
    for key in node.split("."):
        place = place[key]
    place["_target_"] = "pathlib.Path.touch"
    (run.path / CONFIG).write_text(config_text(config))
    with pytest.raises(UserError, match=rf"'pathlib.Path.touch' \({node}._target_\)"):
        heights_of([read_record(run.path)])
