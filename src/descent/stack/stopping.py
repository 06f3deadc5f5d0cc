"""Early stopping of one run in a stack, as Lightning's callback does it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from descent.metrics import AUTO, MIN, settled_mode

TARGET = "lightning.pytorch.callbacks.EarlyStopping"
KNOWN = ("_target_", "monitor", "mode", "patience", "min_delta", "check_finite")
PATIENCE_EXHAUSTED = 3  # Lightning's EarlyStoppingReason


class Stopper:
    """Counts the checks without improvement.

    Args:
        options: the callback's, with `monitor` and what else it was given.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.monitor = str(options["monitor"])
        self.mode = settled_mode(self.monitor, options.get("mode", AUTO))
        self.patience = int(options.get("patience", 3))
        self._sign = 1.0 if self.mode == MIN else -1.0
        self._least = abs(float(options.get("min_delta", 0.0)))
        self._best = torch.tensor(self._sign * torch.inf)
        self._waited = 0
        self._stopped: tuple[int, str] | None = None

    def stops(self, value: float, epoch: int) -> bool:
        """Take the metric after an epoch (from 0), and say whether training stops.

        Lightning keeps logged metrics as float32, and so do we.
        """
        current = torch.tensor(value)
        if self._sign * current + self._least < self._sign * self._best:
            self._best, self._waited = current, 0
            return False
        self._waited += 1
        if self._waited < self.patience:
            return False
        message = (
            f"Monitored metric {self.monitor} did not improve in the last {self._waited} records."
            f" Best score: {self._best:.3f}. Signaling Trainer to stop."
        )
        self._stopped = (epoch, message)
        return True

    def state(self) -> tuple[str, dict[str, int | Tensor | str | None]]:
        """Return the callback's key in a checkpoint, and its state."""
        epoch, message = self._stopped or (0, None)
        key = {"monitor": self.monitor, "mode": self.mode}
        return f"EarlyStopping{key!r}", {
            "wait_count": self._waited,
            "stopped_epoch": epoch,
            "best_score": self._best,
            "patience": self.patience,
            "stopping_reason": PATIENCE_EXHAUSTED if self._stopped else 0,
            "stopping_reason_message": message,
        }
