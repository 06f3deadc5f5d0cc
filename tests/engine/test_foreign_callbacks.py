"""Callbacks of Lightning and of users beside plain Lightning, fed with the same batches."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import polars as pl
import pytest
import torch
from lightning.pytorch import callbacks as of_lightning
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn

from descent.data.prepare import Description
from descent.data.tensors import Chunks, split_tensors
from descent.engine.blueprint import build_model, build_optimizer
from descent.engine.losses import loss_for
from descent.errors import UserError
from descent.job import Job
from descent.records.run import Run
from descent.seeds import ORDER, stream_seed
from descent.training import train

# 442 patients, 354 of them train: 4 batches an epoch, the last of 54
COMMON = ("data=diabetes", "data.batch_size=100", "model.hidden=[4]", "stop.epochs=4",
          "optimizer=momentum", "optimizer.lr=0.05", "trainer=float64", "test=false")  # fmt: skip
LIGHTNING = "lightning.pytorch.callbacks"


class Batches:
    """The batches of a run, drawn anew for each epoch."""

    def __init__(self, x: Tensor, y: Tensor, size: int) -> None:
        self.x, self.y, self.size, self.epoch = x, y, size, 0

    def __len__(self) -> int:
        return -(-len(self.x) // self.size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(stream_seed(0, ORDER, self.epoch))
        self.epoch += 1
        for rows in torch.randperm(len(self.x), generator=generator).split(self.size):
            yield self.x[rows], self.y[rows]


class Plain(L.LightningModule):
    """What every Lightning tutorial writes."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        data = Description.from_dict(job.prepared.describe())
        self.model: nn.Module = build_model(job.config, data)
        self.loss = loss_for(job.prepared.arrays.task)
        self.make_optimizer = build_optimizer(job.config)
        self.val_losses: list[float] = []

    def configure_optimizers(self) -> Any:
        return self.make_optimizer(self.model.parameters())

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return self.loss(self.model(batch[0]), batch[1])

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        value = self.loss(self.model(batch[0]), batch[1])
        self.val_losses.append(float(value))
        self.log("val/loss", value, batch_size=len(batch[0]))


def train_plainly(job: Job, callbacks: list[L.Callback], **options: Any) -> Plain:
    module, cpu = Plain(job), torch.device("cpu")
    rows = {s: split_tensors(job.prepared, s, cpu, torch.float64) for s in ("val", "train")}
    given = {"max_epochs": job.config["stop"]["epochs"], "logger": False, **options}
    saves = any(isinstance(c, of_lightning.Checkpoint) for c in callbacks)
    draws = any(isinstance(c, of_lightning.ProgressBar) for c in callbacks)
    trainer = L.Trainer(
        accelerator="cpu", precision="64-true", callbacks=callbacks, num_sanity_val_steps=0,
        enable_progress_bar=draws, enable_model_summary=False, enable_checkpointing=saves, **given,
    )  # fmt: skip
    trainer.fit(module, Batches(*rows["train"], job.prepared.batch_size), Chunks(*rows["val"]))
    return module


def hold_against_plain(run: Run, plain: Plain, again: bool = False) -> None:
    """Assert that weights at the end and validation losses are those of plain Lightning.

    Args:
        run: of Descent.
        plain: of Lightning.
        again: whether the run has measured again when training had ended.
    """
    tolerance = 1e-12
    state = run.checkpoint("last")["state_dict"]
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(state[name], value, rtol=tolerance, atol=tolerance)
    measured = pl.read_csv(run.path / "epochs.csv")["val/loss"].drop_nulls().to_numpy()
    np.testing.assert_allclose(measured, plain.val_losses, rtol=tolerance)
    end = run.result()["metrics"]["val/loss"]
    assert (end != pytest.approx(plain.val_losses[-1], rel=1e-9)) == again


