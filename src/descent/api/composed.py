"""From overrides given in Python to a checked config, by Hydra's own classes."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from descent.api.given import Given
from descent.cli import FrontDoor
from descent.config.hydra_release import LAUNCHER, compose_main, sweeper_of
from descent.config.spelling import CONF, command
from descent.config.typed import understood
from descent.errors import UserError
from descent.job import Job, open_job
from descent.records.run import discard

TRAIN = "train"  # the config's name, and the script's


def _composed(words: Sequence[str], mode: RunMode, beside: Sequence[str]) -> tuple[Any, DictConfig]:
    flags = [word for word in words if word.startswith("-")]
    if flags:
        raise UserError(
            f"'{flags[0]}' is a flag of the command line; from Python, give overrides as "
            "key=value (descent.sweep tries every combination of several values)."
        )
    overrides = understood([*beside, *words], TRAIN)[len(beside) :]
    return compose_main(CONF, TRAIN, overrides, mode, beside[1:])


@contextmanager
def opened_job(
    words: Sequence[str], given: Given | None, beside: Sequence[str] = ()
) -> Iterator[Job]:
    """Give the job that overrides describe, in a directory that is claimed as long as it trains.

    Args:
        words: the overrides.
        given: rows from Python.
        beside: the flag of a directory with choices of the user's own, and that directory.

    Raises:
        UserError: an option or the data cannot be used.
    """
    _, cfg = _composed(words, RunMode.RUN, beside)
    if cfg.hydra.mode == RunMode.MULTIRUN:
        raise UserError(
            "This recipe compares several runs: descent.sweep trains them; 'hydra.mode=RUN' trains "
            "the first."
        )
    FrontDoor().on_run_start(cfg)
    directory = Path(str(cfg.hydra.run.dir))
    try:
        with read_write(cfg.hydra.runtime), open_dict(cfg.hydra.runtime):
            cfg.hydra.runtime.output_dir = os.path.abspath(directory)  # noqa: PTH100 - as Hydra does
        HydraConfig.instance().set_config(cfg)
        if given is not None:
            given.write(str(cfg.data.path))
        task = copy.deepcopy(cfg)
        with read_write(task), open_dict(task):
            del task["hydra"]
        job = open_job(task)
        _check_one_process(job.config["trainer"])
        yield job
    finally:
        discard(directory)


def _check_one_process(trainer: Any) -> None:
    """Refuse what would start the caller's program once more for each device."""
    devices, nodes = trainer.get("devices", 1), trainer.get("num_nodes", 1)
    several = isinstance(devices, list) and len(devices) > 1
    if several or (isinstance(devices, int) and devices > 1) or nodes > 1:
        raise UserError(
            "Several devices are for the command line, since each needs a process that begins "
            f"anew: {command(TRAIN)} trainer=ddp ...; from Python, give trainer.devices=1."
        )


def swept(words: Sequence[str], given: Given | None, beside: Sequence[str] = ()) -> DictConfig:
    """Train every job of a multirun; return its config.

    Args: as of `opened_job`.

    Raises:
        UserError: an option or the data cannot be used; then nothing was trained.
    """
    hydra, cfg = _composed(words, RunMode.MULTIRUN, beside)
    launcher = OmegaConf.select(cfg, "hydra.launcher._target_")
    if launcher != LAUNCHER:
        raise UserError("descent.sweep trains with hydra/launcher=stack; leave the launcher out.")
    FrontDoor().on_multirun_start(cfg)
    directory = Path(str(cfg.hydra.sweep.dir))
    try:
        if given is not None:
            given.write(str(cfg.data.path))
        sweeper = sweeper_of(hydra, cfg, _no_task)
        sweeper.sweep(arguments=list(cfg.hydra.overrides.task))
    finally:
        discard(directory)
    return cfg


def _no_task(config: DictConfig) -> None:
    """Stand for what other launchers than ours would call."""
    raise NotImplementedError
