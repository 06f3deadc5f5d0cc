"""Where the runs of a group train."""

from __future__ import annotations

import torch
from torch import nn

from descent.engine.device import candidates, choose_device
from descent.engine.grouping import Footprint, stack_size
from descent.sweep.planning import Group
from descent.sweep.sources import prepared


def where(
    group: Group, model: nn.Module, asked: int | str, one: Footprint, workers: int
) -> tuple[torch.device, str | None]:
    """Return where a group trains, and what measuring said where there was a choice."""
    configs = [job.config for job in group.jobs]
    devices = candidates(configs[0]["trainer"])
    if len(devices) < 2:
        return choose_device(configs[0]["trainer"]["accelerator"]), None
    from descent.assembly import fastest_device  # imports Lightning, seconds before it is needed

    most = [min(len(configs), stack_size(asked, one, device, workers)) for device in devices]
    models, data = [model] * max(most), prepared(configs[0]["data"])
    choice = fastest_device(devices, configs[: max(most)], models, data, most)
    if choice is None:
        return choose_device("auto"), None
    return choice.device, choice.reason
