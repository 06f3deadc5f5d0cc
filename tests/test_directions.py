"""Everybody who tells better from worse agrees with the metric's own direction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf, open_dict
from torch import nn

from descent.analysis.settings import measures
from descent.analysis.settings import settings as study_settings
from descent.analysis.summary import settings
from descent.analysis.trials import Study, Trial
from descent.assembly import _callback
from descent.callbacks.checkpoint import Checkpoint
from descent.cli import check_direction
from descent.dashboard.choosing import choose
from descent.dashboard.rows import Rows
from descent.engine.blueprint import build_schedule
from descent.engine.rates import Rates, Track
from descent.errors import UserError
from descent.metrics import (
    METRICS,
    check_metrics,
    default_metric,
    metric_named,
    settled_mode,
    take_mode,
)
from descent.records.endings import Status
from descent.sweep.status import StatusLine

CONF = str(Path(__file__).parents[1] / "conf")

# What the field says, written out here a second time: the registry must agree.
FALL = ("loss", "rmse", "mae", "mape", "log_loss", "brier", "calibration_error")
RISE = ("accuracy", "r2", "balanced_accuracy", "f1", "precision", "recall", "auc",
        "average_precision")  # fmt: skip
NAMES = [
    *((f"val/{name}", True) for name in FALL),
    *((f"val/{name}", False) for name in RISE),
    *(("train/loss", True), ("train/full_loss", True), ("diagnostics/distance", True)),
]
BETTER_LATER = [3.0, 2.0, 1.0]  # of a metric that falls; of one that rises, the first is best


def planted(lower: bool) -> list[float]:
    """Return values that get better, of a metric of this direction."""
    return BETTER_LATER if lower else BETTER_LATER[::-1]


class Watched:
    """As much of a learner of R runs as a callback looks at after an epoch."""

    def __init__(self, runs: int, name: str, values: list[float]) -> None:
        self.runs, self.live, self.absent = runs, np.arange(runs), {}
        self.kernel = SimpleNamespace(
            tensors=lambda: {"w": torch.zeros(runs, 1)}, judged=nullcontext
        )
        self.ended: list[int] = []
        self._name, self._values = name, values

    def epochs(self, callback: Any) -> None:
        """Let the callback look at an epoch after the other, the same for all runs."""
        for epoch, value in enumerate(self._values, 1):
            self.epoch = self.step = epoch
            self.measured = {self._name: np.full(self.runs, value)}
            callback.epoch(self, self.live)

    def end(self, run: int, ending: Any) -> None:
        self.ended.append(int(run))


def keeps(runs: int, name: str, values: list[float]) -> int:
    """Return the epoch that the checkpoints of all runs keep."""
    callback = Checkpoint(["unused"] * runs, monitor=name)
    Watched(runs, name, values).epochs(callback)
    (epoch,) = {callback.best(run)["epoch"] for run in range(runs)}  # type: ignore[index]
    return int(epoch)


def one_keeps(name: str, values: list[float]) -> int:
    return keeps(1, name, values)


def stack_keeps(name: str, values: list[float]) -> int:
    return keeps(3, name, values)


def stopped(runs: int, target: str, name: str, values: list[float]) -> bool:
    node = {"_target_": target, "monitor": name, "patience": 2, "mode": "auto"}
    stopper: Any = _callback("early_stopping", node, {})
    learner = Watched(runs, name, values)
    stopper.begin(learner)
    learner.epochs(stopper)
    assert sorted(set(learner.ended)) in ([], list(range(runs)))
    return bool(learner.ended)


OURS = "descent.callbacks.early_stopping.EarlyStopping"


def one_stops(name: str, values: list[float]) -> bool:
    return stopped(1, OURS, name, values)


def stack_stops(name: str, values: list[float]) -> bool:
    return stopped(3, OURS, name, values)


def lightnings_stops(name: str, values: list[float]) -> bool:
    node = {"_target_": "lightning.pytorch.callbacks.EarlyStopping", "monitor": name, "patience": 2}
    stopper: Any = _callback("early_stopping", {**node, "mode": "auto"}, {})
    return any(stopper._evaluate_stopping_criteria(torch.tensor(v))[0] for v in values)


def scheduled(name: str) -> dict[str, Any]:
    plateau = "torch.optim.lr_scheduler.ReduceLROnPlateau"
    return {
        "optimizer": {"_target_": "torch.optim.SGD", "lr": 1.0},
        "scheduler": {
            "_target_": plateau, "monitor": name, "mode": "auto", "patience": 0, "factor": 0.5,
        },
        "data": {"batch_size": 1, "drop_last": False}, "stop": {"epochs": 9, "steps": None},
    }  # fmt: skip


DATA: Any = SimpleNamespace(steps_per_epoch=lambda node: 8)


def one_cuts_lr(name: str, values: list[float]) -> bool:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = build_schedule(scheduled(name), DATA).make(optimizer)
    for value in values:
        schedule.step(value)
    return bool(optimizer.param_groups[0]["lr"] < 1)


def stack_cuts_lr(name: str, values: list[float]) -> bool:
    schedule, tracks = build_schedule(scheduled(name), DATA), []
    for _ in range(3):
        tracks.append(Track(torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0), schedule))
    rates = Rates(tracks, range(3))
    for value in values:
        rates.end_epoch({name: np.full(3, value)})
    return bool((rates.values < 1).all())


def rows_of(name: str, values: list[float]) -> list[dict[str, Any]]:
    return [
        {
            "lr": str(i),
            "status": Status.OK,
            "step": 1,
            "seconds": 1.0,
            name: v,
            "directory": f"d{i}",
        }
        for i, v in enumerate(values)
    ]


def summary_prefers(name: str, values: list[float]) -> int:
    return int(settings(rows_of(name, values), name)[0].values["lr"])


def dashboard_prefers(name: str, values: list[float]) -> int:
    rows = tuple(rows_of(name, values))
    chosen = choose(Rows(Path(), rows, name, len(rows), 0, ranked=True), "all", None)
    return int(str(chosen.runs[0].row["lr"]))


def report_prefers(name: str, values: list[float]) -> int:
    trials = tuple(
        Trial(i, {"lr": float(i)}, "", "ok", "", 1, 1, 1.0, {name: v}, Path(), "")
        for i, v in enumerate(values)
    )
    config = {"stop": {"loss": 1.0}}
    shared = (f"optimized_metric={name}",)  # typed, so that it comes before the steps to the target
    study = Study(Path(), trials, ("lr",), name, config, (), shared)
    return int(study_settings(study, measures(study)[0])[0].values["lr"])


def progress_tells(name: str, values: list[float]) -> float:
    job = SimpleNamespace(config={"optimized_metric": name})
    progress = StatusLine(Path(), [SimpleNamespace(jobs=[job])], 1, {})  # type: ignore[list-item]
    for value in values:
        progress._improve(SimpleNamespace(metric=value))  # type: ignore[arg-type]
    assert progress._best is not None
    return progress._best


@pytest.mark.parametrize(("name", "lower"), NAMES)
@pytest.mark.parametrize("keeps", [one_keeps, stack_keeps])
def test_a_checkpoint_keeps_the_best_epoch(
    name: str, lower: bool, keeps: Callable[[str, list[float]], int]
) -> None:
    assert keeps(name, planted(lower)) == 3
    assert keeps(name, planted(not lower)) == 1


@pytest.mark.parametrize(("name", "lower"), NAMES)
@pytest.mark.parametrize(
    "stops", [one_stops, stack_stops, lightnings_stops, one_cuts_lr, stack_cuts_lr]
)
def test_who_waits_for_improvement_waits_for_the_right_one(
    name: str, lower: bool, stops: Callable[[str, list[float]], bool]
) -> None:
    assert not stops(name, planted(lower))
    assert stops(name, planted(not lower))


@pytest.mark.parametrize(("name", "lower"), NAMES)
@pytest.mark.parametrize("prefers", [summary_prefers, dashboard_prefers, report_prefers])
def test_the_best_run_is_told_first(
    name: str, lower: bool, prefers: Callable[[str, list[float]], int]
) -> None:
    assert prefers(name, planted(lower)) == 2
    assert prefers(name, planted(not lower)) == 0


@pytest.mark.parametrize(("name", "lower"), NAMES)
def test_progress_lines_tell_the_best_so_far(name: str, lower: bool) -> None:
    assert progress_tells(name, [2.0, 1.0, 3.0]) == (1.0 if lower else 3.0)


def test_runs_that_count_no_steps_are_not_told_to_take_none_a_second() -> None:
    progress = StatusLine(Path(), [], 3, {})
    progress._rows, progress._board = 1, np.zeros((1, 2))  # type: ignore[assignment]
    assert progress._figures() == "0/0 runs"
    progress._board[0, 0] = 50.0
    assert "run-steps/s" in progress._figures()


def test_optuna_searches_in_the_metrics_own_direction() -> None:
    pytest.importorskip("optuna", reason="the optuna extra is not installed")
    with initialize_config_dir(CONF, version_base="1.3"):
        cfg = compose("train", ["sweep=optuna", "logger=none"], return_hydra_config=True)
    for name, lower in NAMES:
        with open_dict(cfg):
            cfg.optimized_metric = name
        assert cfg.hydra.sweeper.direction == ("minimize" if lower else "maximize")
        check_direction(cfg)
        with open_dict(cfg):  # a metric's own counts, and one that is asked for where it has none
            cfg.optimized_metric, cfg.optimized_mode = SHARP, "min" if lower else "max"
        assert cfg.hydra.sweeper.direction == ("minimize" if lower else "maximize")
        with open_dict(cfg):
            cfg.optimized_metric, cfg.optimized_mode = name, "auto"
        wrong = "maximize" if lower else "minimize"
        other = OmegaConf.create(
            {"optimized_metric": name, "hydra": {"sweeper": {"direction": wrong}}}
        )
        with pytest.raises(UserError, match=f"direction={wrong} contradicts"):
            check_direction(other)


SHARP = "diagnostics/sharpness"  # of which neither more nor less is better by itself


@pytest.fixture(params=["min", "max"])
def asked(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Return whether a config calls less of the sharpness better."""
    take_mode({"optimized_metric": SHARP, "optimized_mode": request.param})
    yield request.param == "min"
    take_mode({"optimized_metric": SHARP})


