"""A run that was stopped anywhere and continued equals one that never stopped, bit for bit."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from descent.engine.module_kernel import ModuleKernel
from descent.engine.stacked_kernel import StackedKernel
from descent.errors import UserError
from descent.job import Job
from descent.records.run import Run
from descent.training import train

TRAIN = Path(__file__).parents[1] / "src" / "train.py"

# 354 training rows: 18 steps an epoch, the last of 14 rows. Everything that draws random numbers
# or keeps a state is on: dropout, Adam's moments, a schedule per step, best weights, grad norms.
GIVEN = (
    "data=diabetes", "data.batch_size=20", "model.hidden=[16]", "model.dropout=0.2",
    "optimizer=adam",
    "optimizer.lr=0.01", "scheduler=warmup_cosine", "picture=false",
)  # fmt: skip
SAVED = "callbacks.checkpoint.every_seconds"
PLAIN = (*GIVEN[:-2], "picture=false")  # a constant lr, for runs whose length changes


# ---- what is compared


def same(one: Any, other: Any) -> bool:
    """Compare nested containers of tensors and primitives to the last bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other) and one.dtype == other.dtype
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def table(run: Run, name: str) -> pl.DataFrame:
    return pl.read_csv(run.path / f"{name}.csv", infer_schema_length=None).drop("seconds")


def scalars(run: Run) -> dict[str, list[tuple[int, float]]]:
    """Return every series of the run's only event file, but for the seconds."""
    (path,) = run.path.glob("events.*")
    events = EventAccumulator(str(path), size_guidance={"scalars": 0}).Reload()
    tags = [tag for tag in events.Tags()["scalars"] if not tag.endswith("/seconds")]
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in tags}


def assert_same_run(continued: Run, straight: Run) -> None:
    for name in ("steps", "epochs"):
        assert table(continued, name).equals(table(straight, name)), name
    one, other = continued.checkpoint("last"), straight.checkpoint("last")
    for key in ("state_dict", "optimizer_states", "lr_schedulers", "global_step"):
        assert same(one[key], other[key]), key
    for key in ("rng", "epochs_done", "steps_in_epoch"):
        assert same(one["descent"][key], other["descent"][key]), key
    if straight.checkpoint_path("best").exists():
        assert same(continued.checkpoint("best"), straight.checkpoint("best"))
    result, wanted = continued.result(), straight.result()
    for key in ("status", "reason", "step", "epoch", "samples", "metrics", "best"):
        assert result[key] == wanted[key], key
    assert scalars(continued) == scalars(straight)


# ---- real processes, real signals


