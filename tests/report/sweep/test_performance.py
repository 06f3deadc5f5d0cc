"""Performance profiles: step curves of the share of problems over the factor to the best."""

from __future__ import annotations

import numpy as np
import pytest

from descent.analysis.performance import Profile
from descent.report.sweep.profiles import performance


def profile(labels, cost) -> Profile:
    """Shares by hand: the fewest steps of each problem, and how far each contender is above."""
    cost = np.array(cost, dtype=float)
    ratio = cost / cost.min(axis=0)
    tau = np.unique(ratio[np.isfinite(ratio)])
    share = np.array([[(row <= t).mean() for t in tau] for row in ratio])
    problems = tuple(f"p{k}" for k in range(cost.shape[1]))
    return Profile(tuple(labels), problems, cost, tau, share, "steps")


# fewest: 10, 20, 10, 30; sgd 1, 1.5, 4, missed; adam 3, 1, 1, 1
TWO = profile(["sgd", "adam"], [[10, 30, 40, np.inf], [30, 20, 10, 30]])


def curves(picture) -> dict[str, np.ndarray]:
    return {li.get_label(): li.get_xydata() for li in picture.figure.axes[0].lines}


def at(curve: np.ndarray, tau: float) -> float:
    """The value of a curve that jumps at its points and then stays."""
    return float(curve[np.searchsorted(curve[:, 0], tau, side="right") - 1, 1])


def test_curves_are_steps_of_the_shares():
    picture = performance(TWO)
    sgd, adam = (curves(picture)[name] for name in ("sgd", "adam"))
    assert [at(sgd, t) for t in (1, 1.4, 1.5, 3.9, 4)] == [0.25, 0.25, 0.5, 0.5, 0.75]
    assert [at(adam, t) for t in (1, 2.9, 3)] == [0.75, 0.75, 1]
    assert {li.get_drawstyle() for li in picture.figure.axes[0].lines} == {"steps-post"}


def test_the_axis_doubles_and_shows_what_is_beyond_the_last_step():
    axes = performance(TWO).figure.axes[0]
    low, high = axes.get_xlim()
    assert (axes.get_xscale(), low) == ("log", 1)
    assert 4 < high < 5
    assert [t.get_text() for t in axes.get_xticklabels()] == ["1", "2", "4"]
    assert curves(performance(TWO))["sgd"][-1].tolist() == [high, 0.75]


def test_the_caption_names_the_fastest_the_safest_and_the_missed():
    """Up to factor 4: adam (2 x 0.75 + 1) / 3, sgd (0.5 x 0.25 + 2.5 x 0.5) / 3."""
    assert performance(TWO).caption == (
        "Fewest steps to the target most often: adam, on 75% of 4 problems; within twice the "
        "fewest most often: adam, on 75%; AlgoPerf score, the mean share over factors from 1 to "
        "4: adam 0.83 and sgd 0.46; targets missed at every lr: sgd on 1."
    )


def test_ties_are_named_together():
    tie = profile(["sgd", "adam"], [[10, 10], [10, 10]])
    picture = performance(tie)
    assert "sgd and adam, on 100% of 2 problems" in picture.caption
    assert picture.figure.axes[0].get_xlim() == (1, 2)
    # the line below is wider, so that both are seen
    first, second = (li.get_linewidth() for li in picture.figure.axes[0].lines)
    assert first > second + 1


@pytest.mark.parametrize("count", [12, 25])
def test_many_contenders_are_told_apart(count):
    steps = np.random.default_rng(0).uniform(10, 500, (count, 6))
    picture = performance(profile([f"optimizer_{k}" for k in range(count)], steps))
    lines = picture.figure.axes[0].lines
    assert len(lines) == count
    looks = {(li.get_color(), str(li.get_linestyle()), li.get_linewidth()) for li in lines}
    assert len(looks) == min(count, 20) + (count > 20)


def test_nobody_at_the_target_gives_no_picture():
    nobody = Profile(
        ("sgd",), ("a",), np.array([[np.inf]]), np.array([1.0]), np.zeros((1, 1)), "steps"
    )
    assert performance(nobody) is None
