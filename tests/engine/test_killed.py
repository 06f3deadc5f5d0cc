"""A sweep killed in the midst of its training goes on bit for bit: a real process, SIGKILL."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

TRAIN = Path(__file__).parents[2] / "src" / "train.py"
GIVEN = (
    "data=wine", "model.hidden=[16]", "model.dropout=0.3", "scheduler=cosine", "stop.epochs=30",
    "callbacks=early_stopping", "callbacks.early_stopping.patience=12", "optimizer.lr=0.01,0.05",
    "seed=range(0,4)", "callbacks.checkpoint.every_seconds=0", "callbacks.path.points=40",
    "report=false", "hydra.launcher.workers=1",
)  # fmt: skip
JOBS = 8
OF_TIME = ("seconds", "positions")


def command(*typed: str) -> list[str]:
    return [sys.executable, str(TRAIN), "-m", *GIVEN, *typed]


def kill_after_its_first_checkpoint(sweep: Path, seconds: float) -> None:
    """Begin the sweep and kill it, and its workers, so long after its first checkpoint."""
    process = subprocess.Popen(
        command(f"hydra.sweep.dir={sweep}"), start_new_session=True, stdout=subprocess.DEVNULL
    )
    while not list(sweep.glob("*/checkpoints/last.ckpt")) and process.poll() is None:
        time.sleep(0.01)
    time.sleep(seconds)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def hold_equal(a: Any, b: Any, where: str) -> None:
    if where.rsplit(".", 1)[-1] in OF_TIME:
        return
    if isinstance(a, dict):
        assert list(a) == list(b), where
        for key in a:
            hold_equal(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for x, y in zip(a, b, strict=True):
            hold_equal(x, y, where)
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    else:
        assert a == b or (a != a and b != b), where


def points(path: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(path), size_guidance={"scalars": 0}).Reload()
    tags = [tag for tag in events.Tags()["scalars"] if "seconds" not in tag]
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in tags}


@pytest.mark.slow
def test_a_killed_stack_goes_on_bitwise(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    subprocess.run(command(f"hydra.sweep.dir={whole}"), check=True, capture_output=True)
    moments = random.Random(0)
    for attempt in range(2):
        sweep = tmp_path / f"killed{attempt}"
        kill_after_its_first_checkpoint(sweep, moments.uniform(0.0, 0.6))
        done = subprocess.run(
            command(f"sweep_dir={sweep}"), check=True, capture_output=True, text=True
        )
        assert "go on from their checkpoints" in done.stdout or "finished already" in done.stdout
        for job in map(str, range(JOBS)):
            one, other = whole / job, sweep / job
            for name in ("last", "best"):
                states = [
                    torch.load(path / "checkpoints" / f"{name}.ckpt", weights_only=True)
                    for path in (one, other)
                ]
                hold_equal(*states, f"{job}.{name}")
            for name in ("steps.csv", "epochs.csv"):
                a, b = (pl.read_csv(p / name, infer_schema_length=None) for p in (one, other))
                assert a.drop("seconds").equals(b.drop("seconds")), (job, name)
            assert points(one) == points(other)
            results = [json.loads((path / "result.json").read_text()) for path in (one, other)]
            for key in ("status", "reason", "step", "metrics", "best"):
                hold_equal(results[0][key], results[1][key], f"{job}.{key}")
