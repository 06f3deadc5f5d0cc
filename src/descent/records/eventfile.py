"""TensorBoard's event file: a run's series, charts and options, with scalars encoded in bulk.

TensorBoard's own writer takes 23-45 us a scalar, most of it a checksum in pure Python; a small
model's step takes 60 us. All scalars of one tag have the same length here, so a block of them is
one byte matrix, and its checksums are table look-ups XORed along the rows: well under 1 us each.

Format: a record is length (uint64), masked CRC-32C of the length, data, masked CRC-32C of the
data; the data are an `Event` protobuf. Source: tensorflow/core/lib/io/record_writer.h and
tensorflow/core/util/event.proto.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from descent.files.atomic import Growing
from descent.records.tables import LAYOUT, Series, series_tag
from descent.shapes import Float, Int, Shaped, UInt

POLYNOMIAL = 0x82F63B78  # CRC-32C (Castagnoli), bits reversed
STEP_BYTES = 6  # a varint padded to 42 bits, so that all records of a tag have one length
MOST_STEPS = 2 ** (7 * STEP_BYTES) - 1


@cache
def _byte_table() -> UInt[np.ndarray, 256]:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(POLYNOMIAL), table >> 1)
    return table


@cache
def _position_tables(length: int) -> tuple[UInt[np.ndarray, "length 256"], int]:
    """Return what each byte value adds to the checksum at each position, and the start's share.

    A CRC is linear over XOR: the checksum of a message is the XOR of what its bytes would give
    alone, each followed by the zeros that take the place of the bytes after it.
    """
    table = _byte_table()
    rows = [table]
    for _ in range(length - 1):
        rows.append(table[rows[-1] & 0xFF] ^ (rows[-1] >> 8))
    start = np.uint32(0xFFFFFFFF)
    for _ in range(length):
        start = table[start & np.uint32(0xFF)] ^ (start >> np.uint32(8))
    return np.stack(rows[::-1]), int(start) ^ 0xFFFFFFFF


def masked_crc32c(data: Shaped[np.ndarray, "n length"]) -> UInt[np.ndarray, " n"]:
    """Return TensorFlow's masked CRC-32C of each row of bytes, uint32 [n]."""
    return _masked(_crc32c(data, data.shape[1], range(data.shape[1])))


def _crc32c(
    data: Shaped[np.ndarray, "n some"], length: int, at: Sequence[int], start: int | None = None
) -> UInt[np.ndarray, " n"]:
    """Return what bytes at some positions of rows of a length add to the checksum.

    Args:
        data: the bytes.
        length: of a whole row.
        at: their positions.
        start: the checksum's beginning; None for its true one, 0 where another part has it.
    """
    tables, whole = _position_tables(length)
    parts = tables[at, data]
    found: UInt[np.ndarray, " n"] = np.bitwise_xor.reduce(parts, axis=1)
    return found ^ np.uint32(whole if start is None else start)


def _masked(crc: UInt[np.ndarray, " n"]) -> UInt[np.ndarray, " n"]:
    return ((crc >> 15) | (crc << 17)) + np.uint32(0xA282EAD8)


def framed(data: Shaped[np.ndarray, "n length"]) -> bytes:
    """Return n records of the same length, ready to append to a file."""
    count, length = data.shape
    out = np.empty((count, length + 16), dtype=np.uint8)
    out[:, :12] = _head(length)
    out[:, 12:-4] = data
    out[:, -4:] = masked_crc32c(data).astype("<u4").reshape(-1, 1).view(np.uint8)
    return out.tobytes()


@cache
def _head(length: int) -> UInt[np.ndarray, 12]:
    """Return a record's first twelve bytes: its length and the length's checksum."""
    size = np.array([[length]], dtype="<u8").view(np.uint8)
    checksum = masked_crc32c(size).astype("<u4").reshape(1, 1).view(np.uint8)
    return np.concatenate([size, checksum], axis=1)[0]


