"""Three kernels beside a loop written by hand with torch.optim: the same steps, in float64."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import polars as pl
import pytest
import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from torch import Tensor, nn

import descent.cli  # noqa: F401 - registers the resolvers
from descent.config.check import plain
from descent.data.prepare import Description, Prepared, prepare
from descent.data.tensors import split_tensors
from descent.engine.blueprint import build_model, build_optimizer, build_schedule
from descent.engine.evaluating import Evaluator
from descent.engine.grouping import why_alone
from descent.engine.loop_kernel import LoopKernel
from descent.engine.losses import Penalty, criterion, loss_for
from descent.engine.module_kernel import ModuleKernel
from descent.engine.stacked_kernel import StackedKernel
from descent.engine.stepping import Clip
from descent.job import Job
from descent.records.run import Run
from descent.seeds import NOISE, stream_seed
from descent.sweep.composing import Composed
from descent.sweep.launching import LaunchOptions, launch
from descent.sweep.planning import Planned
from descent.sweep.tasks import FitTask, run_task
from descent.training import train_together

CONF = Path(__file__).parents[2] / "conf"
CPU = torch.device("cpu")
STEPS, EPOCH = 12, 3  # taken, and after how many of them schedules by epoch look
BASE = ("trainer=float64", "stop.epochs=4", "data.batch_size=20")
WORK = {
    "mlp": (*BASE, "data=wine", "model.hidden=[6,5]"),
    "binary": (*BASE, "data=breast_cancer", "model.hidden=[5]", "model.activation=tanh"),
    "linear": (*BASE, "data=diabetes", "model=linear"),
    "huber": (*BASE, "data=diabetes", "model=linear", "loss=huber", "loss.delta=0.3"),
    "smooth": (*BASE, "data=diabetes", "model=linear", "loss._target_=torch.nn.SmoothL1Loss"),
    "quantile": (*BASE, "data=diabetes", "model=linear", "loss=quantile", "loss.quantile=0.8"),
    "soft": (*BASE, "data=wine", "model.hidden=[5]", "loss=cross_entropy",
             "loss.label_smoothing=0.2"),
    "focal": (*BASE, "data=wine", "model.hidden=[5]", "loss=focal", "loss.gamma=1.5"),
    "vmap": (*BASE, "data=diabetes", "model=linear", "~model.init",
             "model._target_=torch.nn.Linear"),
}  # fmt: skip


def focal(outputs: Tensor, wanted: Tensor) -> Tensor:
    of_true = outputs.log_softmax(1).gather(1, wanted[:, None]).squeeze(1)
    return (-((1 - of_true.exp()) ** 1.5) * of_true).mean()


def quantile(outputs: Tensor, wanted: Tensor) -> Tensor:
    error = wanted - outputs
    return torch.maximum(0.8 * error, -0.2 * error).mean()


# The losses that are no task's usual one, as torch has them, or as their papers write them.
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "huber": partial(F.huber_loss, delta=0.3),
    "smooth": F.smooth_l1_loss,
    "quantile": quantile,
    "soft": partial(F.cross_entropy, label_smoothing=0.2),
    "focal": focal,
}
OPTIMIZERS = {
    "sgd": [{"lr": 0.05}, {"lr": 0.02, "weight_decay": 0.1}, {"lr": 0.1}],
    "momentum": [{"lr": 0.01}, {"lr": 0.02, "momentum": 0.5, "dampening": 0.3}, {"momentum": 0.0}],
    "nesterov": [{"lr": 0.01}, {"momentum": 0.5}, {"lr": 0.02, "weight_decay": 0.01}],
    "adagrad": [{"lr": 0.05}, {"lr": 0.1, "lr_decay": 0.1}, {"initial_accumulator_value": 0.1}],
    "rmsprop": [{"lr": 1e-3}, {"alpha": 0.9}, {"momentum": 0.5, "weight_decay": 0.01}],
    "adam": [{"lr": 1e-2}, {"betas": [0.8, 0.9]}, {"weight_decay": 0.1, "eps": 1e-4}],
    "adamw": [{"lr": 1e-2}, {"betas": [0.8, 0.9]}, {"weight_decay": 0.1}],
}
SCHEDULES = ("constant", "step", "exponential", "inverse_time", "cosine", "warmup_cosine")
FREE = {"penalty": {"l1": 0.0, "l2": 0.0}, "clip": {"norm": None, "value": None}}


@cache
def resolved(*typed: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return plain(compose("train", overrides=list(typed)))


@cache
def prepared_for(name: str) -> Prepared:
    return prepare(resolved(*WORK[name])["data"])


def three(work: str, optimizer: str, changes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return configs of three runs that differ in numbers of the optimizer, and what is given."""
    configs = []
    for seed, own in enumerate(changes):
        config = copy.deepcopy(resolved(*WORK[work], f"optimizer={optimizer}"))
        config["seed"] = seed // 2  # two of one seed, and another
        for group, values in own.items():
            if isinstance(values, dict):
                config[group] |= values
            else:
                config["optimizer"][group] = values
        configs.append(config)
    return configs


