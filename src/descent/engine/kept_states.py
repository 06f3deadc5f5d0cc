"""What a schedule, an optimizer and callbacks keep in a checkpoint, held against what they made.

Torch takes any attributes back into a schedule, and any numbers into an optimizer; Lightning's
callbacks take back the names of files that they will remove. So the kinds of all values are known
before one of them is taken.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from descent.files.bounded import DamageError, shown
from descent.files.schema import (
    COUNT,
    MOST_COUNT,
    Check,
    check_fields,
    each,
    every,
    is_count,
    is_finite,
    maybe,
)


def plain_number(value: Any) -> Any:
    """Return a number that a tensor of one or a truth stands for."""
    if isinstance(value, torch.Tensor) and value.numel() == 1 and not value.is_complex():
        value = value.item()
    return int(value) if isinstance(value, bool) else value


def is_figure(value: Any) -> bool:
    """Whether this is a number, finite or not."""
    number = plain_number(value)
    return isinstance(number, float) or (type(number) is int and abs(number) <= MOST_COUNT)


def alike(value: Any, own: Any) -> bool:
    """Whether a value is of the kind of one that was made here."""
    if own is None:
        return value is None or is_figure(value)
    if isinstance(own, (bool, str)):
        return type(value) is type(own)
    if isinstance(own, (int, float, torch.Tensor)):
        finite = is_finite(own) if isinstance(own, (int, float)) else True
        return is_figure(value) and (not finite or is_finite(plain_number(value)))
    if isinstance(own, (list, tuple)):
        same = isinstance(value, (list, tuple)) and len(value) == len(own)
        return same and all(map(alike, value, own))
    if isinstance(own, dict):
        return isinstance(value, dict) and value.keys() == own.keys() and all(
            alike(value[key], own[key]) for key in own
        )  # fmt: skip
    return isinstance(value, type(own))


# ---- schedules and optimizers


def check_schedule(given: Mapping[str, Any], made: Any) -> None:
    """Refuse the state of a schedule that has what no schedule of its kind keeps.

    Raises:
        DamageError: a value of another kind, or one in the place of what the schedule does.
    """
    own = made.state_dict()
    lacking = own.keys() - given.keys() - {name for name in own if name.startswith("_")}
    if lacking:
        raise DamageError(f"'lr_schedulers' has no '{sorted(lacking)[0]}'")
    for name, value in given.items():
        fits = alike(value, own[name]) if name in own else not hasattr(made, str(name))
        if not fits:
            raise DamageError(f"'lr_schedulers' has '{shown(value)}' for '{shown(name)}'")


def check_group(group: Mapping[str, Any], own: Mapping[str, Any], made: Any) -> None:
    """Refuse options that an optimizer would not have taken.

    Raises:
        DamageError: which one, or the optimizer's own words.
    """
    for name, value in own.items():
        if name not in group:
            raise DamageError(f"'optimizer_states' has no '{name}'")
        if name != "params" and not alike(group[name], value):
            raise DamageError(f"'optimizer_states' has '{shown(group[name])}' for '{name}'")
    takes = inspect.signature(type(made)).parameters
    numbers = {
        name: plain_number(group[name]) if is_finite(value) else group[name]
        for name, value in own.items() if name in takes and name != "params"
    }  # fmt: skip
    try:
        type(made)([torch.nn.Parameter(torch.zeros(1))], **numbers)
    except (ValueError, TypeError, RuntimeError) as error:
        words = shown(str(error).splitlines()[0] if str(error) else type(error).__name__)
        raise DamageError(f"'optimizer_states' is refused: {words.rstrip('.')}") from None


def is_weights(value: Any) -> bool:
    """Whether this is tensors by name."""
    return every(lambda item: isinstance(item, torch.Tensor))(value)


def check_kept(name: str, value: Any, own: Any, parameter: torch.Tensor, number: int) -> None:
    """Refuse what an optimizer keeps of a parameter in another shape, or of another kind.

    Args:
        name: of the state.
        value: what a checkpoint has.
        own: what a step of such an optimizer leaves; None where it leaves nothing.
        parameter: whose it is.
        number: its place.

    Raises:
        DamageError: naming it.
    """
    where = f"'optimizer_states' has '{shown(name)}' of parameter {number}"
    if isinstance(own, torch.Tensor) and own.ndim and not isinstance(value, torch.Tensor):
        raise DamageError(f"{where} as '{shown(value)}', no tensor")
    if isinstance(value, (list, tuple)):
        for item in value:  # of LBFGS, of all parameters together
            if not (item is None or isinstance(item, torch.Tensor) or is_figure(item)):
                raise DamageError(f"{where} hold '{shown(item)}'")
        return
    if not isinstance(value, torch.Tensor):
        if value is not None and not is_figure(value):
            raise DamageError(f"{where} as '{shown(value)}', no number")
        return
    one = value.numel() == 1 and not (isinstance(own, torch.Tensor) and own.ndim)
    if one and not is_finite(plain_number(value)):
        raise DamageError(f"{where} as {shown(value.reshape(()))}, no number")
    if not one and not _goes_with(value, parameter):
        raise DamageError(
            f"{where} in the shape {tuple(value.shape)}, not {tuple(parameter.shape)}"
        )
    if not one and value.is_floating_point() != parameter.is_floating_point():
        raise DamageError(f"{where} of {value.dtype}, not of {parameter.dtype}")


def _goes_with(value: torch.Tensor, parameter: torch.Tensor) -> bool:
    """Whether a state has the parameter's sizes, some of them summed up."""
    sizes = zip(value.shape, parameter.shape, strict=False)
    return value.ndim == parameter.ndim and all(a in (1, b) for a, b in sizes)


