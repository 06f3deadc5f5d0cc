"""Sweeps with a planted truth: written as training leaves them, without training."""

from __future__ import annotations

import json
import shlex
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from descent.analysis.advice import Advice, advice
from descent.analysis.grid import grids
from descent.analysis.settings import Measure, settings
from descent.analysis.study import read_study
from descent.data.prepare import prepare
from descent.sweep.composing import wanted
from descent.sweep.sampling import draw

VAL = Measure("best/val/loss", "best val loss", True)
ACCURACY = Measure("best/val/accuracy", "best val accuracy", False)
CONFIG: dict[str, Any] = {
    "seed": 0,
    "optimized_metric": "val/loss",
    "stop": {"epochs": 10, "steps": None, "loss": None},
    "data": {"batch_size": 32},
    "model": {"_target_": "descent.models.linear.Linear"},
    "optimizer": {"_target_": "torch.optim.SGD", "lr": 0.1},
    "scheduler": {"_target_": "torch.optim.lr_scheduler.ConstantLR"},
    "trainer": {"precision": "32-true"},
    "callbacks": {"full_loss": {"every_n_epochs": 1, "every_n_steps": None, "target": None}},
}
ROWS = 1024
DRAWN = ("hydra.sweeper.trials", "hydra.sweeper.seed")
CONF = Path(__file__).parents[3] / "conf"

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Job:
    """A run as a planted world ends it: a score, or None where it diverges."""

    values: Values
    seed: int
    score: float | None
    steps: int = 100
    samples: int = 3200


def write(
    sweep: Path,
    jobs: Iterable[Job],
    metric: str = "best/val/loss",
    shared: Sequence[str] = (),
    config: Mapping[str, Any] | None = None,
) -> Path:
    """Write the list of a multirun, the result of each run, and the config of the first."""
    jobs = list(jobs)
    sweep.mkdir(parents=True)
    entries = []
    for i, job in enumerate(jobs):
        typed = [*shared, *(f"{k}={v}" for k, v in job.values.items()), f"seed={job.seed}"]
        status = "diverged" if job.score is None else "ok"
        entries.append({"number": i, "directory": str(i), "overrides": typed, "status": status,
                        "reason": ""})  # fmt: skip
    (sweep / "jobs.json").write_text(json.dumps(entries))
    for entry, job in zip(entries, jobs, strict=True):
        directory = sweep / entry["directory"]
        directory.mkdir()
        result = {"overrides": entry["overrides"], "status": entry["status"], "reason": "",
                  "step": job.steps, "epoch": 1, "samples": job.samples, "seconds": 0.1,
                  "metrics": {} if job.score is None else {metric: job.score}}  # fmt: skip
        (directory / "result.json").write_text(json.dumps(result))
    first = sweep / "0"
    (first / "config.yaml").write_text(yaml.safe_dump({**CONFIG, **(config or {})}))
    (first / "data.json").write_text(json.dumps(_description()))
    return sweep


def _description() -> dict[str, Any]:
    if not _known:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            data = compose("train", overrides=["data=iris"]).data
        made = prepare(OmegaConf.to_container(data, resolve=True))
        _known.update(made.describe())
        _known["rows"] = {**_known["rows"], "train": ROWS}
    return _known


_known: dict[str, Any] = {}


def advised(sweep: Path, measure: Measure = VAL) -> Advice:
    """Return what the whole pipeline says of a sweep."""
    study = read_study(sweep)
    own = settings(study, measure)
    return advice(study, own, grids(study, own, measure), measure)


def jobs_of(command: str) -> tuple[list[tuple[dict[str, str], int]], list[str]]:
    """Return the jobs that a command trains, as Hydra composes them, and what they share."""
    words = shlex.split(command)[3:]
    only = [w.partition("=")[2] for w in words if w.startswith("hydra.sweeper.only=")]
    sweeper = [w for w in words if w.startswith("hydra.")]
    words = [w for w in words if w not in sweeper]
    parsed = OverridesParser.create().parse_overrides(words)
    drawn = {k: int(v) for k, v in (w.split("=") for w in sweeper if w.startswith(DRAWN))}
    if drawn:
        jobs = draw(parsed, *(drawn[key] for key in DRAWN)).jobs
    else:
        jobs = BasicSweeper.split_arguments(parsed, None)[0]
    if only:
        keep = wanted(yaml.safe_load(only[0]), parsed, jobs)
        jobs = [job for job in jobs if tuple(job) in keep]
    shared = [w for w in words if w.startswith(("after=", "data="))]
    found = []
    for job in jobs:
        values = dict(word.split("=", 1) for word in job)
        seed = int(values.pop("seed", 0))
        found.append(({k: v for k, v in values.items() if k not in ("after", "data")}, seed))
    return found, shared


@dataclass(frozen=True)
class Ended:
    """How a search went: rounds until it was told to confirm, and until it was done; the choice."""

    rounds: int
    done: bool
    choice: Values
    aims: list[str]


def follow(
    where: Path, truth: Callable[[Values], float | None], grid: Mapping[str, Sequence[Any]],
    seed: int, noise: float = 0.02, seeds: int = 3, most: int = 8, trials: int = 0,
) -> Ended:  # fmt: skip
    """Follow `next:` from a grid until the search says that it is done.

    Args:
        where: for the directories of its sweeps.
        truth: the mean loss of a setting; None where it diverges.
        grid: the values of the first sweep, or intervals as they are typed.
        seed: of the noise.
        noise: standard deviation of the logarithm over seeds.
        seeds: of the first sweep.
        most: sweeps.
        trials: settings that are drawn at random; 0 for a grid.
    """
    typed = [f"{k}={v if isinstance(v, str) else ','.join(map(str, v))}" for k, v in grid.items()]
    typed += [f"hydra.sweeper.trials={trials}", f"hydra.sweeper.seed={seed}"] if trials else []
    command = shlex.join(["python", "src/train.py", "-m", *typed,
                          f"seed={','.join(map(str, range(seeds)))}"])  # fmt: skip
    aims: list[str] = []
    choice: Values = {}
    for number in range(1, most + 1):
        jobs, shared = jobs_of(command)
        made = []
        for values, luck in jobs:
            mean = truth({k: _number(v) for k, v in values.items()})
            name = " ".join(f"{k}={_number(v)}" for k, v in sorted(values.items()))
            rng = np.random.default_rng([seed, luck, zlib.crc32(name.encode())])
            score = None if mean is None else mean * float(np.exp(rng.normal(0, noise)))
            made.append(Job(values, luck, score))
        told = advised(write(where / str(number), made, shared=shared))
        if told.winner is not None:
            choice = {**choice, **told.winner.values}
        if told.end:
            return Ended(number, True, choice, aims)
        if not told.next_sweeps:
            return Ended(number, False, choice, [*aims, "no next"])
        aims.append(told.next_sweeps[0].aim)
        command = told.next_sweeps[0].command
    return Ended(most, False, choice, aims)


def _number(value: Any) -> Any:
    try:
        return float(value)
    except ValueError:
        return value
