"""One line while it trains, drawn a few times a second at most."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

from lightning.pytorch import Callback, Trainer

from descent.learner import Learner

log = logging.getLogger(__name__)

MILESTONES = 5  # lines in a log that nobody watches


class Progress(Callback):
    """A line that redraws itself on a terminal; a few plain lines elsewhere.

    Args:
        every_seconds: least time between two drawings.
    """

    def __init__(self, every_seconds: float = 0.2) -> None:
        self.every_seconds = every_seconds
        self.milestones = True  # lines in a log that nobody watches
        self.hidden = False  # somebody else's progress bar is drawn in its place
        self._live = sys.stderr.isatty()
        self._drawn_at = 0.0
        self._milestone = 0
        self._last = ""

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: Trainer, pl_module: Learner, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Redraw, if it is time."""
        if not self._live or self.hidden or time.monotonic() - self._drawn_at < self.every_seconds:
            return
        self._drawn_at = time.monotonic()
        if len(outputs["losses"]):
            self._last = f"step loss {float(outputs['losses'][-1]):.4g}"
        self._draw(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Learner) -> None:  # type: ignore[override]
        """Note the epoch's figures; without a terminal, log some of the epochs."""
        names = ("train/full_loss", "val/loss", "val/accuracy", "val/r2")
        shown = [f"{n} {pl_module.measured[n]:.4g}" for n in names if n in pl_module.measured]
        self._last = ", ".join(shown) or self._last
        done = self._share(trainer, pl_module)
        plain = self.milestones and not self._live and trainer.is_global_zero
        if plain and done * MILESTONES >= self._milestone + 1:
            self._milestone = int(done * MILESTONES + 1e-9)
            log.info("%s", self._line(trainer, pl_module))

    def on_train_end(self, trainer: Trainer, pl_module: Learner) -> None:  # type: ignore[override]
        """Clear the line."""
        self._clear()

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Clear the line, so that what is printed next starts on its own."""
        self._clear()

    def _share(self, trainer: Trainer, learner: Learner) -> float:
        """Return the share of the run that is done."""
        by_steps = learner.global_step / learner.max_steps
        epochs = trainer.max_epochs
        by_epochs = (trainer.current_epoch + 1) / epochs if epochs and epochs > 0 else 0.0
        return min(1.0, max(by_steps, by_epochs))

    def _line(self, trainer: Trainer, learner: Learner) -> str:
        epochs = trainer.max_epochs
        of = f"/{epochs}" if epochs and epochs > 0 else ""
        step = learner.global_step
        rate = step / max(learner.clock.seconds, 1e-9)
        line = f"epoch {trainer.current_epoch + 1}{of}, step {step:,}, {rate:,.0f} steps/s"
        return f"{line}, {self._last}" if self._last else line

    def _draw(self, trainer: Trainer, learner: Learner) -> None:
        if trainer.is_global_zero:
            print(f"\r\033[K{self._line(trainer, learner)}", end="", file=sys.stderr, flush=True)

    def _clear(self) -> None:
        if self._live and not self.hidden:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
