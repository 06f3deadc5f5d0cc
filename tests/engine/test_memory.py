"""Memory while a stack trains: what hundreds of epochs leave behind."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from descent import training
from descent.engine.observer import Observer
from descent.job import Job
from descent.records.run import Run

EPOCHS, AFTER = 500, 200
STATM = Path("/proc/self/statm")


class Resident(Observer):
    """Notes the resident memory after each epoch, in MB."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def epoch(self, learner: Any, columns: Any) -> None:
        self.seen.append(int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6)


@pytest.mark.slow
@pytest.mark.skipif(not STATM.exists(), reason="tells resident memory by Linux's own files")
def test_memory_does_not_grow_with_the_epochs(
    make_job: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resident = Resident()
    whole = training.assemble_all
    monkeypatch.setattr(training, "assemble_all", lambda jobs, more: whole(jobs, [*more, resident]))
    typed = ("model=linear", "data=diabetes", f"stop.epochs={EPOCHS}", "picture=false")
    job = make_job(*typed, "callbacks.path.points=100")
    jobs = [
        Job({**job.config, "seed": seed}, replace(job.prepared), Run(tmp_path / f"{seed}"),
            one_of_many=True)
        for seed in range(16)
    ]  # fmt: skip
    training.train_together(jobs, lambda steps: None, lambda number, result: None)
    assert len(resident.seen) == EPOCHS
    # by the slope, since caches of the allocator come and go; it was 0.2 MB an epoch
    slope, _ = np.polyfit(np.arange(AFTER, EPOCHS), resident.seen[AFTER:], 1)
    assert slope < 0.02
