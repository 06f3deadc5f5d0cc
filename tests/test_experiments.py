"""Every recipe gives the numbers that its header promises.

The three points: x = 1, 2, 3 and y = 2x have mean loss (w - 2)^2 * 14/3, slope 28/3 (w - 2). One
step at lr takes w - 2 to (1 - 28/3 lr)(w - 2); a single row x takes it to (1 - 2 lr x^2)(w - 2).
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Lasso, LogisticRegression

from descent.records.pathfile import read_path
from descent.records.run import Run

CONF = Path(__file__).parents[1] / "conf"
LR = Fraction(1, 100)
Recipe = Callable[..., dict[str, Run]]


def table(run: Run, name: str = "steps.csv") -> dict[str, np.ndarray]:
    with (run.path / name).open() as file:
        rows = list(csv.DictReader(file))
    return {
        key: np.array([float(row[key]) if row[key] else math.nan for row in rows])
        for key in rows[0]
    }


def weights(run: Run) -> list[float]:
    return list(run.result()["weights"].values())


def metrics(run: Run) -> dict[str, Any]:
    return run.result()["metrics"]


def only(runs: dict[str, Run]) -> Run:
    assert len(runs) == 1
    return next(iter(runs.values()))


def training_rows(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Return the scaled training rows as the run saw them, from its directory alone."""
    import torch

    from descent.data.prepare import prepare
    from descent.data.tensors import split_tensors

    x, y = split_tensors(prepare(run.config()["data"]), "train", torch.device("cpu"), torch.float64)
    return x.numpy(), y.numpy()


# ---- three points


def test_batch_descent_on_three_points_is_the_closed_form(train_recipe: Recipe) -> None:
    run = only(train_recipe("three_points_gd"))
    exact = float(2 - Fraction(68, 75) ** 101)
    assert exact == 1.9999496252874733
    # the rounding of the last steps, each about an ulp of 2
    assert weights(run)[0] == pytest.approx(exact, rel=0, abs=1e-15)
    path = read_path(run.path)
    assert path is not None
    closed = [float(2 - Fraction(68, 75) ** n) for n in range(102)]
    np.testing.assert_allclose(path.theta[:, 0], closed, rtol=0, atol=2e-15)
    assert run.result()["step"] == 101
    assert metrics(run)["diagnostics/sharpness"] == pytest.approx(28 / 3, rel=1e-12)
    assert metrics(run)["diagnostics/stability"] == pytest.approx(0.01 * 14 / 3, rel=1e-12)


@pytest.mark.parametrize("order", ["sequential", "shuffle"])
def test_single_rows_of_three_points_whatever_their_order(train_recipe: Recipe, order: str) -> None:
    run = only(train_recipe("three_points_sgd", f"data.order={order}"))
    factor = math.prod(1 - 2 * LR * x**2 for x in (1, 2, 3))
    assert float(factor) == pytest.approx(0.739312, abs=1e-15)
    exact = float(2 - factor**101)
    assert exact == 1.9999999999999436
    # 303 steps near 2, whose neighbouring floats are 2.2e-16 apart below it
    assert weights(run)[0] == pytest.approx(exact, rel=0, abs=1e-15)
    assert run.result()["step"] == 303


def test_a_mini_batch_of_the_first_two_points(train_recipe: Recipe) -> None:
    run = only(train_recipe("three_points_minibatch"))
    # rows 1 and 2: mean loss 5/2 (w - 2)^2, factor 1 - 5 lr = .95
    exact = float(2 - Fraction(95, 100) ** 101)
    assert exact == pytest.approx(1.9943755, abs=5e-8)
    assert weights(run)[0] == pytest.approx(exact, rel=0, abs=1e-15)
    assert metrics(run)["train/full_loss"] == pytest.approx((2 - exact) ** 2 * 14 / 3, rel=1e-12)
    assert table(run)["samples"][-1] == 202


