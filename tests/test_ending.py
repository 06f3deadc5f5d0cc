"""However a command ends, it says so in a sentence, and nothing is lost: real processes."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from crash.kills import alive, children, servers
from hostile.warm import ROOT

SMALL = ("data=iris", "model=linear", "picture=false")
Typed = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def typed(tmp_path: Path):
    """Return a function that types a command, whose processes are gone at the end."""
    started: list[subprocess.Popen[str]] = []

    def popen(
        script: str, *arguments: str, more: dict[str, str] | None = None, **options: object
    ) -> subprocess.Popen[str]:
        command = [sys.executable, str(ROOT / "src" / f"{script}.py"), *arguments]
        environment = {**os.environ, "PYTHONPATH": str(tmp_path), "COLUMNS": "100", **(more or {})}
        started.append(subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, start_new_session=True, **options,  # type: ignore[call-overload]
        ))  # fmt: skip
        return started[-1]

    yield popen
    for process in started:
        process.kill()
        process.communicate()


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def maps(process: subprocess.Popen[str]) -> str:
    try:
        return Path(f"/proc/{process.pid}/maps").read_text()
    except OSError:
        return ""


@pytest.mark.parametrize("words", [
    ("--help",),
    pytest.param((*SMALL, "stop.epochs=20", "hydra.run.dir=run"), marks=pytest.mark.slow),
])  # fmt: skip
def test_a_reader_that_goes_costs_only_what_it_would_have_read(words, typed, tmp_path):
    process = typed("train", *words)
    assert process.stdout.readline()
    process.stdout.close()  # as `head -1` does
    assert process.stderr.read() == ""
    assert process.wait(60) == 0
    if "--help" not in words:
        assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "ok"
    process.stdout = None


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_while_torch_is_imported_is_one_sentence_and_leaves_nothing(
    name, code, typed, tmp_path
):
    process = typed("train", *SMALL)
    wait_for(lambda: "libtorch" in maps(process))
    process.send_signal(getattr(signal, name))
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err.strip()) == (code, "", f"stopped by {name}.")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
@pytest.mark.parametrize("after", [0.05, 0.3, 1.0, 2.0, 3.0, 4.5, 6.0])
def test_a_signal_at_any_time_ends_with_its_code_and_without_a_traceback(
    name, code, after, typed, tmp_path
):
    process = typed("train", *SMALL, "stop.epochs=100000", "hydra.run.dir=run")
    time.sleep(after)
    process.send_signal(getattr(signal, name))
    out, err = process.communicate(timeout=30)
    if process.returncode in (-signal.SIGINT, -signal.SIGTERM):
        assert after < 0.2  # Python itself had not begun yet
        return
    assert process.returncode == code, err
    assert "Traceback" not in out + err
    assert name in out + err
    if (tmp_path / "run").exists():
        result = json.loads((tmp_path / "run" / "result.json").read_text())
        assert result["status"] == "interrupted"
        assert "resume=run" in out + err


@pytest.mark.slow
def test_a_row_is_recorded_once_though_the_run_is_stopped_before_its_first_step(typed, tmp_path):
    process = typed("train", *SMALL, "stop.epochs=3", "hydra.run.dir=run")
    wait_for((tmp_path / "run" / "epochs.csv").exists)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    done = typed("train", "resume=run")
    _, err = done.communicate(timeout=60)
    assert done.returncode == 0 or "is finished" in err
    rows = (tmp_path / "run" / "epochs.csv").read_text().splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == ["0", "1", "2", "3"]


# ---- the disk


def small_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


@pytest.mark.slow
def test_a_limit_of_file_sizes_is_one_sentence_and_the_run_can_be_gone_on_with(typed, tmp_path):
    given = (*SMALL, "stop.epochs=40", "callbacks.checkpoint.every_seconds=0")
    process = typed("train", *given, "hydra.run.dir=run", preexec_fn=small_files)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2, out + err
    assert err.startswith("error: run/") and "File too large" in err and "resume=run" in err  # noqa: PT018
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["status"] == "failed"
    assert "File too large" in result["reason"]
    assert not [p for p in (tmp_path / "run").rglob("*") if p.name.endswith((".part", ".lock"))]
    done = typed("train", "resume=run")
    assert done.communicate(timeout=60)[0]
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "ok"


@pytest.fixture
def disk(tmp_path: Path):
    """Return a function that mounts a small disk, remounts it, and is done with it at the end."""
    at = tmp_path / "disk"
    at.mkdir()

    def mount(options: str) -> Path:
        again = ["-o", f"remount,{options}"] if os.path.ismount(at) else ["-o", options]
        done = subprocess.run(
            ["mount", "-t", "tmpfs", *again, "none", str(at)], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip("nothing can be mounted here")
        return at

    yield mount
    subprocess.run(["umount", "-l", str(at)], capture_output=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("size", ["16k", "64k", "200k"])
def test_a_full_disk_is_one_sentence_and_nothing_is_lost(size, typed, disk):
    disk(f"size={size}")
    given = (*SMALL, "stop.epochs=300", "callbacks.checkpoint.every_seconds=0")
    process = typed("train", *given, "hydra.run.dir=disk/run")
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err.count("\n")) == (2, 1), out + err
    assert "No space left on device" in err
    run = disk("size=16m") / "run"
    if run.exists():
        assert json.loads((run / "result.json").read_text())["status"] == "failed"
        assert not [p for p in run.rglob("*") if p.name.endswith((".part", ".lock"))]
    again = ("resume=disk/run",) if run.exists() else (*given, "hydra.run.dir=disk/run")
    done = typed("train", *again)
    done.communicate(timeout=120)
    assert (done.returncode, json.loads((run / "result.json").read_text())["status"]) == (0, "ok")


@pytest.mark.slow
def test_a_full_disk_ends_a_sweep_in_one_sentence_and_it_can_be_gone_on_with(typed, disk):
    disk("size=700k")
    given = ("-m", *SMALL, "stop.epochs=30", "seed=range(0,40)", "report=false")
    process = typed("train", *given, "hydra.sweep.dir=disk/sweep")
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err.count("\n")) == (2, 1), out + err
    assert "No space left on device" in err
    assert "sweep_dir=disk/sweep" in err
    sweep = disk("size=16m") / "sweep"
    assert not list(sweep.rglob("*.part"))
    done = typed("train", *given, "sweep_dir=disk/sweep")
    done.communicate(timeout=120)
    assert done.returncode == 0
    jobs = json.loads((sweep / "jobs.json").read_text())
    assert [job["status"] for job in jobs] == ["ok"] * 40


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ("train", "resume=disk/run", "stop.epochs=2"),
        ("train", *SMALL, "hydra.run.dir=disk/other"),
        ("train", "-m", *SMALL, "seed=0,1", "hydra.sweep.dir=disk/sweep"),
        ("report", "run=disk/run"),
    ],
    ids=["resume", "run", "sweep", "report"],
)
def test_a_read_only_disk_is_one_sentence(command, typed, disk):
    disk("size=16m")
    typed("train", *SMALL, "stop.epochs=1", "hydra.run.dir=disk/run").communicate(timeout=60)
    disk("ro")
    process = typed(*command)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err.count("\n")) == (2, 1), out + err
    assert "Read-only file system" in err


# ---- what others put there


def test_a_sweep_clears_no_directory_with_files_of_others(typed, tmp_path):
    (tmp_path / "d" / "0").mkdir(parents=True)
    (tmp_path / "d" / "0" / "thesis.txt").write_text("thesis")
    process = typed("train", "-m", *SMALL, "seed=0,1", "report=false", "sweep_dir=d")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err.count("\n")) == (2, 1), out + err
    assert "d/0/thesis.txt is not Descent's" in err
    assert (tmp_path / "d" / "0" / "thesis.txt").read_text() == "thesis"
    assert not (tmp_path / "d" / "1").exists()


@pytest.mark.slow
def test_a_link_where_a_job_has_to_be_costs_that_job_alone(typed, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "0").symlink_to(tmp_path / "mine")
    given = ("stop.epochs=1", "seed=0,1,2", "report=false", "sweep_dir=d")
    process = typed("train", "-m", *SMALL, *given)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1, out + err
    assert "d/0 is a link" in out
    jobs = json.loads((tmp_path / "d" / "jobs.json").read_text())
    assert [job["status"] for job in jobs] == ["failed", "ok", "ok"]
    assert list((tmp_path / "mine").iterdir()) == []


@pytest.mark.slow
def test_of_two_commands_for_one_directory_one_has_it(typed, tmp_path):
    both = [typed("train", *SMALL, "stop.epochs=1", "hydra.run.dir=run") for _ in range(2)]
    ended = [(process.communicate(timeout=60), process.returncode) for process in both]
    assert sorted(code for _, code in ended) == [0, 2]
    (refused,) = [err for (_, err), code in ended if code == 2]
    assert "another process" in refused or "exists already" in refused


# ---- code of others

BAD = """
import os, signal, sys, time
from torch import nn


