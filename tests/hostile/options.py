"""Options that can only be wrong, options of other tools, and options that work: by the hundred.

Each case is what a user types behind `python src/`, and what must come of it. Where the value is
the same kind of mistake for many options, the options are counted up here, not read from the code.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from hostile.warm import Case

NET = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, in_features, out_features, width=8):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(in_features, width), nn.Tanh(), nn.Linear(width, out_features)
        )

    def forward(self, x):
        return self.net(x)


class Normed(Net):
    def __init__(self, in_features, out_features, width=8):
        super().__init__(in_features, out_features, width)
        self.net.insert(1, nn.BatchNorm1d(width))


class Unlucky(Net):
    def __init__(self, in_features, out_features):
        raise RuntimeError("no luck\\nat all")


class Late(Net):
    def forward(self, x):
        if self.training and len(x) > 2:
            raise ValueError("my own fault\\nsecond line")
        return self.net(x)


def nothing():
    return None
"""
TABLE = "petal width (cm),2,цель,y\n" + "".join(
    f"{i},{i * 2},{i % 7 + 0.5},{i + 0.5}\n" for i in range(40)
)
FILES = {"mine.py": NET, "t.csv": TABLE}
SMALL = "train data=iris model=linear stop.epochs=1 picture=false"
TABULAR = "train data=table data.path=t.csv data.batch_size=8 stop.epochs=1 picture=false"

# ---- numbers: what no option of a kind may be

WHOLE = [  # at least 1
    "stop.epochs", "stop.steps", "data.batch_size", "data.window", "trainer.threads",
    "callbacks.full_loss.every_n_epochs", "callbacks.full_loss.every_n_steps",
    "callbacks.path.points", "callbacks.divergence.checks", "trainer.check_val_every_n_epoch",
]  # fmt: skip
FROM_ZERO = ["seed", "data.split_seed", "callbacks.recorder.grad_norm_every"]
FRACTIONS = ["data.val_fraction", "data.test_fraction", "model.dropout", "optimizer.momentum"]
ABOVE_ZERO = [
    "optimizer.lr", "clip.norm", "clip.value", "data.limit", "callbacks.path.most_mib",
    "callbacks.divergence.factor",
]  # fmt: skip
NOT_NEGATIVE = [
    "penalty.l1", "penalty.l2", "optimizer.weight_decay", "data.augment.shift",
    "callbacks.checkpoint.every_seconds", "callbacks.progress.every_seconds",
    "trainer.limit_val_batches",
]  # fmt: skip
TRUTHS = ["data.drop_last", "test", "report", "trainer.detect_anomaly"]
WORDS = ["data.order", "data.scale", "data.scale_target", "model.activation", "model.init"]
OTHER_OPTIMIZERS = {
    "adam": ["optimizer.lr", "optimizer.eps", "optimizer.weight_decay"],
    "rmsprop": ["optimizer.lr", "optimizer.alpha", "optimizer.eps", "optimizer.momentum"],
    "adagrad": ["optimizer.lr", "optimizer.lr_decay", "optimizer.initial_accumulator_value"],
}
SCHEDULES = {
    "exponential": ["scheduler.gamma"],
    "step": ["scheduler.gamma", "scheduler.step_size"],
    "inverse_time": ["scheduler.decay"],
    "cosine": ["scheduler.T_max", "scheduler.eta_min"],
    "warmup_cosine": ["scheduler.total", "scheduler.warmup", "scheduler.final"],
    "plateau": ["scheduler.factor", "scheduler.patience", "scheduler.min_lr"],
}


def _refused(typed: str, says: str = "does not fit", script: str = "train") -> Case:
    name = f"{script} {typed}"
    return Case(name, name, says=says, files=FILES, environment={"PYTHONPATH": "."})


def _works(command: str, *shows: str) -> Case:
    return Case(command, command, files=FILES, environment={"PYTHONPATH": "."}, shows=shows)


