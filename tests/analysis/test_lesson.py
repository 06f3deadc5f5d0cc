"""What comparisons say: by their recipe's measure, with ties, trends and without chance."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from descent.analysis.lesson import Lesson, lesson
from descent.analysis.study import read_study
from descent.analysis.targets import choose_target, hits
from descent.errors import UserError
from descent.report.sweep_report import answer_of, open_sweep
from descent.seeds import why_seeds_do_nothing

Write = Callable[..., Path]
CONF = Path(__file__).parents[2] / "conf"
STOPPED = {"stop": {"epochs": 10, "steps": None, "loss": 0.1}}


def taught(sweep: Path) -> Lesson:
    study = read_study(sweep)
    target = choose_target(study)
    found = lesson(study, target, {} if target is None else hits(study, target))
    assert found is not None
    return found


def asking(*measures: str, question: str | None = None, **config: Any) -> dict[str, Any]:
    return {"lesson": {"question": question, "measures": list(measures)}, **config}


def reaching(option: str, values: Sequence[Any], steps: Sequence[int]) -> list[dict[str, Any]]:
    """Return jobs that fall to 0.1 after so many steps, the slower the further below it."""
    return [
        {
            "values": {option: value}, "step": step, "metrics": {"train/full_loss": 0.1 / step},
            "epochs": [(0, 1.0), (step, 0.1 / step)],
        }
        for value, step in zip(values, steps, strict=True)
    ]  # fmt: skip


def measured(option: str, values: Sequence[Any], name: str, figures: Sequence[float]) -> list[Any]:
    return [
        {"values": {option: value}, "metrics": {name: figure}}
        for value, figure in zip(values, figures, strict=True)
    ]


def test_a_race_to_a_target_is_won_by_who_needs_the_fewest_steps(write_sweep: Write) -> None:
    jobs = reaching("optimizer", ["sgd", "adam", "rmsprop"], [54, 12, 6])
    config = asking("steps to target", question="Who is first?", **STOPPED)
    assert taught(write_sweep(jobs, config=config)).sentences == (
        "Who is first? Steps to a full loss of 0.1: fewest, 6, with rmsprop; then 12 with adam and "
        "54 with sgd, 9 times as many.",
    )


def test_without_a_lesson_too_sweeps_that_stop_at_a_target_are_ranked_by_steps(
    write_sweep: Write,
) -> None:
    jobs = reaching("optimizer.lr", [0.1, 0.2, 0.3], [54, 12, 6])  # 0.1 overshoots it furthest
    sweep = write_sweep(jobs, config={**STOPPED, "optimized_metric": "train/full_loss"})
    reporting = open_sweep(sweep)
    assert reporting.measures[0].name == "steps to target"
    best = reporting.settings["steps to target"][0]
    assert best.values == {"optimizer.lr": 0.3}


def test_figures_that_agree_in_every_printed_digit_tie(write_sweep: Write) -> None:
    figures = [0.15214, 0.15206, 0.3]
    jobs = measured("callbacks", ["default", "early", "late"], "best/val/loss", figures)
    (told,) = taught(write_sweep(jobs, config=asking("best/val/loss"))).sentences
    assert told.endswith(
        "lowest, 0.1521, with callbacks=early and callbacks=default, a tie; then 0.3 with "
        "callbacks=late, 2 times as large."
    )
    jobs = measured("callbacks", ["default", "early"], "best/val/loss", figures[:2])
    (told,) = taught(write_sweep(jobs, config=asking("best/val/loss"), name="both")).sentences
    assert told.endswith(": 0.1521 with callbacks=early and callbacks=default, a tie.")


def test_accuracy_is_best_where_it_is_highest(write_sweep: Write) -> None:
    jobs = measured("model.init", ["zeros", "xavier"], "val/accuracy", [0.1, 0.95])
    (told,) = taught(write_sweep(jobs, config=asking("val/accuracy"))).sentences
    assert told.endswith("highest, 0.95, with init=xavier; then 0.1 with init=zeros.")


@pytest.mark.parametrize(
    ("figures", "trend"),
    [
        ([0.0, 0.1, 0.5], "0 at l1=0, 0.1 at l1=0.03 and 0.5 at l1=0.3: it rises with l1."),
        ([0.5, 0.1, 0.0], "it falls as l1 rises."),
        ([0.0, 0.0, 0.2], "it never falls as l1 rises."),
        ([0.0, 0.3, 0.2], "it neither rises nor falls with l1 throughout."),
        ([0.2, 0.2, 0.2], "0.2 at every l1."),
    ],
)
def test_what_is_neither_better_nor_worse_is_told_along_the_option(
    write_sweep: Write, figures: list[float], trend: str
) -> None:
    order = [1, 0, 2]  # however the values were typed
    values = [[0, 0.03, 0.3][i] for i in order]
    jobs = measured("penalty.l1", values, "diagnostics/near_zero", [figures[i] for i in order])
    (told,) = taught(write_sweep(jobs, config=asking("diagnostics/near_zero"))).sentences
    assert told.endswith(trend)


def test_runs_that_diverged_or_missed_the_target_are_told_last(write_sweep: Write) -> None:
    jobs = reaching("optimizer.lr", [0.1, 0.2], [20, 10])
    jobs.append({"values": {"optimizer.lr": 0.3}, "status": "diverged", "step": 15})
    jobs.append({"values": {"optimizer.lr": 0.01}, "epochs": [(0, 1.0), (99, 0.5)]})
    (told,) = taught(write_sweep(jobs, config=asking("steps to target", **STOPPED))).sentences
    assert told.endswith("; lr=0.3 diverged at step 15; lr=0.01 missed it.")


def test_a_measure_that_no_run_recorded_is_refused(write_sweep: Write) -> None:
    jobs = measured("penalty.l1", [0, 0.1], "diagnostics/near_zero", [0.0, 0.1])
    sweep = write_sweep(jobs, config=asking("diagnostics/nearzero"))
    with pytest.raises(UserError, match="no run recorded; did you mean 'diagnostics/near_zero'"):
        taught(sweep)


def test_a_report_may_be_asked_for_any_recorded_metric(write_sweep: Write) -> None:
    jobs = measured("optimizer.lr", [0.1, 0.2], "val/r2", [0.1, 0.4])
    for job in jobs:
        job["metrics"] |= {"val/loss": 1.0, "val/rmse": 3.0}
    sweep = write_sweep(jobs)
    reporting = open_sweep(sweep, measure="val/r2")
    assert not reporting.measures[0].lower
    assert reporting.settings["val/r2"][0].values == {"optimizer.lr": 0.2}
    with pytest.raises(UserError, match=r"'val/rmse'\? Choose from val/loss, .*val/r2"):
        open_sweep(sweep, measure="val/rsme")


# ---- where seeds change nothing

FIXED = {
    "data": {"batch_size": "full", "source": {"_target_": "descent.data.line.line"}},
    "model": {"_target_": "descent.models.linear.Linear", "init": "zeros"},
}


def test_where_nothing_is_drawn_no_fresh_seeds_are_asked_for(write_sweep: Write) -> None:
    jobs = measured("optimizer.lr", [0.1, 0.2], "train/full_loss", [0.1, 0.4])
    found = taught(write_sweep(jobs, config=asking("train/full_loss", **FIXED)))
    assert found.again == ()
    assert "another seed gives these very figures" in found.sentences[-1]
    drawn = {**FIXED, "data": {**FIXED["data"], "batch_size": 32}}
    found = taught(write_sweep(jobs, config=asking("train/full_loss", **drawn), name="drawn"))
    (again,) = found.again
    assert again.command == "python src/train.py data=line 'seed=range(1,6)'"
    assert (again.runs, again.steps) == (10, 1000)


def test_no_sweep_asks_for_seeds_that_change_nothing(write_sweep: Write) -> None:
    jobs = measured("optimizer.lr", [0.1, 0.2, 0.3, 0.4], "train/full_loss", [4.0, 1.0, 1.1, 3.0])
    found = answer_of(open_sweep(write_sweep(jobs, config=FIXED)))
    assert "another seed gives these very figures" in found.doubts[0]
    assert not any("seed=" in following.command for following in found.next_sweeps)
    assert found.end[0].startswith("done: the seeds change nothing")
    drawn = {**FIXED, "data": {**FIXED["data"], "batch_size": 32}}
    found = answer_of(open_sweep(write_sweep(jobs, config=drawn, name="drawn")))
    assert found.doubts[0].startswith("One seed cannot tell")
    assert "seed=" in found.next_sweeps[0].command


@pytest.mark.parametrize(
    ("typed", "fixed"),
    [
        (("experiment=three_points_gd",), True),
        (("experiment=three_points_sgd",), True),  # in order
        (("experiment=line_shuffled",), False),
        (("model=point", "data=landscape", "landscape=bowl"), True),
        (("model=point", "data=landscape", "landscape=bowl", "data.batch_size=10"), False),
        (("model=linear", "data=diabetes", "data.batch_size=full"), True),
        (("model=linear", "data=diabetes", "data.batch_size=full", "model.init=normal"), False),
        (("model=mlp", "data=iris", "data.batch_size=full"), False),
        (("model=mlp", "data=iris", "data.batch_size=full", "model.init=zeros"), True),
        (("model=mlp", "data=iris", "data.batch_size=full", "model.init=ones",
          "model.dropout=0.1"), False),
        (("model=linear", "data=digits", "data.batch_size=full", "data.augment.shift=1"), False),
    ],
)  # fmt: skip
def test_two_seeds_train_alike_where_nothing_is_drawn_and_differ_else(
    train_run: Any, typed: tuple[str, ...], fixed: bool
) -> None:
    short = ("stop.epochs=2", "stop.steps=6", "trainer=float64")
    noise = ("data.source.noise=1",) if "data.batch_size=10" in typed else ()
    runs = [train_run(*typed, *short, *noise, f"seed={seed}") for seed in (0, 1)]
    figures = [run.result()["metrics"]["train/full_loss"] for run in runs]
    assert (figures[0] == figures[1]) == fixed
    assert (why_seeds_do_nothing(runs[0].config()) is not None) == fixed


def test_of_models_that_are_not_ours_nothing_is_known() -> None:
    assert (
        why_seeds_do_nothing({**FIXED, "model": {"_target_": "my.Model", "init": "zeros"}}) is None
    )


# ---- the recipes

COMPARISONS = {
    path.stem: recipe
    for path in sorted((CONF / "experiment").glob("*.yaml"))
    if "hydra" in (recipe := OmegaConf.load(path))
}


def test_every_comparison_asks_a_question_and_names_its_measure() -> None:
    assert len(COMPARISONS) == 10
    for name, recipe in COMPARISONS.items():
        assert recipe.lesson.question.endswith("?"), name
        assert recipe.lesson.measures, name


def _number(text: str) -> float:
    return float(text.replace(",", ""))


def _column(name: str) -> Callable[[dict[str, str]], float]:
    return lambda row: float(row[name])


# The lead of each, recomputed: the option, its figure, and where the best or the trend lies.
LEADS: dict[str, tuple[str, Callable[[dict[str, str]], float], Callable[..., Any]]] = {
    "gd_vs_sgd_vs_minibatch": ("data.batch_size", _column("step"), min),
    "lr_too_small_right_too_large": ("optimizer.lr", _column("train/full_loss"), min),
    "momentum_escapes_local_minimum": ("optimizer", _column("train/full_loss"), min),
    "optimizers_on_a_valley": ("optimizer", _column("step"), min),
    "standardize_or_not": ("data.scale", _column("train/full_loss"), min),
    "initialisation": ("model.init", _column("val/accuracy"), max),
    "early_stopping": ("callbacks", _column("val/loss"), min),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(COMPARISONS))
def test_a_comparison_leads_with_its_own_conclusion(
    name: str, type_command: Callable[..., Any], tmp_path: Path
) -> None:
    done = type_command("train", f"experiment={name}", "logger=none", timeout=400)
    assert done.returncode == 0, done.stderr
    (lead,) = (
        s for s in done.stdout.splitlines() if s.startswith(COMPARISONS[name].lesson.question)
    )
    (sweep,) = (tmp_path / "outputs" / "multiruns").iterdir()
    with (sweep / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    page = (sweep / "report" / "index.html").read_text()
    assert lead.split("? ", 1)[1].rstrip(".") in page
    ended = [row for row in rows if row["status"] == "ok"]
    if name in LEADS:
        option, figure, best = LEADS[name]
        winner = best(ended, key=figure)
        word = (
            winner[option]
            if option == "optimizer"
            else f"{option.rsplit('.')[-1]}={winner[option]}"
        )
        first = lead.split("; then")[0]
        assert first.endswith(f" with {word}")
        assert _number(first.rsplit(" with ", 1)[0].rsplit(" ", 1)[1].rstrip(",")) == pytest.approx(
            figure(winner), rel=1e-3
        )
    elif name == "lr_decay":
        assert lead.split("; then")[0].split("with ")[1] != "scheduler=constant"
        assert lead.split(" with scheduler=constant")[0].rsplit(" ", 1)[1].startswith("0.0")
    else:
        column = {"l1_sparsity": "near_zero", "l2_shrinkage": "weights_l2"}[name]
        figures = [float(row[f"diagnostics/{column}"]) for row in rows]
        assert figures == sorted(figures, reverse=name == "l2_shrinkage")
        assert all(f"{value:.4g} at" in lead for value in figures)
        assert "it rises with l1" in lead or "it falls as l2 rises" in lead
    assert ("seed=range" in done.stdout) == ("left to chance" not in done.stdout)
