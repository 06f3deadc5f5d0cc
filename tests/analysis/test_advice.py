"""What a sweep is said to have found, and commands that Hydra composes."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser

from descent.analysis.advice import Advice, advice
from descent.analysis.boundary import boundaries
from descent.analysis.grid import grids
from descent.analysis.neighbours import between, beyond
from descent.analysis.settings import Measure, settings
from descent.analysis.study import read_study
from descent.config.check import check
from descent.errors import joined

VAL = Measure("best/val/loss", "best val loss", True)
CONF = Path(__file__).parents[2] / "conf"
Write = Callable[..., Path]


def advised(sweep: Path, measure: Measure = VAL) -> Advice:
    study = read_study(sweep)
    own = settings(study, measure)
    return advice(study, own, grids(study, own, measure), measure)


def job(loss: float, more: dict[str, Any] | None = None, **values: Any) -> Any:
    made = {"values": {key.replace("__", "."): value for key, value in values.items()}}
    return {**made, "metrics": {"best/val/loss": loss}, **(more or {})}


def composed(advice: Advice) -> list[Any]:
    """Return the checked config of each setting of the next sweep, as Hydra composes them."""
    python, script, multirun, *words = shlex.split(advice.next_sweeps[0].command)
    assert (python, script, multirun) == ("python", "src/train.py", "-m")
    assert not any("hydra.sweeper.only" in word for word in words)
    parsed = OverridesParser.create().parse_overrides(words)
    jobs = BasicSweeper.split_arguments(parsed, None)[0]
    first = [o for o in jobs[0] if o.startswith("seed=")]
    made = []
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for overrides in jobs:
            if first != [o for o in overrides if o.startswith("seed=")]:
                continue
            made.append(compose("train", overrides=list(overrides)))
            check(made[-1])
    return made


LRS = (0.01, 0.03, 0.1, 0.3, 1.0)


def valley(best: float, depth: float = 0.1, **options: Any) -> list[Any]:
    """Return losses that rise with the square of log lr's distance, alike for three seeds."""
    rng = np.random.default_rng(1)
    return [
        job(1 + depth * math.log10(lr / best) ** 2 + rng.normal(0, 0.002), optimizer__lr=lr,
            seed=s, **options)
        for lr in LRS for s in range(3)
    ]  # fmt: skip


def test_the_planted_winner_is_told_with_its_uncertainty(write_sweep: Write) -> None:
    jobs = valley(0.1)
    scores = [one["metrics"]["best/val/loss"] for one in jobs[6:9]]
    sweep = write_sweep(jobs, shared=["data=wine", "model=linear"])
    found = advised(sweep)
    assert found.winner is not None
    assert found.winner.values == {"optimizer.lr": 0.1}
    places = 1 - math.floor(math.log10(np.std(scores, ddof=1)))  # two digits of the spread
    assert found.lead == (
        f"The best setting is lr=0.1: best val loss = {np.mean(scores):.{places}f} ± "
        f"{np.std(scores, ddof=1):.{places}f} (mean ± standard deviation over 3 seeds, each at its "
        "best epoch).",
    )
    assert found.tied == ()
    assert found.doubts == (
        "With 95% confidence it is the best of the 5 settings that lost no trial (paired over 3 "
        "seeds).",
        "The best was picked by these very seeds, which flatters its score; fresh seeds tell it "
        "honestly.",
    )
    assert found.edges == ("It lies inside what was tried, and its neighbours are near enough.",)
    (following,) = found.next_sweeps
    assert following.command == (
        "python src/train.py -m data=wine model=linear optimizer.lr=0.1 'seed=range(3,9)' "
        f"after={sweep}"
    )
    assert following.aim == "confirm the best setting with fresh seeds"
    assert following.price == "6 runs, about 600 run-steps, up to 3 s of training"  # 100 in 0.5 s
    assert [cfg.optimizer.lr for cfg in composed(found)] == [0.1]


