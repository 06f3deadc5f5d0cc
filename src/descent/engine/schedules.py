"""What a learning-rate schedule is, and those that torch lacks, as factors of lr."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


@dataclass(frozen=True)
class Schedule:
    """A learning-rate schedule: how to make it from an optimizer, and when it steps."""

    make: Callable[[Optimizer], Any]
    interval: str = "epoch"
    monitor: str | None = None


def inverse_time(optimizer: Optimizer, decay: float) -> LambdaLR:
    """Return a schedule with lr_t = lr / (1 + decay * t).

    Args:
        optimizer: whose lr is scheduled.
        decay: per step or epoch, >= 0.

    Source: Robbins and Monro (1951); the steps sum to infinity, their squares do not.
    """
    return LambdaLR(optimizer, lambda t: 1.0 / (1.0 + decay * t))


def warmup_cosine(
    optimizer: Optimizer, total: int, warmup: float = 0.05, final: float = 0.0
) -> LambdaLR:
    """Return a schedule that rises linearly, then falls along half a cosine.

    Args:
        optimizer: whose lr is scheduled.
        total: steps or epochs of the whole run.
        warmup: share of `total` spent rising; the first value is already above 0.
        final: last lr as a share of the optimizer's lr.

    Source: Goyal et al. (2017) for the rise, Loshchilov and Hutter (2017) for the cosine.
    """
    rise = round(total * warmup)

    def factor(t: int) -> float:
        if t < rise:
            return (t + 1) / (rise + 1)
        share = min((t - rise) / max(total - rise, 1), 1.0)
        return final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * share))

    return LambdaLR(optimizer, factor)
