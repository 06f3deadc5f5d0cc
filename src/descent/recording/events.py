"""A run's event file as TensorBoard shows it: series on their axes, charts, hyperparameters."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from descent.recording.axes import LAYOUT, Series
from descent.recording.eventfile import EventFile, Scalars


class EventLog:
    """An open event file.

    Args:
        directory: of the run.
        position: bytes to keep of a file that is there; a new one gets the chart layout and the
            hyperparameters.
        options: numbers, booleans and texts for the HParams tab.
        finals: the metrics that `add_finals` will write.
        known: series that other files had.
    """

    def __init__(
        self,
        directory: Path,
        position: int = 0,
        options: Mapping[str, Any] | None = None,
        finals: Sequence[str] = (),
        known: dict[Any, Scalars] | None = None,
    ) -> None:
        self._file = EventFile(directory, position, known)
        if position == 0:
            from torch.utils.tensorboard.summary import hparams

            metrics = {f"final/{name}": 0.0 for name in finals}
            experiment, start, _ = hparams(dict(options or {}), metrics)
            self._file.add_summaries([_layout(), experiment, start])

    @property
    def position(self) -> int:
        """Bytes written."""
        return self._file.position

    def add(self, series: Series) -> None:
        """Append a series on each of its axes."""
        for axis, x in series.x.items():
            self._file.add_scalars(f"{axis}/{series.name}", series.times, x, series.values)

    def add_records(self, records: bytes) -> None:
        """Append what is encoded already."""
        self._file.add_records(records)

    def add_finals(
        self, metrics: Mapping[str, float], step: int, good: bool, now: float | None = None
    ) -> None:
        """Write the final metrics where the HParams tab looks for them, and end its session.

        Args:
            metrics: by name.
            step: at which they were measured.
            good: whether the run ended well; the tab then calls it a success, else a failure.
            now: wall time; None for that of the clock.
        """
        times, at = np.array([now or time.time()]), np.array([step])
        for name, value in metrics.items():
            self._file.add_scalars(f"final/{name}", times, at, np.array([value]))
        self._file.add_summaries([session_end(good)])
        self._file.flush()

    def flush(self) -> None:
        """Hand everything to the operating system."""
        self._file.flush()

    def sync(self) -> None:
        """Put everything on the disk."""
        self._file.sync()

    def close(self) -> None:
        """Sync and close."""
        self._file.close()


def add_to_all(logs: Sequence[EventLog], series: Series) -> None:
    """Append a series [a, n] to the files of as many runs, on each of its axes."""
    if not series.values.size:
        return
    for axis, x in series.x.items():
        records = Scalars(f"{axis}/{series.name}", series.times, x).records(series.values)
        for log, own in zip(logs, records, strict=True):
            log.add_records(own.tobytes())


@cache
def _layout() -> Any:
    from torch.utils.tensorboard.summary import custom_scalars

    return custom_scalars(LAYOUT)


@cache
def session_end(good: bool) -> Any:
    """Return the summary that ends a run's session in the HParams tab."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    status = api_pb2.STATUS_SUCCESS if good else api_pb2.STATUS_FAILURE
    end = plugin_data_pb2.SessionEndInfo(status=status)
    about = metadata.create_summary_metadata(
        plugin_data_pb2.HParamsPluginData(session_end_info=end)
    )
    tag, nothing = metadata.SESSION_END_INFO_TAG, metadata.NULL_TENSOR
    return Summary(value=[Summary.Value(tag=tag, metadata=about, tensor=nothing)])
