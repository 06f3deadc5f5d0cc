"""`-m` as a user types it: stacked, fanned out, resumed, killed, poisoned."""

from __future__ import annotations

import csv
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from descent.records.run import Run

ROOT = Path(__file__).parents[2]
Type = Callable[..., subprocess.CompletedProcess[str]]
SMALL = ("report=false", "data=wine", "model=linear", "stop.epochs=2", "picture=false")


def sweep_of(where: Path) -> Path:
    """The only multirun below a directory."""
    (sweep,) = (where / "outputs" / "multiruns").iterdir()
    return sweep


def table(sweep: Path) -> list[dict[str, str]]:
    with (sweep / "results.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_a_multirun_is_stacked_and_every_job_directory_serves_like_any_other(
    type_command: Type, tmp_path: Path
) -> None:
    done = type_command("train", "-m", *SMALL, "optimizer.lr=0.01,0.1", "seed=0,1")
    assert done.returncode == 0, done.stderr
    assert "group 1: 4 runs in 1 stack of 4: Linear, 42 parameters" in done.stdout
    assert "4 runs: 4 ok" in done.stdout
    sweep = sweep_of(tmp_path)
    rows = table(sweep)
    assert [(row["optimizer.lr"], row["seed"]) for row in rows] == [
        ("0.01", "0"), ("0.01", "1"), ("0.1", "0"), ("0.1", "1"),
    ]  # fmt: skip
    assert list(rows[0])[:7] == [
        "optimizer.lr", "seed", "status", "reason", "step", "samples", "seconds",
    ]  # fmt: skip
    best = min((float(a["best/val/loss"]) + float(b["best/val/loss"]), a["optimizer.lr"])
               for a, b in (rows[:2], rows[2:]))  # fmt: skip
    told = re.search(rf"The best setting is lr={best[1]}: best val loss = ([\d.]+) ", done.stdout)
    assert told, done.stdout
    assert float(told[1]) == pytest.approx(best[0] / 2, rel=0.005)  # three digits are shown
    assert done.stdout.count("The best setting is") == 1
    job = sweep / "2"
    again = type_command("eval", f"run={job}")
    assert again.returncode == 0, again.stderr
    loss = next(line for line in again.stdout.splitlines() if line.startswith("test/loss"))
    # a stack multiplies in another order, which float32 shows in its last digit
    recorded = Run(job).result()["metrics"]["test/loss"]
    assert float(loss.split()[1].rstrip(",")) == pytest.approx(recorded, rel=1e-6)
    further = type_command("train", f"resume={job}", "stop.epochs=3")
    assert further.returncode == 0, further.stderr
    assert Run(job).result()["epoch"] == 3
    report = type_command("report", f"run={sweep}", f"output={tmp_path / 'report'}")
    assert report.returncode == 0, report.stderr


@pytest.mark.slow
def test_a_finished_multirun_trains_only_what_is_new(type_command: Type, tmp_path: Path) -> None:
    type_command("train", "-m", *SMALL, "optimizer.lr=0.1,0.2")
    sweep = sweep_of(tmp_path)
    before = {p: p.stat().st_mtime_ns for p in sweep.glob("*/result.json")}
    done = type_command("train", "-m", *SMALL, "optimizer.lr=0.05,0.1,0.2", f"sweep_dir={sweep}")
    assert done.returncode == 0, done.stderr
    assert "2 of 3 jobs are finished already" in done.stdout
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert sorted(row["optimizer.lr"] for row in table(sweep)) == ["0.05", "0.1", "0.2"]
    assert len({row["directory"] for row in table(sweep)}) == 3
    assert "sweep_dir" not in (sweep / "2" / "result.json").read_text()


POISON = '''
import os, torch
from torch import nn
from descent.seeds import INIT, stream_seed

class Poison(nn.Linear):
    """Linear, but for the seeds that the environment names."""
    def __init__(self, in_features, out_features):
        super().__init__(in_features, out_features)
        for how, seed in (w.split("=") for w in os.environ["POISON"].split()):
            if torch.initial_seed() == stream_seed(int(seed), INIT):
                if how == "raise":
                    raise RuntimeError("poisoned")
                if how == "die" and os.getpid() != int(os.environ["PARENT"]):
                    os._exit(9)
                nn.init.constant_(self.weight, float("nan"))
'''
MINE = ("data=wine", "model=linear", "~model.init", "~model.bias", "model._target_=poison.Poison")