NUMBERS = [  # kinds, what none of them may be, and the words for what it must
    (WHOLE, ("0", "-1", "1.5", "99999999999999999999999", "abc"), ""),
    (FROM_ZERO, ("-1", "0.5", "abc", "99999999999999999999999"), ""),
    (FRACTIONS, ("-0.1", "1", "1e308", "nan"), ""),
    (ABOVE_ZERO, ("0", "-1", "1e308", "inf", "[1]"), ""),
    (NOT_NEGATIVE, ("-1", "1e308", "nan", "null"), ""),
    (TRUTHS, ("maybe", "1", "null"), "true or false"),
    (WORDS, ("zzz", "3", "null", "[a]"), ""),
]


def numbers() -> Iterator[Case]:
    for keys, values, words in NUMBERS:
        for key in keys:
            for value in values:
                yield _refused(f"{key}={value}", rf"^{key}.* does not fit: it must be {words}")


def choices_with_numbers() -> Iterator[Case]:
    for group, table in (("optimizer", OTHER_OPTIMIZERS), ("scheduler", SCHEDULES)):
        for choice, keys in table.items():
            for key in keys:
                for value in ("-1", "1e308", "[]", "{a:1}"):
                    yield _refused(f"{group}={choice} {key}={value}", f"^{key}")
    for value in ("[0.9]", "[0.9,0.9,0.9]", "[0.9,1]", "[-0.1,0.9]", "0.9", "[a,b]", "[nan,0.9]"):
        yield _refused(f"optimizer=adam optimizer.betas={value}", "^optimizer.betas=")


# ---- choices

GROUPS = {
    "data": "iris", "model": "linear", "optimizer": "sgd", "scheduler": "cosine",
    "trainer": "cpu", "callbacks": "bare", "logger": "none",
}  # fmt: skip
NONE_BY_DEFAULT = ("experiment", "sweep", "debug", "landscape")


def choices() -> Iterator[Case]:
    for group, choice in GROUPS.items():
        for value in (
            "null",
            "5",
            "true",
            "zzz",
            "{a:1}",
            "../train",
            "range(0,3)",
            choice.upper(),
        ):
            yield _refused(f"{group}={value}", "does not exist|is chosen by a name|does not fit")
        yield _refused(f"{group}={choice.upper()}x", f"did you mean '{choice}'")
        yield _refused(f"{group}@model={choice}", "puts a choice elsewhere")
        if group not in ("callbacks", "logger"):
            yield _refused(f"{group}=[{choice}]", f"one {group} to a run")
    for group in NONE_BY_DEFAULT:
        yield _works(f"{SMALL} {group}=null")
        for value in ("5", "zzz", "[a,b]"):
            yield _refused(f"{group}={value}", "does not exist|does not fit")
    yield _refused("diagnostics=5", "does not exist")
    yield _refused("diagnostics=[sharpnes]", "did you mean 'sharpness'")
    yield _works(f"{SMALL} logger=[csv,tensorboard]")


# ---- nodes


