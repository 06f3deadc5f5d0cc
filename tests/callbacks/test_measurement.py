"""What all measurements share: columns, moments, and no trace in training."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from descent.callbacks.noise_scale import NoiseScale
from descent.callbacks.sharpness import Sharpness
from descent.callbacks.step_noise import StepNoise, step_loss_deviation
from descent.callbacks.weights import weight_sizes
from descent.job import Job
from descent.records.run import Run
from descent.training import train_together

COLUMNS = {
    f"diagnostics/{name}"
    for name in (
        *("noise_scale", "sharpness", "stability", "step_noise"),
        *("weights_l1", "weights_l2", "near_zero"),
    )
}


def rows_of(run: Run, name: str = "epochs.csv") -> list[dict[str, str]]:
    with (run.path / name).open() as file:
        return list(csv.DictReader(file))


def test_measuring_everything_changes_no_step(train_run: Callable[..., Run]) -> None:
    job = ("data=iris", "model.dropout=0.3", "stop.epochs=3")
    plain = train_run(*job)
    measured = train_run(*job, "diagnostics=all", "callbacks.noise_scale.exact=false")
    losses = [[row["loss"] for row in rows_of(run, "steps.csv")] for run in (plain, measured)]
    assert losses[0] == losses[1]
    assert COLUMNS.isdisjoint(rows_of(plain)[0])
    last = rows_of(measured)[-1]
    assert last.keys() >= COLUMNS
    assert all(last[name] for name in COLUMNS)


def test_measurements_reach_tensorboard_and_the_result(train_run: Callable[..., Run]) -> None:
    run = train_run("data=iris", "stop.epochs=3", "diagnostics=all")
    metrics = run.result()["metrics"]
    assert metrics.keys() >= COLUMNS
    events = EventAccumulator(str(run.path)).Reload()
    for name in COLUMNS:
        points = events.Scalars(f"other_by_epoch/{name}")
        assert [p.step for p in points] == [0, 1, 2, 3]
        assert points[-1].value == pytest.approx(metrics[name], rel=1e-6)
        assert events.Scalars(f"final/{name}")


def test_a_measurement_every_n_epochs_is_also_taken_at_both_ends(
    train_run: Callable[..., Run],
) -> None:
    run = train_run(
        *("data=iris", "stop.epochs=7", "diagnostics=[weights]"),
        "callbacks.weights.every_n_epochs=3",
    )
    taken = [row["epoch"] for row in rows_of(run) if row["diagnostics/weights_l2"]]
    assert taken == ["0", "3", "6", "7"]


def test_a_continued_run_measures_what_one_without_a_break_does(
    train_run: Callable[..., Run],
) -> None:
    job = ("data=iris", "diagnostics=all", "callbacks.noise_scale.exact=false")
    whole = rows_of(train_run(*job, "stop.epochs=4"))
    begun = train_run(*job, "stop.epochs=2")
    continued = rows_of(train_run(f"resume={begun.path}", "stop.epochs=4"))
    for a, b in zip(whole, continued, strict=True):
        assert {k: v for k, v in a.items() if k != "seconds"} == {
            k: v for k, v in b.items() if k != "seconds"
        }


@pytest.mark.parametrize(
    "job",
    [
        ("data=iris", "model.hidden=[4]", "penalty.l1=0.01", "optimizer=adam"),
        ("data=diabetes", "model=linear", "penalty.l2=0.1", "optimizer=momentum", "data.limit=90",
         "data.order=with_replacement"),
    ],
)  # fmt: skip
def test_runs_of_a_stack_are_measured_at_once_as_they_are_alone(
    job: tuple[str, ...], train_run: Callable[..., Run], make_job: Callable[..., Job],
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    typed = (*job, "trainer=float64", "stop.epochs=1", "diagnostics=all", "picture=false")
    each = [(*typed, "seed=0"), (*typed, "seed=1", "optimizer.lr=0.05"), (*typed, "penalty.l2=0.5")]
    alone = [train_run(*one) for one in each]
    made = [make_job(*one) for one in each]
    together = [
        replace(job, run=Run(tmp_path / f"stacked{i}"), one_of_many=True)
        for i, job in enumerate(made)
    ]
    for kind in (NoiseScale, Sharpness, StepNoise):
        monkeypatch.setattr(kind, "measure", None)  # which would go run by run
    train_together(together, lambda steps: None, lambda number, result: None)
    for one, other in zip(alone, together, strict=True):
        for a, b in zip(rows_of(one), rows_of(other.run), strict=True):
            for name in {*COLUMNS, "diagnostics/preconditioned_sharpness"}:
                assert (a[name] == "") == (b[name] == ""), name
                if a[name]:
                    assert float(b[name]) == pytest.approx(float(a[name]), rel=1e-10), name


def test_a_lost_run_is_not_measured_and_still_ends_as_diverged(
    train_run: Callable[..., Run],
) -> None:
    run = train_run(
        *("data=line", "model=linear", "optimizer=sgd", "optimizer.lr=1e15"),
        *("diagnostics=all", "callbacks.divergence.checks=50"),
    )
    assert run.result()["status"] == "diverged"


# ---- step noise


def test_step_noise_is_the_deviation_over_all_mini_batches_there_are() -> None:
    losses = torch.tensor([0.3, 1.0, 2.5, 0.1, 4.0, 0.7], dtype=torch.float64)
    for b in (1, 2, 4, 6):
        batches = [np.mean(batch) for batch in itertools.combinations(losses.tolist(), b)]
        assert step_loss_deviation(losses, b, False) == pytest.approx(np.std(batches), abs=1e-12)
    drawn = [np.mean(batch) for batch in itertools.product(losses.tolist(), repeat=3)]
    assert step_loss_deviation(losses, 3, True) == pytest.approx(np.std(drawn), rel=1e-12)


def test_recorded_step_noise_is_that_of_the_rows(train_run: Callable[..., Run]) -> None:
    job = ("data=three_points", "model=linear", "model.bias=false", "trainer=float64")
    job = (*job, "diagnostics=[step_noise]", "optimizer=sgd", "stop.epochs=1")
    # losses (w x - y)² at w = 0: 4, 16, 36
    run = train_run(*job, "model.init=zeros", "data.batch_size=1")
    assert float(rows_of(run)[0]["diagnostics/step_noise"]) == pytest.approx(np.std([4, 16, 36]))
    run = train_run(*job, "model.init=zeros", "data.batch_size=full")
    assert float(rows_of(run)[0]["diagnostics/step_noise"]) == 0.0
    run = train_run(*job, "model.init=zeros", "data.batch_size=2", "data.order=with_replacement")
    assert float(rows_of(run)[0]["diagnostics/step_noise"]) == pytest.approx(
        np.std([4, 16, 36]) / 2**0.5
    )


# ---- weights


def test_weight_sizes_by_hand() -> None:
    weights = [torch.tensor([[3.0, -4.0]]), torch.tensor([[0.005], [0.0]])]
    sizes = weight_sizes(weights, threshold=0.01)
    assert sizes["diagnostics/weights_l1"] == pytest.approx(7.005)
    assert sizes["diagnostics/weights_l2"] == pytest.approx((25 + 0.000025) ** 0.5)
    assert sizes["diagnostics/near_zero"] == 0.5