class Watcher(L.Callback):
    """Notes whatever Lightning tells a callback of the batches."""

    seen: list[tuple[Any, ...]] = []  # noqa: RUF012 - of the last one made

    def __init__(self) -> None:
        type(self).seen = []

    def note(self, *what: Any) -> None:
        self.seen.append(what)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        x, y = batch
        self.note("start", trainer.global_step, batch_idx, float(x.sum()), tuple(y.shape))

    def on_before_zero_grad(self, trainer, pl_module, optimizer):
        grads = [p.grad for p in pl_module.model.parameters() if p.grad is not None]
        self.note("zero", trainer.global_step, float(sum(g.abs().sum() for g in grads)))

    def on_before_backward(self, trainer, pl_module, loss):
        self.note("backward", trainer.global_step, float(loss.detach()))

    def on_after_backward(self, trainer, pl_module):
        self.note("after", trainer.global_step)

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        norm = sum(float(p.grad.square().sum()) for p in pl_module.model.parameters())
        self.note("step", trainer.global_step, type(optimizer).__name__, norm)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        assert isinstance(outputs["loss"], Tensor)
        assert not outputs["loss"].requires_grad
        last = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        self.note("end", trainer.global_step, batch_idx, float(outputs["loss"]), last)


@pytest.mark.parametrize("window", ["auto", 3])
def test_a_callback_sees_every_batch_as_plain_lightning_shows_it(window, make_job):
    where = f"{Watcher.__module__}.{Watcher.__name__}"
    job = make_job(*COMMON, f"data.window={window}", f"+callbacks.mine._target_={where}")
    plain = train_plainly(job, [Watcher()])
    theirs = Watcher.seen
    train(job)
    ours = Watcher.seen
    assert ours is not theirs
    assert [s[:2] for s in ours] == [s[:2] for s in theirs]
    for one, other in zip(ours, theirs, strict=True):
        numbers = [s for s in one[1:] if isinstance(s, float)]
        assert numbers == pytest.approx([s for s in other[1:] if isinstance(s, float)], rel=1e-12)
        assert [s for s in one if not isinstance(s, float)] == [
            s for s in other if not isinstance(s, float)
        ]
    hold_against_plain(job.run, plain)


class Planner(L.Callback):
    told: dict[str, Any] = {}  # noqa: RUF012

    def on_train_start(self, trainer, pl_module):
        Planner.told = {
            name: getattr(trainer, name)
            for name in ("num_training_batches", "estimated_stepping_batches", "max_epochs",
                         "current_epoch", "global_step", "is_last_batch")
        }  # fmt: skip


def test_a_callback_reads_the_length_of_training_as_from_plain_lightning(make_job):
    where = f"{Planner.__module__}.{Planner.__name__}"
    job = make_job(*COMMON, f"+callbacks.mine._target_={where}", "picture=false")
    plain = train_plainly(job, [Planner()])
    theirs = Planner.told
    train(job)
    assert Planner.told == theirs
    assert theirs["estimated_stepping_batches"] == 16
    hold_against_plain(job.run, plain)


def test_after_a_break_within_an_epoch_a_callback_sees_what_follows(make_job):
    where = f"{Watcher.__module__}.{Watcher.__name__}"
    given = (*COMMON, f"+callbacks.mine._target_={where}", "picture=false")
    train_plainly(make_job(*given), [Watcher()])
    theirs = [s for s in Watcher.seen if s[0] in ("start", "end")]
    part = make_job(*given, "stop.steps=6")  # of four an epoch
    train(part)
    train(make_job(f"resume={part.run.path}", "stop.steps=null", "trust=[tests]"))
    ours = [s for s in Watcher.seen if s[0] in ("start", "end")]
    assert len(ours) == len(theirs) - 2 * 6
    for one, other in zip(ours, theirs[12:], strict=True):
        assert one[:3] == other[:3]  # the hook, global_step and batch_idx
        assert one[3] == pytest.approx(other[3], rel=1e-12)
        assert one[4] == other[4]


