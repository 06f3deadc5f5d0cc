"""Distances to exact optima, against numpy's least squares and known minima."""

from __future__ import annotations

import csv
from collections.abc import Callable

import numpy as np
import pytest
import torch

from descent.callbacks.optimum import of_landscape, of_least_squares
from descent.errors import UserError
from descent.models.landscapes import LANDSCAPES
from descent.records.run import Run


def problem(rows: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 3, generator=generator, dtype=torch.float64) + 1.0
    return x, torch.randn(rows, 2, generator=generator, dtype=torch.float64)


def test_least_squares_is_numpys() -> None:
    x, y = problem()
    known = of_least_squares(x, y, bias=True)
    design = np.hstack([x.numpy(), np.ones((40, 1))])
    best, residuals, *_ = np.linalg.lstsq(design, y.numpy(), rcond=None)
    assert known.loss == pytest.approx(residuals.sum() / 80, rel=1e-12)
    theta = torch.from_numpy(np.concatenate([best[:3].T.ravel(), best[3]]))
    assert known.distance(theta) == pytest.approx(0, abs=1e-12)
    away = theta.clone()
    away[0] += 3.0
    away[-1] -= 4.0
    assert known.distance(away) == pytest.approx(5.0, rel=1e-12)


def test_a_penalty_on_the_weights_leaves_the_bias_alone() -> None:
    x, y = problem()
    known = of_least_squares(x, y[:, :1], bias=True, l2=0.7)
    w = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    b = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([w, b], max_iter=500, tolerance_grad=1e-13, tolerance_change=0)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = (x @ w + b - y[:, 0]).square().mean() + 0.35 * w.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    assert known.loss == pytest.approx(float(loss().detach()), rel=1e-10)
    assert known.distance(torch.cat([w, b]).detach()) == pytest.approx(0, abs=1e-6)


def test_where_optima_form_a_plane_the_distance_is_to_the_plane() -> None:
    x, y = problem()
    x = torch.cat([x, x[:, :1]], dim=1)  # the first feature twice
    known = of_least_squares(x, y[:, :1], bias=False)
    best = np.linalg.lstsq(x.numpy(), y[:, 0].numpy(), rcond=None)[0]
    along = torch.tensor([5.0, 0, 0, -5.0], dtype=torch.float64)
    assert known.distance(torch.from_numpy(best) + along) == pytest.approx(0, abs=1e-10)
    across = torch.tensor([3.0, 0, 0, 3.0], dtype=torch.float64)
    assert known.distance(torch.from_numpy(best) + across) == pytest.approx(18**0.5, rel=1e-10)


def test_a_landscape_measures_to_its_nearest_minimum() -> None:
    known = of_landscape(LANDSCAPES["saddle"])
    assert known.distance(torch.tensor([0.0, 0.75])) == pytest.approx(0.25)
    assert known.distance(torch.tensor([0.0, -2.0])) == pytest.approx(1.0)
    assert known.loss == 0.0


def test_a_run_records_both_distances(train_run: Callable[..., Run]) -> None:
    run = train_run(
        *("model=point", "data=landscape", "landscape=bowl", "trainer=float64", "optimizer=sgd"),
        *("optimizer.lr=0.5", "stop.epochs=3", "diagnostics=[optimum]"),
    )
    with (run.path / "epochs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(r["diagnostics/distance"]) for r in rows] == pytest.approx([5, 2.5, 1.25, 0.625])
    excess = [float(r["diagnostics/excess_loss"]) for r in rows]
    assert excess == pytest.approx([12.5, 3.125, 0.78125, 0.1953125])


@pytest.mark.parametrize(
    "overrides", [["model=mlp", "data=diabetes"], ["model=linear", "data=iris"],
                  ["model=linear", "data=diabetes", "penalty.l1=0.1"]],
)  # fmt: skip
def test_an_unknown_optimum_is_said_in_one_sentence(
    train_run: Callable[..., Run], overrides: list[str]
) -> None:
    with pytest.raises(UserError, match=r"least squares .* and of landscapes only; take it out"):
        train_run(*overrides, "diagnostics=[optimum]", "stop.epochs=1")
