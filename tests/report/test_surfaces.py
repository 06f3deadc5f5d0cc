"""Pictures of paths over a loss: profile, surface and plane, held against the numbers drawn."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.decomposition import PCA

from descent.models.landscapes import LANDSCAPES
from descent.records.pathfile import Trajectory, write_path
from descent.report.heights import heights_of
from descent.report.plane import main_plane, plane
from descent.report.profile import profile
from descent.report.record import labelled, read_record
from descent.report.style import Picture
from descent.report.surface import surface
from descent.report.window import walk_of, window

POINT = ("model=point", "data=landscape", "trainer=float64", "optimizer=sgd")
MLP = ("data=wine", "model.hidden=[5]", "stop.epochs=6")


def walks_of(*runs):
    return [walk_of(record) for record in labelled([read_record(run.path) for run in runs])]


def drawn(draw, *runs) -> Picture:
    walks = walks_of(*runs)
    return draw(walks, heights_of([walk.record for walk in walks]))


def points(picture: Picture, label: str, panel: int = 0) -> np.ndarray:
    """The points [n, 2] of all lines with a label."""
    found = [li for li in picture.figure.axes[panel].lines if li.get_label() == label]
    return np.concatenate([line.get_xydata() for line in found])


def test_a_path_on_a_landscape_lies_where_it_was_recorded(train_run):
    run = train_run(*POINT, "landscape=valley", "optimizer.lr=0.1", "stop.epochs=20")
    picture = drawn(surface, run)
    path = read_record(run.path).path
    assert picture.name == "landscape"
    np.testing.assert_array_equal(points(picture, "path, one dot a step"), path.theta)
    assert points(picture, "start").tolist() == [[-5.0, -2.0]]
    np.testing.assert_array_equal(points(picture, "end"), path.theta[-1:])
    assert points(picture, "minimum").tolist() == [[0.0, 0.0]]


def test_minima_and_saddles_in_the_window_are_marked(train_run):
    run = train_run(*POINT, "landscape=himmelblau", "optimizer.lr=0.01", "stop.epochs=20")
    picture = drawn(surface, run)
    ground = LANDSCAPES["himmelblau"]
    stars = [points(picture, label) for label in ("global minimum", "saddle")]
    assert [s.tolist() for s in stars] == [[list(ground.minima[0])], [list(ground.saddles[0])]]
    again = points(picture, "_again").tolist()
    assert [p for p in map(list, ground.minima[1:] + ground.saddles[1:]) if p not in again] == []


def test_the_surface_of_a_line_fit_shows_all_runs_and_least_squares(train_run):
    line = ("data=line", "model=linear", "optimizer=sgd", "stop.epochs=2")
    runs = [train_run(*line, f"data.batch_size={b}") for b in ("full", 20, 1)]
    picture = drawn(surface, *runs)
    for run, b in zip(runs, ("full", 20, 1), strict=True):
        theta = read_record(run.path).path.theta
        np.testing.assert_array_equal(points(picture, f"data.batch_size={b}"), theta)
    assert len(points(picture, "least squares")) == 1
    axes = picture.figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("weight of x", "bias")


def test_the_ball_on_the_parabola_of_three_points(train_run):
    run = train_run("experiment=three_points_gd", "diagnostics=[]", "stop.epochs=20")
    picture = drawn(profile, run)
    # w_n = 2 - (68/75)^n, and the loss is 14/3 (w - 2)^2
    w = 2 - (68 / 75) ** np.arange(21)
    balls = picture.figure.axes[0].collections[0].get_offsets()
    np.testing.assert_allclose(balls[:, 0], w, rtol=1e-12)
    np.testing.assert_allclose(balls[:, 1], 14 / 3 * (w - 2) ** 2, rtol=1e-10)
    np.testing.assert_allclose(points(picture, "least squares"), [[2, 0]], atol=1e-12)
    depths = picture.figure.axes[0].collections[0].get_facecolors()[:, :3].sum(axis=1)
    assert (np.diff(depths) < 0).all()  # darker with every step


def test_a_path_that_diverges_is_cut_and_does_not_stretch_the_picture(train_run):
    run = train_run(*POINT, "landscape=valley", "optimizer.lr=0.6", "stop.epochs=300")
    picture = drawn(surface, run)
    # from (-5, -2) to the minimum (0, 0) the box is 5 by 2; it may be left by once its size
    low, high = picture.figure.axes[0].get_ylim()
    assert -4 * 1.3 < low < -2
    assert 0 < high < 2 * 1.4
    step = run.result()["step"]
    assert f"diverged at step {step} and is drawn up to step" in picture.caption
    assert "end" not in [line.get_label() for line in picture.figure.axes[0].lines]


def test_a_window_holds_walks_and_anchors():
    walk = np.array([[0.0, 0.0], [2.5, 1.0]])
    box = window([walk], [walk[0], np.array([-1.0, 2.0])], [False])
    assert (box[:, 0] < [-1, 0]).all()
    assert (box[:, 1] > [2.5, 2]).all()


@pytest.mark.parametrize("places", [[[1.0, 1.0]], [[0.0, 0.0], [0.0, 5.0]], [[1e-300, 0.0]]])
def test_a_window_has_room_even_where_nothing_moves(places):
    box = window([np.array(places)], [np.array(places[0])], [False])
    assert (box[:, 1] > box[:, 0]).all()


# ---- the plane


def test_the_main_directions_and_shares_are_those_of_scikit_learn():
    theta = np.random.default_rng(0).normal(size=(40, 7)).cumsum(axis=0)
    found = main_plane([theta], theta[-1])
    pca = PCA(2).fit(theta)
    np.testing.assert_allclose(found.shares, pca.explained_variance_ratio_, rtol=1e-10)
    np.testing.assert_allclose(np.abs(found.directions @ pca.components_.T), np.eye(2), atol=1e-10)
    np.testing.assert_allclose(
        np.abs(found.project(theta) - found.project(theta[:1])),
        np.abs(pca.transform(theta) - pca.transform(theta[:1])), atol=1e-10,
    )  # fmt: skip


def test_the_plane_goes_through_the_end_whose_loss_was_recorded(train_run):
    run = train_run(*MLP, "penalty.l2=0.01")
    picture = drawn(plane, run)
    (walk,) = walks_of(run)
    np.testing.assert_allclose(points(picture, "end"), [[0, 0]], atol=1e-12)
    found = main_plane([walk.theta], walk.theta[-1])
    np.testing.assert_allclose(found.lift(np.zeros((1, 2)))[0], walk.theta[-1])
    final = run.result()["metrics"]["train/full_loss"]
    assert f"to {final:.4g}, through whose place the plane is laid" in picture.caption
    shares = PCA(2).fit(walk.theta).explained_variance_ratio_
    axes = picture.figure.axes[0]
    assert (
        axes.get_xlabel() == f"first main direction ({100 * shares[0]:.3g}% of the path's variance)"
    )
    assert axes.get_ylabel().startswith(f"second main direction ({100 * shares[1]:.3g}%")


def test_several_paths_share_one_plane_through_the_best_end(train_run):
    runs = [train_run(*MLP, f"optimizer.lr={lr}") for lr in (0.1, 0.001)]
    picture = drawn(plane, *runs)
    ends = np.concatenate([points(picture, "end"), points(picture, "_again")])
    best = int(np.argmin([run.result()["metrics"]["train/full_loss"] for run in runs]))
    assert picture.caption.count("optimizer.lr=0.1 goes from") == (best == 0)
    assert np.abs(ends).sum(axis=1).min() < 1e-12


def test_a_plane_holds_the_paths_that_start_where_the_best_run_did(train_run):
    runs = [train_run(*MLP, *words) for words in (["optimizer.lr=0.02"], ["seed=1"], [])]
    picture = drawn(plane, *runs)
    best = min(runs, key=lambda run: run.result()["metrics"]["train/full_loss"])
    together = [run for run in runs if run.config()["seed"] == best.config()["seed"]]
    starts = np.concatenate([points(picture, "start"), points(picture, "_again")])
    assert len(together) == 2, "the other seed is better: choose another"
    assert "1 run with other first weights left out" in picture.caption
    assert len(starts) == 2 + 1  # two starts and the second path's end


def test_a_path_that_never_moves_is_still_drawn(train_run):
    run = train_run(*MLP)
    path = read_record(run.path).path
    still = np.repeat(path.theta[:1], len(path.steps), axis=0)
    write_path(run.path, Trajectory(path.steps, still, path.shapes))
    picture = drawn(plane, run)
    assert "Two directions hold 0% of the variance" in picture.caption


def test_what_is_not_finite_is_left_out_of_a_path(train_run):
    run = train_run(*POINT, "landscape=bowl", "optimizer.lr=0.1", "stop.epochs=9")
    path = read_record(run.path).path
    theta = path.theta.copy()
    theta[5:] = [np.nan, np.inf]
    write_path(run.path, Trajectory(path.steps, theta, path.shapes))
    (walk,) = walks_of(run)
    assert walk.cut
    assert walk.steps.tolist() == [0, 1, 2, 3, 4]
    drawn(surface, run)


def test_a_path_of_another_model_is_refused(train_run):
    from descent.errors import UserError

    run = train_run(*MLP)
    path = read_record(run.path).path
    other = {"other": (path.theta.shape[1],)}
    write_path(run.path, Trajectory(path.steps, path.theta, other))
    with pytest.raises(UserError, match="is not that of the run's own model"):
        heights_of([read_record(run.path)])


def test_the_result_is_plain_json_that_pictures_do_not_change(train_run):
    run = train_run(*POINT, "landscape=bowl", "stop.epochs=3")
    before = json.loads((run.path / "result.json").read_text())
    drawn(surface, run)
    assert json.loads((run.path / "result.json").read_text()) == before