def test_too_large_an_lr_is_told_before_and_ends_as_diverged(
    train_recipe: Recipe, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        run = only(train_recipe("three_points_diverging"))
    result = run.result()
    # (w - 2)^2 grows 3.24 times a step: above 1,000 times its start from step 6 on
    assert [n for n in range(10) if 3.24**n > 1000][:3] == [6, 7, 8]
    assert (result["status"], result["step"]) == ("diverged", 8)
    assert "stayed above 1000 times its start 4.66667" in result["reason"]
    assert "lr 0.3" in result["reason"]
    assert weights(run)[0] == pytest.approx(2 - 1.8**8, rel=1e-12)
    assert table(run, "epochs.csv")["diagnostics/stability"][0] == pytest.approx(1.4, rel=1e-12)
    warned = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert any("0.2143" in line for line in warned)


def test_four_learning_rates_on_three_points(train_recipe: Recipe) -> None:
    runs = train_recipe("lr_too_small_right_too_large")
    for lr in (0.002, 0.1, 0.2, 0.25):
        run, factor = runs[f"optimizer.lr={lr}"], 1 - lr * 28 / 3
        path = read_path(run.path)
        assert path is not None
        np.testing.assert_allclose(path.theta[:, 0], 2 - factor**path.steps, rtol=1e-11, atol=1e-14)
        assert run.result()["status"] == ("diverged" if lr > 3 / 14 else "ok")
    assert weights(runs["optimizer.lr=0.002"])[0] == pytest.approx(1.610, abs=5e-4)


def test_the_listing_is_nesterov_momentum_and_ends_where_it_ends(train_recipe: Recipe) -> None:
    run = only(train_recipe("momentum_listing"))
    x, y = np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0])
    # the tutorial's own loop
    w, v, steps, beta, lr = 1.0, 0.0, 0, 0.1, 0.01
    while np.mean((w * x - y) ** 2) > 0.01:
        g = np.mean(2 * (w * x - y) * x)
        v = beta * v - lr * g
        w = w + beta * v - lr * g
        steps += 1
    assert run.result()["step"] == steps == 29
    assert weights(run)[0] == pytest.approx(w, rel=0, abs=1e-14)
    assert "reached the target 0.01" in run.result()["reason"]


# ---- the line


def test_twenty_sequential_steps_of_the_line(train_recipe: Recipe) -> None:
    run = only(train_recipe("line_sequential"))
    steps, path = table(run), read_path(run.path)
    assert path is not None
    printed = {1: (101.19, 3.12, -1.99), 8: (60.59, 5.07, 4.15), 12: (4.00, 9.75, 5.42)}
    for step, (loss, a, b) in printed.items():
        assert round(steps["loss"][step - 1], 2) == loss
        assert [round(float(v), 2) for v in path.theta[step]] == [a, b]
    assert round(steps["full_loss"][7], 2) == 25.56
    assert len(steps["loss"]) == 20


def test_shuffled_mini_batches_of_the_line_follow_the_full_loss(train_recipe: Recipe) -> None:
    run = only(train_recipe("line_shuffled"))
    steps = table(run)
    sequential = table(only(train_recipe("line_sequential")))

    def distance(t: dict[str, np.ndarray]) -> float:
        """Mean |log| between a step's loss and the full loss of the weights it was taken at."""
        return float(np.abs(np.log(t["loss"][1:] / t["full_loss"][:-1])).mean())

    assert 2 * distance(steps) < distance(sequential)
    assert steps["full_loss"][-1] == pytest.approx(1.104883, abs=0.005)


def test_batch_descent_on_the_line_is_the_closed_form(train_recipe: Recipe) -> None:
    run = only(train_recipe("line_gd", "trainer=float64"))
    path = read_path(run.path)
    assert path is not None
    t = path.steps
    # curvatures 2 * 199/200 (unbiased std) and 2; the constants have 6 decimals
    a, b = 9.934819 * (1 - 0.801**t), 5.093296 * (1 - 0.8**t)
    np.testing.assert_allclose(path.theta[:, 0], a, atol=2e-6)
    np.testing.assert_allclose(path.theta[:, 1], b, atol=2e-6)
    assert metrics(run)["train/full_loss"] == pytest.approx(1.104883, abs=5e-7)
    assert metrics(run)["diagnostics/distance"] < 1e-12
    assert metrics(run)["diagnostics/excess_loss"] == pytest.approx(0, abs=1e-12)
    assert metrics(run)["diagnostics/sharpness"] == pytest.approx(2.0, rel=1e-6)


