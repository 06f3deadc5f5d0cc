"""Prints the first steps one by one, as tutorials do."""

from __future__ import annotations

import logging

import torch

from descent.data.naming import class_name, readable
from descent.engine.kernel import Figures
from descent.engine.learner import Learner
from descent.engine.observer import Observer
from descent.records.pathfile import parameter_names

log = logging.getLogger(__name__)

MOST_PARAMETERS = 6  # more would not fit a line


class Listing(Observer):
    """A line a step: the mini-batch's loss before the update, full loss and parameters after it.

    The full loss needs callbacks.full_loss.every_n_steps=1.

    Args:
        first: how many steps to print.
    """

    def __init__(self, first: int = 20) -> None:
        self.first = first
        self._rows: dict[int, list[float]] = {}

    def begin(self, learner: Learner) -> None:
        """Print the header and watch the steps."""
        model = learner.kernel.model(0)
        named = list(model.named_parameters())
        small = sum(p.numel() for _, p in named) <= MOST_PARAMETERS
        self._parameters = [p for _, p in named] if small else []
        names = parameter_names({n: p.shape for n, p in named}) if small else ()
        labels = readable(names, class_name(model), learner.data)
        learner.watchers.append(self._watch)
        if learner.trainer.is_global_zero and learner.step < self.first:
            log.info("%6s %12s %12s%s", "step", "step loss", "full loss", _columns(labels))

    def _watch(self, step: int) -> None:
        if step <= self.first:
            values = [p.detach().reshape(-1) for p in self._parameters]
            self._rows[step] = torch.cat(values).tolist() if values else []

    def window(self, learner: Learner, figures: Figures) -> None:
        """Print the window's steps."""
        rows, self._rows = self._rows, {}
        for step, loss in enumerate(figures.losses[:, 0].tolist(), start=figures.first + 1):
            if step > self.first or not learner.trainer.is_global_zero:
                continue
            known = figures.full_loss is not None and step == figures.last
            shown = f"{figures.full_loss[0]:.6g}" if known else ""  # type: ignore[index]
            values = "".join(f" {value:>18.9g}" for value in rows.get(step, ()))
            log.info("%6d %12.6g %12s%s", step, loss, shown, values)


def _columns(names: list[str]) -> str:
    return "".join(f" {name:>18}" for name in names)