class Scalars:
    """The records of a scalar series but for its values: those of many runs share the rest.

    Args:
        tag: the series' name.
        times: wall times in seconds since the epoch.
        steps: x-values, whole numbers from 0 up to 2**42 - 1.
    """

    def __init__(
        self, tag: str, times: Float[np.ndarray, " n"], steps: Int[np.ndarray, " n"]
    ) -> None:
        self._times, self._steps = times, steps
        value = _field(1, tag.encode()) + b"\x15" + bytes(4)  # Value: tag, simple_value
        summary = _field(5, _field(1, value))  # Event.summary holding one Summary.value
        event = b"\x09" + bytes(8) + b"\x10" + bytes(STEP_BYTES) + summary
        start, length = np.frombuffer(event, dtype=np.uint8), len(event)
        self._records = np.empty((len(steps), length + 16), dtype=np.uint8)
        self._records[:, :12] = _head(length)
        data = self._records[:, 12:-4]
        data[:] = start
        data[:, 1:9] = np.asarray(times, dtype="<f8").reshape(-1, 1).view(np.uint8)
        shifts = 7 * np.arange(STEP_BYTES)
        digits = (np.asarray(steps, dtype=np.int64).reshape(-1, 1) >> shifts) & 0x7F
        digits[:, :-1] |= 0x80
        data[:, 10 : 10 + STEP_BYTES] = digits
        # bytes that are the same in all records are looked up once, and those of value 0 add 0
        same, varying = [0, 9, *range(10 + STEP_BYTES, length)], [*range(1, 9), *range(10, 16)]
        first = _crc32c(start[np.newaxis, same], length, same)
        self._crc = first ^ _crc32c(data[:, varying], length, varying, start=0)
        self._value_at = list(range(length - 4, length))

    def fit(self, times: Float[np.ndarray, " n"], steps: Int[np.ndarray, " n"]) -> bool:
        """Whether these are the series' times and steps."""
        return np.array_equal(times, self._times) and np.array_equal(steps, self._steps)

    def records(self, values: Shaped[np.ndarray, "a n"]) -> UInt[np.ndarray, "a bytes"]:
        """Return each run's records with their values.

        They are kept as float32, as TensorBoard does.
        """
        runs, (count, size) = len(values), self._records.shape
        records = np.tile(self._records, (runs, 1))
        with np.errstate(over="ignore"):  # beyond float32 is infinite to TensorBoard
            data = np.ascontiguousarray(values, dtype="<f4").reshape(-1, 1).view(np.uint8)
        crc = np.tile(self._crc, runs) ^ _crc32c(data, size - 16, self._value_at, start=0)
        records[:, -8:-4] = data
        records[:, -4:] = _masked(crc).astype("<u4").reshape(-1, 1).view(np.uint8)
        return records.reshape(runs, count * size)


def _field(number: int, payload: bytes) -> bytes:
    """Return a length-delimited protobuf field."""
    size, head = len(payload), bytes([number << 3 | 2])
    while size > 0x7F:
        head += bytes([size & 0x7F | 0x80])
        size >>= 7
    return head + bytes([size]) + payload


def event_files(directory: Path) -> list[Path]:
    """Return the event files of a run, of which it has one."""
    return sorted(directory.glob("events.out.tfevents.*"))


class EventFile:
    """One run's event file, appended to.

    Args:
        directory: where it lies; an event file there already is continued.
        position: bytes to keep of it; what lies behind is cut off.
        known: series that other files had; runs of a stack share their times and steps.
    """

    def __init__(
        self, directory: Path, position: int = 0, known: dict[Any, Scalars] | None = None
    ) -> None:
        self._known = {} if known is None else known
        found = event_files(directory)
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}"
        self.path = found[0] if found else directory / name
        self._file = Growing(self.path, position)
        if position == 0:
            from tensorboard.compat.proto.event_pb2 import Event

            self._write_event(Event(wall_time=time.time(), file_version="brain.Event:2"))

    @property
    def position(self) -> int:
        """Bytes written."""
        return self._file.position

    def add_scalars(
        self,
        tag: str,
        times: Float[np.ndarray, " n"],
        steps: Int[np.ndarray, " n"],
        values: Shaped[np.ndarray, " n"],
    ) -> None:
        """Append a series of scalars."""
        if not len(steps):
            return
        scalars = self._known.get((tag, len(steps)))
        if scalars is None or not scalars.fit(times, steps):
            scalars = self._known[tag, len(steps)] = Scalars(tag, times, steps)
        self.add_records(scalars.records(values[np.newaxis])[0].tobytes())

    def add_records(self, records: bytes) -> None:
        """Append what is encoded already."""
        self._file.write(records)

    def add_summaries(self, summaries: Sequence[object]) -> None:
        """Append summary protobufs, such as hyperparameters or a chart layout."""
        from tensorboard.compat.proto.event_pb2 import Event

        for summary in summaries:
            self._write_event(Event(wall_time=time.time(), summary=summary))

    def _write_event(self, event: object) -> None:
        data = np.frombuffer(event.SerializeToString(), dtype=np.uint8)  # type: ignore[attr-defined]
        self._file.write(framed(data.reshape(1, -1)))

    def flush(self) -> None:
        """Hand everything to the operating system."""
        self._file.flush()

    def sync(self) -> None:
        """Put everything on the disk."""
        self._file.sync()

    def close(self) -> None:
        """Sync and close."""
        self._file.close()


class EventLog(EventFile):
    """An event file with a run's charts, options and series.

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
        super().__init__(directory, position, known)
        if position == 0:
            from torch.utils.tensorboard.summary import hparams

            metrics = {f"final/{name}": 0.0 for name in finals}
            experiment, start, _ = hparams(dict(options or {}), metrics)
            self.add_summaries([_layout(), experiment, start])

    def add(self, series: Series) -> None:
        """Append a series on each of its axes."""
        for axis, x in series.x.items():
            self.add_scalars(series_tag(axis, series.name), series.times, x, series.values)

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
            self.add_scalars(f"final/{name}", times, at, np.array([value]))
        self.add_summaries([session_end(good)])
        self.flush()


def add_to_all(logs: Sequence[EventLog], series: Series) -> None:
    """Append a series [a, n] to the files of as many runs, on each of its axes."""
    if not series.values.size:
        return
    for axis, x in series.x.items():
        records = Scalars(series_tag(axis, series.name), series.times, x).records(series.values)
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
