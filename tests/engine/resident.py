"""A stack whose memory is looked at after each epoch: `python resident.py DIRECTORY EPOCHS`."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir

import descent.cli  # noqa: F401 - registers the resolvers
from descent.assembly import assemble_all
from descent.callbacks import recorder
from descent.config.check import plain
from descent.data.prepare import prepare
from descent.engine.observer import Observer
from descent.job import Job
from descent.records.run import Run
from descent.training import Finisher, _fit

CONF = Path(__file__).parents[2] / "conf"
STATM = Path("/proc/self/statm")
RUNS = 16


class Resident(Observer):
    """Notes the resident memory after each epoch, in MB."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def epoch(self, learner: Any, columns: Any) -> None:
        self.seen.append(int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6)


def main(directory: Path, epochs: int) -> None:
    """Train and print what was seen."""
    torch.set_num_threads(1)  # as in a worker
    recorder.FLUSH_BYTES = 20_000  # what waits to be written is soon as much as it ever is
    given = ["model=linear", "data=diabetes", f"stop.epochs={epochs}", "callbacks.path.points=100"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = plain(compose("train", overrides=given))
    prepared, resident = prepare(config["data"]), Resident()
    jobs = [
        Job({**config, "seed": seed}, replace(prepared), Run(directory / str(seed)),
            one_of_many=True)
        for seed in range(RUNS)
    ]  # fmt: skip
    learner, data, trainer = assemble_all(jobs, [resident])
    finisher = Finisher(jobs, learner, trainer, lambda number, result: None)
    finisher.begin()
    _fit(learner, data, trainer, None, finisher)
    print(json.dumps(resident.seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
