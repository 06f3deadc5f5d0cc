"""Loss over training of a sweep: medians and quartiles, the worst, and what was lost and when."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.colors import to_hex

from descent.analysis.bands import Band, Bands, Lost
from descent.analysis.settings import Setting
from descent.analysis.trials import Trial
from descent.report.style import GREY
from descent.report.sweep.loss_bands import bands

STEPS = np.array([0, 10, 20, 30])
NAN_LOSS = "step loss is nan at step {step} (epoch 1, lr 10); try a smaller lr"


def trial(number=0, status="ok", reason="", step=30, **values) -> Trial:
    named = {"optimizer": "sgd", **{k.replace("_", "."): v for k, v in values.items()}}
    return Trial(number, named, "", status, reason, step, step, 1.0, {}, Path(), "")


def band(label: str, each: Sequence[Sequence[float]], step=STEPS) -> Band:
    rows = np.array(each, dtype=float)
    low, median, high = np.quantile(rows, [0.25, 0.5, 0.75], axis=0)
    trials = tuple(trial(k) for k in range(len(rows)))
    ends = np.array(
        [row[np.isfinite(row)][-1] if np.isfinite(row).any() else np.nan for row in rows]
    )
    return Band(label, Setting({}, trials, {}), np.array(step), low, median, high, rows, ends)


def lost(lr: float, step: int, loss=(2.0, 4.0), reason=NAN_LOSS, name="full loss") -> Lost:
    one = trial(0, "diverged", reason.format(step=step), step, optimizer_lr=lr)
    return Lost(one, np.arange(len(loss)), np.array(loss), name)


SGD = band("sgd, lr=0.1", [[2, 1, 0.5, 0.1], [2, 1.2, 0.7, 0.3], [2, 1.1, 0.6, 0.2]])
ADAM = band("adam, lr=0.01", [[2, 0.5, 0.2, 0.05]])
WORST = band("sgd, lr=1e-5", [[2, 2, 1.9, 1.9], [2, 2, 1.9, 1.8]])


def lines(picture, gid: str) -> list:
    return [li for li in picture.figure.axes[0].lines if li.get_gid() == gid]


def legend(picture) -> list[str]:
    return [text.get_text() for text in picture.figure.legends[0].get_texts()]


def test_medians_and_quartiles_over_the_seeds_are_drawn():
    picture = bands(Bands("full loss", (SGD, ADAM), None, ()))
    sgd, adam = lines(picture, "median")
    np.testing.assert_allclose(sgd.get_xydata(), np.c_[STEPS, [2, 1.1, 0.6, 0.2]])
    np.testing.assert_allclose(adam.get_ydata(), [2, 0.5, 0.2, 0.05])
    edge = picture.figure.axes[0].collections[0].get_paths()[0].vertices
    at_end = sorted(set(np.round(edge[edge[:, 0] == 30, 1], 12)))
    assert at_end == [0.15, 0.25]  # quartiles of 0.1, 0.2, 0.3
    assert picture.figure.axes[0].get_ylabel() == "full loss"
    assert (
        picture.caption
        == "Drawn: the best setting of each optimizer. Of these the lowest full loss at the end: "
        "0.05 with adam, lr=0.01, while sgd, lr=0.1 ends at 0.2."
    )


def test_the_worst_is_grey_and_below_the_others():
    picture = bands(Bands("full loss", (SGD,), WORST, ()))
    best, worst = lines(picture, "median")
    assert to_hex(worst.get_color()) == GREY
    assert worst.get_zorder() < best.get_zorder()
    assert legend(picture) == ["sgd, lr=0.1", "worst: sgd, lr=1e-5"]
    assert "(median of 3 seeds; quartiles 0.15 and 0.25)" in picture.caption
    assert picture.caption.endswith("The worst that lost no trial, sgd, lr=1e-5, ends at 1.85.")


def test_the_lost_are_drawn_up_to_where_they_were_lost_with_what_and_when():
    gone = (lost(1.0, 25, (2.0, 3.0, 9.0)), lost(10.0, 7), lost(10.0, 5))
    picture = bands(Bands("full loss", (SGD,), None, gone))
    curves = [li.get_xydata().tolist() for li in lines(picture, "lost curve")]
    assert curves == [[[0, 2], [1, 4]], [[0, 2], [1, 4]], [[0, 2], [1, 3], [2, 9]]]
    crosses = [sorted(li.get_xdata().tolist()) for li in lines(picture, "lost")]
    assert crosses == [[5, 7], [25]]  # a row for each setting, the first lost first
    assert legend(picture)[1:] == [
        "sgd, lr=10: 2 trials diverged at steps 5 to 7", "sgd, lr=1: step loss is nan at step 25",
    ]  # fmt: skip
    assert (
        "3 trials that diverged, first sgd, lr=10: step loss is nan at step 5." in picture.caption
    )
    picture.figure.draw_without_rendering()
    top = picture.figure.axes[0].get_window_extent().y1
    assert all(li.get_window_extent().y0 > top - 1 for li in lines(picture, "lost"))


def test_a_long_reason_is_shortened_in_the_legend_only():
    long = (
        "full loss 9e+30 stayed above 1000 times its start 2 for 3 checks, up to step {step} (lr 1)"
    )
    picture = bands(Bands("full loss", (SGD,), None, (lost(1.0, 12, reason=long),)))
    assert legend(picture)[1] == "sgd, lr=1: diverged at step 12"
    assert "full loss 9e+30 stayed above 1000 times its start 2 for 3 checks" in picture.caption


def test_another_loss_than_the_others_is_named():
    picture = bands(Bands("full loss", (SGD,), None, (lost(1.0, 2, name="step loss"),)))
    assert legend(picture)[1].endswith("(drawn: step loss)")


def test_lost_and_awful_curves_do_not_stretch_the_picture():
    awful = band("sgd, lr=1", [[2, 1e3, 1e9, 1e12]])
    gone = lost(10.0, 3, (2.0, 1e5, 1e40, np.inf))
    low, high = bands(Bands("full loss", (SGD, ADAM), None, (gone,))).figure.axes[0].get_ylim()
    assert 0.01 < low < 0.05
    assert 2 < high < 40  # ten times the start, and a margin
    assert bands(Bands("full loss", (SGD,), awful, ())).figure.axes[0].get_ylim()[1] < 300


def test_runs_of_very_different_length_get_a_log_axis_that_begins_at_zero():
    long = band("sgd, batch_size=1", [[2, 1, 0.5, 0.1]], step=[0, 1000, 2000, 3000])
    axes = bands(Bands("full loss", (SGD, long), None, ())).figure.axes[0]
    assert axes.get_xscale() == "symlog"
    assert axes.get_xlim()[0] == 0
    assert bands(Bands("full loss", (SGD, ADAM), None, ())).figure.axes[0].get_xscale() == "linear"


def test_many_lost_settings_share_the_last_row():
    gone = tuple(lost(float(k), 10 + k) for k in range(1, 31))
    picture = bands(Bands("full loss", (SGD,), None, gone))
    assert [len(li.get_xdata()) for li in lines(picture, "lost")] == [1] * 6 + [24]
    assert legend(picture)[-1] == "24 other settings: 24 trials diverged at steps 17 to 40"


def test_many_long_names_leave_the_axes_their_room():
    name = f"an_optimizer, lr=0.001, batch_size=64, {'x' * 60}"
    best = tuple(band(f"{name}_{k}", [[2, 1, 1, 0.5 + k]]) for k in range(12))
    figure = bands(Bands("full loss", best, WORST, tuple(lost(k, k) for k in range(1, 9)))).figure
    figure.draw_without_rendering()
    box, axes = figure.legends[0].get_window_extent(), figure.axes[0].get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
    assert box.y1 < axes.y0
    assert axes.height > 3 * figure.dpi


def test_only_lost_trials_are_still_a_picture_and_nothing_is_none():
    picture = bands(Bands("full loss", (), None, (lost(1.0, 2),)))
    assert len(lines(picture, "lost curve")) == 1
    assert bands(Bands("full loss", (), None, ())) is None


def test_each_problem_has_a_panel_with_its_own_lines_and_crosses():
    from dataclasses import replace

    def on(data: str, one: Band) -> Band:
        return replace(one, setting=Setting({"data": data, "optimizer": "sgd"}, (), {}))

    gone = lost(1.0, 7)
    gone = replace(gone, trial=replace(gone.trial, values={"data": "wine", "optimizer": "sgd"}))
    picture = bands(Bands("full loss", (on("wine", SGD), on("digits", ADAM)), None, (gone,)))
    wine, digits = picture.figure.axes
    assert [axes.get_title() for axes in (wine, digits)] == ["data=wine", "data=digits"]
    ends = [
        [li.get_ydata()[-1] for li in axes.lines if li.get_gid() == "median"]
        for axes in (wine, digits)
    ]
    assert ends == [[0.2], [0.05]]
    assert [sum(li.get_gid() == "lost" for li in axes.lines) for axes in (wine, digits)] == [1, 0]
    assert "0.2 (median of 3 seeds; quartiles 0.15 and 0.25) with sgd, lr=0.1; 0.05 with adam" in (
        picture.caption
    )


def test_a_loss_of_zero_does_not_undo_a_log_axis():
    zero = band("adam, lr=0.1", [[2, 0.1, 0.001, 0]])
    axes = bands(Bands("full loss", (zero,), None, ())).figure.axes[0]
    assert axes.get_yscale() == "log"
    assert 1e-4 < axes.get_ylim()[0] < 1e-3
