"""A sweep that is killed again and again: `python killing.py DIRECTORY MOMENTS` prints what it did.

Torch is imported once; each attempt is a process forked from this one, and is ended by SIGKILL.
"""

from __future__ import annotations

import copy
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir

import descent.cli
import descent.sweep.preload  # noqa: F401 - what attempts would import
from descent.config.check import plain
from descent.sweep.composing import Composed
from descent.sweep.launching import LaunchOptions, launch

CONF = Path(__file__).parents[2] / "conf"
GIVEN = (
    "data=wine", "model.hidden=[8]", "model.dropout=0.3", "scheduler=cosine", "stop.epochs=16",
    "callbacks=early_stopping", "callbacks.early_stopping.patience=3", "optimizer=momentum",
    "callbacks.checkpoint.every_seconds=0", "callbacks.path.points=40",
    "callbacks.full_loss.every_n_steps=4",
)  # fmt: skip
RUNS = 64


def jobs() -> list[Composed]:
    """Return jobs of eight seeds and eight learning rates."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        base = plain(compose("train", overrides=list(GIVEN)))
    made = []
    for number in range(RUNS):
        seed, lr = number % 8, 0.005 * 2 ** (number // 8)
        config = copy.deepcopy(base)
        config["seed"], config["optimizer"]["lr"] = seed, lr
        typed = (*GIVEN, f"seed={seed}", f"optimizer.lr={lr}")
        made.append(Composed(number, typed, config, Path(str(number))))
    return made


def begun(sweep: Path, composed: list[Composed]) -> int:
    """Train the jobs, or go on with them, in a process of its own; return its number."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        with (sweep / "told.txt").open("a") as told:
            os.dup2(told.fileno(), 1)
            os.dup2(told.fileno(), 2)
            ended = launch(composed, sweep, LaunchOptions())
            code = 0 if {outcome.status for outcome in ended} == {"ok"} else 2
    finally:
        sys.stdout.flush()
        os._exit(code)


def main(directory: Path, moments: int) -> None:
    """Train once as a whole, and in other directories with kills, until there were so many."""
    torch.set_num_threads(1)  # a pool of threads does not live on in a fork
    composed, chance = jobs(), random.Random(0)
    whole = directory / "whole"
    whole.mkdir()
    start = time.monotonic()
    _, status = os.waitpid(begun(whole, composed), 0)
    took, codes, kills = time.monotonic() - start, [status], 0
    sweeps: list[Path] = []
    finished = True
    while kills < moments or not finished:
        if finished:
            sweeps.append(directory / f"killed{len(sweeps)}")
            sweeps[-1].mkdir()
        child = begun(sweeps[-1], composed)
        finished = kills == moments
        if not finished:
            time.sleep(chance.uniform(0.0, 0.4 * took))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status)
        kills, finished = kills + killed, not killed
        if not killed:
            codes.append(status)
    told = {"kills": kills, "codes": codes, "sweeps": [str(sweep) for sweep in sweeps]}
    print(json.dumps(told | {"seconds": took}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
