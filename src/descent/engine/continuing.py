"""Whether a checkpoint is one that its own run can go on from: asked before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from descent.data.prepare import Description
from descent.engine.blueprint import build_model, build_optimizer, switches
from descent.files.bounded import DamageError, shown
from descent.files.schema import COUNT, NUMBER, Check, check_fields, is_count, is_finite
from descent.records.run import LAST, Run, damaged

Make = Callable[..., torch.optim.Optimizer]

HOLDS: Mapping[str, tuple[Check, str]] = {
    "state_dict": (lambda value: isinstance(value, dict), "weights by name"),
    "optimizer_states": (lambda value: isinstance(value, list), "a list"),
    "lr_schedulers": (lambda value: isinstance(value, list), "a list"),
    "callbacks": (lambda value: isinstance(value, dict), "states by name"),
    "global_step": COUNT,
    "epoch": COUNT,
    "descent": (lambda value: isinstance(value, dict), "a position"),
}
POSITION = {"epochs_done": COUNT, "steps_in_epoch": COUNT, "seconds": NUMBER}
FILES = {"steps": "steps.csv", "epochs": "epochs.csv", "events": "events.out.tfevents.*"}


def read_last(run: Run, config: Mapping[str, Any], data: Description) -> Mapping[str, Any]:
    """Return `last.ckpt`, checked against the model, the data and the tables of its run.

    Raises:
        UserError: it is damaged, is not of this run, or a table ends before its position.
    """
    state = run.checkpoint(LAST)
    try:
        _check_fields(state, HOLDS)
        model = build_model(config, data)
        check_weights(state["state_dict"], model)
        _check_position(state, data.steps_per_epoch(config["data"]))
        parameters, make = list(model.parameters()), build_optimizer(config)
        _check_optimizer(state["optimizer_states"], parameters, make, state["global_step"])
        if len(state["lr_schedulers"]) != 1 or not isinstance(state["lr_schedulers"][0], dict):
            raise DamageError("'lr_schedulers' is not the state of one schedule")
        states = state["callbacks"]
        wrong = [name for name, kept in states.items() if not isinstance(kept, dict)]
        if (config.get("callbacks") or {}).get("recorder") and "Recorder" not in states:
            wrong.append("Recorder")
        if wrong:
            raise DamageError(f"'callbacks' has no state of {shown(wrong[0])}")
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


def _check_position(state: Mapping[str, Any], per_epoch: int) -> None:
    own = state["descent"]
    _check_fields(own, POSITION, "descent.")
    rng, wanted = own.get("rng"), torch.get_rng_state()
    fits = isinstance(rng, torch.Tensor) and (rng.shape, rng.dtype) == (wanted.shape, wanted.dtype)
    if not fits:
        raise DamageError("'descent.rng' is no state of torch's random numbers")
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
        for name, value in before.items():
            if name not in group:
                raise DamageError(f"'optimizer_states' has no '{name}'")
            if isinstance(value, (int, float)) and not is_finite(_plain(group[name])):
                raise DamageError(f"'optimizer_states' has '{shown(group[name])}' for '{name}'")
    # what one step leaves, tried on a parameter of one number for each number of dimensions
    kinds = {(p.ndim, p.dtype): p for p in parameters if step and p.requires_grad}
    leaves = {kind: _left(make, parameter) for kind, parameter in kinds.items()}
    for number, parameter in enumerate(parameters):
        kind = (parameter.ndim, parameter.dtype)
        left = leaves.get(kind, frozenset()) if parameter.requires_grad else frozenset()
        kept = given.get(number, {})
        if not isinstance(kept, dict) or ((kept or not given) and left - kept.keys()):
            name = sorted(left - kept.keys())[0] if isinstance(kept, dict) else "mapping"
            raise DamageError(f"'optimizer_states' has no '{name}' of parameter {number}")
        for name, value in kept.items():
            if isinstance(value, torch.Tensor) and not _goes_with(value, parameter):
                raise DamageError(
                    f"'optimizer_states' has '{shown(name)}' of parameter {number} in the shape "
                    f"{tuple(value.shape)}, not {tuple(parameter.shape)}"
                )


def _plain(value: Any) -> Any:
    """Return a number that a tensor of one or a truth stands for."""
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        value = value.item()
    return int(value) if isinstance(value, bool) else value


def _left(make: Make, parameter: nn.Parameter) -> frozenset[str]:
    tried = nn.Parameter(torch.zeros((1,) * parameter.ndim, dtype=parameter.dtype))
    optimizer = make([tried])
    tried.grad = torch.zeros_like(tried)
    if switches(optimizer):
        optimizer.train()  # type: ignore[attr-defined]
    optimizer.step()
    return frozenset(str(name) for name in optimizer.state[tried])


def _goes_with(value: torch.Tensor, parameter: torch.Tensor) -> bool:
    """Whether a state is one number, or has the parameter's sizes, some of them summed up."""
    if value.numel() == 1:
        return True
    sizes = zip(value.shape, parameter.shape, strict=False)
    return value.ndim == parameter.ndim and all(a in (1, b) for a, b in sizes)


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
