"""A multirun as trials, and what was varied: learning rate, batch size, seed, problem."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from descent.config.options import is_problem
from descent.records.endings import Status

# of a trial that will not go on
ENDED = (Status.OK, Status.DIVERGED, Status.FAILED)

Value = float | str  # of a swept option: a number where all its values are numbers


@dataclass(frozen=True)
class Trial:
    """A run of a multirun.

    Args:
        number: of the job.
        values: of the swept options, without seeds.
        seed: what makes it differ from others of its setting, such as `seed=3`; empty if nothing.
        status: `ok`, `diverged`, `failed`, `interrupted`, `running` or `not begun`.
        reason: why it ended.
        step, samples, seconds: taken; None where it never trained.
        figures: every other number that the table holds, by the column's name.
        directory: of the run.
        command: repeats it.
    """

    number: int
    values: Mapping[str, Value]
    seed: str
    status: str
    reason: str
    step: int | None
    samples: int | None
    seconds: float | None
    figures: Mapping[str, float]
    directory: Path
    command: str


@dataclass(frozen=True)
class Study:
    """A multirun, read.

    Args:
        directory: of the multirun.
        trials: by number.
        swept: options that differ, without seeds: lr, batch size, then the most influential first.
        metric: what the sweep optimized, such as `val/loss`.
        config: resolved, of one of its runs: what was not swept.
        left_out: sentences on what the directory holds that is not among the trials, and why.
        shared: overrides that all trials have in common, as typed.
        added: by option, the `+` or `++` before it where it was typed: it is a new one.
        influence: the share of the scores' variance, on ranks, that each swept option explains.
        earlier: multiruns that this one follows (`after=`), whose trials are among these.
        confirms: what was known before this multirun, where it repeats settings of an earlier one
            with fresh seeds; else None.
    """

    directory: Path
    trials: tuple[Trial, ...]
    swept: tuple[str, ...]
    metric: str
    config: Mapping[str, Any]
    left_out: tuple[str, ...]
    shared: tuple[str, ...] = ()
    added: Mapping[str, str] = field(default_factory=dict)
    influence: Mapping[str, float] = field(default_factory=dict)
    earlier: tuple[Path, ...] = ()
    confirms: Study | None = None

    def as_typed(self, word: str) -> str:
        """Return `key=value` as it is typed in a shell, with the `+` of a new option."""
        return self.added.get(word.partition("=")[0], "") + word


LEARNING_RATES = ("optimizer.lr", "base_lr")  # `base_lr` is that of the recipe sweep=lr_batch
BATCH, OPTIMIZER = "data.batch_size", "optimizer"
SHARPNESS, NOISE_SCALE = "diagnostics/sharpness", "diagnostics/noise_scale"  # columns


def learning_rate(study: Study) -> str | None:
    """Return the swept option that is the learning rate, if it was swept."""
    return next((key for key in LEARNING_RATES if key in study.swept), None)


def problem_keys(study: Study) -> tuple[str, ...]:
    """Return the swept options that make several problems of a study."""
    return tuple(key for key in study.swept if is_problem(key))


FOLD, SPLIT = "data.fold", "data.split_seed"


def repeat_word(trials: Iterable[Trial]) -> str:
    """Return what the trials of a setting differ by: `seed`, `fold` or `split`."""
    keys = {word.partition("=")[0] for trial in trials for word in trial.seed.split()}
    if FOLD in keys:
        return "fold"
    return "split" if keys == {SPLIT} else "seed"


def is_number(value: Value) -> bool:
    """Whether a value is a number rather than a word."""
    return isinstance(value, float)


def numeric(study: Study, key: str) -> bool:
    """Whether all values of a swept option are numbers."""
    return all(is_number(trial.values[key]) for trial in study.trials)


def ordered(values: Iterable[Value]) -> tuple[Value, ...]:
    """Return each value once: numbers rising, then words in order of appearance.

    A word that reads as a number, such as the 16 beside `full`, counts as one.
    """
    found = list(dict.fromkeys(values))
    at = {value: i for i, value in enumerate(found)}
    return tuple(sorted(found, key=lambda v: (number_in(v) is None, number_in(v) or 0.0, at[v])))


def number_in(value: Value) -> float | None:
    """Return the finite number that a value is or reads as; None for other words."""
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def text(value: Value) -> str:
    """Return a value as it would be typed: 16 and 0.001, not 16.0."""
    return f"{value:.12g}" if isinstance(value, float) else value


def label(values: Mapping[str, Value], keys: Sequence[str] | None = None) -> str:
    """Return `adam, lr=0.01, batch_size=64`; the optimizer needs no name."""
    shown = list(values) if keys is None else [key for key in keys if key in values]
    first = [text(values[OPTIMIZER])] if OPTIMIZER in shown else []
    rest = [f"{short(key)}={text(values[key])}" for key in shown if key != OPTIMIZER]
    return ", ".join([*first, *rest])


def short(key: str) -> str:
    """Return the last word of a dotted name: `lr` of `optimizer.lr`."""
    return key.rsplit(".", 1)[-1]


def optimizer_of(config: Mapping[str, Any]) -> str:
    """Return what the configured optimizer is called; empty where that is not known."""
    node = config.get("optimizer")
    target = str(node.get("_target_", "")) if isinstance(node, Mapping) else ""
    name = target.rsplit(".", 1)[-1]
    if name == "SGD" and isinstance(node, Mapping):
        if node.get("nesterov"):
            return "nesterov"
        return "momentum" if node.get("momentum") else "sgd"
    return name.lower()


def batch_of(trial: Trial, config: Mapping[str, Any]) -> float | None:
    """Return a trial's rows per step; None where it is not known.

    Args:
        trial: `full` is told by the samples that its steps took.
        config: of any trial, for a batch size that was not swept.
    """
    given = trial.values.get(BATCH, (config.get("data") or {}).get("batch_size"))
    number = None if given is None else number_in(given)
    if number is not None or given is None:
        return number
    return trial.samples / trial.step if trial.samples and trial.step else None