@pytest.mark.parametrize(
    "better",
    [
        *(lambda name, values, keeps=keeps: keeps(name, values) == 3
          for keeps in (one_keeps, stack_keeps)),
        *(lambda name, values, stops=stops: not stops(name, values)
          for stops in (one_stops, stack_stops, lightnings_stops, one_cuts_lr, stack_cuts_lr)),
        *(lambda name, values, prefers=prefers: prefers(name, values) == 2
          for prefers in (summary_prefers, dashboard_prefers, report_prefers)),
        lambda name, values: progress_tells(name, values) == values[-1],
    ],
)  # fmt: skip
def test_a_direction_that_a_config_gives_is_everybodys(
    asked: bool, better: Callable[[str, list[float]], bool]
) -> None:
    assert better(SHARP, planted(asked))
    assert not better(SHARP, planted(not asked))


def test_no_metric_is_missing_from_the_table() -> None:
    told = {metric.name for name, _ in NAMES if (metric := metric_named(name))}
    directed = {name for name, metric in METRICS.items() if metric.lower is not None}
    assert directed - told == {"diagnostics/excess_loss"}  # beside the distance


def test_measurements_are_in_the_registry_under_their_own_names() -> None:
    import descent.callbacks as room
    from descent.callbacks.measurement import Measurement

    for path in Path(next(iter(room.__path__))).glob("*.py"):
        __import__(f"descent.callbacks.{path.stem}")
    for kind in Measurement.__subclasses__():
        target = f"{kind.__module__}.{kind.__name__}"
        ours = {name for name, metric in METRICS.items() if metric.source == target}
        assert not kind.__module__.startswith("descent.") or ours == set(kind.metrics)


