"""Options that have no effect beside another: each pair, and the sentence that says so.

What is overruled is no mistake, since a sweep over the other option may want it for some of its
jobs; so it is told in a line. Options that can never have an effect are refused elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from descent.config.check import as_typed, flatten

SGD, MLP = "torch.optim.SGD", "descent.models.mlp.MLP"
POINT, TABLE = "descent.models.point.Point", "descent.data.table.table"
CONSTANT = "torch.optim.lr_scheduler.ConstantLR"
PLATEAU = "torch.optim.lr_scheduler.ReduceLROnPlateau"
LANDSCAPE = "descent.data.landscape.landscape"
# Files that say themselves what is where in them, and of which type it is.
SELF_DESCRIBED = (".parquet", ".arrow", ".feather", ".ipc", ".jsonl", ".ndjson", ".json")


@dataclass(frozen=True)
class Asked:
    """What a command was given.

    Args:
        values: by dotted key, resolved.
        typed: the keys that were typed.
        many: whether the jobs are those of a multirun.
        classes: whether the target holds classes.
    """

    values: Mapping[str, Any]
    typed: frozenset[str] = frozenset()
    many: bool = False
    classes: bool = False

    def __getitem__(self, key: str) -> Any:
        """Return an option's value; None where there is no such option."""
        return self.values.get(key)


@dataclass(frozen=True, eq=False)  # each pair is itself alone
class Overruled:
    """A pair of options of which the first has no effect.

    Args:
        option: which.
        when: whether it is so.
        why: in words.
        by: the option whose value is the reason; empty where it is none.
        idle: values that ask for nothing.
        typed: told only where it was typed, for choices set it by themselves.
    """

    option: str
    when: Callable[[Asked], bool]
    why: str
    by: str = ""
    idle: tuple[Any, ...] = ()
    typed: bool = False

    def sentence(self, asked: Asked) -> str | None:
        """Return what to say; None where the option has its effect, or asks for none."""
        value = asked[self.option]
        if self.option not in asked.values or any(value == i for i in self.idle):
            return None
        if (self.typed and self.option not in asked.typed) or not self.when(asked):
            return None
        beside = f" with {self.by}={as_typed(asked[self.by])}" if self.by else ""
        return f"{self.option}={as_typed(value)} has no effect{beside}: {self.why}"


def told(rows: Iterable[Overruled], asked: Asked) -> dict[Overruled, str]:
    """Return what to say of each pair of which there is something to say."""
    return {row: words for row in rows if (words := row.sentence(asked)) is not None}


def keys_of(overrides: Iterable[str]) -> frozenset[str]:
    """Return the options that some overrides set: `stop.epochs` of `+stop.epochs=3`."""
    return frozenset(text.lstrip("+~").partition("=")[0] for text in overrides)


def of_training(
    config: Mapping[str, Any], overrides: Iterable[str], classes: bool, many: bool = False
) -> dict[Overruled, str]:
    """Return what to say of a run's config.

    Args:
        config: resolved, plain containers.
        overrides: that were typed.
        classes: whether the target holds classes.
        many: whether it is a job of a multirun.
    """
    values = dict(flatten(config))
    return told(TRAINING, Asked(values, keys_of(overrides), many, classes))


# ---- when


def _full(asked: Asked) -> bool:
    return bool(asked["data.batch_size"] == "full")


def _unvalidated(asked: Asked) -> bool:
    return asked["data.val_fraction"] == 0 and asked["data.folds"] is None


def _unsplit(asked: Asked) -> bool:
    return _unvalidated(asked) and asked["data.test_fraction"] == 0 and asked["data.limit"] is None


def _by_time(asked: Asked) -> bool:
    return asked["data.time"] is not None and asked["data.limit"] is None


def _without_momentum(asked: Asked) -> bool:
    return asked["optimizer._target_"] == SGD and not asked["optimizer.momentum"]


def _held_constant(asked: Asked) -> bool:
    return asked["scheduler._target_"] == CONSTANT and asked["scheduler.total_iters"] == 0


def _watches_nothing(asked: Asked) -> bool:
    target = str(asked["scheduler._target_"])
    return target.startswith(("torch.", "descent.")) and target != PLATEAU


def _too_short_to_step(asked: Asked, unit: str) -> bool:
    length, size = asked[f"stop.{unit}s"], asked["scheduler.step_size"]
    stepped = asked["scheduler._target_"] == "torch.optim.lr_scheduler.StepLR"
    there = stepped and asked["scheduler.interval"] == unit and length is not None
    return bool(there and size >= length)


def _too_short_for_plateau(asked: Asked) -> bool:
    epochs = asked["stop.epochs"]  # the first sets what the next are compared with
    plateau = asked["scheduler._target_"] == PLATEAU
    return plateau and epochs is not None and epochs <= asked["scheduler.patience"] + 2


