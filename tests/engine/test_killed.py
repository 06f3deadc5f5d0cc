"""A stack killed in the midst of its training goes on bit for bit: real processes, SIGKILL."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

HARNESS = Path(__file__).parent / "killing.py"
RUNS = 64
MOMENTS = 20
OF_TIME = ("seconds", "positions")


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


def hold_runs_equal(one: Path, other: Path) -> None:
    for name in ("last", "best"):
        states = [
            torch.load(path / "checkpoints" / f"{name}.ckpt", weights_only=True)
            for path in (one, other)
        ]
        hold_equal(*states, f"{other}.{name}")
    for name in ("steps.csv", "epochs.csv"):
        a, b = (pl.read_csv(p / name, infer_schema_length=None) for p in (one, other))
        assert a.drop("seconds").equals(b.drop("seconds")), (other, name)
    assert points(one) == points(other), other
    results = [json.loads((path / "result.json").read_text()) for path in (one, other)]
    for key in ("status", "reason", "step", "metrics", "best"):
        hold_equal(results[0][key], results[1][key], f"{other}.{key}")


@pytest.mark.slow
def test_a_stack_that_is_killed_at_twenty_moments_goes_on_bitwise(tmp_path: Path) -> None:
    """64 MLPs with dropout, early stopping, a cosine schedule and records within epochs."""
    done = subprocess.run(
        [sys.executable, str(HARNESS), str(tmp_path), str(MOMENTS)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert found["kills"] == MOMENTS
    assert set(found["codes"]) == {0}
    sweeps = [Path(sweep) for sweep in found["sweeps"]]
    told = "".join((sweep / "told.txt").read_text() for sweep in sweeps)
    assert "go on from their checkpoints" in told
    assert "one by one" not in told
    whole = tmp_path / "whole"
    ends = {json.loads((whole / str(i) / "result.json").read_text())["step"] for i in range(RUNS)}
    assert len(ends) > 1  # some stopped early
    for sweep in sweeps:
        for job in map(str, range(RUNS)):
            hold_runs_equal(whole / job, sweep / job)