@pytest.mark.parametrize(
    ("key", "word", "fresh"),
    [
        ("data.fold", "fold", "'data.fold=range(0,5)' data.split_seed=1,2"),
        ("data.split_seed", "split", "'data.split_seed=range(5,11)'"),
    ],
)
def test_folds_and_splits_are_called_by_their_name_and_repeated_by_what_there_is(
    write_sweep: Write, key: str, word: str, fresh: str
) -> None:
    rng = np.random.default_rng(1)
    jobs = [
        job(1 + 0.1 * math.log10(lr / 0.1) ** 2 + rng.normal(0, 0.002),
            **{"optimizer.lr": lr, key: i}) for lr in LRS for i in range(5)
    ]  # fmt: skip
    shared = ["data=wine", "model=linear", *(["data.folds=5"] if word == "fold" else [])]
    found = advised(write_sweep(jobs, shared=shared))
    assert not any("seed" in sentence for sentence in found.sentences)
    assert f"over 5 {word}s, each at its best epoch)" in found.lead[0]
    assert found.doubts[0].endswith(f"(paired over 5 {word}s).")
    assert (word == "fold") == any("training rows in common" in told for told in found.doubts)
    (following,) = found.next_sweeps
    assert following.aim == "confirm the best setting with fresh splits"
    assert following.command.split(" after=")[0].endswith(fresh)
    assert len(composed(found)) == following.runs


def test_a_planted_tie_is_told_and_taken_along(write_sweep: Write) -> None:
    rng = np.random.default_rng(0)
    luck = rng.normal(0, 0.1, 6)
    jobs = [
        job(float(level + luck[s] + rng.normal(0, 0.01)), optimizer=name, seed=s)
        for name, level in (("sgd", 1.0), ("adam", 1.0), ("rmsprop", 2.0)) for s in range(6)
    ]  # fmt: skip
    found = advised(write_sweep(jobs, shared=["data=wine", "model=linear"]))
    assert found.winner is not None
    (tied,) = found.tied
    names = {str(s.values["optimizer"]) for s in (found.winner, tied)}
    assert names == {"sgd", "adam"}
    assert found.doubts[0] == (
        "With 95% confidence the best of what was tried is among these 2 (paired over 6 seeds): "
        f"{found.winner.values['optimizer']} ({found.winner.mean:.4g}) and "
        f"{tied.values['optimizer']} ({tied.mean:.4g}). The other one that lost no trial is not."
    )
    assert found.next_sweeps[0].aim == (
        "confirm the best setting and the one tied with it with fresh seeds"
    )
    assert "'seed=range(6,12)'" in found.next_sweeps[0].command
    assert {cfg.optimizer._target_ for cfg in composed(found)} == {
        "torch.optim.SGD", "torch.optim.Adam",
    }  # fmt: skip


def test_the_winner_and_all_tied_are_confirmed_and_nothing_else(write_sweep: Write) -> None:
    """Three settings on a diagonal: of the nine combinations of their values three are trained."""
    rng = np.random.default_rng(0)
    jobs = [
        job(1 + (i != k or i in (0, 4)) + rng.normal(0, 0.01), optimizer__lr=lr,
            data__batch_size=b, seed=s)
        for i, lr in enumerate((0.005, 0.01, 0.02, 0.04, 0.08))
        for k, b in enumerate((8, 16, 32, 64, 128)) for s in range(5)
    ]  # fmt: skip
    found = advised(write_sweep(jobs, shared=["data=wine", "model=linear"]))
    assert len(found.tied) == 2
    (following,) = found.next_sweeps
    assert following.aim.startswith("confirm the best setting and the 2 tied with it")
    words = shlex.split(following.command)
    (only,) = [word.partition("=")[2] for word in words if word.startswith("hydra.sweeper.only")]
    assert sorted(only[2:-2].split("],[")) == ["0.01,16", "0.02,32", "0.04,64"]
    assert following.runs == 3 * 6


def test_a_winner_at_the_edge_is_told_and_the_grid_goes_on(write_sweep: Write) -> None:
    sweep = write_sweep(valley(30), shared=["data=wine", "model=linear"])
    found = advised(sweep)
    assert "Its lr=1 is the largest that was tried: larger ones may be better." in found.edges
    (following,) = found.next_sweeps
    assert following.command == (
        "python src/train.py -m data=wine model=linear optimizer.lr=0.3,1,3.3,11 seed=0,1,2 "
        f"after={sweep}"
    )
    assert following.aim == "try larger lr"
    assert {cfg.optimizer.lr for cfg in composed(found)} == {0.3, 1, 3.3, 11}


