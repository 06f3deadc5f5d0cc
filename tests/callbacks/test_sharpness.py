"""Sharpness against exact Hessians, stability limits against runs of torch that diverge."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.func import functional_call, hessian

from descent.assembly import assemble
from descent.engine.curvature import largest_curvature, stable_lr
from descent.records.run import Run

MEASURED = ("diagnostics=[sharpness]", "trainer=float64", "logger=none")


def rows_of(run: Run) -> list[dict[str, str]]:
    with (run.path / "epochs.csv").open() as file:
        return list(csv.DictReader(file))


def exact_curvature(job: Any) -> float:
    """Return the largest eigenvalue of the whole Hessian at the start of a job."""
    trainer = {**job.config["trainer"], "derivatives": "autograd"}  # for a module to look at
    learner, data, _ = assemble(replace(job, config={**job.config, "trainer": trainer}))
    data.trainer = learner.trainer = type(
        "T", (), {"strategy": type("S", (), {"root_device": torch.device("cpu")}),
                  "precision": "64-true", "datamodule": data},
    )  # fmt: skip
    data.setup()
    x, y = data.tensors["train"]
    parameters = {n: p.detach() for n, p in learner.model.named_parameters()}
    sizes = [p.numel() for p in parameters.values()]

    def loss(flat: torch.Tensor) -> torch.Tensor:
        pieces = zip(parameters.items(), flat.split(sizes), strict=True)
        at = {name: piece.reshape(p.shape) for (name, p), piece in pieces}
        value = learner.kernel.criterion(functional_call(learner.model, at, (x,)), y)
        return value + 0.5 * learner.kernel.penalty.l2 * sum(
            p.square().sum() for p in at.values() if p.ndim > 1
        )

    start = torch.cat([p.reshape(-1) for p in parameters.values()])
    return float(torch.linalg.eigvalsh(hessian(loss)(start))[-1])


@pytest.mark.parametrize(
    "job",
    [
        ["data=line", "model=linear"],  # curvatures 1.99 and 2.00
        ["data=diabetes", "model=linear"],
        ["data=breast_cancer", "model=linear"],
        ["data=iris", "model=linear", "penalty.l2=0.3"],
        ["data=iris", "model=mlp", "model.hidden=[7]", "model.activation=tanh"],
    ],
    ids=lambda job: "-".join(job[:2]),
)
def test_sharpness_is_the_largest_eigenvalue_of_the_exact_hessian(
    train_run: Callable[..., Run], make_job: Callable[..., Any], job: list[str]
) -> None:
    exact = exact_curvature(make_job(*job, *MEASURED))
    run = train_run(*job, *MEASURED, "optimizer=sgd", "optimizer.lr=1e-3", "stop.steps=1")
    measured = float(rows_of(run)[0]["diagnostics/sharpness"])
    assert measured == pytest.approx(exact, rel=1e-6)
    assert float(rows_of(run)[0]["diagnostics/stability"]) == pytest.approx(
        1e-3 * exact / 2, rel=1e-6
    )


def test_matrices_that_lanczos_stumbles_over() -> None:
    rng = np.random.default_rng(0)
    assert largest_curvature(lambda v: 3.0 * v, np.ones(1))[0] == 3.0
    assert largest_curvature(lambda v: 0.0 * v, np.ones(5))[0] == 0.0
    assert largest_curvature(lambda v: 2.5 * v, np.ones(5))[0] == pytest.approx(2.5)
    diagonal = np.array([-9.0, 1.0, 2.0])  # the largest, not the largest in size
    assert largest_curvature(lambda v: diagonal * v, rng.random(3))[0] == pytest.approx(2.0)
    assert largest_curvature(lambda v: -np.arange(1.0, 6) * v, np.ones(5))[0] == pytest.approx(-1)
    # a start within the null space
    flat = np.diag([0.0, 4.0, 1.0])
    assert largest_curvature(lambda v: flat @ v, np.array([1.0, 0, 0]))[0] == pytest.approx(4.0)


def diverges(lr: float, curvatures: tuple[float, float], options: dict[str, Any]) -> bool:
    theta = torch.ones(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([theta], lr=lr, **options)
    h = torch.tensor(curvatures, dtype=torch.float64)
    for _ in range(3000):
        theta.grad = (h * theta).detach()
        optimizer.step()
    return not float(theta.detach().norm()) < 1e3


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"weight_decay": 0.5},
        {"momentum": 0.5},
        {"momentum": 0.9},
        {"momentum": 0.9, "nesterov": True},
        {"momentum": 0.3, "nesterov": True},
        {"momentum": 0.9, "dampening": 0.4},
        {"momentum": 0.5, "dampening": 0.9, "weight_decay": 0.2},
    ],
    ids=str,
)
def test_the_largest_stable_lr_is_where_torch_begins_to_diverge(options: dict[str, Any]) -> None:
    """By bisection: 3,000 steps blow up by 1,000 within 0.5% of the limit, as |root|^3000 says."""
    curvatures = (0.5, 4.0)
    low, high = 0.01, 20.0
    assert not diverges(low, curvatures, options)
    assert diverges(high, curvatures, options)
    while high / low > 1.001:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if diverges(middle, curvatures, options) else (middle, high)
    theta = torch.ones(1, requires_grad=True)
    group = torch.optim.SGD([theta], lr=1.0, **options).param_groups[0]
    assert stable_lr(group, max(curvatures)) == pytest.approx(low, rel=0.005)


def test_formulas_of_the_limits() -> None:
    def group(**options: Any) -> dict[str, Any]:
        return torch.optim.SGD([torch.ones(1)], lr=1.0, **options).param_groups[0]

    assert stable_lr(group(), 28 / 3) == pytest.approx(3 / 14)
    assert stable_lr(group(momentum=0.9), 4.0) == pytest.approx(2 * 1.9 / 4)
    assert stable_lr(group(momentum=0.9, nesterov=True), 4.0) == pytest.approx(3.8 / (2.8 * 4))
    assert stable_lr(group(momentum=0.9, dampening=0.5), 4.0) == pytest.approx(3.8 / 2)
    assert stable_lr(group(), -1.0) == float("inf")
    # torch ignores dampening without momentum
    assert stable_lr({**group(), "dampening": 0.5}, 2.0) == 1.0


def test_the_warning_comes_before_the_first_step_and_only_when_due(
    train_run: Callable[..., Run], caplog: pytest.LogCaptureFixture
) -> None:
    three = ("data=three_points", "model=linear", "model.bias=false", "model.init=ones")
    with caplog.at_level("INFO"):
        train_run(*three, *MEASURED, "optimizer=sgd", "optimizer.lr=0.3", "stop.epochs=3")
    said = [r.getMessage() for r in caplog.records if r.name.endswith("sharpness")]
    assert said == [
        "stability sharpness 9.333, largest stable lr 0.2143; lr 0.3 is 1.4 of it",
        "warning: lr 0.3 is above the largest stable lr 0.2143: on a quadratic it diverges; "
        "try optimizer.lr=0.11",
    ]
    caplog.clear()
    with caplog.at_level("INFO"):
        run = train_run(*three, *MEASURED, "optimizer=sgd", "optimizer.lr=0.01", "stop.epochs=3")
    said = [r.getMessage() for r in caplog.records if r.name.endswith("sharpness")]
    assert said == ["stability sharpness 9.333, largest stable lr 0.2143; lr 0.01 is 0.04667 of it"]
    assert float(rows_of(run)[0]["diagnostics/stability"]) == pytest.approx(0.14 / 3, rel=1e-12)


def test_an_adaptive_optimizer_has_a_sharpness_and_no_ratio(
    train_run: Callable[..., Run], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        run = train_run("data=line", "model=linear", "optimizer=adam", *MEASURED, "stop.epochs=1")
    assert rows_of(run)[-1]["diagnostics/stability"] == ""
    assert float(rows_of(run)[-1]["diagnostics/sharpness"]) == pytest.approx(2.0, rel=1e-6)
    assert any("only SGD has" in r.getMessage() for r in caplog.records)
