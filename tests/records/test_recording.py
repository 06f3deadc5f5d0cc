"""What a run leaves behind, as an outside reader finds it."""

from __future__ import annotations

import importlib
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from descent.config.check import flatten
from descent.records.run import Run
from descent.records.tables import stride
from descent.seeds import ORDER, stream_seed

# 442 patients, 354 of them train: 18 steps an epoch, the last of 14 rows
GIVEN = (
    "data=diabetes",
    "data.batch_size=20",
    "model=linear",
    "optimizer=sgd",
    "optimizer.lr=0.02",
    "stop.epochs=4",
)
AXES = {"by_step": "step", "by_epoch": "epoch", "by_samples": "samples"}


def table(run: Run, name: str) -> pl.DataFrame:
    return pl.read_csv(run.path / f"{name}.csv", infer_schema_length=None)


def reader(run: Run) -> EventAccumulator:
    made = EventAccumulator(str(run.path), size_guidance={"scalars": 0})
    return made.Reload()


def tagged(axis: str, name: str) -> str:
    return f"{axis}/{name}" if "/" in name else f"other_{axis}/{name}"


def points(events: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in events.Scalars(tag)]


def column(frame: pl.DataFrame, x: str, y: str) -> list[tuple[int, float]]:
    """Return a column of a table as an event file must hold it: float32, gaps left out."""
    frame = frame.drop_nulls(y)
    values = frame[y].cast(pl.Float64).to_numpy().astype(np.float32).astype(float)
    return list(zip(frame[x].to_list(), values.tolist(), strict=True))


# ---- the event file


def test_every_epoch_series_is_found_on_every_axis(train_run):
    run = train_run(*GIVEN)
    events, epochs = reader(run), table(run, "epochs")
    names = ("train/loss", "train/full_loss", "val/loss", "val/rmse", "val/mae", "val/r2", "lr")
    for name in (*names, "seconds"):
        for axis, x in AXES.items():
            assert points(events, tagged(axis, name)) == column(epochs, x, name), (axis, name)
    assert points(events, "other_by_epoch/grad_norm") == column(epochs, "epoch", "grad_norm")
    assert set(names) == set(epochs.columns) - {"epoch", "step", "samples", "seconds", "grad_norm"}


def test_every_step_series_is_found_by_step_and_by_samples(train_run):
    run = train_run(*GIVEN, "scheduler=inverse_time", "callbacks.recorder.grad_norm_every=5")
    events, steps = reader(run), table(run, "steps")
    for name, of in (("train/step_loss", "loss"), ("lr", "lr"), ("grad_norm", "grad_norm")):
        for axis in ("by_step", "by_samples"):
            found = points(events, tagged(axis, name))
            assert found == column(steps, AXES[axis], of), (axis, name)
    assert [s for s, _ in points(events, "other_by_step/grad_norm")] == list(range(5, 73, 5))
    # its epochs have an axis of their own
    epochs = table(run, "epochs")
    assert points(events, "other_by_epoch/lr") == column(epochs, "epoch", "lr")


@pytest.mark.parametrize(
    ("steps", "epochs"),
    [(6, 1), (7, 1), (9, 2)],  # at every, at no, and at an unmeasured epoch's end
)
def test_full_loss_within_epochs_joins_that_of_the_epochs_in_one_series(steps, epochs, train_run):
    run = train_run(
        *GIVEN,
        f"callbacks.full_loss.every_n_steps={steps}",
        f"callbacks.full_loss.every_n_epochs={epochs}",
    )
    within, ends = (
        column(table(run, name), "step", of)
        for name, of in (("steps", "full_loss"), ("epochs", "train/full_loss"))
    )
    assert [step for step, _ in within] == list(range(steps, 73, steps))
    assert [step for step, _ in ends] == list(range(0, 73, 18 * epochs))
    found = points(reader(run), "by_step/train/full_loss")
    assert sorted(found) == sorted({*within, *ends})  # each step once
    # TensorBoard's data server drops what came before a step that does not rise
    assert [step for step, _ in found] == sorted(step for step, _ in found)


def test_wall_times_lie_within_the_run_and_never_fall(train_run):
    run = train_run(*GIVEN)
    result = run.result()
    times = [e.wall_time for e in reader(run).Scalars("by_step/train/step_loss")]
    assert result["began"] <= times[0]
    assert times == sorted(times)
    assert times[-1] <= result["began"] + result["wall_seconds"]


