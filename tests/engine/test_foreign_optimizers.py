"""Optimizers of torch and of other libraries beside loops written by hand."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor, nn

from descent.data.prepare import Description
from descent.data.tensors import split_tensors
from descent.engine.blueprint import build_model
from descent.errors import UserError
from descent.job import Job
from descent.records.run import Run
from descent.seeds import ORDER, stream_seed
from descent.training import train

# 4 batches an epoch, the last of 54; 2-D parameters only, which Muon asks for
COMMON = ("data=diabetes", "data.batch_size=100", "model=linear", "model.bias=false",
          "model.init=normal", "stop.epochs=4", "trainer=float64", "test=false",
          "picture=false", "~optimizer")  # fmt: skip
MLP = ("model=mlp", "model.hidden=[6]")
REFUSED = {"LBFGS": "evaluates the loss several times", "SparseAdam": "SparseAdam"}
OF_TORCH = [
    name
    for name, kind in vars(torch.optim).items()
    if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)
    and kind is not torch.optim.Optimizer
]  # fmt: skip
OF_OTHERS = {
    "schedulefree.SGDScheduleFree": {"lr": 0.1}, "schedulefree.AdamWScheduleFree": {"lr": 0.1},
    "schedulefree.RAdamScheduleFree": {"lr": 0.1}, "pytorch_optimizer.Lion": {"lr": 0.01},
    "pytorch_optimizer.Prodigy": {"lr": 1.0}, "pytorch_optimizer.ScheduleFreeAdamW": {"lr": 0.1},
    "pytorch_optimizer.ScheduleFreeSGD": {"lr": 0.1}, "pytorch_optimizer.AdaBelief": {"lr": 0.05},
    "pytorch_optimizer.Adan": {"lr": 0.05}, "pytorch_optimizer.Tiger": {"lr": 0.01},
    "pytorch_optimizer.AdEMAMix": {"lr": 0.01}, "pytorch_optimizer.SGDP": {"lr": 0.05},
    "pytorch_optimizer.AdamP": {"lr": 0.05},
}  # fmt: skip


QUICK = ("Muon", "LBFGS", "SparseAdam", "schedulefree.AdamWScheduleFree", "pytorch_optimizer.Lion")


def quick(names: Iterable[str]) -> list[Any]:
    return [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in names]


def node(target: str, options: dict[str, Any]) -> str:
    given = "".join(f",{key}:{value}" for key, value in options.items())
    return f"+optimizer={{_target_:{target},_partial_:true{given}}}"


def batches(x: Tensor, y: Tensor, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(stream_seed(0, ORDER, epoch))
    for rows in torch.randperm(len(x), generator=generator).split(100):
        yield x[rows], y[rows]


@contextmanager
def in_float64() -> Iterator[None]:
    """Make float64 the type of new tensors, as Lightning does in the steps of trainer=float64."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def by_hand(job: Job, make: Callable[..., Any]) -> tuple[nn.Module, list[float], list[float]]:
    """Return the weights to use, and the training and validation loss after each epoch."""
    data = Description.from_dict(job.prepared.describe())
    model = build_model(job.config, data)
    x, y = split_tensors(job.prepared, "train", torch.device("cpu"), torch.float64)
    xv, yv = split_tensors(job.prepared, "val", torch.device("cpu"), torch.float64)
    loss, optimizer = nn.functional.mse_loss, make(model.parameters())
    full, val = [], []

    def mode(name: str) -> None:
        getattr(optimizer, name, lambda: None)()

    mode("train")
    for epoch in range(job.config["stop"]["epochs"]):
        for xb, yb in batches(x, y, epoch):
            optimizer.zero_grad()
            with in_float64():
                loss(model(xb), yb).backward()
                optimizer.step()
        mode("eval")
        with torch.no_grad():
            full.append(float(loss(model(x), y)))
            val.append(float(loss(model(xv), yv)))
        mode("train")
    mode("eval")
    return model, full, val


def hold_against_hand(job: Job, make: Callable[..., Any], tolerance: float) -> None:
    model, full, val = by_hand(job, make)
    train(job)
    run = job.run
    state = run.checkpoint("last")["state_dict"]
    for name, value in model.state_dict().items():
        torch.testing.assert_close(state[f"model.{name}"], value, rtol=tolerance, atol=tolerance)
    table = pl.read_csv(run.path / "epochs.csv")
    near = {"rtol": tolerance, "atol": tolerance}
    np.testing.assert_allclose(table["train/full_loss"][1:].to_numpy(), full, **near)
    np.testing.assert_allclose(table["val/loss"][1:].cast(pl.Float64).to_numpy(), val, **near)


@pytest.mark.parametrize("name", quick(OF_TORCH))
def test_every_optimizer_of_torch_takes_the_steps_of_a_plain_loop_or_is_refused(name, make_job):
    job = make_job(*COMMON, node(f"torch.optim.{name}", {"lr": 0.01}))
    if name in REFUSED:
        with pytest.raises(UserError, match=REFUSED[name]):
            train(job)
        assert not (job.run.path / "result.json").exists()
        return
    hold_against_hand(job, lambda p: getattr(torch.optim, name)(p, lr=0.01), 1e-12)


