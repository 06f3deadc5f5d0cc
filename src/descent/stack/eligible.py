"""Which runs stack: what makes one train alone, and what two must share to train together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from descent.blueprint import has_own_model
from descent.stack import rules
from descent.stack.stopping import KNOWN as STOPPER_OPTIONS
from descent.stack.stopping import TARGET as STOPPER

Config = Mapping[str, Any]

# Numbers, and whole choices, in which the runs of a stack may differ.
FREE = ("seed", "name", "optimized_metric", "lesson", "scheduler", "penalty", "clip", "landscape",
        "tuned", "paths", "picture", "sweep_dir", "after", "resume", "trust",
        "base_lr", "lr_scaling", "reference_batch")  # fmt: skip
FREE_WITHIN = {"model": ("init", "start"), "stop": ("loss",)}  # of the model: where it is our own

PLAIN_TRAINER = {
    "accelerator": ("auto", "cpu", "gpu", "cuda"), "devices": ("auto", 1), "strategy": ("auto",),
    "precision": ("32-true", "64-true"), "limit_val_batches": (1.0,), "deterministic": (False,),
    "detect_anomaly": (False,), "profiler": (None,),
}  # fmt: skip
EVENTS = "descent.recording.logger.EventFileLogger"
CALLBACKS = {
    f"descent.callbacks.{name}"
    for name in (
        *("recorder.Recorder", "full_loss.FullLoss", "divergence.Divergence"),
        *("checkpoint.Checkpoint", "progress.Progress", "path.Path"),
    )
}
OPTIONS = {
    "recorder": ("grad_norm_every", "points"), "divergence": ("factor", "checks"),
    "full_loss": ("every_n_epochs", "every_n_steps"), "path": ("points", "most_mib"),
    "checkpoint": ("monitor",), "early_stopping": ("monitor",),
}  # fmt: skip
NEEDED = ("recorder", "divergence")  # a stack has no other way to keep figures, or to end a run


def why_alone(config: Config) -> str | None:
    """Return why a run of this config trains alone; None if its config lets it stack."""
    for key, value in config["trainer"].items():
        plain = [v for v in PLAIN_TRAINER.get(key, ()) if v == value and type(v) is type(value)]
        if key in PLAIN_TRAINER and not plain:
            return f"trainer.{key}={value} is Lightning's business"
        if key not in (*PLAIN_TRAINER, "threads", "check_val_every_n_epoch", "_target_"):
            return f"trainer.{key} is Lightning's business"
    for name, node in (config["logger"] or {}).items():
        if node and node.get("_target_") != EVENTS:
            return f"logger.{name} logs run by run"
    return rules.unstackable(config["optimizer"]) or _callbacks_alone(config)


def _callbacks_alone(config: Config) -> str | None:
    nodes = {name: node for name, node in (config["callbacks"] or {}).items() if node}
    for name, node in nodes.items():
        target = node.get("_target_")
        if target == STOPPER:
            odd = [option for option in node if option not in STOPPER_OPTIONS]
            if odd or node.get("check_finite", True):
                return f"callbacks.{name}.{odd[0] if odd else 'check_finite'} needs Lightning"
            if config["trainer"].get("check_val_every_n_epoch", 1) != 1:
                return "early stopping with trainer.check_val_every_n_epoch needs Lightning"
        elif target not in CALLBACKS:
            return f"callbacks.{name} works on one run"
        taken = [option for option in OPTIONS.get(name, ()) if option not in node]
        if taken:
            return f"callbacks.{name}.{taken[0]} was taken out"
    lacking = [name for name in NEEDED if name not in nodes]
    if lacking:
        return f"callbacks.{lacking[0]} was taken out"
    if "early_stopping" not in nodes and any(n["_target_"] == STOPPER for n in nodes.values()):
        return "early stopping goes by another name than callbacks.early_stopping"
    every = config["trainer"].get("check_val_every_n_epoch", 1)
    if every != 1 and "monitor" in config["scheduler"]:
        return "a plateau schedule with trainer.check_val_every_n_epoch needs Lightning"
    return None


def shape(config: Config) -> str:
    """Return what runs must share to be stacked: everything but the numbers that may differ."""
    kept: dict[str, Any] = {}
    for group, node in config.items():
        if group in FREE:
            continue
        if group == "optimizer":
            rule = rules.RULES[node["_target_"]]
            free = ("lr", *rule.numbers)
            kept[group] = {k: v for k, v in node.items() if k not in free}
        elif group == "callbacks":
            # the target of a run is its own
            kept[group] = {
                name: {k: v for k, v in (one or {}).items() if k != "target"}
                for name, one in (node or {}).items()
            }
        else:
            own = group != "model" or has_own_model(config)
            free = FREE_WITHIN.get(group, ()) if own else ()
            kept[group] = (
                {k: v for k, v in node.items() if k not in free} if isinstance(node, dict) else node
            )
    return json.dumps(kept, sort_keys=True, default=str)
