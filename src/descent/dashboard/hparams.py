"""What TensorBoard's HParams tab is told of the runs that are shown.

A run records all its options, and TensorBoard takes its columns from whichever run it reads
first: thirty of them, of which two or three differ, and none for an option that only other runs
have. So each run shown gets a second event file, which is read before its own: TensorBoard keeps
the first that it finds of each of these records. Its columns are the same for all runs, and it
says which did not end well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from descent.analysis.trials import number_in
from descent.files.atomic import write
from descent.records.endings import Status
from descent.records.eventfile import framed, session_end

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary

FIRST = "events.out.tfevents.0"  # sorts before those of runs, which have a time in their names
FIRST_RECORDS = 5  # of an event file, among which the options are

Options = Mapping[str, float | str]


def write_hparams(
    directory: Path,
    rank: int,
    experiment: Summary,
    options: Options,
    status: str,
    best: tuple[str, float] | None,
) -> None:
    """Write the event file of a run that TensorBoard reads before the run's own.

    Args:
        directory: that TensorBoard takes for the run.
        rank: by which Custom Scalars lists the runs: it sorts them by their first wall time.
        experiment: of `experiment`, the same for all runs.
        options: the run's row in the table.
        status: of the run.
        best: a metric's tag and its best value, which the run's own file does not hold.
    """
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    summaries = [experiment, _start(options, directory.name), *_end(status)]
    if best is not None:
        summaries.append(Summary(value=[Summary.Value(tag=best[0], simple_value=best[1])]))
    events = [Event(wall_time=rank, file_version="brain.Event:2")]
    events += [Event(wall_time=rank, summary=summary) for summary in summaries]
    texts = [np.frombuffer(event.SerializeToString(), dtype=np.uint8) for event in events]
    write(directory / FIRST, b"".join(framed(text.reshape(1, -1)) for text in texts))


def experiment(table: Sequence[Options], metrics: Sequence[str]) -> Summary:
    """Return the columns of the HParams tab.

    Args:
        table: the options of each run; an option is a number if it is one in every run.
        metrics: tags of scalars, whose last values are shown.
    """
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    names = dict.fromkeys(name for row in table for name in row)
    columns = [_column(name, [row[name] for row in table if name in row]) for name in names]
    shown = [api_pb2.MetricInfo(name=api_pb2.MetricName(tag=metric)) for metric in metrics]
    content = api_pb2.Experiment(hparam_infos=columns, metric_infos=shown)
    return _summary(metadata.EXPERIMENT_TAG, plugin_data_pb2.HParamsPluginData(experiment=content))


def with_numbers(table: Sequence[Mapping[str, str]]) -> list[Options]:
    """Return options as numbers where every run that has the option has a number."""
    names = dict.fromkeys(name for row in table for name in row)
    numeric = {n for n in names if all(number_in(row[n]) is not None for row in table if n in row)}
    return [{n: float(v) if n in numeric else v for n, v in row.items()} for row in table]


def _column(name: str, values: Sequence[float | str]) -> Any:
    from tensorboard.plugins.hparams import api_pb2

    info = api_pb2.HParamInfo(name=name, differs=len(set(values)) > 1)
    if all(isinstance(value, float) for value in values):
        info.type = api_pb2.DATA_TYPE_FLOAT64
        info.domain_interval.min_value, info.domain_interval.max_value = min(values), max(values)
    else:
        info.type = api_pb2.DATA_TYPE_STRING
        for value in sorted(set(map(str, values))):
            info.domain_discrete.values.add().string_value = value
    return info


def _start(options: Options, name: str) -> Summary:
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    content = plugin_data_pb2.SessionStartInfo(group_name=name)
    for key, value in options.items():
        if isinstance(value, float):
            content.hparams[key].number_value = value
        else:
            content.hparams[key].string_value = value
    return _summary(
        metadata.SESSION_START_INFO_TAG,
        plugin_data_pb2.HParamsPluginData(session_start_info=content),
    )


def _end(status: str) -> list[Summary]:
    """Return the ending, as a list: a run that still trains has none."""
    return [] if status in (Status.RUNNING, "unknown") else [session_end(status == Status.OK)]


def _summary(tag: str, content: Any) -> Summary:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import metadata

    about = metadata.create_summary_metadata(content)
    return Summary(value=[Summary.Value(tag=tag, metadata=about, tensor=metadata.NULL_TENSOR)])


def recorded_options(file: Path) -> dict[str, str]:
    """Return all options of a run as its event file holds them, as words; none if it has none."""
    from itertools import islice

    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.plugins.hparams import metadata

    for event in islice(EventFileLoader(str(file)).Load(), FIRST_RECORDS):
        for value in event.summary.value:
            if value.tag == metadata.SESSION_START_INFO_TAG:
                content = value.metadata.plugin_data.content
                start = metadata.parse_session_start_info_plugin_data(content)
                return {name: _word(v) for name, v in sorted(start.hparams.items())}
    return {}


def _word(value: Any) -> str:
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        return f"{value.number_value:.12g}"
    return str(value.bool_value).lower() if kind == "bool_value" else str(value.string_value)
