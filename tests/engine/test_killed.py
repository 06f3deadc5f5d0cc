"""A stack killed again and again in the midst of its training goes on bit for bit: SIGKILL."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from descent import training
from descent.callbacks import checkpoint
from descent.engine.observer import Observer, Phase
from descent.job import Job
from descent.records.run import Run
from descent.training import Finisher, train_together

KILLING = Path(__file__).parent / "killing.py"
RUNS, MOMENTS = 64, 20
OF_TIME = ("seconds", "positions")


@pytest.fixture
def in_memory() -> Iterator[Path]:
    """Give a directory of no disk, for which thousands of checkpoints would have to wait."""
    there = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=there) as name:
        yield Path(name)


def hold_equal(a: Any, b: Any, where: str) -> None:
    if where.rsplit(".", 1)[-1] in OF_TIME:
        return
    if isinstance(a, dict):
        assert list(a) == list(b), where
        for key in a:
            hold_equal(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for x, y in zip(a, b, strict=True):
            hold_equal(x, y, where)
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    elif "test/" in where and isinstance(a, float):  # measured over those that end together
        assert b == pytest.approx(a, rel=1e-6, nan_ok=True), where
    else:
        assert a == b or (a != a and b != b), where


def points(path: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(path), size_guidance={"scalars": 0}).Reload()
    tags = [tag for tag in events.Tags()["scalars"] if "seconds" not in tag]
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in tags}


def contents(path: Path) -> dict[str, Any]:
    """Return all that a run's directory tells, but for what is of time."""
    result = json.loads((path / "result.json").read_text())
    tables = [pl.read_csv(path / n, infer_schema_length=None) for n in ("steps.csv", "epochs.csv")]
    return {
        "last": torch.load(path / "checkpoints" / "last.ckpt", weights_only=True),
        "best": torch.load(path / "checkpoints" / "best.ckpt", weights_only=True),
        "tables": [table.drop("seconds").to_dict(as_series=False) for table in tables],
        "points": points(path),
        "result": {k: result[k] for k in ("status", "reason", "step", "metrics", "best")},
    }


class Killed(BaseException):
    """What nobody catches."""


@pytest.mark.parametrize("within", [False, True], ids=["after an epoch", "within one"])
def test_runs_killed_between_their_last_checkpoint_and_their_result_end_at_once(
    within: bool, make_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    typed = (
        "data=wine", "model.hidden=[4]", "stop.epochs=4", "callbacks.checkpoint.every_seconds=0",
        "callbacks=early_stopping", "callbacks.early_stopping.patience=1", "picture=false",
        "data.batch_size=16", "callbacks.full_loss.every_n_steps=4",
    )  # fmt: skip
    lrs = (0.02, 0.1, 0.01) if within else (0.1, 3.0, 0.05)
    given = [make_job(*typed, f"optimizer.lr={lr}") for lr in lrs]
    if within:
        given[1].config["callbacks"]["full_loss"]["target"] = 0.5

    def train(name: str, resumed: bool = False) -> list[Path]:
        runs = [Run(tmp_path / f"{name}{i}") for i in range(len(given))]
        jobs = [
            Job(job.config, replace(job.prepared), run, resumed, one_of_many=True)
            for job, run in zip(given, runs, strict=True)
        ]
        train_together(jobs, lambda steps: None, lambda number, result: None, "0-2-3")
        return [run.path for run in runs]

    finished: list[Sequence[int]] = []

    def killed(finisher: Finisher, runs: Sequence[int]) -> None:
        finished.append(runs)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Finisher, "finish", killed)
        with pytest.raises(Killed):
            train("part")
    assert finished == [[1]]  # the others had epochs to go
    saved = [torch.load(tmp_path / f"part{i}/checkpoints/last.ckpt") for i in range(3)]
    assert len({state["global_step"] for state in saved}) == 1  # all at one moment
    assert {state["abreast"] for state in saved} == {2}
    assert (saved[0]["descent"]["steps_in_epoch"] > 0) == within
    for one, other in zip(train("whole"), train("part", resumed=True), strict=True):
        hold_equal(contents(one), contents(other), one.name)


def test_runs_that_stay_are_saved_in_time_however_often_others_end(
    make_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    typed = (
        "data=diabetes", "model=linear", "stop.epochs=6", "picture=false", "logger=none",
        "callbacks.checkpoint.every_seconds=15", "trainer=float64", "data.batch_size=full",
        "optimizer=sgd", "optimizer.lr=0.05",
    )  # fmt: skip
    job = make_job(*typed)
    now, saved = [0.0], []
    monkeypatch.setattr(checkpoint, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(checkpoint, "SHARE", -1.0)  # only when it is due
    own = checkpoint.save

    def save(state: dict[str, Any], path: Path) -> None:
        if path.name == "last.ckpt" and path.parts[-3].endswith("0"):
            saved.append(state["epoch"])
        own(state, path)

    class Time(Observer):
        phase = Phase.MEASURE

        def epoch(self, learner: Any, columns: Any) -> None:
            now[0] += 10.0

    def train(name: str, targets: list[float | None]) -> list[Run]:
        jobs = []
        for i, target in enumerate(targets):
            config = copy.deepcopy(job.config)
            config["callbacks"]["full_loss"]["target"] = target
            run = Run(tmp_path / f"{name}{i}")
            jobs.append(Job(config, replace(job.prepared), run, one_of_many=True))
        train_together(jobs, lambda steps: None, lambda number, result: None)
        return [one.run for one in jobs]

    whole = training.assemble_all
    monkeypatch.setattr(training, "assemble_all", lambda jobs, more: whole(jobs, [*more, Time()]))
    (first, _) = train("before", [None, None])
    losses = pl.read_csv(first.path / "epochs.csv")["train/full_loss"].to_list()[1:]
    monkeypatch.setattr(checkpoint, "save", save)
    now[0] = 0.0
    runs = train(
        "run", [None, *(1.000001 * loss for loss in losses[:5])]
    )  # of which one ends with each epoch
    assert [run.result()["epoch"] for run in runs] == [6, 1, 2, 3, 4, 5]
    assert saved == [2, 4, 6]


@pytest.mark.slow
def test_a_stack_killed_at_twenty_moments_goes_on_bitwise(in_memory: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(KILLING), str(in_memory), str(MOMENTS)],
        check=True, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    told = json.loads(done.stdout)
    kills, sweeps = told["kills"], [Path(path) for path in told["sweeps"]]
    assert set(told["codes"]) == {0}
    amid = [kill for kill in kills if kill["saved"] == RUNS and kill["finished"] < RUNS]
    assert len(kills) == MOMENTS
    assert len(amid) >= MOMENTS - 2
    assert len({kill["step"] for kill in amid}) >= 5  # early and late
    texts = [(sweep / "told.txt").read_text() for sweep in sweeps]
    assert sum(text.count(" go on from their checkpoints") for text in texts) >= MOMENTS // 2
    for text in texts:  # begun once, and from then on nothing but gone on with
        assert text.count("in 1 stack of 64") == text.count(" stack of ") == 1
        assert "digits may differ" not in text
    wholes = {job: contents(in_memory / "whole" / job) for job in map(str, range(RUNS))}
    reasons = {whole["result"]["reason"] for whole in wholes.values()}
    assert len(reasons) == 2  # early stopping and the last epoch
    for sweep in sweeps:
        for job, whole in wholes.items():
            hold_equal(whole, contents(sweep / job), f"{sweep.name}/{job}")