def test_batch_mini_batch_and_single_rows_trade_steps_for_samples(train_recipe: Recipe) -> None:
    runs = train_recipe("gd_vs_sgd_vs_minibatch")
    single, mini, batch = (runs[f"data.batch_size={b}"] for b in ("1", "20", "full"))
    results = [run.result() for run in (single, mini, batch)]
    assert all("reached the target 1.16" in r["reason"] for r in results)
    steps, samples = ([r[key] for r in results] for key in ("step", "samples"))
    assert steps[0] > steps[1] > steps[2]
    assert samples[0] < samples[1] < samples[2]
    noise = [metrics(run)["diagnostics/step_noise"] for run in (single, mini, batch)]
    assert noise[0] > 3 * noise[1] > noise[2] == 0
    x, y = training_rows(mini)
    w, b = weights(mini)
    each = (x[:, 0] * w + b - y[:, 0]) ** 2
    expected = each.std() / math.sqrt(20) * math.sqrt(180 / 199)
    assert noise[1] == pytest.approx(expected, rel=1e-4)  # float32 weights


@pytest.mark.slow
def test_raw_inputs_leave_the_flat_direction_behind(train_recipe: Recipe) -> None:
    runs = train_recipe("standardize_or_not")
    scaled, raw = (runs[f"data.scale={kind}"] for kind in ("standardize", "none"))
    assert metrics(scaled)["train/full_loss"] == pytest.approx(1.104883, abs=5e-7)
    for run in (scaled, raw):
        x, y = training_rows(run)
        design = np.hstack([x, np.ones_like(x)])
        hessian = 2 / len(x) * design.T @ design
        top = np.linalg.eigvalsh(hessian)[-1]
        lr = run.config()["optimizer"]["lr"]
        assert metrics(run)["diagnostics/stability"] == pytest.approx(lr * top / 2, rel=1e-6)
        assert lr * top / 2 == pytest.approx(0.9, rel=0.01)
        # 500 steps in closed form: theta = theta* - (I - lr H)^500 theta*
        best = np.linalg.lstsq(design, y[:, 0], rcond=None)[0]
        left = np.linalg.matrix_power(np.eye(2) - lr * hessian, 500) @ best
        loss = np.mean((design @ (best - left) - y[:, 0]) ** 2)
        assert metrics(run)["train/full_loss"] == pytest.approx(loss, rel=1e-6)


# ---- landscapes


def test_momentum_rolls_through_the_local_minimum(train_recipe: Recipe) -> None:
    runs = train_recipe("momentum_escapes_local_minimum")
    assert weights(runs["optimizer=sgd"])[0] == pytest.approx(1.0, abs=1e-6)
    assert weights(runs["optimizer=momentum"])[0] == pytest.approx(-1.5, abs=1e-6)
    assert metrics(runs["optimizer=sgd"])["train/full_loss"] == pytest.approx(125 / 48, abs=1e-9)


def test_six_optimizers_take_the_steps_that_torch_takes_on_the_valley(
    train_recipe: Recipe,
) -> None:
    import torch

    makers = {
        "sgd": lambda p: torch.optim.SGD(p, lr=0.45),
        "momentum": lambda p: torch.optim.SGD(p, lr=0.15, momentum=0.9),
        "nesterov": lambda p: torch.optim.SGD(p, lr=0.15, momentum=0.9, nesterov=True),
        "adagrad": lambda p: torch.optim.Adagrad(p, lr=1.0),
        "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.8),
        "adam": lambda p: torch.optim.Adam(p, lr=0.2),
    }
    promised = {
        "sgd": 54, "momentum": 67, "nesterov": 29, "adagrad": 43, "rmsprop": 6, "adam": 66,
    }  # fmt: skip
    runs = train_recipe("optimizers_on_a_valley")
    assert len(runs) == len(makers)
    for name, make in makers.items():
        p = torch.tensor([-5.0, -2.0], dtype=torch.float64, requires_grad=True)
        optimizer, steps = make([p]), 0
        while float(0.1 * p[0] ** 2 + 2 * p[1] ** 2) > 1e-4:
            optimizer.zero_grad()
            (0.1 * p[0] ** 2 + 2 * p[1] ** 2).backward()
            optimizer.step()
            steps += 1
        run = runs[f"optimizer={name}"]
        assert run.result()["step"] == steps == promised[name]
        assert weights(run) == pytest.approx(p.tolist(), rel=1e-9, abs=1e-12)