class Bad(nn.Module):
    def __init__(self, in_features, out_features, how="ok"):
        super().__init__()
        self.layer, self.how = nn.Linear(in_features, out_features), how

    def forward(self, x):
        if self.how == "exit": sys.exit(3)
        if self.how == "raise": raise ValueError("no such thing")
        if self.how == "leave": os._exit(0)
        if self.how == "fault": os.kill(os.getpid(), signal.SIGSEGV)
        if self.how == "hang": time.sleep(1000)
        if self.how == "ctrlc": raise KeyboardInterrupt
        return self.layer(x)
"""
ITS = ("model._target_=bad.Bad", "~model.hidden", "~model.activation", "~model.dropout",
       "~model.init", "data=iris", "stop.epochs=1", "report=false", "picture=false")  # fmt: skip


@pytest.mark.slow
def test_what_a_model_does_to_its_process_costs_its_job_alone(typed, tmp_path):
    (tmp_path / "bad.py").write_text(BAD)
    process = typed(
        "train", "-m", *ITS, "+model.how=ok,exit,raise,leave,fault,hang,ctrlc",
        "hydra.launcher.job_seconds=40", "hydra.sweep.dir=d",
    )  # fmt: skip
    out, err = process.communicate(timeout=400)
    assert process.returncode == 1, out + err
    jobs = json.loads((tmp_path / "d" / "jobs.json").read_text())
    assert [job["status"] for job in jobs] == ["ok", *["failed"] * 6]
    for number, words in enumerate(
        ["", "SystemExit", "ValueError", "died", "died", "job_seconds=40", "KeyboardInterrupt"]
    ):
        assert words in jobs[number]["reason"], jobs[number]
    for result in (tmp_path / "d").glob("*/result.json"):
        assert json.loads(result.read_text())["status"] in ("ok", "failed")


SOURCE = """
import os, signal, sys, time
from descent.data.bundled import iris


