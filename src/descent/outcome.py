"""What `result.json` says: what is known before training, and what is known after."""

from __future__ import annotations

import platform
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch

import descent
from descent.callbacks.checkpoint import Checkpoint
from descent.callbacks.path import Path as PathCallback
from descent.callbacks.recorder import Recorder
from descent.config import flatten
from descent.endings import Ending, Reason, Status
from descent.job import Job
from descent.learner import Learner
from descent.naming import class_name, readable

MOST_WEIGHTS = 12  # more than this and result.json would be a list of weights

# Endings after which a larger limit would not mean anything: the run was not ended by one.
STOPPED_EARLY = (Reason.TARGET, Reason.EARLY_STOPPING, Reason.STOPPED)


def before(job: Job, trainer: L.Trainer) -> dict[str, Any]:
    """Return the result of a run that has just begun; it stands if the process is killed."""
    return {
        "status": Status.RUNNING,
        "reason": "training, or killed without a word",
        "name": job.config["name"],
        "overrides": list(job.overrides),
        "optimized_metric": job.config["optimized_metric"],
        "began": time.time(),
        "device": str(trainer.strategy.root_device),
        "threads": torch.get_num_threads(),
        "versions": {
            "descent": descent.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "lightning": L.__version__,
        },
        "commit": _commit(),
    }


def after(
    begun: Mapping[str, Any], ending: Ending, learner: Learner, trainer: L.Trainer
) -> dict[str, Any]:
    """Return the result of a run that has ended.

    Args:
        begun: what `before` returned.
        ending: why it ended.
        learner: its `measured` holds the test metrics, if it was tested.
        trainer: its callbacks hold the last and the best figures.
    """
    recorder = next((c for c in callbacks_of(trainer) if isinstance(c, Recorder)), None)
    last = recorder.last_row if recorder else {}
    tested = {k: v for k, v in learner.measured.items() if k.startswith("test/")}
    best = best_of(trainer)
    return {
        **begun,
        "status": ending.status,
        "reason": ending.sentence,
        "stopped_early": ending.reason in STOPPED_EARLY,
        "step": ending.figures.get("step", learner.global_step),
        "epoch": learner.epochs_done,
        "samples": recorder.samples if recorder else None,
        "seconds": learner.clock.seconds,
        "wall_seconds": time.time() - begun["began"],
        "metrics": {k: v for k, v in last.items() if "/" in k} | tested,
        "weights": _few_weights(trainer, learner),
        "best": best and {k: best[k] for k in ("epoch", "step", "metrics")},
    }


def _few_weights(trainer: L.Trainer, learner: Learner) -> dict[str, float]:
    """Return the last parameters by name, of a model small enough to read them."""
    path = next((c for c in callbacks_of(trainer) if isinstance(c, PathCallback)), None)
    last = path.last(MOST_WEIGHTS) if path else {}
    names = readable(last, class_name(learner.model), learner.data)
    return dict(zip(names, last.values(), strict=True))


def optimized(result: Mapping[str, Any], name: str) -> float | None:
    """Return a metric of the best epoch, else the final one; None if it is not a number."""
    best = (result["best"] or {}).get("metrics", {})
    value = best.get(name, result["metrics"].get(name))
    return value if isinstance(value, float) else None


def hyperparameters(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that make one run differ from another, by dotted name."""
    groups = (
        "data",
        "model",
        "landscape",
        "optimizer",
        "scheduler",
        "penalty",
        "clip",
        "stop",
        "seed",
    )
    shown: dict[str, Any] = {}
    for key, value in flatten({group: config[group] for group in groups if group in config}):
        if key.endswith("._target_"):
            shown[key.removesuffix("._target_")] = value.rsplit(".", 1)[-1]
        elif value is not None and not key.endswith("._partial_"):
            shown[key] = value if isinstance(value, (bool, int, float, str)) else str(value)
    return shown


def callbacks_of(trainer: L.Trainer) -> list[L.Callback]:
    """Return a trainer's callbacks; Lightning sets the attribute where type checkers miss it."""
    return trainer.callbacks  # type: ignore[attr-defined]


def best_of(trainer: L.Trainer) -> dict[str, Any] | None:
    """Return the best weights and figures, if the run kept any."""
    return next((c.best for c in callbacks_of(trainer) if isinstance(c, Checkpoint)), None)


def _commit() -> str | None:
    """Return the project's commit, marked where files have changed since; None outside git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        here = Path(__file__).parent
        done = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