# ---- Lightning's own, and those that users write


class SwappingAverage(L.Callback):
    """An average as users write it: put in for validation, and kept when training has ended."""

    def __init__(self) -> None:
        self.mean: dict[str, Tensor] = {}
        self.own: dict[str, Tensor] = {}

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        for name, p in pl_module.model.named_parameters():
            mean = self.mean.get(name, p.detach().clone())
            self.mean[name] = 0.8 * mean + 0.2 * p.detach()

    def on_validation_start(self, trainer, pl_module):
        if self.mean:
            self.own = {n: p.detach().clone() for n, p in pl_module.model.named_parameters()}
            self.put(pl_module, self.mean)

    def on_validation_end(self, trainer, pl_module):
        if self.own:
            self.put(pl_module, self.own)

    def on_train_end(self, trainer, pl_module):
        self.put(pl_module, self.mean)

    def put(self, pl_module, values):
        with torch.no_grad():
            for name, p in pl_module.model.named_parameters():
                p.copy_(values[name])


class Clamp(L.Callback):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        with torch.no_grad():
            for p in pl_module.model.parameters():
                p.clamp_(-0.3, 0.3)


class GradientSign(L.Callback):
    def on_after_backward(self, trainer, pl_module):
        for p in pl_module.model.parameters():
            p.grad.sign_()


class OwnSchedule(L.Callback):
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = 0.05 / (1 + trainer.global_step + batch_idx)


class StopAt(L.Callback):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        trainer.should_stop = trainer.global_step >= 6 or float(outputs["loss"]) < 0


class Halve(L.Callback):
    """Changes weights between two epochs, after their measurement."""

    def on_train_epoch_end(self, trainer, pl_module):
        with torch.no_grad():
            for p in pl_module.model.parameters():
                p.mul_(0.5)


class WithBackbone(nn.Module):
    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.backbone, self.head = nn.Linear(in_features, 4), nn.Linear(4, out_features)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.backbone(x)))


class Normed(WithBackbone):
    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.backbone = nn.Sequential(self.backbone, nn.BatchNorm1d(4))


class Unfreeze(of_lightning.BaseFinetuning):
    def freeze_before_training(self, pl_module):
        self.freeze(pl_module.model.layers[0])

    def finetune_function(self, pl_module, epoch, optimizer):
        if epoch == 2:
            self.unfreeze_and_add_param_group(pl_module.model.layers[0], optimizer, lr=0.01)


def batch_length(batch: Any) -> int:
    return len(batch[0])


def scale_gradient(trainer: Any, pl_module: Any) -> None:
    for p in pl_module.model.parameters():
        p.grad.mul_(0.25)


