"""Runs that train together beside the same runs alone: their directories, end to end.

What the steps compute is held against loops written by hand in `test_kernels`; here are the ways in
which a run can end, be recorded and go on while others do otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from descent.data.prepare import prepare
from descent.engine.grouping import shape, why_alone
from descent.job import Job
from descent.records.pathfile import read_path
from descent.records.run import Run
from descent.training import train_together

Train = Callable[..., Run]
CONF = Path(__file__).parents[2] / "conf"
FLOAT64 = ("trainer=float64", "picture=false")
MLP = (*FLOAT64, "model.hidden=[12]", "data=wine", "stop.epochs=5")
LINEAR = (*FLOAT64, "model=linear", "data=diabetes", "data.batch_size=20", "stop.epochs=5")
POINT = (*FLOAT64, "model=point", "data=landscape", "landscape=rosenbrock", "stop.epochs=5")
SECONDS = ("seconds", "wall_seconds", "began", "positions", "time")
BESIDE = ("abreast",)  # how many trained beside a run
EARLY = ("callbacks=early_stopping", "callbacks.early_stopping.patience=1")


def stacked(runs: list[Run], directory: Path) -> list[Run]:
    """Train the configs of finished runs again, as one stack."""
    configs = [run.config() for run in runs]
    assert {why_alone(config) for config in configs} == {None}
    assert len({shape(config) for config in configs}) == 1
    made = [Run(directory / f"stacked{i}") for i in range(len(runs))]
    prepared = prepare(configs[0]["data"])
    jobs = [
        Job(run.config(), prepared, to, False, tuple(run.result()["overrides"]), True)
        for run, to in zip(runs, made, strict=True)
    ]
    train_together(jobs, lambda steps: None, lambda number, result: None)
    return made


def hold_against(a: Any, b: Any, where: str = "", rtol: float = 1e-10) -> None:
    """Assert that two values are the same but for time and rounding."""
    if where.rsplit(".", 1)[-1] in (*SECONDS, *BESIDE) or ".val_loop." in where:
        return
    if isinstance(a, dict):
        assert list(a) == list(b), where
        for key in a:
            hold_against(a[key], b[key], f"{where}.{key}", rtol)
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            hold_against(x, y, f"{where}[{i}]", rtol)
    elif isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype, where
        torch.testing.assert_close(b, a, rtol=rtol, atol=1e-9, equal_nan=True, msg=where)
    elif isinstance(a, float) and not isinstance(b, str):
        assert math.isclose(a, b, rel_tol=rtol, abs_tol=1e-12) or (a != a and b != b), where
    else:
        assert a == b, where


def hold_runs_against(single: Run, other: Run, rtol: float = 1e-10) -> None:
    """Assert that two run directories tell the same."""

    def files(run: Run) -> list[str]:
        names = [str(p.relative_to(run.path)) for p in run.path.rglob("*") if p.is_file()]
        return sorted(name.split("tfevents")[0] for name in names if name != "train.log")

    assert files(other) == files(single)
    assert (other.path / "data.json").read_bytes() == (single.path / "data.json").read_bytes()
    assert (other.path / "config.yaml").read_text() == (single.path / "config.yaml").read_text()
    hold_against(single.result(), other.result(), "result", rtol)
    for name in ("steps.csv", "epochs.csv"):
        a, b = (pl.read_csv(run.path / name) for run in (single, other))
        assert b.columns == a.columns
        for column in set(a.columns) - {"seconds"}:
            x, y = (t[column].cast(pl.Float64, strict=False).to_numpy() for t in (a, b))
            np.testing.assert_allclose(y, x, rtol=rtol, atol=1e-12, err_msg=f"{name} {column}")
    for name in ("last", "best"):
        if single.checkpoint_path(name).is_file():
            hold_against(single.checkpoint(name), other.checkpoint(name), name, max(rtol, 1e-9))
    a, b = read_path(single.path), read_path(other.path)
    assert (a is None) == (b is None)
    if a is not None and b is not None:
        assert b.steps.tolist() == a.steps.tolist()
        np.testing.assert_allclose(b.theta, a.theta, rtol=max(rtol, 1e-8), atol=1e-10)
    hold_events_against(single.path, other.path)


def hold_events_against(single: Path, other: Path) -> None:
    """Assert that TensorBoard's own reader finds the same points in both event files."""
    found = []
    for path in (single, other):
        if not list(path.glob("events.*")):
            return
        events = EventAccumulator(str(path), size_guidance={"scalars": 0})
        events.Reload()
        found.append(events)
    tags = found[0].Tags()["scalars"]
    assert sorted(found[1].Tags()["scalars"]) == sorted(tags)
    for tag in tags:
        a, b = ([(e.step, e.value) for e in events.Scalars(tag)] for events in found)
        assert [step for step, _ in b] == [step for step, _ in a], tag
        if "seconds" not in tag:
            np.testing.assert_allclose([v for _, v in b], [v for _, v in a], rtol=1e-5, err_msg=tag)


def test_a_run_that_begins_at_its_target_leaves_a_stack_at_once(
    train_run: Train, tmp_path: Path
) -> None:
    runs = [train_run(*LINEAR, f"stop.loss={loss}") for loss in (1e9, 1e-9)]
    assert [run.result()["step"] for run in runs] == [0, 5 * 18]
    for single, other in zip(runs, stacked(runs, tmp_path), strict=True):
        hold_runs_against(single, other)