def poisoned(where: Path, poison: str, *typed: str) -> subprocess.CompletedProcess[str]:
    (where / "poison.py").write_text(POISON)
    script = (
        "import os, runpy, sys; os.environ['PARENT'] = str(os.getpid()); "
        f"sys.path.insert(0, {str(ROOT / 'src')!r}); sys.argv[0] = {str(ROOT / 'src/train.py')!r}; "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = [
        sys.executable,
        "-c",
        script,
        "-m",
        *MINE,
        "stop.epochs=2",
        "picture=false",
        "report=false",
        *typed,
    ]
    environment = {**os.environ, "POISON": poison, "PYTHONPATH": str(where)}
    return subprocess.run(
        command, cwd=where, env=environment, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip


def test_poisoned_jobs_harm_only_themselves(tmp_path: Path) -> None:
    done = poisoned(tmp_path, "raise=1 nan=3", "seed=0,1,2,3,4")
    assert done.returncode == 1, done.stderr
    statuses = [row["status"] for row in table(sweep_of(tmp_path))]
    assert statuses == ["ok", "failed", "ok", "diverged", "ok"]
    assert "1: failed, model (poison.Poison) cannot be made: poisoned" in done.stdout
    assert "3: diverged, step loss is nan at step 1" in done.stdout
    assert "5 runs: 3 ok, 1 failed, 1 diverged" in done.stdout


@pytest.mark.slow
def test_a_failure_can_stop_the_rest(tmp_path: Path) -> None:
    done = poisoned(
        tmp_path, "raise=0", "seed=0", "data.batch_size=8,16,32",
        "hydra.launcher.on_failure=stop",
    )  # fmt: skip
    assert done.returncode == 1
    assert "failed" in [row["status"] for row in table(sweep_of(tmp_path))]
    assert "not begun" in [row["status"] for row in table(sweep_of(tmp_path))]


@pytest.mark.slow
def test_a_worker_that_dies_takes_only_its_job_along(tmp_path: Path) -> None:
    many = (
        "data.batch_size=8,16",
        "seed=range(6)",
        "hydra.launcher.stack=3",
        "hydra.launcher.workers=2",
    )
    done = poisoned(tmp_path, "die=2", *many)
    assert done.returncode == 1, done.stderr
    rows = table(sweep_of(tmp_path))
    assert [row["status"] for row in rows if row["seed"] == "2"] == ["failed", "failed"]
    assert {row["status"] for row in rows if row["seed"] != "2"} == {"ok"}
    assert "its worker process died" in done.stdout


def test_an_interrupt_leaves_a_true_table_and_says_how_to_go_on(tmp_path: Path) -> None:
    typed = ("-m", "data=wine", "model=linear", "stop.epochs=20000", "data.batch_size=8,16")
    command = [sys.executable, str(ROOT / "src" / "train.py"), *typed]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while "group 2" not in process.stdout.readline():
        pass
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Continue with: python src/train.py -m data=wine" in out
    assert [row["status"] for row in table(sweep_of(tmp_path))] == ["not begun", "not begun"]


@pytest.mark.slow
@pytest.mark.parametrize("workers_too", [True, False])
@pytest.mark.parametrize("jobs", [12, 36])  # of few, workers start from nothing; else they fork
def test_a_multirun_killed_at_any_moment_goes_on_where_it_was(
    jobs: int, workers_too: bool, tmp_path: Path
) -> None:
    typed = ("-m", "data=wine", "model=linear", "picture=false", "stop.epochs=150",
             "data.batch_size=8,16,32", f"seed=range({jobs // 3})", "hydra.launcher.stack=2",
             "hydra.launcher.workers=2")  # fmt: skip
    command = [sys.executable, str(ROOT / "src" / "train.py"), *typed]
    rng, sweep = random.Random(), tmp_path / "sweep"
    for _ in range(3):
        process = subprocess.Popen(
            [*command, f"sweep_dir={sweep}"], cwd=tmp_path, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        time.sleep(rng.uniform(2.5, 6))
        (os.killpg if workers_too else os.kill)(process.pid, signal.SIGKILL)
        process.wait()
        time.sleep(0 if workers_too else 1)
        finished = {
            path: path.stat().st_mtime_ns for path in sweep.glob("*/result.json")
            if json.loads(path.read_text())["status"] == "ok"
        }  # fmt: skip
    done = subprocess.run(
        [*command, f"sweep_dir={sweep}"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert [row["status"] for row in table(sweep)] == ["ok"] * jobs
    for row in table(sweep):
        assert Run(tmp_path / row["directory"]).checkpoint("last")["descent"]["epochs_done"] == 150


@pytest.mark.slow
def test_a_job_gets_its_picture_where_one_is_asked_for(type_command: Type, tmp_path: Path) -> None:
    done = type_command("train", "-m", *SMALL[:-1], "seed=0,1", "picture=true,auto")
    assert done.returncode == 0, done.stderr
    drawn = [(sweep_of(tmp_path) / str(i) / "curves.png").is_file() for i in range(4)]
    assert drawn == [True, False, True, False]


@pytest.mark.slow
def test_what_cannot_be_stacked_runs_alone_and_says_why(type_command: Type, tmp_path: Path) -> None:
    timer = "+callbacks.timer={_target_:lightning.pytorch.callbacks.Timer}"
    done = type_command("train", "-m", *SMALL, timer, "seed=0,1")
    assert done.returncode == 0, done.stderr
    assert "group 1: 2 runs alone, one by one: callbacks.timer works on one run" in done.stdout
    assert [row["status"] for row in table(sweep_of(tmp_path))] == ["ok", "ok"]
    assert (sweep_of(tmp_path) / "0" / "train.log").is_file()


@pytest.mark.slow
def test_hydras_own_launcher_still_serves(type_command: Type, tmp_path: Path) -> None:
    done = type_command("train", "-m", *SMALL, "seed=0,1", "hydra/launcher=basic")
    assert done.returncode == 0, done.stderr
    assert [row["status"] for row in table(sweep_of(tmp_path))] == ["ok", "ok"]


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "package"), [("dask", "distributed"), ("ray", "ray")])
def test_a_cluster_trains_what_this_process_would(
    engine: str, package: str, type_command: Type, tmp_path: Path
) -> None:
    pytest.importorskip(package, reason=f"the {engine} extra is not installed")
    typed = ("-m", *SMALL, "seed=0,1", "data.batch_size=8,16")
    for how in (f"hydra.launcher.engine={engine} hydra.launcher.workers=2", "sweep_dir=here"):
        done = type_command("train", *typed, *how.split())
        assert done.returncode == 0, done.stderr
    there, here = (table(where) for where in (sweep_of(tmp_path), tmp_path / "here"))
    for row in (*there, *here):
        del row["seconds"], row["directory"]
    assert there == here
    assert [row["status"] for row in here] == ["ok"] * 4


@pytest.mark.slow
def test_the_sweeper_gets_every_jobs_metric(type_command: Type, tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="the optuna extra is not installed")
    done = type_command(
        "train", "sweep=optuna", *SMALL, "hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2"
    )
    assert done.returncode == 0, done.stderr
    found = (sweep_of(tmp_path) / "optimization_results.yaml").read_text()
    best = min(float(row["best/val/loss"]) for row in table(sweep_of(tmp_path)))
    assert f"best_value: {best}" in found


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["seed=range(0,0)"], "The multirun has no jobs"),
        (["seed=0,1", "hydra.sweep.subdir=same"], "Jobs 0 and 1 would share the directory"),
        pytest.param(
            ["seed=0,1", "hydra.launcher.stack=100000000"],
            "A stack of 100,000,000 runs needs",
            marks=pytest.mark.slow,
        ),
        (["seed=0,1", "hydra.launcher.stack=0"], "hydra.launcher.stack=0 does not fit"),
        pytest.param(
            ["optimizer=momentum,sgd", "optimizer.dampening=0.1"],
            "In job 1 (optimizer=sgd",
            marks=pytest.mark.slow,
        ),
        (["seed=0,-1"], "Job 1 (seed=-1): seed=-1 does not fit"),
        (["data.batch_size=16,-1"], "data.batch_size=-1 does not fit"),
        (["seed=0,1", "resume=outputs/runs/x"], "cannot be part of a multirun"),
        (["sweep=lr_batch", "lr_scaling=sqrt", "data.batch_size=full"], "needs a number for"),
    ],
)
def test_a_bad_multirun_gets_one_sentence_and_leaves_nothing(
    typed: list[str], words: str, type_command: Type, tmp_path: Path
) -> None:
    done = type_command("train", "-m", *typed)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ")
    assert words in done.stderr
    assert not [p for p in (tmp_path / "outputs").rglob("*") if p.is_file()]


def test_the_plugin_is_found_where_the_package_is_installed(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "src" / "hydra_plugins", tmp_path / "hydra_plugins")
    script = (
        "from hydra.core.plugins import Plugins\nfrom hydra.plugins.launcher import Launcher\n"
        "print(sorted(p.__name__ for p in Plugins.instance().discover(Launcher)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "StackLauncher" in done.stdout
