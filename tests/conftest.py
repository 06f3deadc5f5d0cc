"""Shared fixtures: a run in this process, and a command as a user types it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

# As in a worker of a sweep: threads that wait for one another cost small steps more than they give,
# most of all beside other tests. A single run chooses for itself.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Shapes and types that jaxtyping annotations promise are checked wherever tests run our code.
install_import_hook(
    [
        "descent.data",
        "descent.models",
        "descent.engine.losses",
        "descent.engine.stepping",
        "descent.records",
    ],
    "beartype.beartype",
)

from hydra.core.hydra_config import HydraConfig  # noqa: E402
from omegaconf import open_dict, read_write  # noqa: E402

import descent.cli  # noqa: E402, F401 - registers the resolvers
from composed import composed, current  # noqa: E402
from descent.job import Job, open_job  # noqa: E402
from descent.records.run import Run  # noqa: E402
from hostile.warm import Case, Warm  # noqa: E402

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"


@pytest.fixture
def make_job(tmp_path: Path) -> Callable[..., Job]:
    """Return a function from command-line overrides to a job, as `python src/train.py` makes it."""
    made = 0

    def make(*overrides: str) -> Job:
        nonlocal made
        made += 1
        directory = tmp_path / f"run{made}"
        cfg = composed("train", *overrides)
        with read_write(cfg), open_dict(cfg):
            cfg.hydra.run.dir = cfg.hydra.runtime.output_dir = str(directory)
        directory.mkdir(exist_ok=True)
        return open_job(current(cfg))

    yield make
    HydraConfig.instance().cfg = None


@pytest.fixture
def train_run(make_job: Callable[..., Job]) -> Callable[..., Run]:
    """Return a function that trains in this process and gives back the run directory.

    No picture is drawn unless asked for: it takes longer than the training.
    """
    from descent.training import train

    def run(*overrides: str) -> Run:
        asked = any(o.startswith(("picture=", "resume=")) for o in overrides)
        job = make_job(*overrides, *([] if asked else ["picture=false"]))
        train(job)
        return job.run

    return run


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """A process that has imported everything; see `Warm`."""
    process = Warm()
    yield process
    process.close()


@pytest.fixture
def type_command(warm: Warm, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that types `python src/<script>.py ...` in an empty directory.

    Whatever comes of it, it ends and leaves no process behind. Everything is imported already;
    tests of the start itself begin from nothing.
    """

    def run(script: str, *words: str, timeout: int = 120) -> subprocess.CompletedProcess[str]:
        here = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
        changed = {k: v for k, v in here.items() if v != warm.environment.get(k)}  # by the test
        case = Case(script, (script, *words), environment=changed, cpu=timeout, wall=timeout)
        done = warm.run(case, tmp_path)
        assert not done.hung, f"{words} took more than {timeout} s"
        assert not done.left, f"{words} left processes behind"
        return subprocess.CompletedProcess(case.words, done.code, done.stdout, done.stderr)

    return run


@pytest.fixture
def start_command(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that types a command as `type_command` does, in a process of its own."""

    def run(script: str, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "src" / f"{script}.py"), *words]
        environment = {**os.environ, "COLUMNS": "100"}
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120,
            check=False,
        )  # fmt: skip

    return run


@pytest.fixture
def train_recipe(train_run: Callable[..., Run]) -> Callable[..., dict[str, Run]]:
    """Return a function that runs an experiment in this process, each job of a comparison.

    It gives back the runs by what was swept: `optimizer=sgd`, or an empty text for a single run.
    """
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    def run(name: str, *overrides: str) -> dict[str, Run]:
        cfg = composed("train", f"experiment={name}")
        params = (cfg.hydra.sweeper.get("params") or {}) if cfg.hydra.mode else {}
        swept = [f"{key}={value}" for key, value in params.items() if value is not None]
        parsed = OverridesParser.create().parse_overrides(swept)
        jobs = BasicSweeper.split_arguments(parsed, None)[0]
        return {" ".join(job): train_run(f"experiment={name}", *job, *overrides) for job in jobs}

    return run
