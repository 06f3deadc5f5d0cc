"""The event file, read back and checked by TensorBoard itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c as theirs

from descent.records.eventfile import MOST_STEPS, EventFile, masked_crc32c
from descent.records.logger import EventFileLogger

STEPS = (0, 1, 127, 128, 2**31 + 5, 2**41, MOST_STEPS)
VALUES = (0.0, -0.0, 0.1, -1e-45, 3.4e38, float("inf"), float("nan"))


def scalars(directory: Path, tag: str) -> list[tuple[float, int, float]]:
    """Return (wall time, step, value) of a series as TensorBoard reads it."""
    reader = EventAccumulator(str(directory), size_guidance={"scalars": 0})
    reader.Reload()
    return [(e.wall_time, e.step, e.value) for e in reader.Scalars(tag)]


def series(n: int, start: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return 1e9 + np.arange(n) / 3, np.arange(n), start + np.arange(n) / 7


@given(st.integers(1, 400), st.integers(1, 5), st.randoms(use_true_random=False))
def test_checksums_equal_tensorboards(length, rows, random):
    data = np.frombuffer(random.randbytes(rows * length), dtype=np.uint8).reshape(rows, length)
    assert masked_crc32c(data).tolist() == [theirs(row.tobytes()) for row in data]


@pytest.mark.parametrize("length", [1, 2, 11, 12, 13, 14, 127, 128, 300])
def test_steps_values_and_times_come_back_exactly(length, tmp_path):
    # tag lengths around 12 and 128 move the nested protobuf lengths from one byte to two
    tag, times = "t" * length, 1.7e9 + np.arange(len(STEPS)) / 3
    file = EventFile(tmp_path)
    file.add_scalars(tag, times, np.array(STEPS), np.array(VALUES))
    file.close()
    got = scalars(tmp_path, tag)
    assert [step for _, step, _ in got] == list(STEPS)
    assert [time for time, _, _ in got] == times.tolist()
    wanted = np.array(VALUES).astype(np.float32).astype(float)
    np.testing.assert_array_equal([value for _, _, value in got], wanted)


@pytest.mark.parametrize("length", range(60, 131, 7))
def test_every_length_of_tag_can_be_read(length, tmp_path):
    file = EventFile(tmp_path)
    file.add_scalars("é" * (length // 2), *series(2))  # two bytes a letter
    file.close()
    assert len(scalars(tmp_path, "é" * (length // 2))) == 2


def test_an_empty_series_writes_nothing(tmp_path):
    file = EventFile(tmp_path)
    before = file.position
    file.add_scalars("loss", *series(0))
    assert file.position == before
    file.close()


def test_series_and_summaries_mix_in_one_file(tmp_path):
    from torch.utils.tensorboard.summary import scalar

    file = EventFile(tmp_path)
    file.add_scalars("first", *series(3))
    file.add_summaries([scalar("second", 0.5)])
    file.add_scalars("first", *series(3, start=10.0))
    file.close()
    assert [v for _, _, v in scalars(tmp_path, "first")][3:] == pytest.approx([10, 71 / 7, 72 / 7])
    assert [v for _, _, v in scalars(tmp_path, "second")] == [0.5]


def test_a_file_continued_at_a_position_loses_what_lies_behind(tmp_path):
    file = EventFile(tmp_path)
    file.add_scalars("loss", *series(3))
    kept = file.position
    file.add_scalars("loss", *series(5, start=100.0))
    file.close()
    again = EventFile(tmp_path, kept)
    assert again.path == file.path
    assert again.position == kept
    again.add_scalars("loss", *series(2, start=-1.0))
    again.close()
    assert [v for _, _, v in scalars(tmp_path, "loss")] == pytest.approx(
        [0, 1 / 7, 2 / 7, -1, -6 / 7]
    )
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_begun_anew_keeps_nothing_of_the_old(tmp_path):
    for start in (0.0, 50.0):
        file = EventFile(tmp_path)
        file.add_scalars("loss", *series(1, start=start))
        file.close()
    assert [v for _, _, v in scalars(tmp_path, "loss")] == [50]


def test_what_was_flushed_can_be_read_while_the_run_goes_on(tmp_path):
    file = EventFile(tmp_path)
    file.add_scalars("loss", *series(4))
    file.flush()
    assert len(scalars(tmp_path, "loss")) == 4
    file.close()


def test_what_comes_after_the_end_is_appended_to_what_was_written(tmp_path):
    logger = EventFileLogger(tmp_path)
    logger.log_metrics({"a": 1.0}, 1)
    logger.close()
    logger.log_metrics({"a": 2.0}, 2)  # as where the end of a run could not be written
    logger.close()
    reader = EventAccumulator(str(tmp_path), size_guidance={"scalars": 0}).Reload()
    (tag,) = reader.Tags()["scalars"]
    assert [(e.step, e.value) for e in reader.Scalars(tag)] == [(1, 1.0), (2, 2.0)]


def test_a_logger_that_is_opened_late_keeps_what_is_in_its_file(tmp_path):
    logger = EventFileLogger(tmp_path)
    logger.log_metrics({"loss": 1.0}, step=1)
    logger.close()
    late = EventFileLogger(tmp_path)  # of a run that fails before its recorder begins
    late.log_metrics({"loss": 2.0}, step=2)
    late.close()
    (events,) = tmp_path.glob("events.*")
    read = EventAccumulator(str(events)).Reload()
    (tag,) = read.Tags()["scalars"]
    assert [event.step for event in read.Scalars(tag)] == [1, 2]
