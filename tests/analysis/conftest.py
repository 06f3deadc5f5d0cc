"""Multiruns written by hand, as training would leave them."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CONFIG: dict[str, Any] = {
    "seed": 0,
    "optimized_metric": "val/loss",
    "stop": {"epochs": 10, "steps": None, "loss": None},
    "penalty": {"l1": 0.0, "l2": 0.0},
    "data": {"batch_size": 32, "source": {"_target_": "descent.data.line.line"}},
    "model": {"_target_": "descent.models.linear.Linear"},
    "optimizer": {"_target_": "torch.optim.SGD", "lr": 0.1, "weight_decay": 0.0},
    "scheduler": {"_target_": "torch.optim.lr_scheduler.ConstantLR"},
    "trainer": {"precision": "32-true"},
    "callbacks": {"full_loss": {"every_n_epochs": 1, "every_n_steps": None, "target": None}},
}

Job = dict[str, Any]
"""`values` of the options as typed, and what of status, reason, step, samples, seconds, metrics (by
name), epochs (rows: step, full loss) a test gives."""


@pytest.fixture
def write_sweep(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a finished multirun, and gives its directory."""

    def write(
        jobs: Sequence[Job],
        shared: Sequence[str] = ("data=line",),
        config: Mapping[str, Any] | None = None,
        name: str = "sweep",
    ) -> Path:
        sweep = tmp_path / name
        sweep.mkdir()
        for number, job in enumerate(jobs):
            write_job(sweep / str(number), job, {**CONFIG, **(config or {})}, shared)
        write_list(sweep, jobs, shared)
        write_table(sweep, jobs)
        return sweep

    return write


def filled(job: Job) -> Job:
    defaults = {
        "status": "ok", "reason": "reached stop.epochs=10", "step": 100, "samples": 3200,
        "seconds": 0.5, "metrics": {}, "epochs": [],
    }  # fmt: skip
    return {**defaults, **job}


def typed(job: Job, shared: Sequence[str]) -> list[str]:
    return [*shared, *(f"{key}={value}" for key, value in job["values"].items())]


def write_job(directory: Path, job: Job, config: Mapping[str, Any], shared: Sequence[str]) -> None:
    job = filled(job)
    if job["status"] == "not begun":
        return
    directory.mkdir(parents=True)
    (directory / "config.yaml").write_text(yaml.safe_dump(dict(config)))
    best = {k[5:]: _text(v) for k, v in job["metrics"].items() if k[:5] == "best/"}
    result = {
        "status": job["status"], "reason": job["reason"], "step": job["step"], "epoch": 10,
        "samples": job["samples"], "seconds": job["seconds"],
        "overrides": [*typed(job, shared), "hydra.mode=RUN"],
        "metrics": {k: _text(v) for k, v in job["metrics"].items() if k[:5] != "best/"},
        "weights": {}, "best": {"epoch": 1, "step": 1, "metrics": best} if best else None,
    }  # fmt: skip
    (directory / "result.json").write_text(json.dumps(result))
    rows = [
        f"{i},{step},{step * 32},{step * 1e-3},,{loss}"
        for i, (step, loss) in enumerate(job["epochs"])
    ]
    head = "epoch,step,samples,seconds,train/loss,train/full_loss"
    (directory / "epochs.csv").write_text("\n".join([head, *rows]) + "\n")


def _text(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def write_list(sweep: Path, jobs: Sequence[Job], shared: Sequence[str]) -> None:
    entries = [
        {
            "number": number, "overrides": typed(job, shared), "directory": str(number),
            "status": filled(job)["status"], "reason": filled(job)["reason"],
        }
        for number, job in enumerate(jobs)
    ]  # fmt: skip
    for entry in entries:
        if entry["status"] == "not begun":
            entry |= {"status": None, "reason": ""}
    (sweep / "jobs.json").write_text(json.dumps(entries))


def write_table(sweep: Path, jobs: Sequence[Job]) -> None:
    options = list(dict.fromkeys(key for job in jobs for key in job["values"]))
    options = [k for k in options if len({str(job["values"].get(k)) for job in jobs}) > 1]
    metrics = list(dict.fromkeys(name for job in jobs for name in job.get("metrics", {})))
    taken = ["status", "reason", "step", "samples", "seconds"]
    with (sweep / "results.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow([*options, *taken, *metrics, "directory"])
        for number, job in enumerate(map(filled, jobs)):
            values = [job["values"].get(key, "") for key in options]
            known = [job[key] if job["status"] != "not begun" else "" for key in taken[1:]]
            figures = [job["metrics"].get(name, "") for name in metrics]
            table.writerow([*values, job["status"], *known, *figures, sweep / str(number)])


@pytest.fixture(scope="session")
def real_sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a multirun of the line, trained as a user types it: 2 optimizers, 4 lrs, 2 seeds."""
    where = tmp_path_factory.mktemp("real")
    options = (
        "data=line", "model=linear", "optimizer=sgd,adam", "optimizer.lr=0.03,0.3,0.9,1.1",
        "data.batch_size=20,full", "seed=0,1", "stop.epochs=40", "picture=false", "logger=none",
        "report=false", "stop.loss=2",
    )  # fmt: skip
    command = [sys.executable, str(ROOT / "src" / "train.py"), "-m", *options]
    done = subprocess.run(command, cwd=where, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (sweep,) = (where / "outputs" / "multiruns").iterdir()
    return sweep
