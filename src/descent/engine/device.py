"""Where a run computes, with how many threads, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from descent.config.machine import cores
from descent.errors import UserError

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

# Multiply-adds of a step (parameters x batch rows) that keep one thread busy enough to share.
WORK_PER_THREAD = 100_000_000


def choose_device(accelerator: str) -> torch.device:
    """Return the device that `trainer.accelerator` names.

    Raises:
        UserError: there is none.
    """
    if accelerator == "cpu" or (accelerator == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UserError(
            f"trainer.accelerator={accelerator}, but no GPU is found; use trainer=cpu or auto."
        )
    return torch.device("cuda", 0)


def candidates(trainer: Mapping[str, Any]) -> list[torch.device]:
    """Return the devices that `auto` may choose from: one where there is nothing to choose."""
    both = trainer["accelerator"] == "auto" and trainer["devices"] == 1
    if not both or not torch.cuda.is_available():
        return []
    return [torch.device("cpu"), torch.device("cuda", 0)]


def choose_threads(given: int | str, parameters: int, batch_size: int) -> tuple[int, str]:
    """Return how many CPU threads to use, and the reason.

    Small steps are slower with two threads than with one: the threads wait for each other at every
    operation.

    Args:
        given: a number, or `auto`.
        parameters: P, of the model.
        batch_size: B.
    """
    if given != "auto":
        return int(given), "trainer.threads"
    work = parameters * batch_size
    threads = max(1, min(cores(), work // WORK_PER_THREAD))
    if threads == 1:
        return 1, "more would slow so small a step down"
    return threads, f"a step of {work / 1e6:,.0f} million multiply-adds is worth sharing"


def describe_device(trainer: Trainer, asked: str, measured: str | None = None) -> str:
    """Return the device and why it was chosen, in words.

    Args:
        trainer: that uses it.
        asked: `trainer.accelerator`.
        measured: what measuring found, if there was a choice.
    """
    device = trainer.strategy.root_device
    name = str(device)
    if device.type == "cuda":
        name = f"{device} ({torch.cuda.get_device_name(device)})"
    if trainer.world_size > 1:
        name = f"{trainer.world_size} x {name}"
    if measured is not None:
        return f"{name}, {measured}"
    if asked != "auto":
        return f"{name}, as trainer.accelerator={asked} says"
    return f"{name}, no GPU found" if device.type == "cpu" else f"{name}, the GPU that was found"