HERE = Watcher.__module__
OPTIONS_OF_MLP = ("hidden", "activation", "dropout", "init")
CALLBACKS: dict[str, tuple[str, dict[str, Any]]] = {
    "ema": (f"{LIGHTNING}.EMAWeightAveraging", {"decay": 0.9}),
    "ema_every_second": (f"{LIGHTNING}.EMAWeightAveraging",
                         {"decay": 0.8, "update_every_n_steps": 2, "update_starting_at_step": 3}),
    "ema_by_epochs": (f"{LIGHTNING}.EMAWeightAveraging",
                      {"decay": 0.8, "update_starting_at_epoch": 1}),
    "mean": (f"{LIGHTNING}.WeightAveraging", {}),
    "swa": (f"{LIGHTNING}.StochasticWeightAveraging", {"swa_lrs": 0.01, "swa_epoch_start": 2}),
    "swa_linear": (f"{LIGHTNING}.StochasticWeightAveraging",
                   {"swa_lrs": 0.02, "swa_epoch_start": 0.5, "annealing_epochs": 2,
                    "annealing_strategy": "linear"}),
    "swapping": (f"{HERE}.SwappingAverage", {}),
    "clamp": (f"{HERE}.Clamp", {}),
    "sign": (f"{HERE}.GradientSign", {}),
    "schedule": (f"{HERE}.OwnSchedule", {}),
    "unfreeze": (f"{HERE}.Unfreeze", {}),
    "stop_at": (f"{HERE}.StopAt", {}),
    "halve": (f"{HERE}.Halve", {}),
    "pruning": (f"{LIGHTNING}.ModelPruning", {"pruning_fn": "l1_unstructured", "amount": 0.3}),
    "every_third": (f"{LIGHTNING}.ModelCheckpoint",
                    {"every_n_train_steps": 3, "save_top_k": -1}),
    "best_of_steps": (f"{LIGHTNING}.ModelCheckpoint",
                      {"every_n_train_steps": 2, "save_top_k": 2, "monitor": "val/loss"}),
    "best_of_epochs": (f"{LIGHTNING}.ModelCheckpoint", {"monitor": "val/loss", "save_top_k": 2}),
    "early": (f"{LIGHTNING}.EarlyStopping", {"monitor": "val/loss", "patience": 1}),
    "timer": (f"{LIGHTNING}.Timer", {"duration": "00:01:00:00", "interval": "step"}),
    "lr_monitor": (f"{LIGHTNING}.LearningRateMonitor", {"logging_interval": "step"}),
    "device": (f"{LIGHTNING}.DeviceStatsMonitor", {"cpu_stats": False}),
    "summary": (f"{LIGHTNING}.ModelSummary", {}),
    "rich_summary": (f"{LIGHTNING}.RichModelSummary", {}),
    "tqdm": (f"{LIGHTNING}.TQDMProgressBar", {}),
    "rich_bar": (f"{LIGHTNING}.RichProgressBar", {}),
    "on_exception": (f"{LIGHTNING}.OnExceptionCheckpoint", {}),
    "spike": (f"{LIGHTNING}.spike.SpikeDetection", {"atol": 100.0}),
}  # fmt: skip
CHANGED_AT_END = {"ema_by_epochs", "swa", "swa_linear", "halve", "pruning"}
QUICK = ("ema", "swa", "swapping", "best_of_steps")


def made(target: str, options: dict[str, Any], where: Path) -> L.Callback:
    library, _, name = target.rpartition(".")
    kind = getattr(importlib.import_module(library), name)
    saves = {"dirpath": where} if "dirpath" in inspect.signature(kind).parameters else {}
    return kind(**options, **saves)


def node(name: str, target: str, options: dict[str, Any]) -> list[str]:
    def written(value: Any) -> str:
        return str(value).replace(" ", "") if isinstance(value, dict) else json.dumps(value)

    typed = [f"+callbacks.{name}.{key}={written(value)}" for key, value in options.items()]
    return [f"+callbacks.{name}._target_={target}", *typed]


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in CALLBACKS]
)
@pytest.mark.filterwarnings("ignore")
def test_a_callback_does_what_it_does_in_plain_lightning(name, make_job, tmp_path, monkeypatch):
    target, options = CALLBACKS[name]
    job = make_job(*COMMON, *node(name, target, options), "picture=false")
    theirs = made(target, options, tmp_path / "plain")
    logger = CSVLogger(tmp_path / "csv") if name in ("lr_monitor", "device", "summary") else False
    plain = train_plainly(job, [theirs], logger=logger, default_root_dir=tmp_path,
                          log_every_n_steps=50)  # fmt: skip
    ours = trained_with(job, type(theirs), monkeypatch)
    if name == "stop_at":  # Lightning validates once more where it stops; that row comes after
        assert job.run.result()["step"] == 6
    hold_against_plain(job.run, plain, again=name in CHANGED_AT_END)
    for key in ("stopped_epoch", "best_score", "wait_count", "lrs"):
        if ours is not None and hasattr(theirs, key):
            one, other = getattr(ours, key), getattr(theirs, key)
            if key == "lrs":
                assert list(one.values()) == list(other.values())
            else:
                # Lightning keeps a score in float32
                assert float(one) == pytest.approx(float(other), rel=1e-6), key
    hold_files_against(job.run, tmp_path / "plain")
    hold_one_model(job)


