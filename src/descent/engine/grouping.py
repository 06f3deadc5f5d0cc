"""Which runs share a fit: what makes one train alone, what two must share, how many fit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from descent.config.machine import free_memory
from descent.data.prepare import Prepared
from descent.data.tensors import DTYPES
from descent.engine import stacked_optim as rules
from descent.engine.blueprint import has_own_model
from descent.engine.fused import DERIVATIVES
from descent.engine.losses import USUAL
from descent.engine.stacked_model import layers_of, unstackable
from descent.errors import UserError

Config = Mapping[str, Any]

# Numbers, and whole choices, in which the runs of a stack may differ.
FREE = ("seed", "name", "optimized_metric", "optimized_mode", "lesson", "scheduler", "penalty",
        "clip", "landscape", "tuned", "paths", "picture", "sweep_dir", "after", "resume", "trust",
        "base_lr", "lr_scaling", "reference_batch")  # fmt: skip
FREE_WITHIN = {"model": ("init", "start"), "stop": ("loss",)}  # of the model: where it is our own

# Values of the Trainer's arguments with which several runs share one; others are for one run.
SHARED_TRAINER = {
    "accelerator": ("auto", "cpu", "gpu", "cuda"), "devices": ("auto", 1), "strategy": ("auto",),
    "precision": ("32-true", "64-true", "bf16-mixed", "bf16-true"), "num_nodes": (1,),
    "limit_val_batches": (1.0, 0), "compile": (False, "auto"),
    "graphs": (False, True, "auto"),
}  # fmt: skip
LOSSES = (USUAL, *(f"{kind.__module__}.{kind.__name__}" for kind in DERIVATIVES))
OURS = "descent.callbacks."
STOPPER = "descent.callbacks.early_stopping.EarlyStopping"
LIGHTNINGS_STOPPER = "lightning.pytorch.callbacks.EarlyStopping"
STOPPER_OPTIONS = ("_target_", "monitor", "mode", "patience", "min_delta", "check_finite")


def why_alone(config: Config) -> str | None:
    """Return why a run of this config trains alone; None if its config lets it share a fit."""
    foreign = _of_others(config)
    if foreign is not None:
        return foreign
    for name, node in (config["callbacks"] or {}).items():
        if str((node or {}).get("_target_", OURS)).endswith(".Listing"):
            return f"callbacks.{name} prints one run"
    return None


def _of_others(config: Config) -> str | None:
    """Return what of a run is for Lightning's own module and optimizer; None if nothing is."""
    if config.get("learner") is not None:
        return "a learner takes the steps of one run"
    for key, value in config["trainer"].items():
        known = SHARED_TRAINER.get(key)
        if known is not None and not [v for v in known if v == value and type(v) is type(value)]:
            return f"trainer.{key}={value} is for one run"
    for name, node in (config["callbacks"] or {}).items():
        target = str((node or {}).get("_target_", OURS))
        stopper = target == LIGHTNINGS_STOPPER and set(node) <= set(STOPPER_OPTIONS)
        if not target.startswith(OURS) and not stopper:
            return f"callbacks.{name} works on one run"
    return None


def why_autograd(config: Config, model: nn.Module) -> str | None:
    """Return why a run's derivatives are autograd's; None if its steps are those of `fused`.

    This decides for single runs, which have the module kernel else, and for stacks.
    """
    trainer = config["trainer"]
    if trainer.get("compile") is True:
        return "trainer.compile=true compiles autograd's"
    if trainer.get("derivatives", "auto") == "autograd":
        return "trainer.derivatives=autograd"
    if layers_of(model) is None:
        return f"{type(model).__name__} is not one of Descent's own linear models and MLPs"
    loss = str((config.get("loss") or {}).get("_target_", USUAL))
    if loss not in LOSSES:
        return f"loss._target_={loss} is not one of Descent's own"
    if trainer["precision"] not in ("32-true", "64-true"):
        return f"trainer.precision={trainer['precision']} is autograd's to mix"
    if trainer.get("detect_anomaly"):
        return "trainer.detect_anomaly=true looks into autograd"
    return rules.unstackable(config["optimizer"]) or _of_others(config)


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


# Measured on two cores with 1 MiB of L2 each: MLP runs of 0.5 MiB are fastest eight to sixteen at
# a time (0.165 ms a run-step; 0.195 from 32 on), and runs of a few hundred bytes are cheaper the
# more there are, up to about a thousand.
CACHED = 4 * 2**20  # bytes that a step of a stack touches
MOST = 2048
USABLE = 0.5  # of the memory, for one worker beside others
COPIES = 7  # of the parameters: theirs, gradient, a temporary, two of state, best, end


@dataclass(frozen=True)
class Footprint:
    """What a run of a stack takes, in bytes.

    Args:
        touched: by a step.
        held: until it ends.
    """

    touched: int
    held: int


def footprint(config: Mapping[str, Any], model: nn.Module, prepared: Prepared) -> Footprint:
    """Estimate what one run takes."""
    item = DTYPES.get(config["trainer"]["precision"], torch.float32).itemsize
    parameters = sum(p.numel() for p in model.parameters())
    widths = sum(m.out_features for m in model.modules() if isinstance(m, nn.Linear))
    batch = prepared.batch_size * max(1, widths) * item
    options = (config["callbacks"] or {}).get("path") or {}
    path = min(options.get("points", 0) * parameters * item, options.get("most_mib", 0) * 2**20)
    return Footprint(
        touched=4 * parameters * item + 3 * batch,
        held=int(COPIES * parameters * item + 3 * batch + path),
    )


def stack_size(asked: int | str, one: Footprint, device: torch.device, workers: int = 1) -> int:
    """Return how many runs to stack.

    Args:
        asked: a number, or `auto`.
        one: what a run takes.
        device: where they train.
        workers: that share the memory.

    Raises:
        UserError: so many do not fit into memory.
    """
    fits = most_that_fit(one, device, workers)
    if isinstance(asked, int):
        if asked > fits:
            raise UserError(
                f"A stack of {asked:,} runs needs {asked * one.held / 2**30:.1f} GiB, and "
                f"{_room(device, workers) / 2**30:.1f} GiB are there for one worker; set "
                f"hydra.launcher.stack to at most {fits:,}, or auto."
            )
        return asked
    if device.type != "cpu":
        return min(fits, 2 * MOST)
    return max(1, min(fits, MOST, CACHED // max(one.touched, 1)))


def most_that_fit(one: Footprint, device: torch.device, workers: int = 1) -> int:
    """Return how many runs of a footprint a worker's share of the memory holds; one at least."""
    return max(1, int(_room(device, workers) // one.held))


def _room(device: torch.device, workers: int) -> float:
    return memory(device) * USABLE / workers


def memory(device: torch.device) -> float:
    """Return the bytes of memory that are free, or all there are where that is not known."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return free_memory()
