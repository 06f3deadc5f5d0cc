"""Training against loops written by hand, closed forms and least squares."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor, nn

from descent.assembly import assemble, build_model
from descent.data.prepare import Description
from descent.data.tensors import split_tensors
from descent.engine.losses import loss_for
from descent.job import Job
from descent.records.run import Run
from descent.seeds import ORDER, stream_seed
from descent.training import train

# 442 patients, 354 of them train; 354 = 17 * 20 + 14, so that the last of 18 batches is short
DIABETES = (
    "data=diabetes",
    "data.batch_size=20",
    "model=mlp",
    "model.hidden=[16]",
    "trainer.precision=64-true",
)
SHORT = ("picture=false", "test=false")


def weights(run: Run) -> dict[str, Tensor]:
    state = run.checkpoint("last")["state_dict"]
    return {k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")}


def steps(run: Run) -> pl.DataFrame:
    return pl.read_csv(run.path / "steps.csv", infer_schema_length=None)


def epochs(run: Run) -> pl.DataFrame:
    return pl.read_csv(run.path / "epochs.csv", infer_schema_length=None)


def start_of(job: Job) -> tuple[nn.Module, Tensor, Tensor]:
    """Return the run's model before training and its training rows, in float64."""
    model = build_model(job.config, Description.from_dict(job.prepared.describe())).double()
    return model, *split_tensors(job.prepared, "train", torch.device("cpu"), torch.float64)


def shuffled(x: Tensor, y: Tensor, size: int, passes: int) -> Iterator[tuple[Tensor, Tensor]]:
    for epoch in range(passes):
        generator = torch.Generator().manual_seed(stream_seed(0, ORDER, epoch))
        for rows in torch.randperm(len(x), generator=generator).split(size):
            yield x[rows], y[rows]


def train_by_hand(
    job: Job, optimizer: Callable[[nn.Module], torch.optim.Optimizer], passes: int
) -> tuple[nn.Module, list[float]]:
    """The loop that every PyTorch tutorial writes."""
    model, x, y = start_of(job)
    loss_of, made, losses = loss_for(job.prepared.arrays.task), optimizer(model), []
    for xb, yb in shuffled(x, y, job.prepared.batch_size, passes):
        made.zero_grad()
        loss = loss_of(model(xb), yb)
        loss.backward()
        made.step()
        losses.append(loss.item())
    return model, losses


def assert_same_weights(got: dict[str, Tensor], wanted: nn.Module, tolerance: float) -> None:
    for name, value in wanted.state_dict().items():
        torch.testing.assert_close(got[name], value, rtol=tolerance, atol=tolerance)


def assert_bitwise(one: Run, other: Run) -> None:
    """Weights and step losses are the same to the last bit."""
    first, second = weights(one), weights(other)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert steps(one).drop("seconds").equals(steps(other).drop("seconds"))


# ---- every optimizer beside torch.optim, float64, 54 steps