# ---- callbacks


def _is_row(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.ndim == 1 and value.is_floating_point()


FIGURE = (is_figure, "a number")
MAYBE = (maybe(is_figure), "a number or null")
FIGURES = (every(is_figure), "numbers by name")
OBSERVERS: Mapping[str, Mapping[str, tuple[Check, str]]] = {
    "Recorder": {
        "positions": (every(is_count), "places in files"),
        "samples": COUNT,
        "grad_norm": MAYBE,
        "last_row": FIGURES,
        "losses": (each(_is_row), "a list of losses"),
        "rows": (each(each(is_count)), "a list of rows"),
    },
    "Divergence": {"start": MAYBE, "strikes": COUNT},
    "EarlyStopping": {"best_score": FIGURE, "wait_count": (is_figure, "a count")},
    "Checkpoint": {"best": (maybe(lambda v: isinstance(v, dict)), "a mapping or null")},
    "FullLoss": {"reached": FIGURE},
    "NoiseScale": {"norm": MAYBE, "trace": MAYBE},
    "Sharpness": {
        "vectors": (every(_is_row), "vectors by name"),
        "warned": (lambda value: isinstance(value, bool), "true or false"),
    },
}
BEST: Mapping[str, tuple[Check, str]] = {
    "value": FIGURE, "step": COUNT, "epoch": COUNT, "metrics": FIGURES,
}  # fmt: skip
LATER = {("Sharpness", "vectors")}  # fields that older checkpoints lack


def check_callbacks(states: Mapping[str, Any], directory: Path) -> None:
    """Refuse states that no callback has kept, and names of files that lead out of a run.

    Args:
        states: by the name of the callback's class.
        directory: of the run.

    Raises:
        DamageError: a field that is missing or of another kind, or a path.
    """
    for name, state in states.items():
        if not isinstance(state, dict):
            raise DamageError(f"'callbacks' has no state of {shown(name)}")
        fields = OBSERVERS.get(str(name).split("{")[0], {})
        check_fields(state, fields, f"callbacks.{shown(name)}.")
        for field in fields:
            if field not in state and (name, field) not in LATER:
                raise DamageError(f"'callbacks.{shown(name)}' has no '{field}'")
        for text in _texts(state):
            if _leads_out(text, directory):
                raise DamageError(
                    f"'callbacks.{shown(name)}' names the file '{shown(text)}', which leads out of "
                    "the run's directory"
                )
    recorder = states.get("Recorder")
    if recorder is not None:
        lengths = [len(losses) for losses in recorder["losses"]]
        if lengths != [len(rows) for rows in recorder["rows"]]:
            raise DamageError("'callbacks.Recorder' has not as many losses as rows")
    best = (states.get("Checkpoint") or {}).get("best")
    if best is not None:
        check_fields(best, BEST, "callbacks.Checkpoint.best.")
        lacking = [field for field in (*BEST, "state_dict") if field not in best]
        if lacking:
            raise DamageError(f"'callbacks.Checkpoint.best' has no '{lacking[0]}'")


def _texts(value: Any) -> Iterator[str]:
    """Yield every text in a state, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(key)
            yield from _texts(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _texts(inner)


def _leads_out(text: str, directory: Path) -> bool:
    """Whether a text names a file in a run's directory that is really somewhere else."""
    path = Path(text)
    if "\0" in text or ".." in path.parts:
        return True
    if len(path.parts) < 2 or not path.absolute().is_relative_to(directory.absolute()):
        return False
    return not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(directory))