@pytest.mark.slow
def test_a_constant_lr_keeps_its_noise_floor_and_decays_sink_below_it(
    train_recipe: Recipe,
) -> None:
    runs = train_recipe("lr_decay")
    # E x^2 = lr c / (B h (2 - lr h)) per coordinate, with lr .2, c = 9, B = 10, h = 1
    floor = 2 * 0.5 * 0.2 * 9 / (10 * 1 * (2 - 0.2))
    assert floor == pytest.approx(0.1)
    constant = table(runs["scheduler=constant"])["full_loss"]
    kept = constant[~np.isnan(constant)][30:]  # each 10th step, after 300 steps: .8^300 is nothing
    # x forgets at .8 a step, x^2 at .64: every tenth is independent to 1%
    error = kept.std(ddof=1) / math.sqrt(len(kept))
    assert error < 0.1 * floor
    assert abs(kept.mean() - floor) < 3 * error
    for decay in ("step", "inverse_time", "cosine"):
        sunk = table(runs[f"scheduler={decay}"])["full_loss"]
        assert np.nanmean(sunk[-500:]) < 0.5 * floor


# ---- penalties, scaling, starts, stops


@pytest.mark.slow
def test_an_l1_penalty_finds_the_lasso(train_recipe: Recipe) -> None:
    runs = train_recipe("l1_sparsity")
    zeros = []
    for l1 in (0, 0.03, 0.1, 0.3):
        run = runs[f"penalty.l1={l1}"]
        x, y = training_rows(run)
        state = run.checkpoint("last")["state_dict"]
        w = state["model.layer.weight"].numpy()[0]
        if l1:
            # scikit-learn's loss is half the mean square: alpha = l1 / 2
            exact = Lasso(alpha=l1 / 2, tol=1e-12, max_iter=100000).fit(x, y[:, 0]).coef_
            assert (np.abs(w) < 0.01).sum() == (np.abs(exact) < 0.01).sum()
        else:
            exact = np.linalg.lstsq(np.hstack([x, np.ones((len(x), 1))]), y, rcond=None)[0][:-1, 0]
        # at a kink a weight swings by lr l1 / (1 - β), and lr has fallen along the cosine
        assert np.abs(w - exact).max() < 1e-3
        zeros.append(int((np.abs(w) < 0.01).sum()))
        assert metrics(run)["diagnostics/near_zero"] == pytest.approx(zeros[-1] / 10)
    assert zeros == sorted(zeros)
    assert zeros[-1] > zeros[0]


@pytest.mark.slow
def test_an_l2_penalty_is_ridge_regression(train_recipe: Recipe) -> None:
    runs = train_recipe("l2_shrinkage")
    norms = []
    for l2 in (0, 0.1, 1, 10):
        run = runs[f"penalty.l2={l2}"]
        x, y = training_rows(run)
        state = run.checkpoint("last")["state_dict"]
        w = state["model.layer.weight"].numpy()[0]
        # mean square + l2/2 w^2, x and y of mean 0: (2/N X'X + l2 I) w = 2/N X'y
        hessian = 2 / len(x) * x.T @ x + l2 * np.eye(10)
        exact = np.linalg.solve(hessian, 2 / len(x) * x.T @ y[:, 0])
        # 1,000 Nesterov steps leave about exp(-1000 lr λ / (1 - β)) along the flattest direction
        left = np.exp(-700 * np.linalg.eigvalsh(hessian)[0])
        assert left < 1e-4
        assert np.abs(w - exact).max() < 1e-4
        norms.append(float(np.linalg.norm(w)))
        assert metrics(run)["diagnostics/weights_l2"] == pytest.approx(norms[-1])
        assert (np.abs(w) > 1e-4).all()
    assert norms == sorted(norms, reverse=True)


