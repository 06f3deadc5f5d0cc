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
from typing import Any

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
RUNS, SEEDS = 64, 8
LOOK = 0.01  # seconds between two looks at the directory


def jobs() -> list[Composed]:
    """Return jobs of eight seeds and eight learning rates."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        base = plain(compose("train", overrides=list(GIVEN)))
    made = []
    for number in range(RUNS):
        seed, lr = number % SEEDS, 0.005 * 2 ** (number // SEEDS)
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


def saved(sweep: Path) -> dict[Path, int]:
    """Return when each checkpoint to go on from was written."""
    return {path: path.stat().st_mtime_ns for path in sweep.glob("*/checkpoints/last.ckpt")}


def wait_for_a_checkpoint(child: int, sweep: Path, before: dict[Path, int]) -> None:
    """Return when an attempt has written its first checkpoint, or has ended."""
    while saved(sweep) == before:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return
        time.sleep(LOOK)


def moment(sweep: Path) -> dict[str, Any]:
    """Return where the runs stood when they were killed."""
    results = [json.loads(path.read_text())["status"] for path in sweep.glob("*/result.json")]
    steps = [torch.load(p, weights_only=True)["global_step"] for p in saved(sweep)]
    return {"step": max(steps, default=0), "saved": len(steps), "finished": results.count("ok")}


def main(directory: Path, moments: int) -> None:
    """Train once as a whole, and in other directories with kills, until there were so many."""
    torch.set_num_threads(1)  # a pool of threads does not live on in a fork
    composed, chance = jobs(), random.Random(0)
    whole = directory / "whole"
    whole.mkdir()
    child = begun(whole, composed)
    wait_for_a_checkpoint(child, whole, {})
    first = time.monotonic()
    _, status = os.waitpid(child, 0)
    trains, codes = time.monotonic() - first, [status]
    sweeps: list[Path] = []
    kills: list[dict[str, Any]] = []
    finished = True
    while len(kills) < moments or not finished:
        if finished:
            sweeps.append(directory / f"killed{len(sweeps)}")
            sweeps[-1].mkdir()
        before = saved(sweeps[-1])
        child = begun(sweeps[-1], composed)
        if len(kills) < moments:
            if not before or chance.random() < 0.8:  # the others are killed while they begin
                wait_for_a_checkpoint(child, sweeps[-1], before)
            time.sleep(chance.uniform(0.0, 0.4 * trains))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        finished = not os.WIFSIGNALED(status)
        if finished:
            codes.append(status)
        else:
            kills.append(moment(sweeps[-1]))
    told = {"kills": kills, "codes": codes, "sweeps": [str(sweep) for sweep in sweeps]}
    print(json.dumps(told | {"seconds": trains}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