def test_there_is_one_event_file_and_no_sub_run(train_run):
    run = train_run(*GIVEN)
    assert len(list(run.path.rglob("events.out.tfevents.*"))) == 1
    assert [p.name for p in run.path.iterdir() if p.is_dir()] == ["checkpoints"]
    assert all(not tag.startswith("hp_metric") for tag in reader(run).Tags()["scalars"])


def hparams_of(events: EventAccumulator) -> dict[str, Any]:
    """Return what the HParams tab reads, by kind."""
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    return {
        tag.split("/")[-1]: HParamsPluginData.FromString(content)
        for tag, content in events.PluginTagToContent("hparams").items()
    }


def test_the_hparams_tab_gets_the_real_options_and_the_final_metrics(train_run):
    from tensorboard.plugins.hparams.api_pb2 import Status

    run = train_run(*GIVEN, "penalty.l2=0.25", "data.order=sequential")
    events = reader(run)
    found = hparams_of(events)
    hparams = found["session_start_info"].session_start_info.hparams
    shown = {name: getattr(v, v.WhichOneof("kind")) for name, v in hparams.items()}
    for key, value in flatten(run.config()):
        if key.split(".")[0] in ("data", "penalty", "stop", "seed") and "_target_" not in key:
            # the table has no lists
            assert shown.get(key) == (str(value) if isinstance(value, list) else value), key
    assert shown["optimizer"] == "SGD"
    assert (shown["optimizer.lr"], shown["penalty.l2"], shown["seed"]) == (0.02, 0.25, 0)
    metrics = run.result()["metrics"]
    assert set(metrics) >= {"train/loss", "train/full_loss", "val/loss", "test/loss", "test/r2"}
    for name, value in metrics.items():
        assert points(events, f"final/{name}") == [(72, float(np.float32(value)))]
    promised = {info.name.tag for info in found["experiment"].experiment.metric_infos}
    assert promised == {f"final/{name}" for name in metrics}
    assert found["session_end_info"].session_end_info.status == Status.STATUS_SUCCESS


def test_the_custom_scalars_tab_overlays_series_that_exist(train_run):
    from tensorboard.plugins.custom_scalar.layout_pb2 import Layout

    events = reader(train_run(*GIVEN))
    (tag,) = events.PluginTagToContent("custom_scalars")
    layout = Layout.FromString(events.Tensors(tag)[0].tensor_proto.string_val[0])
    charts = [chart for category in layout.category for chart in category.chart]
    tags = [tag for chart in charts for tag in chart.multiline.tag]
    assert [chart.title for chart in charts] == [
        "step and epoch loss, by step", "step and epoch loss, by samples",
    ]  # fmt: skip
    assert len(tags) == 8
    assert set(tags) <= set(events.Tags()["scalars"])


def test_tensorboard_shows_losses_before_all_else(train_run):
    tags = sorted(reader(train_run(*GIVEN)).Tags()["scalars"])  # as its page sorts them
    groups: dict[str, list[str]] = {}
    for tag in tags:
        group, _, name = tag.partition("/")
        groups.setdefault(group, []).append(name)
    assert [*groups][:3] == ["by_epoch", "by_samples", "by_step"]
    for group in [*groups][:3]:
        assert groups[group][0] == "train/full_loss"
    assert {"lr", "seconds"} <= set(groups["other_by_epoch"])


# ---- thinning


@pytest.mark.parametrize("given", [(), ("callbacks.checkpoint.every_seconds=0",)])
def test_thinning_bounds_the_points_and_leaves_the_tables_whole(given, train_run):
    run = train_run(
        "data=three_points", "data.batch_size=1", "model=linear", "optimizer=sgd",
        "optimizer.lr=0.001", "stop.epochs=101", "callbacks.recorder.points=50",
        "callbacks.recorder.grad_norm_every=1", "scheduler=inverse_time", *given,
    )  # fmt: skip
    assert table(run, "steps")["step"].to_list() == list(range(1, 304))
    assert table(run, "epochs")["epoch"].to_list() == list(range(102))
    events = reader(run)
    counts = {tag: len(points(events, tag)) for tag in events.Tags()["scalars"]}
    # the first and the last point are kept whatever the stride
    assert max(counts.values()) <= 52
    assert min(n for tag, n in counts.items() if not tag.startswith("final/")) >= 25
    assert (
        column(table(run, "steps"), "step", "loss")[6::7]
        == (
            points(events, "by_step/train/step_loss")[1:]  # 303 / 50 rounded up is 7, and step 1
        )
    )
    ends = points(events, "by_epoch/train/full_loss")
    assert (ends[0][0], ends[-1][0]) == (0, 101)


