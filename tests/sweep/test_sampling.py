"""Random search: what is drawn, and that nothing else is accepted."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from scipy import stats

from descent.errors import UserError
from descent.sweep.sampling import draw

LR = "optimizer.lr=interval(1e-4,1)"


def drawn(*words: str, trials: int = 64, seed: int = 0) -> list[list[str]]:
    return draw(OverridesParser.create().parse_overrides(list(words)), trials, seed).jobs


def column(jobs: list[list[str]], key: str) -> list[str]:
    return [dict(word.split("=", 1) for word in job)[key] for job in jobs]


def test_one_seed_draws_one_search_and_another_another() -> None:
    assert drawn(LR) == drawn(LR)
    assert drawn(LR) != drawn(LR, seed=1)
    assert drawn(LR, trials=8) == drawn(LR, trials=8)


def test_a_rate_is_drawn_on_a_log_scale_and_a_share_evenly() -> None:
    jobs = drawn(LR, "model.dropout=interval(0,0.5)", "optimizer.momentum=interval(0.1,0.9)",
                 trials=1000)  # fmt: skip
    lr = np.log10(np.array(column(jobs, "optimizer.lr"), float))
    assert stats.kstest(lr, "uniform", args=(-4, 4)).pvalue > 1e-3
    dropout = np.array(column(jobs, "model.dropout"), float)
    assert stats.kstest(dropout, "uniform", args=(0, 0.5)).pvalue > 1e-3
    momentum = np.array(column(jobs, "optimizer.momentum"), float)
    assert stats.kstest(momentum, "uniform", args=(0.1, 0.8)).pvalue > 1e-3
    assert abs(stats.spearmanr(lr, dropout).statistic) < 0.15  # independent of one another


def test_tags_choose_the_scale() -> None:
    even = np.array(
        column(drawn("optimizer.lr=tag(uniform,interval(1e-4,1))", trials=500), "optimizer.lr"),
        float,
    )
    assert 0.4 < np.median(even) < 0.6
    log = np.array(
        column(drawn("optimizer.alpha=tag(log,interval(0.01,1))", trials=500), "optimizer.alpha"),
        float,
    )
    assert 0.07 < np.median(log) < 0.14


def test_counts_are_whole_numbers_within_their_interval() -> None:
    sizes = column(drawn("data.batch_size=interval(8,256)", trials=500), "data.batch_size")
    assert all(re.fullmatch(r"\d+", size) for size in sizes)
    numbers = np.array(sizes, int)
    assert (numbers.min() >= 8, numbers.max() <= 256) == (True, True)
    assert 30 < np.median(numbers) < 70  # on a log scale: 45
    assert set(column(drawn("stop.epochs=interval(1,3)", trials=100), "stop.epochs")) == {*"123"}


def test_values_of_a_list_are_drawn_equally_often_and_every_setting_gets_every_seed() -> None:
    jobs = drawn("optimizer=sgd,adam", LR, "seed=0,1,2", "data=iris", trials=10)
    assert len(jobs) == 30
    assert [word.split("=")[0] for word in jobs[0]] == [
        "optimizer", "optimizer.lr", "seed", "data"
    ]  # fmt: skip
    assert column(jobs, "optimizer").count("sgd") == 15
    assert column(jobs, "seed") == ["0", "1", "2"] * 10
    assert len(set(column(jobs, "optimizer.lr"))) == 10
    assert set(column(jobs, "data")) == {"iris"}


def test_what_is_drawn_is_told() -> None:
    overrides = OverridesParser.create().parse_overrides([LR, "data.batch_size=8,16"])
    assert draw(overrides, 4, 7).told == (
        "4 settings drawn by hydra.sweeper.seed=7: optimizer.lr from 0.0001 to 1 on a log scale; "
        "data.batch_size of 2 values"
    )


@pytest.mark.parametrize(
    ("words", "trials", "sentence"),
    [
        (["data=iris"], 3, "has nothing to draw from; give an interval"),
        (["seed=0,1"], 3, "has nothing to draw from"),
        ([LR], 0, "must be a whole number from 1 to 100,000"),
        ([LR], "many", "must be a whole number from 1 to 100,000"),
        ([LR], True, "must be a whole number from 1 to 100,000"),
        ([LR, "seed=range(0,11)"], 10_000, "would have 110,000 jobs"),
        (["optimizer.lr=interval(1,1)"], 3, "goes from a number to a larger one"),
        (["optimizer.lr=interval(1,inf)"], 3, "goes from a number to a larger one"),
        (["optimizer.lr=interval(-1,1)"], 3, "each value must be a number"),
        (["optimizer.momentum=interval(0,2)"], 3, "each value must be a number"),
        (["optimizer.weight_decay=tag(log,interval(0,1))"], 3, "a log scale begins above 0"),
        (["optimizer.lr=tag(normal,interval(0.1,1))"], 3, "are log or uniform, not normal"),
        (["data.batch_size=interval(8.2,8.7)"], 3, "no whole number in it"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_refused_in_one_sentence(
    words: list[str], trials: object, sentence: str
) -> None:
    with pytest.raises(UserError, match=re.escape(sentence)) as caught:
        drawn(*words, trials=trials)  # type: ignore[arg-type]
    assert str(caught.value).count(".\n") == 0


def test_ends_that_an_option_excludes_are_never_drawn() -> None:
    """momentum lies below 1: the interval may end there, a value may not."""
    values = np.array(
        column(drawn("optimizer.momentum=interval(0.9995,1)", trials=200), "optimizer.momentum"),
        float,
    )
    assert values.max() < 1


@pytest.mark.slow
def test_a_search_is_stacked_reported_and_gone_on_with(type_command, tmp_path) -> None:
    words = ("-m", "data=iris", "model=linear", LR, "seed=0,1", "hydra.sweeper.trials=12")
    done = type_command("train", *words, "stop.epochs=2", timeout=300)
    assert done.returncode == 0, done.stderr
    assert "search    12 settings drawn by hydra.sweeper.seed=0: optimizer.lr from" in done.stdout
    assert "group 1: 24 runs in 1 stack of 24" in done.stdout
    (sweep,) = (tmp_path / "outputs" / "multiruns").iterdir()
    assert (sweep / "report" / "search.png").is_file()
    again = type_command("train", *words, "stop.epochs=2", f"sweep_dir={sweep}", timeout=300)
    assert "24 of 24" in again.stdout, "the same seed draws the same settings"
    refused = type_command("train", *words[:4])
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "Add hydra.sweeper.trials=64" in refused.stderr
    alone = type_command("train", LR)
    assert alone.stderr == f"error: {LR} gives several values; add -m to try them.\n"
