"""From Hydra's launcher to a launched multirun, and back to what a sweeper wants."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from descent.cli import from_here, in_python, one_sentence, sentence_for
from descent.config.located import trying
from descent.config.machine import check_workers
from descent.config.options import LAUNCHER
from descent.config.overruled import of_hydra
from descent.config.spelling import command_words
from descent.errors import UserError, WriteError
from descent.files.claims import give_room
from descent.records import document
from descent.records.multirun import compare, write_comparison
from descent.signals import Interrupted, answering, unwind
from descent.sweep import forkserver as forking
from descent.sweep.composing import Composer, CompositionError
from descent.sweep.executors import VARIABLES

GO_ON = "go on with the multirun"
SLURM = "slurm"  # the directory of its scripts and logs, in the multirun's
MANY = 32  # jobs for which workers will probably be wanted


def launch_jobs(
    loader: Any,
    master: DictConfig,
    jobs: Sequence[Sequence[str]],
    first: int,
    options: tuple[str, int | None, str | None, Any, str, float | None, dict[str, Any]],
) -> list[tuple[Sequence[str], dict[str, Any], float]]:
    """Train the jobs that a sweeper proposes.

    Args:
        loader: Hydra's config loader.
        master: the multirun's config.
        jobs: overrides of each.
        first: the number of the first.
        options: of the launcher: engine, workers, address, stack, on_failure, job_seconds, slurm.

    Returns:
        The overrides, the config and the metric of each; NaN where there is none.
    """
    engine, count, address, stack, on_failure, seconds, site = options
    HydraConfig.instance().set_config(master)  # whoever clears up asks it for the directory
    with one_sentence(), trying(seconds):
        _check_launcher(
            engine, workers=count, stack=stack, on_failure=on_failure, job_seconds=seconds
        )
        for words in of_hydra(master.hydra.overrides.hydra, many=True):
            print(f"note      {words}", flush=True)
        # the server's children run the caller's own script again, which a command's guards against
        if engine == "loky" and count != 1 and len(jobs) >= MANY and not in_python.get():
            forking.begin(VARIABLES)
        try:
            composed = list(Composer(loader, master).compose(jobs, first))
        except CompositionError as error:
            words = _words(error.__cause__, error.overrides)
            raise UserError(f"In {error}: {words}") from error
        finally:
            HydraConfig.instance().set_config(master)
        from descent.sweep.launching import LaunchOptions, launch
        from descent.sweep.workers import Workers

        sweep = from_here(Path(str(master.hydra.sweep.dir)))
        try:
            where = Workers(engine, count, address)
            if engine == "slurm":
                where = Workers(engine, count, address, sweep / SLURM, site)
            with answering(unwind), told_how_to_go_on(sweep):
                outcomes = launch(composed, sweep, LaunchOptions(where, stack, on_failure, seconds))
        except Interrupted as error:
            command = _true_table(sweep)
            if command:
                document.follow(command, GO_ON)
                print(f"Continue with: {command}", flush=True)
            raise SystemExit(error.code) from None
    return [
        (job.overrides, job.config, math.nan if end.metric is None else end.metric)
        for job, end in zip(composed, outcomes, strict=True)
    ]


@contextmanager
def told_how_to_go_on(sweep: Path) -> Iterator[None]:
    """Say with what is not written for want of room how the multirun is continued."""
    try:
        yield
    except WriteError as error:
        command = _true_table(sweep)
        if not command:
            raise
        document.follow(command, GO_ON)
        raise UserError(f"{error} Continue with: {command}") from None


def _check_launcher(engine: str, **given: Any) -> None:
    for name, value in given.items():
        problem = LAUNCHER[name].problem(value)
        if problem:
            raise UserError(f"hydra.launcher.{name}={value} does not fit: it must be {problem}.")
    if engine != "slurm":
        check_workers(given["workers"])
    elif given["job_seconds"] is not None:
        raise UserError(
            "hydra.launcher.job_seconds would count the time in SLURM's queue; give "
            "hydra.launcher.slurm.minutes, after which SLURM itself ends a job."
        )


def _words(error: BaseException | None, typed: Sequence[str]) -> str:
    return (sentence_for(error, typed) if isinstance(error, Exception) else None) or str(error)


def _true_table(sweep: Path) -> str:
    """Leave a true table of a multirun that is cut short; return the command that goes on."""
    rows = compare(sweep) if sweep.is_dir() else []
    if not rows:
        return ""
    give_room(sweep)
    with suppress(WriteError):
        write_comparison(sweep, rows)
    there = ("sweep_dir=", "hydra.sweep.dir=")
    typed = [word for word in sys.argv[1:] if not word.startswith(there)]
    return shlex.join([*command_words("train"), *typed, f"sweep_dir={sweep}"])
