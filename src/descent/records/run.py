"""The run directory: the unit of truth about one training.

    config.yaml         the resolved config; the model is rebuilt from it alone
    data.json           columns, classes, scalers and a fingerprint of the data
    result.json         status and reason, metrics, steps, seconds, device, versions
    epochs.csv steps.csv
    checkpoints/        best.ckpt and last.ckpt: tensors and primitives
    events.out.tfevents.*  curves.png  train.log

How files are written is in `files.atomic`, and whose a directory is in `files.claims`.
"""

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from descent.config.spelling import program
from descent.data.prepare import Description
from descent.errors import UserError
from descent.files.atomic import Known, appending, clear, foreign, write
from descent.files.bounded import DamageError, read_checkpoint, read_json, read_yaml, shown
from descent.files.claims import LOCK, claimed, hold, let_go, undo
from descent.files.schema import (
    COUNT,
    METRICS,
    NUMBER,
    TEXT,
    Check,
    check_fields,
    each,
    every,
    is_count,
    is_finite,
    is_number,
    is_text,
    maybe,
    told,
)
from descent.metrics import NAMES as METRIC_NAMES
from descent.metrics import take_mode, take_own
from descent.records.document import speakable
from descent.records.endings import Reason, Status

CONFIG, DATA, RESULT, LOG = "config.yaml", "data.json", "result.json", "train.log"
SWEEP = "multirun.yaml"  # Hydra's, in the directory of a multirun
BEST, LAST = "best", "last"

# of a run's report: its training, and its predictions
PICTURES = ("curves", "diagnostics", "weights", "plane", "profile", "surface", "landscape")
PREDICTIONS = (
    *("predicted", "residuals", "confusion", "rankings", "calibration", "boundary", "worst"),
    *("wrong_images", "importance"),
)
# What is in a directory in which nothing has begun.
NOTHING: Known = {LOG: None, LOCK: None}
NOTHING_SWEPT: Known = {LOCK: None, SWEEP: None}
# All that a run leaves: a directory with anything else in it is never cleared.
CHECKPOINTS: Known = {"best.ckpt": None, "last.ckpt": None, "best.part": None, "last.part": None}
FILES: Known = {
    **NOTHING,
    **dict.fromkeys((CONFIG, DATA, RESULT, "epochs.csv", "steps.csv", "path.npz", "curves.png")),
    "events.out.tfevents.*": None,
    "checkpoints": {**CHECKPOINTS, "*step=*.ckpt": None},  # and of Lightning's own callback
    **{f"{name}.part": None for name in (CONFIG, DATA, RESULT, "path.npz", "curves")},
    "report": dict.fromkeys(
        (
            "index.html",
            *(f"{name}.{kind}" for name in (*PICTURES, *PREDICTIONS) for kind in ("png", "pdf")),
        )
    ),
    # of src/export.py
    **{f"model.{kind}{more}": None for kind in ("onnx", "pt2", "pt") for more in ("", ".json")},
    # Lightning's CSV logger
    "csv": {"metrics.csv": None, "hparams.yaml": None},
    "lightning_logs": {"version_*": {"metrics.csv": None, "hparams.yaml": None}},
}


MOST_THREADS = 65_536


