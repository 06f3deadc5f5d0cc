"""Reading a multirun: every row, none made up, and a sentence on what cannot be read."""

from __future__ import annotations

import csv
import json
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from descent.analysis.study import read_study
from descent.errors import UserError

LRS, BATCHES, SEEDS = (0.01, 0.1, 1.0), (16, 64), (0, 1)


def grid() -> list[dict[str, Any]]:
    return [
        {
            "values": {
                "optimizer": name, "optimizer.lr": lr, "data.batch_size": batch, "seed": seed,
            },
            "metrics": {
                "val/loss": 2 * lr + seed, "train/full_loss": lr + batch / 100,
                "best/val/loss": lr + seed / 10,
            },
        }
        for name in ("sgd", "adam") for lr in LRS for batch in BATCHES for seed in SEEDS
    ]  # fmt: skip


@pytest.fixture
def sweep(write_sweep: Callable[..., Path]) -> Path:
    return write_sweep(grid(), shared=["data=line", "model.hidden=[8]"])


def test_a_multirun_reads_back(sweep: Path) -> None:
    study = read_study(sweep)
    assert set(study.swept) == {"optimizer", "optimizer.lr", "data.batch_size"}
    assert study.swept[:2] == ("optimizer.lr", "data.batch_size")
    assert study.metric == "val/loss"
    assert study.left_out == ()
    assert study.shared == ("data=line", "model.hidden=[8]")
    assert [trial.number for trial in study.trials] == list(range(24))
    trial = study.trials[1]
    assert trial.values == {"optimizer": "sgd", "optimizer.lr": 0.01, "data.batch_size": 16.0}
    assert (trial.seed, trial.status, trial.step) == ("seed=1", "ok", 100)
    assert trial.directory == sweep / "1"
    assert trial.command == (
        "python src/train.py data=line 'model.hidden=[8]' optimizer=sgd optimizer.lr=0.01 "
        "data.batch_size=16 seed=1"
    )