def batches(x: Tensor, y: Tensor, size: int = 20) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches of some steps, each another and the last a short one."""
    for k in range(STEPS):
        count = size if k < STEPS - 1 else size // 3
        rows = (torch.arange(count) + 13 * k) % len(x)
        yield x[rows], y[rows]


Steps = tuple[np.ndarray, list[dict[str, Tensor]]]  # losses [K, R], weights of each run at the end


def by_hand(config: dict[str, Any], data: Description, x: Tensor, y: Tensor, work: str = "") -> Any:
    """The loop that every tutorial writes, with penalties, clipping, dropout and a schedule."""
    model = build_model(config, data).double()
    optimizer = build_optimizer(config)(model.parameters())
    torch.manual_seed(stream_seed(config["seed"], NOISE))
    schedule, loss_of = build_schedule(config, data), LOSSES.get(work, loss_for(data.task))
    scheduler, losses = schedule.make(optimizer), []
    matrices = [p for p in model.parameters() if p.ndim > 1]

    def objective(xb: Tensor, yb: Tensor) -> Tensor:
        outputs = model(xb)
        loss: Tensor = loss_of(outputs if yb.dtype == torch.long else outputs.reshape(yb.shape), yb)
        for w in matrices:
            loss = loss + config["penalty"]["l1"] * w.abs().sum()
            loss = loss + config["penalty"]["l2"] / 2 * w.square().sum()
        return loss

    for step, (xb, yb) in enumerate(batches(x, y), 1):
        optimizer.zero_grad()
        loss = objective(xb, yb)
        loss.backward()
        if config["clip"]["norm"] is not None:
            nn.utils.clip_grad_norm_(model.parameters(), config["clip"]["norm"])
        if config["clip"]["value"] is not None:
            nn.utils.clip_grad_value_(model.parameters(), config["clip"]["value"])
        optimizer.step()
        if schedule.interval == "step" or (step % EPOCH == 0 and schedule.monitor is None):
            scheduler.step()
        elif step % EPOCH == 0:
            model.eval()
            with torch.no_grad():
                scheduler.step(objective(x, y).item())
            model.train()
        losses.append(loss.item())
    return losses, model.state_dict()


def single(config: dict[str, Any], data: Description) -> ModuleKernel:
    return ModuleKernel(
        build_model(config, data), criterion(config, data), build_optimizer(config),
        build_schedule(config, data), Penalty(**config["penalty"]), Clip(**config["clip"]),
        config["seed"],
    )  # fmt: skip


def stepped(kernel: Any, runs: int, data: Description, x: Tensor, y: Tensor) -> Steps:
    """Take the steps with a kernel, and look at epochs, as the learner does."""
    losses, evaluator = [], Evaluator(data, data.rows, kernel.criterion)
    for step, (xb, yb) in enumerate(batches(x, y), 1):
        one = isinstance(kernel, ModuleKernel)
        rows = (xb, yb) if one else (xb.unsqueeze(0), yb.unsqueeze(0))
        loss, _ = kernel.step(*rows, kernel.rates.values, False)
        losses.append(loss.reshape(-1))
        if kernel.rates.per_step:
            kernel.rates.end_step()
        if step % EPOCH == 0:
            with kernel.evaluating(), torch.no_grad():
                full = evaluator.losses(kernel, x, y) + kernel.penalties()
            kernel.rates.end_epoch({"train/full_loss": full.numpy()})
    weights = [{n: t[run].clone() for n, t in kernel.tensors().items()} for run in range(runs)]
    return torch.stack(losses).numpy(), weights


def hold_kernels_against_hand(work: str, configs: list[dict[str, Any]]) -> None:
    prepared = prepared_for(work)
    data = Description.from_dict(prepared.describe())
    x, y = split_tensors(prepared, "train", CPU, torch.float64)
    runs = len(configs)
    stacked = StackedKernel(configs, [build_model(c, data) for c in configs], data, CPU)
    loop = LoopKernel([single(config, data) for config in configs], CPU)
    loop.bind(L.LightningModule(), 0)
    made = {"stacked": stepped(stacked, runs, data, x, y), "loop": stepped(loop, runs, data, x, y)}
    ones = []
    for config in configs:
        one = single(config, data)
        one.configure_alone()
        one.bind_alone()
        torch.manual_seed(stream_seed(config["seed"], NOISE))
        ones.append(stepped(one, 1, data, x, y))
    made["module"] = (
        np.concatenate([losses for losses, _ in ones], axis=1), [own[0] for _, own in ones],
    )  # fmt: skip
    for run, config in enumerate(configs):
        losses, state = by_hand(config, data, x, y, work)
        for name, (found, weights) in made.items():
            np.testing.assert_allclose(found[:, run], losses, rtol=1e-10, err_msg=f"{name} {run}")
            for key, value in state.items():
                torch.testing.assert_close(weights[run][key], value, rtol=1e-10, atol=1e-12)


QUICK = {("mlp", "momentum"), ("linear", "adam"), ("binary", "rmsprop"), ("vmap", "sgd")}


@pytest.mark.parametrize(
    ("work", "optimizer"),
    [
        pytest.param(work, name, marks=() if (work, name) in QUICK else pytest.mark.slow)
        for work in sorted(WORK.keys() - LOSSES.keys())
        for name in OPTIMIZERS
    ],
)
def test_every_optimizer_takes_the_steps_of_torch_in_every_kernel(work, optimizer):
    configs = three(work, optimizer, OPTIMIZERS[optimizer])
    hold_kernels_against_hand(work, configs)


@pytest.mark.parametrize("work", LOSSES)
def test_every_loss_is_the_one_that_a_hand_written_loop_takes_in_every_kernel(work):
    hold_kernels_against_hand(work, three(work, "momentum", OPTIMIZERS["momentum"]))


@pytest.mark.parametrize(
    ("scheduler", "interval"),
    [
        *(
            pytest.param(name, interval, marks=() if name == "cosine" else pytest.mark.slow)
            for name in SCHEDULES
            for interval in ("step", "epoch")
        ),
        ("plateau", "epoch"),
    ],
)
def test_every_schedule_gives_the_rates_of_torch_in_every_kernel(scheduler, interval):
    more = {
        "step": ("scheduler.step_size=3",),
        "plateau": ("scheduler.patience=0", "scheduler.monitor=train/full_loss"),
    }
    node = resolved(*WORK["mlp"], f"scheduler={scheduler}", *more.get(scheduler, ()))["scheduler"]
    configs = three("mlp", "momentum", [{"lr": lr} for lr in (0.05, 0.4, 0.1)])
    for config in configs:
        config["scheduler"] = {**node, "interval": interval}
    hold_kernels_against_hand("mlp", configs)


def test_every_kernel_draws_the_dropout_of_a_hand_written_loop():
    configs = three("mlp", "adam", OPTIMIZERS["adam"])
    for config in configs:
        config["model"]["dropout"] = 0.3
    hold_kernels_against_hand("mlp", configs)


@pytest.mark.parametrize("work", ["mlp", pytest.param("linear", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "changes",
    [
        [{"penalty": {"l1": 0.01, "l2": 0.0}}, {"penalty": {"l1": 0.0, "l2": 0.3}}, {}],
        [{"clip": {"norm": 0.1, "value": None}}, {"clip": {"norm": None, "value": 0.01}}, {}],
        [{"clip": {"norm": 1.0, "value": 0.02}, "penalty": {"l1": 0.1, "l2": 0.1}}, {}, {}],
    ],
    ids=["penalty", "clip", "both"],
)
def test_penalties_and_clipping_are_those_of_a_hand_written_loop_in_every_kernel(work, changes):
    hold_kernels_against_hand(work, three(work, "momentum", changes))


def test_runs_that_have_ended_leave_and_the_rest_go_on_as_if_nothing_were():
    configs = three("mlp", "adam", OPTIMIZERS["adam"])
    prepared = prepared_for("mlp")
    data = Description.from_dict(prepared.describe())
    x, y = split_tensors(prepared, "train", CPU, torch.float64)
    kernels = [
        StackedKernel(configs, [build_model(c, data) for c in configs], data, CPU),
        LoopKernel([single(config, data) for config in configs], CPU),
    ]
    kernels[1].bind(L.LightningModule(), 0)  # type: ignore[attr-defined]
    for kernel in kernels:
        for k, (xb, yb) in enumerate(batches(x, y)):
            kernel.step(xb.unsqueeze(0), yb.unsqueeze(0), kernel.rates.values, False)
            if k == 4:
                kernel.keep(torch.tensor([0, 2]))
                kernel.rates.keep([0, 2])
        for column, run in enumerate((0, 2)):
            _, state = by_hand(configs[run], data, x, y)
            for key, value in state.items():
                torch.testing.assert_close(kernel.tensors()[key][column], value, rtol=1e-9, atol=0)


# ---- whole fits


def jobs_of(make_job: Callable[..., Job], path: Path, *each: tuple[str, ...]) -> list[Job]:
    made = []
    for i, typed in enumerate(each):
        job = make_job(*typed, "picture=false")
        made.append(Job(job.config, job.prepared, Run(path / str(i)), False, typed, True))
    return made


STRANGER = """
import torch

