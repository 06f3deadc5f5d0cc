"""Every learning-rate schedule against its closed form, as the run recorded it."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch

from descent.engine.blueprint import build_schedule
from descent.engine.schedules import inverse_time, warmup_cosine
from descent.errors import UserError
from descent.records.run import Run

# x = 1, 2, 3 one by one: three steps an epoch
THREE = ("data=three_points", "data.batch_size=1", "model=linear", "optimizer=sgd")
LR = 0.01


def step_lrs(run: Run) -> list[float]:
    return pl.read_csv(run.path / "steps.csv")["lr"].to_list()


def epoch_column(run: Run, name: str) -> list[float]:
    return pl.read_csv(run.path / "epochs.csv")[name].to_list()[1:]


def warmed(t: int, total: int, warmup: float = 0.05, final: float = 0.0) -> float:
    rise = round(total * warmup)
    if t < rise:
        return (t + 1) / (rise + 1)
    return final + (1 - final) * (1 + math.cos(math.pi * (t - rise) / (total - rise))) / 2


def halfcosine(t: int, total: int, last: float = 0.0) -> float:
    return last + (1 - last) * (1 + math.cos(math.pi * t / total)) / 2


# options, then the lr at time t as a share of the first, by t and the run's length in t's unit
FORMS = {
    "constant": ((), lambda t, total: 1.0),
    "step": (("step_size=2", "gamma=0.3"), lambda t, total: 0.3 ** (t // 2)),
    "exponential": (("gamma=0.8",), lambda t, total: 0.8**t),
    "cosine": ((f"eta_min={LR / 4}",), lambda t, total: halfcosine(t, total, 1 / 4)),
    "inverse_time": (("decay=0.5",), lambda t, total: 1 / (1 + 0.5 * t)),
    "warmup_cosine": (
        ("warmup=0.4", "final=0.1"),
        lambda t, total: warmed(t, total, warmup=0.4, final=0.1),
    ),
}


@pytest.mark.parametrize("interval", ["step", "epoch"])
@pytest.mark.parametrize("name", FORMS)
def test_the_lr_of_every_step_follows_the_closed_form(name, interval, train_run):
    options, form = FORMS[name]
    run = train_run(
        *THREE, f"optimizer.lr={LR}", f"scheduler={name}", f"scheduler.interval={interval}",
        *[f"scheduler.{option}" for option in options], "stop.epochs=5",
    )  # fmt: skip
    steps = np.arange(5 * 3)
    times, total = (steps, 15) if interval == "step" else (steps // 3, 5)
    wanted = [LR * form(int(t), total) for t in times]
    # torch computes some of these by recursion: a rounding of 1e-16 for each of at most 15 factors
    np.testing.assert_allclose(step_lrs(run), wanted, rtol=1e-13)
    if interval == "epoch":
        np.testing.assert_allclose(epoch_column(run, "lr"), wanted[::3], rtol=1e-13)


@pytest.mark.parametrize(
    ("stop", "interval", "length"),
    [
        (("stop.epochs=4",), "step", 12),
        (("stop.epochs=4", "stop.steps=7"), "step", 7),
        (("stop.epochs=2", "stop.steps=7"), "step", 6),
        (("stop.epochs=null", "stop.steps=7"), "step", 7),
        (("stop.epochs=null", "stop.steps=7"), "epoch", 3),  # two epochs and a step
        (("stop.epochs=4",), "epoch", 4),
    ],
)
def test_auto_is_the_length_of_the_run_in_the_schedules_unit(stop, interval, length, train_run):
    for name, form in (("cosine", halfcosine), ("warmup_cosine", warmed)):
        run = train_run(
            *THREE, *stop, f"optimizer.lr={LR}", f"scheduler={name}",
            f"scheduler.interval={interval}",
        )  # fmt: skip
        lrs = step_lrs(run)
        times = [t if interval == "step" else t // 3 for t in range(len(lrs))]
        np.testing.assert_allclose(lrs, [LR * form(t, length) for t in times], rtol=1e-13)


def test_a_dropped_last_batch_counts_in_the_length_of_the_run(train_run):
    run = train_run(
        "data=three_points", "data.batch_size=2", "data.drop_last=true", "model=linear",
        f"optimizer.lr={LR}", "optimizer=sgd", "scheduler=cosine", "stop.epochs=4",
    )  # fmt: skip
    np.testing.assert_allclose(step_lrs(run), [LR * halfcosine(t, 4) for t in range(4)], rtol=1e-13)


def test_a_plateau_schedule_lowers_lr_when_the_full_loss_does_not_fall(train_run):
    run = train_run(
        "data=three_points", "model=linear", "model.bias=false", "optimizer=sgd",
        "optimizer.lr=0.3", "scheduler=plateau", "scheduler.monitor=train/full_loss",
        "scheduler.patience=1", "scheduler.factor=0.5", "stop.epochs=8",
    )  # fmt: skip
    # w - 2 shrinks by r = 1 - 28/3 lr a step: r^2 = 3.24 at lr = 0.3, 0.16 at 0.15. The loss grows
    # in epochs 2 and 3, one check more than patience, so that epoch 4 halves lr; epoch 4 is still
    # above the best, the loss of epoch 1 (3.24^2 * .16 = 1.7), epoch 5 and all after it below.
    assert epoch_column(run, "lr") == [0.3] * 3 + [0.15] * 5


def test_a_plateau_schedule_watches_the_validation_loss(train_run):
    run = train_run(
        "data=iris", "optimizer.lr=0.02", "scheduler=plateau", "scheduler.patience=1",
        "scheduler.threshold=0.3", "scheduler.min_lr=0.003", "stop.epochs=15",
    )  # fmt: skip
    lr, best, bad, wanted = 0.02, math.inf, 0, []
    for loss in epoch_column(run, "val/loss"):
        wanted.append(lr)
        best, bad = (loss, 0) if loss < best * (1 - 0.3) else (best, bad + 1)
        if bad > 1:
            lr, bad = max(lr * 0.5, 0.003), 0
    assert wanted[-1] == 0.003
    assert epoch_column(run, "lr") == pytest.approx(wanted, rel=1e-15)


def test_a_plateau_that_watches_what_is_not_measured_is_refused(train_run):
    with pytest.raises(UserError, match=r"scheduler\.monitor=val/loss is not recorded: no rows"):
        train_run(*THREE, "scheduler=plateau")


def test_a_plateau_schedule_cannot_step_per_step(train_run):
    with pytest.raises(UserError, match=r"scheduler\.interval"):
        train_run("data=iris", "scheduler=plateau", "scheduler.interval=step", "stop.epochs=1")


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0)


def test_warmup_starts_above_zero_peaks_at_lr_and_ends_at_the_final_share():
    factor = warmup_cosine(optimizer(), total=100, warmup=0.1, final=0.2).lr_lambdas[0]
    values = [factor(t) for t in range(101)]
    assert values[0] == pytest.approx(1 / 11)
    assert values.index(max(values)) == 10
    assert max(values) == 1.0
    assert values[-1] == pytest.approx(0.2)
    assert factor(500) == pytest.approx(0.2)  # a run that goes on stays there
    assert np.diff(values[:11]).min() > 0
    assert np.diff(values[10:]).max() < 0


@pytest.mark.parametrize("warmup", [0.0, 1.0])
def test_warmup_may_take_nothing_or_everything(warmup):
    factor = warmup_cosine(optimizer(), total=4, warmup=warmup).lr_lambdas[0]
    wanted = {0.0: [1.0, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2], 1.0: [0.2, 0.4, 0.6, 0.8]}
    assert [factor(t) for t in range(4)] == pytest.approx(wanted[warmup])


def test_inverse_time_falls_to_half_after_one_over_decay():
    factor = inverse_time(optimizer(), decay=0.01).lr_lambdas[0]
    assert (factor(0), factor(100), factor(300)) == (1.0, 0.5, 0.25)


@pytest.mark.parametrize("precision", ["32-true", "16-true"])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("ExponentialLR", {"gamma": 0.4}), ("ExponentialLR", {"gamma": 30.0}),
        ("StepLR", {"gamma": 0.1, "step_size": 3}), ("StepLR", {"gamma": 1.7, "step_size": 2}),
    ],
)  # fmt: skip
def test_a_gamma_that_takes_lr_out_of_the_runs_numbers_is_refused(kind, options, precision):
    weight = torch.zeros(1)
    made = getattr(torch.optim.lr_scheduler, kind)(torch.optim.SGD([weight], lr=0.1), **options)
    dtype, epoch = {"32": torch.float32, "16": torch.float16}[precision[:2]], 1
    while torch.tensor(lr := made.get_last_lr()[0], dtype=dtype) not in (0, torch.inf):
        made.optimizer.step()
        made.step()
        epoch += 1
    what = "exactly 0" if lr < 1 else "infinite"

    def planned(epochs: int) -> None:
        config = {
            "scheduler": {"_target_": f"torch.optim.lr_scheduler.{kind}", **options},
            "optimizer": {"lr": 0.1}, "trainer": {"precision": precision}, "data": {},
            "stop": {"epochs": epochs, "steps": None},
        }  # fmt: skip
        build_schedule(config, SimpleNamespace(steps_per_epoch=lambda data: 7))

    planned(epoch - 1)
    says = rf"lr=0\.1 {what} in float{precision[:2]} from epoch {epoch:,} of"
    with pytest.raises(UserError, match=says):
        planned(epoch)
