"""How many threads a run gets, and the words for its device."""

from __future__ import annotations

import pytest

from descent.config import machine
from descent.engine.device import WORK_PER_THREAD, choose_threads, describe_device


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch):
    """Set how many cores this process may use."""

    def pretend(count: int) -> None:
        monkeypatch.setattr(
            machine.os, "sched_getaffinity", lambda _: set(range(count)), raising=False
        )

    return pretend


def test_a_number_is_taken_as_it_is(cores):
    cores(2)
    assert choose_threads(7, 10, 10) == (7, "trainer.threads")


def test_a_small_step_gets_one_thread(cores):
    cores(64)
    # the default MLP on digits: 26,122 parameters x 64 rows = 1.7 million multiply-adds
    assert choose_threads("auto", 26_122, 64) == (1, "more would slow so small a step down")


@pytest.mark.parametrize(("shares", "threads"), [(1, 1), (2, 2), (3, 3), (4, 4), (1000, 4)])
def test_threads_grow_with_the_work_up_to_the_cores(shares, threads, cores):
    cores(4)
    assert choose_threads("auto", WORK_PER_THREAD // 10, 10 * shares)[0] == threads


def test_the_reason_tells_the_work(cores):
    cores(8)
    work = 3 * WORK_PER_THREAD // 1_000_000
    assert choose_threads("auto", 3 * WORK_PER_THREAD // 50, 50) == (
        3,
        f"a step of {work} million multiply-adds is worth sharing",
    )


def test_one_core_gives_one_thread_whatever_the_work(cores):
    cores(1)
    assert choose_threads("auto", 10**9, 1000)[0] == 1


def test_systems_without_affinity_count_their_cores(monkeypatch):
    monkeypatch.delattr(machine.os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 3)
    assert choose_threads("auto", 10**9, 1000)[0] == 3
    monkeypatch.setattr(machine.os, "cpu_count", lambda: None)
    assert choose_threads("auto", 10**9, 1000)[0] == 1


def test_the_device_is_described_with_its_reason():
    from lightning.pytorch import Trainer

    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(accelerator="cpu", devices=1, **quiet)
    assert describe_device(trainer, "cpu") == "cpu, as trainer.accelerator=cpu says"
    assert describe_device(trainer, "auto") == "cpu, no GPU found"