def _is_best(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    counts = all(is_count(value[key]) for key in ("epoch", "step") if key in value)
    return counts and every(maybe(is_number))(value.get("metrics"))


def _is_ending(value: Any) -> bool:
    """Whether a value is an ending's code with its figures."""
    if not isinstance(value, dict):
        return False
    codes = [reason.code for reason in Reason]
    return value.get("code") in codes and every(maybe(_is_scalar))(value)


def _is_scalar(value: Any) -> bool:
    return is_number(value) or is_text(value)


RESULT_FIELDS: Mapping[str, tuple[Check, str]] = {
    "reason": TEXT,
    "ending": (maybe(_is_ending), "a known code with its figures"),
    "name": TEXT,
    "overrides": (maybe(each(is_text)), "a list of texts"),
    "optimized_metric": (maybe(is_text), "a text"),
    "began": NUMBER,
    "device": TEXT,
    "threads": (
        lambda value: type(value) is int and 1 <= value <= MOST_THREADS,
        f"a whole number from 1 to {MOST_THREADS:,}",
    ),
    "versions": (maybe(every(maybe(is_text))), "texts by name"),
    "commit": (maybe(is_text), "a text"),
    "stopped_early": (lambda value: isinstance(value, bool), "true or false"),
    "step": COUNT,
    "epoch": COUNT,
    "samples": (maybe(is_count), "a whole number from 0"),
    "seconds": NUMBER,
    "wall_seconds": NUMBER,
    "metrics": METRICS,
    "weights": METRICS,
    "threshold": (
        maybe(lambda value: is_finite(value) and 0 <= value <= 1),
        "a number from 0 to 1",
    ),
    "predicts_only": (maybe(is_text), "a text"),
    "best": (maybe(_is_best), "an epoch, a step and metrics"),
}


def check_result(values: Any) -> None:
    """Check `result.json`.

    Raises:
        DamageError: a field is missing or not what it must be.
    """
    check_fields(values, RESULT_FIELDS)
    if values.get("status") not in list(Status):
        raise DamageError("it has no known status")
    if values["status"] != Status.RUNNING:
        lacking = [key for key in ("reason", "step", "epoch") if key not in values]
        if lacking:
            raise DamageError(f"it has no {lacking[0]}")


GROUPS = ("data", "model", "optimizer", "scheduler", "trainer", "stop")
MAYBE_GROUPS = (
    "loss", "penalty", "clip", "callbacks", "logger", "metrics", "landscape", "paths",
)  # fmt: skip
NEEDED = (*GROUPS, "seed")


def check_config(values: Any) -> None:
    """Check the form of `config.yaml`: its groups are mappings, and so are the nodes in them.

    Raises:
        DamageError: a group or a node is something else.
    """
    for name in (*GROUPS, *MAYBE_GROUPS):
        node = values.get(name)
        if not isinstance(node, dict) and (name in GROUPS or node is not None):
            raise DamageError(f"'{name}' is {told(node)}, not a mapping")
    nodes = {
        f"{group}.{name}": node
        for group in ("callbacks", "logger", "metrics")
        for name, node in (values.get(group) or {}).items()
        if (group, name) != ("metrics", METRIC_NAMES)
    }
    nodes |= {f"data.{name}": values["data"].get(name) for name in ("source", "augment")}
    for name, node in nodes.items():
        if node is not None and not isinstance(node, dict):
            raise DamageError(f"'{shown(name)}' is {told(node)}, not a mapping")
    _check_keys(values, "")


def _check_keys(node: Any, where: str) -> None:
    """Refuse keys that nobody could type."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        if isinstance(node, dict) and not isinstance(key, (str, int)):
            raise DamageError(f"a key of '{where}' is {told(key)}, not a text")
        if isinstance(value, (dict, list)):
            _check_keys(value, f"{where}.{shown(key)}" if where else shown(key))


class Run:
    """A run directory that is read or written.

    Args:
        path: the directory.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    # ---- writing

    def write_texts(self, config: str, data: str) -> None:
        """Write the config and what encodes new rows, as `config_text` and `data_text` gave them.

        As text, since many runs of a stack share the second.
        """
        write(self.path / CONFIG, config)
        write(self.path / DATA, data)

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write the result; numbers that are not finite become the texts nan, inf, -inf."""
        text = json.dumps(speakable(result), indent=2, allow_nan=False) + "\n"
        write(self.path / RESULT, text)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the directory, and let go of it: two processes must not train in it at once.

        Raises:
            UserError: another process holds it.
        """
        hold(self.path)
        try:
            yield
        finally:
            let_go(self.path)

    # ---- reading: checked, bounded, plain values

    def config(self) -> dict[str, Any]:
        """Read the config: plain values, in which nothing is left to resolve.

        Raises:
            UserError: this is no run directory, or its config is damaged.
        """
        try:
            config = self._read(CONFIG, read_yaml)
        except FileNotFoundError:
            if (self.path / LOG).is_file() and not foreign(self.path, NOTHING):
                raise UserError(
                    f"{self.path} was left by a run that ended before it began, so there is "
                    f"nothing to continue; type its command again with hydra.run.dir={self.path}."
                ) from None
            what = (
                "is not a run directory: it has no"
                if self.path.is_dir()
                else "does not exist, so there is no"
            )
            raise UserError(
                f"{self.path} {what} {CONFIG}; give a directory that {program('train')} made."
            ) from None
        lacking = [k for k in NEEDED if not isinstance(config, dict) or k not in config]
        if lacking:
            raise UserError(
                f"{self.path / CONFIG} is not a config of Descent: it has no '{lacking[0]}'."
            )
        self._check(CONFIG, check_config, config)
        take_own(config)
        take_mode(config)
        return config

    def data(self) -> Description:
        """Read the description of the data; UserError if it is missing or damaged."""
        values = self._json(DATA)
        return self._check(DATA, Description.from_dict, values)

    def result(self) -> dict[str, Any]:
        """Read the result; UserError if it is missing or damaged."""
        result = self._json(RESULT)
        self._check(RESULT, check_result, result)
        return result

    def checkpoint(self, name: str) -> dict[str, Any]:
        """Load a checkpoint to the CPU: only tensors and primitives.

        Args:
            name: `best` or `last`.

        Raises:
            UserError: it is missing, damaged, or holds anything else.
        """
        file = str(self.checkpoint_path(name).relative_to(self.path))
        try:
            state = self._read(file, read_checkpoint)
        except FileNotFoundError:
            raise UserError(f"{self.path} has no checkpoint '{name}' ({name}.ckpt).") from None
        if not isinstance(state, dict):
            raise self._damaged(file, DamageError("it is no mapping"))
        return state

    def checkpoint_path(self, name: str) -> Path:
        """Return where a checkpoint lies, whether or not it exists."""
        return self.path / "checkpoints" / f"{name}.ckpt"

    def _json(self, name: str) -> dict[str, Any]:
        try:
            value = self._read(name, read_json)
        except FileNotFoundError:
            raise UserError(
                f"{self.path} has no {name}; it is not a run directory, or was never begun."
            ) from None
        if not isinstance(value, dict):
            raise self._damaged(name, DamageError("it is no object"))
        return value

    def _read(self, name: str, read: Callable[[Path], Any]) -> Any:
        return self._check(name, read, self.path / name)

    def _check(self, name: str, check: Callable[[Any], Any], value: Any) -> Any:
        """Return what a reader or a check of ours makes of a file."""
        try:
            return check(value)
        except DamageError as error:
            raise self._damaged(name, error) from None

    def _damaged(self, name: str, error: DamageError) -> UserError:
        return damaged(self.path / name, error)


def damaged(path: Path, error: DamageError) -> UserError:
    """Return the one sentence for a file that is not what it should be."""
    return UserError(f"{path} is damaged and cannot be read: {str(error).rstrip('.')}.")


def config_text(config: Mapping[str, Any]) -> str:
    """Return `config.yaml`, section by section: the runs of a multirun share most of theirs."""
    return "".join(_section(key, pickle.dumps(value)) for key, value in config.items())


@lru_cache(maxsize=4096)
def _section(key: str, value: bytes) -> str:
    return OmegaConf.to_yaml(OmegaConf.create({key: pickle.loads(value)}))


def data_text(description: Mapping[str, Any]) -> str:
    """Return `data.json`."""
    return json.dumps(description) + "\n"


def discard(path: Path) -> None:
    """Remove a directory that this process claimed, if nothing has begun in it."""
    if claimed(path):
        with suppress(OSError, UserError):
            table = NOTHING_SWEPT if (path / SWEEP).exists() else NOTHING
            clear(path, table, keep=True)
        undo(path)


class LogFile(logging.FileHandler):
    """`train.log`: lines that a full disk does not take are lost, for the console has them."""

    def _open(self) -> Any:
        return appending(Path(self.baseFilename))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's
        """Print no traceback."""
