"""The table of a multirun: what differs, what became of it, and nothing left out in silence."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from descent.comparison import compare, job_directories, print_comparison, write_comparison


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
    job(tmp_path, 10, [*shared, "optimizer.lr=0.2", "seed=0"])
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
    print_comparison(sweep, compare(sweep))
    shown = capsys.readouterr().out
    assert "3 runs" in shown
    assert "optimizer.lr" in shown
    assert "2: diverged, step loss is nan at step 3" in shown
    assert f"python src/report.py run={sweep}" in shown


def test_a_sweep_of_refused_jobs_has_no_rows(tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    assert compare(tmp_path) == []
