"""The device of a stack, chosen as Lightning's accelerators choose it."""

from __future__ import annotations

import torch

from descent.errors import UserError


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