def test_an_mlp_of_zeros_never_learns(train_recipe: Recipe) -> None:
    runs = train_recipe("initialisation")
    accuracy = {k.split("=")[1]: metrics(run)["val/accuracy"] for k, run in runs.items()}
    assert accuracy["zeros"] < 0.15
    assert accuracy["normal"] < 0.5
    assert min(accuracy["xavier"], accuracy["kaiming"]) > 0.93
    weights = runs["model.init=zeros"].checkpoint("last")["state_dict"]
    assert not weights["model.layers.0.weight"].any()


def test_early_stopping_saves_the_run_that_overfits(train_recipe: Recipe) -> None:
    runs = train_recipe("early_stopping")
    on, stopped = (runs[f"callbacks={c}"].result() for c in ("default", "early_stopping"))
    assert on["best"]["epoch"] == stopped["best"]["epoch"]
    assert stopped["epoch"] == stopped["best"]["epoch"] + 5  # patience
    assert on["metrics"]["val/loss"] > 2 * on["best"]["metrics"]["val/loss"]


def test_logistic_regression_comes_to_the_exact_optimum(train_recipe: Recipe) -> None:
    run = only(train_recipe("logistic_breast_cancer"))
    x, y = training_rows(run)
    # scikit-learn: sum of losses + 1/(2C) w^2; ours: mean + l2/2 w^2, so C = 1 / (N l2)
    exact = LogisticRegression(C=1 / (len(x) * 0.01), tol=1e-10, max_iter=10000).fit(x, y[:, 0])
    logits = x @ exact.coef_[0] + exact.intercept_[0]
    lowest = np.mean(np.logaddexp(0, logits) - y[:, 0] * logits)
    lowest += 0.005 * (exact.coef_**2).sum()
    reached = metrics(run)["train/full_loss"]
    assert lowest - 1e-6 < reached < 1.001 * lowest
    assert metrics(run)["diagnostics/excess_loss"] == pytest.approx(reached - lowest, abs=1e-7)
    named = {name: t.double() for name, t in run.checkpoint("last")["state_dict"].items()}
    away = [named["model.layer.weight"][0] - torch.from_numpy(exact.coef_[0])]
    away.append(named["model.layer.bias"] - torch.from_numpy(exact.intercept_))
    assert metrics(run)["diagnostics/distance"] == pytest.approx(
        float(torch.cat(away).norm()), rel=1e-3
    )
    assert metrics(run)["val/accuracy"] == pytest.approx(54 / 57)


def test_a_small_mlp_reads_digits(train_recipe: Recipe) -> None:
    run = only(train_recipe("digits_mlp"))
    assert run.result()["best"]["metrics"]["val/accuracy"] >= 0.95


# ---- all of them


EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_recipe_says_its_command_and_what_to_expect(name: str) -> None:
    text = (CONF / "experiment" / f"{name}.yaml").read_text()
    header = text[: text.index("\ndefaults")]
    assert header.startswith("# @package _global_\n")
    assert f"python src/train.py experiment={name}" in header
    assert any(char.isdigit() for char in header.split("experiment=")[1])


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_recipe_is_run_by_a_test_of_its_own(name: str) -> None:
    tests = "".join(p.read_text() for p in Path(__file__).parent.rglob("test_*.py"))
    assert f'"{name}"' in tests or f'experiment={name}"' in tests


@pytest.mark.slow
def test_a_comparison_is_one_command_that_ends_with_one_table(
    type_command: Callable[..., Any], tmp_path: Path
) -> None:
    done = type_command("train", "experiment=momentum_escapes_local_minimum", "report=false")
    assert done.returncode == 0, done.stderr
    assert "2 runs" in done.stdout
    lines = [line for line in done.stdout.splitlines() if line.startswith("│")]
    assert [line.split("│")[1].strip() for line in lines] == ["sgd", "momentum"]
    sweep = next((tmp_path / "outputs" / "multiruns").iterdir())
    with (sweep / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["optimizer"] for row in rows] == ["sgd", "momentum"]
    assert [float(row["x"]) for row in rows] == pytest.approx([1.0, -1.5], abs=1e-6)
    assert f"python src/report.py sweep={sweep.relative_to(tmp_path)}" in done.stdout