@pytest.fixture
def start(tmp_path: Path):
    """Return a function that starts `python src/train.py ...` and kills it at the end."""
    started: list[subprocess.Popen[str]] = []

    def popen(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(TRAIN), *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        started.append(subprocess.Popen(command, cwd=tmp_path, **pipes))
        return started[-1]

    yield popen
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end, "waited a minute in vain"
        time.sleep(0.005)


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.slow
def test_a_killed_process_is_continued_bitwise(tmp_path, start, type_command, train_run):
    given = (*GIVEN, "stop.epochs=100")
    process = start(*given, "callbacks.checkpoint.every_seconds=0", "hydra.run.dir=killed")
    run = Run(tmp_path / "killed")
    wait_for(lambda: lines(run.path / "epochs.csv") > 3, process)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert run.result()["status"] == "running"
    for torn in (run.path / "steps.csv", run.path / "epochs.csv", *run.path.glob("events.*")):
        with torn.open("ab") as file:
            file.write(b"17,2,half a li")  # what a crash in mid-write leaves
    done = type_command("train", "resume=killed")
    assert done.returncode == 0, done.stderr
    assert_same_run(run, train_run(*given))


@pytest.mark.slow
def test_ctrl_c_in_mid_epoch_is_continued_bitwise(tmp_path, start, train_run):
    # one epoch of 10,000 steps
    given = (
        "data=line", "data.source.rows=200000", "model=linear", "optimizer=momentum",
        "optimizer.lr=0.001", "stop.epochs=1", "picture=false",
        "callbacks.checkpoint.every_seconds=0.05",
    )  # fmt: skip
    process = start(*given, "hydra.run.dir=interrupted")
    run = Run(tmp_path / "interrupted")
    wait_for(lambda: lines(run.path / "steps.csv") > 1, process)
    with pytest.raises(UserError, match="is being trained in by another process"):
        train_run(f"resume={run.path}")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    result = run.result()
    assert (result["status"], result["epoch"]) == ("interrupted", 0)
    assert 0 < result["step"] < 10000
    assert result["reason"] == f"stopped by SIGINT at step {result['step']}"
    assert "Continue with: python src/train.py resume=interrupted" in output
    train_run(f"resume={run.path}")
    assert_same_run(run, train_run(*given))


# ---- in this process, at a step of our choice


class Stopper:
    """Trains until the middle of a step, in whichever kernel takes it.

    A callback would do, but runs with callbacks of others have kernels of their own.
    """

    def __init__(self, make_job: Callable[..., Job]) -> None:
        self._make_job, self._left, self._how = make_job, 0, ""

    def again(self, steps: int) -> None:
        """Stop once more, so many steps from now."""
        self._left = steps

    def __call__(self, step: int, how: str, *given: str) -> Run:
        self._left, self._how = step, how
        job = self._make_job(*given)
        with pytest.raises(RuntimeError if how == "crash" else SystemExit):
            train(job)
        return job.run

    def before_step(self) -> None:
        self._left -= 1
        if self._left:
            return
        if self._how == "crash":
            raise RuntimeError("the disk is full")
        for name in self._how.split("+"):
            os.kill(os.getpid(), getattr(signal, name))


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch, make_job: Callable[..., Job]) -> Stopper:
    """Return a function that trains until the middle of a step and returns the run."""
    stopper = Stopper(make_job)
    for kind in (StackedKernel, ModuleKernel):

        def step(self: Any, *given: Any, plain: Callable[..., Any] = kind.step) -> Any:
            stopper.before_step()
            return plain(self, *given)

        monkeypatch.setattr(kind, "step", step)
    return stopper


@pytest.mark.parametrize("step", [1, 7, 17, 18, 19, 40])
def test_a_signal_at_any_step_is_continued_bitwise(step, stop_at, train_run):
    given = (*GIVEN, "stop.epochs=4")
    run = stop_at(step, "SIGINT", *given)
    assert run.result()["status"] == "interrupted"
    assert run.result()["step"] == step
    train_run(f"resume={run.path}")
    assert_same_run(run, train_run(*given))


@pytest.mark.parametrize(
    "given",
    [
        ("data.order=with_replacement", "callbacks.full_loss.every_n_steps=5", "data.window=4"),
        ("callbacks=early_stopping", "scheduler=plateau", "scheduler.patience=0"),
        ("scheduler=plateau", "scheduler.monitor=train/full_loss", "scheduler.threshold=0.3"),
        ("trainer.precision=64-true", "optimizer=rmsprop", "data.drop_last=true"),
        ("optimizer=adagrad", "scheduler=cosine", "callbacks.checkpoint.every_seconds=0"),
        ("data.val_fraction=0", "data.test_fraction=0", "penalty.l1=0.01", "clip.norm=0.5"),
        ("logger=none", "seed=5", "stop.steps=50"),
        ("trainer.derivatives=autograd", "optimizer=adam"),
    ],
    ids=lambda given: given[0],
)
def test_whatever_the_options_a_signal_is_continued_bitwise(given, stop_at, train_run, monkeypatch):
    given = (*GIVEN[:2], "model.dropout=0.2", "picture=false", "stop.epochs=4", *given)
    run = stop_at(25, "SIGTERM", *given)
    assert run.result()["reason"] == "stopped by SIGTERM at step 25"
    train_run(f"resume={run.path}")
    straight = train_run(*given)
    if "logger=none" in given:
        monkeypatch.setitem(globals(), "scalars", lambda run: list(run.path.glob("events.*")))
    assert_same_run(run, straight)


