"""Steps against batch size: the fitted curve, B_crit with its interval, and perfect scaling."""

from __future__ import annotations

import math

import numpy as np
import pytest
from matplotlib.colors import to_hex

from descent.analysis.critical_batch import Scaling
from descent.report.style import stroke
from descent.report.sweep.batch_scaling import figure, scaling

NAN = math.nan


def one(
    batch=(1, 4, 16, 64), steps=(6500, 1700, 500, 200), edge=(), label="sgd", least=100.0,
    critical=64.0, interval=(40.0, 90.0), noise=NAN, budget="", note="",
) -> Scaling:  # fmt: skip
    """Steps of S = 100 (1 + 64 / B): 6500, 1700, 500, 200; two seeds, 10% off on either side."""
    steps = np.array(steps, dtype=float)
    dots = tuple(np.array([0.9 * s, 1.1 * s]) if s == s else np.zeros(0) for s in steps)
    at_edge = np.isin(np.arange(len(steps)), edge)
    return Scaling(
        label, np.array(batch, dtype=float), steps, np.full(len(steps), 0.1), dots, at_edge, least,
        critical, interval, noise, 0.1, budget, note,
    )  # fmt: skip


def line(picture, gid: str, panel: int = 0) -> np.ndarray:
    axes = picture.figure.axes[panel]
    found = [li.get_xydata() for li in axes.lines if li.get_gid() == gid]
    return np.concatenate(found) if found else np.zeros((0, 2))


def legend(picture) -> list[str]:
    return [text.get_text() for text in picture.figure.legends[0].get_texts()]


def test_each_optimizer_has_the_colour_that_it_has_on_the_whole_page():
    picture = scaling([one(), one(label="adam")], {"adam": 0, "sgd": 2})
    for panel, place in enumerate((2, 0)):
        lines = picture.figure.axes[panel].lines
        (colour,) = {to_hex(li.get_color()) for li in lines if li.get_gid() in ("fit", "edge True")}
        assert colour == stroke(place).colour.lower()


def test_points_dots_and_the_fitted_curve_lie_where_they_were_found():
    picture = scaling([one()])
    np.testing.assert_array_equal(
        line(picture, "edge False"), [[1, 6500], [4, 1700], [16, 500], [64, 200]]
    )
    np.testing.assert_allclose(line(picture, "seeds")[:2], [[1, 5850], [1, 7150]])
    assert len(line(picture, "seeds")) == 8
    x, y = line(picture, "fit").T
    # at B = B_crit steps are twice the least; examples B S are then twice S_min B_crit
    assert np.interp(64, x, y) == pytest.approx(200, rel=1e-3)
    axes = picture.figure.axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert "S_min = 100, B_crit = 64 (95%: 40 to 90)" in picture.caption


def test_perfect_scaling_goes_through_the_smallest_batch_with_slope_minus_one():
    picture = scaling([one(steps=(NAN, 1700, 500, 200))])
    x, y = np.log(line(picture, "perfect")).T
    np.testing.assert_allclose(np.diff(y) / np.diff(x), -1)
    assert np.interp(np.log(4), x, y) == pytest.approx(np.log(1700))
    assert line(picture, "missed")[:, 0].tolist() == [1]
    assert "target missed by some seed at every lr" in legend(picture)


def test_the_critical_batch_size_its_interval_and_the_noise_scale_are_marked():
    picture = scaling([one(noise=55.0)])
    assert line(picture, "critical")[:, 0].tolist() == [64, 64]
    assert line(picture, "noise")[:, 0].tolist() == [55, 55]
    (band,) = (p for p in picture.figure.axes[0].patches if p.get_gid() == "interval")
    assert (band.get_x(), band.get_x() + band.get_width()) == (40, 90)
    assert picture.figure.axes[0].get_title() == "sgd\nB_crit 64, noise scale 55"
    assert "beside a noise scale of 55" in picture.caption


def test_an_interval_without_end_reaches_the_edge():
    picture = scaling([one(interval=(40.0, math.inf))])
    axes = picture.figure.axes[0]
    (band,) = (p for p in axes.patches if p.get_gid() == "interval")
    assert band.get_x() + band.get_width() == axes.get_xlim()[1]
    assert "40 to beyond any size" in picture.caption


def test_what_lies_far_outside_is_told_and_does_not_stretch_the_picture():
    picture = scaling([one(critical=1e7, interval=(1e6, math.inf), noise=2e6)])
    assert picture.figure.axes[0].get_xlim()[1] < 200
    assert not len(line(picture, "critical"))
    assert "critical batch size B_crit" not in legend(picture)
    assert "B_crit = 1e7 (95%: 1e6 to beyond any size)" in picture.caption


def test_points_at_the_edge_of_the_grid_are_hollow():
    picture = scaling([one(edge=(0, 3))])
    hollow = next(li for li in picture.figure.axes[0].lines if li.get_gid() == "edge True")
    assert hollow.get_xydata().tolist() == [[1, 6500], [64, 200]]
    assert to_hex(hollow.get_markerfacecolor()) == "#ffffff"
    assert "best lr is the least or largest tried" in legend(picture)
    assert "At 2 points, drawn hollow" in picture.caption


def test_without_a_fit_the_sentence_says_why():
    why = "Batches of 64 used up their epochs."
    bare = one(least=NAN, critical=NAN, interval=(NAN, NAN), budget=why, note="Two sizes only.")
    picture = scaling([bare])
    assert not len(line(picture, "fit"))
    assert picture.caption == (
        f"Steps to a full loss of 0.1; no critical batch size can be told. {why} Two sizes only."
    )
    assert picture.figure.axes[0].get_title() == "sgd\nno B_crit"


def test_what_holds_for_some_is_told_with_their_names_and_what_holds_for_all_without():
    bare = {"least": NAN, "critical": NAN, "interval": (NAN, NAN)}
    names = ("sgd", "adam", "adagrad")
    same = scaling([one(label=name, note="Any value fits.", **bare) for name in names])
    assert same.caption.endswith("no critical batch size can be told. Any value fits.")
    notes = ("Any value fits.", "It is below 9.", "Any value fits.")
    some = scaling([one(label=n, note=t, **bare) for n, t in zip(names, notes, strict=True)])
    assert some.caption.endswith("sgd and adagrad: Any value fits. adam: It is below 9.")


def test_each_optimizer_has_a_panel_on_shared_axes():
    many = [one(label=f"optimizer {k}", critical=2.0**k, edge=(k % 4,)) for k in range(12)]
    picture = scaling(many)
    panels = [axes for axes in picture.figure.axes if axes.axison]
    assert [axes.get_title().split("\n")[0] for axes in panels] == [m.label for m in many]
    assert len({axes.get_xlim() + axes.get_ylim() for axes in panels}) == 1
    assert line(picture, "critical", 5)[0, 0] == 32
    assert "8 more in the picture" in picture.caption
    picture.figure.draw_without_rendering()
    titles = [axes.title.get_window_extent() for axes in panels]
    boxes = [*titles, *(axes.get_window_extent() for axes in panels)]
    boxes.append(picture.figure.legends[0].get_window_extent())
    assert not [(a, b) for i, a in enumerate(boxes) for b in boxes[:i] if a.overlaps(b)]


def test_no_steps_give_no_picture():
    assert scaling([]) is None
    assert scaling([one(steps=(NAN,) * 4)]) is None


def test_batch_sizes_are_told_with_three_digits():
    assert [figure(v) for v in (0.5, 33.75, 1730.4, 2.5e7)] == ["0.5", "33.8", "1,730", "2.5e7"]