def nodes() -> Iterator[Case]:
    for key in ("callbacks.x", "logger.x"):
        for value in ("1", "abc", "[1]", "{a:1}"):
            yield _refused(f"+{key}={value}", f"^{key}.*_target_")
        yield _refused(f"+{key}._target_=builtins.print", f"{key}")
        yield _refused(f"+{key}._target_=nope.Mine", "cannot be found: No module named 'nope'")
        yield _refused(f"+{key}._target_=mine.Nett", "cannot be found; did you mean 'Net'")
    for key in ("model", "optimizer", "scheduler", "trainer", "data.source"):
        for value in ("5", "print", "null", "[a]", "'not a name'"):
            yield _refused(f"{key}._target_={value}", rf"^{key}._target_.*name of a class")
        yield _refused(f"{key}._target_=os.nope", "cannot be found")
    yield _refused("data.source=5", "^data.source=5 does not fit")
    yield _refused("data.source._target_=builtins.list", "where a source returns")
    yield _refused("data.source._target_=mine.nothing", "makes a NoneType, where a source returns")
    yield _refused("model._target_=builtins.dict", "not a torch.nn.Module")
    yield _refused("+model._args_=[1,2]", "^model: .* refuses: multiple values")
    yield _refused("~model +model.x=1", "^(model has no _target_|Nothing reads model.x)")
    yield _refused("~callbacks +callbacks=3", "does not exist")
    yield _refused("~optimizer", "^optimizer")
    yield _refused("~data.order", "^data.order is missing")
    yield _refused("optimizer.lr={a:1}", "^optimizer.lr.a")
    yield _refused(
        "'+logger.ml={_target_:lightning.pytorch.loggers.MLFlowLogger}'",
        r"^logger.ml \(lightning.*MLFlowLogger\) cannot be made, for want of a package",
    )
    yield _refused("logger=wandb", "^logger[.=]wandb .*(for want of a package|needs an extra)")
    yield _refused(
        "~model +model._target_=mine.Unlucky", r"^model \(mine.Unlucky\) cannot be made: no luck"
    )
    yield Case(
        "a model's own exception in the first step",
        f"{SMALL} ~model +model._target_=mine.Late",
        says=r"^model \(mine.Late\) failed: ValueError: my own fault; the traceback is in .*log",
        files=FILES, environment={"PYTHONPATH": "."}, makes=["outputs/*"],
    )  # fmt: skip
    normed = "data=diabetes model._target_=mine.Normed stop.epochs=1 picture=false"
    yield _refused(f"{normed} data.batch_size=353", "one row .* set data.drop_last=true")
    yield _refused(f"{normed} data.batch_size=1", "one row .* larger data.batch_size")
    yield _works(f"train {normed} data.batch_size=353 data.drop_last=true")


# ---- sizes


def sizes() -> Iterator[Case]:
    for value in ("[10000000000]", "[9223372036854775807]", "[99999999999999999999999]", "[0]"):
        yield _refused(f"model.hidden={value}", "^model.hidden")
    yield _refused("model.hidden=[100000,100000]", "needs .* GiB of memory, and .* GiB are free")
    yield _refused("data=line data.source.rows=100000000000", "needs .* GiB of memory, and")
    yield _refused("data=line data.source.rows=1000000000000", "^data.source.rows=.* at most")
    yield _refused("trainer.threads=100000", "more than the .* cores? of this machine")
    yield _refused("trainer.devices=99", "more than this machine can have")
    yield _refused("trainer.devices=[0,99]", "more than this machine can have")
    yield _refused("trainer=cpu trainer.devices=[0,1]", "^The trainer refuses its settings: ")
    yield _refused("-m hydra.launcher.workers=1000000 seed=1,2", "^hydra.launcher.workers=1000000")
    yield _refused("-m 'seed=range(0,10000000000)'", "10,000,000,000 jobs, more than the 100,000")
    yield _refused("-m 'seed=range(0,1000)' 'data.split_seed=range(0,1000)'", "1,000,000 jobs")
    yield _refused("-m 'seed=range(0,10,0)'", "never ends")
    yield _refused("name=" + 300 * "x", "a text of at most 200 letters")


# ---- what other tools call it

