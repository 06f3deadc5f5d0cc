"""Lightning's Logger interface over the event file of a run."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers.logger import Logger

from descent.records.eventfile import EventLog, event_files
from descent.records.tables import Series


class EventFileLogger(Logger):
    """Writes TensorBoard's event file into the run directory.

    The recorder opens it (at the position a resumed run continues from) and hands it whole series;
    what Lightning or other callbacks log arrives by `log_metrics`.

    Args:
        run_dir: the run directory.
    """

    def __init__(self, run_dir: str | Path) -> None:
        super().__init__()
        self.dir = Path(run_dir)
        self._events: EventLog | None = None
        self._hyperparams: dict[str, Any] = {}

    @property
    def name(self) -> str:
        """The run directory's name."""
        return self.dir.name

    @property
    def version(self) -> str:
        """Empty: one run, one directory."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run directory, for callbacks that ask for one."""
        return str(self.dir)

    @property
    def events(self) -> EventLog:
        """The event file; opened at its first use, behind what is in it.

        So it is where a run fails before the recorder could cut it back to its checkpoint's place.
        """
        if self._events is None:
            self.open(sum(path.stat().st_size for path in event_files(self.dir)[:1]))
        assert self._events is not None
        return self._events

    def open(self, position: int = 0, finals: Sequence[str] = ()) -> None:
        """Open the file.

        Args:
            position: bytes to keep of a file that is there.
            finals: the metrics that will be final, for the HParams tab.
        """
        self._events = EventLog(self.dir, position, self._hyperparams, finals)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append one value per metric, by step and, where the epoch is given, by epoch."""
        now = np.array([time.time()])
        x = {"by_step": np.array([step or 0])}
        if "epoch" in metrics:
            x["by_epoch"] = np.array([int(metrics["epoch"])])
        for name, value in metrics.items():
            if name != "epoch":
                self.events.add(Series(name, now, np.array([value]), x))

    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        """Keep the options, numbers, booleans and texts, for the HParams tab of a new file."""
        self._hyperparams = dict(params)

    def save(self) -> None:
        """Flush."""
        if self._events is not None:
            self._events.flush()

    def finalize(self, status: str) -> None:
        """Flush; the file stays open for the final metrics."""
        self.save()

    def close(self) -> None:
        """Close the file; a run whose end then cannot be written goes on at the file's end."""
        if self._events is not None:
            self._events.close()
