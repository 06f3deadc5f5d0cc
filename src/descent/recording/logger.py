"""Lightning's Logger interface over the event file of a run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers.logger import Logger

from descent.recording.axes import LAYOUT, Series
from descent.recording.eventfile import EventFile


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
        self._file: EventFile | None = None

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
    def file(self) -> EventFile:
        """The event file, opened at its first use."""
        if self._file is None:
            self.open(0)
        assert self._file is not None
        return self._file

    def open(self, position: int) -> None:
        """Open the file, keeping its first `position` bytes; a new file gets the chart layout."""
        self._file = EventFile(self.dir, position)
        if position == 0:
            from torch.utils.tensorboard.summary import custom_scalars

            self._file.add_summaries([custom_scalars(LAYOUT)])

    def log_series(self, series: Series) -> None:
        """Append a series on each of its axes."""
        for axis, x in series.x.items():
            self.file.add_scalars(f"{axis}/{series.name}", series.times, x, series.values)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append one value per metric, by step and, where the epoch is given, by epoch."""
        now = np.array([time.time()])
        x = {"by_step": np.array([step or 0])}
        if "epoch" in metrics:
            x["by_epoch"] = np.array([int(metrics["epoch"])])
        for name, value in metrics.items():
            if name != "epoch":
                self.log_series(Series(name, now, np.array([value]), x))

    def log_hyperparams(self, params: Mapping[str, Any], names: tuple[str, ...] = ()) -> None:
        """Fill the HParams tab: the options, and the `final/` metrics it will show.

        Args:
            params: numbers, booleans and texts by option.
            names: the metrics whose final values `log_final` will write.
        """
        from torch.utils.tensorboard.summary import hparams

        experiment, start, _ = hparams(dict(params), {f"final/{name}": 0.0 for name in names})
        self.file.add_summaries([experiment, start])

    def log_final(self, metrics: Mapping[str, float], step: int) -> None:
        """Write the final metrics where the HParams tab looks for them, and end its session."""
        from torch.utils.tensorboard.summary import hparams

        now, at = np.array([time.time()]), np.array([step])
        for name, value in metrics.items():
            self.file.add_scalars(f"final/{name}", now, at, np.array([value]))
        self.file.add_summaries([hparams({}, {})[2]])
        self.file.flush()

    def save(self) -> None:
        """Flush."""
        if self._file is not None:
            self._file.flush()

    def finalize(self, status: str) -> None:
        """Flush; the file stays open for the final metrics."""
        self.save()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
