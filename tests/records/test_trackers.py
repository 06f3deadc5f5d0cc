"""Tracking services: each run of ours is one of theirs, read back by their own readers."""

from __future__ import annotations

import json
import os
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from descent.errors import UserError
from descent.records import trackers
from descent.records.tables import STEP_LOSS

ROOT = Path(__file__).parents[2]
SMALL = ("data=iris", "model=linear", "stop.epochs=2", "picture=false", "report=false")
SERVICES = ("wandb", "mlflow", "trackio")


@pytest.mark.parametrize(
    ("run", "store"),
    [
        ("outputs/runs/now", "outputs"),
        ("outputs/multiruns/now/3", "outputs"),
        ("mine/run", "mine"),
    ],
)
def test_what_services_keep_lies_beside_all_runs(
    run: str, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert trackers.store_of(Path(run)) == tmp_path / store


@pytest.mark.parametrize("service", SERVICES)
def test_a_package_that_is_missing_is_one_sentence(
    service: str, make_job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from descent.assembly import assemble

    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(UserError) as refused:
        assemble(make_job(*SMALL, f"logger={service}"))
    assert str(refused.value) == (
        f"logger={service} needs an extra: pip install -e '.[{service}]' -c constraints.txt"
    )


def train(where: Path, *words: str) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "src" / "train.py"), *words], cwd=where, text=True,
        env={**os.environ, "TRACKIO_DIR": str(where / "trackio"), "WANDB_MODE": "offline"},
        capture_output=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def log_records(data: bytes) -> Iterator[bytes]:
    """Yield the records of a log as LevelDB writes it, behind wandb's own 7 bytes.

    Blocks of 32 KiB; a record's parts each have a checksum (4), a length (2) and a type (1): whole,
    first, middle, last.
    """
    at, parts, block = 7, b"", 1 << 15
    while at + 7 <= len(data):
        if block - at % block < 7:
            at += block - at % block
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield parts
            parts = b""


def wandb_runs(where: Path) -> dict[str, list[float]]:
    """Return the step losses of each run, by its lr, of what lies there to be sent."""
    from wandb.proto import wandb_internal_pb2

    found: dict[str, list[float]] = {}
    for file in where.glob("outputs/wandb/offline-run-*/run-*.wandb"):
        losses: list[float] = []
        lr = ""
        for data in log_records(file.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            for item in record.history.item:
                name = item.key or ".".join(item.nested_key)
                if name == STEP_LOSS:
                    losses.append(json.loads(item.value_json))
            for update in (*record.config.update, *record.run.config.update):
                lr = json.loads(update.value_json) if update.key == "optimizer.lr" else lr
        found[str(lr)] = losses
    return found


def mlflow_runs(where: Path) -> dict[str, list[float]]:
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    from mlflow.tracking import MlflowClient

    client = MlflowClient((where / "outputs" / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("descent")
    return {
        run.data.params["optimizer.lr"]: [
            m.value for m in client.get_metric_history(run.info.run_id, STEP_LOSS)
        ]
        for run in client.search_runs([experiment.experiment_id])
    }


def trackio_runs(where: Path) -> dict[str, list[float]]:
    with sqlite3.connect(where / "trackio" / "descent.db") as base:
        configs = dict(base.execute("select run_name, config from configs"))
        rows = base.execute("select run_name, metrics from metrics order by step").fetchall()
    return {
        str(json.loads(config)["optimizer.lr"]): [
            figures[STEP_LOSS]
            for owner, text in rows
            if owner == run and STEP_LOSS in (figures := json.loads(text))
        ]
        for run, config in configs.items()
    }


READERS = {"wandb": wandb_runs, "mlflow": mlflow_runs, "trackio": trackio_runs}


@pytest.mark.slow
def test_several_services_at_once_get_every_run_of_a_stack(tmp_path: Path) -> None:
    for service in SERVICES:
        pytest.importorskip(service, reason=f"make test-slow installs {service}")
    loggers = f"logger=[csv,tensorboard,{','.join(SERVICES)}]"
    train(tmp_path, "-m", *SMALL, loggers, "optimizer.lr=0.1,0.2")
    (sweep,) = (tmp_path / "outputs" / "multiruns").iterdir()
    ours = {
        lr: pl.read_csv(sweep / job / "steps.csv")["loss"].to_list()
        for job, lr in (("0", "0.1"), ("1", "0.2"))
    }
    for service, read in READERS.items():
        theirs = read(tmp_path)
        assert set(theirs) == set(ours), service
        for lr, losses in theirs.items():
            assert losses == pytest.approx(ours[lr], rel=1e-6), (service, lr)
    assert all((sweep / job / "csv" / "metrics.csv").is_file() for job in ("0", "1"))
    # a run that goes on goes on there too
    one = ("hydra.run.dir=outputs/runs/one", "logger=[mlflow,trackio]", "optimizer.lr=0.3")
    train(tmp_path, *SMALL, *one)
    train(tmp_path, "resume=outputs/runs/one", "stop.epochs=3")
    losses = pl.read_csv(tmp_path / "outputs" / "runs" / "one" / "steps.csv")["loss"].to_list()
    for service in ("mlflow", "trackio"):
        theirs = READERS[service](tmp_path)
        assert set(theirs) == {"0.1", "0.2", "0.3"}, service
        assert theirs["0.3"] == pytest.approx(losses, rel=1e-6), service
