"""The stopwatch, on a time of our own."""

from __future__ import annotations

import pytest

from descent.engine import clock as module
from descent.engine.clock import Clock


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A time that passes when the test says so: now[0]."""
    present = [100.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: present[0])
    return present


def test_only_time_while_it_runs_counts(now):
    clock = Clock()
    now[0] += 5
    clock.start()
    now[0] += 2
    assert clock.seconds == 2
    clock.stop()
    now[0] += 10
    assert clock.seconds == 2
    clock.start()
    now[0] += 1
    assert clock.seconds == 3


def test_starting_and_stopping_twice_changes_nothing(now):
    clock = Clock()
    clock.stop()
    clock.start()
    now[0] += 2
    clock.start()
    now[0] += 2
    clock.stop()
    clock.stop()
    assert clock.seconds == 4


def test_a_pause_leaves_the_clock_as_it_was_even_after_an_error(now):
    clock = Clock()
    with clock.paused():
        now[0] += 1
    now[0] += 1
    assert clock.seconds == 0  # it was standing still and still is
    clock.start()

    def fail():
        now[0] += 7
        raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"), clock.paused():
        fail()
    now[0] += 3
    assert clock.seconds == 3


def test_a_continued_run_goes_on_from_its_seconds(now):
    clock = Clock()
    clock.seconds = 50.0
    now[0] += 9
    assert clock.seconds == 50
    clock.start()
    now[0] += 1
    assert clock.seconds == 51
    clock.seconds = 7.0
    now[0] += 1
    assert clock.seconds == 8
