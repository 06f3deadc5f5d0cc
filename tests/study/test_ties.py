"""Who is tied: planted ties are told, clear losers are not, and the test keeps its level."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from descent.study.reading import read_study
from descent.study.settings import Measure, settings
from descent.study.ties import contest, holm, interval, moderated, p_values

VAL = Measure("best/val/loss", "best val loss", True)
Write = Callable[..., Path]


def sweep_of(write_sweep: Write, losses: dict[str, list[float]], **options: Any) -> Path:
    jobs = [
        {"values": {"optimizer": name, "seed": seed}, "metrics": {"best/val/loss": loss}}
        for name, own in losses.items() for seed, loss in enumerate(own)
    ]  # fmt: skip
    return write_sweep(jobs, **options)


def test_planted_ties_are_told_and_a_clear_loser_is_not(write_sweep: Write) -> None:
    rng = np.random.default_rng(0)
    luck = rng.normal(0, 0.2, 5)  # what a seed does to all
    losses = {
        name: list(np.exp(level + luck + rng.normal(0, 0.05, 5)))
        for name, level in (("sgd", 0.0), ("momentum", 0.0), ("adam", 0.5))
    }
    study = read_study(sweep_of(write_sweep, losses))
    met = contest(settings(study, VAL), VAL)
    assert met is not None
    assert met.seeds == 5
    assert {s.values["optimizer"] for s in met.tied} == {"sgd", "momentum"} - {
        settings(study, VAL)[0].values["optimizer"]
    }
    assert [s.values["optimizer"] for s in met.worse] == ["adam"]


def test_one_seed_says_nothing(write_sweep: Write) -> None:
    study = read_study(sweep_of(write_sweep, {"sgd": [0.1], "adam": [9.0]}))
    assert contest(settings(study, VAL), VAL) is None


def test_settings_with_other_seeds_are_set_apart(write_sweep: Write) -> None:
    jobs = [
        {
            "values": {"optimizer": name, "seed": seed},
            "metrics": {"best/val/loss": loss + seed / 99},
        }
        for name, loss, seeds in (("sgd", 1.0, (0, 1)), ("adam", 2.0, (0, 2)))
        for seed in seeds
    ]
    met = contest(settings(read_study(write_sweep(jobs)), VAL), VAL)
    assert met is not None
    assert (met.tied, met.worse) == ((), ())
    assert [s.values["optimizer"] for s in met.apart] == ["adam"]


def test_scores_that_no_seed_moves_differ_if_they_differ_at_all(write_sweep: Write) -> None:
    losses = {"sgd": [1.0, 1.0], "adam": [1.0, 1.0], "adamw": [1.1, 1.1]}
    met = contest(settings(read_study(sweep_of(write_sweep, losses)), VAL), VAL)
    assert met is not None
    assert [s.values["optimizer"] for s in met.tied] == ["adam"]
    assert [s.values["optimizer"] for s in met.worse] == ["adamw"]


def test_two_settings_are_compared_by_the_paired_t_test() -> None:
    rng = np.random.default_rng(1)
    table = rng.normal(size=(2, 6)) + rng.normal(size=6)
    assert p_values(table) == pytest.approx([stats.ttest_rel(table[1], table[0]).pvalue])


def test_variances_that_agree_become_one() -> None:
    """Estimates of one value, 2, with 3 degrees each scatter as χ²(3) does, and no more."""
    rng = np.random.default_rng(0)
    estimated = 2 * rng.chisquare(3, 4000) / 3
    shrunk, freedom = moderated(estimated, 3)
    assert freedom > 60
    assert shrunk == pytest.approx(np.full(4000, 2.0), rel=0.5)
    assert shrunk.mean() == pytest.approx(2.0, rel=0.05)


def test_moderation_finds_the_planted_prior() -> None:
    """Variances drawn as s0² d0 / χ²(d0) with d0 = 8, s0² = 2, estimated with 3 degrees."""
    rng = np.random.default_rng(0)
    true = 2 * 8 / rng.chisquare(8, 4000)
    estimated = true * rng.chisquare(3, 4000) / 3
    shrunk, freedom = moderated(estimated, 3)
    assert freedom - 3 == pytest.approx(8, rel=0.25)
    assert np.mean(np.square(np.log(shrunk / true))) < 0.35 * np.mean(
        np.square(np.log(estimated / true))
    )


def test_holm_s_correction_by_hand() -> None:
    """Sorted .01 .02 .03 .04 times 4 3 2 1 are .04 .06 .06 .04, and never fall: .04 .06 .06 .06."""
    found = holm(np.array([0.03, 0.01, 0.04, 0.02]))
    assert found == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm(np.array([0.9, 0.8])).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(("count", "equal", "seeds"), [(3, 2, 3), (12, 3, 3), (12, 3, 2)])
def test_the_best_is_called_worse_at_most_once_in_twenty(
    count: int, equal: int, seeds: int
) -> None:
    """Of 300 draws at most 15 are expected; 28 come less than once in a thousand such tests."""
    rng = np.random.default_rng(count + seeds)
    level = np.concatenate([np.zeros(equal), 0.3 * np.arange(1, count - equal + 1)])
    excluded, worst_kept = 0, 0
    for _ in range(300):
        table = level[:, None] + rng.normal(0, 0.1, seeds) + rng.normal(0, 0.05, (count, seeds))
        order = np.argsort(table.mean(axis=1))
        p = holm(p_values(table[order]))
        excluded += bool(order[0] != 0 and p[list(order[1:]).index(0)] < 0.05)
        worst_kept += bool(p[-1] >= 0.05)
    assert excluded <= 28
    assert worst_kept <= (100 if count == 3 else 3)


def test_the_interval_of_the_mean_is_student_s() -> None:
    scores = [1.0, 2.0, 4.0]
    assert interval(scores) == pytest.approx(
        stats.t.interval(0.95, 2, loc=np.mean(scores), scale=stats.sem(scores))
    )
    assert all(math.isnan(end) for end in interval([1.0]))
