"""Modules of others: stacked only where that is the same as alone, else alone, and said."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from descent.engine.grouping import shape
from descent.engine.proof import why_unproven
from descent.engine.stacked_model import unstackable
from descent.job import Job
from descent.records.run import Run
from descent.sweep.planning import Planned
from descent.sweep.sources import prepared
from descent.sweep.tasks import FitTask, run_task

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
foreign = importlib.import_module("foreign_modules")
sys.path.remove(str(HERE))

ALONE, EITHER, MODULES = foreign.ALONE, foreign.EITHER, foreign.MODULES
QUICK = (foreign.SavedBuffer, foreign.CountAnew, foreign.DrawnInClosure, foreign.GradientHook,
         foreign.Lazy, foreign.FileCounter, foreign.UnsavedBuffer)  # fmt: skip
# 354 rows train: 7 batches an epoch, the last of 54 - 50 = 4 rows
COMMON = ("data=diabetes", "data.batch_size=50", "model=linear", "~model.init", "~model.bias",
          "stop.epochs=3", "trainer=float64", "optimizer=momentum", "picture=false")  # fmt: skip


def jobs_of(kind: type[nn.Module], make_job: Callable[..., Job], *typed: str) -> list[Planned]:
    made = []
    for number, more in enumerate(("seed=0", "seed=1", "optimizer.lr=0.03")):
        name = f"model._target_=foreign_modules.{kind.__name__}"
        job = make_job(*COMMON, name, more, *typed)
        made.append(Planned(number, tuple(job.overrides), job.config, job.run.path))
    return made


@pytest.mark.parametrize("how", ["data.batch_size=full", "data.order=sequential"])
def test_a_module_that_writes_into_its_input_does_not_change_the_data(how, train_run, monkeypatch):
    monkeypatch.syspath_prepend(HERE)
    given = (*COMMON, how, "logger=none")
    factor = ("model._target_=foreign_modules.ScaledInput",)
    one = train_run(*given, "model._target_=foreign_modules.WritesIntoItsInput")
    other = train_run(*given, *factor)
    assert one.result()["metrics"] == other.result()["metrics"]


def verdict(jobs: list[Planned]) -> str | None:
    configs = [job.config for job in jobs]
    assert len({shape(config) for config in configs}) == 1
    data = prepared(configs[0]["data"])
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HERE)
        from descent.data.prepare import Description
        from descent.engine.blueprint import build_model

        model = build_model(configs[0], Description.from_dict(data.describe()))
        return unstackable(model) or why_unproven(configs, data)


def trained(jobs: list[Planned], where: Path, stacked: bool) -> list[Run]:
    moved = [Planned(j.number, j.overrides, j.config, where / str(j.number)) for j in jobs]
    outcomes = run_task(FitTask(tuple(moved), stacked))
    assert [(o.status, o.after) for o in outcomes] == [("ok", None)] * len(jobs)
    return [Run(job.directory) for job in moved]


@pytest.mark.parametrize(
    "kind",
    [kind if kind in QUICK else pytest.param(kind, marks=pytest.mark.slow) for kind in MODULES],
    ids=lambda kind: kind.__name__,
)
@pytest.mark.filterwarnings("ignore")
def test_a_foreign_module_is_the_same_stacked_or_trains_alone_and_says_why(
    kind: type[nn.Module], make_job: Callable[..., Job], tmp_path: Path
) -> None:
    jobs = jobs_of(kind, make_job)
    why = verdict(jobs)
    if kind in ALONE:
        assert why is not None
        assert ALONE[kind] in why
        return
    assert why is None or kind in EITHER, why
    if why is not None:
        return
    single = trained(jobs, tmp_path / "alone", stacked=False)
    together = trained(jobs, tmp_path / "stacked", stacked=True)
    for one, other in zip(single, together, strict=True):
        for name in ("last", "best"):
            ours, theirs = (run.checkpoint(name)["state_dict"] for run in (one, other))
            assert list(ours) == list(theirs)
            for key, value in ours.items():
                torch.testing.assert_close(theirs[key], value, rtol=1e-10, atol=1e-10, msg=key)
        ours, theirs = (run.result()["metrics"] for run in (one, other))
        assert theirs == pytest.approx(ours, rel=1e-10)


def test_the_table_holds_at_least_twenty_five_modules_of_each_fate() -> None:
    assert len(MODULES) - len(ALONE) >= 25
    assert len(ALONE) >= 20


def test_what_a_module_is_asked_leaves_random_streams_as_they_were(make_job, monkeypatch):
    monkeypatch.syspath_prepend(HERE)
    configs = [job.config for job in jobs_of(foreign.Noisy, make_job)]
    data = prepared(configs[0]["data"])
    # Python's stream is left out: the checks of shapes that tests switch on draw from it
    torch.manual_seed(3), np.random.seed(3)
    wanted = (float(torch.rand(())), np.random.rand())
    torch.manual_seed(3), np.random.seed(3)
    assert why_unproven(configs, data) is not None
    assert (float(torch.rand(())), np.random.rand()) == wanted


def test_options_of_a_foreign_model_are_no_numbers_that_runs_of_a_stack_may_differ_in(make_job):
    own = [make_job("model=linear", f"model.init={init}").config for init in ("zeros", "normal")]
    assert len({shape(config) for config in own}) == 1
    name = "model._target_=foreign_modules.Factor"
    jobs = [make_job(*COMMON, name, f"+model.{key}={value}").config
            for key in ("init", "start", "factor") for value in (1, 2)]  # fmt: skip
    assert len({shape(config) for config in jobs}) == len(jobs)


def test_a_model_that_is_written_into_our_folder_is_proven_like_any_other() -> None:
    from descent.engine.blueprint import has_own_model

    targets = {"models.mlp.MLP": True, "models.mine.Mine": False, "models.mlp.MLPx": False}
    for target, own in targets.items():
        assert has_own_model({"model": {"_target_": f"descent.{target}"}}) == own


def test_a_stack_that_fails_says_so_and_why(make_job, tmp_path, monkeypatch):
    import descent.sweep.tasks as tasks
    from descent.sweep.launching import _fallen_back

    def broken(jobs: Any, tick: Any, done: Any) -> None:
        raise RuntimeError("no room for a stack\nsecond line")

    monkeypatch.setattr(tasks, "_together", broken)
    jobs = [Planned(n, (f"seed={n}",), make_job(*COMMON[:2], "model=linear", "stop.epochs=1",
            f"seed={n}", "picture=false").config, tmp_path / str(n)) for n in range(2)]  # fmt: skip
    outcomes = run_task(FitTask(tuple(jobs), True))
    assert [o.status for o in outcomes] == ["ok", "ok"]
    (line,) = _fallen_back(outcomes)
    assert line.startswith("2 runs trained one by one: ")
    assert "RuntimeError: no room for a stack)" in line
    for n in range(2):
        text = (tmp_path / str(n) / "train.log").read_text()
        assert "its stack failed: RuntimeError: no room for a stack" in text
        assert "Traceback (most recent call last)" in text
        assert text.splitlines()[-1].endswith("ok, reached stop.epochs=1")


def test_stacked_and_single_jobs_leave_the_same_files_and_last_line_of_the_log(make_job, tmp_path):
    jobs = [Planned(n, (f"seed={n}",), make_job(*COMMON[:2], "model=linear", "stop.epochs=1",
            f"seed={n}", "picture=false").config, tmp_path / str(n)) for n in range(2)]  # fmt: skip
    found = []
    for where, stacked in (("alone", False), ("stacked", True)):
        runs = trained(jobs, tmp_path / where, stacked)
        names = [sorted(str(p.relative_to(run.path)).split("tfevents")[0] for p in
                 run.path.rglob("*") if p.is_file()) for run in runs]  # fmt: skip
        lines = [(run.path / "train.log").read_text().splitlines()[-1] for run in runs]
        found.append((names, [line.split(": ", 1)[1] for line in lines]))
    assert found[0] == found[1]
    assert "train.log" in found[0][0][0]


@pytest.mark.slow
def test_a_sweep_over_a_users_option_gives_each_value_its_own_result(
    type_command: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    typed = ("-m", "data=wine", "model=linear", "~model.bias", "~model.init", "report=false",
             "optimizer=sgd", "optimizer.lr=0.1", "stop.epochs=2", "trainer=float64")  # fmt: skip
    factors = ("model._target_=foreign_modules.Factor", "+model.factor=1,0.01,5", "seed=0")
    found = []
    for more in ((), ("hydra/launcher=basic",)):
        where = f"sweep_dir={tmp_path / str(len(found))}"
        done = type_command("train", *typed, *factors, where, *more)
        assert done.returncode == 0, done.stderr
        runs = [Run(tmp_path / str(len(found)) / str(n)) for n in range(3)]
        found.append([run.result()["metrics"]["train/full_loss"] for run in runs])
    assert found[0] == pytest.approx(found[1], rel=1e-10)
    assert len(set(found[0])) == 3
    drawn = ("model._target_=foreign_modules.DrawnNumber", "seed=0,1")
    done = type_command("train", *typed, *drawn, f"sweep_dir={tmp_path / 'drawn'}")
    assert ("group 1: 2 runs alone, one by one: model.temperature is no parameter or saved buffer, "
            "and differs from run to run") in done.stdout  # fmt: skip
