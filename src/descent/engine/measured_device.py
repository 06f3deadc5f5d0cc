"""Which of several devices takes a job's steps fastest: a few real windows on each, kept on disk.

A small model's step is launched in longer than it takes, so that a CPU may be ten times as fast as
a GPU; no rule of thumb knows where that turns, so it is measured.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from descent.config.machine import kept, processor
from descent.engine.kernel import Kernel
from descent.engine.module_kernel import ModuleKernel
from descent.engine.stacked_kernel import StackedKernel
from descent.errors import WriteError, first_line
from descent.files.atomic import make_directory, write
from descent.files.bounded import DamageError, read_json

log = logging.getLogger(__name__)

PRECISIONS = ("32-true", "64-true")  # others are the trainer's to cast
STEPS = 16  # of a window
WINDOWS = 5  # at most
ENOUGH = 0.2  # seconds on a device
SLOW = 0.05  # seconds of a step, above which a window has one
EQUAL = 1.05  # times, below which nothing is said of faster

Measure = Callable[[torch.device], float]  # -> seconds a run-step


@dataclass(frozen=True)
class MeasuredDevice:
    """A device, and why it is that one."""

    device: torch.device
    reason: str


def choose(devices: Sequence[torch.device], measure: Measure, key: str) -> MeasuredDevice:
    """Return the fastest of some devices.

    Args:
        devices: two or more.
        measure: takes some steps on one.
        key: of what is measured; what was measured under it before is believed.
    """
    path = kept("devices") / f"{key}.json"
    seconds, before = _known(path, devices), ", measured before"
    if seconds is None:
        seconds, before = {}, ""
        for device in devices:
            try:
                seconds[str(device)] = measure(device)
            except (RuntimeError, MemoryError) as error:
                log.info("device    %s cannot take these steps: %s", device, first_line(error))
        if not seconds:
            return MeasuredDevice(devices[0], "none could take the steps that were tried")
        with suppress(WriteError):  # it is measured again then
            make_directory(path.parent)
            write(path, json.dumps(seconds))
    names = [str(device) for device in devices if str(device) in seconds]
    best, *others = sorted(names, key=seconds.__getitem__)
    device = next(device for device in devices if str(device) == best)
    if not others:
        return MeasuredDevice(device, f"the only one that can take these steps{before}")
    times = seconds[others[0]] / seconds[best]
    if times < EQUAL:
        return MeasuredDevice(device, f"as fast as {others[0]}{before}")
    size = "this small" if device.type == "cpu" else "of this size"
    return MeasuredDevice(device, f"{times:.2g}x faster than {others[0]} for steps {size}{before}")


def _known(path: Path, devices: Sequence[torch.device]) -> dict[str, float] | None:
    """Return what was measured before, if it is there and whole."""
    try:
        found = read_json(path)
    except (OSError, DamageError):
        return None
    if not isinstance(found, dict) or not set(found) <= {str(d) for d in devices} or not found:
        return None
    plain = all(isinstance(v, float) and 0 < v < 1e6 for v in found.values())
    return found if plain else None


def key_of(config: Mapping[str, Any], model: nn.Module, runs: Sequence[int], size: int) -> str:
    """Return a key for steps: torch, card, processor, shapes, and what is computed.

    Args:
        config: of the first run.
        model: its own.
        runs: R, on each device.
        size: B.
    """
    card = torch.cuda.get_device_name(0) if torch.cuda.is_available() else ""
    counts = ("precision", "derivatives", "graphs", "threads")
    trainer = {name: config["trainer"].get(name) for name in counts}
    shapes = [(name, tuple(p.shape)) for name, p in model.named_parameters()]
    what = (
        torch.__version__, card, processor(), str(model), shapes, list(runs), size,
        config["optimizer"]["_target_"], str(config.get("loss")), config["penalty"],
        config["clip"], trainer,
    )  # fmt: skip
    return hashlib.sha256(repr(what).encode()).hexdigest()[:16]


def seconds_a_step(kernel: Kernel, x: Tensor, y: Tensor, size: int, device: torch.device) -> float:
    """Return the wall seconds of a step, from a few windows of real rows.

    Args:
        kernel: that nobody needs afterwards.
        x, y: rows, on the device.
        size: B.
        device: where.
    """
    if isinstance(kernel, ModuleKernel):
        kernel.module.to(device)
        kernel.configure_alone()
    elif isinstance(kernel, StackedKernel):
        kernel.bind_alone()
    size = min(size, len(x))
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        _window(kernel, x, y, size, 1)
        steps = 1 if _window(kernel, x, y, size, 1) > SLOW else min(STEPS, len(x) // size)
        _window(kernel, x, y, size, steps)
        spent, taken = 0.0, 0
        while taken == 0 or (spent < ENOUGH and taken < WINDOWS * steps):
            spent += _window(kernel, x, y, size, steps)
            taken += steps
    return spent / taken


def _window(kernel: Kernel, x: Tensor, y: Tensor, size: int, steps: int) -> float:
    """Return the seconds of a window of so many steps, up to its losses on the host."""
    rows, lr = steps * size, kernel.rates.values
    began = time.perf_counter()
    batches = kernel.batches(x[:rows].unsqueeze(0), y[:rows].unsqueeze(0), size)
    torch.stack([kernel.step(x_B, y_B, lr, False)[0] for x_B, y_B in batches]).cpu()
    return time.perf_counter() - began