class Stranger(torch.optim.Optimizer):
    def __init__(self, params, lr=0.1, heat=0.0):
        super().__init__(params, {"lr": lr, "heat": heat})
    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p -= group["lr"] * p.grad.sign() * (1 + group["heat"] * torch.rand(()))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        ("optimizer=sgd", "optimizer._target_=strangers_optim.Stranger", "~optimizer.weight_decay",
         "+optimizer.heat=0.5"),
        ("optimizer=adam", "optimizer._target_=torch.optim.NAdam", "model.dropout=0.3"),
        ("diagnostics=all", "callbacks.noise_scale.exact=false"),
        ("logger=csv", "scheduler=plateau", "scheduler.patience=0"),
        ("callbacks=early_stopping", "callbacks.early_stopping.patience=1",
         "trainer.check_val_every_n_epoch=2"),
        ("trainer.detect_anomaly=true", "callbacks.full_loss.every_n_steps=3"),
    ],
    ids=["stranger", "nadam", "diagnostics", "csv", "early", "anomaly"],
)  # fmt: skip
def test_whatever_runs_alone_runs_together_with_the_same_figures(
    more, make_job, train_run, tmp_path, monkeypatch
):
    (tmp_path / "strangers_optim.py").write_text(STRANGER)
    monkeypatch.syspath_prepend(tmp_path)
    typed = (*WORK["mlp"], "stop.epochs=3", *more)
    each = [(*typed, f"seed={i}", "optimizer.lr=0.01") for i in (0, 0, 1)]
    each[1] = (*typed, "seed=0", "optimizer.lr=0.02")
    alone = [train_run(*one) for one in each]
    together = jobs_of(make_job, tmp_path / "together", *each)
    train_together(together, lambda steps: None, lambda number, result: None)
    for one, job in zip(alone, together, strict=True):
        for name in ("steps.csv", "epochs.csv"):
            a, b = (pl.read_csv(r.path / name, infer_schema_length=None) for r in (one, job.run))
            assert a.columns == b.columns
            for column in set(a.columns) - {"seconds"}:
                x, y = (t[column].cast(pl.Float64, strict=False).to_numpy() for t in (a, b))
                np.testing.assert_allclose(y, x, rtol=1e-10, atol=1e-12, err_msg=column)
        first, second = one.checkpoint("last"), job.run.checkpoint("last")
        for key, value in first["state_dict"].items():
            torch.testing.assert_close(second["state_dict"][key], value, rtol=1e-10, atol=1e-12)
        assert first["callbacks"].keys() == second["callbacks"].keys()
        assert one.result()["reason"] == job.run.result()["reason"]
        csvs = [sorted(p.name for p in r.path.rglob("metrics.csv")) for r in (one, job.run)]
        assert csvs[0] == csvs[1]


