"""What each option may hold: one line an option, in the order of `conf/`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# What no number of a kind reaches unless by mistake; texts are counted by their letters. Float32
# still holds the product of any two of the numbers.
REACHED_BY_MISTAKE: dict[type, float] = {int: 10**9, float: 1e15, str: 4096}
TINY = 1e-30  # the least of the numbers that must be above 0
MOST_ITEMS = 1000


@dataclass(frozen=True)
class Rule:
    """One option's type and range; `problem` says in words what it must be.

    Args:
        type: of the value.
        at_least: and the three after it: the range that means something.
        above: see `at_least`.
        at_most: see `at_least`.
        below: see `at_least`.
        words: values allowed beside the type, such as `full`.
        each: a list whose items follow the rule.
        listable: one value, or a list of them.
        items: how many a list has; None for up to 1,000.
        limit: the number, or the letters of a text, beyond which it can only be a mistake; None for
            the one of its type.
        filled: whether a text must not be empty.
    """

    type: type
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    words: Sequence[Any] = ()
    each: bool = False
    listable: bool = False
    items: int | None = None
    limit: float | None = None
    filled: bool = False

    def problem(self, value: Any) -> str | None:
        """Return what the value must be, in words, or None if it fits."""
        if any(value == word and type(value) is type(word) for word in self.words):
            return None
        if self.each and not isinstance(value, list):
            return self.words_for()
        values = value if self.each or (self.listable and isinstance(value, list)) else [value]
        if not all(self._fits(item) for item in values):
            return self.words_for()
        if self.each and len(values) > MOST_ITEMS:
            return f"a list of at most {MOST_ITEMS:,}"
        if self.items is not None and len(values) != self.items:
            return f"a list of {self.items}, {self.words_for().removeprefix('a list, ')}"
        return next((words for item in values if (words := self._beyond(item))), None)

    def _fits(self, value: Any) -> bool:
        if self.type is Choice:
            return False
        if self.type is float and type(value) is int:
            value = float(value) if abs(value) < 2**1023 else math.inf
        if type(value) is not self.type:
            return False
        return not isinstance(value, (int, float)) or self._in_range(value)

    def _in_range(self, value: float) -> bool:
        return (isinstance(value, int) or math.isfinite(value)) and (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    def _beyond(self, value: Any) -> str | None:
        """Return what a value must be that can only be a mistake; None for any other."""
        limit = REACHED_BY_MISTAKE.get(self.type, math.inf) if self.limit is None else self.limit
        if isinstance(value, str) and self.filled and not value.strip():
            return "a text that is not empty"
        if isinstance(value, str):
            return f"a text of at most {limit:,} letters" if len(value) > limit else None
        if isinstance(value, (int, float)) and abs(value) > limit:
            side, bound = ("most", limit) if value > 0 else ("least", -limit)
            return f"{self._noun()} of at {side} {_number(bound)}"
        if self.above == 0 and 0 < value < TINY:
            return f"{self._noun()} of at least {_number(TINY)}"
        return None

    def _noun(self) -> str:
        noun = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
        return noun.get(self.type, "")

    def words_for(self) -> str:
        """Return the rule in words: 'a whole number of at least 1, or full'."""
        bounds = [
            f"{word} {_number(bound)}"
            for word, bound in (
                ("of at least", self.at_least),
                ("above", self.above),
                ("at most", self.at_most),
                ("below", self.below),
            )
            if bound is not None
        ]
        typed = " ".join([self._noun(), " and ".join(bounds)])
        shown = ["null" if word is None else str(word) for word in self.words]
        parts = [part for part in [typed.strip(), *shown] if part]
        text = " or ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
        return f"a list, each item {text}" if self.each else text


class Choice:
    """Marks a rule whose words are all there is."""


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _int(at_least: int = 1, *words: Any, limit: int | None = None) -> Rule:
    return Rule(int, at_least=at_least, words=words, limit=limit)


def _from_zero(*words: Any) -> Rule:
    return Rule(float, at_least=0, words=words)


def _positive(*words: Any) -> Rule:
    return Rule(float, above=0, words=words)


def _one_of(*words: Any) -> Rule:
    return Rule(Choice, words=words)


BOOL = Rule(bool)
TEXT = Rule(str, filled=True)
OPTIONAL_TEXT = Rule(str, words=(None,), filled=True)
NUMBER = Rule(float)
FRACTION = Rule(float, at_least=0, below=1)
MODE = _one_of("auto", "min", "max")
INIT = _one_of("kaiming", "xavier", "normal", "zeros", "ones")

RULES: dict[str, Rule] = {
    "name": Rule(str, filled=True, limit=200),
    "seed": _int(0, limit=2**63 - 1),
    "stop.epochs": _int(1, None),
    "stop.steps": _int(1, None, limit=10**12),
    "stop.loss": Rule(float, words=(None,)),
    "penalty.l1": _from_zero(),
    "penalty.l2": _from_zero(),
    "clip.norm": _positive(None),
    "clip.value": _positive(None),
    "picture": Rule(bool, words=("auto",)),
    "test": BOOL,
    "optimized_metric": TEXT,
    "optimized_mode": MODE,
    "lesson.question": Rule(str, words=(None,)),
    "lesson.measures": Rule(str, each=True),
    "base_lr": _positive(),
    "lr_scaling": _one_of("none", "linear", "sqrt"),
    "reference_batch": _int(1),
    "resume": OPTIONAL_TEXT,
    "sweep_dir": OPTIONAL_TEXT,
    "after": OPTIONAL_TEXT,
    "trust": Rule(str, each=True),
    # data
    "data.batch_size": _int(1, "full"),
    "data.order": _one_of("shuffle", "sequential", "with_replacement"),
    "data.drop_last": BOOL,
    "data.val_fraction": FRACTION,
    "data.test_fraction": FRACTION,
    "data.split_seed": _int(0, limit=2**32 - 1),
    "data.scale": _one_of("standardize", "together", "minmax", "none"),
    "data.scale_target": _one_of("standardize", "none"),
    "data.limit": _positive(None),
    "data.window": _int(1, "auto"),
    "data.augment.shift": _from_zero(),
    "data.augment.rotate": Rule(float, at_least=0, at_most=180),
    "data.path": OPTIONAL_TEXT,
    "metrics.names": Rule(str, each=True),
    "logger.wandb.project": TEXT,
    "logger.wandb.offline": BOOL,
    "logger.mlflow.experiment_name": TEXT,
    "logger.mlflow.tracking_uri": OPTIONAL_TEXT,
    "logger.trackio.project": TEXT,
    "data.metrics": Rule(str, each=True),
    "data.folds": _int(2, None),
    "data.fold": _int(0),
    "data.log_target": BOOL,
    "data.init": INIT,
    "data.threshold": Rule(float, above=0, below=1, words=("accuracy", "balanced_accuracy", "f1")),
    "data.class_weight": Rule(float, above=0, words=(None, "balanced"), each=True),
    "data.target": Rule(str, listable=True),
    "data.features": Rule(str, each=True, words=(None,)),
    "data.exclude": Rule(str, each=True),
    "data.texts": Rule(str, each=True),
    "data.task": _one_of("auto", "regression", "classification"),
    "data.missing": _one_of("impute", "indicator", "drop", "error"),
    "data.unseen": _one_of(None, "other", "error"),
    "data.high_cardinality": _one_of("frequency", "hash", "drop"),
    "data.dates": _one_of("parts", "elapsed"),
    "data.group": Rule(str, words=(None,)),
    "data.time": Rule(str, words=(None,)),
    "data.weight": Rule(str, words=(None,)),
    "data.separator": TEXT,
    "data.decimal": _one_of("auto", "dot", "comma", ".", ","),
    "data.thousands": _one_of("auto", "none", "dot", "comma", ".", ","),
    "data.encoding": TEXT,
    "data.header": BOOL,
    "data.comment": TEXT,
    "data.missing_words": Rule(str, each=True, words=(None,)),
    "data.day_first": Rule(bool, words=(None,)),
    "data.source.task": _one_of("auto", "regression", "classification"),
    "data.source.features": Rule(str, each=True, words=(None,)),
    "data.source.target": Rule(str, listable=True),
    "data.source.classes": Rule(str, each=True),
    "learner.alpha": Rule(float, above=0, at_most=100),
    "data.source.rows": _int(2, limit=10**11),
    "data.source.slope": NUMBER,
    "data.source.intercept": NUMBER,
    "data.source.noise": _from_zero(),
    "data.source.start": NUMBER,
    "data.source.end": NUMBER,
    "data.source.seed": _int(0, limit=2**32 - 1),
    "data.source.name": TEXT,
    # landscape
    "landscape.name": TEXT,
    "landscape.start": Rule(float, each=True),
    # model
    "model.landscape": TEXT,
    "model.start": Rule(float, each=True),
    "model.bias": BOOL,
    "model.init": INIT,
    "model.hidden": Rule(int, at_least=1, each=True, limit=10**8),
    "model.activation": _one_of("relu", "gelu", "silu", "tanh", "sigmoid", "elu", "leaky_relu"),
    "model.dropout": FRACTION,
    # loss
    "loss.delta": _positive(),
    "loss.quantile": Rule(float, above=0, below=1),
    "loss.label_smoothing": FRACTION,
    "loss.gamma": _from_zero(),
    # optimizer
    "optimizer.lr": _positive(),
    "optimizer.momentum": Rule(float, at_least=0, below=1),
    "optimizer.dampening": Rule(float, at_least=0, at_most=1),
    "optimizer.nesterov": BOOL,
    "optimizer.weight_decay": _from_zero(),
    "optimizer.lr_decay": _from_zero(),
    "optimizer.initial_accumulator_value": _from_zero(),
    "optimizer.eps": _from_zero(),
    "optimizer.alpha": FRACTION,
    "optimizer.centered": BOOL,
    "optimizer.betas": Rule(float, at_least=0, below=1, each=True, items=2),
    # scheduler
    "scheduler.interval": _one_of("step", "epoch"),
    "scheduler.monitor": TEXT,
    "scheduler.mode": MODE,
    "scheduler.factor": Rule(float, above=0, at_most=1),
    "scheduler.total_iters": _int(0, limit=10**12),
    "scheduler.step_size": _int(1, limit=10**12),
    "scheduler.gamma": Rule(float, above=0, limit=1000),
    "scheduler.decay": _from_zero(),
    "scheduler.T_max": _int(1, "auto", limit=10**12),
    "scheduler.eta_min": _from_zero(),
    "scheduler.total": _int(1, "auto", limit=10**12),
    "scheduler.warmup": Rule(float, at_least=0, at_most=1),
    "scheduler.final": _from_zero(),
    "scheduler.patience": _int(0),
    "scheduler.threshold": _from_zero(),
    "scheduler.min_lr": _from_zero(),
    # callbacks
    "callbacks.recorder.grad_norm_every": _int(0),
    "callbacks.recorder.points": _int(2),
    "callbacks.full_loss.every_n_epochs": _int(1),
    "callbacks.full_loss.every_n_steps": _int(1, None),
    "callbacks.full_loss.target": Rule(float, words=(None,)),
    "callbacks.noise_scale.every_n_epochs": _int(1),
    "callbacks.noise_scale.exact": Rule(bool, words=("auto",)),
    "callbacks.noise_scale.smoothing": FRACTION,
    "callbacks.sharpness.every_n_epochs": _int(1),
    "callbacks.sharpness.tolerance": Rule(float, above=0, below=1),
    "callbacks.sharpness.products": _int(10),
    "callbacks.optimum.every_n_epochs": _int(1),
    "callbacks.step_noise.every_n_epochs": _int(1),
    "callbacks.weights.every_n_epochs": _int(1),
    "callbacks.weights.threshold": _positive(),
    "callbacks.path.points": _int(32),
    "callbacks.path.most_mib": _positive(),
    "callbacks.listing.first": _int(1),
    "callbacks.divergence.factor": Rule(float, above=1),
    "callbacks.divergence.checks": _int(1),
    "callbacks.checkpoint.every_seconds": _from_zero(),
    "callbacks.checkpoint.monitor": TEXT,
    "callbacks.checkpoint.mode": MODE,
    "callbacks.progress.every_seconds": _from_zero(),
    "callbacks.early_stopping.monitor": TEXT,
    "callbacks.early_stopping.mode": MODE,
    "callbacks.early_stopping.patience": _int(1),
    "callbacks.early_stopping.min_delta": _from_zero(),
    "callbacks.early_stopping.check_finite": BOOL,
    # logger, trainer, paths
    "logger.csv.name": Rule(str),
    "logger.csv.version": Rule(str),
    "trainer.accelerator": TEXT,
    "trainer.devices": Rule(int, at_least=-1, words=("auto",), listable=True),
    "trainer.strategy": TEXT,
    "trainer.precision": _one_of(
        "32-true", "64-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true"
    ),
    "trainer.threads": _int(1, "auto"),
    "trainer.derivatives": _one_of("auto", "autograd"),
    "trainer.compile": Rule(bool, words=("auto",)),
    "trainer.graphs": Rule(bool, words=("auto",)),
    "trainer.check_val_every_n_epoch": _int(1),
    "trainer.limit_val_batches": _from_zero(),
    "trainer.deterministic": Rule(bool, words=("warn",)),
    "trainer.detect_anomaly": BOOL,
    "trainer.profiler": OPTIONAL_TEXT,
    "paths.outputs": TEXT,
    "paths.run": TEXT,
    "paths.sweep": TEXT,
    "report": BOOL,
    # eval.yaml and report.yaml
    "run": Rule(str, words=(None,), filled=True, listable=True),
    "checkpoint": _one_of("best", "last"),
    "predict": OPTIONAL_TEXT,
    "overwrite": BOOL,
    "accelerator": TEXT,
    # report.yaml
    "multirun": Rule(str, words=(None,), filled=True, listable=True),
    "best": BOOL,
    "x": _one_of("step", "epoch", "samples", "seconds"),
    "measure": OPTIONAL_TEXT,
    "target": Rule(float, words=(None,)),
    "output": OPTIONAL_TEXT,
    "format": _one_of("onnx", "torch_export", "state_dict"),
}

# Options of `hydra.launcher`, which is not part of a job's config.
LAUNCHER = {
    "workers": _int(1, None),
    "stack": _int(1, "auto"),
    "on_failure": _one_of("continue", "stop"),
    "job_seconds": _positive(None),
}

# Options that are typed under another name.
NAMES = {"multirun": "sweep"}

# Options whose names are a recipe's own: an lr for each value that it sweeps.
FAMILIES = {"tuned": _positive()}

# What a training config cannot do without; `~data.order` would take it out.
REQUIRED = (
    *("data.source", "model", "optimizer.lr", "scheduler", "trainer.threads"),
    *("trainer.accelerator", "trainer.precision", "callbacks", "logger"),
    *(k for k in RULES if k.startswith(("stop.", "penalty.", "clip."))),
    *("name", "seed", "picture", "test", "optimized_metric", "resume", "trust"),
    *(
        f"data.{k}"
        for k in (
            *("batch_size", "order", "drop_last", "val_fraction", "test_fraction"),
            *("split_seed", "scale", "scale_target", "limit", "window"),
            *("augment.shift", "augment.rotate"),
        )
    ),
)

WIDE = 5.0  # a range this many times as long as its lower end is one of factors


def is_geometric(key: str, low: float, high: float) -> bool:
    """Whether a range of an option is one of factors, as a rate's, and not one of differences.

    Shares such as momentum and dropout, which end at 1, are told by what they lack to it or by
    themselves, never by factors.
    """
    rule = RULES.get(key)
    share = rule is not None and (rule.at_most == 1 or rule.below == 1)
    return not share and low > 0 and high >= WIDE * low


# Options that change which loss is descended, or its unit: scores across them say nothing.
PROBLEMS = ("data", "landscape", "experiment", "data.path", "data.target", "data.scale_target")
PROBLEM_PREFIXES = ("data.source.", "landscape.")


def is_seed(key: str) -> bool:
    """Whether an option is only the luck of a run."""
    return key.rsplit(".", 1)[-1] in ("seed", "split_seed", "fold")


def is_problem(key: str) -> bool:
    """Whether an option changes the problem rather than how it is solved."""
    return key in PROBLEMS or key.startswith(PROBLEM_PREFIXES)
