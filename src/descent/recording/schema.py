"""What the files of a run and of a multirun hold: the types of every field that is read.

Plain values in, `DamageError` with the field's name out. Fields that nobody reads may be anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any

from descent.endings import Status
from descent.recording.bounded import DamageError, shown

MOST_COUNT = 2**53  # steps, epochs, samples, rows: whole numbers that JSON keeps
MOST_THREADS = 65_536
MOST_JOBS = 10_000_000
NOT_FINITE = ("nan", "inf", "-inf")  # as `runs.Run.write_result` writes such numbers

Check = Callable[[Any], bool]


def is_text(value: Any) -> bool:
    """Whether this is a text."""
    return isinstance(value, str)


def is_count(value: Any) -> bool:
    """Whether this is a whole number from 0."""
    return type(value) is int and 0 <= value <= MOST_COUNT


def is_finite(value: Any) -> bool:
    """Whether this is a finite number."""
    return type(value) in (int, float) and abs(value) < 1e308 and math.isfinite(value)


def is_number(value: Any) -> bool:
    """Whether this is a number, or the text that stands for one that is not finite."""
    return is_finite(value) or value in NOT_FINITE


def each(check: Check) -> Check:
    """Return a check of every item of a list."""
    return lambda value: isinstance(value, list) and all(map(check, value))


def every(check: Check) -> Check:
    """Return a check of every value of a mapping with texts for keys."""
    return lambda value: (
        isinstance(value, dict) and all(isinstance(k, str) and check(v) for k, v in value.items())
    )


def maybe(check: Check) -> Check:
    """Return a check that null passes too."""
    return lambda value: value is None or check(value)


def _is_best(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    counts = all(is_count(value[key]) for key in ("epoch", "step") if key in value)
    return counts and every(maybe(is_number))(value.get("metrics"))


TEXT = (is_text, "a text")
COUNT = (is_count, "a whole number from 0")
NUMBER = (is_number, "a number")
METRICS = (maybe(every(maybe(is_number))), "numbers by name")

RESULT: Mapping[str, tuple[Check, str]] = {
    "reason": TEXT,
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
    "best": (maybe(_is_best), "an epoch, a step and metrics"),
}


def check_fields(values: Any, fields: Mapping[str, tuple[Check, str]], where: str = "") -> None:
    """Check the fields that are there.

    Raises:
        DamageError: the values are no mapping, or which field is not what it must be.
    """
    if not isinstance(values, dict):
        raise DamageError(f"{where or 'it'} is no mapping")
    for name, (fits, what) in fields.items():
        if name in values and not fits(values[name]):
            raise DamageError(f"'{where}{name}' is {_told(values[name])}, not {what}")


def _told(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return f"a list of {len(value):,}"
    return "null" if value is None else f"'{shown(value)}'"


def check_result(values: Any) -> None:
    """Check `result.json`.

    Raises:
        DamageError: a field is missing or not what it must be.
    """
    check_fields(values, RESULT)
    if values.get("status") not in list(Status):
        raise DamageError("it has no known status")
    if values["status"] != Status.RUNNING:
        lacking = [key for key in ("reason", "step", "epoch") if key not in values]
        if lacking:
            raise DamageError(f"it has no {lacking[0]}")


GROUPS = ("data", "model", "optimizer", "scheduler", "trainer", "stop")
MAYBE_GROUPS = ("loss", "penalty", "clip", "callbacks", "logger", "landscape", "paths")
NEEDED = (*GROUPS, "seed")


def check_config(values: Any) -> None:
    """Check the form of `config.yaml`: its groups are mappings, and so are the nodes in them.

    Raises:
        DamageError: a group or a node is something else.
    """
    for name in (*GROUPS, *MAYBE_GROUPS):
        node = values.get(name)
        if not isinstance(node, dict) and (name in GROUPS or node is not None):
            raise DamageError(f"'{name}' is {_told(node)}, not a mapping")
    nodes = {
        f"{group}.{name}": node
        for group in ("callbacks", "logger")
        for name, node in (values.get(group) or {}).items()
    }
    nodes |= {f"data.{name}": values["data"].get(name) for name in ("source", "augment")}
    for name, node in nodes.items():
        if node is not None and not isinstance(node, dict):
            raise DamageError(f"'{shown(name)}' is {_told(node)}, not a mapping")
    _check_keys(values, "")


def _check_keys(node: Any, where: str) -> None:
    """Refuse keys that nobody could type."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        if isinstance(node, dict) and not isinstance(key, (str, int)):
            raise DamageError(f"a key of '{where}' is {_told(key)}, not a text")
        if isinstance(value, (dict, list)):
            _check_keys(value, f"{where}.{shown(key)}" if where else shown(key))


