"""A stack that does not fit in memory: its runs are trained in smaller ones, and that is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import polars as pl
import pytest
import torch
from hydra import compose, initialize_config_dir

import descent.cli
import descent.training
from descent.config.check import plain
from descent.engine import grouping
from descent.records.run import Run
from descent.sweep.composing import Composed
from descent.sweep.launching import LaunchOptions, launch

CONF = Path(__file__).parents[2] / "conf"
TYPED = ("data=wine", "model=linear", "optimizer=adam", "stop.epochs=3", "picture=false",
         "trainer=float64", "logger=none", "callbacks.checkpoint.every_seconds=0")  # fmt: skip
RUNS = 5


def jobs() -> list[Composed]:
    made = []
    for number in range(RUNS):
        typed = (*TYPED, f"optimizer.lr=0.0{number + 1}")
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = plain(compose("train", overrides=list(typed)))
        made.append(Composed(number, typed, config, Path(str(number))))
    return made


def launched(sweep: Path) -> None:
    sweep.mkdir(exist_ok=True)
    outcomes = launch(jobs(), sweep, LaunchOptions())
    assert [outcome.status for outcome in outcomes] == ["ok"] * RUNS


def hold_equal(one: Path, other: Path) -> None:
    for number in range(RUNS):
        a, b = (Run(path / str(number)) for path in (one, other))
        states = [run.checkpoint("last")["state_dict"] for run in (a, b)]
        for key, value in states[0].items():
            torch.testing.assert_close(states[1][key], value, rtol=1e-12, atol=0)
        tables = [pl.read_csv(run.path / "steps.csv").drop("seconds") for run in (a, b)]
        assert tables[0].shape == tables[1].shape


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let more than two runs run out of memory in their second epoch; note who tries."""
    tried: list[int] = []
    train = descent.training.train_together

    def short(
        runs: Any, tick: Callable[[int], None], ended: Any, name: str = "", **given: Any
    ) -> None:
        tried.append(len(runs))
        taken = 0

        def counting(steps: int) -> None:
            nonlocal taken
            taken += steps
            if len(runs) > 2 and taken > 12 * len(runs):
                torch.empty(2**60)  # as the allocator says it
            tick(steps)

        train(runs, counting, ended, name, **given)

    monkeypatch.setattr(descent.training, "train_together", short)
    return tried


def test_a_stack_that_runs_out_of_memory_is_split_and_says_so(
    sizes: list[int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    launched(tmp_path / "split")
    told = capsys.readouterr().out
    assert sizes == [5, 3, 2, 1, 2]
    assert "5 runs trained in smaller stacks: 5 together did not fit in memory" in told
    assert "one by one" not in told
    log = (tmp_path / "split" / "0" / "train.log").read_text()
    assert "trained in a smaller stack, since 5 runs did not fit in memory" in log


@pytest.mark.slow
def test_runs_of_a_split_stack_are_those_of_a_whole_one(
    sizes: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched(tmp_path / "split")
    assert min(sizes) < RUNS
    monkeypatch.undo()
    launched(tmp_path / "whole")
    hold_equal(tmp_path / "whole", tmp_path / "split")


@pytest.mark.slow
def test_a_killed_stack_goes_on_in_parts_where_there_is_less_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Killed(BaseException):
        pass

    launched(tmp_path / "whole")
    train = descent.training.train_together

    def killed(runs: Any, tick: Callable[[int], None], ended: Any, name: str = "") -> None:
        taken = 0

        def counting(steps: int) -> None:
            nonlocal taken
            taken += steps
            if taken > 20 * len(runs):
                raise Killed

        train(runs, counting, ended, name)

    with monkeypatch.context() as patch:
        patch.setattr(descent.training, "train_together", killed)
        patch.setattr("descent.sweep.launching.mark_ended", lambda job, ending: None)  # nobody can
        with pytest.raises(Killed):
            launched(tmp_path / "killed")
    capsys.readouterr()
    one = grouping.footprint
    with monkeypatch.context() as patch:
        held = []

        def kept(*given: Any) -> grouping.Footprint:
            held.append(one(*given))
            return held[-1]

        patch.setattr("descent.sweep.launching.footprint", kept)
        shared = joblib.cpu_count() / grouping.USABLE
        patch.setattr(grouping, "memory", lambda device: 2.5 * held[-1].held * shared)
        launched(tmp_path / "killed")
    assert (
        "5 of 5 runs go on from their checkpoints, 2 at a time, which is what fits in memory"
        in (capsys.readouterr().out)
    )
    hold_equal(tmp_path / "whole", tmp_path / "killed")