def test_figures_are_those_of_the_table_on_disk(sweep: Path) -> None:
    with (sweep / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    for trial, row in zip(read_study(sweep).trials, rows, strict=True):
        for name in ("val/loss", "train/full_loss", "best/val/loss"):
            assert trial.figures[name] == float(row[name])


def test_one_run_or_seeds_alone_make_a_study_without_swept_options(
    write_sweep: Callable[..., Path],
) -> None:
    one = read_study(write_sweep([{"values": {}}], name="one"))
    assert (one.swept, len(one.trials), one.trials[0].seed) == ((), 1, "")
    jobs = [{"values": {"seed": s, "data.split_seed": s}} for s in range(3)]
    seeds = read_study(write_sweep(jobs, name="seeds"))
    assert seeds.swept == ()
    assert [trial.seed for trial in seeds.trials][2] == "seed=2 data.split_seed=2"


def test_words_among_numbers_make_all_of_them_words(write_sweep: Callable[..., Path]) -> None:
    jobs = [{"values": {"data.batch_size": b}} for b in (16, 64, "full")]
    assert [t.values["data.batch_size"] for t in read_study(write_sweep(jobs)).trials] == [
        "16", "64", "full",
    ]  # fmt: skip


def test_the_command_of_a_recipe_asks_for_one_run(write_sweep: Callable[..., Path]) -> None:
    sweep = write_sweep([{"values": {"optimizer.lr": lr}} for lr in LRS], shared=["sweep=lr"])
    command = read_study(sweep).trials[0].command
    assert command == "python src/train.py sweep=lr optimizer.lr=0.01 hydra.mode=RUN"


# ---- the most influential first


def test_influence_is_the_share_of_rank_variance_that_an_option_has_a_part_in(
    write_sweep: Callable[..., Path],
) -> None:
    """Scores 4a + 2b + c of a, b in {0, 1}, c in {0, 1}: ranks 1..8, variance 21/4.

    Options add up, so the share of each is its own variance over the whole: 4, 1 and 1/4 of 21/4.
    """
    jobs = [
        {"values": {"x.c": c, "x.b": b, "x.a": a}, "metrics": {"val/loss": 4 * a + 2 * b + c}}
        for c in (0, 1) for b in (0, 1) for a in (0, 1)
    ]  # fmt: skip
    study = read_study(write_sweep(jobs))
    assert study.swept == ("x.a", "x.b", "x.c")
    assert study.influence == pytest.approx({"x.a": 16 / 21, "x.b": 4 / 21, "x.c": 1 / 21})


def test_an_option_that_matters_only_with_another_is_influential(
    write_sweep: Callable[..., Path],
) -> None:
    """score = a xor b: neither has a main effect, both have all of the total effect; c none."""
    jobs = [
        {"values": {"x.c": c, "x.b": b, "x.a": a}, "metrics": {"val/loss": float(a != b)}}
        for c in (0, 1) for b in (0, 1) for a in (0, 1)
    ]  # fmt: skip
    influence = read_study(write_sweep(jobs)).influence
    assert influence == pytest.approx({"x.a": 1.0, "x.b": 1.0, "x.c": 0.0})


def test_diverged_trials_count_as_the_worst_and_not_as_infinite(
    write_sweep: Callable[..., Path],
) -> None:
    jobs = [
        {
            "values": {"x.a": a, "x.b": b},
            "status": "diverged" if a == 2 else "ok",
            "metrics": {"val/loss": float("nan") if a == 2 else a + b / 100},
        }
        for b in (0, 1, 2) for a in (0, 1, 2)
    ]  # fmt: skip
    study = read_study(write_sweep(jobs))
    assert study.swept == ("x.a", "x.b")
    # ranks of the columns a: (1, 2, 3), (4, 5, 6), (8, 8, 8); mean 5
    total = (16 + 9 + 4) + (1 + 0 + 1) + 3 * 9
    assert study.influence["x.b"] == pytest.approx((2 + 2) / total)


# ---- unfinished, damaged and mixed


def test_a_directory_that_is_no_multirun_is_refused(sweep: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_study(tmp_path / "nowhere")
    with pytest.raises(UserError, match="single run, not a multirun; give run="):
        read_study(sweep / "0")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="is not a multirun: it has neither"):
        read_study(tmp_path / "empty")
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "jobs.json").write_text("[]")
    with pytest.raises(UserError, match="no job that was begun"):
        read_study(tmp_path / "bare")


def test_an_unfinished_multirun_is_read_from_its_runs(write_sweep: Callable[..., Path]) -> None:
    jobs = grid()[:6]
    jobs[4] |= {"status": "running"}
    jobs[5] |= {"status": "not begun"}
    study = read_study(write_sweep(jobs))
    assert [trial.status for trial in study.trials] == ["ok"] * 4 + ["running", "not begun"]
    assert study.trials[0].figures["best/val/loss"] == 0.01
    assert study.trials[5].step is None
    assert study.left_out == ()


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", "\0\0\0"])
def test_the_table_is_an_export_that_nobody_reads_back(sweep: Path, content: str) -> None:
    whole = read_study(sweep)
    (sweep / "results.csv").write_text(content)
    assert read_study(sweep) == whole
    for directory in [sweep / "jobs.json", *map(sweep.joinpath, map(str, range(24)))]:
        shutil.rmtree(directory) if directory.is_dir() else directory.unlink()
    with pytest.raises(UserError, match=r"is not a multirun: it has neither jobs\.json nor runs"):
        read_study(sweep)


def test_figures_are_those_of_the_records_to_the_last_digit(
    write_sweep: Callable[..., Path],
) -> None:
    figures = {"val/loss": 0.1 + 0.2, "val/rmse": math.inf, "test/loss": math.nan}
    (trial,) = read_study(write_sweep([{"values": {"seed": 0}, "metrics": figures}])).trials
    assert trial.figures == pytest.approx(figures, rel=0, abs=0, nan_ok=True)


def test_jobs_of_another_multirun_are_left_out(write_sweep: Callable[..., Path]) -> None:
    jobs = grid()[:6]
    for job in jobs[4:]:
        job["values"]["model.hidden"] = "[8]"
    study = read_study(write_sweep(jobs))
    assert len(study.trials) == 4
    assert study.left_out == (
        "Jobs 4 and 5 are left out: they were made with model.hidden, unlike the rest.",
    )


