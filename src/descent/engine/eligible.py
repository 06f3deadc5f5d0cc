"""Which runs stack: what makes one train alone, and what two must share to train together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from torch import nn

from descent.blueprint import has_own_model
from descent.engine import stacked_optim as rules
from descent.engine.stacked_model import unstackable

Config = Mapping[str, Any]

# Numbers, and whole choices, in which the runs of a stack may differ.
FREE = ("seed", "name", "optimized_metric", "lesson", "scheduler", "penalty", "clip", "landscape",
        "tuned", "paths", "picture", "sweep_dir", "after", "resume", "trust",
        "base_lr", "lr_scaling", "reference_batch")  # fmt: skip
FREE_WITHIN = {"model": ("init", "start"), "stop": ("loss",)}  # of the model: where it is our own

# Values of the Trainer's arguments with which several runs share one; others are for one run.
SHARED_TRAINER = {
    "accelerator": ("auto", "cpu", "gpu", "cuda"), "devices": ("auto", 1), "strategy": ("auto",),
    "precision": ("32-true", "64-true", "bf16-mixed", "bf16-true"), "num_nodes": (1,),
    "limit_val_batches": (1.0, 0),
}  # fmt: skip
OURS = "descent.callbacks."
STOPPER = "descent.callbacks.early_stopping.EarlyStopping"
LIGHTNINGS_STOPPER = "lightning.pytorch.callbacks.EarlyStopping"
STOPPER_OPTIONS = ("_target_", "monitor", "mode", "patience", "min_delta", "check_finite")


def why_alone(config: Config) -> str | None:
    """Return why a run of this config trains alone; None if its config lets it share a fit."""
    for key, value in config["trainer"].items():
        known = SHARED_TRAINER.get(key)
        if known is not None and not [v for v in known if v == value and type(v) is type(value)]:
            return f"trainer.{key}={value} is for one run"
    for name, node in (config["callbacks"] or {}).items():
        target = str((node or {}).get("_target_", OURS))
        stopper = target == LIGHTNINGS_STOPPER and set(node) <= set(STOPPER_OPTIONS)
        if not target.startswith(OURS) and not stopper:
            return f"callbacks.{name} works on one run"
        if target.endswith(".Listing"):
            return f"callbacks.{name} prints one run"
    return None


def in_turn(config: Config, model: nn.Module) -> str | None:
    """Return why runs of one fit take their steps in turn; None if they are stacked."""
    target = str((config.get("loss") or {}).get("_target_", "descent."))
    if not target.startswith(("descent.", "torch.nn.")):  # it may draw, or remember what it saw
        return "the loss is not one of torch's"
    return rules.unstackable(config["optimizer"]) or unstackable(model)


def shape(config: Config) -> str:
    """Return what runs must share to be stacked: everything but the numbers that may differ."""
    kept: dict[str, Any] = {}
    for group, node in config.items():
        if group in FREE:
            continue
        if group == "optimizer":
            rule = rules.RULES.get(node["_target_"])
            free = ("lr", *rule.numbers) if rule is not None else {*node} - {"_target_"}
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