def _too_short_to_stop(asked: Asked) -> bool:
    epochs, every = asked["stop.epochs"], 1
    if str(asked["callbacks.early_stopping.monitor"]).startswith("val/"):
        every = asked["trainer.check_val_every_n_epoch"] or 1
    return epochs is not None and (asked["callbacks.early_stopping.patience"] + 1) * every >= epochs


def _self_described(asked: Asked) -> bool:
    if asked["data.source._target_"] not in (TABLE, None) or asked["data.path"] is None:
        return False
    suffixes = [s.lower() for s in Path(str(asked["data.path"])).suffixes]
    return any(suffix in SELF_DESCRIBED for suffix in suffixes[-2:])


def _walks(asked: Asked) -> bool:
    return bool(asked["data.source._target_"] == LANDSCAPE)


def _without_full_loss(asked: Asked) -> bool:
    return asked["callbacks.full_loss._target_"] is None


def _without_layers(asked: Asked) -> bool:
    return asked["model._target_"] == MLP and not asked["model.hidden"]


def _without_logger(asked: Asked) -> bool:
    return not any(key.startswith("logger.") for key in asked.values)


def _single(asked: Asked) -> bool:
    return not asked.many


def _many(asked: Asked) -> bool:
    return asked.many


# ---- the pairs

FULL = "data.batch_size"
ENDS = "the run ends before it is due"
ONE_RUN = "this is a single run, and it is one of multiruns (-m)"
NO_TEXT = "the file says itself how it is written"

TRAINING = (
    Overruled("data.drop_last", _full, "one batch takes all rows", FULL, (False,)),
    Overruled("data.order", _full, "one batch takes all rows, in any order", FULL, typed=True),
    Overruled(
        "data.scale_target", lambda a: a.classes, "the target holds classes", typed=True,
        idle=("none",),
    ),
    Overruled(
        "data.fold", lambda a: a["data.folds"] is None, "there are no folds", "data.folds", (0,)
    ),
    Overruled(
        "data.val_fraction", lambda a: a["data.folds"] is not None, "a fold validates",
        "data.folds", typed=True,
    ),
    Overruled("data.split_seed", _unsplit, "no rows are split off", idle=(0,)),
    Overruled(
        "data.split_seed", _by_time, "the latest rows are split off", "data.time", idle=(0,)
    ),
    Overruled(
        "data.exclude", lambda a: a["data.features"] is not None, "it names the columns to use",
        "data.features", ([],),
    ),
    Overruled("data.separator", _self_described, NO_TEXT, "data.path", ("auto",)),
    Overruled("data.encoding", _self_described, NO_TEXT, "data.path", ("auto",)),
    Overruled("data.header", _self_described, NO_TEXT, "data.path", (True,)),
    Overruled("data.comment", _self_described, NO_TEXT, "data.path", ("auto",)),
    Overruled(
        "data.source.noise", lambda a: _walks(a) and _full(a),
        "over all rows the noise has mean 0", FULL, (0,),
    ),
    Overruled(
        "data.source.seed", lambda a: a["data.source.noise"] == 0, "it draws the noise",
        "data.source.noise", typed=True,
    ),
    Overruled(
        "metrics.names",
        lambda a: a["data.metrics"][: len(a["metrics.names"])] != a["metrics.names"],
        "it says what is measured", "data.metrics", ([],),
    ),
    Overruled("model.activation", _without_layers, "there is no hidden layer", "model.hidden",
              typed=True),
    Overruled("model.dropout", _without_layers, "there is no hidden layer", "model.hidden", (0,)),
    *(
        Overruled(
            f"penalty.{name}", lambda a: a["model._target_"] == POINT,
            "penalties act on weight matrices, and a place on a landscape has none", idle=(0,),
        )
        for name in ("l1", "l2")
    ),
    Overruled(
        "optimizer.dampening", _without_momentum, "there is no momentum to dampen",
        "optimizer.momentum", (0,),
    ),
    Overruled(
        "scheduler.interval", _held_constant, "the lr stays as it is", "scheduler.total_iters",
        typed=True,
    ),
    *(
        Overruled(
            f"scheduler.{name}", _watches_nothing, "such a schedule watches no metric",
            "scheduler._target_", idle,
        )
        for name, idle in (("monitor", (None,)), ("mode", ("auto",)))
    ),
    Overruled(
        "scheduler.step_size", lambda a: _too_short_to_step(a, "epoch"), ENDS, "stop.epochs"
    ),
    Overruled("scheduler.step_size", lambda a: _too_short_to_step(a, "step"), ENDS, "stop.steps"),
    Overruled("scheduler.patience", _too_short_for_plateau, ENDS, "stop.epochs"),
    Overruled("callbacks.early_stopping.patience", _too_short_to_stop, ENDS, "stop.epochs"),
    Overruled(
        "stop.loss",
        lambda a: not _without_full_loss(a) and a["callbacks.full_loss.target"] != a["stop.loss"],
        "it is the target", "callbacks.full_loss.target", (None,),
    ),
    *(
        Overruled(
            f"callbacks.divergence.{name}", _without_full_loss,
            "there is no full loss to compare, and only a loss that is no number ends a run",
            "callbacks.full_loss", typed=True,
        )
        for name in ("factor", "checks")
    ),
    Overruled(
        "callbacks.noise_scale.smoothing", lambda a: a["callbacks.noise_scale.exact"] is True,
        "what is exact is not smoothed", "callbacks.noise_scale.exact", typed=True,
    ),
    Overruled(
        "callbacks.recorder.points", _without_logger, "there is no logger, and tables get them all",
        typed=True,
    ),
    Overruled(
        "callbacks.progress.every_seconds", _many, "a multirun has a line of its own", typed=True
    ),
    Overruled(
        "trainer.check_val_every_n_epoch", _unvalidated, "no rows are kept for validation",
        "data.val_fraction", (1,),
    ),
    Overruled(
        "trainer.limit_val_batches", _unvalidated, "no rows are kept for validation",
        "data.val_fraction", (0, 1),
    ),
    Overruled(
        "test", lambda a: a["data.test_fraction"] == 0, "no rows are kept for it",
        "data.test_fraction", (False,), typed=True,
    ),
    Overruled("report", _single, ONE_RUN, idle=(False,), typed=True),
    Overruled("after", _single, ONE_RUN, idle=(None,)),
    Overruled("lesson.question", _single, ONE_RUN, typed=True),
    Overruled("lesson.measures", _single, ONE_RUN, typed=True),
    Overruled(
        "trust", lambda a: not a.many and a["resume"] is None, "no run's config is read from disk",
        "resume", ([],),
    ),
    Overruled("paths.sweep", _single, ONE_RUN, typed=True),
    Overruled("paths.run", _many, "each job goes into the multirun's directory", typed=True),
)  # fmt: skip