@pytest.mark.parametrize(("total", "points"), [(1, 2), (10, 10), (11, 10), (10**6, 10**4)])
def test_a_stride_is_the_smallest_that_keeps_the_bound(total, points):
    n = stride(total, points)
    assert total // n <= points
    assert n == 1 or total / (n - 1) > points


# ---- the tables


def test_running_loss_is_the_mean_of_step_losses_by_rows(train_run):
    run = train_run(*GIVEN, "trainer.precision=64-true")
    steps, epochs = table(run, "steps"), table(run, "epochs")
    for epoch in range(1, 5):
        of = steps.filter(pl.col("epoch") == epoch)
        rows = np.array([20] * 17 + [14])
        wanted = np.sum(of["loss"].to_numpy() * rows) / 354
        assert epochs["train/loss"][epoch] == pytest.approx(wanted, rel=1e-14)


def test_steps_epochs_samples_and_seconds_count_up(train_run):
    run = train_run(*GIVEN)
    steps, epochs = table(run, "steps"), table(run, "epochs")
    assert steps["step"].to_list() == list(range(1, 73))
    assert steps["epoch"].to_list() == [e for e in range(1, 5) for _ in range(18)]
    rows = np.tile([20] * 17 + [14], 4)
    assert steps["samples"].to_list() == np.cumsum(rows).tolist()
    assert epochs["epoch"].to_list() == [0, 1, 2, 3, 4]
    assert epochs["step"].to_list() == [0, 18, 36, 54, 72]
    assert epochs["samples"].to_list() == [0, 354, 708, 1062, 1416]
    for seconds in (steps["seconds"], epochs["seconds"]):
        assert np.diff(seconds.to_numpy()).min() > 0
    assert run.result()["samples"] == 1416


def test_a_dropped_last_batch_counts_no_rows(train_run):
    run = train_run(*GIVEN, "data.drop_last=true")
    assert table(run, "epochs")["samples"].to_list() == [0, 340, 680, 1020, 1360]
    assert table(run, "steps").height == 4 * 17


def test_the_first_row_is_the_loss_before_training(train_run):
    run = train_run(*GIVEN, "trainer.precision=64-true")
    first = table(run, "epochs").row(0, named=True)
    # a linear model that starts at 0 predicts the mean of the standardized targets, whose squared
    # error is the variance over N where the scaler's is over N - 1
    assert first["train/full_loss"] == pytest.approx(353 / 354, rel=1e-12)
    assert (first["train/loss"], first["val/loss"], first["step"]) == (None, None, 0)


def test_full_loss_within_epochs_equals_a_computation_apart(make_job):
    from descent.training import train

    job = make_job(
        *GIVEN, "trainer.precision=64-true", "callbacks.full_loss.every_n_steps=5",
        "data.window=8", "picture=false",
    )  # fmt: skip
    rows, arrays = job.prepared.rows["train"], job.prepared.arrays
    x, y = arrays.features[rows], arrays.targets[rows]
    x, y = (x - x.mean(axis=0)) / x.std(axis=0, ddof=1), (y - y.mean()) / y.std(ddof=1)
    w, b, wanted = np.zeros(10), 0.0, []
    for epoch in range(4):
        generator = torch.Generator().manual_seed(stream_seed(0, ORDER, epoch))
        for batch in torch.randperm(354, generator=generator).split(20):
            xb, error = x[batch], x[batch] @ w + b - y[batch]
            w, b = w - 0.02 * 2 * xb.T @ error / len(xb), b - 0.02 * 2 * error.mean()
            wanted.append(np.mean((x @ w + b - y) ** 2))
    train(job)
    measured = table(job.run, "steps").drop_nulls("full_loss")
    assert measured["step"].to_list() == list(range(5, 73, 5))
    np.testing.assert_allclose(measured["full_loss"], wanted[4::5], rtol=1e-12)
    ends = table(job.run, "epochs")["train/full_loss"]
    np.testing.assert_allclose(ends[1:], wanted[17::18], rtol=1e-12)


def test_full_loss_every_few_epochs_is_also_measured_after_the_last(train_run):
    epochs = table(train_run(*GIVEN, "callbacks.full_loss.every_n_epochs=3"), "epochs")
    assert epochs.drop_nulls("train/full_loss")["epoch"].to_list() == [0, 3, 4]