def trained_with(job: Job, kind: type, monkeypatch: pytest.MonkeyPatch) -> L.Callback | None:
    """Train a job, and return its callback of a kind, if Lightning calls it."""
    import descent.training as training

    found: list[L.Callback] = []
    plain = training.assemble

    def noting(job: Job) -> Any:
        parts = plain(job)
        found.extend(c for c in parts[2].callbacks if type(c) is kind)
        return parts

    monkeypatch.setattr(training, "assemble", noting)
    train(job)
    return found[0] if found else None


def hold_files_against(run: Run, plain: Path) -> None:
    """Assert that checkpoints have the names and the weights that plain Lightning gives them."""
    ours = {f.name: f for f in (run.path / "checkpoints").glob("*.ckpt")}
    for own in ("last.ckpt", "best.ckpt"):
        ours.pop(own)
    theirs = {f.name: f for f in plain.rglob("*.ckpt")}
    assert sorted(ours) == sorted(theirs)
    assert not [f for f in run.path.rglob("*.ckpt") if f.parent.name != "checkpoints"]
    for name, file in theirs.items():
        states = [torch.load(f, weights_only=True)["state_dict"] for f in (ours[name], file)]
        for key, value in states[1].items():
            torch.testing.assert_close(states[0][key], value, rtol=1e-12, atol=1e-12)


def hold_one_model(job: Job) -> None:
    """Assert that what is saved is what the result tells of."""
    from descent.data.prepare import prepare

    prepared, result = prepare(job.config["data"]), job.run.result()
    model = build_model(job.config, Description.from_dict(prepared.describe()))
    model.requires_grad_(False)
    x, y = split_tensors(prepared, "val", torch.device("cpu"), torch.float64)
    kept = {"last": result["metrics"]["val/loss"], "best": result["best"]["metrics"]["val/loss"]}
    for name, value in kept.items():
        state = job.run.checkpoint(name)["state_dict"]
        model.load_state_dict({key.removeprefix("model."): t for key, t in state.items()})
        assert float(loss_for(prepared.arrays.task)(model(x), y)) == pytest.approx(value, rel=1e-11)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_backbone_of_the_model_is_finetuned(make_job, monkeypatch):
    options = {"unfreeze_backbone_at_epoch": 2, "backbone_initial_lr": 0.01}
    model = (f"model._target_={HERE}.WithBackbone", *(f"~model.{key}" for key in OPTIONS_OF_MLP))
    target = f"{LIGHTNING}.BackboneFinetuning"
    job = make_job(*COMMON, *model, "picture=false", *node("mine", target, options))

    class PlainWithBackbone(Plain):
        @property
        def backbone(self) -> nn.Module:
            return self.model.backbone

    monkeypatch.setitem(globals(), "Plain", PlainWithBackbone)
    plain = train_plainly(job, [of_lightning.BackboneFinetuning(**options)])
    train(job)
    hold_against_plain(job.run, plain)


@pytest.mark.parametrize("name", ["swa", "ema"])
def test_the_result_says_whose_weights_were_kept(name, make_job, caplog):
    caplog.set_level("INFO")
    target, options = CALLBACKS[name]
    job = make_job(*COMMON, "test=true", "picture=false", *node(name, target, options))
    train(job)
    result, states = job.run.result(), []
    assert result["weights_from"] == target.rsplit(".", 1)[-1]
    again = "weights   changed by StochasticWeightAveraging after the last epoch: measured again"
    assert (again in caplog.text) == (name == "swa")
    if name == "swa":  # the average is last, best, tested and printed
        states = [job.run.checkpoint(which)["state_dict"] for which in ("last", "best")]
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
        assert result["best"]["metrics"]["val/loss"] == result["metrics"]["val/loss"]