# Of eval.yaml.
EVALUATION = (
    Overruled(
        "overwrite", lambda a: a["predict"] is None, "nothing is written", "predict", (False,)
    ),
    *(
        Overruled(
            f"data.{name}", lambda a: a["data.path"] is None, "the run's own test rows are used",
            "data.path", idle,
        )
        for name, idle in (
            *((name, ("auto",)) for name in ("separator", "decimal", "thousands", "encoding")),
            *(("comment", ("auto",)), ("header", (True,)), ("unseen", (None,))),
            *((name, (None,)) for name in ("missing_words", "day_first")),
        )
    ),
    Overruled("data.separator", _self_described, NO_TEXT, "data.path", ("auto",)),
    Overruled("data.encoding", _self_described, NO_TEXT, "data.path", ("auto",)),
    Overruled("data.header", _self_described, NO_TEXT, "data.path", (True,)),
    Overruled("data.comment", _self_described, NO_TEXT, "data.path", ("auto",)),
)  # fmt: skip

OF_SWEEPS = "runs are drawn, and it is how sweep=... compares settings"

# Of report.yaml.
REPORT = (
    Overruled(
        "x", lambda a: a["multirun"] is not None, "settings are compared, and run=... draws curves",
        idle=("step",),
    ),
    Overruled("measure", lambda a: a["run"] is not None, OF_SWEEPS, idle=(None,)),
    Overruled("target", lambda a: a["run"] is not None, OF_SWEEPS, idle=(None,)),
)  # fmt: skip

# Of Hydra's own: by what options begin with, and whether they are overruled in a multirun.
HYDRA = {
    "hydra.launcher": (False, ONE_RUN),
    "hydra/launcher": (False, ONE_RUN),
    "hydra.sweeper": (False, ONE_RUN),
    "hydra/sweeper": (False, ONE_RUN),
    "hydra.sweep.": (False, ONE_RUN),
    "hydra.run.": (True, "hydra.sweep.dir says where a multirun goes"),
}


def of_hydra(overrides: Iterable[str], many: bool) -> list[str]:
    """Return what to say of Hydra's own options.

    Args:
        overrides: of Hydra's node that were typed.
        many: whether this is a multirun.
    """
    return [
        f"{text} has no effect: {why}"
        for text in overrides
        for begin, (overruled, why) in HYDRA.items()
        if text.lstrip("+~").startswith(begin) and overruled == many
    ]
