"""What a run leaves behind, as an outside reader finds it."""

from __future__ import annotations

import importlib
import json
import logging
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from descent.callbacks.full_loss import FullLoss
from descent.callbacks.recorder import Recorder
from descent.recording.axes import stride
from descent.runs import Run

# 442 patients, 354 of them train: 18 steps an epoch, the last of 14 rows
GIVEN = (
    "data=diabetes", "model=linear", "optimizer=sgd", "optimizer.lr=0.02", "stop.epochs=4",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(request, tmp_path_factory) -> Run:
    """A finished run with all there is to record, shared by the tests that only read it."""
    from descent.training import train

    make_job = request.getfixturevalue("make_module_job")
    job = make_job(
        *GIVEN, "picture=false", "scheduler=inverse_time", "callbacks.recorder.grad_norm_every=5",
        "callbacks.full_loss.every_n_steps=7",
    )  # fmt: skip
    train(job)
    return job.run


@pytest.fixture(scope="module")
def make_module_job(tmp_path_factory):
    """The fixture `make_job`, for a whole module."""
    from conftest import make_job

    yield from make_job.__wrapped__(tmp_path_factory.mktemp("shared"))
