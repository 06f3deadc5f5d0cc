"""A job: the checked config of one run with its data, before torch is imported."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from descent.config.check import check, check_targets, check_values, plain, settle_paths
from descent.config.keys import leave_out
from descent.config.overruled import of_hydra, of_training
from descent.data.own_metrics import settle_metrics
from descent.data.prepare import Prepared, prepare
from descent.errors import UserError
from descent.metrics import check_metrics
from descent.records.endings import Status
from descent.records.run import DATA, LAST, RESULT, Run

log = logging.getLogger(__name__)

# What may change when a run is continued; everything else would make it another run.
CHANGEABLE = ("stop.", "trainer.", "trainer")


@dataclass
class Job:
    """All that training needs to know.

    Args:
        config: resolved, plain containers.
        prepared: data, checked and split.
        run: where results go.
        resumed: whether `run` holds the beginning of this run.
        overrides: what was typed on the command line, to repeat the run by.
        one_of_many: a job of a multirun says little; its table comes at the end.
    """

    config: dict[str, Any]
    prepared: Prepared
    run: Run
    resumed: bool = False
    overrides: tuple[str, ...] = ()
    one_of_many: bool = False


def open_job(cfg: DictConfig) -> Job:
    """Turn Hydra's config into a job.

    Raises:
        UserError: an option or the data cannot be used, or the run cannot be continued.
    """
    if not HydraConfig.initialized():  # a config that somebody composed knows no directory
        raise UserError("Hydra does not run here; call descent.train(...) with the overrides.")
    hydra = HydraConfig.get()
    typed = tuple(hydra.overrides.task)
    if cfg.resume is not None:
        return _continue(Run(cfg.resume), cfg, typed)
    check(cfg)
    config = plain(cfg)
    notes = leave_out(config, hydra.runtime.choices)
    settle_paths(config)
    run, many = _run_here(hydra.runtime.output_dir), hydra.mode == RunMode.MULTIRUN
    prepared = prepare(config["data"])
    settle_metrics(config, prepared)
    check_metrics(config, prepared.describe())
    if not many:
        classes = prepared.arrays.task.is_classification
        notes += [
            *of_training(config, typed, classes).values(),
            *of_hydra(hydra.overrides.hydra, many),
        ]
    for note in notes:
        log.info("note      %s", note)
    if many:
        typed += ("hydra.mode=RUN",)  # repeats this job alone where a recipe asks for many
    return Job(config, prepared, run, False, typed, many)


def _run_here(directory: str) -> Run:
    """Return the run, named from here where it lies below: shorter to read and to type again."""
    path = Path(directory)
    return Run(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _continue(run: Run, cfg: DictConfig, typed: tuple[str, ...]) -> Job:
    config = run.config()
    check_targets(config, str(run.path), list(cfg.trust))
    check_values(config)
    # killed after its first file, a run is begun and has no result yet
    result = run.result() if os.path.lexists(run.path / RESULT) else {"status": Status.RUNNING}
    changes = [t for t in typed if not t.lstrip("+").startswith(("resume=", "trust=", "hydra."))]
    for change in changes:
        key = change.lstrip("+~").split("=")[0]
        spans = "auto" in config["scheduler"].values()
        if spans and key in ("stop.epochs", "stop.steps"):
            raise UserError(
                f"The lr schedule of {run.path} spans the whole run, so {key} cannot be changed; "
                "start a new run."
            )
        if not key.startswith(CHANGEABLE):
            raise UserError(
                f"A continued run keeps its own config, so {key} cannot be changed; only "
                "stop.* and trainer.* can. Start a new run for anything else."
            )
        _put(config, key, plain(cfg))
    if any(change.startswith("stop.loss=") for change in changes):
        (config["callbacks"].get("full_loss") or {})["target"] = config["stop"]["loss"]
    check_values(config)
    _check_unfinished(run, result, config)
    prepared = prepare(config["data"])
    described = any(os.path.lexists(run.path / name) for name in (DATA, RESULT))
    if described and prepared.describe()["fingerprint"] != run.data().fingerprint:
        raise UserError(
            f"The data have changed since {run.path} was begun, so it cannot be continued; "
            "start a new run."
        )
    overrides = tuple(dict.fromkeys([*result.get("overrides", []), *changes]))
    return Job(config, prepared, run, True, overrides)


def _put(config: dict[str, Any], key: str, typed: Mapping[str, Any]) -> None:
    """Give a config another's value of an option, or take the option out if that has none."""
    *groups, name = key.split(".")
    for group in groups:
        config, typed = config.setdefault(group, {}), typed.get(group) or {}
    if name in typed:
        config[name] = typed[name]
    else:
        config.pop(name, None)


def _check_unfinished(run: Run, result: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    status = result["status"]
    if status == Status.DIVERGED:
        raise UserError(
            f"{run.path} has diverged ({result['reason']}); there is nothing to continue."
        )
    if status != Status.OK:
        return
    epochs, steps = config["stop"]["epochs"], config["stop"]["steps"]
    if result.get("stopped_early"):
        raise UserError(
            f"{run.path} has ended by itself ({result['reason']}); start a new run to go further."
        )
    room = (epochs is None or result["epoch"] < epochs) and (
        steps is None or result["step"] < steps
    )
    if not room:
        raise UserError(
            f"{run.path} is finished ({result['reason']}); to go on, give it a larger "
            "stop.epochs or stop.steps."
        )
    if not os.path.lexists(run.checkpoint_path(LAST)):
        raise UserError(f"{run.path} kept no checkpoint to continue from.")