def test_a_coarse_grid_is_told_and_refined(write_sweep: Write) -> None:
    sweep = write_sweep(valley(0.1, depth=2), shared=["data=wine", "model=linear"])
    found = advised(sweep)
    low = 1 + 2 * math.log10(0.3) ** 2
    told = next(sentence for sentence in found.sentences if "coarse" in sentence)
    assert told.startswith(f"The grid is coarse in lr: {low:.2f} times the best val loss at 0.03")
    assert told.endswith("; a better one may lie between.")
    (following,) = found.next_sweeps
    assert following.command == (
        "python src/train.py -m data=wine model=linear optimizer.lr=0.055,0.1,0.17 seed=0,1,2 "
        f"after={sweep}"
    )
    assert following.aim == "try a finer grid of lr"
    assert len(composed(found)) == 3


def test_a_larger_batch_gets_its_own_learning_rates(write_sweep: Write) -> None:
    jobs = [
        job(1 - 0.1 * math.log2(b) + 0.05 * (lr != 0.1) + s / 1e3, optimizer__lr=lr,
            data__batch_size=b, seed=s)
        for lr in (0.03, 0.1, 0.3) for b in (8, 16, 32) for s in (0, 1)
    ]  # fmt: skip
    found = advised(write_sweep(jobs, shared=["data=wine", "model=linear"]))
    assert found.next_sweeps[0].aim == "try larger batch_size and lr around it"
    made = composed(found)
    assert {cfg.data.batch_size for cfg in made} == {16, 32, 64, 128}
    lrs = sorted({cfg.optimizer.lr for cfg in made})
    assert lrs[0] <= 0.04  # a third of 0.1
    assert lrs[-1] >= 0.4  # as the linear rule has it for batches four times as large


def test_words_that_hold_commas_are_kept_apart_by_semicolons() -> None:
    assert joined(["a", "b", "c"]) == "a, b and c"
    assert joined(["sgd, lr=1", "adam, lr=2"]) == "sgd, lr=1 and adam, lr=2"
    assert joined(["sgd, lr=1", "adam, lr=2", "c", "d"], 2) == "sgd, lr=1; adam, lr=2; and 2 more"


def test_equal_scores_and_seeds_without_effect_are_told(write_sweep: Write) -> None:
    scores = {0.01: 0.5, 0.1: 0.25, 1.0: 0.25}
    jobs = [job(v, optimizer__lr=lr, seed=s) for lr, v in scores.items() for s in range(4)]
    found = advised(write_sweep(jobs))
    assert found.doubts[0].startswith("The seeds change nothing here: each setting gave one number")
    assert found.doubts[1] == "The very same score has lr=1."
    assert found.lead[0].endswith("best val loss = 0.25 with each of 4 seeds, at its best epoch.")
    assert not any("95%" in sentence for sentence in found.sentences)


def test_one_seed_says_nothing_of_ties(write_sweep: Write) -> None:
    found = advised(write_sweep([job(lr, optimizer__lr=lr) for lr in (0.1, 0.2, 0.3)]))
    assert found.tied == ()
    assert found.sentences[0] == (
        "The best setting is lr=0.1: best val loss = 0.1, with one seed, at its best epoch."
    )
    assert found.doubts[0].startswith("One seed cannot tell a better setting from a luckier")


def test_diverged_and_failed_trials_are_counted_and_placed(write_sweep: Write) -> None:
    bad = {"status": "diverged"}
    jobs = [
        job(lr, bad if name == "sgd" and lr >= 0.3 else None, optimizer=name, optimizer__lr=lr)
        for name in ("sgd", "adam") for lr in LRS
    ]  # fmt: skip
    jobs[9] |= {"status": "failed", "reason": "ValueError: no."}
    found = advised(write_sweep(jobs))
    assert found.details[-2:] == (
        "2 of 10 trials diverged (20%), all with lr of 0.3 or more and optimizer=sgd.",
        "1 trial failed: ValueError: no.",
    )


def test_the_boundary_is_held_against_what_diverged(real_sweep: Path) -> None:
    study = read_study(real_sweep)
    measure = Measure("train/full_loss", "final full loss", True)
    own = settings(study, measure)
    drawn = boundaries(study, grids(study, own, measure))
    found = advice(study, own, drawn, measure)
    lost = [t for t in study.trials if t.status == "diverged"]
    above = [t for t in lost if t.values["optimizer.lr"] == 1.1]
    assert (
        "sgd: full-batch steps on a quadratic as curved as the loss at the start are stable up to "
        f"lr 1; here {len(above)} of 4 trials above it and {len(lost) - len(above)} of 12 below it "
        "diverged." in found.details
    )
    assert len(composed(found)) > 1