def test_what_a_continued_multirun_was_given_anew_mixes_nothing(
    write_sweep: Callable[..., Path],
) -> None:
    jobs = [{"values": {"optimizer.lr": lr}} for lr in LRS]
    jobs[2]["values"] |= {"trust": "[mine]", "paths.outputs": "there", "report": "false"}
    study = read_study(write_sweep(jobs))
    assert (len(study.trials), study.swept, study.left_out) == (3, ("optimizer.lr",), ())
    assert study.trials[2].command.endswith("'trust=[mine]' paths.outputs=there report=false")


def test_what_was_typed_for_all_is_in_hydra_s_words(write_sweep: Callable[..., Path]) -> None:
    """Hydra lists `picture=false` as `picture=False`."""
    shared = ["picture=False", "test=True", "resume=None", "name=False_start"]
    jobs = [{"values": {"optimizer.lr": lr}} for lr in LRS]
    study = read_study(write_sweep(jobs, shared=shared))
    assert study.shared == ("picture=false", "test=true", "resume=null", "name=False_start")


def test_jobs_with_another_metric_or_task_are_left_out(write_sweep: Callable[..., Path]) -> None:
    jobs = [{"values": {"optimizer.lr": lr, "optimized_metric": "val/loss"}} for lr in LRS]
    jobs[2]["values"]["optimized_metric"] = "val/r2"
    study = read_study(write_sweep(jobs, name="metrics"))
    assert (len(study.trials), study.swept) == (2, ("optimizer.lr",))
    assert study.left_out == (
        "Job 2 is left out: it was optimized for val/r2, the rest for val/loss.",
    )
    tasks = [{"values": {"optimizer.lr": lr}, "metrics": {"val/accuracy": 0.5}} for lr in LRS]
    tasks[0]["metrics"] = {"val/r2": 0.5}
    study = read_study(write_sweep(tasks, name="tasks"))
    assert [trial.number for trial in study.trials] == [1, 2]
    assert study.left_out == (
        "Job 0 is left out: it was measured by val/r2, the rest by val/accuracy.",
    )


def test_runs_that_nobody_lists_are_named(sweep: Path) -> None:
    shutil.copytree(sweep / "3", sweep / "stray")
    entries = json.loads((sweep / "jobs.json").read_text())
    (sweep / "jobs.json").write_text(json.dumps(entries[:23]))
    study = read_study(sweep)
    assert len(study.trials) == 23
    assert study.left_out == (
        "23 is left out: it holds a run that jobs.json does not list.",
        "stray is left out: it holds a run that jobs.json does not list.",
    )


def test_a_list_of_jobs_that_is_damaged_or_missing_is_made_up_for(sweep: Path) -> None:
    whole = read_study(sweep)
    (sweep / "jobs.json").write_text('[{"number": 0, "over')
    study = read_study(sweep)
    assert study.trials == whole.trials
    assert study.left_out == ("jobs.json is damaged: the jobs are those that left a directory.",)
    (sweep / "jobs.json").unlink()
    assert read_study(sweep).trials == whole.trials


def test_jobs_without_records_are_named(sweep: Path) -> None:
    entries = json.loads((sweep / "jobs.json").read_text())
    del entries[7]["overrides"], entries[5]["directory"]
    (sweep / "jobs.json").write_text(json.dumps(entries))
    shutil.rmtree(sweep / "7")
    (sweep / "9" / "result.json").write_text("{")
    study = read_study(sweep)
    assert len(study.trials) == 21
    assert "1 entry of jobs.json cannot be read and left out." in study.left_out
    assert "Jobs 7 and 9 left no records that can be read." in study.left_out


def test_a_thousand_rows_are_read_in_a_moment(write_sweep: Callable[..., Path]) -> None:
    jobs = [
        {"values": {"optimizer.lr": lr, "seed": s}, "metrics": {"val/loss": lr + s}}
        for lr in range(1, 65) for s in range(16)
    ]  # fmt: skip
    sweep = write_sweep(jobs)
    began = time.process_time()
    assert len(read_study(sweep).trials) == 1024
    assert time.process_time() - began < 1.0