ELSEWHERE = {
    "trainer.max_epochs=3": "'stop.epochs'", "+trainer.max_epochs=3": "stop.epochs",
    "trainer.max_steps=3": "'stop.steps'", "+trainer.max_steps=3": "stop.steps",
    "trainer.fast_dev_run=true": "debug=default", "+trainer.fast_dev_run=true": "debug=default",
    "trainer.gradient_clip_val=1": "clip.norm", "+trainer.gradient_clip_val=1": "clip.norm",
    "trainer.accumulate_grad_batches=2": "data.batch_size",
    "+trainer.enable_progress_bar=true": "callbacks.progress",
    "+trainer.num_sanity_val_steps=2": "has no effect",
    "+trainer.enable_model_summary=true": "has no effect",
    "+trainer.log_every_n_steps=1": "every step is recorded",
    "seed=null": "Every run has a seed", "optimizer=RMSProp": "did you mean 'rmsprop'",
    "optimizer=Adam": "did you mean 'adam'", "data=Digits": "did you mean 'digits'",
    "data.num_workers=4": "not needed: the data lie on the training device",
    "data.pin_memory=true": "not needed: the data lie on the training device",
    "callbacks=none": "callbacks=bare", "logger=many_loggers": r"logger=\[csv,tensorboard\]",
    "debug=fdr": "debug=default", "trainer=ddp_sim": "trainer=ddp",
    "trainer=mps": "trainer.accelerator=mps",
    "hparams_search=optuna": "sweep=optuna", "train=false": "src/eval.py run=",
    "ckpt_path=x": "'resume'", "tags=[a]": "'name'", "+tags=[a]": "'name'", "task_name=x": "'name'",
    "model.lr=0.1": "'optimizer.lr'", "lr=0.1": "'optimizer.lr'", "epochs=3": "'stop.epochs'",
    "learning_rate=1": "'optimizer.lr'", "batch=3": "'data.batch_size'",
    "trainer.precision=16": "'16-mixed'", "trainer.precision=bf16": "'bf16-mixed'",
    "precision=bf16": "'trainer.precision'", "trainer.precision=64": "'64-true'",
    "data.batch_size=null": "'full'",
    "extras.print_config=true": "--cfg job", "early_stopping=true": "callbacks=early_stopping",
    "data.scale=standard": "'standardize'", "datamodule=mnist": "data=",
    "device=cuda": "'trainer.accelerator'", "gpus=1": "'trainer.devices'",
    "validation_split=0.1": "'data.val_fraction'", "data_dir=x": "data=table",
    "+loss._target_=torch.nn.HuberLoss": "Nothing reads loss|loss=|loss._target_ exists already",
    "criterion=mse": "loss", "compile=true": "leave it out", "verbose=1": "train.log",
}  # fmt: skip


def elsewhere() -> Iterator[Case]:
    for typed, says in ELSEWHERE.items():
        yield _refused(typed, says)


# ---- keys that nobody reads


def unread() -> Iterator[Case]:
    for key in ("zzz", "data.x", "stop.x", "penalty.l3", "clip.x", "paths.x", "run", "x.y.z"):
        yield _refused(f"+{key}=1", f"^Nothing reads {key}")
    for key in ("data.path", "data.target", "landscape.name", "base_lr", "lr_scaling"):
        yield _refused(f"+{key}=x", f"^{key}")
    for key in ("optimizer.foo", "model.foo", "scheduler.foo", "callbacks.recorder.foo"):
        yield _refused(f"+{key}=1", f"^{key} is no argument of ")
    yield _refused("landscape=bowl", "goes with model=point data=landscape")
    yield _refused("sweep_dir=x", "add -m")
    yield _refused("hydra.job.chdir=true", "^hydra.job.chdir=true is not offered")
    yield _refused("~callbacks.recorder.points=3", "callbacks.recorder.points is 10000")
    for script in ("eval", "report", "dashboard"):
        yield _refused("experiment=x", f"src/{script}.py has no option 'experiment'", script)
        yield _refused("+x=1", "takes its own options and no others", script)
        yield _refused("zzz=1", "There is no option 'zzz'", script)
        yield _refused("--nope", "There is no flag '--nope'", script)
    yield _refused("sweep=[a,b]", "^a does not exist; give the directory", "report")
    yield _refused("sweep=nope", "nope", "report")
    yield _refused("run=nope", "nope does not exist", "eval")
    yield _refused("run=[a,b]", "takes one", "eval")


# ---- the command line itself


