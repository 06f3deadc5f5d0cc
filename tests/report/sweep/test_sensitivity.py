"""Sensitivity to the learning rate: what is drawn is what was scored, and nothing is hidden."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from descent.analysis.sensitivity import Line, Lines
from descent.analysis.settings import Measure
from descent.report.style import MOST_STYLED
from descent.report.sweep.lr_lines import sensitivity

LOSS = Measure("train/full_loss", "final full loss", True)
RATES = (0.001, 0.01, 0.1, 1.0)


def line(
    label: str, scores: Sequence[Sequence[float]], lost=None, x=RATES, figure=math.nan
) -> Line:
    found = [np.array(s, dtype=float) for s in scores]
    low, median, high = (
        np.array([np.quantile(s, q) if len(s) else np.nan for s in found])
        for q in (0.25, 0.5, 0.75)
    )
    gone = np.array(lost if lost is not None else [0] * len(x))
    return Line(label, np.array(x, dtype=float), found, gone, median, low, high, figure)


def drawn(*lines: Line, x="optimizer.lr", measure=LOSS):
    return sensitivity(Lines(x, measure, lines))


def named(picture, gid: str) -> list[np.ndarray]:
    return [li.get_xydata() for li in picture.figure.axes[0].lines if li.get_gid() == gid]


def legend(picture) -> list[str]:
    return [text.get_text() for text in picture.figure.legends[0].get_texts()]


SGD = line("sgd", [[2.0, 2.2, 2.1], [0.5, 0.7], [0.1, 0.2, 0.3], []], [0, 1, 0, 3], figure=0.612)
ADAM = line("adam", [[0.4, 0.2, 0.3]] * 4, figure=0.05)


def test_medians_bands_and_every_seeds_dot_are_drawn():
    picture = drawn(SGD, ADAM)
    np.testing.assert_array_equal(
        named(picture, "medians")[0], np.c_[RATES, [2.1, 0.6, 0.2, np.nan]]
    )
    sgd, adam = named(picture, "seeds")
    assert sorted(sgd[:, 1]) == [0.1, 0.2, 0.3, 0.5, 0.7, 2.0, 2.1, 2.2]
    assert len(adam) == 12
    # quartiles of 0.1, 0.2, 0.3 are 0.15 and 0.25; those of 2.0, 2.1, 2.2 are 2.05 and 2.15
    band = picture.figure.axes[0].collections[0].get_paths()[0].vertices
    assert {0.15, 0.25, 2.05, 2.15} <= set(np.round(band[:, 1], 12))


def test_dots_of_two_lines_stand_beside_each_other_and_near_their_place():
    sgd, adam = (np.log10(dots[:, 0]) for dots in named(drawn(SGD, ADAM), "seeds"))
    assert sgd.max() < -1 < adam[(adam > -1.5) & (adam < -0.5)].max()
    places = np.log10(RATES)
    for dots in (sgd, adam):
        away = np.abs(dots[:, None] - places).min(axis=1)
        assert 0 < away.max() < 0.05
        assert np.ptp(away) < 1e-9  # no jitter


def test_lost_trials_are_crosses_at_their_rate_above_the_picture():
    picture = drawn(SGD, ADAM)
    axes = picture.figure.axes[0]
    whole, some = (li for li in axes.lines if li.get_gid() == "lost")
    assert (whole.get_marker(), whole.get_xdata().tolist()) == ("X", [1.0])
    assert (some.get_marker(), some.get_xdata().tolist()) == ("x", [0.01])
    picture.figure.draw_without_rendering()
    top = axes.get_window_extent().y1
    assert all(cross.get_window_extent().y0 > top - 1 for cross in (whole, some))
    assert legend(picture)[-2:] == ["all trials lost", "some trials lost"]
    assert "4 trials did not end well" in picture.caption


def test_each_line_that_lost_trials_has_a_row_of_its_own():
    picture = drawn(*(line(f"o{k}", [[1.0], [1.0], [], []], [0, 0, 1, 1]) for k in range(5)))
    picture.figure.draw_without_rendering()
    crosses = [li for li in picture.figure.axes[0].lines if li.get_gid() == "lost"]
    ups = [cross.get_window_extent().y0 for cross in crosses]
    assert len(set(np.round(ups))) == 5


def test_the_legend_carries_the_sensitivity_and_what_was_fixed():
    from dataclasses import replace

    picture = drawn(SGD, replace(ADAM, fixed="batch_size=64"))
    assert legend(picture)[:2] == [
        "sgd (sensitivity 0.612)", "adam, batch_size=64 (sensitivity 0.05)",
    ]  # fmt: skip
    assert "is least for adam, batch_size=64 (0.05) and greatest for sgd (0.612)" in picture.caption
    assert picture.caption.startswith("Lowest median final full loss: 0.2, sgd at lr=0.1.")


def test_an_unknown_sensitivity_is_not_made_up():
    picture = drawn(line("sgd", [[1.0], [0.5], [0.2], [0.4]]))
    assert legend(picture) == ["sgd"]
    assert "ensitivity" not in picture.caption


def test_one_seed_is_its_own_median():
    picture = drawn(line("sgd", [[1.0], [0.5], [0.2], [0.4]]))
    assert named(picture, "medians")[0][:, 1].tolist() == [1.0, 0.5, 0.2, 0.4]
    assert not named(picture, "seeds")


def test_the_scales_follow_the_values():
    log = drawn(line("sgd", [[100.0], [1.0], [0.01], [1.0]])).figure.axes[0]
    assert (log.get_xscale(), log.get_yscale()) == ("log", "log")
    momentum = line("sgd", [[0.8], [0.9], [0.7]], x=(0.0, 0.5, 0.9))
    even = drawn(momentum, x="optimizer.momentum").figure.axes[0]
    assert (even.get_xscale(), even.get_yscale()) == ("linear", "linear")
    assert [t.get_text() for t in even.get_xticklabels()] == ["0", "0.5", "0.9"]


def test_awful_scores_flatten_nothing_and_are_counted():
    good = [[0.1, 0.11], [0.12, 0.13], [0.14, 0.15]]
    picture = drawn(line("sgd", [*good, [0.16, 1e30]]), line("adam", [[0.1, 0.2]] * 4))
    low, high = picture.figure.axes[0].get_ylim()
    assert 0 < low < 0.1
    assert 0.2 < high < 1
    assert sum(len(xy) for xy in named(picture, "beyond")) == 1
    assert "1 score lies outside the picture" in picture.caption


def test_more_is_better_where_the_measure_says_so():
    measure = Measure("val/accuracy", "final val accuracy", False)
    picture = drawn(line("sgd", [[0.5], [0.9], [0.8], [0.1]]), measure=measure)
    assert picture.caption.startswith("Highest median final val accuracy: 0.9, sgd at lr=0.01.")


def test_everything_lost_is_still_a_picture():
    picture = drawn(line("sgd", [[], [], [], []], [3, 3, 3, 3]))
    assert [t.get_text() for t in picture.figure.axes[0].texts] == ["no trial ended well"]
    assert "12 trials did not end well" in picture.caption


def test_nothing_gives_no_picture():
    assert drawn() is None
    assert drawn(line("sgd", [[], [], [], []])) is None


@pytest.mark.parametrize("count", [12, 20, 26])
def test_many_lines_are_told_apart_and_fit(count):
    lines = [
        line(f"optimizer of a long name {k}", [[1.0 + k], [0.5], [0.2], []], [0, 0, 0, 1])
        for k in range(count)
    ]
    picture = drawn(*lines)
    styled = [li for li in picture.figure.axes[0].lines if li.get_gid() == "medians"]
    looks = {(li.get_color(), li.get_marker()) for li in styled}
    assert len(looks) == min(count, MOST_STYLED) + (count > MOST_STYLED)
    picture.figure.draw_without_rendering()
    box = picture.figure.legends[0].get_window_extent()
    axes = picture.figure.axes[0]
    assert 0 <= box.x0 < box.x1 <= picture.figure.bbox.x1
    assert box.y1 < axes.get_window_extent().y0
    assert axes.get_window_extent().height > 3 * picture.figure.dpi  # inches
    if count > MOST_STYLED:
        assert f"{count - MOST_STYLED} others" in legend(picture)


def test_each_problem_has_a_panel_in_which_names_look_alike():
    labels = [f"{name}, data={data}" for data in ("digits", "wine") for name in ("sgd", "adam")]
    lines = [
        line(label, [[k + 1.0], [0.5], [0.2], []], [0, 0, 0, k], figure=k / 8)
        for k, label in enumerate(labels)
    ]
    picture = drawn(*lines)
    panels = picture.figure.axes
    assert [axes.get_title() for axes in panels] == ["data=digits", "data=wine"]
    medians = [[li for li in axes.lines if li.get_gid() == "medians"] for axes in panels]
    assert [[li.get_ydata()[0] for li in own] for own in medians] == [[1, 2], [3, 4]]
    assert [li.get_color() for li in medians[0]] == [li.get_color() for li in medians[1]]
    assert legend(picture)[:2] == ["sgd", "adam"]
    assert "0.2, sgd, data=digits at lr=0.1; 0.2, sgd, data=wine at lr=0.1" in picture.caption


def test_medians_within_a_hundred_times_the_others_are_in_the_picture():
    # all but two scores are 0.2 to 0.25; 1.9 is bad but nothing to be hidden
    usual = [[0.2, 0.21], [0.22, 0.23], [0.24, 0.25], [0.2, 0.25]]
    picture = drawn(line("sgd", usual), line("adam", usual), line("full", [[1.9, 1.8], *usual[1:]]))
    assert not named(picture, "beyond")
    assert picture.figure.axes[0].get_ylim()[1] > 1.9


def test_a_score_of_zero_stands_at_the_foot_of_a_log_axis():
    picture = drawn(line("sgd", [[1.0, 2.0], [0.01, 0.02], [0.001, 0.001], [0.0, 0.0]]))
    axes = picture.figure.axes[0]
    assert axes.get_yscale() == "log"
    assert named(picture, "medians")[0][-1, 1] == axes.get_ylim()[0]
    assert "2 scores lie outside the picture" in picture.caption


def test_the_best_mean_is_told_where_it_is_not_the_best_median():
    """Settings are ranked by means: the page must not name two winners without a word."""
    lucky = line("adam", [[0.1, 0.1, 0.9], [0.5, 0.5, 0.5]], x=(0.01, 0.1))
    even = line("sgd", [[0.2, 0.2, 0.2], [0.3, 0.3, 0.3]], x=(0.01, 0.1))
    caption = drawn(lucky, even).caption
    assert caption.startswith(
        "Lowest median final full loss: 0.1, adam at lr=0.01 (the lowest mean: 0.2, sgd at "
        "lr=0.01)."
    )
    assert "mean:" not in drawn(even).caption
    reached = Measure("steps to target", "steps to full loss 0.1", True, 0.1)
    short = line("sgd", [[3.0], []], [0, 1], x=(0.01, 0.1))
    assert "1 trial did not reach the target: the cross on" in drawn(short, measure=reached).caption