OPTIMIZERS = {
    "sgd": (["weight_decay=0.01"], torch.optim.SGD, {"lr": 0.05, "weight_decay": 0.01}),
    "momentum": (
        ["dampening=0.1"],
        torch.optim.SGD,
        {"lr": 0.05, "momentum": 0.9, "dampening": 0.1},
    ),
    "nesterov": ([], torch.optim.SGD, {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    "adagrad": (["lr_decay=0.01"], torch.optim.Adagrad, {"lr": 0.05, "lr_decay": 0.01}),
    "rmsprop": (["centered=true"], torch.optim.RMSprop, {"lr": 0.05, "centered": True}),
    "adam": (["betas=[0.8,0.99]"], torch.optim.Adam, {"lr": 0.05, "betas": (0.8, 0.99)}),
    "adamw": ([], torch.optim.AdamW, {"lr": 0.05, "weight_decay": 0.01}),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_equals_a_hand_written_loop_of_torch_optim(name, make_job):
    options, kind, arguments = OPTIMIZERS[name]
    given = [f"optimizer.{option}" for option in ["lr=0.05", *options]]
    job = make_job(*DIABETES, *SHORT, f"optimizer={name}", *given, "stop.epochs=3")
    model, losses = train_by_hand(job, lambda m: kind(m.parameters(), **arguments), passes=3)
    train(job)
    # the same float64 operations in the same order; 1e-12 leaves room for summation order only
    assert_same_weights(weights(job.run), model, 1e-12)
    np.testing.assert_allclose(steps(job.run)["loss"], losses, rtol=1e-12)


def test_a_classifier_equals_a_hand_written_loop(make_job):
    job = make_job(
        "data=digits", "data.batch_size=100", "model.hidden=[8]", "optimizer=momentum",
        "optimizer.lr=0.05", "trainer.precision=64-true", "stop.epochs=3", *SHORT,
    )  # fmt: skip
    model, _ = train_by_hand(
        job, lambda m: torch.optim.SGD(m.parameters(), lr=0.05, momentum=0.9), passes=3
    )
    train(job)
    assert_same_weights(weights(job.run), model, 1e-12)


# ---- windows and steps


def test_windows_of_any_length_give_the_same_bits(train_run):
    given = ("model.hidden=[16]", "model.dropout=0.3", "scheduler=warmup_cosine", "stop.epochs=2")
    one, *others = [train_run(*given, f"data.window={k}") for k in (1, 5, 32, "auto")]
    for other in others:
        assert_bitwise(one, other)
        assert epochs(one).drop("seconds").equals(epochs(other).drop("seconds"))


@pytest.mark.parametrize("window", [1, 8, "auto"])
@pytest.mark.parametrize("limit", [1, 29, 36])  # 18 steps an epoch; 29 is inside a window of 8
def test_a_run_stops_at_exactly_the_step_asked_for(window, limit, train_run):
    run = train_run(*DIABETES, f"data.window={window}", f"stop.steps={limit}", "test=false")
    result = run.result()
    assert (result["status"], result["reason"]) == ("ok", f"reached stop.steps={limit}")
    assert result["step"] == run.checkpoint("last")["global_step"] == limit
    assert steps(run)["step"].to_list() == list(range(1, limit + 1))
    # 18 steps take the 354 rows of an epoch
    assert result["samples"] == limit // 18 * 354 + limit % 18 * 20
    assert result["epoch"] == limit // 18


def test_a_run_without_a_limit_of_steps_counts_every_step(train_run):
    run = train_run(*DIABETES, "stop.epochs=2", "test=false")
    assert run.result()["step"] == run.checkpoint("last")["global_step"] == 2 * 18
    assert run.result()["reason"] == "reached stop.epochs=2"


# ---- losses


@pytest.mark.parametrize("batch_size", [1, 20, 100, 353])
def test_with_lr_0_running_loss_is_full_loss(batch_size, train_run):
    run = train_run(
        "data=diabetes", "data.batch_size=20", "model=linear", "model.init=xavier", "optimizer=sgd",
        "optimizer.lr=1e-30", "trainer.precision=64-true", f"data.batch_size={batch_size}",
        "penalty.l1=0.01", "penalty.l2=0.1", "stop.epochs=1", "test=false",
    )  # fmt: skip
    before, after = epochs(run).to_dicts()
    assert after["train/full_loss"] == before["train/full_loss"]
    assert after["train/loss"] == pytest.approx(before["train/full_loss"], rel=1e-12)


@pytest.mark.parametrize(
    "given",
    [
        ("experiment=diabetes_least_squares", "stop.epochs=1000"),
        ("model=linear", "data=diabetes"),  # as it is typed, with every default
        ("model=linear", "data=diabetes", "seed=1"),
    ],
    ids=" ".join,
)
def test_gradient_descent_reaches_the_least_squares_fit(given, make_job):
    job = make_job(*given, "picture=false")
    rows, arrays = job.prepared.rows["train"], job.prepared.arrays
    x, y = arrays.features[rows], arrays.targets[rows]
    design = np.column_stack([x, np.ones(len(x))])
    residual = y - design @ np.linalg.lstsq(design, y)[0]
    least = np.mean(residual**2) / y.var(ddof=1)  # in units of the standardized target
    train(job)
    assert least * (1 - 1e-6) <= job.run.result()["metrics"]["train/full_loss"] <= 1.01 * least


def test_penalties_act_on_weight_matrices_only(make_job):
    given = (*DIABETES, "trainer.derivatives=autograd")
    plain, _, _ = assemble(make_job(*given))
    learner, _, _ = assemble(make_job(*given, "penalty.l1=0.3", "penalty.l2=0.7"))
    x, y = torch.randn(5, 10).double(), torch.randn(5, 1).double()  # as the model
    extra = learner.kernel.objective(x, y) - plain.kernel.objective(x, y)
    matrices = [w for w in plain.model.parameters() if w.ndim == 2]
    assert len(matrices) == 2
    value = sum(0.3 * w.abs().sum() + 0.35 * w.square().sum() for w in matrices)
    torch.testing.assert_close(extra, value)  # d/dw: 0.3 sign(w) + 0.7 w
    learner.kernel.objective(x, y).backward()
    plain.kernel.objective(x, y).backward()
    pairs = zip(learner.model.parameters(), plain.model.parameters(), strict=True)
    for penalized, free in pairs:
        share = 0.3 * free.sign() + 0.7 * free if free.ndim == 2 else torch.zeros_like(free)
        torch.testing.assert_close(penalized.grad - free.grad, share)


def test_an_l2_penalty_is_weight_decay_on_the_matrices_under_sgd(make_job):
    job = make_job(
        *DIABETES, *SHORT, "optimizer=sgd", "optimizer.lr=0.05", "penalty.l2=0.1", "stop.epochs=3"
    )

    def decaying(model: nn.Module) -> torch.optim.Optimizer:
        parts = {d: [p for p in model.parameters() if p.ndim == d] for d in (1, 2)}
        return torch.optim.SGD(
            [{"params": parts[2], "weight_decay": 0.1}, {"params": parts[1]}], lr=0.05
        )

    model, _ = train_by_hand(job, decaying, passes=3)
    train(job)
    assert_same_weights(weights(job.run), model, 1e-12)


# ---- clipping: one full-batch step of plain SGD from known weights


@pytest.mark.parametrize(
    ("given", "norm", "value"),
    [
        (["clip.norm=0.5"], 0.5, math.inf),
        (["clip.norm=1000"], 1000.0, math.inf),
        (["clip.value=0.05"], math.inf, 0.05),
        (["clip.norm=0.5", "clip.value=0.05"], 0.5, 0.05),
    ],
)
def test_clipping_by_norm_comes_first_and_by_value_second(given, norm, value, make_job):
    job = make_job(
        *DIABETES, *SHORT, *given, "optimizer=sgd", "optimizer.lr=0.1", "data.batch_size=full",
        "stop.steps=1", "callbacks.recorder.grad_norm_every=1",
    )  # fmt: skip
    model, x, y = start_of(job)
    loss = nn.functional.mse_loss(model(x), y)
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    length = torch.cat([g.flatten() for g in gradients]).norm()
    # torch adds 1e-6 to the length before it divides
    shrink = min(1.0, norm / (float(length) + 1e-6))
    with torch.no_grad():
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            parameter -= 0.1 * (gradient * shrink).clamp(-value, value)
    train(job)
    assert_same_weights(weights(job.run), model, 1e-12)
    # what is recorded is the gradient's norm before clipping
    assert steps(job.run)["grad_norm"][0] == pytest.approx(float(length), rel=1e-12)


# ---- other people's code

MINE = """
import torch
from lightning.pytorch import Callback

class Net(torch.nn.Module):
    def __init__(self, in_features, out_features, width):
        super().__init__()
        self.first = torch.nn.Linear(in_features, width)
        self.second = torch.nn.Linear(width, out_features)
    def forward(self, x):
        return self.second(torch.sin(self.first(x)))

class SignDescent(torch.optim.Optimizer):
    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})
    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p -= group["lr"] * p.grad.sign()

class Watch(Callback):
    steps = []
    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        Watch.steps.append(all(p.grad is not None for p in pl_module.model.parameters()))
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A module of the user's own, somewhere on the Python path."""
    import importlib
    import sys

    (tmp_path / "users_own.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("users_own")
    del sys.modules["users_own"]


def test_any_module_and_any_optimizer_train_unchanged(mine, make_job):
    job = make_job(
        "data=diabetes", "data.batch_size=20", "trainer.precision=64-true", "stop.epochs=3", *SHORT,
        "model=linear", "model._target_=users_own.Net", "~model.bias", "~model.init",
        "+model.width=7", "optimizer=sgd", "optimizer._target_=users_own.SignDescent",
        "~optimizer.weight_decay", "optimizer.lr=0.001",
    )  # fmt: skip
    model, _ = train_by_hand(job, lambda m: mine.SignDescent(m.parameters(), 0.001), passes=3)
    train(job)
    assert type(model) is mine.Net
    assert_same_weights(weights(job.run), model, 1e-12)


def test_a_callback_on_the_optimizer_step_is_called_and_changes_no_bit(mine, train_run):
    given = (*DIABETES, "model.dropout=0.2", "scheduler=cosine", "scheduler.interval=step")
    given = (*given, "clip.norm=0.5", "stop.steps=29")
    direct = train_run(*given, "trainer.derivatives=autograd")
    through_lightning = train_run(*given, "+callbacks.watch._target_=users_own.Watch")
    assert mine.Watch.steps == [True] * 29
    assert through_lightning.result()["step"] == 29
    assert_bitwise(direct, through_lightning)


# ---- what a user sees


def test_the_default_command_reaches_95_percent(train_run):
    metrics = train_run().result()["metrics"]
    assert metrics["val/accuracy"] >= 0.95


def test_bfloat16_mixed_precision_trains_on_a_cpu(train_run):
    run = train_run("trainer.precision=bf16-mixed", "model.hidden=[32]", "stop.epochs=5")
    assert run.result()["status"] == "ok"
    assert run.result()["metrics"]["val/accuracy"] >= 0.9
    assert all(w.dtype == torch.float32 for w in weights(run).values())


# ---- how runs end
#
# Three points x = 1, 2, 3 with y = 2x, no bias, w_0 = 0: dL/dw = 28/3 (w - 2), so that
# w_n - 2 = -2 r^n with r = 1 - 28/3 lr, and L_n = 14/3 (w_n - 2)^2 = 56/3 r^(2n).

THREE = ("data=three_points", "model=linear", "model.bias=false", "optimizer=sgd")


def test_a_run_ends_at_the_first_epoch_that_reaches_the_target_loss(train_run):
    run = train_run(*THREE, "optimizer.lr=0.01", "stop.epochs=500", "stop.loss=0.01")
    r = 1 - 28 / 3 * 0.01
    n = math.ceil(math.log(0.01 / (56 / 3)) / (2 * math.log(r)))
    result = run.result()
    assert (result["status"], result["step"]) == ("ok", n)
    value = f"{result['metrics']['train/full_loss']:.6g}"
    assert result["reason"] == f"full loss {value} reached the target 0.01 at step {n}"
    assert result["metrics"]["train/full_loss"] == pytest.approx(56 / 3 * r ** (2 * n), rel=1e-5)
    ending = {"code": "target", "step": n, "target": 0.01, "value": result["ending"]["value"]}
    assert result["ending"] == ending


def test_a_run_that_begins_at_its_target_takes_no_step_and_tells_of_none(train_run):
    run = train_run(*THREE, "stop.loss=20")  # the loss of the weight 0 is 56/3
    result = run.result()
    assert [result[key] for key in ("status", "step", "epoch", "samples")] == ["ok", 0, 0, 0]
    assert result["metrics"] == {"train/full_loss": pytest.approx(56 / 3)}
    assert result["weights"] == {"weight of x": 0.0}
    assert len((run.path / "epochs.csv").read_text().splitlines()) == 2
    assert len((run.path / "steps.csv").read_text().splitlines()) == 1


def test_a_run_stops_early_when_validation_loss_stops_improving(train_run):
    run = train_run(
        "data=iris", "optimizer.lr=0.1", "callbacks=early_stopping", "stop.epochs=200",
        "callbacks.early_stopping.patience=3",
    )  # fmt: skip
    losses = epochs(run)["val/loss"].to_list()[1:]
    best = [min(losses[: i + 1]) for i in range(len(losses))]
    waited = [i - losses.index(best[i]) for i in range(len(losses))]  # epochs since the best
    assert waited[-1] == 3
    assert max(waited[:-1]) < 3
    assert run.result()["status"] == "ok"
    assert run.result()["reason"] == "val/loss did not improve for 3 checks in a row"
    assert run.result()["best"]["metrics"]["val/loss"] == min(losses)


@pytest.mark.parametrize("window", [1, "auto"])
def test_a_diverged_run_says_at_which_step_and_ends_its_record_there(window, make_job):
    job = make_job(
        "data=diabetes", "data.batch_size=20", "model=linear", "optimizer=sgd",
        "optimizer.lr=1e6", "picture=false",
        f"data.window={window}",
    )  # fmt: skip
    assert train(job) is None
    result, losses = job.run.result(), steps(job.run)["loss"].cast(pl.Float64).to_list()
    assert result["status"] == "diverged"
    assert result["step"] == len(losses) == steps(job.run)["step"][-1]
    assert not math.isfinite(losses[-1])
    assert all(math.isfinite(loss) for loss in losses[:-1])
    assert result["samples"] == steps(job.run)["samples"][-1] == 20 * len(losses)
    assert result["reason"] == (
        f"step loss is {losses[-1]} at step {len(losses)} (epoch 1, lr 1e+06); try a smaller lr"
    )


def test_a_loss_that_grows_for_good_ends_the_run(train_run):
    run = train_run(
        *THREE, "optimizer.lr=0.3", "callbacks.divergence.factor=10",
        "callbacks.divergence.checks=3",
    )  # fmt: skip
    # r = -1.8 and L_n = 56/3 * 3.24^n exceeds ten times its start from n = 2 on; the third time
    # in a row is n = 4
    result = run.result()
    assert (result["status"], result["step"]) == ("diverged", 4)
    assert result["reason"] == (
        f"full loss {56 / 3 * 3.24**4:.6g} stayed above 10 times its start 18.6667 for 3 checks, "
        "up to step 4 (epoch 4, lr 0.3); try a smaller lr"
    )


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_a_run_between_two_steps(number, tmp_path, monkeypatch, make_job):
    (tmp_path / "signalling.py").write_text(
        "import os, signal\n"
        "from lightning.pytorch import Callback\n"
        "class Signal(Callback):\n"
        "    def __init__(self, name): self.number = getattr(signal, name)\n"
        "    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):\n"
        "        if trainer.global_step == 22: os.kill(os.getpid(), self.number)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    job = make_job(
        *DIABETES, *SHORT, "data.window=4", "+callbacks.signal._target_=signalling.Signal",
        f"+callbacks.signal.name={number}",
    )  # fmt: skip
    with pytest.raises(SystemExit) as exit_:
        train(job)
    result = job.run.result()
    assert exit_.value.code == 128 + getattr(signal, number)
    assert result["status"] == "interrupted"
    assert result["reason"] == f"stopped by {number} at step 22"
    assert steps(job.run).height == job.run.checkpoint("last")["global_step"] == 22