# ---- what is refused


def config(**changes: Any) -> dict[str, Any]:
    """Return as much of a config as metrics are asked by; `monitor` and `mode` are a callback's."""
    stopper = {"_target_": "lightning.pytorch.callbacks.EarlyStopping", "monitor": "val/loss"}
    watched = {k: changes.pop(k) for k in ("monitor", "mode", "_target_") if k in changes}
    full = {"_target_": "descent.callbacks.full_loss.FullLoss"}
    sharpness = {"_target_": "descent.callbacks.sharpness.Sharpness"}
    return {
        "optimized_metric": "val/loss", "test": True, "data": {}, "model": {}, "scheduler": {},
        "callbacks": {"full_loss": full, "sharpness": sharpness,
                      "stopper": {**stopper, **watched}}, **changes,
    }  # fmt: skip


TABLE = {"task": "regression", "rows": {"train": 8, "val": 8, "test": 0}}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"optimized_metric": "val/loss", "optimized_mode": "max"},
         r"^optimized_mode=max contradicts optimized_metric=val/loss, .* leave optimized_mode at"),
        ({"optimized_metric": SHARP}, r"give optimized_mode=min or optimized_mode=max\.$"),
        ({"optimized_metric": "val/rsme"}, r"did you mean 'val/rmse'\? This task records train/lo"),
        ({"optimized_metric": "val/accuracy"}, "is not recorded. This task records train/loss"),
        ({"optimized_metric": "test/rmse"}, r"no rows are kept for the test \(data.test"),
        ({"monitor": "val_loss"}, r"stopper.monitor=val_loss is not recorded; did you mean"),
        ({"monitor": "val/r2", "mode": "min"}, "which is better the higher it is; leave callbacks"),
        ({"monitor": "val/rmse", "mode": "max"}, "which is better the lower it is"),
        ({"monitor": "mine", "mode": "min"}, "monitor=mine is not recorded. This task"),
        ({"monitor": "mine", "_target_": "my.Stop"}, "own needs callbacks.stopper.mode=min or max"),
        ({"callbacks": {}, "scheduler": {"_target_": "x", "monitor": "train/full_loss"}},
         "callbacks.full_loss was taken out"),
    ],
)  # fmt: skip
def test_what_is_not_recorded_or_contradicts_is_refused(changes: Any, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        check_metrics(config(**changes), TABLE)


def test_a_metric_of_ones_own_is_watched_with_a_mode() -> None:
    check_metrics(config(monitor="mine", mode="max", _target_="my.Stop"), TABLE)
    assert settled_mode("mine", "max") == "max"
    with pytest.raises(UserError, match="Nothing says whether more or less of monitor=mine is"):
        settled_mode("mine")


def test_without_validation_rows_a_sweep_optimizes_the_full_loss() -> None:
    node = {"_target_": "descent.callbacks.full_loss.FullLoss"}
    assert default_metric(0.1, node) == "val/loss"
    assert default_metric(0, node) == "train/full_loss"
    assert default_metric(0, None) == "train/loss"


@pytest.mark.parametrize("metric", ["val/loss", "val/rmse", "val/mae", "val/r2"])
def test_a_run_keeps_the_epoch_that_its_table_calls_best(train_run: Any, metric: str) -> None:
    run = train_run(
        "data=diabetes", "model=linear", "optimizer=sgd", "optimizer.lr=0.2", "stop.epochs=8",
        f"callbacks.checkpoint.monitor={metric}",
    )  # fmt: skip
    epochs = np.genfromtxt(run.path / "epochs.csv", delimiter=",", names=True, deletechars="")
    values = epochs[metric][1:]
    best = np.nanargmax(values) if metric == "val/r2" else np.nanargmin(values)
    assert run.result()["best"]["epoch"] == best + 1
