"""One line while it trains, drawn a few times a second at most."""

from __future__ import annotations

import logging
import time
from typing import Any

import numpy as np
from lightning.pytorch import Trainer

from descent.callbacks.live import LiveLine
from descent.engine.kernel import Figures
from descent.engine.learner import Learner
from descent.engine.observer import Observer
from descent.shapes import Int

log = logging.getLogger(__name__)

MILESTONES = 5  # lines in a log that nobody watches


class Progress(Observer):
    """A line that redraws itself on a terminal; a few plain lines elsewhere.

    Args:
        every_seconds: least time between two drawings.
    """

    def __init__(self, every_seconds: float = 0.2) -> None:
        self.every_seconds = every_seconds
        self.milestones = True  # lines in a log that nobody watches
        self.hidden = False  # somebody else's progress bar is drawn in its place
        self._line = LiveLine()
        self._drawn_at = 0.0
        self._milestone = 0
        self._last = ""

    def window(self, learner: Learner, figures: Figures) -> None:
        """Redraw, if it is time."""
        soon = time.monotonic() - self._drawn_at < self.every_seconds
        if not self._line.watched or self.hidden or soon:
            return
        self._drawn_at = time.monotonic()
        self._last = f"step loss {float(figures.losses[-1, 0]):.4g}"
        if learner.trainer.is_global_zero:
            self._line.draw(self._told(learner, figures.epoch))

    def epoch(self, learner: Learner, columns: Int[np.ndarray, " a"]) -> None:
        """Note the epoch's figures; without a terminal, log some of the epochs."""
        names = ("train/full_loss", "val/loss", "val/accuracy", "val/r2")
        shown = [f"{n} {learner.measured[n][0]:.4g}" for n in names if n in learner.measured]
        self._last = ", ".join(shown) or self._last
        done = min(1.0, learner.step / learner.longest)
        plain = self.milestones and not self._line.watched and learner.trainer.is_global_zero
        if plain and done * MILESTONES >= self._milestone + 1:
            self._milestone = int(done * MILESTONES + 1e-9)
            log.info("%s", self._told(learner, learner.epoch))

    def on_train_end(self, trainer: Trainer, pl_module: Learner) -> None:  # type: ignore[override]
        """Clear the line."""
        self._clear()

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Clear the line, so that what is printed next starts on its own."""
        self._clear()

    def _told(self, learner: Learner, epoch: int) -> str:
        epochs = learner.limits.epochs
        of = f"/{epochs}" if epochs else ""
        rate = learner.step / max(learner.clock.seconds, 1e-9)
        line = f"epoch {epoch}{of}, step {learner.step:,}, {rate:,.0f} steps/s"
        return f"{line}, {self._last}" if self._last else line

    def _clear(self) -> None:
        if not self.hidden:
            self._line.clear()
