"""Whether a checkpoint is one that its own run can go on from: asked before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from descent.data.prepare import Description
from descent.engine.blueprint import build_model, build_optimizer, build_schedule, switches
from descent.engine.kept_states import (
    check_callbacks,
    check_group,
    check_kept,
    check_schedule,
    is_weights,
)
from descent.engine.state import FORMAT
from descent.files.bounded import DamageError, shown
from descent.files.schema import COUNT, NUMBER, Check, check_fields, is_count, is_text, maybe
from descent.records.run import LAST, Run, damaged

Make = Callable[..., torch.optim.Optimizer]

WEIGHTS: tuple[Check, str] = (lambda value: isinstance(value, dict), "weights by name")
HOLDS: Mapping[str, tuple[Check, str]] = {
    "state_dict": WEIGHTS,
    "optimizer_states": (lambda value: isinstance(value, list), "a list"),
    "lr_schedulers": (lambda value: isinstance(value, list), "a list"),
    "callbacks": (lambda value: isinstance(value, dict), "states by name"),
    "global_step": COUNT,
    "epoch": COUNT,
    "descent": (lambda value: isinstance(value, dict), "a position"),
}
# What not every checkpoint holds.
MAYBE: Mapping[str, tuple[Check, str]] = {
    "format": (lambda value: type(value) is int and value <= FORMAT, f"at most {FORMAT}"),
    "stack": (maybe(is_text), "a text"),
    "abreast": COUNT,
}
POSITION = {"epochs_done": COUNT, "steps_in_epoch": COUNT, "seconds": NUMBER}
FILES = {"steps": "steps.csv", "epochs": "epochs.csv", "events": "events.out.tfevents.*"}


def read_weights(run: Run, name: str, model: nn.Module) -> dict[str, Any]:
    """Return a checkpoint whose weights are those of a model.

    Args:
        run: the run directory.
        name: `best` or `last`.
        model: of the run's config.

    Raises:
        UserError: it is missing, damaged, or of another model.
    """
    state = run.checkpoint(name)
    try:
        _check_fields(state, {"state_dict": WEIGHTS})
        check_weights(state["state_dict"], model)
    except DamageError as error:
        raise damaged(run.checkpoint_path(name), error) from None
    return state


def read_last(run: Run, config: Mapping[str, Any], data: Description) -> Mapping[str, Any]:
    """Return `last.ckpt`, checked against the model, the data and the tables of its run.

    Raises:
        UserError: it is damaged, is not of this run, or a table ends before its position.
    """
    state = run.checkpoint(LAST)
    try:
        _check_fields(state, HOLDS)
        check_fields(state, MAYBE)
        model = build_model(config, data)
        check_weights(state["state_dict"], model)
        _check_position(state, data.steps_per_epoch(config["data"]))
        parameters, make = list(model.parameters()), build_optimizer(config)
        _check_optimizer(state["optimizer_states"], parameters, make, state["global_step"])
        if len(state["lr_schedulers"]) != 1 or not isinstance(state["lr_schedulers"][0], dict):
            raise DamageError("'lr_schedulers' is not the state of one schedule")
        schedule = build_schedule(config, data).make(make(parameters))
        check_schedule(state["lr_schedulers"][0], schedule)
        states = state["callbacks"]
        if (config.get("callbacks") or {}).get("recorder") and "Recorder" not in states:
            raise DamageError("'callbacks' has no state of Recorder")
        check_callbacks(states, run.path)
        best = (states.get("Checkpoint") or {}).get("best")
        if best is not None:
            check_weights(best["state_dict"], model)
    except DamageError as error:
        raise damaged(run.checkpoint_path(LAST), error) from None
    _check_tables(run, states.get("Recorder"))
    return state


def _check_fields(values: Any, fields: Mapping[str, tuple[Check, str]], where: str = "") -> None:
    check_fields(values, fields, where)
    lacking = [name for name in fields if name not in values]
    if lacking:
        raise DamageError(f"it has no '{where}{lacking[0]}'")


def check_weights(weights: Mapping[str, Any], model: nn.Module) -> None:
    """Refuse weights of another model; in a checkpoint their names begin with `model.`.

    Raises:
        DamageError: a name that is missing or unknown, or a tensor of another shape.
    """
    own = {f"model.{name}": value for name, value in model.state_dict().items()}
    for name in sorted(own.keys() ^ weights.keys(), key=str):
        raise DamageError(f"it has {'no' if name in own else 'unknown'} weights '{shown(name)}'")
    for name, value in own.items():
        given = weights[name]
        if isinstance(value, torch.Tensor) and getattr(given, "shape", None) != value.shape:
            told = tuple(given.shape) if isinstance(given, torch.Tensor) else type(given).__name__
            raise DamageError(f"'{name}' is {told}, not {tuple(value.shape)} as in the model")
        if isinstance(value, torch.Tensor) and _kind(given) != _kind(value):
            raise DamageError(f"'{name}' is of {given.dtype}, not of {value.dtype} as in the model")


def _kind(tensor: torch.Tensor) -> tuple[bool, bool]:
    return tensor.is_floating_point(), tensor.is_complex()


def _check_position(state: Mapping[str, Any], per_epoch: int) -> None:
    own = state["descent"]
    _check_fields(own, POSITION, "descent.")
    rng, wanted = own.get("rng"), torch.get_rng_state()
    fits = isinstance(rng, torch.Tensor) and (rng.shape, rng.dtype) == (wanted.shape, wanted.dtype)
    if not fits:
        raise DamageError("'descent.rng' is no state of torch's random numbers")
    training = own.get("training_weights")
    if training is not None and not is_weights(training):
        raise DamageError("'descent.training_weights' are no weights by name")
    step = own["epochs_done"] * per_epoch + own["steps_in_epoch"]
    if state["global_step"] != step or own["steps_in_epoch"] > per_epoch:
        raise DamageError(
            f"step {state['global_step']:,} is not {own['epochs_done']:,} epochs of {per_epoch:,} "
            f"steps and {own['steps_in_epoch']:,} more"
        )


def _check_optimizer(
    states: Sequence[Any], parameters: Sequence[nn.Parameter], make: Make, step: int
) -> None:
    """Refuse a state that lacks what a step leaves, or has it in another shape."""
    made = make(parameters)
    if len(states) != 1 or not isinstance(states[0], dict):
        raise DamageError("'optimizer_states' is not the state of one optimizer")
    given, groups = states[0].get("state"), states[0].get("param_groups")
    own = made.state_dict()["param_groups"]
    alike = isinstance(groups, list) and [g.get("params") for g in groups if isinstance(g, dict)]
    if not isinstance(given, dict) or alike != [group["params"] for group in own]:
        raise DamageError("'optimizer_states' is not of the model's parameters")
    assert isinstance(groups, list)
    for group, before in zip(groups, own, strict=True):
        check_group(group, before, made)
    # what one step leaves, tried on a parameter of one number for each number of dimensions
    kinds = {(p.ndim, p.dtype): p for p in parameters if step and p.requires_grad}
    leaves = {kind: _left(make, parameter) for kind, parameter in kinds.items()}
    for number, parameter in enumerate(parameters):
        kind = (parameter.ndim, parameter.dtype)
        left = leaves.get(kind, {}) if parameter.requires_grad else {}
        kept = given.get(number, {})
        if not isinstance(kept, dict) or ((kept or not given) and left.keys() - kept.keys()):
            name = sorted(left.keys() - kept.keys())[0] if isinstance(kept, dict) else "mapping"
            raise DamageError(f"'optimizer_states' has no '{name}' of parameter {number}")
        for name, value in kept.items():
            check_kept(name, value, left.get(name), parameter, number)


def _left(make: Make, parameter: nn.Parameter) -> dict[str, Any]:
    tried = nn.Parameter(torch.zeros((1,) * parameter.ndim, dtype=parameter.dtype))
    optimizer = make([tried])
    tried.grad = torch.zeros_like(tried)
    if switches(optimizer):
        optimizer.train()  # type: ignore[attr-defined]
    optimizer.step()
    return {str(name): value for name, value in optimizer.state[tried].items()}


def _check_rows(path: Path, position: int) -> None:
    """Refuse a table that has no header, or no row that ends where the checkpoint says."""
    with path.open("rb") as file:
        head = file.read(1)
        file.seek(position - 1)
        ended = file.read(1)
    if ended and not (head.isalpha() and ended == b"\n"):
        raise damaged(
            path, DamageError(f"no row ends at byte {position:,}, where {LAST}.ckpt does")
        )


def _check_tables(run: Run, recorder: Mapping[str, Any] | None) -> None:
    """Refuse tables that end before the checkpoint was written: what is lost is not made up."""
    positions = (recorder or {}).get("positions", {})
    for name, pattern in FILES.items():
        position = positions.get(name, 0) if isinstance(positions, dict) else -1
        if not is_count(position):
            raise damaged(
                run.checkpoint_path(LAST), DamageError("'callbacks.Recorder.positions' is no place")
            )
        path = next(iter(sorted(run.path.glob(pattern))), run.path / pattern)
        if position and path.suffix == ".csv" and path.is_file():
            _check_rows(path, position)
        size = path.stat().st_size if path.is_file() else 0
        if size < position:
            raise damaged(
                path,
                DamageError(
                    f"it ends at byte {size:,}, but {LAST}.ckpt was written when it had "
                    f"{position:,}; it is cut short"
                ),
            )