def test_panels_with_no_trial_above_their_boundary_are_told_as_one(write_sweep: Write) -> None:
    bad = {"status": "diverged"}
    jobs = [
        job(lr, bad if (lr, width, s) == (0.1, "[8]", 0) else None, optimizer__lr=lr,
            model__hidden=width, seed=s)
        for lr in (0.01, 0.1) for width in ("[8]", "[16]") for s in (0, 1)
    ]  # fmt: skip
    study = read_study(write_sweep(jobs))
    own = settings(study, VAL)
    (whole,) = grids(study, own, VAL)
    row = whole.ys if whole.y == "optimizer.lr" else whole.xs
    assert len(row) == 2
    limits = np.full(len(whole.xs), 0.5)
    panels = [replace(whole, title=name, boundary=limits * i) for i, name in ((1, "a"), (2, "b"))]
    told = [s for s in advice(study, own, panels, VAL).details if "full-batch" in s.lower()]
    assert told == [
        "Full-batch steps on a quadratic as curved as the loss at the start are stable up to lr "
        "0.5 to 1; here no trial was above it and 2 of 16 below it diverged."
    ]
    above = [replace(whole, title="a", boundary=limits / 10)]
    (told,) = (s for s in advice(study, own, above, VAL).details if "full-batch" in s.lower())
    assert told.startswith("a: full-batch")
    assert "1 of 4 trials above it and 0 of 4 below it" in told


def test_an_unfinished_multirun_is_to_be_finished_first(write_sweep: Write) -> None:
    jobs = valley(0.1)
    jobs[0] |= {"status": "running", "metrics": {}}
    sweep = write_sweep(jobs, shared=["data=wine", "model=linear"])
    found = advised(sweep)
    assert found.winner is not None
    assert found.details[-1] == "1 of 15 trials has not ended; all this may change."
    (following,) = found.next_sweeps
    assert following.command == (
        "python src/train.py -m data=wine model=linear optimizer.lr=0.01,0.03,0.1,0.3,1 "
        f"seed=0,1,2 sweep_dir={sweep}"
    )
    assert following.aim == "train the trials that have not ended"
    assert following.price == "1 run"


def test_without_a_winner_there_is_none(write_sweep: Write) -> None:
    bad = {"status": "diverged"}
    shared = ["data=wine", "model=linear"]
    all_lost = [job(math.nan, bad, optimizer__lr=lr, seed=s) for lr in (1, 3) for s in (0, 1)]
    found = advised(write_sweep(all_lost, shared=shared, name="lost"))
    assert found.winner is None
    assert found.sentences[0] == "No trial ended well with a score, so there is no winner."
    assert found.next_sweeps[0].aim == "smaller learning rates, since none ended well"
    assert {cfg.optimizer.lr for cfg in composed(found)} == {0.01, 0.03, 0.1, 0.3}
    half = [job(lr, bad if s else None, optimizer__lr=lr, seed=s) for lr in (1, 3) for s in (0, 1)]
    found = advised(write_sweep(half, name="half"))
    assert found.sentences[0] == (
        "No setting ended well with every seed, so there is no winner; the best of what is left is "
        "lr=1: 1 over 1 of its 2 trials."
    )
    begun = [job(1, {"status": "running", "metrics": {}}, optimizer__lr=lr) for lr in (1, 3)]
    found = advised(write_sweep(begun, name="begun"))
    assert found.sentences[0].startswith("No setting has all its trials ended yet")


def test_seeds_alone_lead_to_a_sweep_of_the_learning_rate(write_sweep: Write) -> None:
    jobs = [job(1 + s / 10, seed=s) for s in range(6)]
    found = advised(write_sweep(jobs, shared=["data=wine", "optimizer=sgd", "optimizer.lr=0.1"]))
    assert found.sentences[0].startswith("The best val loss is 1.25 ± 0.19 (mean ± standard")
    # 1 to 1.5 in steps of 0.1: the least and the largest of six hold the median in 62 of 64 sweeps
    assert "the median of all seeds lies within 1 to 1.5 with 96.9% confidence" in found.lead[0]
    assert found.next_sweeps[0].command == (
        "python src/train.py -m data=wine optimizer=sgd optimizer.lr=0.001,0.01,0.1,1 "
        "'seed=range(0,6)'"
    )
    assert len(composed(found)) == 4


