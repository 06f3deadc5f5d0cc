"""One line for a whole multirun: runs done, run-steps a second, time left, best so far."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

from descent.callbacks.live import LiveLine
from descent.files.atomic import remove_file, write
from descent.metrics import lower_is_better
from descent.sweep.tasks import STEPS, FitTask, Outcome

BOARD = ".progress"
REDRAW_SECONDS = 0.2
PLAIN_SECONDS = 5.0  # between lines where nobody watches


class StatusLine:
    """Redraws itself on a terminal; elsewhere a few plain lines.

    Args:
        sweep: the multirun's directory, where workers note their steps.
        tasks: what is to be done.
        steps: run-steps that all of them take, at most.
        before: jobs that are finished already.
    """

    def __init__(
        self, sweep: Path, tasks: Sequence[FitTask], steps: int, before: Mapping[int, Outcome]
    ) -> None:
        self._path = sweep / BOARD
        self._jobs = sum(len(task.jobs) for task in tasks)
        self._rows, self._steps = len(tasks), steps
        self._done = 0
        self._best: float | None = None
        self._name = tasks[0].jobs[0].config["optimized_metric"] if tasks else ""
        for outcome in before.values() if tasks else ():
            self._improve(outcome)
        self._line = LiveLine()
        self._stop = threading.Event()
        self._redrawing: threading.Thread | None = None
        self._began = self._told = time.monotonic()

    def place(self, row: int) -> tuple[Path, int]:
        """Return where a task notes its steps."""
        return self._path, row

    def note(self, outcome: Outcome) -> None:
        """Count a job that has ended."""
        self._done += 1
        self._improve(outcome)
        if not self._line.watched and time.monotonic() - self._told >= PLAIN_SECONDS:
            self._told = time.monotonic()
            print(self._figures(), flush=True)

    def noted(self, row: int) -> tuple[float, float]:
        """Return a task's run-steps, and when its worker began with it; 0 if it has not."""
        steps, began = self._board[row]
        return float(steps), float(began)

    def _improve(self, outcome: Outcome) -> None:
        if outcome.metric is None or not np.isfinite(outcome.metric):
            return
        better = min if lower_is_better(self._name) else max
        self._best = outcome.metric if self._best is None else better(self._best, outcome.metric)

    def __enter__(self) -> StatusLine:
        if self._rows:
            write(self._path, bytes(16 * self._rows))
            self._board = np.memmap(self._path, dtype=np.float64, mode="r").reshape(-1, 2)
        if self._line.watched:
            self._redrawing = threading.Thread(target=self._redraw, daemon=True)
            self._redrawing.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._stop.set()
        if self._redrawing is not None:
            self._redrawing.join()
            self._line.draw(self._figures())  # what a notebook keeps
        self._line.clear()
        remove_file(self._path)

    def _redraw(self) -> None:
        while not self._stop.wait(REDRAW_SECONDS):
            self._line.draw(self._figures())

    def _figures(self) -> str:
        seconds = max(time.monotonic() - self._began, 1e-9)
        steps = float(self._board[:, STEPS].sum()) if self._rows else 0.0
        line = f"{self._done:,}/{self._jobs:,} runs"
        if steps:  # those that train alone do not count theirs
            line += f", {steps / seconds:,.0f} run-steps/s"
        if 0 < steps < self._steps and self._done < self._jobs:
            # runs that end early leave fewer steps to take, so jobs are asked too
            left = seconds / steps * (self._steps - steps)
            if self._done:
                left = min(left, seconds / self._done * (self._jobs - self._done))
            line += f", {left:,.0f} s left"
        if self._best is not None:
            line += f", best {self._name} {self._best:.4g}"
        return line
