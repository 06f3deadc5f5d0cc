"""What `result.json` says: what is known before training, and what is known after."""

from __future__ import annotations

import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

import descent
from descent.config.check import flatten
from descent.data.naming import class_name, readable
from descent.data.prepare import Description
from descent.records.endings import Ending, Reason, Status

MOST_WEIGHTS = 12  # more than this and result.json would be a list of weights

# Endings after which a larger limit would not mean anything: the run was not ended by one.
STOPPED_EARLY = (Reason.TARGET, Reason.EARLY_STOPPING, Reason.STOPPED)


@dataclass(frozen=True)
class RunFigures:
    """Where a run stood when it ended.

    Args:
        step, epoch, samples: taken; samples None where nothing was recorded.
        seconds: of training.
        metrics: the last epoch's, and those of the test.
        weights: the last, by readable name, of a model of few.
        best: the best epoch's `epoch`, `step` and `metrics`, if any was kept.
        weights_from: the optimizer or callback whose weights were measured, saved and tested, where
            they are not those that steps were taken at.
    """

    step: int
    epoch: int
    samples: int | None
    seconds: float
    metrics: Mapping[str, Any]
    weights: Mapping[str, float]
    best: Mapping[str, Any] | None
    weights_from: str | None = None
    threshold: float | None = None
    predicts_only: str | None = None


def before(config: Mapping[str, Any], overrides: Sequence[str], device: str) -> dict[str, Any]:
    """Return the result of a run that has just begun; it stands if the process is killed."""
    return {
        "status": Status.RUNNING,
        "reason": "training, or killed without a word",
        "name": config["name"],
        "overrides": list(overrides),
        "optimized_metric": config["optimized_metric"],
        "began": time.time(),
        "device": device,
        "threads": torch.get_num_threads(),
        "versions": {
            "descent": descent.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "lightning": lightning_version(),
        },
        "commit": _commit(),
    }


def after(begun: Mapping[str, Any], ending: Ending, figures: RunFigures) -> dict[str, Any]:
    """Return the result of a run that has ended.

    Args:
        begun: what `before` returned.
        ending: why it ended; its own step counts where it names one.
        figures: where it stood.
    """
    best = figures.best
    return {
        **begun,
        "status": ending.status,
        "reason": ending.sentence,
        "ending": {"code": ending.reason.code, **ending.figures},
        "stopped_early": ending.reason in STOPPED_EARLY,
        "step": ending.figures.get("step", figures.step),
        "epoch": figures.epoch,
        "samples": figures.samples,
        "seconds": figures.seconds,
        "wall_seconds": time.time() - begun["began"],
        "metrics": dict(figures.metrics),
        "weights": dict(figures.weights),
        "weights_from": figures.weights_from,
        "threshold": figures.threshold,
        "predicts_only": figures.predicts_only,
        "best": best and {k: best[k] for k in ("epoch", "step", "metrics")},
    }


def few_weights(last: Mapping[str, float], model: nn.Module, data: Description) -> dict[str, float]:
    """Return parameters under readable names; none where there are too many to read."""
    if len(last) > MOST_WEIGHTS:
        return {}
    return dict(zip(readable(last, class_name(model), data), last.values(), strict=True))


def line_of(result: Mapping[str, Any], directory: str) -> str:
    """Return one line about a job of many that has ended."""
    hidden = ("experiment=", "hydra.")
    typed = " ".join(o for o in result["overrides"] if not o.startswith(hidden))
    return f"{directory}: {typed}: {result['status']}, {result['reason']}"


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
        "loss",
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


@cache
def lightning_version() -> str:
    """Return Lightning's version without importing it."""
    return version("lightning")


@cache
def _commit() -> str | None:
    """Return the project's commit, marked where files have changed since; None outside git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        here = Path(__file__).parent
        done = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
