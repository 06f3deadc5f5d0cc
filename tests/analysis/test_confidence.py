"""Who may be the best: planted ties are kept, clear losers are not, and tests keep their level."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from descent.analysis.confidence import contest, effect, may_be_best, moderated, of_median, of_share
from descent.analysis.settings import Measure, settings
from descent.analysis.study import read_study

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
    assert [s.values["optimizer"] for s in met.out] == ["adam"]


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
    assert (met.tied, met.out) == ((), ())
    assert [s.values["optimizer"] for s in met.apart] == ["adam"]


def test_scores_that_no_seed_moves_are_no_replicates(write_sweep: Write) -> None:
    losses = {"sgd": [1.0, 1.0], "adam": [1.0, 1.0], "adamw": [1.1, 1.1]}
    met = contest(settings(read_study(sweep_of(write_sweep, losses)), VAL), VAL)
    assert met is not None
    assert met.fixed
    assert [s.values["optimizer"] for s in met.equal] == ["adam"]
    assert met.out == ()  # no seed says that 1.1 would stay above 1 with other weights


def test_few_settings_are_compared_by_their_paired_differences() -> None:
    """Two rows: the studentized range of two is sqrt(2) |t|, so it is the paired t-test at 4 %."""
    rng = np.random.default_rng(1)
    verdicts = []
    for _ in range(200):
        table = rng.normal(size=(2, 6)) + rng.normal(size=6) + np.array([[0.0], [1.2]])
        table = table[np.argsort(table.mean(axis=1))]
        p = stats.ttest_rel(table[1], table[0]).pvalue
        assert may_be_best(table)[1] == (p >= 0.04)
        verdicts.append(p >= 0.04)
    assert 20 < sum(verdicts) < 180


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


@pytest.mark.parametrize("kind", ["normal", "spread", "tails"])
@pytest.mark.parametrize(("count", "seeds"), [(6, 3), (20, 2), (20, 5)])
def test_of_equal_settings_none_goes_in_95_of_100_sweeps(count: int, seeds: int, kind: str) -> None:
    """Of 200 draws at most 10 are expected; 21 come less than once in a thousand such tests."""
    rng = np.random.default_rng(count + seeds)
    false = 0
    for _ in range(200):
        table = rng.normal(0, 0.1, (count, seeds))
        if kind == "spread":
            table *= np.where(rng.random(count) < 0.5, 0.2, 3)[:, None]
        if kind == "tails":
            table = 0.1 * rng.standard_t(2, (count, seeds))
        table = table[np.argsort(table.mean(axis=1))] + rng.normal(size=seeds)
        false += not may_be_best(table).all()
    assert false <= 20


def test_what_is_three_times_as_bad_goes_while_the_best_stay() -> None:
    rng = np.random.default_rng(0)
    level = np.log(np.repeat([1.0, 3.0], [4, 8]))[:, None]
    kept = np.array([may_be_best(level + rng.normal(0, 0.1, (12, 5))) for _ in range(40)])
    assert not kept[:, 4:].any()
    assert kept[:, :4].all(axis=1).mean() >= 0.9


def test_the_interval_of_the_median_holds_it_whatever_the_spread() -> None:
    """By hand: the least and the largest of 5 miss it with 2 / 2^5, of 6 with 2 / 2^6."""
    five, six = of_median([5.0, 1.0, 3.0, 2.0, 4.0]), of_median([6.0, 1.0, 3.0, 2.0, 4.0, 5.0])
    assert five is not None
    assert six is not None
    assert (five.low, five.high, five.level) == (1.0, 5.0, 1 - 2 / 32)
    assert (six.low, six.high, six.level) == (1.0, 6.0, 1 - 2 / 64)
    assert of_median([1.0] * 4) is None
    assert of_median([0.98] * 7) is None  # never of width 0
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(2000):
        draws = rng.normal(1, 0.1, 7) * np.where(rng.random(7) < 0.1, 3, 1)
        found = of_median(list(draws))
        assert found is not None
        held += found.low <= 1.013 <= found.high  # the median of the mixture: 1.0127
    assert held >= 0.93 * 2000


def test_a_share_has_wilson_s_interval_and_stays_inside() -> None:
    """Of 180 rows 0.9593 are right; binomtest gives the same interval for whole counts."""
    wanted = stats.binomtest(173, 180).proportion_ci(method="wilson")
    found = of_share(173 / 180, 180)
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=1e-6)
    assert of_share(1.0, 36).high == 1.0
    assert 0.85 < of_share(1.0, 36).low < 1.0


def test_effects_are_ratios_of_paired_scores_and_pairs_are_counted(write_sweep: Write) -> None:
    losses = {"adam": [1.0, 2.0, 4.0], "sgd": [1.1, 2.3, 4.5]}
    whole = settings(read_study(sweep_of(write_sweep, losses)), VAL)
    found = effect(whole[:1], whole[1:], VAL)
    assert found is not None
    logs = np.log(np.array(losses["sgd"]) / np.array(losses["adam"]))
    assert found.size == pytest.approx(math.expm1(logs.mean()))
    # two settings: Student's t at the level of three seeds, 2.5 %
    half = stats.t.ppf(1 - 0.025 / 2, 2) * logs.std(ddof=1) / math.sqrt(3)
    ends = (math.expm1(logs.mean() - half), math.expm1(logs.mean() + half))
    assert (found.interval.low, found.interval.high) == pytest.approx(ends, rel=1e-3)
    # 1 < 1.1 2.3 4.5; 2 < 2.3 4.5; 4 < 4.5
    assert (found.won, found.pairs) == (6, 9)


def test_a_setting_with_fewer_seeds_than_most_does_not_win(write_sweep: Write) -> None:
    losses = {"sgd": [0.1], "adam": [1.0, 1.1, 1.2], "adamw": [2.0, 2.1, 2.2]}
    found = settings(read_study(sweep_of(write_sweep, losses)), VAL)
    assert [s.values["optimizer"] for s in found] == ["adam", "adamw", "sgd"]
    assert found[-1].standing == "fewer"
