"""A run as pictures see it: its directory read, checked and put into arrays along an axis."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from descent.config.check import check_values, flatten
from descent.config.spelling import command, command_words, program
from descent.data.arrays import Task
from descent.data.naming import readable
from descent.data.prepare import Description
from descent.errors import UserError
from descent.files.bounded import DamageError
from descent.records.endings import Status
from descent.records.pathfile import FILE, Trajectory, read_path
from descent.records.run import Run, damaged
from descent.records.tables import FULL_LOSS, RUNNING_LOSS, VAL_LOSS, Table, column, read_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Axis(StrEnum):
    """What training is measured in."""

    STEP = "step"
    EPOCH = "epoch"
    SAMPLES = "samples"
    SECONDS = "seconds"

    @property
    def label(self) -> str:
        """With its unit, for the axis."""
        return {
            Axis.STEP: "step (optimizer updates)",
            Axis.EPOCH: "epoch (passes over the training rows)",
            Axis.SAMPLES: "samples (training rows consumed)",
            Axis.SECONDS: "training time (seconds)",
        }[self]


def show(axes: Axes, x: Axis) -> None:
    """Label the horizontal axis; steps, epochs and samples get ticks at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel(x.label)
    if x is not Axis.SECONDS and axes.get_xscale() == "linear":
        axes.xaxis.set_major_locator(MaxNLocator(nbins="auto", integer=True, steps=[1, 2, 5, 10]))


def place(x: Axis, at: np.ndarray, steps: Table, epochs: Table, per_epoch: float) -> np.ndarray:
    """Return where steps lie on an axis.

    Args:
        x: the axis.
        at: step numbers [n].
        steps: steps.csv, whose rows say how many samples and seconds a step had taken.
        epochs: epochs.csv, asked where there is no steps.csv.
        per_epoch: steps an epoch.
    """
    at = np.asarray(at, dtype=np.float64)
    if x is Axis.STEP:
        return at
    if x is Axis.EPOCH:
        return at / per_epoch
    known = steps if len(steps.get("step", ())) else epochs
    if not len(known.get("step", ())):
        return np.zeros_like(at)
    step, value = (np.concatenate([[0.0], column(known, name)]) for name in ("step", x))
    return np.interp(at, step, value)


Config = Mapping[str, Any]

# What makes one run differ from another, in the order in which it is worth telling.
TELLING = (
    *("optimizer", "loss", "scheduler", "data", "model", "landscape", "penalty", "clip", "seed"),
)
UNTOLD = ("hydra.", "paths.", "trainer.", "resume", "trust", "picture", "name")
LONGEST_LABEL = 60


@dataclass(frozen=True)
class Curve:
    """One loss over a run: [n] steps and values, not all finite."""

    step: np.ndarray
    value: np.ndarray

    def known(self) -> Curve:
        """Return the points that are finite."""
        keep = np.isfinite(self.value)
        return Curve(self.step[keep], self.value[keep])


@dataclass(frozen=True)
class Record:
    """A finished run.

    Args:
        run: its directory.
        config: as trained.
        data: what it was trained on.
        result: how it ended.
        steps, epochs: its tables.
        path: its parameters as they moved; None if they were not recorded.
        label: what it is called beside others.
    """

    run: Run
    config: Config
    data: Description
    result: Mapping[str, Any]
    steps: Table
    epochs: Table
    path: Trajectory | None
    label: str

    @property
    def status(self) -> Status:
        """What became of it."""
        return Status(self.result["status"])

    @property
    def diverged_at(self) -> int | None:
        """The step at which its loss was lost, if it was."""
        return int(self.result["step"]) if self.status is Status.DIVERGED else None

    @property
    def landscape(self) -> str | None:
        """The landscape it walked on, if it did."""
        if self.data.task is not Task.LANDSCAPE:
            return None
        return str(self.config["model"].get("landscape"))

    @property
    def parameters(self) -> list[str]:
        """What the recorded parameters are called."""
        names = self.path.names if self.path is not None else ()
        return readable(names, str(self.config["model"].get("_target_")), self.data)

    @property
    def penalties(self) -> tuple[float, float]:
        """The weights of the L1 and L2 terms."""
        node = self.config.get("penalty") or {}
        return float(node.get("l1", 0)), float(node.get("l2", 0))

    @property
    def step_loss(self) -> Curve:
        """Each mini-batch's loss before its update."""
        return Curve(column(self.steps, "step"), column(self.steps, "loss"))

    @property
    def full_loss(self) -> Curve:
        """The loss over all training rows, from both tables."""
        within = Curve(column(self.steps, "step"), column(self.steps, "full_loss")).known()
        after = self.by_epoch(FULL_LOSS).known()
        step, first = np.unique(np.concatenate([after.step, within.step]), return_index=True)
        return Curve(step, np.concatenate([after.value, within.value])[first])

    @property
    def running_loss(self) -> Curve:
        """The mean step loss of each epoch."""
        return self.by_epoch(RUNNING_LOSS)

    @property
    def val_loss(self) -> Curve:
        """The loss over the validation rows."""
        return self.by_epoch(VAL_LOSS)

    def by_epoch(self, name: str) -> Curve:
        """Return a column of epochs.csv."""
        return Curve(column(self.epochs, "step"), column(self.epochs, name))

    @property
    def losses(self) -> dict[str, Curve]:
        """The training losses by name, best to compare by first."""
        return {
            "full loss": self.full_loss,
            "running loss": self.running_loss,
            "step loss": self.step_loss,
        }

    @property
    def main_loss(self) -> tuple[str, Curve]:
        """The first of `losses` with a finite value, and its finite points."""
        for name, curve in self.losses.items():
            if np.isfinite(curve.value).any():
                return name, curve.known()
        return "loss", Curve(np.zeros(0), np.zeros(0))

    def at(self, x: Axis, steps: np.ndarray) -> np.ndarray:
        """Return where steps lie on an axis."""
        return place(x, steps, self.steps, self.epochs, self._steps_per_epoch)

    @property
    def _steps_per_epoch(self) -> float:
        done = np.flatnonzero(column(self.epochs, "epoch") >= 1)
        if len(done):
            return float(self.epochs["step"][done[0]] / self.epochs["epoch"][done[0]]) or 1.0
        return float(self.data.steps_per_epoch(self.config["data"]))

    @property
    def command(self) -> str:
        """The command that repeats the run."""
        words = [*command_words("train"), *map(str, self.result.get("overrides") or [])]
        return shlex.join(words)


