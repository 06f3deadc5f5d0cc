"""Sharpness against exact Hessians, stability limits against runs of torch that diverge."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.func import functional_call, hessian

import descent
from descent.assembly import assemble
from descent.engine.curvature import (
    largest_curvature,
    preconditioned,
    stable_curvature,
    stable_lr,
)
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


@pytest.mark.parametrize("size", [2, 30, 200])
def test_lanczos_of_many_matrices_at_once_is_that_of_each(size: int) -> None:
    made = np.random.default_rng(size).standard_normal((6, size, size))
    many = made + made.swapaxes(1, 2)
    exact, vectors = np.linalg.eigh(many)
    start = vectors[:, :, 0].copy()  # eigenvectors, of the smallest
    values, found = largest_curvature(lambda v: (many @ v[:, :, None])[:, :, 0], start)
    np.testing.assert_allclose(values, exact[:, -1], rtol=1e-6)
    turned = np.abs((found * vectors[:, :, -1]).sum(axis=1))
    np.testing.assert_allclose(turned, 1.0, atol=1e-5)
    for i, one in enumerate(many):
        alone, _ = largest_curvature(lambda v, one=one: one @ v, start[i])
        assert alone == pytest.approx(values[i], rel=1e-12)


def test_a_curvature_that_is_not_found_in_time_is_none() -> None:
    close = np.linspace(1.0, 2.0, 4000) ** 9  # as close to one another as can be
    value, _ = largest_curvature(lambda v: close * v, np.ones(4000), products=2)
    assert np.isnan(value)


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


@pytest.mark.parametrize(
    ("optimizer", "beta", "options"),
    [
        ("adam", 0.9, {"weight_decay": 0.5}),  # of L2, within P
        ("adam", 0.8, {"betas": [0.8, 0.99], "amsgrad": True}),
        ("adamw", 0.9, {"weight_decay": 0.5}),  # outside of it
        ("rmsprop", 0.0, {"alpha": 0.9}),
        ("adagrad", 0.0, {"lr_decay": 0.1}),
    ],
    ids=lambda value: str(value),
)
def test_the_preconditioned_sharpness_of_a_quadratic_is_that_of_its_closed_form(
    train_run: Callable[..., Run], optimizer: str, beta: float, options: dict[str, Any]
) -> None:
    """Three points on y = 2 x, one weight: loss 14/3 (w - 2)², so H = 28/3 and g = H (w - 2).

    With w = 0 at first g = -2 H in step 1. After that step Adam's averages are (1 - β₁) g and
    (1 - β₂) g², so P = (1 - β₁)(|g| + ε); RMSprop's is sqrt((1 - α) g²) + ε, Adagrad's |g| + ε.
    """
    lr, eps = 0.01, 1e-3
    typed = [f"++optimizer.{key}={value}".replace(" ", "") for key, value in options.items()]
    run = train_run(
        "data=three_points", "model=linear", "model.bias=false", "model.init=zeros",
        f"optimizer={optimizer}", f"optimizer.lr={lr}", f"optimizer.eps={eps}", *typed,
        "data.batch_size=full", "stop.steps=1", *MEASURED,
    )  # fmt: skip
    first, last = rows_of(run)[0], rows_of(run)[-1]
    assert (first["diagnostics/stability"], first["diagnostics/preconditioned_sharpness"]) == (
        "",
        "",
    )
    h = 28 / 3
    p = {"rmsprop": np.sqrt(0.1) * 2 * h + eps}.get(optimizer, (1 - beta) * (2 * h + eps))
    decay = options.get("weight_decay", 0.0) if optimizer == "adam" else 0.0
    wanted = (h + decay) / p
    assert float(last["diagnostics/sharpness"]) == pytest.approx(h, rel=1e-6)
    assert float(last["diagnostics/preconditioned_sharpness"]) == pytest.approx(wanted, rel=1e-6)
    bound = 2 * (1 + beta) / ((1 - beta) * lr)  # 38 / lr at 0.9
    if optimizer == "adamw":
        bound -= (1 + beta) * 0.5 / (1 - beta)
    assert float(last["diagnostics/stability"]) == pytest.approx(wanted / bound, rel=1e-6)


@pytest.mark.parametrize("lr", [1e-3, 0.3])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("Adam", {}),
        ("Adam", {"betas": (0.5, 0.9)}),
        ("AdamW", {"weight_decay": 0.7}),
        ("RMSprop", {}),
        ("RMSprop", {"momentum": 0.8}),
        ("Adagrad", {}),
    ],
    ids=str,
)
def test_the_bound_is_where_steps_with_a_frozen_preconditioner_begin_to_grow(
    name: str, options: dict[str, Any], lr: float
) -> None:
    """On a quadratic with P⁻¹H = λ the spectral radius of (m, x) -> the next is 1 at the bound."""
    kind = getattr(torch.optim, name)
    group = kind([torch.ones(1)], lr=lr, **options).param_groups[0]
    bound = stable_curvature(kind, group, lr)
    if name in ("Adam", "AdamW") and not options:
        assert bound == pytest.approx(38 / lr)
    if name.startswith("Adam"):
        beta = group["betas"][0]
        share, shrink = 1 - beta, 1 - lr * (group["weight_decay"] if name == "AdamW" else 0)
    else:
        beta, share, shrink = group.get("momentum", 0.0), 1.0, 1.0

    def radius(curvature: float) -> float:
        step = np.array([[beta, share * curvature], [-lr * beta, shrink - lr * share * curvature]])
        return float(np.abs(np.linalg.eigvals(step)).max())

    assert radius(bound) == pytest.approx(1, abs=1e-9)
    assert radius(0.999 * bound) <= 1 < radius(1.001 * bound)


def test_the_preconditioned_hessian_has_the_eigenvalues_of_the_exact_matrix() -> None:
    rng = np.random.default_rng(0)
    half = rng.normal(size=(6, 6))
    h, p = half @ half.T, rng.uniform(0.1, 10, 6)
    found, _ = largest_curvature(preconditioned(lambda v: h @ v, p, 0.3), np.ones(6))
    wanted = np.linalg.eigvals((h + 0.3 * np.eye(6)) / p[:, None]).real.max()
    assert found == pytest.approx(wanted, rel=1e-6)


def test_a_run_of_a_stack_has_the_ratios_that_it_has_alone(
    train_run: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = ("data=iris", "model=mlp", "model.hidden=[4]", "optimizer=adam", "stop.epochs=2")
    alone = rows_of(train_run(*common, "optimizer.lr=0.1", *MEASURED))
    monkeypatch.chdir(tmp_path)
    sweep = descent.sweep(*common, *MEASURED, "optimizer.lr=0.01,0.1", quiet=True)
    stacked = rows_of(Run(sweep.directory / "1"))
    for one, other in zip(alone[1:], stacked[1:], strict=True):
        for name in ("diagnostics/stability", "diagnostics/preconditioned_sharpness"):
            assert float(one[name]) == pytest.approx(float(other[name]), rel=1e-4)


def test_what_has_no_known_bound_has_its_sharpness_and_says_so(
    train_run: Callable[..., Run], caplog: pytest.LogCaptureFixture
) -> None:
    for name, words in (
        ("NAdam", "no largest stable lr of NAdam is known"),
        ("Adam", "first step"),
    ):
        caplog.clear()
        with caplog.at_level("INFO"):
            run = train_run(
                "data=line", "model=linear", "optimizer=adam",
                f"optimizer._target_=torch.optim.{name}", *MEASURED, "stop.epochs=1",
            )  # fmt: skip
        row = rows_of(run)[-1]
        assert (row["diagnostics/stability"] == "") == (name == "NAdam")
        assert float(row["diagnostics/sharpness"]) == pytest.approx(2.0, rel=1e-6)
        assert any(words in r.getMessage() for r in caplog.records)
