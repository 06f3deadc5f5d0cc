"""The table of a multirun: what differs, what became of it, and nothing left out in silence."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from descent.analysis.summary import print_summary, settings
from descent.records.multirun import compare, job_directories, write_comparison, write_jobs


def job(sweep: Path, number: int, overrides: list[str], **result: Any) -> None:
    directory = sweep / str(number)
    directory.mkdir(parents=True)
    made = {
        "status": "ok", "reason": "reached stop.epochs=2", "step": 10, "epoch": 2, "samples": 100,
        "seconds": 0.5, "overrides": overrides, "metrics": {"train/full_loss": 0.25}, "best": None,
    }  # fmt: skip
    (directory / "result.json").write_text(json.dumps({**made, **result}))


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    shared = ["data=line", "hydra.mode=RUN"]
    job(tmp_path, 0, [*shared, "optimizer.lr=0.1", "seed=0"], weights={"w": 1.5})
    job(tmp_path, 10, [*shared, "optimizer.lr=0.2", "seed=0"], predicts_only="no")
    job(
        tmp_path, 2, [*shared, "optimizer.lr=9", "seed=0"], status="diverged",
        reason="step loss is nan at step 3", metrics={"train/full_loss": "nan"},
        best={"epoch": 1, "step": 5, "metrics": {"val/loss": 0.75, "train/loss": 1.0}},
    )  # fmt: skip
    (tmp_path / "3").mkdir()  # refused before it began
    (tmp_path / "report").mkdir()
    return tmp_path


def test_jobs_come_by_number(sweep: Path) -> None:
    assert [path.name for path in job_directories(sweep)] == ["0", "2", "3", "10"]


def test_rows_hold_what_differs_and_what_became_of_each(sweep: Path) -> None:
    rows = compare(sweep)
    assert [row["optimizer.lr"] for row in rows] == ["0.1", "9", "0.2"]
    assert "data" not in rows[0]
    assert "seed" not in rows[0]
    assert [row["status"] for row in rows] == ["ok", "diverged", "ok"]
    assert rows[1]["best/val/loss"] == 0.75
    assert rows[0]["best/val/loss"] is None
    assert rows[0]["w"] == 1.5
    assert list(rows[0])[-1] == "directory"
    assert rows[2]["directory"] == str(sweep / "10")


def test_the_table_on_disk_reads_back(sweep: Path) -> None:
    path = write_comparison(sweep, compare(sweep))
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert path.name == "results.csv"
    assert [row["train/full_loss"] for row in rows] == ["0.25", "nan", "0.25"]
    assert not list(sweep.glob("*.part"))


def test_the_terminal_shows_the_swept_keys_and_each_failure(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_summary(sweep, compare(sweep), "val/loss")
    shown = capsys.readouterr().out
    assert "3 runs: 2 ok, 1 diverged" in shown
    assert "optimizer.lr" in shown
    assert "2: diverged, step loss is nan at step 3" in shown
    assert "note: 1 of 3 runs predict every test row to be no" in shown
    assert f"python src/report.py run={sweep}" in shown


def test_a_sweep_of_refused_jobs_has_no_rows(tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    assert compare(tmp_path) == []


# ---- many runs


def grid(sweep: Path) -> list[dict[str, Any]]:
    """Four learning rates and three seeds; the third is best, the last loses a run."""
    number = 0
    for lr, losses in ((0.01, (5, 6, 7)), (0.1, (2, 3, 4)), (1, (1, 2, 3)), (10, (0.1, 0.1, None))):
        for seed, loss in enumerate(losses):
            lost = {"status": "diverged", "reason": "step loss is nan at step 3", "metrics": {}}
            ended = {"metrics": {"val/loss": float(loss)}} if loss is not None else lost
            job(sweep, number, [f"optimizer.lr={lr}", f"seed={seed}"], **ended)
            number += 1
    return compare(sweep)


def test_settings_are_averaged_over_seeds_and_lost_runs_never_win(tmp_path: Path) -> None:
    found = settings(grid(tmp_path), "val/loss")
    assert [s.values["optimizer.lr"] for s in found] == ["1", "0.1", "0.01", "10"]
    assert found[0].mean == 2.0
    assert found[0].told == "2 ± 1"  # the standard deviation of 1, 2, 3
    assert (found[-1].runs, len(found[-1].scores)) == (3, 2)


def test_the_other_way_round_where_more_is_better(tmp_path: Path) -> None:
    rows = [{**row, "val/r2": row["val/loss"]} for row in grid(tmp_path)]
    assert settings(rows, "val/r2")[0].values["optimizer.lr"] == "0.01"


def test_many_runs_are_shown_as_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(40):
        loss = {"metrics": {"val/loss": float(i // 10)}}
        job(tmp_path, i, [f"optimizer.lr={i // 10 + 1}", f"seed={i % 10}"], **loss)
    print_summary(tmp_path, compare(tmp_path), "val/loss")
    shown = capsys.readouterr().out
    assert len([line for line in shown.splitlines() if line.startswith("│")]) == 4


def test_the_time_to_the_target_is_that_of_runs_whose_ending_is_one(tmp_path: Path) -> None:
    sentence = "ValueError: nothing reached the target"
    job(tmp_path, 0, ["seed=0"], seconds=2.0, ending={"code": "target", "step": 7})
    job(tmp_path, 1, ["seed=1"], seconds=3.0, status="failed", reason=sentence)
    assert [row["seconds_to_target"] for row in compare(tmp_path)] == [2.0, None]


def test_jobs_without_a_result_are_listed_with_their_sentence(tmp_path: Path) -> None:
    job(tmp_path, 0, ["seed=0"])
    entry = {"overrides": ["seed=1"], "status": "failed", "reason": "its worker died"}
    write_jobs(
        tmp_path,
        [
            {"number": 0, "overrides": ["seed=0"], "directory": "0", "status": "ok", "reason": ""},
            {"number": 1, "directory": "1", **entry},
            {"number": 2, "directory": "2", "overrides": ["seed=2"], "status": None, "reason": ""},
        ],
    )
    rows = compare(tmp_path)
    assert [(row["seed"], row["status"]) for row in rows] == [
        ("0", "ok"), ("1", "failed"), ("2", "not begun"),
    ]  # fmt: skip
    assert rows[1]["reason"] == "its worker died"


def test_problems_take_turns_since_their_scores_cannot_be_compared() -> None:
    losses = {("wine", "0.1"): 0.2, ("wine", "1"): 0.1, ("iris", "0.1"): 5.0, ("iris", "1"): 6.0}
    rows = [
        {"data": data, "optimizer.lr": lr, "status": "ok", "reason": "", "step": 1, "samples": 1,
         "seconds": 0.1, "val/loss": loss, "directory": f"sweep/{i}"}
        for i, ((data, lr), loss) in enumerate(losses.items())
    ]  # fmt: skip
    found = settings(rows, "val/loss")
    assert [setting.mean for setting in found] == [0.1, 5.0, 0.2, 6.0]