MOST_OUTPUTS = 10_000  # of a regression; there are as many of a classification as classes


KINDS = ("number", "boolean", "category", "code", "date")  # of `data.arrays.Kind`
PARTS = ("days", "year", "month", "day", "weekday", "hour")
MOST_BUCKETS = 10_000
COLUMN: Mapping[str, Check] = {
    "name": is_text,
    "kind": lambda value: value in KINDS,
    "categories": lambda value: (
        value is None or (each(is_text)(value) and len({*value}) == len(value))
    ),
    "fill": lambda value: value is None or is_finite(value),
    "gap": lambda value: type(value) is bool,
    "parts": each(lambda value: value in PARTS),
    "shares": each(is_finite),
    "buckets": lambda value: type(value) is int and 0 <= value <= MOST_BUCKETS,
    "day_first": lambda value: value is None or type(value) is bool,
}


def _is_column(value: Any) -> bool:
    if not isinstance(value, dict) or not {"name", "categories"} <= value.keys():
        return False
    if any(key not in COLUMN or not COLUMN[key](item) for key, item in value.items()):
        return False
    shares = value.get("shares")
    return shares is None or len(shares) == len(value["categories"] or ())


def _is_scaler(value: Any) -> bool:
    if not isinstance(value, dict) or not {"offset", "scale"} <= value.keys():
        return False
    if type(value.get("log", False)) is not bool:
        return False
    numbers = each(is_finite)(value["offset"]) and each(is_finite)(value["scale"])
    return numbers and all(scale > 0 for scale in value["scale"])


def _is_rows(value: Any) -> bool:
    return isinstance(value, dict) and all(
        is_count(value.get(split)) for split in ("train", "val", "test")
    )


TASKS = ("regression", "binary", "multiclass", "landscape")  # of `data.arrays.Task`
SCALER = (_is_scaler, "an offset and a scale above 0, finite, of each feature")
DESCRIPTION: Mapping[str, tuple[Check, str]] = {
    "task": (lambda value: value in TASKS, f"one of {', '.join(TASKS)}"),
    "target": TEXT,
    "classes": (
        lambda value: each(is_text)(value) and len({*value}) == len(value),
        "a list of different texts",
    ),
    "columns": (each(_is_column), "a list of names, each with its kind and categories or null"),
    "outputs": (
        lambda value: type(value) is int and 1 <= value <= MOST_OUTPUTS,
        f"a whole number from 1 to {MOST_OUTPUTS:,}",
    ),
    "scaler": SCALER,
    "target_scaler": SCALER,
    "rows": (_is_rows, "the rows of train, val and test"),
    "fingerprint": TEXT,
}
# What `data.json` had not from the beginning.
LATER: Mapping[str, tuple[Check, str]] = {
    "targets": (each(is_text), "a list of names"),
    "notes": (each(is_text), "a list of texts"),
    "metrics": (each(is_text), "a list of names"),
    "baseline": (every(is_finite), "a number by metric"),
    "weight": (maybe(is_text), "a text"),
    "class_weights": (
        each(lambda value: is_finite(value) and value > 0),
        "a list of numbers above 0",
    ),
}


def check_description(values: Any) -> None:
    """Check `data.json`, field by field.

    Raises:
        DamageError: a field is missing or not what it must be.
    """
    check_fields(values, {**DESCRIPTION, **LATER})
    lacking = [key for key in DESCRIPTION if key not in values]
    if lacking:
        raise DamageError(f"it has no {lacking[0]}")


JOB: Mapping[str, tuple[Check, str]] = {
    "number": (
        lambda value: type(value) is int and 0 <= value < MOST_JOBS,
        f"a whole number below {MOST_JOBS:,}",
    ),
    "overrides": (maybe(each(is_text)), "a list of texts"),
    "directory": (lambda value: is_text(value) and is_inside(value), "a path below the multirun's"),
    "status": (maybe(is_text), "a text"),
    "reason": (maybe(is_text), "a text"),
}


def is_inside(name: str) -> bool:
    """Whether a path leads to something below where it begins."""
    path = PurePosixPath(name)
    return (
        bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\0" not in name
    )


def check_job(values: Any) -> None:
    """Check an entry of `jobs.json`.

    Raises:
        DamageError: a field is missing or not what it must be.
    """
    check_fields(values, JOB)
    lacking = [key for key in ("number", "directory") if key not in values]
    if lacking:
        raise DamageError(f"it has no {lacking[0]}")