@pytest.mark.parametrize("target", quick(OF_OTHERS))
def test_an_optimizer_of_others_takes_the_steps_of_a_plain_loop(target, make_job):
    library, name = target.split(".")
    kind = getattr(pytest.importorskip(library), name)
    options = OF_OTHERS[target]
    job = make_job(*COMMON, node(target, options))
    # a plain loop rounds when it goes to and fro; here weights that train are put back bit by bit
    tolerance = 1e-9 if "ScheduleFree" in name else 1e-12
    hold_against_hand(job, lambda p: kind(p, **options), tolerance)


@pytest.mark.slow
@pytest.mark.parametrize(
    "target", ["schedulefree.AdamWScheduleFree", "pytorch_optimizer.ScheduleFreeAdamW"]
)
def test_a_schedule_free_run_is_one_and_the_same_model_in_all_its_files(target, make_job):
    pytest.importorskip(target.split(".")[0])
    job = make_job(*COMMON, "test=true", node(target, {"lr": 0.1}))
    train(job)
    result, last, best = job.run.result(), job.run.checkpoint("last"), job.run.checkpoint("best")
    model = build_model(job.config, Description.from_dict(prepared_again(job).describe())).double()
    model.requires_grad_(False)
    x, y = split_tensors(prepared_again(job), "val", torch.device("cpu"), torch.float64)
    for state, value in (
        (best["state_dict"], best["value"]),
        (last["state_dict"], result["metrics"]["val/loss"]),
    ):
        model.load_state_dict({k.removeprefix("model."): v for k, v in state.items()})
        assert float(nn.functional.mse_loss(model(x), y)) == pytest.approx(value, rel=1e-12)
    ((_, shown),) = list(path_end(job.run).items())[:1]
    assert shown == pytest.approx(float(last["state_dict"]["model.layer.weight"][0, 0]), rel=1e-12)


def prepared_again(job: Job) -> Any:
    from descent.data.prepare import prepare

    return prepare(job.config["data"])


def path_end(run: Run) -> dict[str, float]:
    from descent.records.pathfile import read_path

    path = read_path(run.path)
    assert path is not None
    return dict(zip(path.names, path.theta[-1].tolist(), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("target", ["schedulefree.AdamWScheduleFree", "torch.optim.NAdam"])
def test_measuring_more_often_or_going_on_later_changes_nothing(target, make_job, train_run):
    pytest.importorskip(target.split(".")[0])
    given = (*COMMON, node(target, {"lr": 0.1}))
    whole = train_run(*given)
    often = train_run(*given, "callbacks.full_loss.every_n_steps=1", "callbacks.path=null",
                      "callbacks.checkpoint.every_seconds=0")  # fmt: skip
    part = train_run(*given, "stop.epochs=2")
    train(make_job(f"resume={part.path}", "stop.epochs=4", f"trust=[{target.split('.')[0]}]"))
    for other in (often, part):
        states = [run.checkpoint("last")["state_dict"] for run in (whole, other)]
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (("optimizer=adam", "optimizer.betas=[0.9]"), "betas"),
        (("optimizer=adam", "optimizer.betas=[0.9,0.99,0.999]"), "betas|cannot take a step"),
        (("~optimizer", node("torch.optim.Rprop", {"lr": 0.1, "etas": "[0.5]"})), "refuses its"),
        (
            ("~optimizer", node("torch.optim.Rprop", {"lr": 0.1, "step_sizes": "[1e-6,50,1]"})),
            "Rprop cannot take a step",
        ),
        (("~optimizer", node("torch.optim.Muon", {"lr": 0.1}), *MLP), "only supports 2D"),
        (("~optimizer", node("torch.nn.Parameter", {"lr": 1})), "optimizer.lr is no argument"),
    ],
)
def test_what_an_optimizer_cannot_do_is_said_before_training(typed, words, make_job, tmp_path):
    with pytest.raises(UserError, match=words) as caught:
        train(make_job("data=diabetes", "model=linear", "stop.epochs=1", *typed))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("result.json"))


def test_trying_an_optimizer_out_changes_neither_the_model_nor_the_random_stream() -> None:
    from descent.engine.blueprint import try_out
    from descent.engine.schedules import Schedule

    class Langevin(torch.optim.SGD):
        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    p.data.add_(torch.randn_like(p))
            return super().step(closure)

    model = nn.Linear(3, 1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    constant = Schedule(
        lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda e: 1.0), "epoch", None
    )
    torch.manual_seed(4)
    wanted = torch.rand(())
    torch.manual_seed(4)
    try_out(lambda p: Langevin(p, lr=0.1), constant, model)
    assert torch.equal(torch.rand(()), wanted)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_the_table_of_others_imports_what_it_names() -> None:
    for target in OF_OTHERS:
        library, name = target.split(".")
        pytest.importorskip(library)
        assert hasattr(importlib.import_module(library), name)
