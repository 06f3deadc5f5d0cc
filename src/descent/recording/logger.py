"""Lightning's Logger interface over the event file of a run."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
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
    def file(self) -> EventFile:
        """The event file, opened at its first use."""
        if self._file is None:
            self.open()
        assert self._file is not None
        return self._file

    def open(self, position: int = 0, finals: Sequence[str] = ()) -> None:
        """Open the file; a new one gets the chart layout and the hyperparameters.

        Args:
            position: bytes to keep of a file that is there.
            finals: the metrics that `log_final` will write, for the HParams tab.
        """
        self._file = EventFile(self.dir, position)
        if position == 0:
            from torch.utils.tensorboard.summary import custom_scalars, hparams

            metrics = {f"final/{name}": 0.0 for name in finals}
            experiment, start, _ = hparams(self._hyperparams, metrics)
            self._file.add_summaries([custom_scalars(LAYOUT), experiment, start])

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

    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        """Keep the options, numbers, booleans and texts, for the HParams tab of a new file."""
        self._hyperparams = dict(params)

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