def test_a_recipe_s_own_grid_is_switched_off(write_sweep: Write) -> None:
    jobs = [job(b, base_lr=b, seed=s) for b in (0.1, 0.2) for s in (0, 1)]
    found = advised(write_sweep(jobs, shared=["sweep=lr_batch", "model=linear"]))
    words = shlex.split(found.next_sweeps[0].command)
    assert words[3:7] == [
        "sweep=lr_batch", "model=linear", "hydra.sweeper.params=null", "base_lr=0.025,0.05,0.1,0.2",
    ]  # fmt: skip


def test_each_problem_has_its_winner(write_sweep: Write) -> None:
    jobs = [
        job(scale * abs(math.log(lr / best)) + scale + s / 1e3, data=data, optimizer__lr=lr, seed=s)
        for data, scale, best in (("wine", 1.0, 0.1), ("iris", 50.0, 1.0)) for lr in LRS
        for s in (0, 1)
    ]  # fmt: skip
    found = advised(write_sweep(jobs, shared=["model=linear"]))
    assert found.winner is None
    assert found.lead[0].startswith("wine: The best setting is lr=0.1: best val loss = 1.00050 ±")
    assert found.lead[1].startswith("iris: The best setting is lr=1: best val loss = 50")
    assert found.edges[1] == (
        "iris: Its lr=1 is the largest that was tried: larger ones may be better."
    )
    wine, iris = found.next_sweeps  # one for each
    assert wine.aim.startswith("wine: try a finer grid of lr")
    assert "data=wine" in wine.command
    assert iris.aim == "iris: try larger lr"
    assert "data=iris" in iris.command
    assert sum("these very seeds" in sentence for sentence in found.sentences) == 1


def test_accuracies_are_compared_by_their_errors(write_sweep: Write) -> None:
    accuracy = {0.01: 0.90, 0.1: 0.98, 1.0: 0.96}
    jobs = [
        {"values": {"optimizer.lr": lr}, "metrics": {"best/val/accuracy": a}}
        for lr, a in accuracy.items()
    ]
    measure = Measure("best/val/accuracy", "best val accuracy", False)
    found = advised(write_sweep(jobs, config={"optimized_metric": "val/accuracy"}), measure)
    assert found.winner is not None
    assert found.winner.values == {"optimizer.lr": 0.1}
    assert any(
        "5 times the 1 - best val accuracy at 0.01, 2 times the 1 - best val accuracy at 1"
        in sentence for sentence in found.sentences
    )  # fmt: skip


@pytest.mark.parametrize(
    ("key", "numbers", "side", "expected"),
    [
        ("optimizer.lr", (0.01, 0.1), 1, (1.0, 10.0)),
        ("optimizer.lr", (0.01, 0.1), -1, (0.001, 0.0001)),
        ("optimizer.lr", (0.001, 1.0), 1, (10.0, 100.0)),  # not by a thousand
        ("optimizer.lr", (0.09, 0.1), 1, (0.2, 0.4)),  # nor by a tenth
        ("optimizer.lr", (0.1, 0.11), -1, (0.05, 0.025)),
        ("data.batch_size", (16.0, 64.0), 1, (256.0, 500.0)),  # 1,024 are more than the rows
        ("data.batch_size", (2.0, 4.0), -1, (1.0,)),
        ("data.batch_size", (1.0, 4.0), -1, ()),
        ("optimizer.momentum", (0.5, 0.9), 1, (0.95, 0.975)),
        ("optimizer.momentum", (0.0, 0.9), -1, ()),
        ("optimizer.weight_decay", (0.0, 0.1), 1, (0.2, 0.4)),
        ("optimizer.weight_decay", (0.0, 0.1), -1, ()),
        ("penalty.l1", (0.0, 0.01), -1, ()),
        ("penalty.l2", (0.0, 0.001, 0.01), -1, ()),
        ("model.dropout", (0.0, 0.2), 1, (0.4,)),  # not 1 - 0.8 / 2, which momentum would try
        ("model.dropout", (0.0, 0.6), 1, (0.8,)),
        ("model.dropout", (0.0, 0.5), -1, ()),
    ],
)
def test_a_row_goes_on_as_it_went_within_what_an_option_may_be(
    key: str, numbers: tuple[float, ...], side: int, expected: tuple[float, ...]
) -> None:
    assert beyond(key, numbers, side, rows=500) == expected