def command_line() -> Iterator[Case]:
    yield _refused("--nope", "There is no flag '--nope'")
    yield _refused("--multi_run", "There is no flag '--multi_run'; did you mean '--multirun'")
    yield _refused("-m --cfg job", "ask for two things")
    yield _refused("--resolve", "--cfg job")
    yield _refused("--cfg nope", "invalid choice")
    yield _refused("--config-dir nope", "no directory nope")
    yield _refused("--config-name nope", "nope")
    yield _refused("--experimental-rerun x", "is not offered")
    yield _refused("x", "options are typed as key=value")
    yield _refused("=x", "options are typed as key=value")
    yield _refused("@x=1", "options are typed as key=value")
    yield _refused("optimizer.lr=[", "^An override cannot be read")
    yield _refused("optimizer=adam=x", "^An override cannot be read")
    yield _refused("optimizer.lr=0.1,0.2", "gives several values; add -m")
    yield _refused("'name=${nope}'", "nope")
    yield _refused("-m 'optimizer.lr=interval(0.01,1)'", "how many values are to be drawn")
    yield _refused("resume=5", "^5 does not exist")
    yield _refused("paths.outputs=", "a text that is not empty")
    yield _works(f"{SMALL} -m seed=0,1 report=false")
    yield _works(f"{SMALL} seed=1 --run name=x")
    yield _works("train --cfg job debug=null", "batch_size")
    yield _works(f"{SMALL} -m 'optimizer.lr=range(0.1,0.4,0.1)' report=false", r"\b0\.3\b")


# ---- names of columns


def columns() -> Iterator[Case]:
    quoted = r"put the value in quotes: 'data.target=\"petal width \(cm\)\"'"
    yield _refused("data=table data.path=t.csv 'data.target=petal width (cm)'", quoted)
    yield _refused(
        "data=table data.path=t.csv data.target=petal width (cm)",
        r"in quotes: 'data.target=\"petal width \(cm\)\"'",
    )
    yield _refused("data=table data.path=t.csv data.target=цель", r"quotes: 'data.target=\"цель\"'")
    yield _refused(
        "data=table data.path=t.csv data.target=y data.features=[цель]",
        r"quotes: 'data.features=\[\"цель\"\]'",
    )
    yield _works(f"{TABULAR} 'data.target=\"petal width (cm)\"'")
    yield _works(f"{TABULAR} 'data.target=\"цель\"'")
    yield _works(f"{TABULAR} data.target=2")
    yield _works(f"{TABULAR} data.target=y data.features=[2]")
    yield _works(f"{TABULAR} data.target=y 'data.features=[2,\"цель\"]'")
    yield _works(f"{TABULAR} -m data.target=2,y report=false")


# ---- own code by the documented words


def own_code() -> Iterator[Case]:
    left_out = "hidden, activation, dropout, init of model=mlp left out"
    small = "train data=iris stop.epochs=1 picture=false"
    yield _works(f"{small} model._target_=mine.Net", left_out)
    yield _works(f"{small} model._target_=mine.Net +model.width=3", left_out)
    yield _works(f"{small} -m model._target_=mine.Net seed=0,1 report=false", left_out)
    yield _works(f"{small} ~model +model._target_=mine.Net")
    yield _works(
        f"{small} optimizer._target_=torch.optim.NAdam", "momentum, dampening of optimizer"
    )
    yield _works(f"{small} ~optimizer +optimizer._target_=torch.optim.NAdam +optimizer.lr=0.01")
    yield _refused("model._target_=mine.Net model.hidden=[3]", "model.hidden is no argument of")
    yield _works(f"{small} scheduler._target_=torch.optim.lr_scheduler.LinearLR")


def cases() -> list[Case]:
    """Return the whole corpus."""
    parts = (
        numbers, choices_with_numbers, choices, nodes, sizes, elsewhere, unread, command_line,
        columns, own_code,
    )  # fmt: skip
    return [case for part in parts for case in part()]


def sample(every: int, seed: int = 0) -> list[Case]:
    """Return so many cases, the same ones each time."""
    return random.Random(seed).sample(cases(), every)