def rows(how="ok"):
    if how == "exit": sys.exit(3)
    if how == "raise": raise ValueError("no such thing")
    if how == "leave": os._exit(0)
    if how == "fault": os.kill(os.getpid(), signal.SIGSEGV)
    if how == "hang": time.sleep(1000)
    return iris()
"""


@pytest.mark.slow
def test_what_a_source_of_data_does_to_its_process_costs_its_job_alone(typed, tmp_path):
    (tmp_path / "source.py").write_text(SOURCE)
    process = typed(
        "train", "-m", *SMALL, "data.source._target_=source.rows", "stop.epochs=1", "report=false",
        "+data.source.how=ok,exit,raise,leave,fault,hang", "hydra.launcher.job_seconds=15",
        "hydra.sweep.dir=d",
    )  # fmt: skip
    out, err = process.communicate(timeout=300)
    assert process.returncode == 1, out + err
    assert "Traceback" not in out + err
    jobs = json.loads((tmp_path / "d" / "jobs.json").read_text())
    assert [job["status"] for job in jobs] == ["ok", *["failed"] * 5]
    words = ["", "SystemExit: 3", "no such thing", "died", "died", "job_seconds=15"]
    for job, word in zip(jobs, words, strict=True):
        assert word in job["reason"]
        assert job["reason"] in out or job["status"] == "ok"  # the table lists it


# ---- children


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize(
    ("number", "after", "jobs"),
    [
        ("SIGKILL", 0.3, 4), ("SIGKILL", 6.0, 4), ("SIGKILL", 0.3, 40), ("SIGKILL", 6.0, 40),
        ("SIGTERM", 3.0, 4), ("SIGINT", 3.0, 40),
    ],
)  # fmt: skip
def test_no_child_of_a_sweep_outlives_it(number, after, jobs, typed):
    process = typed(
        "train", "-m", *SMALL, "stop.epochs=100000", f"seed=range(0,{jobs})",
        "hydra.launcher.workers=2", "hydra.sweep.dir=d",
    )  # fmt: skip
    wait_for(lambda: children(process.pid))
    time.sleep(after)
    left = children(process.pid)
    process.send_signal(getattr(signal, number))
    process.wait(30)
    wait_for(lambda: not alive(left), 3)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_no_child_of_a_refused_sweep_outlives_it(typed, tmp_path):
    # refused when all jobs are composed, while the process that workers come from imports torch
    process = typed("train", "-m", *SMALL, "seed=range(0,40)", "optimizer.lr=0.1,-1")
    family: set[int] = set()
    while process.poll() is None:
        family |= {*children(process.pid)}
        time.sleep(0.01)
    wait_for(lambda: not alive(list(family)), 3)
    assert process.returncode == 2
    assert family
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_killed_dashboard_takes_its_server_along_and_the_next_one_clears_up(typed, tmp_path):
    (tmp_path / "temp").mkdir()
    run = typed("train", *SMALL, "stop.epochs=1", "hydra.run.dir=run")
    run.communicate(timeout=60)
    where = {"TMPDIR": str(tmp_path / "temp")}

    def opened() -> tuple[subprocess.Popen[str], list[Path]]:
        process = typed("dashboard", "run=run", "port=0", more=where)
        for line in process.stdout:
            if "Ctrl-C ends it." in line:
                break
        return process, list((tmp_path / "temp").glob("descent-dashboard-*"))

    first, (left,) = opened()
    server = children(first.pid)
    assert alive(server)
    first.kill()
    first.wait()
    wait_for(lambda: not alive(server), 3)
    assert left.is_dir()
    assert any((left / "run").rglob("events.*"))
    second, (made,) = opened()  # and what the first one left is gone
    assert made != left
    second.send_signal(signal.SIGINT)
    second.communicate(timeout=20)
    assert not list((tmp_path / "temp").glob("descent-dashboard-*"))
    assert list((tmp_path / "run").glob("events.*"))  # which the directory linked to


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked there")
def test_a_sweep_whose_server_of_workers_is_killed_says_so_and_ends_well(typed, tmp_path):
    process = typed(
        "train", "-m", *SMALL, "seed=range(0,40)", "stop.epochs=60", "report=false",
        "hydra.launcher.workers=2", "hydra.launcher.stack=10", "hydra.sweep.dir=d",
    )  # fmt: skip

    wait_for(lambda: list((tmp_path / "d").glob("*/config.yaml")) and servers(process.pid))
    server = servers(process.pid)[0]
    workers = children(server)
    os.kill(server, signal.SIGKILL)
    wait_for(lambda: not alive(workers), 3)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, out + err
    assert "Traceback" not in out + err
    assert "note: the process that workers are forked from died" in err
    jobs = json.loads((tmp_path / "d" / "jobs.json").read_text())
    assert [job["status"] for job in jobs] == ["ok"] * 40


@pytest.mark.slow
def test_a_run_ended_before_it_began_is_begun_again_and_resume_says_so(typed, tmp_path):
    process = typed("train", *SMALL, "stop.epochs=1", "hydra.run.dir=run")
    wait_for((tmp_path / "run" / "train.log").exists)
    process.kill()
    process.communicate()
    for path in (tmp_path / "run").iterdir():
        if path.name not in ("train.log", ".lock"):  # it was quicker than the signal
            path.unlink()
    resume = typed("train", "resume=run")
    _, err = resume.communicate(timeout=60)
    assert resume.returncode == 2
    assert err == (
        "error: run was left by a run that ended before it began, so there is nothing to "
        "continue; type its command again with hydra.run.dir=run.\n"
    )
    again = typed("train", *SMALL, "stop.epochs=1", "hydra.run.dir=run")
    assert again.communicate(timeout=60)[1] == ""
    assert again.returncode == 0


def little_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))


@pytest.mark.slow
def test_a_limit_of_memory_is_one_sentence_and_leaves_no_directory(typed, tmp_path):
    process = typed("train", "data=iris", "model.hidden=[20000,20000]", preexec_fn=little_memory)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err.count("\n")) == (2, 1), out + err
    assert "GiB" in err
    assert list(tmp_path.iterdir()) == []