def test_mixed_precision_rounds_a_stacked_run_as_it_rounds_the_run_alone(
    make_job, train_run, tmp_path
):
    typed = ("data=wine", "model.hidden=[6,5]", "stop.epochs=2", "trainer.precision=bf16-mixed")
    each = [(*typed, "optimizer.lr=0.1"), (*typed, "optimizer.lr=0.2"), (*typed, "seed=1")]
    together = jobs_of(make_job, tmp_path / "together", *each)
    train_together(together, lambda steps: None, lambda number, result: None)
    for one, job in zip((train_run(*one) for one in each), together, strict=True):
        first, second = (r.checkpoint("last")["state_dict"] for r in (one, job.run))
        for key, value in first.items():
            assert value.dtype == torch.float32  # the steps are in bfloat16, the weights are not
            assert torch.equal(second[key], value), key
        a, b = (pl.read_csv(r.path / "steps.csv")["loss"].to_numpy() for r in (one, job.run))
        np.testing.assert_allclose(b, a, rtol=3e-7)  # a mean over rows, of float32


@pytest.fixture
def fits(monkeypatch) -> list[tuple[int, str]]:
    """Return a list that each fit is added to: its runs, and the kernel that takes their steps."""
    calls: list[tuple[int, str]] = []
    fit = L.Trainer.fit

    def spy(self: L.Trainer, model: Any, *given: Any, **named: Any) -> Any:
        calls.append((model.runs, type(model.kernel).__name__))
        return fit(self, model, *given, **named)

    monkeypatch.setattr(L.Trainer, "fit", spy)
    return calls