def test_the_callbacks_can_be_left_out_and_the_tables_stay(train_run):
    run = train_run(*GIVEN, "callbacks=bare")
    assert table(run, "steps").height == 72
    assert table(run, "epochs")["epoch"].to_list() == [1, 2, 3, 4]
    assert not (run.path / "checkpoints").exists()
    assert run.result()["status"] == "ok"


# ---- loggers

MEMORY = """
from lightning.pytorch.loggers.logger import Logger

class Memory(Logger):
    def __init__(self, save_dir):
        super().__init__()
        self.points, self.options = [], {}
        self.made.append((self, save_dir))
    made = []
    name, version = "memory", 0
    def log_metrics(self, metrics, step=None):
        self.points += [(name, step, value) for name, value in metrics.items()]
    def log_hyperparams(self, params):
        self.options = dict(params)
"""


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A user's own logger class, in a module on the Python path."""
    (tmp_path / "users_logger.py").write_text(MEMORY)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("users_logger").Memory
    del sys.modules["users_logger"]


def test_any_lightning_logger_gets_every_point_at_its_true_step(memory, train_run):
    run = train_run(*GIVEN, "logger=none", "+logger.mine._target_=users_logger.Memory")
    ((logger, save_dir),) = memory.made
    assert save_dir == str(run.path)
    assert logger.options["optimizer.lr"] == 0.02

    def got(name: str) -> list[tuple[int, float]]:
        return [(step, value) for n, step, value in logger.points if n == name]

    steps, epochs = table(run, "steps"), table(run, "epochs")
    assert got("train/step_loss") == column(steps, "step", "loss")
    for name in ("train/full_loss", "val/loss"):
        values = epochs.drop_nulls(name)
        wanted = list(zip(values["step"], values[name], strict=True))
        assert got(name) == wanted
    assert not list(run.path.glob("events.*"))


def test_the_csv_logger_lies_in_the_run_directory(train_run):
    run = train_run(*GIVEN, "logger=csv")
    logged = pl.read_csv(run.path / "csv" / "metrics.csv", infer_schema_length=None)
    assert column(logged, "step", "train/step_loss") == column(table(run, "steps"), "step", "loss")
    assert column(logged, "step", "val/loss") == column(table(run, "epochs"), "step", "val/loss")


def test_no_logger_leaves_tables_and_result(train_run):
    run = train_run(*GIVEN, "logger=none")
    assert not list(run.path.glob("events.*"))
    assert table(run, "steps").height == 72
    assert run.result()["status"] == "ok"


# ---- progress


def progress_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "descent.callbacks.progress"]


def test_a_log_gets_five_lines_of_progress(caplog, train_run):
    caplog.set_level(logging.INFO)
    run = train_run(*GIVEN, "stop.epochs=20")
    lines = progress_lines(caplog)
    assert [line.split(",")[0] for line in lines] == [f"epoch {e}/20" for e in (4, 8, 12, 16, 20)]
    last = table(run, "epochs").row(-1, named=True)
    assert "step 360" in lines[-1]
    assert f"train/full_loss {last['train/full_loss']:.4g}" in lines[-1]
    assert f"val/loss {last['val/loss']:.4g}" in lines[-1]


def test_a_short_run_gets_a_line_an_epoch(caplog, train_run):
    caplog.set_level(logging.INFO)
    train_run(*GIVEN, "stop.epochs=2")
    assert [line.split(",")[0] for line in progress_lines(caplog)] == ["epoch 1/2", "epoch 2/2"]


def test_a_terminal_gets_one_line_that_is_cleared_at_the_end(capsys, monkeypatch, train_run):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    train_run(*GIVEN, "callbacks.progress.every_seconds=0", "data.window=6")
    drawn = capsys.readouterr().err.split("\r\033[K")
    assert drawn[0] == drawn[-1] == ""
    assert drawn[1].startswith("epoch 1/4, step 6, ")
    assert "\n" not in "".join(drawn)
    assert sum(line.startswith("epoch 4/4") for line in drawn) == 3


def test_a_run_that_diverged_is_no_success_in_the_hparams_tab(train_run):
    from tensorboard.plugins.hparams.api_pb2 import Status

    run = train_run("data=line", "model=linear", "optimizer=sgd", "optimizer.lr=1e6")
    assert run.result()["status"] == "diverged"
    end = hparams_of(reader(run))["session_end_info"].session_end_info
    assert end.status == Status.STATUS_FAILURE
