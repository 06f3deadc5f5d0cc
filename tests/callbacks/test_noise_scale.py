"""The gradient noise scale: exact against loops, estimated against exact."""

from __future__ import annotations

import csv
from collections.abc import Callable

import numpy as np
import pytest
import torch

from descent.callbacks.noise_scale import exact_moments, noise_scale, two_batch_moments
from descent.records.run import Run


def column(run: Run, name: str = "diagnostics/noise_scale") -> list[float]:
    with (run.path / "epochs.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file)]


def test_on_three_points_it_is_one_half_at_every_w(train_run: Callable[..., Run]) -> None:
    # gradients 2x²(w - 2): mean 28/3, mean square 392/3, variance 392/9, ratio (392/9)/(784/9)
    run = train_run("experiment=three_points_gd", "diagnostics=[noise_scale]", "stop.epochs=30")
    assert column(run) == pytest.approx([0.5] * 31, rel=1e-12)


def test_exact_moments_are_those_of_gradients_taken_one_by_one() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)
    ).double()
    x, y = torch.randn(25, 3).double(), torch.randint(2, (25,))
    names = [name for name, _ in model.named_parameters()]

    def gradient(xb: torch.Tensor, yb: torch.Tensor) -> dict[str, torch.Tensor]:
        def loss(p: dict[str, torch.Tensor]) -> torch.Tensor:
            out = torch.func.functional_call(model, p, (xb,))
            return torch.nn.functional.cross_entropy(out, yb)

        return torch.func.grad(loss)({n: p.detach() for n, p in model.named_parameters()})

    each = []
    for i in range(25):
        model.zero_grad()
        torch.nn.functional.cross_entropy(model(x[i : i + 1]), y[i : i + 1]).backward()
        each.append(
            np.concatenate([model.get_parameter(n).grad.numpy().ravel() for n in names])  # type: ignore[union-attr]
        )
    norm, trace = exact_moments(gradient, zip(x.split(10), y.split(10), strict=True))
    assert norm == pytest.approx(np.square(np.mean(each, axis=0)).sum(), rel=1e-12)
    assert trace == pytest.approx(np.var(each, axis=0).sum(), rel=1e-12)


@pytest.mark.parametrize(("b", "batches"), [(20, 10), (20, 3), (1, 16), (50, 2)])
def test_the_two_batch_estimate_is_right_on_average_on_a_line_fit(b: int, batches: int) -> None:
    # 200 rows of a noisy line; gradients of (w z + c - y)² at w = c = 1 are 2 r (z, 1)
    rng = np.random.default_rng(3)
    z = (np.arange(200) - 99.5) / np.std(np.arange(200), ddof=1)
    y = 10 * z + 5 + rng.standard_normal(200)
    r = z + 1 - y
    each = 2 * r[:, None] * np.stack([z, np.ones(200)], axis=1)
    exact = (np.square(each.mean(axis=0)).sum(), each.var(axis=0).sum())
    draws, plain = [], []
    for _ in range(4000):
        picked = each[rng.permutation(200)[: b * batches]].reshape(batches, b, 2).mean(axis=1)
        small, big = np.square(picked).sum(axis=1).mean(), np.square(picked.mean(axis=0)).sum()
        draws.append(two_batch_moments(small, big, b, b * batches, 200))
        plain.append((b * batches * big - b * small) / (b * batches - b))
    mean, error = np.mean(draws, axis=0), np.std(draws, axis=0) / np.sqrt(len(draws))
    assert (np.abs(mean - exact) < 3.5 * error + 1e-9).all()
    assert (error < 0.02 * np.array(exact)).all()  # and the draws can tell
    # without the correction for a finite population |G|² would lack S / N
    lacking = each.var(axis=0, ddof=1).sum() / 200
    spread = np.std(plain) / np.sqrt(len(plain))
    assert np.mean(plain) == pytest.approx(exact[0] - lacking, abs=3.5 * spread)


@pytest.mark.slow
def test_the_estimate_of_a_run_agrees_with_the_exact_value(train_run: Callable[..., Run]) -> None:
    job = ("data=line", "model=linear", "optimizer=sgd", "optimizer.lr=1e-9", "trainer=float64")
    measured = "diagnostics=[noise_scale]"
    exact = column(train_run(*job, measured, "stop.epochs=1"))[0]
    half = ("callbacks.noise_scale.exact=false", "callbacks.noise_scale.smoothing=0")
    seen = column(train_run(*job, measured, *half, "stop.epochs=400", "data.batch_size=10"))
    error = np.std(seen, ddof=1) / np.sqrt(len(seen))
    assert error < 0.05 * exact
    # a ratio of estimates leans by about its own relative variance, here below 1%
    assert abs(np.mean(seen) - exact) < 3 * error + 0.01 * exact


def test_smoothing_averages_the_moments_and_then_divides(train_run: Callable[..., Run]) -> None:
    job = (
        *("data=line", "model=linear", "optimizer=sgd", "optimizer.lr=1e-9", "trainer=float64"),
        *("data.batch_size=10", "diagnostics=[noise_scale]", "callbacks.noise_scale.exact=false"),
        "stop.epochs=60",
    )
    rough = np.std(column(train_run(*job, "callbacks.noise_scale.smoothing=0"))[30:])
    smooth = np.std(column(train_run(*job, "callbacks.noise_scale.smoothing=0.9"))[30:])
    # an average over about 1 / (1 - 0.9) = 10 values, exponentially: variance (1 - s) / (1 + s)
    assert smooth < 0.6 * rough


def test_a_landscape_without_noise_has_none_and_with_noise_the_promised_one(
    train_run: Callable[..., Run],
) -> None:
    bowl = (
        *("model=point", "data=landscape", "landscape=bowl", "trainer=float64", "stop.epochs=1"),
        *("diagnostics=[noise_scale]", "optimizer=sgd", "logger=none"),
    )
    assert column(train_run(*bowl))[0] == pytest.approx(0.0, abs=1e-12)
    # tr Σ = 2 · 3², |G|² = 4² + 3²
    assert column(train_run(*bowl, "data.source.noise=3.0"))[0] == pytest.approx(18 / 25)


def test_no_mean_gradient_is_an_infinite_scale() -> None:
    assert noise_scale(0.0, 1.0) == float("inf")
    assert noise_scale(-0.1, 1.0) == float("inf")
    assert noise_scale(4.0, 2.0) == 0.5