def read_record(path: Path) -> Record:
    """Read a run's directory.

    Raises:
        UserError: it is no run, is damaged, or is still being trained.
    """
    if path.is_dir() and not any(path.iterdir()):
        raise UserError(f"{path} is empty; give a directory that {program('train')} made.")
    run = Run(path)
    config = run.config()
    # named as a run: its values are checked, not whether it has every option of today
    check_values({**config, "run": str(path)})
    result = run.result()
    if result["status"] == Status.RUNNING:
        raise UserError(
            f"{path} is still being trained, or was killed; wait for it to end, or continue it: "
            f"{command('train')} resume={path}"
        )
    try:
        trajectory = read_path(path)
    except DamageError as error:
        raise damaged(path / FILE, error) from None
    return Record(
        run, config, run.data(), result, read_table(path / "steps.csv"),
        read_table(path / "epochs.csv"), trajectory, path.resolve().name,
    )  # fmt: skip


def labelled(records: Sequence[Record]) -> list[Record]:
    """Return runs named by what differs between them: `optimizer.lr=0.1`, else the directory."""
    if len(records) == 1:
        return list(records)
    labels = _typed_differences(records)
    if "" in labels or len(set(labels)) < len(labels):
        labels = _config_differences(records)
    made = []
    for record, label in zip(records, labels, strict=True):
        name = f"{record.run.path.resolve().parent.name}/{record.label}"
        if not label:
            label = name if _shared(records) else record.label
        elif labels.count(label) > 1:
            label = f"{label} ({record.label})"
        made.append(replace(record, label=_short(label)))
    return made


def _shared(records: Sequence[Record]) -> bool:
    """Whether directory names alone would not tell runs apart."""
    return len({r.label for r in records}) < len(records)


def _typed_differences(records: Sequence[Record]) -> list[str]:
    typed = [
        dict(str(o).lstrip("+").split("=", 1) for o in r.result.get("overrides") or [] if "=" in o)
        for r in records
    ]
    keys = [k for k in dict.fromkeys(k for t in typed for k in t) if not k.startswith(UNTOLD)]
    differ = [k for k in keys if len({t.get(k) for t in typed}) > 1]
    return [" ".join(f"{k}={t[k]}" for k in differ if k in t) for t in typed]


def _config_differences(records: Sequence[Record]) -> list[str]:
    flat = [
        dict(flatten({group: r.config[group] for group in TELLING if group in r.config}))
        for r in records
    ]
    keys = list(dict.fromkeys(k for f in flat for k in f))
    differ = [k for k in keys if len({str(f.get(k)) for f in flat}) > 1]
    return [
        " ".join(_told(k, f[k]) for k in differ[:3] if k in f and f[k] is not None) for f in flat
    ]


def _told(key: str, value: Any) -> str:
    if key.endswith("._target_"):
        return f"{key.removesuffix('._target_')}={str(value).rsplit('.', 1)[-1]}"
    return f"{key}={value}"


def _short(label: str) -> str:
    return label if len(label) <= LONGEST_LABEL else label[: LONGEST_LABEL - 1] + "…"


def check_comparable(records: Sequence[Record]) -> None:
    """Refuse runs whose losses cannot stand on one axis.

    Raises:
        UserError: which two, and why.
    """
    first = records[0]
    for other in records[1:]:
        why = difference(first, other)
        if why:
            raise UserError(
                f"{first.run.path} and {other.run.path} cannot share a picture: {why}; "
                "give runs of the same task and data, or one report each."
            )


def difference(a: Record, b: Record) -> str | None:
    """Return why the losses of two runs cannot stand on one axis; None if they can."""
    if a.data.task is not b.data.task:
        return f"one is {a.data.task}, the other {b.data.task}"
    if a.landscape != b.landscape:
        return f"one walks on {a.landscape}, the other on {b.landscape}"
    if a.landscape is None and a.data.fingerprint != b.data.fingerprint:
        ours, theirs = (dict(flatten(r.config["data"]["source"])) for r in (a, b))
        keys = [k for k in {**ours, **theirs} if ours.get(k) != theirs.get(k)]
        if not keys:
            return "they were trained on different data"
        told = f"data.source.{keys[0]} is {ours.get(keys[0])} in one and {theirs.get(keys[0])} in"
        return f"they were trained on different data ({told} the other)"
    return None