def test_runs_of_different_schedules_share_a_stack(train_run: Train, tmp_path: Path) -> None:
    each = ("constant", "cosine", "exponential", "plateau")
    typed = (*MLP, *EARLY)
    runs = [
        train_run(*typed, f"scheduler={n}", *(["scheduler.patience=0"] if n == "plateau" else []))
        for n in each
    ]
    for single, other in zip(runs, stacked(runs, tmp_path), strict=True):
        hold_runs_against(single, other)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("common", "jobs"),
    [
        ((*LINEAR, "optimizer=sgd", "data.batch_size=118"),
         [["optimizer.lr=0.1"], ["optimizer.lr=10"], ["stop.loss=0.8"], ["optimizer.lr=1.2"]]),
        ((*LINEAR, "optimizer=nesterov", "callbacks.full_loss.every_n_steps=4"),
         [["stop.loss=0.6"], ["stop.loss=0.5"], ["seed=1", "stop.loss=0.55"], ["seed=1"]]),
        ((*MLP, "stop.steps=20"), [[], ["seed=1", "penalty.l1=0.001"], ["penalty.l2=0.1"]]),
        ((*MLP, "model.dropout=0.4"), [[], ["seed=1"], ["optimizer.lr=0.1"]]),
        (MLP, [["clip.norm=0.5"], ["clip.value=0.01"], ["clip.norm=1", "clip.value=0.1"]]),
        (MLP, [["model.init=zeros"], ["model.init=xavier"], ["optimizer.lr=1e5"]]),
        ((*MLP, "data.order=sequential"), [[], ["seed=1"]]),
        ((*MLP, "data.order=with_replacement", "data.drop_last=true"), [[], ["seed=1"]]),
        ((*MLP, "data.batch_size=full", "logger=none"), [[], ["seed=1"], ["seed=2"]]),
        ((*MLP, "data.val_fraction=0", "data.test_fraction=0"), [[], ["seed=1"]]),
        ((*MLP, "trainer.check_val_every_n_epoch=2", "callbacks.full_loss.every_n_epochs=2"),
         [[], ["seed=1"]]),
        ((*MLP, "callbacks.full_loss=null", "callbacks.checkpoint=null", "callbacks.path=null"),
         [[], ["seed=1"]]),
        ((*MLP, "data.window=3", "callbacks.path.points=40", "callbacks.recorder.points=20"),
         [[], ["seed=1"]]),
        ((*FLOAT64, "model=linear", "data=breast_cancer", "stop.epochs=2"), [[], ["seed=1"]]),
        ((*POINT, "data.source.noise=1", "data.batch_size=100", "optimizer=sgd"),
         [["optimizer.lr=1e-3"], ["landscape.start=[0,1]", "optimizer.lr=1e-3"],
          ["optimizer.lr=1", "seed=2"]]),
        ((*FLOAT64, "stop.epochs=1", "model.hidden=[8]", "data.augment.shift=1",
          "data.augment.rotate=5"), [[], ["seed=1"], ["optimizer.lr=0.1"]]),
    ],
)  # fmt: skip
def test_whatever_happens_to_a_run_happens_in_a_stack(
    common: tuple[str, ...], jobs: list[list[str]], train_run: Train, tmp_path: Path
) -> None:
    runs = [train_run(*common, *typed) for typed in jobs]
    for single, other in zip(runs, stacked(runs, tmp_path), strict=True):
        # runs on their way to infinity double their rounding at every step
        lost = single.result()["status"] == "diverged"
        hold_runs_against(single, other, rtol=1e-6 if lost else 1e-10)


@pytest.mark.slow
def test_a_users_own_module_goes_through_vmap(train_run: Train, tmp_path: Path) -> None:
    typed = (*FLOAT64, "data=diabetes", "stop.epochs=2",
             "model=linear", "~model.init", "model._target_=torch.nn.Linear")  # fmt: skip
    runs = [train_run(*typed), train_run(*typed, "seed=1"), train_run(*typed, "optimizer.lr=0.1")]
    for single, other in zip(runs, stacked(runs, tmp_path), strict=True):
        hold_runs_against(single, other)


@pytest.mark.slow
def test_float32_agrees_within_its_rounding(train_run: Train, tmp_path: Path) -> None:
    # one step rounds by about 1e-7 of a weight, and 36 stable steps add up at most that often
    typed = ("picture=false", "data=wine", "model.hidden=[12]", "stop.epochs=4")
    runs = [train_run(*typed), train_run(*typed, "seed=1")]
    for single, other in zip(runs, stacked(runs, tmp_path), strict=True):
        a, b = (pl.read_csv(run.path / "steps.csv")["loss"].to_numpy() for run in (single, other))
        np.testing.assert_allclose(b, a, rtol=36 * 1.2e-7 * 10)
        assert other.result()["step"] == single.result()["step"]


@pytest.mark.parametrize("more", [[], ["stop.steps=13"]], ids=["whole", "halfway"])
def test_a_stacked_run_is_continued_as_a_single_one_is(
    more: list[str], train_run: Train, make_job: Callable[..., Any], tmp_path: Path
) -> None:
    from descent.training import train

    whole = train_run(*MLP, "stop.epochs=6")
    single = train_run(*MLP, "stop.epochs=3", *more)
    (other,) = stacked([single], tmp_path)
    further = [f"resume={other.path}", "stop.epochs=6", *(["stop.steps=null"] if more else [])]
    train(make_job(*further))
    a, b = (pl.read_csv(run.path / "steps.csv").drop("seconds") for run in (whole, other))
    assert len(a) == len(b)
    np.testing.assert_allclose(b["loss"].to_numpy(), a["loss"].to_numpy(), rtol=1e-9)
    hold_against(whole.checkpoint("last")["state_dict"], other.checkpoint("last")["state_dict"],
                 "weights", 1e-8)  # fmt: skip