def test_a_run_interrupted_twice_is_continued_bitwise(stop_at, train_run):
    given = (*GIVEN, "stop.epochs=4")
    run = stop_at(25, "SIGINT", *given)
    stop_at.again(25)  # at step 50
    with pytest.raises(SystemExit):
        train_run(f"resume={run.path}")
    assert run.result()["step"] == 50
    train_run(f"resume={run.path}")
    assert_same_run(run, train_run(*given))


@pytest.mark.parametrize("saved", [True, False])
@pytest.mark.parametrize("how", ["crash", "SIGINT+SIGINT"])
def test_a_crash_is_continued_from_the_last_checkpoint_or_from_the_start(
    how, saved, stop_at, train_run
):
    given = (*GIVEN, "stop.epochs=4")
    seconds = 0 if saved else 1000
    run = stop_at(30, how, *given, f"callbacks.checkpoint.every_seconds={seconds}")
    result = run.result()
    if how == "crash":
        assert (result["status"], result["reason"]) == ("failed", "RuntimeError: the disk is full")
    else:
        assert result["status"] == "interrupted"
    assert run.checkpoint_path("last").exists() == saved
    train_run(f"resume={run.path}")
    assert_same_run(run, train_run(*given))


def test_a_run_killed_before_its_first_checkpoint_starts_afresh(stop_at, train_run):
    given = (*GIVEN, "stop.epochs=3", "callbacks.checkpoint.every_seconds=1000")
    run = stop_at(30, "crash", *given)
    # what a kill leaves: the result that was written before training
    run.write_result({**run.result(), "status": "running"})
    assert not run.checkpoint_path("last").exists()
    train_run(f"resume={run.path}")
    assert_same_run(run, train_run(*given))


@pytest.mark.parametrize(
    "ends",
    [
        ("callbacks=early_stopping", "callbacks.early_stopping.patience=1",
         "callbacks.early_stopping.min_delta=0.5"),
        ("stop.loss=0.9",),
    ],
    ids=["early stopping", "target"],
)  # fmt: skip
def test_a_run_killed_between_its_last_checkpoint_and_its_result_takes_no_step_more(
    ends, train_run
):
    given = (*PLAIN, *ends, "stop.epochs=9", "callbacks.checkpoint.every_seconds=0")
    run, straight = train_run(*given), train_run(*given)
    assert run.result()["epoch"] < 9
    running = {**run.result(), "status": "running"}
    run.write_result({k: v for k, v in running.items() if k not in ("reason", "stopped_early")})
    train_run(f"resume={run.path}")
    assert_same_run(run, straight)
    assert run.result()["reason"] == straight.result()["reason"]


# ---- going on after the end


@pytest.mark.parametrize("seconds", [0, 30])
@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("stop.epochs=2", "stop.epochs=4"),
        ("stop.steps=25", "stop.steps=60"),  # both inside an epoch
        ("stop.steps=36", "stop.steps=37"),  # from an epoch's end to one step more
        ("stop.steps=25", "stop.steps=null"),  # to all the epochs
    ],
)
def test_a_finished_run_goes_on_as_if_it_had_been_longer(first, then, seconds, train_run):
    given = (*PLAIN, "stop.epochs=4", f"callbacks.checkpoint.every_seconds={seconds}")
    run = train_run(*given, first)
    assert run.result()["status"] == "ok"
    train_run(f"resume={run.path}", then)
    straight = train_run(*given, then)
    assert_same_run(run, straight)
    assert run.config()["stop"] == straight.config()["stop"]


def test_a_target_set_at_the_callback_is_kept(train_run):
    given = (*PLAIN, "callbacks.full_loss.target=0.45")
    run = train_run(*given, "stop.steps=25")
    train_run(f"resume={run.path}", "stop.steps=null")
    straight = train_run(*given)
    assert "reached the target 0.45" in straight.result()["reason"]
    assert_same_run(run, straight)