@pytest.mark.parametrize("every", ["0", "30"])
def test_a_run_with_an_average_goes_on_where_it_stopped(every, make_job):
    given = (*COMMON, *node("ema", *CALLBACKS["ema"]), "picture=false",
             f"callbacks.checkpoint.every_seconds={every}")  # fmt: skip
    whole, part = make_job(*given), make_job(*given, "stop.epochs=2")
    train(whole)
    train(part)
    train(make_job(f"resume={part.run.path}", "stop.epochs=4"))
    ours, theirs = (job.run.checkpoint("last") for job in (part, whole))
    for key in ("current_model_state", "state_dict"):
        assert all(torch.equal(ours[key][name], value) for name, value in theirs[key].items())


@pytest.mark.parametrize(
    ("target", "options", "typed", "words"),
    [
        ("GradientAccumulationScheduler", {"scheduling": {1: 2}}, (), "larger data.batch_size"),
        ("LearningRateFinder", {}, (), "-m optimizer.lr="),
        ("BatchSizeFinder", {}, (), "data.batch_size"),
        ("StochasticWeightAveraging", {"swa_lrs": -1.0}, (), "positive float"),
        ("StochasticWeightAveraging", {"swa_lrs": 0.1},
          (f"model._target_={HERE}.Normed", *(f"~model.{key}" for key in OPTIONS_OF_MLP)),
         "EMAWeightAveraging"),
        ("ModelCheckpoint", {"save_last": True}, (), "last.ckpt"),
        ("ModelCheckpoint", {"filename": "best"}, (), "best.ckpt"),
        ("ModelCheckpoint", {"save_top_k": -3}, (), "save_top_k"),
        ("BackboneFinetuning", {}, (), "backbone"),
        ("LearningRateMonitor", {}, ("logger=none",), "logger"),
        ("DeviceStatsMonitor", {}, ("logger=none",), "logger"),
        ("EarlyStopping", {"monitor": "val/loss", "mode": "sideways"}, (), "mode"),
        ("ThroughputMonitor", {}, (), "batch_size_fn"),
    ],
)  # fmt: skip
def test_a_callback_that_cannot_work_is_refused_in_one_sentence(
    target, options, typed, words, make_job
):
    with pytest.raises(UserError, match=words) as caught:
        train(make_job(*COMMON, *typed, *node("mine", f"{LIGHTNING}.{target}", options)))
    assert "\n" not in str(caught.value)


def test_a_lambda_and_a_monitor_that_take_functions_are_called(make_job, tmp_path):
    scale = f"{{_target_: hydra.utils.get_method, path: {HERE}.scale_gradient}}"
    length = f"{{_target_: hydra.utils.get_method, path: {HERE}.batch_length}}"
    job = make_job(
        *COMMON, "picture=false", f"+callbacks.fn._target_={LIGHTNING}.LambdaCallback",
        f"+callbacks.fn.on_after_backward={scale}",
        "+callbacks.speed._target_=lightning.pytorch.callbacks.ThroughputMonitor",
        f"+callbacks.speed.batch_size_fn={length}",
    )  # fmt: skip
    plain = train_plainly(job, [of_lightning.LambdaCallback(on_after_backward=scale_gradient)])
    train(job)
    hold_against_plain(job.run, plain)


def test_callbacks_of_descent_take_windows_and_one_written_into_its_folder_does_not(make_job):
    from descent.assembly import assemble
    from descent.engine.foreign import OWN, answers, watching_batches

    job = make_job("experiment=line_sequential", "diagnostics=all")
    callbacks = assemble(job)[2].callbacks
    assert watching_batches({type(c).__name__: c for c in callbacks}) == []
    for name in OWN:
        importlib.import_module(name)

    class Mine(L.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx): ...

    Mine.on_train_batch_end.__module__ = "descent.callbacks.mine"
    assert answers(Mine(), "on_train_batch_end")
