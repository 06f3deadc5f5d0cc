"""How many runs to a stack: as many as the cache likes and the memory holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from descent.data.prepare import Prepared
from descent.data.tensors import DTYPES
from descent.errors import UserError
from descent.machine import free_memory

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
    free = memory(device) * USABLE / workers
    fits = int(free // one.held)
    if isinstance(asked, int):
        if asked > max(fits, 1):
            raise UserError(
                f"A stack of {asked:,} runs needs {asked * one.held / 2**30:.1f} GiB, and "
                f"{free / 2**30:.1f} GiB are there for one worker; set hydra.launcher.stack to at "
                f"most {max(fits, 1):,}, or auto."
            )
        return asked
    if device.type != "cpu":
        return max(1, min(fits, 2 * MOST))
    return max(1, min(fits, MOST, CACHED // max(one.touched, 1)))


def memory(device: torch.device) -> float:
    """Return the bytes of memory that are free, or all there are where that is not known."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return free_memory()
