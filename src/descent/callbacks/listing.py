"""Prints the first steps one by one, as tutorials do."""

from __future__ import annotations

import logging
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer

from descent.callbacks.full_loss import NAME as FULL_LOSS
from descent.learner import Learner
from descent.naming import class_name, readable
from descent.recording.path import parameter_names

log = logging.getLogger(__name__)

MOST_PARAMETERS = 6  # more would not fit a line


class Listing(Callback):
    """A line a step: the mini-batch's loss before the update, full loss and parameters after it.

    Comes before the recorder. The full loss needs callbacks.full_loss.every_n_steps=1.

    Args:
        first: how many steps to print.
    """

    def __init__(self, first: int = 20) -> None:
        self.first = first
        self._rows: dict[int, list[float]] = {}

    def on_train_start(self, trainer: Trainer, pl_module: Learner) -> None:  # type: ignore[override]
        """Print the header and watch the steps."""
        named = list(pl_module.model.named_parameters())
        small = sum(p.numel() for _, p in named) <= MOST_PARAMETERS
        self._parameters = [p for _, p in named] if small else []
        names = parameter_names({n: p.shape for n, p in named}) if small else ()
        labels = readable(names, class_name(pl_module.model), pl_module.data)
        pl_module.watchers.append(self._watch)
        if trainer.is_global_zero and pl_module.global_step < self.first:
            log.info("%6s %12s %12s%s", "step", "step loss", "full loss", _columns(labels))

    def _watch(self, step: int) -> None:
        if step <= self.first:
            values = [p.detach().reshape(-1) for p in self._parameters]
            self._rows[step] = torch.cat(values).tolist() if values else []

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: Trainer, pl_module: Learner, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Print the window's steps."""
        rows, self._rows = self._rows, {}
        losses = outputs["losses"].tolist()
        last = outputs["first"] + len(losses)
        for step, loss in enumerate(losses, start=outputs["first"] + 1):
            if step > self.first or not trainer.is_global_zero:
                continue
            full = pl_module.measured.get(FULL_LOSS) if step == last else None
            shown = "" if full is None else f"{full:.6g}"
            values = "".join(f" {value:>18.9g}" for value in rows.get(step, ()))
            log.info("%6d %12.6g %12s%s", step, loss, shown, values)


def _columns(names: list[str]) -> str:
    return "".join(f" {name:>18}" for name in names)