def test_halves_between_neighbours_are_geometric_and_whole_where_they_must_be() -> None:
    assert between(0.04, 0.01) == 0.02
    assert between(16.0, 64.0, count=True) == 32.0
    assert between(0.0, 0.9) == 0.45


def test_no_value_is_proposed_that_cannot_exist(write_sweep: Write) -> None:
    jobs = [job(1 + l1 + s / 1e4, penalty__l1=l1, seed=s) for l1 in (0, 0.01, 0.1) for s in (0, 1)]
    found = advised(write_sweep(jobs, shared=["data=digits"]))
    assert found.winner is not None
    assert found.winner.values == {"penalty.l1": 0}
    assert not any("smaller" in sentence for sentence in found.sentences)
    assert all(cfg.penalty.l1 >= 0 for cfg in composed(found))


def test_dropout_at_its_edge_is_bracketed(write_sweep: Write) -> None:
    jobs = [job(1 - d + s / 100, model__dropout=d, seed=s) for d in (0, 0.2) for s in (0, 1)]
    found = advised(write_sweep(jobs, shared=["data=digits"]))
    assert "model.dropout=0.1,0.2,0.4" in found.next_sweeps[0].command
    assert {cfg.model.dropout for cfg in composed(found)} == {0.1, 0.2, 0.4}


def test_earlier_sweeps_count_and_the_edge_is_not_forgotten(write_sweep: Write) -> None:
    """lr 0.1 is the largest of the first sweep and the least of the second: it lies inside."""
    rng = np.random.default_rng(0)

    def losses(lrs: tuple[float, ...]) -> list[Any]:
        return [
            job(1 + math.log10(lr / 0.1) ** 2 / 20 + rng.normal(0, 1e-3), optimizer__lr=lr, seed=s)
            for lr in lrs for s in range(3)
        ]  # fmt: skip

    shared = ["data=wine", "model=linear"]
    one = write_sweep(losses((0.01, 0.03, 0.1)), shared=shared, name="one")
    two = write_sweep(losses((0.1, 0.3, 1.0)), shared=[*shared, f"after={one}"], name="two")
    study = read_study(two)
    assert study.earlier == (one,)
    assert len(study.trials) == 9 + 6  # lr=0.1 was trained twice and counts once
    found = advised(two)
    assert found.winner is not None
    assert found.winner.values == {"optimizer.lr": 0.1}
    assert found.next_sweeps[0].aim.startswith("confirm")
    assert found.next_sweeps[0].command.endswith(f"after={two}")
    (one / "jobs.json").write_text("[]")
    assert (
        "The sweep before this one is not counted" in " ".join(read_study(two).left_out)
        or len(read_study(two).trials) == 9
    )


def test_fresh_seeds_end_the_search_with_an_honest_figure(write_sweep: Write) -> None:
    rng = np.random.default_rng(0)
    shared = ["data=wine", "model=linear"]
    one = write_sweep(valley(0.1), shared=shared, name="one")
    scores = list(1 + rng.normal(0, 0.002, 6))
    again = [job(v, seed=3 + s) for s, v in enumerate(scores)]
    two = write_sweep(again, shared=[*shared, "optimizer.lr=0.1", f"after={one}"], name="two")
    study = read_study(two)
    assert study.earlier == ()
    assert study.confirms is not None
    assert study.confirms.directory == one
    found = advised(two)
    assert found.next_sweeps == ()
    (end,) = found.end
    assert end.startswith("done: lr=0.1 was chosen before, and fresh seeds show none better:")
    told = f"lies within {min(scores):.4g} to {max(scores):.4g} with 96.9% confidence"
    assert told in end


def test_runs_that_end_above_their_start_are_told(write_sweep: Write) -> None:
    jobs = [
        {"values": {"optimizer.lr": lr}, "metrics": {"best/val/loss": lr, "train/full_loss": end},
         "epochs": [(0, 2.0), (10, end)]}
        for lr, end in ((0.1, 0.5), (1.0, 100.0), (2.0, 3.0))
    ]  # fmt: skip
    told = advised(write_sweep(jobs)).details
    assert (
        "2 trials that are not counted as diverged ended above the full loss at the start, at up "
        "to 50 times it, all with lr of 1 or more." in told
    )