def test_a_finished_run_is_not_trained_again(train_run):
    run = train_run(*PLAIN, "stop.epochs=1")
    with pytest.raises(UserError) as error:
        train_run(f"resume={run.path}")
    assert str(error.value) == (
        f"{run.path} is finished ({run.result()['reason']}); to go on, give it a larger "
        "stop.epochs or stop.steps."
    )


def test_a_diverged_run_is_not_continued(train_run):
    run = train_run(
        "data=diabetes", "data.batch_size=20", "model=linear", "optimizer=sgd", "optimizer.lr=1e6"
    )
    sentence = rf"has diverged \({re.escape(run.result()['reason'])}\); there is nothing to"
    with pytest.raises(UserError, match=sentence):
        train_run(f"resume={run.path}")


@pytest.mark.parametrize("change", ["optimizer.lr=0.5", "model=linear", "seed=3", "+data.new=1"])
def test_only_stop_and_trainer_options_may_change(change, train_run):
    run = train_run(*PLAIN, "stop.epochs=1")
    before = (run.path / "config.yaml").read_bytes()
    key = change.lstrip("+").split("=")[0]
    with pytest.raises(UserError, match=f"keeps its own config, so {re.escape(key)} cannot be"):
        train_run(f"resume={run.path}", "stop.epochs=2", change)
    assert (run.path / "config.yaml").read_bytes() == before


def test_a_run_without_checkpoints_says_so(train_run):
    run = train_run(*PLAIN, "stop.epochs=1", "callbacks=bare")
    with pytest.raises(UserError, match="kept no checkpoint to continue from"):
        train_run(f"resume={run.path}", "stop.epochs=2")


def test_changed_data_are_not_continued_on(tmp_path, train_run):
    path = tmp_path / "table.csv"
    rows = [f"{i},{i * i / 100}" for i in range(40)]
    path.write_text("\n".join(["x,y", *rows]))
    run = train_run("data=table", f"data.path={path}", "data.target=y", "stop.epochs=1",
                    "data.batch_size=8")  # fmt: skip
    path.write_text("\n".join(["x,y", *rows[:-1], "39,0.5"]))
    with pytest.raises(UserError, match="The data have changed since"):
        train_run(f"resume={run.path}", "stop.epochs=2")


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_what_is_no_run_directory_is_not_continued(name, tmp_path, train_run):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=f"{name} (does not exist|is not a run directory)"):
        train_run(f"resume={tmp_path / name}")


def test_a_directory_is_trained_in_by_one_process_at_a_time(tmp_path):
    with (tmp_path / ".lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        taken = pytest.raises(UserError, match="is being trained in by another process")
        with taken, Run(tmp_path).lock():
            pass
    with Run(tmp_path).lock():
        pass


def test_a_schedule_that_spans_the_run_keeps_its_length(train_run):
    run = train_run(*PLAIN, "scheduler=cosine", "stop.epochs=2")
    with pytest.raises(
        UserError, match=r"schedule of .* spans the whole run, so stop.epochs cannot"
    ):
        train_run(f"resume={run.path}", "stop.epochs=4")


def test_a_run_may_go_on_with_another_trainer(train_run):
    run = train_run(*PLAIN, "stop.epochs=1")
    train_run(f"resume={run.path}", "trainer=cpu", "stop.epochs=2")
    assert run.config()["trainer"]["accelerator"] == "cpu"
    assert run.result()["epoch"] == 2


def test_a_run_that_reached_its_target_is_not_continued(train_run):
    run = train_run(*PLAIN, "stop.epochs=9", "stop.loss=0.9")
    assert run.result()["stopped_early"]
    with pytest.raises(UserError, match=r"has ended by itself \(full loss .* reached the target"):
        train_run(f"resume={run.path}", "stop.epochs=99")


def test_the_last_checkpoint_is_the_same_whenever_others_were_saved(train_run):
    states = [
        train_run("data=iris", "model=linear", "stop.epochs=3", f"{SAVED}={seconds}").checkpoint(
            "last"
        )
        for seconds in (0, 1e6)
    ]
    kept = [{k: state[k] for k in ("epoch", "global_step", "state_dict")} for state in states]
    assert same(*kept)