def test_a_multirun_is_one_fit_for_each_stack_and_nothing_else_trains(tmp_path, fits):
    typed = (*WORK["linear"], "stop.epochs=1")
    lists = [
        *((*typed, "optimizer=sgd", f"seed={seed}") for seed in range(3)),
        *((*typed, "optimizer=adam", f"seed={seed}") for seed in range(2)),
        *((*typed, "optimizer=adam", "optimizer._target_=torch.optim.NAdam", f"seed={s}")
          for s in range(2)),
        *((*typed, "diagnostics=all", "logger=csv", "trainer.precision=bf16-mixed", f"seed={s}")
          for s in range(2)),
        (*typed, "data.batch_size=7"),
    ]  # fmt: skip
    composed = [
        Composed(i, tuple(one), copy.deepcopy(resolved(*one)), Path(str(i)))
        for i, one in enumerate(lists)
    ]
    (tmp_path / "sweep").mkdir()
    outcomes = launch(composed, tmp_path / "sweep", LaunchOptions())
    assert [outcome.status for outcome in outcomes] == ["ok"] * len(lists)
    assert sorted(fits) == [
        (1, "StackedKernel"), (2, "LoopKernel"), (2, "StackedKernel"), (2, "StackedKernel"),
        (3, "StackedKernel"),
    ]  # fmt: skip


OWN_CALLBACK = """
from lightning.pytorch import Callback

class Own(Callback):
    seen = []
    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        Own.seen.append(float(outputs["loss"]))
"""


def test_a_callback_of_the_users_has_its_run_of_a_sweep_to_itself(
    tmp_path, monkeypatch, fits, train_run
):
    (tmp_path / "own_callback.py").write_text(OWN_CALLBACK)
    monkeypatch.syspath_prepend(tmp_path)
    typed = (*WORK["linear"], "stop.epochs=1", "+callbacks.own._target_=own_callback.Own")
    planned = Planned(0, typed, copy.deepcopy(resolved(*typed)), tmp_path / "0")
    (outcome,) = run_task(FitTask((planned,), together=why_alone(planned.config) is None))
    assert (outcome.status, fits) == ("ok", [(1, "ModuleKernel")])
    tables = [pl.read_csv(p / "steps.csv") for p in (tmp_path / "0", train_run(*typed).path)]
    assert tables[0].drop("seconds").equals(tables[1].drop("seconds"))
    seen = importlib.import_module("own_callback").Own.seen
    np.testing.assert_allclose(seen, 2 * tables[0]["loss"].to_list())


def test_each_reason_is_given_in_one_module_and_one_module_builds_a_trainer():
    src = CONF.parent / "src" / "descent"
    # a sweep that ends speaks for jobs that are not its own process's to end
    paths = [path for path in src.rglob("*.py") if path.parent.name != "sweep"]
    texts = {path: path.read_text() for path in paths}
    from descent.records.endings import Reason

    for reason in Reason:
        givers = [
            path.name for path, text in texts.items() if f"Ending(Reason.{reason.name}," in text
        ]
        assert len(givers) <= 1, (reason, givers)
    builders = [
        p.name for p, text in texts.items() if "L.Trainer(" in text or '"trainer", **' in text
    ]
    assert builders == ["assembly.py"]
